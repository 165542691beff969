//! Compiles the observer (`observe/observe.rs`) with the rustc that compiles us, so that it can be
//! embedded. Where it cannot be built there is an empty file in its place, and no observer.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=observe");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let out = PathBuf::from(variable("OUT_DIR")).join("observe.so");
    let target = variable("TARGET");
    let watched = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
    let built = watched.contains(&target.as_str()) && compile(&out, &target);
    if !built {
        if watched.contains(&target.as_str()) {
            println!(
                "cargo::warning=the observer of macros could not be built; compiles with macros \
                 will be kept by the node that made them and not be shared"
            );
        }
        fs::write(&out, b"").expect("OUT_DIR can be written to");
    }
}

fn compile(out: &PathBuf, target: &str) -> bool {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .args(["--edition", "2024", "--crate-type", "cdylib"])
        .args(["--crate-name", "observe", "--target", target])
        .args(["-C", "panic=abort", "-C", "opt-level=2", "-C", "lto=fat"])
        .args(["-C", "link-arg=-Wl,-z,defs", "-C", "strip=symbols", "-o"])
        .arg(out)
        .arg("observe/observe.rs");
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut arg = std::ffi::OsString::from("linker=");
        arg.push(linker);
        rustc.arg("-C").arg(arg);
    }
    rustc.status().is_ok_and(|status| status.success())
}
