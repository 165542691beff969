//! Who built what, what became of it, and how it is taken back: a builder is revoked, and what it
//! had signed leaves the nodes; its reach is told; a file's maker is proved to others.

use crate::harness::{
    Dev, SOON, joined, projects, team, tell, wait_connected, wait_for, wait_keys,
};
use quarry_node::store::{RedbStore, Store};
use quarry_trust::canon::Canonical;
use quarry_trust::{Digest, Entry};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long what a revoked builder signed may stay on a disk.
const UNLINKED_WITHIN: Duration = Duration::from_secs(60);

/// A program over a library, a macro, and a library that is made from both; and one of no account.
fn workspace(dir: &Path) {
    let package = |name: &str, more: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}")
    };
    let on = |names: &[&str]| {
        let lines = names
            .iter()
            .map(|n| format!("{n} = {{ path = \"../{n}\" }}\n"));
        format!("[dependencies]\n{}", lines.collect::<String>())
    };
    let files = [
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"app\", \"greet\", \"other\", \"shout\", \"words\"]\nresolver = \"2\"\n"
                .to_owned(),
        ),
        ("app/Cargo.toml", package("app", &on(&["greet", "other"]))),
        (
            "app/src/main.rs",
            "fn main() { println!(\"{} {}\", greet::hello(), other::NUMBER); }\n".to_owned(),
        ),
        ("greet/Cargo.toml", package("greet", &on(&["shout", "words"]))),
        (
            "greet/src/lib.rs",
            "pub fn hello() -> String { format!(\"{}{}\", words::HELLO, shout::shout!()) }\n"
                .to_owned(),
        ),
        ("other/Cargo.toml", package("other", "")),
        ("other/src/lib.rs", "pub const NUMBER: u32 = 1;\n".to_owned()),
        (
            "shout/Cargo.toml",
            package("shout", "[lib]\nproc-macro = true\n"),
        ),
        (
            "shout/src/lib.rs",
            "use proc_macro::TokenStream;\n#[proc_macro]\npub fn shout(_: TokenStream) -> TokenStream { \"\\\"!\\\"\".parse().unwrap() }\n"
                .to_owned(),
        ),
        ("words/Cargo.toml", package("words", "")),
        ("words/src/lib.rs", "pub const HELLO: &str = \"hello\";\n".to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (*p, t.as_str())).collect();
    projects::write(dir, &files);
}

/// How the members of this name stands, by this node.
fn standing(dev: &Dev, name: &str) -> String {
    let members = dev.control("\"members\"");
    let mut members = members.as_array().unwrap().iter();
    let member = members.find(|m| m["name"] == name).unwrap();
    member["standing"].as_str().unwrap().to_owned()
}

fn blast(dev: &Dev, builder: &str) -> Value {
    dev.json(&["purge", "--builder", builder, "--dry-run"])
}

/// (crate, kind) of a report, by how they came there.
fn crates(report: &Value, how: &str) -> BTreeSet<(String, String)> {
    let crates = report["crates"].as_array().unwrap().iter();
    let some = crates.filter(|c| c["how"] == how);
    let text = |c: &Value, field: &str| c[field].as_str().unwrap().to_owned();
    some.map(|c| (text(c, "crate_name"), text(c, "kind")))
        .collect()
}

fn pairs(of: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    of.iter().map(owned).collect()
}

/// The files of a report that hold what came of the builder.
fn held(report: &Value) -> BTreeSet<PathBuf> {
    let files = report["files"].as_array().unwrap().iter();
    let held = files.filter(|f| f["state"] == "holds");
    held.map(|f| f["path"].as_str().unwrap().into()).collect()
}

/// What cargo left of some crates: libraries, macros and programs, in `deps` and above.
fn left_of(target: &Path, names: &[&str]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for dir in [target.join("debug/deps"), target.join("debug")] {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let stem = name.trim_start_matches("lib");
            let of = |crate_name: &&&str| {
                let rest = stem.strip_prefix(**crate_name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
            };
            if path.is_file() && !name.ends_with(".d") && names.iter().any(|n| of(&n)) {
                found.insert(path);
            }
        }
    }
    found
}

/// Every object of what a builder signed and no other did, by the node's own store; the node is
/// stopped for the look.
fn objects_of(dev: &Dev, builder: &str) -> (u64, BTreeSet<Digest>) {
    dev.qnode(&["stop"]).succeeded();
    let (store, _) = RedbStore::open(&dev.home().join("store")).unwrap();
    let (mut theirs, mut others, mut entries) = (BTreeSet::new(), BTreeSet::new(), 0);
    store
        .each_offer(&mut |offer| {
            let entry = Entry::from_canon(&offer.signed.bytes).unwrap();
            let objects = entry.objects().map(|o| o.digest);
            if entry.builder.to_hex() == builder {
                entries += 1;
                theirs.extend(objects);
            } else {
                others.extend(objects);
            }
        })
        .unwrap();
    drop(store);
    dev.start();
    (entries, &theirs - &others)
}

/// Which of these objects lie in the store: in the database, and as files beside it.
fn still_there(dev: &Dev, objects: &BTreeSet<Digest>) -> (usize, usize) {
    dev.qnode(&["stop"]).succeeded();
    let dir = dev.home().join("store");
    let (store, _) = RedbStore::open(&dir).unwrap();
    let rows = objects.iter().filter(|d| store.has(d).unwrap()).count();
    let file = |d: &&Digest| {
        let hex = d.to_hex();
        dir.join("objects").join(&hex[..2]).join(&hex[2..]).exists()
    };
    (rows, objects.iter().filter(file).count())
}

fn builder_of(dev: &Dev) -> String {
    dev.json(&["status"])["builder"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn mallory_is_revoked_and_her_reach_is_told_to_the_file() {
    let names = ["alice", "bob", "carol", "dave", "mallory"];
    let devs = names.map(|name| Dev::new(name).never_incremental());
    let devs = joined(devs.into(), &names);
    let [alice, bob, carol, dave, mallory] = &devs[..] else {
        panic!("five developers");
    };
    let (hers, his, carols) = (mallory.path("ws"), bob.path("his/ws"), carol.path("c/ws"));
    [&hers, &his, &carols].iter().for_each(|dir| workspace(dir));
    mallory.build(&hers, &["build"]).succeeded();
    dave.qnode(&["stop"]).succeeded();

    // Bob has changed `greet`, which Mallory's macro runs in, and a crate of no account.
    fs::write(
        his.join("greet/src/lib.rs"),
        "pub fn hello() -> String { format!(\"{}, {}\", words::HELLO, shout::shout!()) }\n",
    )
    .unwrap();
    fs::write(his.join("other/src/lib.rs"), "pub const NUMBER: u32 = 2;\n").unwrap();
    wait_keys(bob, mallory);
    bob.build(&his, &["build"]).succeeded();
    assert_eq!(
        bob.count("hits.peer"),
        2,
        "{}",
        bob.qnode(&["why", "--all"]).out
    );
    wait_keys(carol, mallory);
    carol.build(&carols, &["build"]).succeeded();
    assert_eq!(
        carol.count("hits.peer"),
        5,
        "{}",
        carol.qnode(&["why", "--all"]).out
    );
    let key = builder_of(mallory);
    let (entries, objects) = objects_of(bob, &key);
    assert_eq!(entries, 2);
    let there = still_there(bob, &objects);
    assert!(
        there.0 >= 4 && there.1 >= 1,
        "in the database and beside it: {there:?}"
    );
    bob.start();
    wait_connected(bob, 3);

    revoked_and_removed(alice, bob);
    told_to_the_file(bob, &his);
    assert_eq!(still_there(bob, &objects), (0, 0), "rows and files");
}

/// Mallory is revoked; her entries leave Bob's store in time.
fn revoked_and_removed(alice: &Dev, bob: &Dev) {
    let began = Instant::now();
    alice.qnode(&["revoke", "mallory"]).succeeded();
    wait_for("Bob's store to be without her entries", || {
        let report = blast(bob, "mallory");
        (report["entries"] == 0 && report["standing"] == "revoked").then_some(())
    });
    let took = began.elapsed();
    tell(&format!(
        "what she signed left Bob's disk {took:.1?} after the revocation"
    ));
    assert!(took < UNLINKED_WITHIN, "{took:?}");
}

/// The journal outlives what it tells of: Bob's report names just what came of Mallory.
fn told_to_the_file(bob: &Dev, his: &Path) {
    let report = blast(bob, "mallory");
    assert_eq!(
        crates(&report, "restored"),
        pairs(&[("shout", "macro"), ("words", "library")])
    );
    assert_eq!(
        crates(&report, "built-from"),
        pairs(&[("app", "program"), ("greet", "library")])
    );
    assert_eq!(report["projects"], serde_json::json!([his]));
    let target = his.join("target");
    let expected = left_of(&target, &["shout", "words", "greet", "app"]);
    assert_eq!(held(&report), expected);
    assert!(expected.contains(&target.join("debug/app")), "{expected:?}");
    told_of_members(&report);
    let text = bob.qnode(&["purge", "--builder", "mallory", "--dry-run"]);
    let text = text.succeeded().out;
    assert!(
        text.contains(&target.join("debug/app").display().to_string()),
        "{text}"
    );
    assert!(text.contains("not asked"), "{text}");

    // What is deleted holds nothing any more.
    fs::remove_file(target.join("debug/app")).unwrap();
    assert!(!held(&blast(bob, "mallory")).contains(&target.join("debug/app")));
}

/// Carol's machine is named, for the macro and the program; Dave is away, and nobody says that he
/// has nothing.
fn told_of_members(report: &Value) {
    let members = report["members"].as_array().unwrap();
    let member = |name: &str| members.iter().find(|m| m["name"] == name).unwrap();
    let carols = member("carol");
    assert_eq!(carols["asked"], true, "{report}");
    assert_eq!(carols["executes"], serde_json::json!(["app", "shout"]));
    assert_eq!(
        carols["libraries"],
        serde_json::json!(["greet", "other", "words"])
    );
    assert_eq!(member("alice")["executes"], serde_json::json!([]));
    assert_eq!(member("dave")["asked"], false);
}

#[test]
fn ten_nodes_hear_of_a_revocation_and_what_was_away_hears_before_its_first_hit() {
    let names: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let devs: Vec<Dev> = names.iter().map(|name| Dev::new(name)).collect();
    devs[0]
        .qnode(&["team", "create", "desk", "--name", names[0]])
        .succeeded();
    for (dev, name) in devs.iter().zip(&names).skip(1) {
        let ticket = devs[0].qnode(&["invite"]).succeeded().out;
        dev.qnode(&["join", ticket.trim(), "--name", name])
            .succeeded();
        wait_connected(dev, 1);
    }
    let (admin, bad, away) = (&devs[0], &devs[1], &devs[2]);
    let checkout = |dev: &Dev| dev.path("ws");
    for dev in &devs {
        projects::small(&checkout(dev));
    }
    bad.build(&checkout(bad), &["build"]).succeeded();
    wait_connected(admin, 9);
    let some = [away, &devs[3], &devs[9]];
    for dev in some {
        wait_for("a connection to who has it", || {
            let peers = dev.control("\"peers\"");
            let mut peers = peers.as_array()?.iter();
            peers.find(|p| p["name"] == "m1" && p["connected"] == true)?;
            Some(())
        });
        wait_keys(dev, bad);
        dev.build(&checkout(dev), &["build"]).succeeded();
        assert_eq!(dev.count("hits.peer"), 3, "{}", dev.stats());
    }
    away.qnode(&["stop"]).succeeded();

    let reachable: Vec<&Dev> = devs.iter().skip(3).collect();
    let began = Instant::now();
    admin.qnode(&["revoke", "m1"]).succeeded();
    let said = began.elapsed();
    let mut slowest = Duration::ZERO;
    for dev in &reachable {
        while standing(dev, "m1") != "revoked" {
            assert!(began.elapsed() < SOON, "nobody told it");
            std::thread::yield_now();
        }
        slowest = began.elapsed();
    }
    tell(&format!(
        "{} nodes believe a revoked builder no more {slowest:.2?} after `qnode revoke` was typed (it returned after {said:.2?})",
        reachable.len()
    ));
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");

    // Who was away hears of it before it hits, though it builds at once.
    away.start();
    for dev in some {
        fs::remove_dir_all(checkout(dev).join("target")).unwrap();
        let before = (dev.count("hits.local"), dev.count("hits.peer"));
        dev.build(&checkout(dev), &["build"]).succeeded();
        let signed = dev.recent().iter().rev().take(3).any(|r| {
            r["signed_by"] == "m1" && r["outcome"].as_str().is_some_and(|o| o.starts_with("hit"))
        });
        assert!(!signed, "{}", dev.stats());
        assert_eq!(dev.count("hits.local"), before.0, "{}", dev.stats());
    }
}

#[test]
fn bob_proves_to_others_that_alice_built_his_program() {
    let devs = team(&["alice", "bob", "carol"]);
    let (alice, bob, carol) = (&devs[0], &devs[1], &devs[2]);
    let (here, there) = (alice.path("ws"), bob.path("b/ws"));
    [&here, &there].iter().for_each(|dir| projects::small(dir));
    alice.build(&here, &["build"]).succeeded();
    wait_keys(bob, alice);
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(bob.count("hits.peer"), 3, "{}", bob.stats());
    recorded(bob, &builder_of(alice));

    let (app, statement) = (there.join("target/debug/app"), bob.path("app.intoto.json"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let said = bob.qnode(&["attest", &text(&app), "-o", &text(&statement)]);
    assert!(said.succeeded().err.contains("built by alice"));
    let hashed = fs::read_dir(there.join("target/debug/deps")).unwrap();
    let hashed = hashed.map(|e| e.unwrap().path()).find(|p| {
        let name = p.file_name().unwrap().to_str().unwrap();
        name.starts_with("app-") && !name.contains('.')
    });
    let hashed = hashed.unwrap();
    for (dev, file) in [(bob, &app), (alice, &hashed), (carol, &app)] {
        let proved = dev.qnode(&["attest", "--verify", &text(&statement), &text(file)]);
        let proved = proved.succeeded().out;
        assert!(
            proved.contains("built by") && proved.contains("alice"),
            "{proved}"
        );
        assert!(
            proved.contains("proved: these builders made this file"),
            "{proved}"
        );
    }
    // Another file, a changed statement, a file that nobody built.
    let other = there
        .join("target/debug/deps")
        .join(hashed.file_name().unwrap());
    let words = fs::read_dir(other.parent().unwrap()).unwrap();
    let words = words
        .map(|e| e.unwrap().path())
        .find(|p| text(p).ends_with(".rlib"));
    let wrong = bob.qnode(&[
        "attest",
        "--verify",
        &text(&statement),
        &text(&words.unwrap()),
    ]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("other bytes"), "{}", wrong.err);
    let bent = bob.path("bent.json");
    fs::write(
        &bent,
        fs::read_to_string(&statement)
            .unwrap()
            .replacen("\"sig\": \"", "\"sig\": \"AA", 1),
    )
    .unwrap();
    let refused = bob.qnode(&["attest", "--verify", &text(&bent)]);
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    let nobodys = bob.qnode(&["attest", &text(&there.join("Cargo.toml"))]);
    assert_eq!(nobodys.code, Some(1));
    assert!(
        nobodys.err.contains("no entry here made a file"),
        "{}",
        nobodys.err
    );
    assert_eq!(bob.qnode(&["attest", "/no/such/file"]).code, Some(1));
}

/// The record of a crate that Bob restored names its builder, inputs and outputs.
fn recorded(bob: &Dev, alice: &str) {
    let record = bob.json(&["log", "--entry", "greet"]);
    assert_eq!(record["builder"], alice);
    assert_eq!(record["builder_name"], "alice");
    assert_eq!(record["standing"], "stands");
    assert_eq!(record["verdict"], "verified");
    assert!(record["machine"].as_str().unwrap().starts_with("12D3"));
    assert_eq!(record["signature"].as_str().unwrap().len(), 128);
    assert!(record["compiler"].as_str().unwrap().starts_with("rustc "));
    assert_eq!(record["compiler_digest"].as_str().unwrap().len(), 64);
    let files = record["files"].as_array().unwrap();
    assert!(
        files
            .iter()
            .any(|f| f[0] == "/quarry/ws/greet/src/polite.rs"),
        "{record}"
    );
    let action = record["action"].as_str().unwrap();
    let text = bob.qnode(&["log", "--entry", &action[..8]]).succeeded().out;
    assert!(text.contains("alice") && text.contains(alice), "{text}");
    assert_eq!(
        record,
        bob.json(&["show", "greet"]),
        "one record, whoever asks"
    );
}
