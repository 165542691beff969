//! What the command and its environment say (10, 11, 12, 13, 28, 29, 32, 45).

use super::ground::{L_MANIFEST, Place, led};
use crate::harness::{Dev, assert_same_files, libraries, qwrap};
use std::fs;
use std::os::unix::fs::symlink;

const PLAIN: &[(&str, &str)] = &[("src/lib.rs", "pub fn said() -> u8 { 1 }")];

#[test]
fn dep_info_that_cannot_be_written_is_the_error_that_it_is_without_us() {
    let alice = Dev::new("alice");
    let here = Place::new(&alice, "here", PLAIN);
    assert_eq!(here.fresh(), led("1", "1 miss"));
    let dep_info = here.dep("l-", ".d");
    alice.qnode(&["purge", "--all", "--yes"]).succeeded();
    here.clean();
    fs::create_dir_all(dep_info.parent().unwrap()).unwrap();
    symlink("/nowhere/at all", &dep_info).unwrap();
    let how = here.counted(|| {
        let with = here.build();
        assert!(
            !with.ok && with.err.contains("error writing dependencies"),
            "{}",
            with.err
        );
    });
    assert_eq!(how, "1 failed-compile");
    assert_eq!(alice.json(&["status"])["store"]["entries"], 0);
    here.clean();
    fs::create_dir_all(dep_info.parent().unwrap()).unwrap();
    symlink("/nowhere/at all", &dep_info).unwrap();
    let without = here.plain();
    assert!(
        !without.ok && without.err.contains("error writing dependencies"),
        "{}",
        without.err
    );
}

#[test]
fn bootstrap_set_then_unset_is_the_native_error() {
    let alice = Dev::new("alice");
    let lib = "#![feature(never_type)] pub fn said() -> u8 { let _: Option<!> = None; 1 }";
    let mut here = Place::lib(&alice, "here", lib);
    here.set("RUSTC_BOOTSTRAP", Some("1"));
    assert_eq!(here.fresh(), led("1", "1 miss"));
    assert_eq!(here.fresh(), led("1", "1 hit"));
    for value in [None, Some("")] {
        here.set("RUSTC_BOOTSTRAP", value);
        here.clean();
        let how = here.counted(|| {
            let said = here.build();
            assert!(said.err.contains("error[E0554]"), "{value:?}: {}", said.err);
        });
        assert_eq!(how, "1 failed-compile");
    }
}

#[test]
fn a_lint_from_allow_to_deny_and_a_tightened_cfg_are_told_as_ever() {
    let alice = Dev::new("alice");
    let lib = "fn unused() {} pub fn said() -> u8 { if cfg!(loud) { 2 } else { 1 } }";
    let manifest = |dead: &str, cfgs: &str| {
        format!(
            "{L_MANIFEST}[lints.rust]\ndead_code = \"{dead}\"\n\
             unexpected_cfgs = {{ level = \"warn\", check-cfg = [{cfgs}] }}\n"
        )
    };
    let loose = manifest("allow", "'cfg(loud)'");
    let here = Place::new(
        &alice,
        "here",
        &[("src/lib.rs", lib), ("Cargo.toml", &loose)],
    );
    assert_eq!(here.fresh(), led("1", "1 miss"));
    here.write(&[("Cargo.toml", &manifest("allow", ""))]);
    here.clean();
    let said = here.build().succeeded();
    assert!(
        said.err.contains("unexpected `cfg` condition name: `loud`"),
        "{}",
        said.err
    );
    here.write(&[("Cargo.toml", &manifest("deny", "'cfg(loud)'"))]);
    here.clean();
    let said = here.build();
    assert!(
        !said.ok && said.err.contains("function `unused` is never used"),
        "{}",
        said.err
    );
    here.write(&[("Cargo.toml", &loose)]);
    here.clean();
    let said = here.build().succeeded();
    assert!(!said.err.contains("warning"), "{}", said.err);
}

#[test]
fn what_the_compiler_logs_is_never_shown_again() {
    let alice = Dev::new("alice");
    let mut here = Place::new(&alice, "here", PLAIN);
    for (level, how) in [
        (Some("info"), "1 env-compiler-log"),
        (None, "1 miss"),
        (Some("info"), "1 env-compiler-log"),
        (None, "1 hit"),
    ] {
        here.set("RUSTC_LOG", level);
        here.clean();
        let mut said = None;
        let ended = here.counted(|| said = Some(here.build().succeeded()));
        assert_eq!(ended, how);
        let logged = said.unwrap().err.contains("INFO");
        assert_eq!(logged, level.is_some(), "{how}");
    }
}

#[test]
fn coverage_has_the_real_local_paths() {
    let alice = Dev::new("alice");
    let mut here = Place::new(&alice, "here", PLAIN);
    here.set("RUSTFLAGS", Some("-Cinstrument-coverage"));
    here.set("CARGO_INCREMENTAL", Some("0"));
    assert_eq!(here.fresh(), led("1", "1 coverage"));
    let ours = libraries(&here.at.join("target"), "debug");
    here.clean();
    here.plain().succeeded();
    // Plain cargo's, to the byte: nothing is remapped.
    assert_same_files(&ours, &libraries(&here.at.join("target"), "debug"));
}

#[test]
fn what_nobody_edits_here_is_never_compiled_incrementally() {
    let alice = Dev::new("alice");
    let (mut here, there) = (
        Place::new(&alice, "here", PLAIN),
        Place::new(&alice, "over/there", PLAIN),
    );
    // Cargo's default for members in the development profile is incremental, too.
    assert_eq!(there.fresh(), led("1", "1 miss"));
    let sessions = |place: &Place<'_>| {
        let dir = place.at.join("target/debug/incremental");
        let all = fs::read_dir(dir).into_iter().flatten().flatten();
        all.map(|e| e.file_name().into_string().unwrap())
            .filter(|name| name.starts_with("l-"))
            .count()
    };
    assert_eq!(sessions(&there), 0);
    here.set("CARGO_INCREMENTAL", Some("1"));
    assert_eq!(here.fresh(), led("1", "1 hit"));
    assert_eq!(sessions(&here), 0);
    // Built incrementally without us, then used by what is built with us: content decides.
    here.clean();
    here.plain().succeeded();
    assert!(sessions(&here) > 0, "plain cargo does it");
    here.write(&[(
        "/app/src/main.rs",
        "fn main() { println!(\"{}!\", l::said()); }",
    )]);
    assert_eq!(here.again(), led("1!", ""));
}

#[test]
fn a_check_never_serves_a_build() {
    let alice = Dev::new("alice");
    let here = Place::new(
        &alice,
        "here",
        &[
            PLAIN[0],
            ("tests/t.rs", "#[test] fn t() { assert_eq!(l::said(), 1) }"),
            ("examples/e.rs", "fn main() { l::said(); }"),
            ("Cargo.toml", &(L_MANIFEST.to_owned() + "[features]\n")),
        ],
    );
    let check = || {
        let mut check = here.command("check");
        drop(alice.run(check.arg("--all-targets")).succeeded());
    };
    // The library, its own tests, the test and the example.
    assert_eq!(here.counted(check), "4 miss");
    assert_eq!(here.fresh(), led("1", "1 miss"));
    here.clean();
    assert_eq!(here.counted(check), "4 hit");
    assert_eq!(here.again(), led("1", "1 hit"));
    let tested = alice.run(&mut here.command("test")).succeeded();
    assert!(tested.out.contains("1 passed"), "{}", tested.out);
}

/// Cargo tells a check's units by their metadata; here all but what is to be written is the same.
#[test]
fn what_is_emitted_is_a_part_of_the_command() {
    let alice = Dev::new("alice");
    let here = Place::new(&alice, "here", PLAIN);
    let deps = here.at.join("target/debug/deps");
    let compiled = |emit: &str| {
        let words = "rustc --crate-name l --edition=2021 l/src/lib.rs --error-format=json \
             --json=diagnostic-rendered-ansi,artifacts,future-incompat --crate-type lib \
             -C embed-bitcode=no -C metadata=12 -C extra-filename=-34 --out-dir";
        let mut command = alice.command(qwrap());
        command
            .args(words.split_whitespace())
            .arg(&deps)
            .arg(format!("--emit={emit}"))
            .current_dir(&here.at);
        fs::create_dir_all(&deps).unwrap();
        let how = here.counted(|| drop(alice.run(&mut command).succeeded()));
        (how, deps.join("libl-34.rlib").exists())
    };
    let (check, build) = ("dep-info,metadata", "dep-info,metadata,link");
    for way in ["1 miss", "1 hit"] {
        here.clean();
        assert_eq!(compiled(check), (way.into(), false));
        assert_eq!(compiled(build), (way.into(), true));
    }
}

#[test]
fn a_poisoned_environment_is_left_alone() {
    let alice = Dev::new("alice");
    let mut here = Place::new(&alice, "here", PLAIN);
    assert_eq!(here.fresh(), led("1", "1 miss"));
    let lib = alice.path("libnothing.so");
    let made = alice.run(
        alice
            .command("cc")
            .args(["-shared", "-x", "c", "/dev/null", "-o"])
            .arg(&lib),
    );
    made.succeeded();
    for (name, value, reason) in [
        ("LD_PRELOAD", lib.to_str().unwrap(), "env-preload"),
        ("COMPILER_PATH", "/usr/bin", "env-tool-path"),
        ("GCC_EXEC_PREFIX", "/usr/lib/gcc/", "env-tool-path"),
        ("LD_LIBRARY_PATH", "/opt/other", "env-library-path"),
    ] {
        here.set(name, Some(value));
        here.clean();
        let how = here.counted(|| drop(here.build()));
        assert!(how.contains(reason), "{name}: {how}");
        assert!(
            !how.contains("hit") && !how.contains("miss"),
            "{name}: {how}"
        );
        here.set(name, None);
    }
    assert_eq!(here.fresh(), led("1", "1 hit"));
}
