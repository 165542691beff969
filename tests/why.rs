//! `qnode why`: which input made a compile a miss, here and against a teammate's entries.

use crate::harness::{Dev, projects, team, wait_keys};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The report on the latest compile of a crate, asked from its checkout.
#[track_caller]
fn why(dev: &Dev, checkout: &Path, crate_name: &str) -> Value {
    let mut command = dev.command(crate::harness::qnode());
    command
        .current_dir(checkout)
        .args(["why", crate_name, "--format", "json"]);
    let said = dev.run(&mut command).succeeded();
    let reports: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 1, "{reports}");
    reports[0].clone()
}

fn differs(report: &Value, what: &str) -> Value {
    let all = report["differences"].as_array().unwrap();
    let found = all.iter().find(|d| d["what"] == what);
    found
        .unwrap_or_else(|| panic!("no {what} in {report}"))
        .clone()
}

/// The optimisation level is among the arguments that differ.
#[track_caller]
fn names_the_level(report: &Value) {
    let all = report["differences"].as_array().unwrap();
    let level = all
        .iter()
        .find(|d| d["now"] == "--codegen opt-level=1")
        .unwrap_or_else(|| panic!("no level in {report}"));
    assert_eq!(level["what"], "argument");
    assert_eq!(level["before"], "");
}

#[test]
fn an_edited_file_a_flag_and_a_variable_are_named() {
    let dev = Dev::new("alice").never_incremental();
    let checkout = dev.path("checkout");
    projects::small(&checkout);
    dev.build(&checkout, &["build"]).succeeded();
    let first = why(&dev, &checkout, "words");
    assert_eq!(first["outcome"], "miss");
    assert!(first["nearest"].is_null(), "{first}");

    let source = checkout.join("words/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    fs::write(&source, format!("{text}\n// edited\n")).unwrap();
    dev.build(&checkout, &["build"]).succeeded();
    let edited = why(&dev, &checkout, "words");
    assert_eq!(edited["outcome"], "miss");
    assert!(
        edited["differences"].as_array().unwrap().len() <= 2,
        "{edited}"
    );
    differs(&edited, "root");

    let mut release = dev.cargo(&checkout, &["build"]);
    release.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    dev.run(&mut release).succeeded();
    names_the_level(&why(&dev, &checkout, "words"));

    fs::write(&source, format!("{text}\n// edited\n")).unwrap();
    dev.build(&checkout, &["build"]).succeeded();
    let hit = why(&dev, &checkout, "words");
    assert_eq!(hit["outcome"], "hit-local");
    assert!(hit["explanation"].as_str().unwrap().contains("restored"));
}

#[test]
fn a_variable_that_env_reads_is_named_with_what_it_was() {
    let dev = Dev::new("alice");
    let checkout = dev.path("checkout");
    projects::small(&checkout);
    let source = checkout.join("words/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    let reads = "pub fn told() -> Option<&'static str> { option_env!(\"WHO_IS_TOLD\") }";
    fs::write(&source, format!("{text}\n{reads}\n")).unwrap();
    dev.build(&checkout, &["build"]).succeeded();
    let mut told = dev.cargo(&checkout, &["build"]);
    dev.run(told.env("WHO_IS_TOLD", "alice")).succeeded();
    let variable = differs(&why(&dev, &checkout, "words"), "variable");
    assert_eq!(variable["name"], "WHO_IS_TOLD");
    assert_eq!(variable["before"], "unset");
    // A value may be a secret: only its digest is kept.
    let now = variable["now"].as_str().unwrap();
    assert!(
        now.contains("digest") && !now.contains("alice"),
        "{variable}"
    );
}

/// Alice has built the small project; Bob, who knows of it, has a checkout.
fn after_alice(devs: &[Dev]) -> (&Dev, PathBuf) {
    let (alice, bob) = (&devs[0], &devs[1]);
    let (here, there) = (alice.path("here"), bob.path("over/there"));
    projects::small(&here);
    projects::small(&there);
    alice.build(&here, &["build"]).succeeded();
    wait_keys(bob, alice);
    (bob, there)
}

#[test]
fn bob_learns_in_what_his_build_differs_from_alices() {
    let devs = team(&["alice", "bob"]);
    let (bob, there) = after_alice(&devs);
    // Bob's settings differ, so that nothing of hers fits: not even the lookup key is the same.
    let mut build = bob.cargo(&there, &["build"]);
    build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    bob.run(&mut build).succeeded();
    assert_eq!(bob.count("hits.peer"), 0);
    let report = why(bob, &there, "words");
    assert_eq!(report["outcome"], "miss");
    assert_eq!(report["nearest"]["held_by"], "alice", "{report}");
    names_the_level(&report);
    let text = bob.qnode(&["why", "words"]).succeeded().out;
    assert!(
        text.contains("at alice's node") && text.contains("opt-level=1"),
        "{text}"
    );
}

#[test]
fn doctor_says_what_to_agree_on_in_the_team() {
    let devs = team(&["alice", "bob"]);
    let (bob, there) = after_alice(&devs);
    bob.build(&there, &["build"]).succeeded();
    let words = there.join("words/src/lib.rs");
    let original = fs::read(&words).unwrap();
    fs::write(&words, "pub fn new() {}\n").unwrap();
    bob.build(&there, &["build", "-p", "words"]).succeeded();
    let doctor = bob.qnode(&["doctor"]).out;
    assert!(!doctor.contains("alice's"), "an edit is no flag: {doctor}");

    fs::write(&words, original).unwrap();
    let mut build = bob.cargo(&there, &["build"]);
    build.env("RUSTFLAGS", "-Coverflow-checks=no --cfg bobs");
    bob.run(&mut build).succeeded();
    let doctor = bob.qnode(&["doctor"]).out;
    let line = doctor.lines().find(|l| l.contains("alice's"));
    let line = line.unwrap_or_else(|| panic!("{doctor}"));
    for word in ["overflow-checks=no", "--cfg bobs"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert!(line.starts_with("ok"), "it is not wrong: {line}");
}

#[test]
fn what_is_bypassed_says_its_reason_and_an_unknown_crate_is_an_error() {
    let dev = Dev::new("alice");
    let checkout = dev.path("checkout");
    projects::small(&checkout);
    let mut build = dev.cargo(&checkout, &["build"]);
    dev.run(build.env("RUSTC_LOG", "error")).succeeded();
    let report = why(&dev, &checkout, "words");
    assert_eq!(report["outcome"], "bypass");
    assert_eq!(report["reason"], "env-compiler-log");
    assert!(
        report["explanation"]
            .as_str()
            .unwrap()
            .contains("RUSTC_LOG")
    );
    // What a variable of the environment does to the hit rate is doctor's to say, with the crates.
    let doctor = dev.qnode(&["doctor"]).out;
    assert!(doctor.contains("words (env-compiler-log)"), "{doctor}");
    let listed = dev.qnode(&["why"]).succeeded().out;
    assert!(
        listed.contains("words: bypass (env-compiler-log)"),
        "{listed}"
    );
    let unknown = dev.qnode(&["why", "nosuch"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.err.contains("no compile of a crate"),
        "{}",
        unknown.err
    );
}
