//! Shared libraries by the C compiler, looked into.

use super::*;
use std::process::Command;

fn unseen(library: &[u8]) -> Option<Bypass> {
    super::unseen(library, &|| None)
}

fn unseen_program(program: &[u8]) -> Option<Bypass> {
    super::unseen_program(program, &|| None).first().copied()
}

/// A shared library of this C text.
fn library(c: &str, args: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.c"), c).unwrap();
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", "m.so", "m.c"])
        .args(args)
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    std::fs::read(dir.path().join("m.so")).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn what_cannot_be_watched_is_known_by_its_imports() {
    let plain = "#include <stdlib.h>\nchar *f(void) { return getenv(\"A\"); }";
    assert_eq!(unseen(&library(plain, &[])), None);
    let whole = "extern char **environ; char **f(void) { return environ; }";
    assert_eq!(unseen(&library(whole, &[])), Some(Bypass::MacroEnviron));
    let glob = "#include <glob.h>\nint f(glob_t *g) { return glob(\"*\", 0, 0, g); }";
    assert_eq!(unseen(&library(glob, &[])), Some(Bypass::MacroRawCalls));
    let raw = "const char *f(void) { return \"rustix/src/backend/linux_raw/fs\"; }";
    assert_eq!(unseen(&library(raw, &[])), Some(Bypass::MacroRawCalls));
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_is_looked_into_by_its_symbols() {
    let word = "const char *f(void) { return \"src/backend/linux_raw/arch\"; }";
    assert_eq!(unseen_program(&library(word, &[])), None, "a word only");
    let file = "const char *f(void) { return \"src/backend/linux_raw/fs/syscalls.rs\"; }";
    let raw = Some(Bypass::ScriptRawCalls);
    assert_eq!(unseen_program(&library(file, &[])), raw);
    let symbol = "int _ZN6rustix7backend9linux_raw2fs8syscalls4open17h0E(void) { return 1; }";
    assert_eq!(unseen_program(&library(symbol, &[])), raw);
    let whole = "extern char **environ; char **f(void) { return environ; }";
    let environ = Some(Bypass::MacroEnviron);
    assert_eq!(unseen_program(&library(whole, &[])), environ);
    let stripped = library("int f(void) { return 1; }", &["-s"]);
    assert_eq!(unseen_program(&stripped), None);
    let call = "int f(void) { int r = 2; __asm__(\"syscall\" : \"+a\"(r)); return r; }";
    for args in [&[][..], &["-s"]] {
        assert_eq!(unseen_program(&library(call, args)), raw);
        let calls = Some(Bypass::MacroRawCalls);
        assert_eq!(unseen(&library(call, args)), calls);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_library_with_others_behind_it_is_left_alone() {
    let other = &["-Wl,--no-as-needed", "-lutil", "-lanl", "-lnss_files"];
    let m = library("int f(void) { return 1; }", &other[..3]);
    let names = Dynamic::of(&m).unwrap().needed.len();
    assert!(names >= 2, "the linker named {names}");
    assert_eq!(unseen(&m), Some(Bypass::MacroLibrary));
}

#[test]
fn what_is_no_library_is_not_trusted() {
    assert_eq!(unseen(b""), Some(Bypass::MacroLibrary));
    assert_eq!(unseen(b"\x7fELF\x02\x01"), Some(Bypass::MacroLibrary));
}

#[test]
#[cfg(target_os = "linux")]
fn a_damaged_library_makes_nobody_panic() {
    let whole = library("int f(void) { return 1; }", &[]);
    for cut in (0..whole.len()).step_by(whole.len() / 97) {
        assert_eq!(unseen(&whole[..cut]), Some(Bypass::MacroLibrary));
        let mut damaged = whole.clone();
        let until = damaged.len().min(cut + 8);
        damaged[cut..until].fill(0xff);
        let _ = unseen(&damaged);
    }
}
