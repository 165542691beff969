//! Whose entries are believed: real teams with rules of their own, in `config.toml`, in the
//! environment, in the repository.

use crate::harness::{Dev, assert_same_files, joined, libraries, projects, wait_for, wait_keys};
use quarry_node::config::Config;
use quarry_node::project::Projects;
use quarry_node::store::{RedbStore, Store};
use quarry_node::team::Team;
use quarry_trust::canon::Canonical;
use quarry_trust::verify::Source;
use quarry_trust::{Entry, OutputKind};
use quarry_wrapper::home::Home;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A developer whose node believes what `QUARRY_TRUST` says.
fn trusting(name: &str, trust: &str) -> Dev {
    let mut dev = Dev::new(name);
    dev.env.push(("QUARRY_TRUST".into(), trust.into()));
    dev
}

/// A developer whose node has these settings.
fn with_config(name: &str, config: &str) -> Dev {
    let dev = Dev::new(name);
    fs::write(dev.home().join("config.toml"), config).unwrap();
    dev
}

/// Builds the small project of three crates in a fresh place of this name.
#[track_caller]
fn builds(dev: &Dev, place: &str) -> PathBuf {
    let checkout = dev.path(place);
    projects::small(&checkout);
    dev.build(&checkout, &["build"]).succeeded();
    checkout
}

/// Hits from peers, hits from here, misses.
fn counts(dev: &Dev) -> (u64, u64, u64) {
    let stats = dev.stats();
    let n = |a: &str, b: &str| stats[a][b].as_u64().unwrap();
    let misses = stats["misses"].as_u64().unwrap();
    (n("hits", "peer"), n("hits", "local"), misses)
}

/// What `why` says of a crate.
#[track_caller]
fn why(dev: &Dev, checkout: &Path, crate_name: &str) -> String {
    let mut command = dev.command(crate::harness::qnode());
    command.current_dir(checkout).args(["why", crate_name]);
    dev.run(&mut command).succeeded().out
}

/// What `doctor` says in a checkout.
fn doctor(dev: &Dev, checkout: &Path) -> String {
    let mut command = dev.command(crate::harness::qnode());
    dev.run(command.current_dir(checkout).arg("doctor")).out
}

fn clean(checkout: &Path) {
    fs::remove_dir_all(checkout.join("target")).unwrap();
}

#[test]
fn with_ci_alone_a_developer_s_entries_do_not_hit_and_ci_s_do() {
    let devs = vec![
        Dev::new("alice"),
        // What CI restored it could not vouch for: it believes itself alone.
        trusting("ci", "own"),
        trusting("bob", "ci"),
        trusting("carol", "ci"),
    ];
    let devs = joined(devs, &["alice", "ci", "bob", "carol"]);
    let (alice, ci, bob, carol) = (&devs[0], &devs[1], &devs[2], &devs[3]);
    builds(alice, "checkout");
    wait_keys(bob, alice);
    wait_keys(ci, alice);
    let there = builds(bob, "there");
    assert_eq!(counts(bob), (0, 0, 3), "{}", bob.stats());
    assert_eq!(bob.count("rejected.policy"), 3, "{}", bob.stats());
    let said = why(bob, &there, "words");
    for word in ["not-named", "[trust] of config.toml"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    clean(&there);
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(counts(bob), (0, 3, 3), "what he compiled himself is his");

    builds(ci, "job");
    assert_eq!(counts(ci), (0, 0, 3), "{}", ci.stats());
    wait_keys(carol, ci);
    wait_keys(carol, alice);
    builds(carol, "elsewhere");
    assert_eq!(counts(carol), (3, 0, 0), "{}", carol.stats());
    let signed = carol.recent().into_iter().map(|r| r["signed_by"].clone());
    assert!(signed.into_iter().all(|by| by == "ci"));
}

#[test]
fn two_of_three_must_agree_so_the_second_compiles_and_the_third_hits() {
    let names = ["alice", "bob", "carol"];
    let devs = joined(names.map(|n| trusting(n, "agree=2")).into(), &names);
    let (alice, bob, carol) = (&devs[0], &devs[1], &devs[2]);
    let here = builds(alice, "checkout");
    wait_keys(bob, alice);
    let there = builds(bob, "there");
    assert_eq!(counts(bob), (0, 0, 3), "{}", bob.stats());
    let said = why(bob, &there, "greet");
    assert!(said.contains("awaiting-agreement: 1 of 2"), "{said}");
    wait_keys(carol, alice);
    wait_keys(carol, bob);
    let elsewhere = builds(carol, "elsewhere");
    assert_eq!(
        counts(carol),
        (3, 0, 0),
        "{}\n{}",
        carol.stats(),
        carol.log()
    );
    assert_same_files(
        &libraries(&here.join("target"), "debug"),
        &libraries(&elsewhere.join("target"), "debug"),
    );

    // Both members' words lie here now: nobody needs to be asked again.
    alice.qnode(&["stop"]).succeeded();
    bob.qnode(&["stop"]).succeeded();
    wait_for("Carol to be alone", || {
        (carol.json(&["status"])["peers"] == 0).then_some(())
    });
    clean(&elsewhere);
    carol.build(&elsewhere, &["build"]).succeeded();
    assert_eq!(counts(carol), (3, 3, 0), "{}", carol.stats());
    assert_eq!(carol.count("disagreements"), 0);
}

#[test]
fn what_was_restored_is_held_by_two_and_signed_by_one() {
    let devs = vec![
        Dev::new("alice"),
        Dev::new("bob"),
        trusting("carol", "agree=2"),
    ];
    let devs = joined(devs, &["alice", "bob", "carol"]);
    let (alice, bob, carol) = (&devs[0], &devs[1], &devs[2]);
    builds(alice, "checkout");
    wait_keys(bob, alice);
    builds(bob, "there");
    assert_eq!(counts(bob), (3, 0, 0), "{}", bob.stats());
    wait_keys(carol, alice);
    wait_keys(carol, bob);
    let elsewhere = builds(carol, "elsewhere");
    assert_eq!(counts(carol), (0, 0, 3), "{}", carol.stats());
    let said = why(carol, &elsewhere, "app");
    assert!(said.contains("awaiting-agreement: 1 of 2"), "{said}");
}

#[test]
fn a_share_of_hits_compiled_again_makes_members_agree() {
    let devs = vec![
        Dev::new("alice"),
        Dev::new("bob"),
        trusting("carol", "agree=2"),
    ];
    let devs = joined(devs, &["alice", "bob", "carol"]);
    let (alice, bob, carol) = (&devs[0], &devs[1], &devs[2]);
    builds(alice, "checkout");
    wait_keys(bob, alice);
    let there = bob.path("there");
    projects::small(&there);
    let mut build = bob.cargo(&there, &["build"]);
    bob.run(build.env("QUARRY_VERIFY", "100%")).succeeded();
    assert_eq!(counts(bob), (3, 0, 0), "{}", bob.stats());
    wait_for("Bob's node to have compiled all of it", || {
        (bob.count("verified.checked") == 3).then_some(())
    });
    assert_eq!(bob.count("verified.agreed"), 3, "{}", bob.stats());
    let entries = &bob.json(&["status"])["store"]["entries"];
    assert_eq!(*entries, 6, "Alice's, and his own beside them");
    bob.flush();
    wait_keys(carol, alice);
    builds(carol, "elsewhere");
    assert_eq!(
        counts(carol),
        (3, 0, 0),
        "{}\n{}",
        carol.stats(),
        carol.log()
    );
}

#[test]
fn what_executes_while_building_is_judged_more_strictly() {
    let bob = with_config("bob", "[trust.executing]\nbuilders = [\"ci\"]\n");
    let devs = joined(
        vec![Dev::new("alice"), Dev::new("ci"), bob],
        &["alice", "ci", "bob"],
    );
    let (alice, bob) = (&devs[0], &devs[2]);
    let write = |place: &Path| {
        projects::write(
            place,
            &[
                (
                    "Cargo.toml",
                    "[package]\nname = \"user\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                     [workspace]\nmembers = [\"mac\"]\n[dependencies]\nmac = { path = \"mac\" }\n",
                ),
                ("src/lib.rs", "pub const ONE: u8 = mac::one!();"),
                (
                    "build.rs",
                    "fn main() { println!(\"cargo::rerun-if-changed=build.rs\"); }",
                ),
                (
                    "mac/Cargo.toml",
                    "[package]\nname = \"mac\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                     [lib]\nproc-macro = true\n",
                ),
                (
                    "mac/src/lib.rs",
                    "#[proc_macro] pub fn one(_: proc_macro::TokenStream) \
                     -> proc_macro::TokenStream { \"1\".parse().unwrap() }",
                ),
            ],
        );
    };
    let (here, there) = (alice.path("checkout"), bob.path("there"));
    write(&here);
    write(&there);
    alice.build(&here, &["build"]).succeeded();
    wait_keys(bob, alice);
    bob.build(&there, &["build"]).succeeded();
    let outcome = |name: &str, script: bool| {
        let recent = bob.recent().into_iter();
        let mut recent = recent.filter(|r| r["crate_name"] == name && r["script"] == script);
        recent
            .next()
            .map(|r| (r["outcome"].clone(), r["policy"].to_string()))
    };
    for (name, script) in [
        ("mac", false),
        ("build_script_build", false),
        ("user", true),
    ] {
        let (outcome, policy) = outcome(name, script).unwrap();
        assert_eq!(outcome, "miss", "{name}: {}", bob.log());
        assert!(policy.contains("not-named"), "{name}: {policy}");
    }
    let (library, _) = outcome("user", false).unwrap();
    assert_eq!(library, "hit-peer", "a library runs nowhere");
}

#[test]
fn a_repository_narrows_what_is_believed_and_cannot_widen_it() {
    let devs = vec![Dev::new("alice"), Dev::new("bob"), trusting("carol", "own")];
    let devs = joined(devs, &["alice", "bob", "carol"]);
    let (alice, bob, carol) = (&devs[0], &devs[1], &devs[2]);
    builds(alice, "checkout");
    wait_keys(bob, alice);
    wait_keys(carol, alice);
    let there = bob.path("there");
    projects::small(&there);
    let file = there.join("quarry.toml");
    fs::write(&file, "[trust]\nbuilders = [\"bob\"]\n").unwrap();
    bob.build(&there, &["build", "-p", "words"]).succeeded();
    assert_eq!(counts(bob), (0, 0, 1), "{}", bob.stats());
    let said = why(bob, &there, "words");
    assert!(said.contains("quarry.toml"), "whose rule it was: {said}");
    // What the file says counts from the next compile on.
    fs::write(&file, "[trust]\nbuilders = [\"alice\", \"bob\"]\n").unwrap();
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(counts(bob), (2, 0, 1), "{}", bob.stats());
    let shown = doctor(bob, &there.join("app"));
    assert!(shown.contains("narrowed to alice, bob"), "{shown}");

    let elsewhere = carol.path("elsewhere");
    projects::small(&elsewhere);
    let file = elsewhere.join("quarry.toml");
    fs::write(&file, "[trust]\nbuilders = [\"alice\"]\n").unwrap();
    carol.build(&elsewhere, &["build"]).succeeded();
    assert_eq!(counts(carol), (0, 0, 3), "{}", carol.stats());
}

#[test]
fn a_name_that_means_nobody_and_a_file_that_means_nothing_believe_nobody() {
    let devs = vec![
        Dev::new("alice"),
        trusting("bob", "carol"),
        Dev::new("dave"),
    ];
    let devs = joined(devs, &["alice", "bob", "dave"]);
    let (alice, bob, dave) = (&devs[0], &devs[1], &devs[2]);
    builds(alice, "checkout");
    wait_keys(bob, alice);
    wait_keys(dave, alice);
    let there = builds(bob, "there");
    assert_eq!(counts(bob), (0, 0, 3), "{}", bob.stats());
    for said in [doctor(bob, &there), why(bob, &there, "words")] {
        assert!(
            said.contains("no member in force is called \"carol\""),
            "{said}"
        );
    }

    let place = dave.path("place");
    projects::small(&place);
    fs::write(place.join("quarry.toml"), "[trsut]\nagree = 1\n").unwrap();
    dave.build(&place, &["build"]).succeeded();
    assert_eq!(counts(dave), (0, 0, 3), "{}", dave.stats());
    for said in [doctor(dave, &place), why(dave, &place, "words")] {
        assert!(said.contains("unknown field `trsut`"), "{said}");
    }
    clean(&place);
    dave.build(&place, &["build"]).succeeded();
    assert_eq!(counts(dave), (0, 3, 3), "his own entries serve him");
}

#[test]
fn a_project_has_rules_of_its_own() {
    let bob = Dev::new("bob");
    let config = format!(
        "[[trust.project]]\nroot = {:?}\nbuilders = []\n",
        bob.path("closed")
    );
    fs::write(bob.home().join("config.toml"), config).unwrap();
    let devs = joined(vec![Dev::new("alice"), bob], &["alice", "bob"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    builds(alice, "checkout");
    wait_keys(bob, alice);
    let open = bob.path("open");
    projects::small(&open);
    bob.build(&open, &["build", "-p", "words"]).succeeded();
    assert_eq!(counts(bob), (1, 0, 0), "{}", bob.stats());
    let closed = builds(bob, "closed");
    assert_eq!(counts(bob), (1, 0, 3), "{}", bob.stats());
    let said = doctor(bob, &closed);
    assert!(
        said.contains("nobody but this node ([[trust.project]]"),
        "{said}"
    );
}

/// Signs, as this member, other bytes for everything that it compiled, and comes back to `others`.
fn lies(dev: &mut Dev, others: &[&Dev]) {
    dev.flush();
    dev.qnode(&["stop"]).succeeded();
    let addresses = others.iter().map(|other| {
        let status = other.json(&["status"]);
        let (at, who) = (&status["listen"][0], &status["peer_id"]);
        format!("{}/p2p/{}", at.as_str().unwrap(), who.as_str().unwrap())
    });
    let addresses: Vec<String> = addresses.collect();
    dev.env.push(("QUARRY_PEERS".into(), addresses.join(",")));
    let home = Home::at(dev.home()).unwrap();
    let (store, _) = wait_for("the store to be free", || {
        RedbStore::open(&home.store()).ok()
    });
    let team = Team::load(&home).unwrap();
    let mut offers = Vec::new();
    store.each_offer(&mut |offer| offers.push(offer)).unwrap();
    for mut offer in offers {
        let mut entry = Entry::from_canon(&offer.signed.bytes).unwrap();
        let mut stage = store.stage(64).unwrap();
        stage.write_all(b"a lie").unwrap();
        let lie = stage.commit().unwrap();
        let output = entry
            .outputs
            .iter_mut()
            .find(|o| o.kind == OutputKind::Plain);
        output.unwrap().object = lie.object;
        offer.signed = team.sign(&entry);
        let signed = team
            .verify(&offer.signed, Source::Store, None, None)
            .unwrap();
        store.put(&signed, &offer).unwrap();
    }
    store.flush().unwrap();
    drop(store);
    dev.start();
}

#[test]
fn a_builder_that_lies_is_told_of_and_restored_by_nobody() {
    let devs = vec![
        Dev::new("alice"),
        trusting("mallory", "own"),
        trusting("bob", "agree=2"),
        Dev::new("carol"),
    ];
    let mut devs = joined(devs, &["alice", "mallory", "bob", "carol"]);
    let mut mallory = devs.remove(1);
    let (alice, bob, carol) = (&devs[0], &devs[1], &devs[2]);
    let here = builds(alice, "checkout");
    builds(&mallory, "checkout");
    lies(&mut mallory, &[bob, carol]);
    for dev in [bob, carol] {
        wait_keys(dev, alice);
        wait_keys(dev, &mallory);
    }
    // Bob wants two to agree, and two say different things; by Carol's rule one would be enough.
    for dev in [bob, carol] {
        let there = builds(dev, "there");
        assert_eq!(counts(dev), (0, 0, 3), "{}\n{}", dev.stats(), dev.log());
        assert_eq!(dev.count("disagreements"), 3, "{}", dev.stats());
        for said in [doctor(dev, &there), why(dev, &there, "words"), dev.log()] {
            let told = said.contains("signed different results for words");
            assert!(told && said.contains("mallory ("), "{said}");
        }
        assert_same_files(
            &libraries(&here.join("target"), "debug"),
            &libraries(&there.join("target"), "debug"),
        );
    }
}

#[test]
fn the_page_s_examples_are_settings() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.md");
    let page = fs::read_to_string(page).unwrap();
    let examples = page.split("```toml\n").skip(1);
    let examples: Vec<&str> = examples.filter_map(|e| e.split("```").next()).collect();
    assert!(examples.len() >= 4, "{examples:?}");
    for example in examples {
        let dir = tempfile::tempdir().unwrap();
        if example.starts_with("# quarry.toml") {
            fs::write(dir.path().join("quarry.toml"), example).unwrap();
            let said = Projects::default().read(dir.path()).unwrap();
            assert!(said.as_ref().as_ref().unwrap().trust.is_some(), "{example}");
        } else {
            fs::write(dir.path().join("config.toml"), example).unwrap();
            let home = Home::at(dir.path().to_owned()).unwrap();
            let config = Config::load_with(&home, |_| None).unwrap();
            assert_ne!(config.trust, Config::default().trust, "{example}");
        }
    }
}
