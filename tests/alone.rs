//! One developer, one node: no set-up, hits after `cargo clean`, hits in another checkout.

use crate::harness::{Dev, assert_same_files, libraries, projects, qwrap};
use std::fs;

#[test]
fn alice_builds_twice_and_the_second_build_compiles_no_library() {
    let alice = Dev::new("alice");
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    alice.build(&checkout, &["build"]).succeeded();
    assert_eq!(
        alice.count("misses"),
        3,
        "both libraries and the program were stored: {}",
        alice.stats()
    );
    let first = libraries(&checkout.join("target"), "debug");

    fs::remove_dir_all(checkout.join("target")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    assert_eq!(alice.count("hits.local"), 3, "{}", alice.stats());
    assert_eq!(alice.count("misses"), 3);
    assert_same_files(&first, &libraries(&checkout.join("target"), "debug"));

    let again = alice.build(&checkout, &["build", "-v"]).succeeded();
    assert!(
        again.err.contains("Fresh words"),
        "nothing is left to do: {}",
        again.err
    );
    assert!(!again.err.contains("Running"), "{}", again.err);
    let ran = alice.run(alice.command(checkout.join("target/debug/app")).arg(""));
    assert_eq!(ran.out, "hello, desk\n");
}

#[test]
fn another_checkout_with_another_cargo_home_hits() {
    let mut alice = Dev::new("alice");
    let (here, there) = (alice.path("here"), alice.path("quite/another/place"));
    projects::small(&here);
    projects::small(&there);
    alice.build(&here, &["build"]).succeeded();
    alice.env.push((
        "CARGO_HOME".into(),
        alice.path("other-cargo").display().to_string(),
    ));
    alice.build(&there, &["build"]).succeeded();
    assert_eq!(alice.count("hits.local"), 3, "{}", alice.stats());
    assert_same_files(
        &libraries(&here.join("target"), "debug"),
        &libraries(&there.join("target"), "debug"),
    );
    let again = alice.build(&there, &["build", "-v"]).succeeded();
    assert!(
        !again.err.contains("Running"),
        "the next build is fresh: {}",
        again.err
    );
}

#[test]
fn check_and_release_have_entries_of_their_own() {
    let alice = Dev::new("alice");
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    for (args, misses) in [
        (&["check"][..], 3),
        (&["build"], 6),
        (&["build", "--release"], 9),
    ] {
        alice.build(&checkout, args).succeeded();
        assert_eq!(
            alice.count("misses"),
            misses,
            "after {args:?}: {}",
            alice.stats()
        );
    }
    fs::remove_dir_all(checkout.join("target")).unwrap();
    for (args, hits) in [
        (&["check"][..], 3),
        (&["build"], 6),
        (&["build", "--release"], 9),
    ] {
        alice.build(&checkout, args).succeeded();
        assert_eq!(
            alice.count("hits.local"),
            hits,
            "after {args:?}: {}",
            alice.stats()
        );
    }
}

#[test]
fn every_request_is_counted_once_and_bypasses_have_reasons() {
    let alice = Dev::new("alice");
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    alice.build(&checkout, &["build"]).succeeded();
    let odd = "-Clink-arg=-Wl,-rpath,/nowhere";
    let rustc = ["rustc", "-p", "app", "--", odd];
    alice.build(&checkout, &rustc).succeeded();
    let s = alice.stats();
    let n = |v: &serde_json::Value| v.as_u64().unwrap();
    let ended = n(&s["queries"])
        + n(&s["hits"]["local"])
        + n(&s["hits"]["peer"])
        + n(&s["misses"])
        + n(&s["bypasses"]);
    assert_eq!(n(&s["requests"]), ended, "{s}");
    assert_eq!(n(&s["bypass_reasons"]["link-argument"]), 1, "{s}");
    assert!(
        n(&s["queries"]) >= 1,
        "cargo asks for the version first: {s}"
    );
}

#[test]
fn quarry_off_is_transparent_and_starts_nothing() {
    let mut alice = Dev::new("alice");
    alice.env.push(("QUARRY".into(), "off".into()));
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    alice.build(&checkout, &["build"]).succeeded();
    assert!(!alice.home().join("node.sock").exists());
}

#[test]
fn a_module_edited_and_reverted_misses_and_hits() {
    let alice = Dev::new("alice").never_incremental();
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    alice.build(&checkout, &["build"]).succeeded();
    let module = checkout.join("greet/src/polite.rs");
    let text = fs::read_to_string(&module).unwrap();
    fs::write(&module, text.replace("{word}, {who}", "{word}! {who}")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    assert_eq!(
        alice.count("misses"),
        5,
        "the edited crate and the program: {}",
        alice.stats()
    );
    let ran = alice.run(&mut alice.command(checkout.join("target/debug/app")));
    assert_eq!(ran.out, "hello! desk\n");
    fs::write(&module, text).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    assert_eq!(alice.count("hits.local"), 2, "{}", alice.stats());
    let ran = alice.run(&mut alice.command(checkout.join("target/debug/app")));
    assert_eq!(ran.out, "hello, desk\n");
}

#[test]
fn the_wrapper_is_small_and_knows_no_runtime_database_or_network() {
    let size = fs::metadata(qwrap()).unwrap().len();
    // The release build is held to 2 MB; this one carries debug information besides.
    assert!(size < 30 << 20, "qwrap has {size} bytes");
    let tree = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            "quarry-wrapper",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("quarry-trust"), "cargo tree speaks: {tree}");
    for banned in [
        "tokio",
        "clap",
        "redb",
        "libp2p",
        "serde_json",
        "quarry-node",
    ] {
        let found = tree
            .lines()
            .find(|l| l.split_whitespace().next() == Some(banned));
        assert!(
            found.is_none(),
            "quarry-wrapper must not depend on {banned}"
        );
    }
}
