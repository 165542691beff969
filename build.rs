//! Links qwrap with no dynamic loader, where that can be done: it is started for every compile,
//! and the loader, which looks for its libraries in each directory that cargo names in
//! LD_LIBRARY_PATH, takes two fifths of that start.
//!
//! rustc links the C library statically for a whole build or not at all, and macros cannot be
//! built so. Here the linker finds the archives under the names of the libraries instead. What
//! that gives is tried on a small program first; where it fails in any way, qwrap is linked as
//! everything else is.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Archives, and the names under which the linker is asked for what is in them.
const ARCHIVES: &[(&str, &str)] = &[
    ("libc.a", "libc.so"),
    ("libm.a", "libm.so"),
    ("libgcc_eh.a", "libgcc_s.so"),
];
/// What must work: unwinding out of a panic, a thread, another program, a variable.
const TRIAL: &str = r#"
fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let caught = std::thread::spawn(|| std::panic::catch_unwind(|| panic!("tried")).is_err());
    assert!(caught.join().unwrap());
    let itself = std::env::current_exe().unwrap();
    if std::env::var_os("TRIED").is_none() {
        let again = std::process::Command::new(itself).env("TRIED", "1").status();
        assert!(again.unwrap().success());
    }
}
"#;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=QUARRY_DYNAMIC_QWRAP");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let here = env::var("HOST").is_ok_and(|host| host == target);
    let wanted = env::var_os("QUARRY_DYNAMIC_QWRAP").is_none();
    if !here || !wanted || !target.ends_with("-linux-gnu") {
        return;
    }
    let Some(arguments) = archives(&out.join("archives")) else {
        return;
    };
    if tried(&out, &target, &arguments) {
        for argument in arguments {
            println!("cargo::rustc-link-arg-bin=qwrap={argument}");
        }
    }
}

/// Lays the archives out under the libraries' names; the linker's arguments.
fn archives(dir: &Path) -> Option<[String; 2]> {
    fs::create_dir_all(dir).ok()?;
    for (archive, name) in ARCHIVES {
        let asked = Command::new("cc")
            .arg(format!("-print-file-name={archive}"))
            .output()
            .ok()?;
        let path = PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim_end());
        // Where there is none it says the bare name.
        if !path.is_absolute() || !path.is_file() {
            return None;
        }
        println!("cargo::rerun-if-changed={}", path.display());
        let link = dir.join(name);
        let _ = fs::remove_file(&link);
        symlink(path, link).ok()?;
    }
    let dir = dir.to_str()?;
    Some([format!("-L{dir}"), "-static-pie".to_owned()])
}

/// Whether a program linked so runs, with the flags that qwrap will be compiled with.
fn tried(out: &Path, target: &str, arguments: &[String]) -> bool {
    let (source, program) = (out.join("trial.rs"), out.join("trial"));
    if fs::write(&source, TRIAL).is_err() {
        return false;
    }
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=bin", "--target", target]);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut argument = OsString::from("-Clinker=");
        argument.push(linker);
        rustc.arg(argument);
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    rustc.args(
        arguments
            .iter()
            .map(|argument| format!("-Clink-arg={argument}")),
    );
    rustc.arg("-o").arg(&program).arg(&source);
    let linked = rustc.output().is_ok_and(|said| said.status.success());
    linked
        && Command::new(&program)
            .current_dir(out)
            .output()
            .is_ok_and(|said| said.status.success())
}
