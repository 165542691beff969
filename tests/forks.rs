//! Admins who change the team without hearing of each other, and one who does so on purpose.

use crate::harness::{Dev, projects, wait_connected, wait_for, wait_keys};
use crate::life::{refused, standings, team, wait_standing};

/// Alice and Bob, admins, each of whom let somebody in while the other was away: Carol and Dave,
/// who sleep.
fn forked() -> (Vec<Dev>, [Dev; 2]) {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    alice.qnode(&["team", "role", "bob", "admin"]).succeeded();
    wait_for("Bob to be an admin", || {
        (bob.json(&["status"])["role"] == "admin").then_some(())
    });
    let (carol, dave) = (Dev::new("carol"), Dev::new("dave"));
    for (here, away, new, name) in [(alice, bob, &carol, "carol"), (bob, alice, &dave, "dave")] {
        away.qnode(&["stop"]).succeeded();
        here.start();
        let ticket = here.qnode(&["invite"]).succeeded().out;
        new.qnode(&["join", ticket.trim(), "--name", name])
            .succeeded();
        new.qnode(&["stop"]).succeeded();
    }
    alice.start();
    wait_for("the fork to be seen", || {
        (!alice.json(&["status"])["fork"].is_null()).then_some(())
    });
    (devs, [carol, dave])
}

#[test]
fn an_admin_who_forks_on_is_revoked_at_once_and_whom_it_let_in_is_not_let_in() {
    let (devs, _asleep) = forked();
    let (alice, bob) = (&devs[0], &devs[1]);
    for gives in [
        &["team", "role", "bob", "admin"][..],
        &["project", "secret", "--open-to", "bob"],
    ] {
        refused(&alice.qnode(gives), "`qnode team merge`");
    }
    let said = alice.qnode(&["revoke", "bob"]).succeeded().out;
    for line in [
        "revoked bob",
        "the fork is ended",
        "holds      carol joins as builder",
        "left out   dave joins as builder",
    ] {
        assert!(said.contains(line), "{line:?} in: {said}");
    }
    assert!(alice.json(&["status"])["fork"].is_null());
    assert_eq!(standings(alice, "bob"), ["revoked"]);
    assert_eq!(standings(alice, "carol"), ["stands"]);
    assert!(standings(alice, "dave").is_empty());
    let again = alice.qnode(&["revoke", "bob"]).succeeded().out;
    assert!(again.contains("revoked already"), "{again}");

    // Nobody told Bob's node; it finds that it is turned away, and says so.
    wait_for("Bob to be told", || {
        let said = bob.qnode(&["doctor"]).out;
        said.contains("turn this node away (alice)").then_some(())
    });
    let status = bob.qnode(&["status"]).succeeded().out;
    assert!(status.contains("turned away by alice"), "{status}");
}

#[test]
fn who_waits_for_the_end_of_a_fork_can_be_revoked_before_it() {
    let (devs, _asleep) = forked();
    let said = devs[0].qnode(&["revoke", "dave"]).succeeded().out;
    assert!(said.contains("the fork is ended"), "{said}");
    assert!(
        said.contains("holds      carol") && !said.contains("holds      dave"),
        "{said}"
    );
    for dev in &devs {
        wait_standing(dev, "dave", &["revoked"]);
        wait_standing(dev, "carol", &["stands"]);
    }
}

#[test]
fn a_fork_is_shown_everywhere_and_an_admin_ends_it() {
    let (devs, _asleep) = forked();
    let (alice, bob) = (&devs[0], &devs[1]);
    assert_eq!(standings(alice, "carol"), ["waits"]);
    let members = alice.qnode(&["members"]).succeeded().out;
    assert!(
        members.contains("forked") && members.contains("dave"),
        "{members}"
    );
    let doctor = alice.qnode(&["doctor"]).out;
    assert!(doctor.contains("qnode team merge"), "{doctor}");
    let unasked = alice.qnode(&["team", "merge"]);
    refused(&unasked, "--yes");
    alice.qnode(&["team", "merge", "--yes"]).succeeded();
    for dev in [alice, bob] {
        wait_standing(dev, "carol", &["stands"]);
        wait_standing(dev, "dave", &["stands"]);
    }
    assert!(alice.json(&["status"])["fork"].is_null());

    // What is built from now on is found by the other, under secrets that both know.
    let (hers, his) = (alice.path("checkout"), bob.path("there"));
    projects::small(&hers);
    projects::small(&his);
    alice.build(&hers, &["build"]).succeeded();
    wait_connected(bob, 1);
    wait_keys(bob, alice);
    bob.build(&his, &["build"]).succeeded();
    assert_eq!(bob.count("hits.peer"), 3, "{}", bob.stats());
}

#[test]
fn a_ticket_of_who_was_revoked_leads_to_nobody_and_says_so() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    alice.qnode(&["team", "role", "bob", "admin"]).succeeded();
    wait_for("Bob to be an admin", || {
        (bob.json(&["status"])["role"] == "admin").then_some(())
    });
    let ticket = bob.qnode(&["invite"]).succeeded().out;
    alice.qnode(&["revoke", "bob"]).succeeded();
    wait_for("Bob to be cut off", || {
        (bob.json(&["status"])["peers"] == 0).then_some(())
    });
    // Bob's node does not know, and lets her in; hers finds Alice.
    let mut eve = Dev::new("eve");
    let status = alice.json(&["status"]);
    let (at, who) = (&status["listen"][0], &status["peer_id"]);
    let place = format!("{}/p2p/{}", at.as_str().unwrap(), who.as_str().unwrap());
    eve.env.push(("QUARRY_PEERS".into(), place));
    eve.qnode(&["join", ticket.trim(), "--name", "eve"])
        .succeeded();
    wait_for("her to be told", || {
        let said = eve.qnode(&["doctor"]).out;
        said.contains("turn this node away (alice)").then_some(())
    });
    assert!(standings(alice, "eve").is_empty());
}
