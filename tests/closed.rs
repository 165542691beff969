//! A project that is closed to some of the team: who gets what is built for it, and what the
//! others can find out.

use crate::harness::{Dev, projects, team, wait_for, wait_keys};
use quarry_node::store::{RedbStore, Store};
use quarry_trust::canon::Canonical;
use quarry_trust::{Entry, Scope};
use quarry_wrapper::home::Home;
use std::path::{Path, PathBuf};

/// The small project, which says that it belongs to "pay".
fn closed(dev: &Dev, place: &str) -> PathBuf {
    let checkout = dev.path(place);
    projects::small(&checkout);
    std::fs::write(checkout.join("quarry.toml"), "scope = \"pay\"\n").unwrap();
    checkout
}

/// A project that says nothing of itself.
fn plain(checkout: &Path) {
    projects::write(
        checkout,
        &[
            (
                "Cargo.toml",
                "[package]\nname = \"plain\"\nversion = \"1.0.0\"\nedition = \"2024\"\n",
            ),
            ("src/lib.rs", "pub fn plain() -> u8 { 7 }\n"),
        ],
    );
}

/// Waits until a node may share what it builds for the project.
#[track_caller]
fn wait_in_it(dev: &Dev) {
    wait_for("the project's secret to come", || {
        let projects = dev.json(&["projects"]);
        let ready = |p: &serde_json::Value| p["name"] == "pay" && p["ready"] == true;
        projects.as_array()?.iter().any(ready).then_some(())
    });
}

fn shared_with(dev: &Dev, checkout: &Path) -> String {
    let mut command = dev.command(crate::harness::qnode());
    command
        .current_dir(checkout)
        .args(["status", "--format", "json"]);
    let status: serde_json::Value = serde_json::from_str(&dev.run(&mut command).out).unwrap();
    status["trust"]["shared_with"].as_str().unwrap().to_owned()
}

/// What a stopped node holds.
fn entries(dev: &Dev) -> Vec<Entry> {
    dev.qnode(&["stop"]).succeeded();
    let home = Home::at(dev.home()).unwrap();
    let store = wait_for("the store to be free", || {
        RedbStore::open(&home.store()).ok()
    });
    let mut found = Vec::new();
    let mut each = |offer: quarry_node::store::Offer| {
        found.push(Entry::from_canon(&offer.signed.bytes).unwrap());
    };
    store.0.each_offer(&mut each).unwrap();
    found
}

#[test]
fn bob_who_is_in_the_project_hits_and_carol_who_is_not_compiles() {
    let devs = team(&["alice", "bob", "carol"]);
    let (alice, bob, carol) = (&devs[0], &devs[1], &devs[2]);
    let said = alice
        .qnode(&["project", "pay", "--open-to", "bob"])
        .succeeded();
    assert!(said.out.contains("alice, bob"), "{}", said.out);
    wait_in_it(bob);
    let refused = carol.qnode(&["project", "pay", "--open-to", "carol"]);
    assert!(
        !refused.ok && refused.err.contains("only an admin"),
        "{}",
        refused.err
    );

    let here = closed(alice, "checkout");
    alice.build(&here, &["build"]).succeeded();
    assert_eq!(shared_with(alice, &here), "those in project pay");
    wait_keys(bob, alice);
    let there = closed(bob, "some/other/checkout");
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(bob.count("hits.peer"), 3, "{}", bob.stats());

    // Carol has the very same sources; she gets nothing, also where her workspace says nothing.
    let apart = closed(carol, "apart");
    carol.build(&apart, &["build"]).succeeded();
    let open = carol.path("open");
    projects::small(&open);
    carol.build(&open, &["build"]).succeeded();
    assert_eq!(carol.count("hits.peer"), 0, "{}", carol.stats());
    assert_eq!(shared_with(carol, &apart), "nobody");
    let mut doctor = carol.command(crate::harness::qnode());
    let doctor = carol.run(doctor.current_dir(&apart).arg("doctor"));
    assert!(
        doctor
            .out
            .contains("project pay, which is not open to this node"),
        "{}",
        doctor.out
    );

    let mut why = carol.command(crate::harness::qnode());
    let why = carol.run(why.current_dir(&apart).args(["why", "words"]));
    assert!(
        why.out
            .contains("no teammate was asked: project pay is not open to this node"),
        "{}",
        why.out
    );
    assert_eq!(carol.count("rejected.policy"), 0, "nothing was there");

    let mut show = bob.command(crate::harness::qnode());
    let show = bob.run(show.args(["show", "words", "--format", "json"]));
    assert!(show.out.contains("project pay"), "{}", show.out);

    // What Carol built for it stays with her, and was offered to nobody.
    carol.flush();
    let hers = entries(carol);
    assert!(!hers.is_empty());
    assert!(
        hers.iter().all(|e| matches!(e.scope, Scope::Project(..))),
        "{hers:?}"
    );
    assert_eq!(alice.count("bytes.served"), bob.count("bytes.fetched"));
}

#[test]
fn what_is_started_from_a_closed_workspace_is_closed_wherever_it_is_compiled() {
    let alice = Dev::new("alice");
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
    alice.qnode(&["project", "pay"]).succeeded();
    wait_in_it(&alice);
    let repo = closed(&alice, "repo");
    // What is unpacked to be tried is a workspace of its own.
    let package = ["package", "--offline", "--allow-dirty", "-p", "words"];
    alice.build(&repo, &package).succeeded();
    // So is what a fuzzer wants beside the crates.
    projects::write(
        &repo.join("fuzz"),
        &[
            (
                "Cargo.toml",
                "[package]\nname = \"fuzz\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\
                 [dependencies]\ngreet = { path = \"../greet\" }\n[workspace]\n",
            ),
            ("src/main.rs", "fn main() { greet::hello(\"fuzz\"); }\n"),
        ],
    );
    alice.build(&repo.join("fuzz"), &["build"]).succeeded();
    // From an open workspace, by the manifest's path, into that one's target directory; and a
    // crate that an open one depends on.
    let open = alice.path("open");
    plain(&open);
    alice.build(&open, &["build"]).succeeded();
    let manifest = repo.join("Cargo.toml");
    let mut by_manifest = alice.cargo(&open, &["build", "--release"]);
    by_manifest
        .arg("--manifest-path")
        .arg(&manifest)
        .env("CARGO_TARGET_DIR", open.join("target"));
    alice.run(&mut by_manifest).succeeded();
    let user = alice.path("user");
    projects::write(
        &user,
        &[
            (
                "Cargo.toml",
                "[package]\nname = \"plain\"\nversion = \"2.0.0\"\nedition = \"2024\"\n\
                 [dependencies]\nwords = { path = \"../repo/words\" }\n",
            ),
            ("src/lib.rs", "pub fn plain() -> u8 { 8 }\n"),
        ],
    );
    alice.build(&user, &["build"]).succeeded();

    let found = entries(&alice);
    let named = |e: &&Entry| !matches!(e.scope, Scope::Project(..));
    let open: Vec<_> = found.iter().filter(named).map(|e| &*e.crate_name).collect();
    assert_eq!(open, ["plain", "plain"]);
    // Packaged, for the fuzzer, in release: each was compiled indeed.
    for (name, times) in [("words", 3), ("greet", 2), ("app", 1), ("fuzz", 1)] {
        let all = found.iter().filter(|e| e.crate_name == name);
        assert_eq!(all.count(), times, "{name}");
    }
}

#[test]
fn what_is_open_is_shared_beside_what_is_closed() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    alice.qnode(&["project", "pay"]).succeeded();
    let here = closed(alice, "closed");
    alice.build(&here, &["build"]).succeeded();
    let open = alice.path("open");
    plain(&open);
    alice.build(&open, &["build"]).succeeded();
    wait_keys(bob, alice);
    let there = bob.path("there");
    plain(&there);
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(bob.count("misses"), 0, "{}", bob.stats());
    assert!(bob.count("hits.peer") > 0);
    let same = bob.path("same");
    projects::small(&same);
    bob.build(&same, &["build"]).succeeded();
    assert_eq!(bob.count("misses"), 3, "{}", bob.stats());
}

#[test]
fn bob_is_shut_out_and_what_alice_builds_next_is_no_longer_his() {
    let devs = team(&["alice", "bob", "carol"]);
    let (alice, bob, carol) = (&devs[0], &devs[1], &devs[2]);
    let pay = ["project", "pay", "--open-to", "bob", "--open-to", "carol"];
    alice.qnode(&pay).succeeded();
    for dev in [bob, carol] {
        wait_in_it(dev);
    }
    alice
        .qnode(&["project", "pay", "--close-to", "bob"])
        .succeeded();
    wait_for("Bob to know it", || {
        let projects = bob.json(&["projects"]);
        (projects[0]["here"] == false).then_some(())
    });
    wait_in_it(carol);
    let here = closed(alice, "checkout");
    alice.build(&here, &["build"]).succeeded();
    wait_keys(carol, alice);
    let hers = closed(carol, "hers");
    carol.build(&hers, &["build"]).succeeded();
    assert_eq!(carol.count("hits.peer"), 3, "{}", carol.stats());
    let his = closed(bob, "his");
    bob.build(&his, &["build"]).succeeded();
    assert_eq!(bob.count("hits.peer"), 0, "{}", bob.stats());

    // Revoked, Carol leaves no secret behind that holds.
    let before = alice.home().join("team.bin");
    let before = std::fs::read(before).unwrap();
    alice.qnode(&["revoke", "carol"]).succeeded();
    let after = std::fs::read(alice.home().join("team.bin")).unwrap();
    assert_ne!(before, after);
    let projects = alice.json(&["projects"]);
    assert_eq!(projects[0]["members"], serde_json::json!(["alice"]));
}

/// Alice builds what this makes of her `quarry.toml`, for nobody; Bob gets nothing of it.
#[track_caller]
fn built_for_nobody(alice: &Dev, bob: &Dev, make: impl Fn(&Path)) -> PathBuf {
    let here = alice.path("checkout");
    projects::small(&here);
    make(&here.join("quarry.toml"));
    alice.build(&here, &["build"]).succeeded();
    assert_eq!(shared_with(alice, &here), "nobody");
    alice.flush();
    let there = bob.path("there");
    projects::small(&there);
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(bob.count("hits.peer"), 0, "{}", bob.stats());
    here
}

#[test]
fn a_quarry_toml_that_is_a_link_to_nothing_shares_nothing() {
    let devs = team(&["alice", "bob"]);
    built_for_nobody(&devs[0], &devs[1], |file| {
        std::os::unix::fs::symlink("/nowhere/quarry.toml", file).unwrap();
    });
}

#[test]
fn a_quarry_toml_that_cannot_be_understood_shares_nothing() {
    let devs = team(&["alice", "bob"]);
    let alice = &devs[0];
    let here = built_for_nobody(alice, &devs[1], |file| {
        std::fs::write(file, "scoop = \"pay\"\n").unwrap();
    });
    // Hers she has all the same.
    std::fs::remove_dir_all(here.join("target")).unwrap();
    alice.build(&here, &["build"]).succeeded();
    assert_eq!(alice.count("hits.local"), 3, "{}", alice.stats());
}
