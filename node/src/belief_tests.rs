//! Rules one after the other: each narrows, and none is skipped.

use super::*;
use quarry_trust::roster::{Member, Op, Role};
use quarry_trust::verify::{Source, Verifier};
use quarry_trust::{ActionKey, BuilderKey, Digest, LookupKey, ObjectRef, PeerId, Scope};

const NOW: u64 = 1_800_000_000;

fn key(who: u8) -> BuilderKey {
    BuilderKey::from_seed(&[who; 32])
}

/// Alice, who founded it, and Mallory.
fn desk() -> Roster {
    let member = |who: u8, name: &str, role| Member {
        name: name.to_owned(),
        role,
        peer: PeerId([who; 32]),
        builder: key(who).id(),
        joined: NOW,
    };
    let alice = member(1, "alice", Role::Admin);
    let mut roster = crate::charter::found("desk", &key(90), alice, NOW);
    let mallory = Op::Add(member(2, "mallory", Role::Builder));
    roster.propose(mallory, &key(1), NOW).unwrap();
    roster
}

fn entry(who: u8, result: u8) -> Verified<Entry> {
    let object = ObjectRef {
        digest: Digest::of(&[result]),
        size: 1,
    };
    let roster = desk();
    let entry = Entry {
        scope: Scope::Team(roster.team()),
        builder: key(who).id(),
        lookup: LookupKey::of(b"lookup"),
        action: ActionKey::of(b"action"),
        description: object,
        crate_name: "demo".into(),
        outputs: Vec::new(),
        stdout: object,
        stderr: object,
        width: None,
        duration_ms: 7,
        created: NOW,
    };
    let verifier = Verifier {
        // Any member's node vouches for what members signed.
        own: key(1).id(),
        roster: Some(&roster),
        now: NOW,
    };
    let signed = entry.sign(&key(who));
    verifier.entry(&signed, Source::Store, None, None).unwrap()
}

/// What rules, each as it stands in a file of its own, make of what Alice and Mallory say.
fn judged(rules: &[&str], said: &[(u8, u8)]) -> Result<usize, Refused> {
    let layer = |(at, text): (usize, &&str)| Layer {
        from: at.to_string(),
        what: match toml::from_str(text) {
            Ok(written) => Trust::of(written).map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        },
    };
    let belief = Belief {
        layers: rules.iter().enumerate().map(layer).collect(),
        whom: Whom::Team,
    };
    let roster = desk();
    let entries: Vec<_> = said.iter().map(|(who, r)| entry(*who, *r)).collect();
    let entries: Vec<_> = entries.iter().collect();
    let rulings = belief.resolve(Some(&roster));
    let believed = judge(&rulings, &entries, false, &key(9).id(), Some(&roster));
    believed.map(|all| all.len())
}

#[test]
fn each_rule_narrows_and_the_first_that_refuses_is_named() {
    let alice = "builders = [\"alice\"]";
    assert_eq!(judged(&["", alice], &[(1, 1)]), Ok(1));
    let refused = judged(&["", alice, "agree = 2"], &[(2, 1)]).unwrap_err();
    assert_eq!((refused.from.as_str(), refused.why), ("1", Why::NotNamed));
    let refused = judged(&["agree = 2", ""], &[(1, 1)]).unwrap_err();
    let why = Why::Awaiting { have: 1, of: 2 };
    assert_eq!((refused.from.as_str(), refused.why), ("0", why));
}

#[test]
fn a_repository_cannot_settle_a_dispute_by_naming_one_side() {
    let said = [(1, 1), (2, 2)];
    let refused = judged(&["", "builders = [\"mallory\"]"], &said).unwrap_err();
    assert_eq!((refused.from.as_str(), refused.why), ("0", Why::Disputed));
    // The node's own rule may.
    assert_eq!(judged(&["builders = [\"alice\"]"], &said), Ok(1));
}

#[test]
fn a_rule_that_cannot_be_read_or_resolved_believes_nobody_and_is_said() {
    for broken in ["builders = [\"carol\"]", "agree = 0", "agree ="] {
        for rules in [["", broken], [broken, ""]] {
            let refused = judged(&rules, &[(1, 1), (2, 1)]).unwrap_err();
            assert_eq!(refused.why, Why::NotNamed, "{broken}");
            assert!(refused.problem.is_some() && refused.words().contains("not-named"));
        }
    }
}

#[test]
fn whoever_names_nobody_widest_asks_for_nobody_in_particular() {
    let rulings = |text: &str| {
        let layer = Layer {
            from: String::new(),
            what: Trust::of(toml::from_str(text).unwrap()).map_err(|e| e.to_string()),
        };
        let layers = vec![layer];
        Belief {
            layers,
            whom: Whom::Team,
        }
        .resolve(Some(&desk()))
    };
    assert!(is_widest(&rulings("")) && named(&rulings("")).is_none());
    assert!(!is_widest(&rulings("agree = 2")));
    assert!(!is_widest(&rulings("[executing]\nagree = 2")));
    let alice = rulings("builders = [\"alice\"]");
    assert_eq!(named(&alice).unwrap().len(), 1);
    assert!(!is_widest(&Belief::own_only().resolve(Some(&desk()))));
}

#[test]
fn two_closed_projects_at_once_are_nobody_s_and_one_alone_is_its_own() {
    let beliefs = Beliefs::new(TrustSettings::default());
    let here = |scopes: &[&str]| Here {
        root: Some("/ws".into()),
        scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        ..Here::default()
    };
    assert_eq!(beliefs.belief(&here(&[])).whom, Whom::Team);
    let one = beliefs.belief(&here(&["pay"]));
    assert_eq!(one.whom, Whom::Project("pay".into()));
    let both = beliefs.belief(&here(&["pay", "web"]));
    assert_eq!(both.whom, Whom::Unknown);
    let why = unusable(&both.resolve(Some(&desk()))).unwrap();
    assert!(why.words().contains("pay and web"), "{}", why.words());
}
