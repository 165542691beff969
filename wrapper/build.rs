//! Compiles the observer (`observe/observe.rs`) and the launcher (`launch/launch.rs`) with the
//! rustc that compiles us, so that they can be embedded. Where one cannot be built there is an
//! empty file in its place, and no observer, or no cached runs of build scripts.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is built: its source, its file in OUT_DIR, what rustc is told beside what is told for
/// both, what is lost without it.
struct Part {
    source: &'static str,
    file: &'static str,
    args: &'static [&'static str],
    lost: &'static str,
}

const PARTS: &[Part] = &[
    Part {
        source: "observe/observe.rs",
        file: "observe.so",
        args: &[
            "--crate-type=cdylib",
            "-Copt-level=2",
            "-Clto=fat",
            "-Clink-arg=-Wl,-z,defs",
        ],
        lost: "the observer of macros could not be built; compiles with macros will be kept by \
               the node that made them and not be shared",
    },
    Part {
        source: "launch/launch.rs",
        file: "launch",
        args: &[
            "--crate-type=bin",
            "-Copt-level=s",
            "-Crelocation-model=static",
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-static",
        ],
        lost: "the launcher of build scripts could not be built; build scripts will run each time",
    },
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=observe");
    println!("cargo::rerun-if-changed=launch");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let target = variable("TARGET");
    let watched = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
    for part in PARTS {
        let out = PathBuf::from(variable("OUT_DIR")).join(part.file);
        let built = watched.contains(&target.as_str()) && compile(part, &out, &target);
        if !built {
            if watched.contains(&target.as_str()) {
                println!("cargo::warning={}", part.lost);
            }
            fs::write(&out, b"").expect("OUT_DIR can be written to");
        }
    }
}

fn compile(part: &Part, out: &Path, target: &str) -> bool {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc
        .args(["--edition", "2024", "--target", target])
        .args(["-C", "panic=abort", "-C", "strip=symbols"])
        .args(part.args)
        .arg("-o")
        .arg(out)
        .arg(part.source);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut arg = std::ffi::OsString::from("linker=");
        arg.push(linker);
        rustc.arg("-C").arg(arg);
    }
    rustc.status().is_ok_and(|status| status.success())
}
