//! Editing (29): what somebody is at work on is compiled incrementally and is this checkout's
//! alone, and so is what consumes it; what is back, or was never here, is everybody's.

use super::ground::{Place, ended, macro_package, members, package};
use crate::harness::{Dev, team, wait_keys};
use serde_json::Value;
use std::fs;

/// A program over `l` over `d`, with a macro, a build script and tests: each a crate that can be
/// edited by itself.
fn layered<'d>(dev: &'d Dev, name: &str) -> Place<'d> {
    let l = package(
        "l",
        "[dependencies]\nd = { path = \"../d\" }\nmac = { path = \"../mac\" }",
    );
    Place::new(
        dev,
        name,
        &[
            ("/Cargo.toml", &members(&["app", "l", "d", "mac"]) as &str),
            ("/d/Cargo.toml", &package("d", "")),
            ("/d/src/lib.rs", &d(1)),
            ("/mac/Cargo.toml", &macro_package("mac", "")),
            ("/mac/src/lib.rs", &mac(5)),
            ("Cargo.toml", &l),
            ("src/lib.rs", &lib("")),
        ],
    )
}

fn d(n: u32) -> String {
    format!(
        "pub fn d() -> u32 {{ other() + {n} }}\nfn other() -> u32 {{ 0 }}\n\
         #[cfg(test)] mod tests {{ #[test] fn t() {{ assert!(super::d() > 0) }} }}\n"
    )
}

fn mac(n: u32) -> String {
    format!(
        "#[proc_macro] pub fn m(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{ \
         \"{n}\".parse().unwrap() }}\n"
    )
}

fn lib(mark: &str) -> String {
    format!(
        "pub fn said() -> String {{ format!(\"{{}} {{}}{mark}\", d::d(), mac::m!()) }}\n\
         #[cfg(test)] mod tests {{ #[test] fn t() {{ assert!(!super::said().is_empty()) }} }}\n"
    )
}

/// Builds upon what is there; what the program says, and how every compile ended.
#[track_caller]
fn built(place: &Place<'_>) -> (String, String) {
    let how = ended(place.dev, || drop(place.build().succeeded()), &|name| {
        !name.is_empty()
    });
    (place.run(), how)
}

fn led(said: &str, how: &str) -> (String, String) {
    (said.into(), how.into())
}

fn entries(dev: &Dev) -> u64 {
    dev.flush();
    let status: Value = dev.json(&["status"]);
    status["store"]["entries"].as_u64().unwrap()
}

/// Incremental sessions of a crate, by name.
fn sessions(place: &Place<'_>, krate: &str) -> usize {
    let dir = place.at.join("target/debug/incremental");
    let all = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = |entry: &fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        name.rsplit_once('-').is_some_and(|(name, _)| name == krate)
    };
    all.filter(named).count()
}

#[test]
fn what_is_edited_and_what_consumes_it_stay_here_and_come_back_shared() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    let here = layered(alice, "here");
    let there = layered(bob, "some/where/else");
    assert_eq!(built(&here), led("1 5", "4 miss"));
    assert_eq!(sessions(&here, "d"), 0, "nobody was at work on it");
    wait_keys(bob, alice);
    assert_eq!(built(&there), led("1 5", "4 peer"));
    let before = (entries(alice), entries(bob));

    here.write(&[("/d/src/lib.rs", &d(2))]);
    assert_eq!(built(&here), led("2 5", "2 built-on-edited, 1 edited"));
    assert!(sessions(&here, "d") > 0 && sessions(&here, "app") > 0);
    assert_eq!(sessions(&here, "mac"), 0, "nothing of it has changed");
    here.nothing_left();
    // Whoever has the same edit has nothing from us, and after a hit edits as we do.
    there.write(&[("/d/src/lib.rs", &d(2))]);
    assert_eq!(built(&there), led("2 5", "2 built-on-edited, 1 edited"));
    assert_eq!((entries(alice), entries(bob)), before, "nothing was stored");

    // A second edit goes on from the first.
    here.write(&[("/d/src/lib.rs", &d(3))]);
    assert_eq!(built(&here), led("3 5", "2 built-on-edited, 1 edited"));
    here.write(&[("/d/src/lib.rs", &d(1))]);
    assert_eq!(built(&here), led("1 5", "3 hit"));
    assert_eq!(alice.stats()["bypass_reasons"]["edited"], 2);
    assert_eq!(entries(alice), before.0);
    // And is nobody's own any more: what is new on top of it is shared.
    here.write(&[("/app/src/bin/other.rs", "fn main() { l::said(); }")]);
    assert_eq!(built(&here), led("1 5", "1 miss"));
}

#[test]
fn a_link_is_private_for_what_lies_two_crates_down() {
    let alice = Dev::new("alice");
    let here = layered(&alice, "here");
    assert_eq!(built(&here), led("1 5", "4 miss"));
    here.write(&[("/d/src/lib.rs", &d(2))]);
    assert_eq!(one(&here, "build", "d"), "1 edited");
    // What stands between it and the program is compiled without us: nobody knows what is behind.
    let mut plain = here.command("build");
    plain.args(["-p", "l"]).env_remove("RUSTC_WRAPPER");
    alice.run(&mut plain).succeeded();
    let before = entries(&alice);
    assert_eq!(one(&here, "build", "app"), "1 built-on-edited");
    assert_eq!(here.run(), "2 5");
    assert_eq!(entries(&alice), before);
}

#[test]
fn a_macro_a_test_a_check_and_a_build_script_that_are_edited() {
    let alice = Dev::new("alice");
    let here = layered(&alice, "here");
    let script = |n: u32| {
        format!(
            "fn main() {{ println!(\"cargo:rerun-if-changed=build.rs\"); \
             println!(\"cargo:rustc-cfg=unused{n}\"); }}"
        )
    };
    here.write(&[("/app/build.rs", &script(0))]);
    let run = |what: &str| {
        let mut command = here.command(what);
        command.args(["--workspace", "--all-targets"]);
        ended(&alice, || drop(alice.run(&mut command).succeeded()), &|n| {
            !n.is_empty()
        })
    };
    assert_eq!(built(&here), led("1 5", "5 miss"));
    let tests = run("test");
    assert!(tests.ends_with(" miss"), "{tests}");
    let checks = run("check");
    assert!(!checks.contains("edited"), "{checks}");
    let before = entries(&alice);

    here.write(&[("/mac/src/lib.rs", &mac(6))]);
    assert_eq!(built(&here), led("1 6", "2 built-on-edited, 1 edited"));
    here.write(&[("src/lib.rs", &lib("!"))]);
    assert_eq!(built(&here), led("1 6!", "1 built-on-edited, 1 edited"));
    // The library and the macro once more with their tests, and each on its own.
    assert_eq!(run("test"), "1 built-on-edited, 4 edited");
    let checks = run("check");
    assert!(!checks.contains("miss"), "{checks}");
    assert_eq!(entries(&alice), before);
    here.write(&[("/mac/src/lib.rs", &mac(5)), ("src/lib.rs", &lib(""))]);
    assert_eq!(built(&here), led("1 5", "3 hit"));
    // A script that is edited is private; the crate that it configures has other arguments, and
    // its own sources have not changed.
    here.write(&[("/app/build.rs", &script(1))]);
    assert_eq!(built(&here), led("1 5", "1 miss, 1 edited"));
}

#[test]
fn flags_variables_and_new_dependencies_are_no_edits_and_a_clean_start_is_shared() {
    let alice = Dev::new("alice");
    let mut here = layered(&alice, "here");
    let reads = "pub fn said() -> String { format!(\"{}{:?}\", d::d(), option_env!(\"MARK\")) }";
    here.write(&[("src/lib.rs", reads)]);
    assert_eq!(built(&here), led("1None", "4 miss"));
    here.set("MARK", Some("m"));
    assert_eq!(built(&here), led("1Some(\"m\")", "2 miss"));
    here.set("MARK", None);
    let more = package(
        "d",
        "[features]\nmore = []\ndefault = [\"more\"]\n[dependencies]\nmac = { path = \"../mac\" }",
    );
    here.write(&[("/d/Cargo.toml", &more)]);
    assert_eq!(built(&here), led("1None", "3 miss"));
    // The workspace's manifest, which clippy looks at, is no source.
    assert!(one(&here, "clippy", "l").ends_with("3 miss"));
    let all = members(&["app", "l", "d", "mac"]) + "# a remark\n";
    here.write(&[("/Cargo.toml", &all)]);
    assert_eq!(one(&here, "clippy", "l"), "2 miss");
    here.write(&[("/d/src/lib.rs", &d(2))]);
    here.clean();
    assert_eq!(built(&here), led("2None", "1 hit, 3 miss"));
    // Another workspace that builds into the same directory is no edit of this one.
    let target = here.at.join("target").display().to_string();
    let mut there = layered(&alice, "there");
    there.write(&[("src/lib.rs", &lib("?")), ("/d/Cargo.toml", &more)]);
    there.set("CARGO_TARGET_DIR", Some(&target));
    let how = ended(&alice, || drop(there.build().succeeded()), &|n| {
        !n.is_empty()
    });
    assert_eq!(how, "2 hit, 2 miss");
}

/// How the compiles of `cargo WHAT -p KRATE` ended.
fn one(place: &Place<'_>, what: &str, krate: &str) -> String {
    let mut only = place.command(what);
    only.args(["-p", krate]);
    let work = || drop(place.dev.run(&mut only).succeeded());
    ended(place.dev, work, &|name| !name.is_empty())
}

#[test]
fn a_check_of_what_is_edited_is_known_as_such_after_cargo_has_set_back_its_time() {
    let alice = Dev::new("alice");
    let here = layered(&alice, "here");
    assert_eq!(one(&here, "check", "l"), "3 miss");
    let before = entries(&alice);
    // Where only a comment has come the compiler takes the metadata out of its incremental
    // directory, as old as it is, and cargo sets its time forward.
    for comment in ["", "// one\n", "// one\n// two\n"] {
        here.write(&[("/d/src/lib.rs", &(d(2) + comment))]);
        assert_eq!(one(&here, "check", "d"), "1 edited");
        assert_eq!(one(&here, "check", "l"), "1 built-on-edited");
    }
    assert_eq!(entries(&alice), before);
}

#[test]
fn who_is_not_incremental_shares_every_edit() {
    let alice = Dev::new("alice");
    let mut here = layered(&alice, "here");
    let profile = members(&["app", "l", "d", "mac"]) + "[profile.dev]\nincremental = false\n";
    for by_variable in [true, false] {
        if by_variable {
            here.set("CARGO_INCREMENTAL", Some("0"));
        } else {
            here.set("CARGO_INCREMENTAL", None);
            here.write(&[("/Cargo.toml", &profile)]);
        }
        here.write(&[("/d/src/lib.rs", &d(1))]);
        here.clean();
        assert_eq!(built(&here).0, "1 5");
        here.write(&[("/d/src/lib.rs", &d(if by_variable { 2 } else { 3 }))]);
        assert!(built(&here).1.ends_with("3 miss"));
    }
    here.args = vec!["--release".into()];
    assert_eq!(built(&here), led("3 5", "5 miss"), "the macro twice");
    here.write(&[("/d/src/lib.rs", &d(4))]);
    assert_eq!(built(&here), led("4 5", "3 miss"));
}

#[test]
fn a_mistake_on_the_way_a_restart_and_a_node_that_dies_change_nothing() {
    let alice = Dev::new("alice");
    let here = layered(&alice, "here");
    assert_eq!(built(&here), led("1 5", "4 miss"));
    let before = entries(&alice);
    here.write(&[("/d/src/lib.rs", "pub fn d() -> u32 { nonsense }")]);
    let how = ended(&alice, || assert!(!here.build().ok), &|_| true);
    assert_eq!(how, "1 failed-compile");
    here.write(&[("/d/src/lib.rs", &d(2))]);
    assert_eq!(one(&here, "build", "d"), "1 edited");
    // What is private is so for the next node, too.
    alice.qnode(&["restart"]).succeeded();
    assert_eq!(built(&here), led("2 5", "2 built-on-edited"));
    alice.kill_node();
    alice.start();
    here.write(&[("src/lib.rs", &lib("!"))]);
    assert_eq!(built(&here), led("2 5!", "1 built-on-edited, 1 edited"));
    assert_eq!(entries(&alice), before);
}

#[test]
fn why_tells_of_edits() {
    let alice = Dev::new("alice");
    let here = layered(&alice, "here");
    assert_eq!(built(&here), led("1 5", "4 miss"));
    here.write(&[("src/lib.rs", &lib("!"))]);
    assert_eq!(built(&here).0, "1 5!");
    let why = |name: &str| alice.json(&["why", name])[0]["explanation"].clone();
    assert!(why("l").as_str().unwrap().contains("incrementally"));
    assert!(why("app").as_str().unwrap().contains("being edited"));
}
