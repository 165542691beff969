//! Rotation on disk: whatever is cut short, a key that the team knows is there.

use super::*;
use quarry_trust::Standing;

fn home(dir: &Path) -> Home {
    let home = Home::at(dir.join("home")).unwrap();
    home.create().unwrap();
    home
}

/// Alice, the founder, and Bob, a builder, each with a home.
fn alice_and_bob(dir: &Path) -> (Team, Team) {
    let alice = Team::load(&home(&dir.join("a"))).unwrap();
    let bob = Team::load(&home(&dir.join("b"))).unwrap();
    alice.found("desk", "alice").unwrap();
    let member = quarry_trust::Member {
        name: "bob".into(),
        role: Role::Builder,
        peer: bob.peer(),
        builder: bob.builder(),
        joined: now(),
    };
    alice
        .propose(quarry_trust::roster::Op::Add(member))
        .unwrap();
    let wire = alice.roster(quarry_trust::Roster::to_wire).unwrap();
    bob.enter(&wire, None, alice.secret()).unwrap();
    (alice, bob)
}

fn exchange(a: &Team, b: &Team) {
    for _ in 0..2 {
        b.merge(&a.exchange(Some(&b.peer())).unwrap()).unwrap();
        a.merge(&b.exchange(Some(&a.peer())).unwrap()).unwrap();
    }
}

#[test]
fn what_was_announced_before_some_renewals_in_a_row_is_still_sought() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = alice_and_bob(dir.path());
    let (scope, key) = (alice.scope(), quarry_trust::Digest::of(b"a key"));
    exchange(&alice, &bob);
    let mut announced = vec![alice.tag(&scope, &key).unwrap()];
    for byte in 1..=3 {
        let seed = quarry_trust::BuilderKey::from_seed(&[byte; 32]).id();
        let foe = quarry_trust::Member {
            name: format!("mallory-{byte}"),
            role: Role::Reader,
            peer: quarry_trust::PeerId(seed.0),
            builder: seed,
            joined: now(),
        };
        alice.propose(quarry_trust::roster::Op::Add(foe)).unwrap();
        alice
            .propose(quarry_trust::roster::Op::Revoke(seed))
            .unwrap();
        // Without the secret at first, as where a third member passes the roster on.
        bob.merge(&alice.exchange(None).unwrap()).unwrap();
        exchange(&alice, &bob);
        announced.push(alice.tag(&scope, &key).unwrap());
        let sought = bob.sought(&scope, &key);
        assert!(announced.iter().all(|tag| sought.contains(tag)));
    }
    announced.dedup();
    assert_eq!(announced.len(), 4, "each revocation renews the secret");
}

#[test]
fn of_two_admins_one_acts_on_a_word_and_the_other_only_where_it_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = alice_and_bob(dir.path());
    let carol = Team::load(&home(&dir.path().join("c"))).unwrap();
    let member = quarry_trust::Member {
        name: "carol".into(),
        role: Role::Builder,
        peer: carol.peer(),
        builder: carol.builder(),
        joined: now(),
    };
    for op in [
        quarry_trust::roster::Op::Add(member),
        quarry_trust::roster::Op::SetRole(bob.builder(), Role::Admin),
    ] {
        alice.propose(op).unwrap();
    }
    exchange(&alice, &bob);
    let wire = alice.roster(quarry_trust::Roster::to_wire).unwrap();
    carol.enter(&wire, None, alice.secret()).unwrap();
    carol.announce_departure().unwrap();
    let word = |to: &Team| carol.exchange(Some(&to.peer())).unwrap();
    let (first, second) = match alice.builder() < bob.builder() {
        true => (&alice, &bob),
        false => (&bob, &alice),
    };
    let is_gone =
        |team: &Team| team.roster(|r| r.standing(&carol.builder())) == Some(Standing::Retired);
    second.merge(&word(second)).unwrap();
    assert!(
        !is_gone(second) && !second.settle_words(),
        "its turn comes later"
    );
    first.merge(&word(first)).unwrap();
    assert!(is_gone(first));
    // Had the first been away, the second would have acted in its turn.
    let alone = Team::load(&second.home).unwrap();
    alone.merge(&word(&alone)).unwrap();
    let ticks = (1..10).find(|_| alone.settle_words());
    assert_eq!(ticks, Some(4));
    assert!(is_gone(&alone));
    // The first's word reaches the second before its turn: nobody forks.
    exchange(first, second);
    assert!(is_gone(second) && !second.settle_words());
    assert_eq!(second.roster(|r| r.fork().is_some()), Some(false));
}

#[test]
fn bob_signs_with_his_old_key_until_the_chain_has_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = alice_and_bob(dir.path());
    let old = bob.builder();
    assert!(!bob.rotate(false, false).unwrap(), "no admin has heard yet");
    assert!(bob.rotating().unwrap());
    let again = Team::load(&bob.home).unwrap();
    assert_eq!(again.builder(), old, "a restart meanwhile changes nothing");
    exchange(&again, &alice);
    assert_eq!(alice.roster(|r| r.standing(&old)), Some(Standing::Retired));
    assert!(again.rotated().unwrap());
    let renewed = Team::load(&bob.home).unwrap();
    assert_ne!(renewed.builder(), old);
    assert_eq!(renewed.peer(), bob.peer());
    assert_eq!(renewed.own_record().unwrap().name, "bob");
    assert!(
        !rotation_file(&bob.home).exists(),
        "and nothing is left over"
    );
}

#[test]
fn with_a_new_peer_a_crash_between_the_two_renames_is_mended_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = alice_and_bob(dir.path());
    let (old, old_peer) = (bob.builder(), bob.peer());
    assert!(!bob.rotate(true, true).unwrap());
    exchange(&bob, &alice);
    assert_eq!(alice.roster(|r| r.standing(&old)), Some(Standing::Stands));
    // The builder key took its place, and then the power went.
    promote(&bob.home.builder_key()).unwrap();
    let renewed = Team::load(&bob.home).unwrap();
    assert_ne!((renewed.builder(), renewed.peer()), (old, old_peer));
    assert_ne!(renewed.peer(), old_peer);
    assert!(renewed.own_record().is_some(), "the team knows both");
    exchange(&renewed, &alice);
    assert_eq!(alice.roster(|r| r.standing(&old)), Some(Standing::Revoked));
    Team::load(&bob.home).unwrap();
    assert!(!rotation_file(&bob.home).exists());
}

#[test]
fn the_only_admin_rotates_with_a_new_peer_and_is_told_so_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = alice_and_bob(dir.path());
    let old = alice.builder();
    assert!(matches!(
        alice.rotate(false, false),
        Err(TeamError::SoleAdmin)
    ));
    assert!(!alice.rotate(true, false).unwrap());
    assert!(alice.is_signed_in().unwrap(), "it signs for itself");
    exchange(&alice, &bob);
    assert!(alice.rotated().unwrap());
    let renewed = Team::load(&alice.home).unwrap();
    assert_eq!(renewed.role(), Some(Role::Admin));
    assert_eq!(
        renewed.roster(|r| r.standing(&old)),
        Some(Standing::Retired)
    );
    exchange(&bob, &renewed);
    assert_eq!(bob.roster(|r| r.is_admin(&renewed.builder())), Some(true));
}

#[test]
fn departures_are_what_they_were_and_a_word_of_a_newer_kind_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = alice_and_bob(dir.path());
    bob.announce_departure().unwrap();
    // Nodes from before rotations send departures alone, in the same bytes.
    let wire = bob.roster(quarry_trust::Roster::to_wire).unwrap();
    let departure = bob.words().values().next().unwrap().to_wire();
    let mut w = Writer::default();
    w.bytes(&wire);
    w.count(2);
    w.bytes(&[9, 0, 1, 2, 3]);
    w.bytes(&departure);
    crate::secrets::write(&mut w, [].iter());
    alice.merge(&w.finish()).unwrap();
    let stands = alice.roster(|r| r.standing(&bob.builder()));
    assert_eq!(stands, Some(Standing::Retired));
}

#[test]
fn an_admins_new_peer_waits_until_a_teammate_knows_it() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = alice_and_bob(dir.path());
    let old = alice.peer();
    let knows = |peer| {
        bob.roster(|r| r.member_by_peer(peer).is_some())
            .unwrap_or(false)
    };
    assert!(!alice.rotate(true, false).unwrap(), "nobody has heard yet");
    alice.merge(&bob.exchange(Some(&old)).unwrap()).unwrap();
    assert!(!alice.rotated().unwrap(), "what Bob says is from before");
    // The power goes: said again, and waited for again.
    let again = Team::load(&alice.home).unwrap();
    assert_eq!((again.peer(), again.rotating().unwrap()), (old, true));
    assert!(!again.rotated().unwrap());
    exchange(&again, &bob);
    assert!(again.rotated().unwrap());
    let renewed = Team::load(&alice.home).unwrap();
    assert!(renewed.peer() != old && knows(&renewed.peer()));
    assert!(renewed.roster(|r| r.is_admin(&renewed.builder())).unwrap());
}

#[test]
fn what_was_heard_of_one_rotation_says_nothing_of_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = alice_and_bob(dir.path());
    assert!(!alice.rotate(true, false).unwrap());
    // Without the word for it, it is still the one that was begun.
    assert!(!alice.rotate(false, false).unwrap());
    assert!(alice.is_signed_in().unwrap());
    exchange(&alice, &bob);
    assert!(alice.rotated().unwrap());
    let again = Team::load(&alice.home).unwrap();
    // What was said of the first is said once more, by a roster that has its keys.
    exchange(&again, &bob);
    assert!(!again.rotate(true, false).unwrap(), "nobody knows this one");
    exchange(&again, &bob);
    assert!(again.rotated().unwrap());
}

#[test]
fn whom_another_signed_in_needs_to_hear_it_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = alice_and_bob(dir.path());
    assert!(!bob.rotate(true, false).unwrap());
    exchange(&bob, &alice);
    // The power went before the keys took their place, and an admin took the old one away.
    let (old, wire) = (bob.builder(), |to: &Team| alice.exchange(Some(&to.peer())));
    alice
        .propose(quarry_trust::roster::Op::Retire(old))
        .unwrap();
    let again = Team::load(&bob.home).unwrap();
    assert!(again.rotated().unwrap());
    let renewed = Team::load(&bob.home).unwrap();
    renewed.merge(&wire(&renewed).unwrap()).unwrap();
    assert_eq!(renewed.own_record().unwrap().name, "bob");
}

#[test]
fn who_is_alone_has_new_keys_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let alice = Team::load(&home(dir.path())).unwrap();
    alice.found("desk", "alice").unwrap();
    let old = (alice.builder(), alice.peer());
    assert!(alice.rotate(true, false).unwrap());
    let renewed = Team::load(&alice.home).unwrap();
    assert!(renewed.builder() != old.0 && renewed.peer() != old.1);
}
