//! Stories of entries that Bob is offered, and which of them he believes.

use super::*;
use crate::canon::Writer;
use crate::digest::Digest;
use crate::entry::{ObjectRef, Output, OutputKind, OutputName, TeamId};
use crate::key::{BuilderKey, PeerId};
use crate::roster::tests::found;
use crate::roster::{Member, Op, Project, ROSTER_MAX_AGE, Role};

const NOW: u64 = 1_800_000_000;
const ALICE: u8 = 2;
const BOB: u8 = 3;
const CAROL: u8 = 4;
const EVE: u8 = 7;

fn key(who: u8) -> BuilderKey {
    BuilderKey::from_seed(&[who; 32])
}

fn member(who: u8, role: Role) -> Member {
    let name = format!("user{who}");
    Member { name, role, peer: PeerId([who; 32]), builder: key(who).id(), joined: NOW }
}

/// Alice is the admin, Bob a builder, Carol a reader; Eve is outside.
fn desk() -> Roster {
    let mut roster = found("desk", &key(1), member(ALICE, Role::Admin), NOW);
    for (who, role) in [(BOB, Role::Builder), (CAROL, Role::Reader)] {
        roster.propose(Op::Add(member(who, role)), &key(ALICE), NOW).unwrap();
    }
    roster
}

fn entry(by: u8, scope: Scope) -> Entry {
    let object = ObjectRef { digest: Digest::of(b"rlib"), size: 4 };
    Entry {
        scope,
        builder: key(by).id(),
        lookup: LookupKey::of(b"lookup"),
        action: ActionKey::of(b"action"),
        description: object,
        crate_name: "demo".into(),
        outputs: vec![Output {
            name: OutputName::new("libdemo.rlib").unwrap(),
            kind: OutputKind::Plain,
            executable: false,
            object,
        }],
        stdout: object,
        stderr: object,
        width: None,
        duration_ms: 7,
        created: NOW,
    }
}

fn team_entry(by: u8) -> SignedEntry {
    entry(by, Scope::Team(desk().team())).sign(&key(by))
}

/// What Bob thinks of an entry that a peer sent him.
fn bob_asks(signed: &SignedEntry, roster: Option<&Roster>, source: Source) -> Result<(), Refusal> {
    let verifier = Verifier { own: key(BOB).id(), roster, now: NOW };
    verifier.entry(signed, source, None, None).map(|_| ())
}

fn from_peer(signed: &SignedEntry) -> Result<(), Refusal> {
    bob_asks(signed, Some(&desk()), Source::Peer)
}

#[test]
fn alice_signs_and_bob_believes() {
    let signed = team_entry(ALICE);
    let roster = desk();
    let verifier = Verifier { own: key(BOB).id(), roster: Some(&roster), now: NOW };
    let (action, lookup) = (ActionKey::of(b"action"), LookupKey::of(b"lookup"));
    let verified = verifier.entry(&signed, Source::Peer, Some(&action), Some(&lookup)).unwrap();
    assert_eq!(*verified, entry(ALICE, Scope::Team(roster.team())));
}

#[test]
fn a_signature_that_does_not_hold_is_unsigned() {
    let signed = team_entry(ALICE);
    for bit in 0..8 * signed.signature.0.len() {
        let mut bent = signed.clone();
        bent.signature.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(from_peer(&bent), Err(Refusal::Unsigned), "bit {bit}");
    }
    let mut swapped = signed;
    swapped.signature = team_entry(BOB).signature;
    assert_eq!(from_peer(&swapped), Err(Refusal::Unsigned));
}

#[test]
fn no_bit_of_what_was_signed_can_be_changed() {
    let signed = team_entry(ALICE);
    for bit in 0..8 * signed.bytes.len() {
        let mut bent = signed.clone();
        bent.bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(from_peer(&bent).is_err(), "bit {bit}");
    }
}

#[test]
fn eve_signs_under_alices_name() {
    let mut forged = team_entry(ALICE);
    forged.signature = key(EVE).sign(ENTRY_DOMAIN, &forged.bytes);
    assert_eq!(from_peer(&forged), Err(Refusal::Unsigned));
    // Alice's hand, but under another statement's tag.
    forged.signature = key(ALICE).sign("quarry 2026-11 change v1", &forged.bytes);
    assert_eq!(from_peer(&forged), Err(Refusal::Unsigned));
}

#[test]
fn who_is_outside_the_roster_or_reads_only_is_untrusted() {
    for who in [EVE, CAROL, 1] {
        assert!(matches!(from_peer(&team_entry(who)), Err(Refusal::Untrusted(_))));
    }
}

#[test]
fn a_true_entry_for_another_key_is_misplaced() {
    let (signed, roster) = (team_entry(ALICE), desk());
    let verifier = Verifier { own: key(BOB).id(), roster: Some(&roster), now: NOW };
    let other = (ActionKey::of(b"other"), LookupKey::of(b"other"));
    let ask = |action, lookup| verifier.entry(&signed, Source::Peer, action, lookup).unwrap_err();
    assert_eq!(ask(Some(&other.0), None), Refusal::Misplaced);
    assert_eq!(ask(None, Some(&other.1)), Refusal::Misplaced);
    let action = ActionKey::of(b"action");
    assert_eq!(ask(Some(&action), Some(&other.1)), Refusal::Misplaced);
}

#[test]
fn of_a_retired_builder_counts_what_lies_here_already() {
    let mut roster = desk();
    roster.propose(Op::Add(member(EVE, Role::Builder)), &key(ALICE), NOW).unwrap();
    let signed = team_entry(EVE);
    assert_eq!(bob_asks(&signed, Some(&roster), Source::Peer), Ok(()));
    roster.propose(Op::Retire(key(EVE).id()), &key(ALICE), NOW).unwrap();
    assert_eq!(bob_asks(&signed, Some(&roster), Source::Store), Ok(()));
    assert!(matches!(bob_asks(&signed, Some(&roster), Source::Peer), Err(Refusal::Untrusted(_))));
}

#[test]
fn of_a_revoked_builder_nothing_counts() {
    let mut roster = desk();
    roster.propose(Op::Revoke(key(BOB).id()), &key(ALICE), NOW).unwrap();
    for source in [Source::Store, Source::Peer] {
        assert_eq!(bob_asks(&team_entry(BOB), Some(&roster), source), Err(Refusal::Revoked));
    }
}

#[test]
fn another_teams_entry_is_untrusted_and_so_is_any_without_a_team() {
    let other = entry(ALICE, Scope::Team(TeamId(Digest::of(b"other")))).sign(&key(ALICE));
    assert!(matches!(from_peer(&other), Err(Refusal::Untrusted(_))));
    let ours = team_entry(ALICE);
    assert!(matches!(bob_asks(&ours, None, Source::Peer), Err(Refusal::Untrusted(_))));
}

#[test]
fn a_private_entry_is_believed_by_its_maker_alone() {
    let (bobs, alices) = (
        entry(BOB, Scope::Private).sign(&key(BOB)),
        entry(ALICE, Scope::Private).sign(&key(ALICE)),
    );
    for roster in [None, Some(&desk())] {
        assert_eq!(bob_asks(&bobs, roster, Source::Store), Ok(()));
        assert!(matches!(bob_asks(&alices, roster, Source::Peer), Err(Refusal::Untrusted(_))));
    }
}

#[test]
fn behind_a_stale_mark_only_ones_own_word_counts() {
    let mut roster = desk();
    let later = NOW + ROSTER_MAX_AGE + 1;
    let ask = |roster: &Roster, by| {
        let verifier = Verifier { own: key(BOB).id(), roster: Some(roster), now: later };
        verifier.entry(&team_entry(by), Source::Store, None, None).map(|_| ())
    };
    assert!(matches!(ask(&roster, ALICE), Err(Refusal::Untrusted(_))));
    assert_eq!(ask(&roster, BOB), Ok(()));
    roster.mark_fresh(&key(ALICE), later).unwrap();
    assert_eq!(ask(&roster, ALICE), Ok(()));
}

#[test]
fn a_path_that_climbs_is_corrupt_even_if_a_member_signed_it() {
    let plain = team_entry(ALICE);
    let at = plain.bytes.windows(12).position(|w| w == b"libdemo.rlib").unwrap();
    for name in [b"../demo.rlib", b"/etc/passwd.", b"a/../../b.rs"] {
        let mut bytes = plain.bytes.clone();
        bytes[at..at + 12].copy_from_slice(name);
        let signature = key(ALICE).sign(ENTRY_DOMAIN, &bytes);
        let refused = from_peer(&SignedEntry { bytes, signature }).unwrap_err();
        assert_eq!(refused.name(), "corrupt");
    }
}

#[test]
fn what_is_too_large_is_oversize() {
    let sign = |bytes: Vec<u8>| {
        let signature = key(ALICE).sign(ENTRY_DOMAIN, &bytes);
        from_peer(&SignedEntry { bytes, signature })
    };
    assert_eq!(sign(vec![0; MAX_ENTRY_BYTES + 1]), Err(Refusal::Oversize));
    let mut greedy = entry(ALICE, Scope::Team(desk().team()));
    greedy.stdout.size = crate::entry::MAX_OBJECT + 1;
    assert_eq!(sign(greedy.to_canon()), Err(Refusal::Oversize));
    let mut wordy = entry(ALICE, Scope::Team(desk().team()));
    wordy.crate_name = "c".repeat(200);
    assert_eq!(sign(wordy.to_canon()), Err(Refusal::Oversize));
}

#[test]
fn what_is_not_the_form_is_corrupt() {
    let sign = |bytes: Vec<u8>| {
        let signature = key(ALICE).sign(ENTRY_DOMAIN, &bytes);
        from_peer(&SignedEntry { bytes, signature }).unwrap_err().name()
    };
    let good = team_entry(ALICE).bytes;
    assert_eq!(sign([&good[..], &[0]].concat()), "corrupt");
    assert_eq!(sign(good[..good.len() - 1].to_vec()), "corrupt");
    assert_eq!(sign(vec![]), "corrupt");
    let mut w = Writer::default();
    w.u16(2);
    w.fixed(&good[2..]);
    assert_eq!(sign(w.finish()), "corrupt", "an unknown schema");
}

#[test]
fn a_project_s_entry_is_believed_within_the_project_alone() {
    let mut roster = desk();
    let open_to = |who: &[u8]| Project {
        members: who.iter().map(|w| key(*w).id()).collect(),
        ..Project::default()
    };
    let mut say = |op| {
        roster.propose(op, &key(ALICE), NOW).unwrap();
        roster.clone()
    };
    say(Op::Add(member(EVE, Role::Builder)));
    let before = say(Op::Project("pay".into(), open_to(&[ALICE])));
    let scope = Scope::project(before.team(), "pay");
    let alices = entry(ALICE, scope).sign(&key(ALICE));
    let outside = Err(Refusal::Untrusted("a scope that this node is not in"));
    assert_eq!(bob_asks(&alices, Some(&before), Source::Peer), outside);
    assert_eq!(bob_asks(&alices, Some(&before), Source::Store), outside);

    let with_bob = say(Op::Project("pay".into(), open_to(&[ALICE, BOB])));
    assert_eq!(bob_asks(&alices, Some(&with_bob), Source::Peer), Ok(()));
    let eves = entry(EVE, scope).sign(&key(EVE));
    assert_eq!(
        bob_asks(&eves, Some(&with_bob), Source::Peer),
        Err(Refusal::Untrusted("its builder is not in its scope"))
    );
    let other = entry(ALICE, Scope::project(before.team(), "play")).sign(&key(ALICE));
    assert_eq!(bob_asks(&other, Some(&with_bob), Source::Peer), outside);
    // Bob's own stays his wherever he is, and is nothing when a peer brings it.
    let bobs = entry(BOB, scope).sign(&key(BOB));
    assert_eq!(bob_asks(&bobs, None, Source::Store), Ok(()));
    assert_eq!(bob_asks(&bobs, Some(&before), Source::Store), Ok(()));
    assert_eq!(bob_asks(&bobs, Some(&before), Source::Peer), outside);
}
