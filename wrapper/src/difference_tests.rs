//! What differs is named, and nothing else is.

use super::*;
use crate::action::{Known, Observer};

fn file_input(name: &str, content: &[u8]) -> FileInput {
    FileInput {
        name: name.into(),
        digest: Some(Digest::of(content)),
    }
}

fn description() -> Description {
    Description {
        known: Known {
            compiler: Digest::of(b"rustc"),
            compiler_version: "rustc 1.95.0\nhost: x".into(),
            observer: Observer::None,
            pure: vec![],
            args: [
                "--crate-name a",
                "--codegen opt-level=3",
                "--extern b=/quarry/target/libb-1.rmeta",
            ]
            .map(|a| a.as_bytes().to_vec())
            .to_vec(),
            root: file_input("/quarry/ws/src/lib.rs", b"lib"),
        },
        externs: vec![ExternInput {
            name: "b".into(),
            file: "libb-1.rmeta".into(),
            digest: Some(Digest::of(b"b")),
        }],
        macros: vec![],
        native: vec![],
        link: vec![],
        files: vec![file_input("/quarry/ws/src/m.rs", b"m")],
        looked: vec![],
        variables: vec![Variable {
            name: "GREETING".into(),
            value: Value::Unset,
        }],
        ran: vec![],
    }
}

fn changed(change: impl Fn(&mut Description)) -> Vec<(&'static str, String, String, String)> {
    let mut now = description();
    change(&mut now);
    differences(&description(), &now)
        .into_iter()
        .map(|d| (d.what, d.name, d.before, d.now))
        .collect()
}

#[test]
fn the_same_action_differs_in_nothing() {
    assert_eq!(changed(|_| ()), []);
    assert_eq!(distance(&[]), 0);
}

#[test]
fn an_option_with_another_value_is_one_difference() {
    let found = changed(|d| d.known.args[1] = b"--codegen opt-level=0".to_vec());
    let text = |t: &str| t.to_owned();
    assert_eq!(
        found,
        [(
            "argument",
            text(""),
            text("--codegen opt-level=3"),
            text("--codegen opt-level=0")
        )]
    );
}

#[test]
fn a_file_that_appeared_and_a_variable_that_was_set_are_told() {
    let found = changed(|d| {
        d.files.push(file_input("/quarry/ws/src/n.rs", b"n"));
        d.variables[0].value = Value::Public("hello".into());
    });
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].0, "file");
    assert_eq!(found[0].2, "", "it was not there");
    assert_eq!(found[1].2, "unset");
    assert_eq!(found[1].3, "\"hello\"");
}

#[test]
fn a_patched_compiler_of_the_same_version_is_told_apart() {
    let found = changed(|d| d.known.compiler = Digest::of(b"patched"));
    assert_eq!(found[0].0, "compiler");
    assert_ne!(found[0].2, found[0].3);
    assert!(found[0].2.starts_with("rustc 1.95.0 (files "));
}

#[test]
fn a_dependency_is_told_once_not_as_an_argument_too() {
    let found = changed(|d| {
        d.known.args[2] = b"--extern b=/quarry/target/libb-2.rmeta".to_vec();
        d.externs[0].file = "libb-2.rmeta".into();
    });
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "dependency");
    assert!(found[0].3.starts_with("libb-2.rmeta"));
}

#[test]
fn another_compiler_is_further_away_than_a_few_files() {
    let with = |change: &dyn Fn(&mut Description)| {
        let mut now = description();
        change(&mut now);
        distance(&differences(&description(), &now))
    };
    let files = with(&|d| d.files[0].digest = None);
    let compiler = with(&|d| d.known.compiler = Digest::of(b"nightly"));
    assert!(files < compiler);
}
