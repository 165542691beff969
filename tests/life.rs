//! A membership's whole life: the root in a drawer, roles, new machines, new keys, absence.

use crate::harness::{Dev, joined, projects, wait_connected, wait_for, wait_keys};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PASSPHRASE: &str = "correct horse\n";

/// A team whose nodes listen where they listened before when they start again.
pub fn team(names: &[&str]) -> Vec<Dev> {
    let settled = |name: &&str| {
        let mut dev = Dev::new(name);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port.local_addr().unwrap().port();
        let listen = format!("/ip4/127.0.0.1/tcp/{port}");
        dev.env.push(("QUARRY_LISTEN".into(), listen));
        dev
    };
    joined(names.iter().map(settled).collect(), names)
}

/// The standing of every member of that name, sorted.
pub fn standings(dev: &Dev, name: &str) -> Vec<String> {
    let members = dev.json(&["members"]);
    let fits = |m: &&Value| m["name"] == name;
    let all = members.as_array().unwrap().iter().filter(fits);
    let mut all: Vec<String> = all
        .map(|m| m["standing"].as_str().unwrap().into())
        .collect();
    all.sort();
    all
}

#[track_caller]
pub fn wait_standing(dev: &Dev, name: &str, standing: &[&str]) {
    wait_for("the standing of a member", || {
        (standings(dev, name) == standing).then_some(())
    });
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
pub fn refused(said: &crate::harness::Said, with: &str) {
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.err.contains(with), "{with:?} in: {}", said.err);
}

/// A machine that never was on a network: it has a stick, a passphrase, and qnode.
struct Drawer {
    dev: Dev,
    key: PathBuf,
    passphrase: PathBuf,
}

impl Drawer {
    fn new() -> (Self, String) {
        let dev = Dev::new("drawer");
        let (key, passphrase) = (dev.path("root.key"), dev.path("passphrase"));
        fs::write(&passphrase, PASSPHRASE).unwrap();
        let new = ["team", "root", "--new", text(&key), "--passphrase"];
        let from = ["--passphrase-file", text(&passphrase)];
        let made = dev.qnode(&[&new[..], &from].concat()).succeeded();
        let id = made.out.trim().to_owned();
        let drawer = Self {
            dev,
            key,
            passphrase,
        };
        (drawer, id)
    }

    fn sign(&self, draft: &Path) -> crate::harness::Said {
        let sign = [
            "team",
            "sign",
            text(draft),
            "--yes",
            "--root",
            text(&self.key),
        ];
        let from = ["--passphrase-file", text(&self.passphrase)];
        self.dev.qnode(&[&sign[..], &from].concat())
    }
}

fn signed(draft: &Path) -> PathBuf {
    PathBuf::from(format!("{}.signed", draft.display()))
}

#[test]
fn a_root_that_never_was_on_a_network_founds_a_team_and_takes_it_back() {
    let (drawer, root) = Drawer::new();
    let (alice, bob) = (Dev::new("alice"), Dev::new("bob"));
    let first = alice.path("first");
    let found = ["team", "draft", "--found", "desk", "--root-id", &root];
    let name = ["--name", "alice", "--out", text(&first)];
    alice.qnode(&[&found[..], &name].concat()).succeeded();
    let shown = drawer.sign(&first).succeeded().out;
    assert!(shown.contains("charter 1 of the team desk"), "{shown}");
    assert!(shown.contains("founder      alice"), "{shown}");
    alice
        .qnode(&["team", "adopt", text(&signed(&first))])
        .succeeded();
    assert!(!alice.home().join("root.key").exists());
    let ticket = alice.qnode(&["invite"]).succeeded().out;
    bob.qnode(&["join", ticket.trim(), "--name", "bob"])
        .succeeded();
    wait_connected(&bob, 1);

    // Alice's laptop is stolen: two drafts of one epoch, of which one is taken.
    let (second, other) = (bob.path("second"), bob.path("other"));
    for draft in [&second, &other] {
        let to = [
            "team", "draft", "--admin", "bob", "--revoke", "alice", "--out",
        ];
        bob.qnode(&[&to[..], &[text(draft)]].concat()).succeeded();
        wait_for("the clock's next second", || {
            let at = fs::metadata(draft).unwrap().modified().unwrap();
            (at.elapsed().unwrap().as_millis() > 1100).then_some(())
        });
        let shown = drawer.sign(draft).succeeded().out;
        assert!(shown.contains("becomes admin bob"), "{shown}");
        assert!(shown.contains("REVOKED      alice"), "{shown}");
    }
    bob.qnode(&["team", "adopt", text(&signed(&second))])
        .succeeded();
    assert_eq!(bob.json(&["status"])["role"], "admin");
    assert_eq!(standings(&bob, "alice"), ["revoked"]);
    let late = bob.qnode(&["team", "adopt", text(&signed(&other))]);
    refused(&late, "two charters of epoch 2");
    let old = bob.qnode(&["team", "adopt", "--yes", text(&signed(&first))]);
    refused(&old, "older than ours");
    assert!(
        !drawer.dev.home().join("node.sock").exists(),
        "the machine with the root key never ran a node"
    );
}

#[test]
fn what_is_no_charter_of_this_team_is_refused_and_says_why() {
    let (drawer, root) = Drawer::new();
    let (alice, eve) = (Dev::new("alice"), Dev::new("eve"));
    let key = [
        "team",
        "create",
        "desk",
        "--root",
        text(&drawer.key),
        "--name",
        "alice",
    ];
    let from = ["--passphrase-file", text(&drawer.passphrase)];
    alice.qnode(&[&key[..], &from].concat()).succeeded();
    let draft = alice.path("draft");
    alice
        .qnode(&["team", "draft", "--out", text(&draft)])
        .succeeded();
    drawer.sign(&draft).succeeded();
    refused(&drawer.sign(&draft), "there already");

    let whole = fs::read(signed(&draft)).unwrap();
    let bent = alice.path("bent");
    fs::write(&bent, &whole[..whole.len() - 9]).unwrap();
    refused(&alice.qnode(&["team", "adopt", text(&bent)]), "cut short");
    refused(
        &alice.qnode(&["team", "adopt", text(&draft)]),
        "no signed charter",
    );
    let mut other = whole.clone();
    let end = other.len() - 1;
    other[end] ^= 1;
    fs::write(&bent, &other).unwrap();
    refused(&alice.qnode(&["team", "adopt", text(&bent)]), "signature");

    // Eve's own team, with her own root.
    eve.qnode(&["team", "create", "desk", "--name", "eve"])
        .succeeded();
    refused(&eve.qnode(&["team", "adopt", text(&signed(&draft))]), &root);
    let hers = eve.path("draft");
    eve.qnode(&["team", "draft", "--out", text(&hers)])
        .succeeded();
    refused(&drawer.sign(&hers), "the team's root is");
    // A wrong passphrase opens nothing.
    fs::write(&drawer.passphrase, "correct house\n").unwrap();
    fs::remove_file(signed(&draft)).unwrap();
    refused(&drawer.sign(&draft), "does not open");
    assert!(!signed(&draft).exists());
}

#[test]
fn a_charter_that_would_undo_a_revocation_is_taken_only_by_who_says_so() {
    let devs = team(&["alice", "bob", "carol"]);
    let alice = &devs[0];
    let draft = alice.path("draft");
    alice
        .qnode(&["team", "draft", "--out", text(&draft)])
        .succeeded();
    alice.qnode(&["revoke", "bob"]).succeeded();
    alice
        .qnode(&["team", "sign", text(&draft), "--yes"])
        .succeeded();
    let file = signed(&draft);
    let said = alice.qnode(&["team", "adopt", text(&file)]);
    refused(&said, "bob would be back");
    assert_eq!(standings(alice, "bob"), ["revoked"]);
    alice
        .qnode(&["team", "adopt", "--yes", text(&file)])
        .succeeded();
    assert_eq!(standings(alice, "bob"), ["stands"]);
}

#[test]
fn the_root_key_moves_to_a_stick_and_the_home_has_it_no_more() {
    let alice = Dev::new("alice");
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
    let (stick, passphrase) = (alice.path("stick.key"), alice.path("passphrase"));
    fs::write(&passphrase, PASSPHRASE).unwrap();
    let from = ["--passphrase-file", text(&passphrase)];
    let id = alice.qnode(&["team", "root"]).succeeded().out;
    let to = ["team", "root", "--to", text(&stick), "--passphrase"];
    let moved = alice.qnode(&[&to[..], &from].concat()).succeeded();
    assert_eq!(moved.out, id);
    assert!(!alice.home().join("root.key").exists());
    let mode = fs::metadata(&stick).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    refused(&alice.qnode(&["team", "root"]), "moved away");
    let draft = alice.path("draft");
    alice
        .qnode(&["team", "draft", "--out", text(&draft)])
        .succeeded();
    let sign = [
        "team",
        "sign",
        text(&draft),
        "--yes",
        "--root",
        text(&stick),
    ];
    let unasked = alice.qnode(&sign);
    refused(&unasked, "--passphrase-file");
    alice.qnode(&[&sign[..], &from].concat()).succeeded();
    alice
        .qnode(&["team", "adopt", text(&signed(&draft))])
        .succeeded();
}

#[test]
fn roles_change_admins_are_several_and_the_last_one_stays() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    refused(
        &alice.qnode(&["team", "role", "alice", "reader"]),
        "without an admin",
    );
    refused(
        &bob.qnode(&["team", "role", "alice", "reader"]),
        "only an admin",
    );
    alice.qnode(&["team", "role", "bob", "admin"]).succeeded();
    wait_for("Bob to be an admin", || {
        (bob.json(&["status"])["role"] == "admin").then_some(())
    });
    // Bob gets a new machine, and retires the old one from there.
    let new = Dev::new("newbob");
    let ticket = bob.qnode(&["invite", "--role", "admin"]).succeeded().out;
    new.qnode(&["join", ticket.trim(), "--name", "bob"])
        .succeeded();
    let ambiguous = new.qnode(&["team", "retire", "bob"]);
    refused(&ambiguous, "could be");
    let old = bob.json(&["status"])["builder"]
        .as_str()
        .unwrap()
        .to_owned();
    new.qnode(&["team", "retire", &old[..16]]).succeeded();
    wait_standing(alice, "bob", &["retired", "stands"]);
    wait_for("the old machine to be cut off", || {
        (bob.json(&["status"])["peers"] == 0).then_some(())
    });
    alice
        .qnode(&["team", "role", "alice", "builder"])
        .succeeded();
    refused(&alice.qnode(&["invite"]), "only an admin");
}

#[test]
fn bob_gets_a_new_key_and_what_he_built_with_the_old_one_still_hits() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    let (his, hers) = (bob.path("checkout"), alice.path("there"));
    projects::small(&his);
    projects::small(&hers);
    bob.build(&his, &["build"]).succeeded();
    wait_keys(alice, bob);
    alice.build(&hers, &["build"]).succeeded();
    assert_eq!(alice.count("hits.peer"), 3, "{}", alice.stats());

    let before = bob.json(&["status"])["builder"].clone();
    bob.qnode(&["rotate", "--yes"]).succeeded();
    let after = bob.json(&["status"])["builder"].clone();
    assert_ne!(before, after);
    assert_eq!(standings(alice, "bob"), ["retired", "stands"]);
    assert!(!bob.home().join("rotation.bin").exists());
    wait_connected(bob, 1);
    fs::remove_dir_all(hers.join("target")).unwrap();
    alice.build(&hers, &["build"]).succeeded();
    assert_eq!(alice.count("hits.local"), 3, "{}", alice.stats());
    // What he builds from now on is signed by the new one, and hits.
    for place in [&his, &hers] {
        let words = place.join("words/src/lib.rs");
        fs::write(words, "pub const HELLO: &str = \"ho\";\n").unwrap();
        let _ = fs::remove_dir_all(place.join("target"));
    }
    bob.build(&his, &["build"]).succeeded();
    wait_keys(alice, bob);
    alice.build(&hers, &["build"]).succeeded();
    assert!(alice.count("hits.peer") > 3, "{}", alice.stats());
}

#[test]
fn a_key_that_may_be_in_others_hands_is_rotated_and_revoked_at_once() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    let (his, hers) = (bob.path("checkout"), alice.path("there"));
    projects::small(&his);
    projects::small(&hers);
    bob.build(&his, &["build"]).succeeded();
    wait_keys(alice, bob);
    alice.build(&hers, &["build"]).succeeded();
    let peer = bob.json(&["status"])["peer_id"].clone();
    bob.qnode(&["rotate", "--yes", "--peer", "--compromised"])
        .succeeded();
    assert_ne!(bob.json(&["status"])["peer_id"], peer);
    wait_standing(alice, "bob", &["revoked", "stands"]);
    wait_connected(bob, 1);
    fs::remove_dir_all(hers.join("target")).unwrap();
    alice.build(&hers, &["build"]).succeeded();
    assert_eq!(alice.count("hits.local"), 0, "{}", alice.stats());
}

#[test]
fn the_only_admin_is_told_how_to_rotate_and_the_team_follows() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    refused(&alice.qnode(&["rotate", "--yes"]), "rotate --peer");
    alice.qnode(&["rotate", "--yes", "--peer"]).succeeded();
    assert_eq!(alice.json(&["status"])["role"], "admin");
    wait_standing(bob, "alice", &["retired", "stands"]);
    wait_connected(bob, 1);
    alice.qnode(&["team", "role", "bob", "reader"]).succeeded();
    wait_for("Bob to hear from the new key", || {
        (bob.json(&["status"])["role"] == "reader").then_some(())
    });
}

#[test]
fn the_only_admins_new_peer_waits_until_somebody_knows_it() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    let before = alice.json(&["status"])["builder"].clone();
    bob.qnode(&["stop"]).succeeded();
    wait_for("Alice to be alone", || {
        (alice.json(&["status"])["peers"] == 0).then_some(())
    });
    let said = alice.qnode(&["rotate", "--yes", "--peer"]).succeeded();
    assert!(
        said.out.contains("until a teammate knows them"),
        "{}",
        said.out
    );
    let status = alice.json(&["status"]);
    assert_eq!(
        (&status["builder"], &status["rotating"]),
        (&before, &Value::Bool(true))
    );
    bob.start();
    wait_standing(bob, "alice", &["retired", "stands"]);
    wait_connected(bob, 1);
    assert_ne!(alice.json(&["status"])["builder"], before);
}

#[test]
fn a_rotation_that_nobody_hears_waits_and_the_old_key_serves_until_then() {
    let devs = team(&["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    let before = bob.json(&["status"])["builder"].clone();
    alice.qnode(&["stop"]).succeeded();
    wait_for("Bob to be alone", || {
        (bob.json(&["status"])["peers"] == 0).then_some(())
    });
    let said = bob.qnode(&["rotate", "--yes"]).succeeded();
    assert!(said.out.contains("wait for an admin"), "{}", said.out);
    let status = bob.json(&["status"]);
    assert_eq!(
        (&status["builder"], &status["rotating"]),
        (&before, &Value::Bool(true))
    );
    // The power goes; both keys are there still.
    bob.kill_node();
    bob.start();
    assert_eq!(bob.json(&["status"])["builder"], before);
    alice.start();
    wait_for("the new key to be in use", || {
        let said = bob.qnode(&["status", "--format", "json"]);
        let status: Value = serde_json::from_str(&said.out).ok()?;
        (status["builder"] != before && status["role"] == "builder").then_some(())
    });
    assert_eq!(standings(alice, "bob"), ["retired", "stands"]);
}

#[test]
fn who_was_away_during_a_revocation_hears_of_it_before_anything_hits() {
    let devs = team(&["alice", "bob", "carol"]);
    let (alice, bob, carol) = (&devs[0], &devs[1], &devs[2]);
    let (his, hers) = (bob.path("checkout"), carol.path("there"));
    projects::small(&his);
    projects::small(&hers);
    bob.build(&his, &["build"]).succeeded();
    wait_keys(carol, bob);
    carol.build(&hers, &["build"]).succeeded();
    assert_eq!(carol.count("hits.peer"), 3, "{}", carol.stats());
    carol.qnode(&["stop"]).succeeded();
    let old = fs::read(carol.home().join("team.bin")).unwrap();
    alice.qnode(&["revoke", "bob"]).succeeded();
    carol.start();
    // Bob himself is no way back in: only who is a member is heard.
    wait_connected(carol, 1);
    assert_eq!(standings(carol, "bob"), ["revoked"]);
    fs::remove_dir_all(hers.join("target")).unwrap();
    carol.build(&hers, &["build"]).succeeded();
    assert_eq!(carol.count("hits.local"), 0, "{}", carol.stats());

    // Somebody puts the old roster back: any peer's is newer.
    carol.qnode(&["stop"]).succeeded();
    fs::write(carol.home().join("team.bin"), old).unwrap();
    carol.start();
    wait_connected(carol, 1);
    assert_eq!(standings(carol, "bob"), ["revoked"], "once a peer is here");
}

#[test]
fn a_fork_builds_in_ci_by_a_ticket_from_the_environment_and_publishes_nothing() {
    let (alice, mut ci) = (Dev::new("alice"), Dev::new("ci"));
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
    let ticket = alice.qnode(&["invite", "--role", "reader"]).succeeded().out;
    let ticket = ticket.trim().to_owned();
    // The door stays open for another.
    alice.qnode(&["invite"]).succeeded();
    ci.env.push(("QUARRY_TICKET".into(), ticket.clone()));
    ci.qnode(&["join", "--name", "ci"]).succeeded();
    assert_eq!(ci.json(&["status"])["role"], "reader");
    wait_connected(&ci, 1);
    let (here, there) = (alice.path("a"), ci.path("fork"));
    projects::small(&here);
    projects::small(&there);
    // The fork's code looks for the ticket wherever a build can.
    let look = "fn main() { println!(\"cargo::rustc-env=SEEN={}\", std::env::var(\"QUARRY_TICKET\").is_ok()); }\n";
    fs::write(there.join("words/build.rs"), look).unwrap();
    let lib = "pub const HELLO: &str = env!(\"SEEN\");\n";
    fs::write(there.join("words/src/lib.rs"), lib).unwrap();
    ci.build(&there, &["build"]).succeeded();
    let ran = ci.run(&mut ci.command(there.join("target/debug/app")));
    assert!(
        ran.out.contains("false"),
        "no build script sees the ticket: {}",
        ran.out
    );
    ci.flush();
    for (name, bytes) in crate::harness::files(&ci.path(""), &|p| p.is_file()) {
        let found = bytes.windows(ticket.len()).any(|w| w == ticket.as_bytes());
        assert!(!found, "the ticket lies in {}", name.display());
    }
    alice.build(&here, &["build"]).succeeded();
    assert_eq!(alice.count("hits.peer"), 0, "{}", alice.stats());
    assert_eq!(
        alice.json(&["peers"])[0]["keys"],
        0,
        "a reader announces nothing"
    );
    // Whoever finds the ticket in a log later gets nothing for it.
    let eve = Dev::new("eve");
    refused(&eve.qnode(&["join", &ticket]), "used already");
}

/// A node that is killed lets who connects to it connect, for as long as it takes to end.
#[test]
fn a_node_that_goes_away_while_another_is_started_is_in_nobodys_way() {
    let alice = Dev::new("alice");
    let socket = std::os::unix::net::UnixListener::bind(alice.home().join("node.sock")).unwrap();
    let ended = std::thread::spawn(move || drop(socket.accept().unwrap()));
    alice.start();
    ended.join().unwrap();
    assert!(alice.json(&["status"])["pid"].is_number());
}
