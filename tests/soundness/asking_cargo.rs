//! What macros ask cargo itself: the one question that is asked again for teammates, too.

use super::ground::led;
use super::macros::downloading;
use super::predictions::{Bench, WORDS};
use crate::harness::{Dev, team, wait_keys};
use quarry_trust::canon::Canonical;
use quarry_trust::{Digest, ObjectRef};
use quarry_wrapper::action::{Description, Ran, Use, Value, Variable};
use quarry_wrapper::child::Child;
use quarry_wrapper::pipeline::{Cache, Tier};
use std::fs;

/// As macros ask that look for the name under which a crate is known: whether a package stands for
/// itself, by what cargo says and the manifest there.
const LOCATES: &str = "{ let own = here().join(\"Cargo.toml\"); \
    let said = std::process::Command::new(env::var(\"CARGO\").unwrap()) \
        .args([\"locate-project\", \"--workspace\", \"--message-format=plain\"]) \
        .arg(format!(\"--manifest-path={}\", own.display())).output().unwrap(); \
    let found = String::from_utf8(said.stdout).unwrap(); \
    let text = fs::read_to_string(found.trim()).unwrap(); \
    format!(\"{} {}\", found.trim() == own.to_str().unwrap(), text.len() > 0) }";

/// What it says names the place, and so does its argument; it says the same of every place.
#[test]
fn what_cargo_says_of_a_downloaded_package_is_asked_for_in_each_place() {
    let alice = Dev::new("alice");
    let here = downloading(&alice, "here", LOCATES);
    assert_eq!(here.fresh(), led("true true", "2 miss"));
    assert_eq!(here.fresh(), led("true true", "2 hit"));
    alice.flush();
    let there = downloading(&alice, "quite/another/place", LOCATES);
    assert_eq!(there.fresh(), led("true true", "2 hit"));
    there.nothing_left();
    let other = downloading(&alice, "third-one", LOCATES);
    let above = other.at.join("../cargo/registry/src/Cargo.toml");
    fs::write(above, "[workspace]\nmembers = [\"index-1/w\"]\n").unwrap();
    let told = other.fresh();
    assert_eq!(told, led("false true", "2 miss"), "it says something else");
}

/// A macro that finds out where cargo really lies, by whatever name, may tell it.
#[test]
fn who_resolves_cargos_own_path_is_not_shared() {
    let alice = Dev::new("alice");
    let resolves = "{ let own = fs::canonicalize(env::var(\"CARGO\").unwrap()).unwrap(); \
        let own = own.as_os_str().as_encoded_bytes(); \
        own.iter().fold(7_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte)) }";
    let here = downloading(&alice, "here", resolves);
    let (said, how) = here.fresh();
    assert_eq!(how, "2 miss");
    alice.flush();
    let log = fs::read_to_string(alice.home().join("node.log")).unwrap();
    assert!(log.contains("crate_name=\"w\" found=Differs"), "{log}");
    assert_eq!(here.fresh(), (said, "2 hit".into()));
}

/// What cargo itself says a teammate asks his own cargo, whoever compiled.
#[test]
fn a_teammate_asks_his_own_cargo() {
    let devs = team(&["alice", "bobby"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    let here = downloading(alice, "here", LOCATES);
    assert_eq!(here.fresh(), led("true true", "2 miss"));
    alice.flush();
    wait_keys(bob, alice);
    let there = downloading(bob, "quite/another/place", LOCATES);
    assert_eq!(there.fresh(), led("true true", "2 peer"));
    let other = downloading(bob, "third-one", LOCATES);
    let above = other.at.join("../cargo/registry/src/Cargo.toml");
    fs::write(above, "[workspace]\nmembers = [\"index-1/w\"]\n").unwrap();
    assert_eq!(other.fresh(), led("false true", "2 miss"));
}

const CARGO: &str = "/quarry/sysroot/bin/cargo";
const WORDS_TO_IT: [&str; 5] = [
    CARGO,
    "locate-project",
    "--workspace",
    "--message-format=plain",
    "--manifest-path=/quarry/ws/Cargo.toml",
];

fn with(nr: usize, word: &str) -> [&str; 5] {
    let mut words = WORDS_TO_IT;
    words[nr] = word;
    words
}

fn child(program: &str, words: &[&str]) -> Child {
    Child {
        program: program.into(),
        argv: words.iter().map(|word| (*word).into()).collect(),
        dir: None,
        hears: [true; 2],
    }
}

/// Whether this is run so many times over where a teammate names it; it is a hit then.
fn is_asked(bench: &Bench, child: Child, how: Use, times: usize) -> bool {
    let (mut entry, described, _) = bench.peer.taken();
    let ran = Ran {
        child,
        how,
        said: bench.peer.says.digest(),
        placeless: true,
    };
    let mut variables = described.variables;
    for (name, value) in [("CARGO", CARGO), ("CARGO_MANIFEST_DIR", "/quarry/ws")] {
        variables.push(Variable {
            name: name.to_owned(),
            value: Value::Symbolic(value.to_owned()),
        });
    }
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    let described = Description {
        ran: vec![ran; times],
        variables,
        ..described
    };
    let (action, bytes) = described.action();
    bench.peer.stage_bytes(&bytes).unwrap();
    entry.action = action;
    entry.description = ObjectRef {
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
    };
    *bench.peer.asked.lock().unwrap() = 0;
    let prediction = described.prediction();
    bench.peer.offer(Tier::Peers, &entry, prediction.to_canon());
    let hit = bench.hits();
    let asked = *bench.peer.asked.lock().unwrap() > 0;
    assert_eq!(hit, asked, "{prediction:?}");
    asked
}

/// A teammate may name nothing but one question, to the very cargo that started this compile, about
/// the package that it is of.
#[test]
fn of_what_a_teammate_names_only_cargo_is_asked_and_only_of_this_package() {
    let bench = Bench::new(WORDS);
    bench.compiled();
    let right = || child(CARGO, &WORDS_TO_IT);
    assert!(is_asked(&bench, right(), Use::Symbolic, 1));
    assert!(is_asked(&bench, right(), Use::Symbolic, 16));
    assert!(!is_asked(&bench, right(), Use::Symbolic, 17));
    assert!(!is_asked(&bench, right(), Use::Literal, 1));
    let literally = bench.cargo();
    let rustc = "/quarry/sysroot/bin/rustc";
    let own = "--manifest-path=/quarry/ws";
    let elsewhere = Child {
        dir: Some(b"/quarry/ws".to_vec()),
        ..right()
    };
    let mut wrong = vec![
        elsewhere,
        child(&literally, &with(0, &literally)),
        child(rustc, &with(0, rustc)),
        child("/quarry/ws/cargo", &WORDS_TO_IT),
    ];
    for (nr, word) in [
        (0, "sh"),
        (1, "metadata"),
        (1, "build"),
        (2, "--offline"),
        (3, "--message-format=json"),
        (4, "/quarry/ws/Cargo.toml"),
        (4, own),
        (4, &format!("{own}/l.rs")),
        (4, &format!("{own}/other/Cargo.toml")),
        (4, &format!("{own}//Cargo.toml")),
        (4, &format!("{own}/../Cargo.toml")),
        (4, "--manifest-path=/etc/Cargo.toml"),
        (4, "--config=/quarry/ws/Cargo.toml"),
    ] {
        wrong.push(child(CARGO, &with(nr, word)));
    }
    for child in wrong {
        let shown = format!("{child:?}");
        assert!(!is_asked(&bench, child, Use::Symbolic, 1), "{shown}");
    }
}
