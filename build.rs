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

/// What qwrap does before its C library starts, and what must work of that.
const EARLY: &str = "wrapper/early/early.rs";
const EARLY_TRIAL: &str = "wrapper/early/trial.rs";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(quarry_early)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=wrapper/early");
    println!("cargo::rerun-if-changed=wrapper/src/ipc/version.rs");
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
    let trial = out.join("trial.rs");
    if fs::write(&trial, TRIAL).is_err() || !tried(&out, &target, &trial, &arguments) {
        return;
    }
    let early = early(&out, &target).map(|early| [arguments.as_slice(), &early].concat());
    let early = early.filter(|all| tried(&out, &target, Path::new(EARLY_TRIAL), all));
    if early.is_some() {
        println!("cargo::rustc-cfg=quarry_early");
    } else if target.starts_with("x86_64-") {
        println!(
            "cargo::warning=what shows hits before the C library starts could not be built or \
             tried; qwrap will take some tenths of a millisecond longer for each"
        );
    }
    for argument in early.unwrap_or_else(|| arguments.to_vec()) {
        println!("cargo::rustc-link-arg-bin=qwrap={argument}");
    }
}

/// What qwrap does before its C library starts, where this processor is asked what it is then; the
/// linker's arguments. `None` too where it needs anything of a library.
fn early(out: &Path, target: &str) -> Option<[String; 2]> {
    if !target.starts_with("x86_64-") {
        return None;
    }
    let (object, alone) = (out.join("early.o"), out.join("early-alone"));
    let built = rustc(target)
        .args(["--crate-type=lib", "--crate-name=early", "--emit=obj"])
        .args(["-Copt-level=2", "-Cpanic=abort", "-Ccodegen-units=1"])
        .args(["-Crelocation-model=pic", "-Coverflow-checks=no"])
        .arg("-o")
        .args([&object, Path::new(EARLY)])
        .status();
    let whole = Command::new(env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into()))
        .args(["-nostdlib", "-static-pie", "-Wl,--entry=quarry_early"])
        .args(["-Wl,--defsym=_start=0", "-o"])
        .args([&alone, &object])
        .output();
    let good =
        built.is_ok_and(|status| status.success()) && whole.is_ok_and(|said| said.status.success());
    let object = object.to_str().filter(|_| good)?.to_owned();
    Some([object, "-Wl,--entry=quarry_early".to_owned()])
}

fn rustc(target: &str) -> Command {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--target", target]);
    rustc
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
fn tried(out: &Path, target: &str, source: &Path, arguments: &[String]) -> bool {
    let program = out.join("trial");
    let mut rustc = rustc(target);
    rustc.arg("--crate-type=bin");
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
    rustc.arg("-o").arg(&program).arg(source);
    let linked = rustc.output().is_ok_and(|said| said.status.success());
    linked
        && Command::new(&program)
            .current_dir(out)
            .output()
            .is_ok_and(|said| said.status.success())
}
