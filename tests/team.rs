//! Several developers: who may join, and whose work is restored where.

use crate::harness::{
    Dev, assert_same_files, libraries, projects, team, wait_connected, wait_for, wait_keys,
};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn alice_builds_bob_hits() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    let (here, there) = (alice.path("checkout"), bob.path("some/other/checkout"));
    projects::small(&here);
    projects::small(&there);
    alice.build(&here, &["build"]).succeeded();
    wait_keys(bob, alice);
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(bob.count("hits.peer"), 3, "{}", bob.stats());
    assert_eq!(bob.count("misses"), 0, "{}", bob.stats());
    assert!(bob.count("bytes.fetched") > 0);
    assert!(alice.count("bytes.served") > 0);
    assert_same_files(
        &libraries(&here.join("target"), "debug"),
        &libraries(&there.join("target"), "debug"),
    );
    let ran = bob.run(&mut bob.command(there.join("target/debug/app")));
    assert_eq!(ran.out, "hello, desk\n");
    let again = bob.build(&there, &["build", "-v"]).succeeded();
    assert!(
        !again.err.contains("Running"),
        "the next build is fresh: {}",
        again.err
    );

    // What was fetched is Bob's now, under Alice's signature.
    std::fs::remove_dir_all(there.join("target")).unwrap();
    alice.qnode(&["stop"]).succeeded();
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(bob.count("hits.local"), 3, "{}", bob.stats());
    let key = bob.home();
    assert!(key.exists());
}

#[test]
fn what_was_built_before_the_team_was_made_is_shared_with_it() {
    let (alice, bob) = (Dev::new("alice"), Dev::new("bob"));
    let (here, there) = (alice.path("checkout"), bob.path("there"));
    projects::small(&here);
    projects::small(&there);
    alice.build(&here, &["build"]).succeeded();
    alice.qnode(&["team", "create", "desk"]).succeeded();
    let ticket = alice.qnode(&["invite"]).succeeded().out;
    bob.qnode(&["join", ticket.trim()]).succeeded();
    wait_connected(&bob, 1);
    wait_keys(&bob, &alice);
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(bob.count("hits.peer"), 3, "{}", bob.stats());
}

#[test]
fn a_ticket_serves_once_and_says_so() {
    let (alice, bob, eve) = (Dev::new("alice"), Dev::new("bob"), Dev::new("eve"));
    alice.qnode(&["team", "create", "desk"]).succeeded();
    let ticket = alice.qnode(&["invite"]).succeeded().out;
    let ticket = ticket.trim();
    assert_eq!(ticket.lines().count(), 1, "the ticket alone is on stdout");
    bob.qnode(&["join", ticket]).succeeded();
    let late = eve.qnode(&["join", ticket]);
    assert_eq!(late.code, Some(1), "{}", late.err);
    assert!(late.err.contains("used already"), "{}", late.err);
    let cut = eve.qnode(&["join", &ticket[..ticket.len() - 7]]);
    assert_eq!(cut.code, Some(1));
    assert!(cut.err.contains("cut short"), "{}", cut.err);
}

#[test]
fn an_expired_ticket_is_refused() {
    let (alice, bob) = (Dev::new("alice"), Dev::new("bob"));
    alice.qnode(&["team", "create", "desk"]).succeeded();
    let ticket = alice.qnode(&["invite", "--expires", "1s"]).succeeded().out;
    let invited = std::time::Instant::now();
    wait_for("the ticket to expire", || {
        (invited.elapsed().as_millis() > 2_000).then_some(())
    });
    let refused = bob.qnode(&["join", ticket.trim()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("expired"), "{}", refused.err);
}

#[test]
fn bob_joins_by_address_after_both_compared_a_string() {
    let (alice, bob) = (Dev::new("alice"), Dev::new("bob"));
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
    // The door is shut until Alice waits; where it is, she is told.
    let mut approve = alice
        .command(crate::harness::qnode())
        .args(["approve", "bob", "--yes"])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let address = wait_for("the door to open", || {
        alice.json(&["status"])["door"]
            .as_array()?
            .first()?
            .as_str()
            .map(str::to_owned)
    });
    let joined = bob.qnode(&["join", &address, "--name", "bob"]).succeeded();
    let mut lines = BufReader::new(approve.stderr.take().unwrap()).lines();
    let mut alices = String::new();
    while let Some(Ok(line)) = lines.next() {
        alices.push_str(&line);
        alices.push('\n');
    }
    let out = approve.wait_with_output().unwrap();
    assert!(out.status.success(), "{alices}");
    alices.push_str(&String::from_utf8_lossy(&out.stdout));
    let code = joined
        .err
        .split_whitespace()
        .chain(joined.out.split_whitespace())
        .map(|w| w.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
        .find(|w| w.len() == 9 && w.as_bytes()[4] == b'-')
        .unwrap_or_else(|| panic!("Bob is shown a code: {} {}", joined.err, joined.out));
    assert!(alices.contains(code), "Alice sees {code}, too: {alices}");
    wait_connected(&bob, 1);
    let members = bob.json(&["members"]);
    assert_eq!(members.as_array().unwrap().len(), 2, "{members}");
}

#[test]
fn a_revoked_builder_is_cut_off_and_its_entries_stop_hitting() {
    let devs = team(&["alice", "bob", "carol"]);
    let (alice, bob, carol) = (&devs[0], &devs[1], &devs[2]);
    let (his, hers) = (bob.path("checkout"), carol.path("there"));
    projects::small(&his);
    projects::small(&hers);
    bob.build(&his, &["build"]).succeeded();
    wait_keys(carol, bob);
    carol.build(&hers, &["build"]).succeeded();
    assert_eq!(carol.count("hits.peer"), 3, "{}", carol.stats());

    let began = std::time::Instant::now();
    alice.qnode(&["revoke", "bob"]).succeeded();
    wait_for("Carol to hear of it", || {
        let members = carol.json(&["members"]);
        let bob = members
            .as_array()?
            .iter()
            .find(|m| m["name"] == "bob")?
            .clone();
        (bob["standing"] == "revoked" && bob["connected"] == false).then_some(())
    });
    assert!(began.elapsed().as_secs() < 5, "took {:?}", began.elapsed());
    std::fs::remove_dir_all(hers.join("target")).unwrap();
    carol.build(&hers, &["build"]).succeeded();
    assert_eq!(
        carol.count("hits.local"),
        0,
        "what Bob signed is used no more: {}",
        carol.stats()
    );
    assert!(carol.count("rejected.revoked") > 0, "{}", carol.stats());
}

#[test]
fn bob_leaves_and_is_no_member_any_more() {
    let devs = team(&["alice", "bob"]);
    devs[1].qnode(&["leave"]).succeeded();
    assert!(devs[1].json(&["status"])["team"].is_null());
    wait_for("Alice to take notice", || {
        let members = devs[0].json(&["members"]);
        members
            .as_array()?
            .iter()
            .any(|m| m["standing"] == "retired")
            .then_some(())
    });
}

#[test]
fn a_reader_uses_the_team_and_publishes_nothing() {
    let (alice, bob) = (Dev::new("alice"), Dev::new("bob"));
    alice.qnode(&["team", "create", "desk"]).succeeded();
    let ticket = alice.qnode(&["invite", "--role", "reader"]).succeeded().out;
    bob.qnode(&["join", ticket.trim()]).succeeded();
    wait_connected(&bob, 1);
    let (here, there) = (alice.path("a"), bob.path("b"));
    projects::small(&here);
    projects::small(&there);
    std::fs::write(
        there.join("words/src/lib.rs"),
        "pub const HELLO: &str = \"hi\";\n",
    )
    .unwrap();
    alice.build(&here, &["build"]).succeeded();
    wait_keys(&bob, &alice);
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(bob.count("misses"), 3, "{}", bob.stats());
    std::fs::write(
        here.join("words/src/lib.rs"),
        "pub const HELLO: &str = \"hi\";\n",
    )
    .unwrap();
    alice.build(&here, &["build"]).succeeded();
    assert_eq!(alice.count("hits.peer"), 0, "{}", alice.stats());
}

#[test]
fn what_cannot_be_joined_is_said_at_once_and_a_refused_name_leaves_nothing_behind() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let alice = Dev::new("alice");
    for cut in ["quarry1abc", "", "127.0.0.1:99999"] {
        let said = alice.qnode(&["join", cut]);
        assert_eq!(said.code, Some(1), "{cut:?}");
        assert!(!said.err.contains("Asking"), "{cut:?}: {}", said.err);
    }
    // Nobody listens there; perhaps somebody soon does, so it goes on, and says so.
    let mut join = alice
        .command(crate::harness::qnode())
        .args(["join", "127.0.0.1:1", "--name", "alice"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(join.stderr.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().starts_with("Asking 127.0.0.1:1"));
    let waiting = next();
    assert!(
        waiting.contains("Nobody there yet") && waiting.contains("refused"),
        "{waiting}"
    );
    join.kill().unwrap();
    join.wait().unwrap();

    let refused = alice.qnode(&["team", "create", " "]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("cannot be used"), "{}", refused.err);
    assert!(!alice.home().join("root.key").exists());
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
}
