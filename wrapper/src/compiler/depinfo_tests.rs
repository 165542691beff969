//! Dep-info with odd names: written by the real rustc, read, stored, restored elsewhere.

use super::{DepInfo, DepInfoError, MAX_BYTES, MAX_FILES, MAX_OUTPUTS, files};
use crate::compiler::rustc::testing::{self, Checkout};
use std::ffi::OsString;

#[test]
fn what_rustc_writes_is_read_and_rendered_to_the_byte() {
    let checkout = Checkout::odd("a b");
    let (unit, inv) = checkout.unit();
    checkout.compile(&inv.argv);
    let bytes = std::fs::read(inv.absolute(&unit.dep_info_path())).unwrap();
    let depinfo = DepInfo::parse(&bytes).unwrap();
    assert_eq!(
        depinfo.files,
        [
            "my src/lib.rs",
            "my src/x.rs",
            "my src/we\\ird.rs",
            "my src/../two  blanks.rs"
        ]
    );
    assert_eq!(
        depinfo.env,
        [
            ("EMPTY".to_owned(), Some(String::new())),
            ("TEXT".to_owned(), Some("a\nb\\c # \r".to_owned())),
            ("UNSET".to_owned(), None),
        ]
    );
    assert_eq!(
        String::from_utf8(depinfo.render()),
        String::from_utf8(bytes)
    );
}

#[test]
fn alice_stores_it_and_bob_reads_his_own() {
    let alice = Checkout::odd("alice");
    let bob = Checkout::odd("bob with blanks");
    let written = |checkout: &Checkout| {
        let (unit, inv) = checkout.unit();
        checkout.compile(&inv.argv);
        std::fs::read(inv.absolute(&unit.dep_info_path())).unwrap()
    };
    let stored = DepInfo::parse(&written(&alice))
        .unwrap()
        .to_stored(&alice.roots())
        .unwrap();
    let text = String::from_utf8(stored.clone()).unwrap();
    assert!(!text.contains("a\\nb"), "values stay at home: {text}");
    assert!(!text.contains(alice.path().to_str().unwrap()), "{text}");
    assert!(text.contains("/quarry/target/debug/deps/"), "{text}");
    let inv = bob.unit().1;
    let var = |name: &str| inv.var(name).map(OsString::from);
    let restored = DepInfo::restore(&stored, &bob.roots(), &var).unwrap();
    assert_eq!(
        String::from_utf8(restored),
        String::from_utf8(written(&bob))
    );
}

#[test]
fn a_stored_form_cannot_lead_out() {
    let roots = testing::Checkout::odd("c").roots();
    for name in [
        "/quarry/target/../../etc/passwd",
        "/quarry/nowhere/x",
        "/quarry/literal/x",
    ] {
        let stored = format!("{name}: src/lib.rs\n\nsrc/lib.rs:\n");
        let got = DepInfo::restore(stored.as_bytes(), &roots, &|_| None);
        assert_eq!(got, Err(DepInfoError::Name), "{name}");
    }
}

#[test]
fn what_rustc_does_not_write_is_refused() {
    assert_eq!(DepInfo::parse(b""), Err(DepInfoError::Line(0)));
    assert_eq!(DepInfo::parse(b"\xff: x\n"), Err(DepInfoError::NotUtf8));
    assert_eq!(DepInfo::parse(b"a: x\nwhat\n"), Err(DepInfoError::Line(2)));
    assert_eq!(DepInfo::parse(b"a: x\nb: y\n"), Err(DepInfoError::Line(2)));
    assert_eq!(
        DepInfo::parse(b"a: x\n# env-dep:A=\\q\n"),
        Err(DepInfoError::Line(2))
    );
    let large = vec![b' '; MAX_BYTES + 1];
    assert_eq!(DepInfo::parse(&large), Err(DepInfoError::TooLarge));
    let many = format!("a: {}\n", "x ".repeat(super::MAX_FILES + 1));
    assert_eq!(DepInfo::parse(many.as_bytes()), Err(DepInfoError::TooLarge));
}

/// The limit on files holds while a line is read, not behind it: a line of 16 MiB has eight
/// million names.
#[test]
fn a_line_of_too_many_files_is_refused_as_soon_as_it_has_one_too_many() {
    let names = |n: usize| "a ".repeat(n);
    let read = |n| DepInfo::parse(format!("out: {}\n", names(n)).as_bytes());
    assert_eq!(read(MAX_FILES).unwrap().files.len(), MAX_FILES);
    assert_eq!(read(MAX_FILES + 1), Err(DepInfoError::TooLarge));
    let kept = files(&names(4 * MAX_FILES)).len();
    assert_eq!(kept, MAX_FILES + 1, "no more are kept");
}

#[test]
fn too_many_outputs_are_refused() {
    let read = |n: usize| DepInfo::parse("out: a\n".repeat(n).as_bytes());
    assert_eq!(read(MAX_OUTPUTS).unwrap().outputs.len(), MAX_OUTPUTS);
    assert_eq!(read(MAX_OUTPUTS + 1), Err(DepInfoError::TooLarge));
}

/// Found by fuzzing: such a name was read without its last character.
#[test]
fn a_name_that_ends_in_a_carriage_return_is_that_name() {
    let text = b"out: src/a\r\n\nsrc/a\r:\n";
    let read = DepInfo::parse(text).unwrap();
    assert_eq!(read.files, ["src/a\r"]);
    assert_eq!(DepInfo::parse(&read.render()), Ok(read));
}
