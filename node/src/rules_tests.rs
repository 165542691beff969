//! Rules as people write them, and whom they mean.

use super::*;
use quarry_trust::roster::{Op, Role};
use quarry_trust::{BuilderKey, PeerId};

const NOW: u64 = 1_800_000_000;

fn key(who: u8) -> BuilderKey {
    BuilderKey::from_seed(&[who; 32])
}

fn member(who: u8, name: &str, peer: u8) -> Member {
    Member {
        name: name.to_owned(),
        role: Role::Builder,
        peer: PeerId([peer; 32]),
        builder: key(who).id(),
        joined: NOW,
    }
}

/// Alice founded it; CI changed its key once; two machines are called bob; eve left.
fn desk() -> Roster {
    let alice = Member {
        role: Role::Admin,
        ..member(1, "alice", 1)
    };
    let mut roster = crate::charter::found("desk", &key(90), alice, NOW);
    let mut sign = |op| roster.propose(op, &key(1), NOW).unwrap();
    sign(Op::Add(member(2, "ci", 2)));
    sign(Op::Retire(key(2).id()));
    sign(Op::Add(member(3, "ci", 2)));
    sign(Op::Add(member(4, "bob", 4)));
    sign(Op::Add(member(5, "bob", 5)));
    sign(Op::Add(member(6, "eve", 6)));
    sign(Op::Retire(key(6).id()));
    roster
}

fn trust(text: &str) -> Trust {
    Trust::of(toml::from_str(text).unwrap()).unwrap()
}

type Named = Result<Option<BTreeSet<BuilderId>>, RuleError>;

fn builders(text: &str) -> Named {
    let policy = trust(text).policy(Some(&desk()))?;
    Ok(policy.rule(false).builders.clone())
}

fn ids(who: &[u8]) -> Named {
    Ok(Some(who.iter().map(|w| key(*w).id()).collect()))
}

#[test]
fn a_name_means_one_member_with_the_keys_that_it_had() {
    assert_eq!(builders(""), Ok(None));
    assert_eq!(builders("builders = []"), ids(&[]));
    assert_eq!(builders("builders = [\"alice\"]"), ids(&[1]));
    assert_eq!(builders("builders = [\"ci\", \"alice\"]"), ids(&[1, 2, 3]));
    let hex = key(5).id().to_hex();
    for wanted in [hex.clone(), hex[..HEX_LEAST].to_uppercase()] {
        assert_eq!(builders(&format!("builders = [\"{wanted}\"]")), ids(&[5]));
    }
}

#[test]
fn who_is_unknown_gone_or_one_of_two_leaves_the_rule_without_a_meaning() {
    let hex = key(5).id().to_hex();
    for name in ["carol", "eve", "ali", "", &hex[..HEX_LEAST - 1]] {
        let rule = RuleText {
            builders: Some(BTreeSet::from(["alice".to_owned(), name.to_owned()])),
            agree: None,
        };
        assert_eq!(
            rule.rule(&desk()),
            Err(RuleError::Unknown(name.to_owned())),
            "{name:?}"
        );
    }
    assert_eq!(
        builders("builders = [\"bob\"]"),
        Err(RuleError::Ambiguous("bob".into()))
    );
    let executing = trust("[executing]\nbuilders = [\"carol\"]");
    assert_eq!(
        executing.policy(Some(&desk())),
        Err(RuleError::Unknown("carol".into())),
        "a fault of either rule is one of both"
    );
}

#[test]
fn a_member_cannot_take_another_s_key_for_a_name() {
    let mut roster = desk();
    let hex = key(3).id().to_hex()[..HEX_LEAST].to_owned();
    let newcomer = member(7, &hex, 7);
    roster.propose(Op::Add(newcomer), &key(1), NOW).unwrap();
    let rule = RuleText {
        builders: Some(BTreeSet::from([hex])),
        agree: None,
    };
    let meant = rule.rule(&roster).unwrap().builders;
    assert_eq!(
        Ok(meant),
        ids(&[2, 3]),
        "the key that begins so, not the name"
    );
}

#[test]
fn what_nobody_would_mean_is_refused() {
    for text in [
        "agree = 0",
        "agree = 9",
        "agree = -1",
        "agree = \"2\"",
        "builders = \"ci\"",
        "builders = [\"a\\nb\"]",
        "builder = [\"ci\"]",
        "root = \"/w\"",
        "[[project]]\nroot = \"/w\"",
        "[executing]\nexecuting = 1",
    ] {
        let written = toml::from_str(text).map(Trust::of);
        assert!(!matches!(written, Ok(Ok(_))), "{text}");
    }
    for text in [
        "[[project]]",
        "[[project]]\nroot = \"w\"",
        "[[project]]\nroot = \"/w\"\n[[project.project]]\nroot = \"/w\"",
        "root = \"/w\"",
    ] {
        let written = toml::from_str(text).map(TrustSettings::of);
        assert!(!matches!(written, Ok(Ok(_))), "{text}");
    }
}

#[test]
fn the_short_form_says_the_same() {
    let named = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    for (text, builders, agree) in [
        ("all", None, None),
        ("own", Some(named(&[])), None),
        ("ci", Some(named(&["ci"])), None),
        ("agree=2", None, NonZeroU8::new(2)),
        (
            "ci@host , bob,agree=2",
            Some(named(&["ci@host", "bob"])),
            NonZeroU8::new(2),
        ),
    ] {
        assert_eq!(
            RuleText::parse(text),
            Ok(RuleText { builders, agree }),
            "{text}"
        );
    }
    for text in [
        "",
        ",",
        "ci,",
        "all,ci",
        "own,agree=2,ci",
        "agree=",
        "agree=0",
        "agree=1,agree=2",
        "AGREE=2",
        "agree =2",
        "builders=ci",
        "ci,=",
    ] {
        assert!(RuleText::parse(text).is_err(), "{text:?}");
    }
    let why = RuleText::parse("AGREE=2").unwrap_err();
    assert!(
        why.contains("no such key") && why.contains("`agree=2`"),
        "{why}"
    );
}

#[test]
fn a_project_s_rules_hold_below_its_root() {
    let text = "agree = 2\n[[project]]\nroot = \"/w/closed\"\nbuilders = [\"ci\"]";
    let settings = TrustSettings::of(toml::from_str(text).unwrap()).unwrap();
    let found = |dir: &str| settings.of_project(&[Path::new(dir)]).count();
    assert_eq!(found("/w/closed/sub"), 1);
    assert_eq!(found("/w/closed-not"), 0);
    assert_eq!(settings.everywhere.general.agree, NonZeroU8::new(2));
}

#[test]
fn a_rule_that_nobody_can_meet_is_said_to_be_one() {
    assert_eq!(trust("builders = [\"ci\"]").unmeetable(), None);
    assert_eq!(trust("builders = []\nagree = 2").unmeetable(), None);
    let why = trust("builders = [\"ci\"]\nagree = 2").unmeetable();
    assert!(why.is_some_and(|why| why.contains("2 members must agree and 1 count")));
}
