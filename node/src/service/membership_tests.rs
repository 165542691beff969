//! Invitations and knocks, by the hour and the second, without a socket.

use super::*;
use crate::swarm::door::NONCE_LEN;
use proptest::prelude::*;
use quarry_trust::{BuilderId, TeamId};
use zeroize::Zeroizing;

const NOW: u64 = 1_000_000;

fn ticket(secret: u8, expires: u64) -> Ticket {
    Ticket {
        team_name: "desk".to_owned(),
        team: TeamId(Digest::of(b"desk")),
        root: BuilderId([7; 32]),
        issuer: PeerId([8; 32]),
        addresses: Vec::new(),
        secret: Zeroizing::new([secret; SECRET_LEN]),
        expires,
        role: Role::Reader,
    }
}

fn person(name: &str) -> Candidate {
    let bytes = *Digest::of(name.as_bytes()).as_bytes();
    Candidate {
        name: name.to_owned(),
        peer: PeerId(bytes),
        builder: BuilderId(*Digest::of(&bytes).as_bytes()),
        addresses: Vec::new(),
    }
}

fn claim() -> TeamClaim {
    TeamClaim {
        team_name: "desk".to_owned(),
        team: TeamId(Digest::of(b"desk")),
        root: BuilderId([7; 32]),
        admin_name: "alice".to_owned(),
        admin_peer: PeerId([8; 32]),
        admin_builder: BuilderId([9; 32]),
    }
}

const OURS: Nonce = [1; NONCE_LEN];
const THEIRS: Nonce = [2; NONCE_LEN];

/// Knocks and reveals; the string.
fn knocks(m: &mut Membership, who: &Candidate, now: u64) -> String {
    m.knock(who.clone(), commitment(who, &THEIRS), OURS, now)
        .unwrap();
    m.reveal(&who.peer, &THEIRS, &claim(), now).unwrap()
}

#[test]
fn an_invitation_is_used_once_and_stays_used_after_a_restart() {
    let mut before = Membership::default();
    let bob = person("bob");
    before.invite(&ticket(1, NOW + 60), NOW).unwrap();
    before.invite(&ticket(2, NOW + 60), NOW).unwrap();
    assert_eq!(before.redeem(&[1; 32], &bob, NOW), Ok(Role::Reader));

    let mut after = Membership::from_bytes(&before.to_bytes()).unwrap();
    let again = after.redeem(&[1; 32], &bob, NOW);
    assert_eq!(again, Err(JoinRefusal::Used));
    assert_eq!(after.redeem(&[2; 32], &bob, NOW), Ok(Role::Reader));
    let never = after.redeem(&[3; 32], &bob, NOW);
    assert_eq!(never, Err(JoinRefusal::Unknown));
}

#[test]
fn an_invitation_ends_at_its_second() {
    let mut m = Membership::default();
    m.invite(&ticket(1, NOW + 60), NOW).unwrap();
    m.invite(&ticket(2, NOW + 60), NOW).unwrap();
    let bob = person("bob");
    assert_eq!(m.redeem(&[1; 32], &bob, NOW + 59), Ok(Role::Reader));
    let late = m.redeem(&[2; 32], &bob, NOW + 60);
    assert_eq!(late, Err(JoinRefusal::Expired));
}

#[test]
fn an_invitation_lasts_neither_no_time_nor_for_ever() {
    let mut m = Membership::default();
    for expires in [0, NOW, NOW + MAX_LIFETIME + 1, u64::MAX] {
        let refused = m.invite(&ticket(1, expires), NOW);
        assert_eq!(refused, Err(MembershipError::Lifetime), "{expires}");
    }
    m.invite(&ticket(1, NOW + MAX_LIFETIME), NOW).unwrap();
}

#[test]
fn spent_invitations_make_room_and_open_ones_do_not() {
    let mut m = Membership::default();
    let numbered = |n: usize| {
        let mut ticket = ticket(0, NOW + 60);
        ticket.secret[..8].copy_from_slice(&(n as u64).to_le_bytes());
        ticket
    };
    for n in 0..MAX_INVITATIONS {
        m.invite(&numbered(n), NOW).unwrap();
    }
    let full = m.invite(&numbered(MAX_INVITATIONS), NOW);
    assert_eq!(full, Err(MembershipError::Full));
    let bob = person("bob");
    m.redeem(&numbered(5).secret, &bob, NOW).unwrap();
    m.invite(&numbered(MAX_INVITATIONS), NOW).unwrap();
    // Forgotten, and no more use than before.
    let forgotten = m.redeem(&numbered(5).secret, &bob, NOW);
    assert_eq!(forgotten, Err(JoinRefusal::Unknown));
    assert!(Membership::from_bytes(&m.to_bytes()).is_ok());
}

#[test]
fn nobody_knocks_where_no_admin_waits() {
    let mut m = Membership::default();
    let bob = person("bob");
    let promise = commitment(&bob, &THEIRS);
    let refused = m.knock(bob.clone(), promise, OURS, NOW);
    assert_eq!(refused, Err(JoinRefusal::NotWaiting));
    m.wait_for_knocks(NOW + 10);
    let late = m.knock(bob.clone(), promise, OURS, NOW + 10);
    assert_eq!(late, Err(JoinRefusal::NotWaiting));
    m.knock(bob.clone(), promise, OURS, NOW + 9).unwrap();
    m.stop_waiting();
    let stopped = m.knock(person("carol"), promise, OURS, NOW + 9);
    assert_eq!(stopped, Err(JoinRefusal::NotWaiting));
    // Who was in time goes on.
    m.reveal(&bob.peer, &THEIRS, &claim(), NOW + 10).unwrap();
}

#[test]
fn a_knock_is_shown_approved_and_answered() {
    let mut m = Membership::default();
    let bob = person("bob");
    m.wait_for_knocks(NOW + 10);
    m.knock(bob.clone(), commitment(&bob, &THEIRS), OURS, NOW)
        .unwrap();
    assert_eq!(m.waiting(NOW), [], "nothing to compare before the reveal");
    let early = m.approve("bob", NOW);
    assert_eq!(early, Err(MembershipError::Nobody("bob".to_owned())));
    assert_eq!(m.poll(&bob.peer, NOW), Err(JoinRefusal::Unknown));

    let shown = m.reveal(&bob.peer, &THEIRS, &claim(), NOW).unwrap();
    assert_eq!(shown, code(&claim(), &bob, &OURS, &THEIRS));
    assert_eq!(m.waiting(NOW)[0].code, shown);
    assert_eq!(m.poll(&bob.peer, NOW), Ok(KnockState::Pending));

    let later = NOW + KNOCK_LIFETIME - 1;
    assert_eq!(m.approve("bob", later), Ok(bob.clone()));
    assert_eq!(m.waiting(later), []);
    let answered = m.poll(&bob.peer, later + ANSWER_LIFETIME - 1);
    assert_eq!(answered, Ok(KnockState::Approved(bob.clone())));
    let over = m.poll(&bob.peer, later + ANSWER_LIFETIME);
    assert_eq!(over, Err(JoinRefusal::Expired));
}

#[test]
fn a_nonce_that_was_not_promised_ends_the_knock() {
    let mut m = Membership::default();
    let bob = person("bob");
    m.wait_for_knocks(NOW + 10);
    m.knock(bob.clone(), commitment(&bob, &THEIRS), OURS, NOW)
        .unwrap();
    let other = m.reveal(&bob.peer, &OURS, &claim(), NOW);
    assert_eq!(other, Err(JoinRefusal::Identity));
    let again = m.reveal(&bob.peer, &THEIRS, &claim(), NOW);
    assert_eq!(again, Err(JoinRefusal::Unknown));
}

#[test]
fn a_string_is_made_once() {
    let mut m = Membership::default();
    let bob = person("bob");
    m.wait_for_knocks(NOW + 10);
    knocks(&mut m, &bob, NOW);
    let twice = m.reveal(&bob.peer, &THEIRS, &claim(), NOW);
    assert_eq!(twice, Err(JoinRefusal::Unknown));
}

#[test]
fn knocks_are_few_and_end() {
    let mut m = Membership::default();
    m.wait_for_knocks(NOW + 10_000);
    for n in 0..MAX_KNOCKS {
        knocks(&mut m, &person(&format!("p{n}")), NOW);
    }
    let late = person("late");
    let promise = commitment(&late, &THEIRS);
    let full = m.knock(late.clone(), promise, OURS, NOW);
    assert_eq!(full, Err(JoinRefusal::Busy));
    // One who knocks again takes its own place.
    knocks(&mut m, &person("p3"), NOW);
    assert_eq!(m.waiting(NOW).len(), MAX_KNOCKS);
    m.knock(late.clone(), promise, OURS, NOW + KNOCK_LIFETIME)
        .unwrap();
    // And one that never opens its commitment goes sooner.
    let slow = NOW + KNOCK_LIFETIME + REVEAL_WITHIN;
    let over = m.reveal(&late.peer, &THEIRS, &claim(), slow);
    assert_eq!(over, Err(JoinRefusal::Expired));
}

#[test]
fn one_who_waits_is_named_by_name_key_or_string() {
    let (bob, bobby) = (person("bob"), person("bobby"));
    let fresh = || {
        let mut m = Membership::default();
        m.wait_for_knocks(NOW + 10);
        let code = knocks(&mut m, &bob, NOW);
        knocks(&mut m, &bobby, NOW);
        (m, code)
    };
    let (mut m, code) = fresh();
    assert!(matches!(
        m.approve("b", NOW),
        Err(MembershipError::Ambiguous(..))
    ));
    assert!(matches!(
        m.approve("", NOW),
        Err(MembershipError::Nobody(_))
    ));
    // A whole name is not mistaken for the start of a longer one.
    assert_eq!(m.approve("bob", NOW), Ok(bob.clone()));
    assert_eq!(m.deny("bobb", NOW), Ok(bobby.clone()));
    for wanted in [
        code.clone(),
        code.replace('-', "").to_lowercase(),
        bob.peer.to_hex()[..12].to_owned(),
        bob.builder.to_hex()[..12].to_uppercase(),
    ] {
        assert_eq!(fresh().0.approve(&wanted, NOW), Ok(bob.clone()), "{wanted}");
    }
    // Two letters of a key would hit by chance.
    let short = &bob.peer.to_hex()[..2];
    assert!(fresh().0.approve(short, NOW).is_err());
}

#[test]
fn one_who_was_approved_and_could_not_be_admitted_is_denied() {
    let mut m = Membership::default();
    m.wait_for_knocks(NOW + 10);
    let bob = person("bob");
    knocks(&mut m, &bob, NOW);
    m.approve("bob", NOW).unwrap();
    m.deny(&bob.peer.to_hex(), NOW).unwrap();
    assert_eq!(m.poll(&bob.peer, NOW), Ok(KnockState::Denied));
}

#[test]
fn the_door_is_open_only_while_somebody_is_awaited() {
    let mut m = Membership::default();
    assert_eq!(m.door_until(NOW), None);
    m.invite(&ticket(1, NOW + 60), NOW).unwrap();
    assert_eq!(m.door_until(NOW), Some(NOW + 60));
    assert_eq!(m.door_until(NOW + 60), None);
    m.redeem(&[1; 32], &person("bob"), NOW).unwrap();
    assert_eq!(m.door_until(NOW), None);
    m.wait_for_knocks(NOW + 10);
    assert_eq!(m.door_until(NOW), Some(NOW + 10));
    knocks(&mut m, &person("carol"), NOW);
    m.stop_waiting();
    assert_eq!(m.door_until(NOW), Some(NOW + KNOCK_LIFETIME));
    m.deny("carol", NOW).unwrap();
    assert_eq!(m.door_until(NOW), Some(NOW + ANSWER_LIFETIME));
}

#[test]
fn a_damaged_or_later_state_is_not_misread() {
    let mut m = Membership::default();
    m.invite(&ticket(1, NOW + 60), NOW).unwrap();
    let bytes = m.to_bytes();
    for end in 0..bytes.len() {
        assert!(
            Membership::from_bytes(&bytes[..end]).is_err(),
            "cut at {end}"
        );
    }
    let mut later = bytes.clone();
    later[0] = 2;
    assert_eq!(
        Membership::from_bytes(&later).unwrap_err(),
        MembershipError::Stored(CanonError::Schema(2))
    );
    assert!(Membership::from_bytes(&vec![0; 10 << 20]).is_err());
}

proptest! {
    #[test]
    fn whatever_happens_a_ticket_is_redeemed_at_most_once(
        steps in prop::collection::vec((0u8..4, 0u8..4, 0u64..200), 0..60),
    ) {
        let mut m = Membership::default();
        let (mut now, mut granted) = (NOW, [0; 4]);
        for secret in 0..4 {
            m.invite(&ticket(secret, NOW + 3_000), NOW).unwrap();
        }
        for (what, which, later) in steps {
            now += later;
            match what {
                0 => m = Membership::from_bytes(&m.to_bytes()).unwrap(),
                1 => m.invite(&ticket(100 + which, now + 10), now).unwrap(),
                _ => {
                    if m.redeem(&[which; SECRET_LEN], &person("bob"), now).is_ok() {
                        granted[usize::from(which)] += 1;
                        prop_assert!(now < NOW + 3_000);
                    }
                }
            }
        }
        prop_assert!(granted.iter().all(|times| *times <= 1), "{granted:?}");
    }
}
