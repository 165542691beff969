//! Who is told which secret, and what outsiders can make of a tag.

use super::*;
use quarry_trust::roster::{Member, Role};
use quarry_trust::{BuilderKey, PeerId};

const NOW: u64 = 1_800_000_000;
const FIRST_SECRET: [u8; 32] = [9; 32];

fn key(who: u8) -> BuilderKey {
    BuilderKey::from_seed(&[who; 32])
}

fn member(who: u8, role: Role) -> Member {
    let (name, peer, builder) = (format!("user{who}"), PeerId([who; 32]), key(who).id());
    let joined = NOW;
    Member {
        name,
        role,
        peer,
        builder,
        joined,
    }
}

/// Alice (2) is the admin, Bob (3) and Carol (4) build; project "pay" is open to Alice and Bob.
fn team() -> (Roster, Secrets) {
    let mut roster = crate::charter::found("desk", &key(1), member(2, Role::Admin), NOW);
    for who in [3, 4] {
        let op = Op::Add(member(who, Role::Builder));
        roster.propose(op, &key(2), NOW).unwrap();
    }
    let mut secrets = Secrets::default();
    let pay = Project {
        members: [key(2).id(), key(3).id()].into(),
        secret: Some(secrets.add([1; 32])),
        stale: false,
    };
    let op = Op::Project("pay".into(), pay);
    roster.propose(op, &key(2), NOW).unwrap();
    (roster, secrets)
}

#[test]
fn a_project_s_secret_goes_to_its_members_alone() {
    let (roster, alice) = team();
    let (bob, carol) = (key(3).id(), key(4).id());
    assert_eq!(alice.for_member(&roster, &bob).len(), 1);
    assert!(alice.for_member(&roster, &carol).is_empty());
    assert!(alice.for_member(&roster, &key(99).id()).is_empty());

    let offered = alice.for_member(&roster, &bob);
    let mut bobs = Secrets::default();
    assert!(bobs.take(&roster, &bob, offered.clone()));
    assert!(!bobs.take(&roster, &bob, offered.clone()), "no news");
    let made_up = vec![Zeroizing::new([7; 32])];
    assert!(
        !bobs.take(&roster, &bob, made_up),
        "the roster names no such secret"
    );
    assert!(!Secrets::default().take(&roster, &carol, offered));
}

#[test]
fn a_tag_says_nothing_without_its_scope_s_secret() {
    let (roster, alice) = team();
    let (here, pay) = (
        Scope::Team(roster.team()),
        Scope::project(roster.team(), "pay"),
    );
    let key_of = Digest::of(b"an action");
    let tags = alice.tags(&roster, &key(2).id(), &FIRST_SECRET);
    let (team_tag, pay_tag) = (tags.tag(&here, &key_of), tags.tag(&pay, &key_of));
    assert!(team_tag.is_some() && pay_tag.is_some() && team_tag != pay_tag);
    assert_ne!(team_tag, Some(key_of));
    assert_eq!(tags.tag(&Scope::Private, &key_of), None);
    // Carol knows the team's secret, and not the project's, whoever's hands she got it from.
    let carols = alice.tags(&roster, &key(4).id(), &FIRST_SECRET);
    assert_eq!(carols.tag(&here, &key_of), team_tag);
    assert_eq!(carols.tag(&pay, &key_of), None);
    let other = alice.tags(&roster, &key(2).id(), &[8; 32]);
    assert_ne!(other.tag(&here, &key_of), team_tag);
}

#[test]
fn after_a_removal_every_secret_that_the_leaver_knew_is_renewed() {
    let (mut roster, mut alice) = team();
    let (own, bob) = (key(2).id(), key(3).id());
    let (here, pay) = (
        Scope::Team(roster.team()),
        Scope::project(roster.team(), "pay"),
    );
    let before = alice.tags(&roster, &own, &FIRST_SECRET);
    roster.propose(Op::Revoke(bob), &key(2), NOW).unwrap();
    let count = std::cell::Cell::new(20);
    let random = || {
        count.set(count.get() + 1);
        Ok::<_, ()>([count.get(); 32])
    };
    for op in alice.renew(&roster, random).unwrap() {
        roster.propose(op, &key(2), NOW).unwrap();
    }
    assert_eq!(alice.renew(&roster, random).unwrap(), [], "once is enough");
    alice.keep_named(Some(&roster));
    let after = alice.tags(&roster, &own, &FIRST_SECRET);
    let key_of = Digest::of(b"an action");
    for scope in [here, pay] {
        assert!(after.tag(&scope, &key_of).is_some());
        assert_ne!(after.tag(&scope, &key_of), before.tag(&scope, &key_of));
    }
    assert_ne!(before.fingerprint(), after.fingerprint());
    assert!(alice.for_member(&roster, &bob).is_empty());
    // What is kept is read back.
    let mut w = Writer::default();
    alice.write(&mut w);
    let bytes = w.finish();
    let mut r = Reader::new(&bytes);
    let again = Secrets::read(&mut r).unwrap();
    r.finish().unwrap();
    assert_eq!(
        again.tags(&roster, &own, &FIRST_SECRET).fingerprint(),
        after.fingerprint()
    );
}
