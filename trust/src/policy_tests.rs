//! Stories of what is believed of several verified entries, and by which rule.

use super::*;
use crate::digest::{ActionKey, Digest, LookupKey};
use crate::entry::{ObjectRef, Output, OutputKind, OutputName, Scope};
use crate::key::{BuilderKey, PeerId};
use crate::roster::tests::found;
use crate::roster::{Member, Op, Role};
use crate::verify::{Source, Verifier};
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;
const ALICE: u8 = 2;
const BOB: u8 = 3;
const CI: u8 = 4;
const US: u8 = 9;

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

/// The root's own member, and builders 2 to 9, each a person of its own.
fn desk() -> Roster {
    let founder = Member { role: Role::Admin, ..member(1, "founder", 1) };
    let mut roster = found("desk", &key(1), founder, NOW);
    for who in ALICE..=US {
        let newcomer = member(who, &format!("user{who}"), who);
        roster.propose(Op::Add(newcomer), &key(1), NOW).unwrap();
    }
    roster
}

/// What `who` says came out: `result` stands for the bytes.
fn entry(roster: &Roster, who: u8, result: u8) -> Verified<Entry> {
    let object = |bytes: &[u8]| ObjectRef { digest: Digest::of(bytes), size: 1 };
    let entry = Entry {
        scope: Scope::Team(roster.team()),
        builder: key(who).id(),
        lookup: LookupKey::of(b"lookup"),
        action: ActionKey::of(b"action"),
        description: object(b"description"),
        crate_name: "demo".into(),
        outputs: vec![Output {
            name: OutputName::new("libdemo.rlib").unwrap(),
            kind: OutputKind::Plain,
            executable: false,
            object: object(&[result]),
        }],
        stdout: object(b"out"),
        stderr: object(b"err"),
        width: None,
        // What is no part of the result.
        duration_ms: u64::from(who),
        created: NOW + u64::from(who),
    };
    let verifier = Verifier { own: key(US).id(), roster: Some(roster), now: NOW };
    let signed = entry.sign(&key(who));
    verifier.entry(&signed, Source::Store, None, None).unwrap()
}

fn rule(builders: Option<&[u8]>, agree: u8) -> Rule {
    Rule {
        builders: builders.map(|who| who.iter().map(|w| key(*w).id()).collect()),
        agree: NonZeroU8::new(agree).unwrap(),
    }
}

fn general(builders: Option<&[u8]>, agree: u8) -> Policy {
    Policy::new(rule(builders, agree), &Rule::WIDEST)
}

/// What we make of results that builders signed.
fn judged(policy: &Policy, signed: &[(u8, u8)]) -> Result<Vec<usize>, Why> {
    judged_by(policy, signed, false, &desk())
}

fn judged_by(
    policy: &Policy,
    signed: &[(u8, u8)],
    executes: bool,
    roster: &Roster,
) -> Result<Vec<usize>, Why> {
    let entries: Vec<_> = signed.iter().map(|(w, r)| entry(roster, *w, *r)).collect();
    let entries: Vec<_> = entries.iter().collect();
    policy.judge(&entries, executes, &key(US).id(), Some(roster))
}

#[test]
fn by_the_widest_policy_one_word_is_enough_and_two_that_differ_are_none() {
    let widest = Policy::widest();
    assert_eq!(judged(&widest, &[(BOB, 1)]), Ok(vec![0]));
    assert_eq!(judged(&widest, &[(BOB, 1), (ALICE, 1)]), Ok(vec![0, 1]));
    assert_eq!(judged(&widest, &[(BOB, 1), (ALICE, 2), (CI, 1)]), Err(Why::Disputed));
    assert_eq!(judged(&widest, &[]), Err(Why::NotNamed));
}

#[test]
fn only_the_named_builder_counts() {
    let ci = general(Some(&[CI]), 1);
    assert_eq!(judged(&ci, &[(ALICE, 1), (BOB, 1)]), Err(Why::NotNamed), "however many agree");
    assert_eq!(judged(&ci, &[(ALICE, 2), (CI, 1)]), Ok(vec![1]));
    assert_eq!(judged(&ci, &[(ALICE, 1), (CI, 1)]), Ok(vec![1]), "and it alone is named");
}

#[test]
fn two_members_must_agree_on_all_of_the_result() {
    let two = general(None, 2);
    let short = Err(Why::Awaiting { have: 1, of: 2 });
    assert_eq!(judged(&two, &[(ALICE, 1)]), short);
    assert_eq!(judged(&two, &[(ALICE, 1), (ALICE, 1)]), short, "once each");
    assert_eq!(judged(&two, &[(ALICE, 1), (BOB, 2)]), short);
    let three = [(ALICE, 1), (BOB, 2), (CI, 1)];
    assert_eq!(judged(&two, &three), Ok(vec![0, 2]));
    let four = [(ALICE, 1), (BOB, 2), (CI, 1), (5, 2)];
    assert_eq!(judged(&two, &four), Err(Why::Disputed));
}

#[test]
fn what_we_compiled_ourselves_is_believed_whatever_others_say() {
    for policy in [Policy::own_only(), general(None, 8), general(Some(&[CI]), 1)] {
        let signed = [(ALICE, 2), (BOB, 2), (US, 1), (CI, 1)];
        assert_eq!(judged(&policy, &signed), Ok(vec![2, 3]));
    }
    assert_eq!(judged(&Policy::own_only(), &[(ALICE, 1), (BOB, 1), (CI, 1)]), Err(Why::NotNamed));
}

#[test]
fn what_executes_is_judged_by_both_rules() {
    let policy = Policy::new(rule(None, 2), &rule(Some(&[CI, BOB]), 1));
    let roster = desk();
    let signed = [(ALICE, 1), (CI, 1)];
    assert!(judged_by(&policy, &signed, false, &roster).is_ok());
    assert_eq!(
        judged_by(&policy, &signed, true, &roster),
        Err(Why::Awaiting { have: 1, of: 2 }),
        "a laxer rule for what executes changes nothing"
    );
    assert!(judged_by(&policy, &[(CI, 1), (BOB, 1)], true, &roster).is_ok());
}

#[test]
fn a_member_that_changed_its_key_or_its_machine_counts_once() {
    // The same peer under another name and key, then the same name on another machine, by which
    // the first and the third are one as well.
    let mut roster = desk();
    for (who, name, peer) in [(20, "bob", 20), (21, "robert", 20), (22, "bob", 22)] {
        let newcomer = member(who, name, peer);
        roster.propose(Op::Add(newcomer), &key(1), NOW).unwrap();
        if who < 22 {
            let old = Op::Retire(key(who).id());
            roster.propose(old, &key(1), NOW).unwrap();
        }
    }
    let two = general(None, 2);
    for signed in
        [[(20, 1), (21, 1), (21, 1)], [(20, 1), (22, 1), (22, 1)], [(21, 1), (22, 1), (20, 1)]]
    {
        assert_eq!(
            judged_by(&two, &signed, false, &roster),
            Err(Why::Awaiting { have: 1, of: 2 }),
            "{signed:?}"
        );
    }
    assert!(judged_by(&two, &[(20, 1), (ALICE, 1)], false, &roster).is_ok());
}

#[test]
fn every_part_of_a_result_counts_and_what_is_said_about_it_does_not() {
    let roster = desk();
    let one = entry(&roster, ALICE, 1);
    assert!(agree(&one, &entry(&roster, BOB, 1)), "times and durations");
    let changes: [fn(&mut Entry); 9] = [
        |e| e.action = ActionKey::of(b"other"),
        |e| e.width = Some(80),
        |e| e.stdout.size += 1,
        |e| e.stderr.digest = Digest::of(b"other"),
        |e| e.outputs[0].name = OutputName::new("other").unwrap(),
        |e| e.outputs[0].kind = OutputKind::Metadata,
        |e| e.outputs[0].executable = true,
        |e| e.outputs[0].object.size += 1,
        |e| e.outputs.clear(),
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut other = (*entry(&roster, BOB, 1)).clone();
        change(&mut other);
        assert!(!agree(&one, &other), "change {at}");
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let builders = proptest::option::of(proptest::collection::btree_set(2..6_u8, 0..4));
    (builders, 1..4_u8).prop_map(|(who, agree)| {
        let who: Option<Vec<u8>> = who.map(|w| w.into_iter().collect());
        rule(who.as_deref(), agree)
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (any_rule(), any_rule()).prop_map(|(general, executing)| Policy::new(general, &executing))
}

/// Whether a policy would believe this entry if nobody contradicted it.
fn believes(policy: &Policy, signed: &[(u8, u8)], at: usize, executes: bool) -> bool {
    let same: Vec<_> = signed.iter().copied().filter(|s| s.1 == signed[at].1).collect();
    judged_by(policy, &same, executes, &desk()).is_ok()
}

proptest! {
    #[test]
    fn whatever_the_narrower_believes_both_believe(
        a in any_policy(),
        b in any_policy(),
        signed in proptest::collection::vec((2..6_u8, 0..3_u8), 0..7),
        executes in any::<bool>(),
    ) {
        let narrow = a.narrow(&b);
        if let Ok(believed) = judged_by(&narrow, &signed, executes, &desk()) {
            prop_assert!(!believed.is_empty());
            for at in believed {
                prop_assert!(believes(&a, &signed, at, executes));
                prop_assert!(believes(&b, &signed, at, executes));
            }
        }
    }

    #[test]
    fn narrowing_has_no_order_and_does_nothing_twice(
        a in any_policy(),
        b in any_policy(),
        c in any_policy(),
    ) {
        prop_assert_eq!(a.narrow(&b), b.narrow(&a));
        prop_assert_eq!(a.narrow(&a), a.clone());
        prop_assert_eq!(a.narrow(&Policy::widest()), a.clone());
        prop_assert_eq!(a.narrow(&b).narrow(&c), a.narrow(&b.narrow(&c)));
    }

    #[test]
    fn what_executes_is_never_judged_more_widely(
        policy in any_policy(),
        signed in proptest::collection::vec((2..6_u8, 0..3_u8), 0..7),
    ) {
        if let Ok(believed) = judged_by(&policy, &signed, true, &desk()) {
            for at in believed {
                prop_assert!(believes(&policy, &signed, at, false));
            }
        }
    }
}
