//! Libraries by the C compiler, looked through.

use super::*;
use std::process::Command;

fn library(text: &str, args: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.c"), text).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o", "m.so", "m.c"])
        .args(args);
    let done = cc.current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    std::fs::read(dir.path().join("m.so")).unwrap()
}

/// A function with this assembly in it.
#[track_caller]
fn makes(assembly: &str, expected: bool) {
    let text = format!("int f(int a) {{ __asm__ volatile(\"{assembly}\"); return a; }}");
    for args in [&[][..], &["-O2"], &["-s"], &["-O2", "-s"]] {
        assert_eq!(
            made_by(&library(&text, args)),
            Some(expected),
            "{assembly} {args:?}"
        );
    }
}

#[test]
fn a_call_is_known_wherever_it_stands() {
    makes("nop", false);
    makes("syscall", true);
    makes("sysenter", true);
    makes("int $0x80", true);
    makes("nop; mov %eax, %ebx; .byte 0x66; syscall; nop", true);
}

#[test]
fn bytes_of_a_call_within_another_instruction_are_none() {
    makes("mov $0x050f1234, %eax", false);
    makes("mov $0x12050f34, %eax", false);
    makes("lea 0x050f(%rip), %rax", false);
    makes("mov $0x80cd, %eax; mov $0x340f, %ecx", false);
    makes("mov $0x050f1234, %eax; syscall", true);
}

/// Data in code can hide what follows from whoever decodes one instruction after the other.
#[test]
fn what_may_be_data_is_not_understood() {
    let data = ".quad 0x6a09e667f3bcc908, 0xbb67ae8584caa73b\\n .p2align 4\\n";
    for (assembly, expected) in [
        ("lea f+0x50f00(%rip), %rax", Some(false)),
        ("mov $0x050f1234, %eax", None),
        ("xor %eax, %eax; syscall", Some(true)),
        (&format!("{data} xor %eax, %eax; syscall"), None),
        (".byte 0x06; mov $0x050f1234, %eax", None),
    ] {
        let text = format!(
            "static int f(void) {{ return 1; }} int (*g)(void) = f; __asm__(\".text\\nx: {assembly}\\n ret\");"
        );
        for args in [&[][..], &["-s"]] {
            let made = made_by(&library(&text, args));
            assert_eq!(made, expected, "{assembly} {args:?}");
        }
    }
    let jumps = "call 1f; .byte 0xb8, 0, 0; 1: pop %rax; syscall";
    let text = format!("void f(void) {{ __asm__ volatile(\"{jumps}\"); }}");
    assert_ne!(made_by(&library(&text, &[])), Some(false));
}

#[test]
fn what_is_not_understood_could_make_calls() {
    assert_eq!(made_by(b""), None);
    let text = "int f(void) { __asm__ volatile(\"mov $0x050f, %eax\"); return 1; }";
    let whole = library(text, &[]);
    assert_eq!(made_by(&whole), Some(false));
    for cut in (0..whole.len()).step_by(whole.len() / 97) {
        assert_eq!(made_by(&whole[..cut]), None, "cut to {cut}");
        let mut damaged = whole.clone();
        let until = damaged.len().min(cut + 8);
        damaged[cut..until].fill(0xff);
        let _ = made_by(&damaged);
    }
}
