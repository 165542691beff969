//! gc, fsck, purge, flush, the size limit, and the counters' survival.

use crate::harness::{Dev, files, projects, wait_for};
use std::fs;

fn built(alice: &Dev) -> std::path::PathBuf {
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    alice.build(&checkout, &["build"]).succeeded();
    checkout
}

#[test]
fn gc_to_nothing_makes_misses_and_keeps_the_node_well() {
    let alice = Dev::new("alice");
    let checkout = built(&alice);
    assert!(alice.json(&["status"])["store"]["bytes"].as_u64().unwrap() > 0);
    alice.qnode(&["purge", "--all", "--yes"]).succeeded();
    let store = alice.json(&["status"])["store"].clone();
    assert_eq!(
        (store["entries"].as_u64(), store["bytes"].as_u64()),
        (Some(0), Some(0)),
        "{store}"
    );
    fs::remove_dir_all(checkout.join("target")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    assert_eq!(alice.count("misses"), 6, "{}", alice.stats());
}

#[test]
fn purge_by_crate_takes_that_crate_alone() {
    let alice = Dev::new("alice");
    let checkout = built(&alice);
    let said = alice
        .qnode(&["purge", "--crate", "words", "--yes"])
        .succeeded();
    assert!(said.out.contains('1'), "{}", said.out);
    fs::remove_dir_all(checkout.join("target")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    let s = alice.stats();
    assert_eq!(
        (s["hits"]["local"].as_u64(), s["misses"].as_u64()),
        (Some(2), Some(4)),
        "{s}"
    );
}

#[test]
fn purge_wants_to_be_told_what_and_asks_first() {
    let alice = Dev::new("alice");
    built(&alice);
    assert_eq!(alice.qnode(&["purge"]).code, Some(2));
    assert_ne!(
        alice.qnode(&["purge", "--all"]).code,
        Some(0),
        "without a terminal it needs --yes"
    );
    assert_ne!(alice.json(&["status"])["store"]["entries"], 0);
}

#[test]
fn the_size_limit_is_kept_by_evicting() {
    let mut alice = Dev::new("alice");
    alice.env.push(("QUARRY_STORE_LIMIT".into(), "1000".into()));
    built(&alice);
    wait_for("the store to be kept to its limit", || {
        (alice.json(&["status"])["store"]["bytes"].as_u64()? <= 1000).then_some(())
    });
}

#[test]
fn fsck_finds_a_damaged_object_and_repairs() {
    let alice = Dev::new("alice");
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    // Large enough to lie in a file of its own.
    let table: String = (0..4000)
        .map(|i| format!("pub fn f{i}() -> u64 {{ {i} }}\n"))
        .collect();
    fs::write(
        checkout.join("words/src/lib.rs"),
        format!("pub const HELLO: &str = \"hello\";\n{table}"),
    )
    .unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    alice.flush();
    assert!(alice.qnode(&["fsck"]).succeeded().ok);
    let objects = files(&alice.home().join("store"), &|p| {
        p.to_string_lossy().contains("/objects/")
    });
    let (name, bytes) = objects
        .iter()
        .max_by_key(|o| o.1.len())
        .expect("an object in a file");
    let mut bent = bytes.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 0xff;
    let path = alice.home().join("store").join(name);
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, &bent).unwrap();

    let found = alice.qnode(&["fsck"]);
    assert_eq!(found.code, Some(1), "{} {}", found.out, found.err);
    alice.qnode(&["fsck", "--repair"]);
    assert!(alice.qnode(&["fsck"]).succeeded().ok);
    fs::remove_dir_all(checkout.join("target")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    let ran = alice.run(&mut alice.command(checkout.join("target/debug/app")));
    assert_eq!(ran.out, "hello, desk\n");
}

#[test]
fn counters_and_entries_survive_a_restart() {
    let alice = Dev::new("alice");
    let checkout = built(&alice);
    let before = alice.stats();
    alice.qnode(&["restart"]).succeeded();
    assert_eq!(alice.stats()["misses"], before["misses"]);
    fs::remove_dir_all(checkout.join("target")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    assert_eq!(alice.count("hits.local"), 3, "{}", alice.stats());
    alice.qnode(&["stats", "--reset"]).succeeded();
    assert_eq!(alice.count("requests"), 0);
    let why = alice.qnode(&["why", "greet"]).succeeded().out;
    assert!(why.contains("restored from this node's store"), "{why}");
}

#[test]
fn a_config_that_changed_since_the_start_is_told_until_the_restart() {
    let alice = Dev::new("alice");
    alice.start();
    let told = |dev: &Dev| dev.qnode(&["doctor"]).out.contains("config.toml changed");
    assert!(!told(&alice));
    let file = alice.home().join("config.toml");
    for text in ["[trust]\nagree = 2\n", "[trust]\nagree = 3\n"] {
        fs::write(&file, text).unwrap();
        assert!(told(&alice), "{text}");
        alice.qnode(&["restart"]).succeeded();
        assert!(!told(&alice), "{text}");
    }
    fs::remove_file(&file).unwrap();
    assert!(told(&alice), "gone is another, too");
}

#[test]
fn what_nobody_would_mean_is_refused_at_once() {
    let alice = Dev::new("alice");
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
    for (args, with) in [
        (&["project", "../x"][..], "cannot be a project's name"),
        (&["project", "a\\b"], "cannot be a project's name"),
    ] {
        let said = alice.qnode(args);
        assert_eq!(said.code, Some(1), "{}", said.out);
        assert!(said.err.contains(with), "{}", said.err);
    }
    assert!(alice.json(&["projects"]).as_array().unwrap().is_empty());
    // Nobody writes to it: who opened it as it came would wait for ever.
    let pipe = alice.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let pipe = pipe.to_str().unwrap();
    let said = alice.qnode(&["attest", "--verify", pipe]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.err.contains("not a regular file"), "{}", said.err);
}

#[test]
fn show_tells_what_an_entry_is() {
    let alice = Dev::new("alice");
    built(&alice);
    let entry = alice.json(&["show", "greet"]);
    assert_eq!(entry["crate_name"], "greet");
    let key = entry["action"].as_str().unwrap().to_owned();
    assert_eq!(alice.json(&["show", &key[..12]]), entry);
    assert_eq!(entry["verdict"], "verified");
    assert!(
        entry["compiler"].as_str().unwrap().starts_with("rustc "),
        "{entry}"
    );
    let files = entry["files"].as_array().unwrap();
    assert!(
        files
            .iter()
            .any(|f| f[0].as_str().unwrap().starts_with("/quarry/ws/")),
        "{entry}"
    );
    assert_eq!(alice.qnode(&["show", "nobody"]).code, Some(1));
}
