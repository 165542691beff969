//! What a teammate's build put in place after what ours was given is here before cargo asks for it.

use crate::harness::{Dev, joined, team, wait_for, wait_keys};
use crate::soundness::ground::{Place, counted, ended, members, package};
use std::process::Command;
use std::time::Duration;

/// Crates in a row, each upon the one before: `c0` is nobody's, and named first.
const CRATES: usize = 6;

fn row<'d>(dev: &'d Dev, name: &str) -> Place<'d> {
    let names: Vec<String> = (0..CRATES).map(|n| format!("c{n}")).collect();
    let mut all: Vec<&str> = vec!["app", "l"];
    all.extend(names.iter().map(String::as_str));
    let upon = |n: usize| format!("c{n} = {{ path = \"../c{n}\" }}");
    let mut files = vec![
        ("/Cargo.toml".to_owned(), members(&all)),
        (
            "Cargo.toml".to_owned(),
            package("l", &format!("[dependencies]\n{}", upon(CRATES - 1))),
        ),
        ("src/lib.rs".to_owned(), said(CRATES)),
    ];
    for (n, name) in names.iter().enumerate() {
        let before = n.checked_sub(1).map_or_else(String::new, upon);
        let manifest = package(name, &format!("[dependencies]\n{before}"));
        files.push((format!("/{name}/Cargo.toml"), manifest));
        files.push((format!("/{name}/src/lib.rs"), said(n)));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (&p[..], &t[..])).collect();
    Place::new(dev, name, &files)
}

/// The source of the crate that stands upon `n` others.
fn said(n: usize) -> String {
    match n.checked_sub(1) {
        None => "pub fn said() -> String { \"0\".into() }\n".into(),
        Some(b) => format!("pub fn said() -> String {{ format!(\"{{}} {n}\", c{b}::said()) }}\n"),
    }
}

/// Has cargo write the lock file, as a repository brings it.
fn locked(place: &Place<'_>) {
    let mut lock = place.command("generate-lockfile");
    place.dev.run(lock.arg("--offline")).succeeded();
}

/// `cargo build -p KRATE`.
fn only(place: &Place<'_>, krate: &str) -> Command {
    let mut only = place.command("build");
    only.args(["-p", krate]);
    only
}

fn holds(dev: &Dev) -> u64 {
    dev.json(&["status"])["store"]["entries"].as_u64().unwrap()
}

#[test]
fn one_crate_is_asked_for_and_the_rest_of_the_build_comes_after_it() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    let here = row(alice, "here");
    here.build().succeeded();
    let said = here.run();
    wait_keys(bob, alice);
    let there = row(bob, "some/where/else");
    let first = ended(
        bob,
        || drop(bob.run(&mut only(&there, "c0")).succeeded()),
        &|name| !name.is_empty(),
    );
    assert_eq!(first, "1 peer");
    let stored = alice.count("bytes.stored");
    wait_for("the rest to come", || {
        (bob.count("bytes.fetched") == stored).then_some(())
    });
    assert_eq!(alice.count("bytes.served"), stored, "each object once");
    assert_eq!(holds(bob), 1, "what nobody asked for is no entry of his");
    // Nobody is there any more who could be asked.
    alice.kill_node();
    let rest = counted(bob, || drop(there.build().succeeded()));
    assert_eq!(rest, format!("{CRATES} peer"), "they came from Alice");
    assert_eq!(there.run(), said);
    assert_eq!(bob.count("bytes.fetched"), stored);
    there.clean();
    let again = counted(bob, || drop(there.build().succeeded()));
    assert_eq!(again, format!("{} hit", CRATES + 1), "and are Bob's now");
}

#[test]
fn a_build_that_opens_as_a_teammates_did_is_on_its_way_before_the_first_crate() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    let here = row(alice, "here");
    locked(&here);
    here.build().succeeded();
    wait_keys(bob, alice);
    let stored = alice.count("bytes.stored");
    // Nothing of Bob's is what Alice compiled: each crate stands upon this one.
    let other = |name| {
        let place = row(bob, name);
        place.write(&[(
            "/c0/src/lib.rs",
            "pub fn said() -> String { \"x\".into() }\n",
        )]);
        locked(&place);
        place
    };
    let (apart, there) = (other("apart"), other("there"));
    // What is told cargo counts, too.
    bob.run(&mut only(&apart, "c0")).succeeded();
    assert_eq!(bob.count("bytes.fetched"), 0);
    let all = counted(bob, || drop(there.build().succeeded()));
    assert_eq!(all, format!("1 hit, {CRATES} miss"));
    // All but what both compiles left alike, and Bob's own had left by then.
    wait_for("Alice's build to come", || {
        (bob.count("bytes.fetched") > stored * 3 / 4).then_some(())
    });
    assert!(bob.count("bytes.fetched") <= stored, "each object once");
}

#[test]
fn what_the_rules_do_not_believe_is_not_fetched_unasked() {
    let names = ["alice", "bob", "carol"];
    let devs = joined(names.map(agreeing).into(), &names);
    let [alice, bob, carol] = &devs[..] else {
        panic!("three were asked for");
    };
    row(alice, "here").build().succeeded();
    wait_keys(bob, alice);
    let theirs = row(bob, "there");
    bob.run(&mut only(&theirs, "c0")).succeeded();
    assert_eq!(bob.count("misses"), 1, "Alice alone is not enough");
    wait_keys(carol, alice);
    wait_keys(carol, bob);
    let third = row(carol, "third");
    let before = alice.count("bytes.served") + bob.count("bytes.served");
    let first = counted(carol, || {
        drop(carol.run(&mut only(&third, "c0")).succeeded())
    });
    assert_eq!(first, "1 peer");
    // Time in which the others would have come.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(holds(carol), 2, "Alice's and Bob's word for the first");
    let served = alice.count("bytes.served") + bob.count("bytes.served") - before;
    assert_eq!(served, carol.count("bytes.fetched"));
    assert!(served < alice.count("bytes.stored") / CRATES as u64);
}

/// A developer for whom two members must say the same.
fn agreeing(name: &str) -> Dev {
    let mut dev = Dev::new(name);
    dev.env.push(("QUARRY_TRUST".into(), "agree=2".into()));
    dev
}
