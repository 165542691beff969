//! Questions to the compiler are asked once, and again as soon as the answer may be another.

use super::elsewhere::{changed, component, toolchain};
use crate::harness::{Dev, qwrap};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const ABOUT_THE_TARGET: &[&str] = &[
    "-",
    "--crate-name",
    "___",
    "--print=file-names",
    "--crate-type",
    "bin",
    "--print=sysroot",
    "--print=cfg",
    "-Wwarnings",
];

/// Asks as cargo does.
fn ask(dev: &Dev, rustc: &Path, words: &[&str]) -> Output {
    asking(dev, rustc, words).output().unwrap()
}

fn asking(dev: &Dev, rustc: &Path, words: &[&str]) -> Command {
    let mut command = dev.command(qwrap());
    command.arg(rustc).args(words).stdin(Stdio::null());
    command
}

/// How many of these questions were answered from memory.
fn answered(dev: &Dev, questions: impl FnOnce()) -> u64 {
    let before = dev.count("queries_answered");
    questions();
    dev.count("queries_answered") - before
}

#[test]
fn what_was_asked_before_is_answered_with_the_same_words() {
    let alice = Dev::new("alice");
    alice.start();
    let rustc = Path::new("rustc");
    for words in [&["-vV"][..], ABOUT_THE_TARGET] {
        let real = alice
            .command(rustc)
            .args(words)
            .stdin(Stdio::null())
            .output();
        let real = real.unwrap();
        assert!(real.status.success() && !real.stdout.is_empty());
        for known in [0, 1, 1] {
            let counted = answered(&alice, || assert_eq!(ask(&alice, rustc, words), real));
            assert_eq!(counted, known, "{words:?}");
        }
        let bootstrap = || {
            let mut other = asking(&alice, rustc, words);
            other.env("RUSTC_BOOTSTRAP", "1").output().unwrap();
        };
        assert_eq!(answered(&alice, bootstrap), 0, "another question");
    }
}

#[test]
fn what_stands_on_stdin_is_read_by_the_compiler() {
    let alice = Dev::new("alice");
    alice.start();
    let words = ["-", "--print=file-names"];
    let told = |text: &str| {
        let mut command = asking(&alice, Path::new("rustc"), &words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    let library = "#![crate_type = \"rlib\"] #![crate_name = \"said\"]";
    let both = || {
        ask(&alice, Path::new("rustc"), &words);
        assert_eq!(told(library), "libsaid.rlib\n");
        assert_eq!(told("#![crate_name = \"other\"]"), "other\n");
    };
    assert_eq!(answered(&alice, both), 0);
}

#[test]
fn a_compiler_whose_files_changed_is_asked_again() {
    let alice = Dev::new("alice");
    alice.start();
    let copy = alice.path("toolchain");
    toolchain(&copy);
    let rustc = copy.join("bin/rustc");
    let asked = || assert!(ask(&alice, &rustc, &["-vV"]).status.success());
    assert_eq!(answered(&alice, asked), 0);
    assert_eq!(answered(&alice, asked), 1);
    changed(&component(&copy.join("lib"), "librustc_driver", ".so"));
    assert_eq!(answered(&alice, asked), 0, "it may say something else now");
    assert_eq!(answered(&alice, asked), 1);
}

#[test]
fn path_is_no_part_of_a_question_and_the_compiler_it_leads_to_is() {
    let alice = Dev::new("alice");
    alice.start();
    let (copy, empty) = (alice.path("toolchain"), alice.path("cargo/bin"));
    toolchain(&copy);
    std::fs::create_dir_all(&empty).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let with = |first: &Path| {
        let rest = std::env::split_paths(&path);
        let path = std::env::join_paths(std::iter::once(first.to_owned()).chain(rest)).unwrap();
        let mut command = asking(&alice, Path::new("rustc"), &["--print=sysroot"]);
        let said = command.env("PATH", path).output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    };
    let here = with(&alice.path("nothing"));
    let elsewhere = || assert_eq!(with(&empty), here);
    assert_eq!(answered(&alice, elsewhere), 1, "another cargo home, say");
    let other = || assert_eq!(Path::new(with(&copy.join("bin")).trim()), copy);
    assert_eq!(answered(&alice, other), 0, "another compiler");
}

#[test]
fn errors_and_warnings_are_said_by_the_compiler_each_time() {
    let alice = Dev::new("alice");
    alice.start();
    let rustc = Path::new("rustc");
    for (words, fails) in [
        (
            &["-", "--print=cfg", "--target", "no-such-machine"][..],
            true,
        ),
        (&["-", "--print=cfg", "-Ctarget-cpu=no-such-cpu"], false),
    ] {
        let twice = || {
            for _ in 0..2 {
                let said = ask(&alice, rustc, words);
                assert_eq!(said.status.success(), !fails);
                assert!(!said.stderr.is_empty(), "{words:?}");
            }
        };
        assert_eq!(answered(&alice, twice), 0, "{words:?}");
    }
}
