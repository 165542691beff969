//! What is said at a door: claims, strings, frames, addresses.

use super::wire::{Answer, Request};
use super::*;
use crate::config::{DOOR_PORT, PORT};
use listen::{Place, place};
use proptest::prelude::*;
use quarry_trust::canon::Canonical;

fn at(host: &str, port: Option<u16>) -> Option<Place> {
    Some(Place {
        host: host.to_owned(),
        port,
        peer: None,
    })
}

#[test]
fn an_address_is_read_as_people_write_it() {
    assert_eq!(place("alice.lan"), at("alice.lan", None));
    assert_eq!(place(" alice.lan:5000 "), at("alice.lan", Some(5000)));
    assert_eq!(place("192.0.2.7"), at("192.0.2.7", None));
    assert_eq!(place("192.0.2.7:1"), at("192.0.2.7", Some(1)));
    assert_eq!(place("2001:db8::1"), at("2001:db8::1", None));
    assert_eq!(place("[2001:db8::1]"), at("2001:db8::1", None));
    assert_eq!(place("[2001:db8::1]:9"), at("2001:db8::1", Some(9)));
    assert_eq!(place("/ip4/192.0.2.7/tcp/3"), at("192.0.2.7", Some(3)));
    assert_eq!(place("/dns4/alice.lan/tcp/3"), at("alice.lan", Some(3)));
    assert_eq!(place("/ip6/2001:db8::1"), at("2001:db8::1", None));
    let id = crate::swarm::identity::net_id(&Person::new("alice").peer()).unwrap();
    let pinned = place(&format!("/ip4/192.0.2.7/tcp/3/p2p/{id}")).unwrap();
    assert_eq!(pinned.peer, Some(id));
    for nonsense in [
        "",
        ":1",
        "a b",
        "host:99999",
        "host:",
        "/ip4/192.0.2.7/udp/3/quic-v1",
        "/tcp/3",
        "http://alice.lan",
        "[alice]",
    ] {
        assert_eq!(place(nonsense), None, "{nonsense:?}");
    }
    assert_eq!(place(&"a".repeat(10_000)), None);
}

#[test]
fn the_port_above_is_tried_where_one_was_given() {
    let ports = |text| place(text).unwrap().ports();
    assert_eq!(ports("alice.lan"), [DOOR_PORT]);
    assert_eq!(ports("alice.lan:4746"), [PORT, DOOR_PORT]);
    assert_eq!(ports("alice.lan:65535"), [65535]);
}

#[test]
fn a_peer_has_one_name_here_and_one_in_libp2p() {
    let peer = Person::new("alice").peer();
    let theirs = crate::swarm::identity::net_id(&peer).unwrap();
    assert_eq!(crate::swarm::identity::peer_id(&theirs), Some(peer));
    // A peer id that holds no key at all.
    assert_eq!(
        crate::swarm::identity::peer_id(&libp2p::PeerId::random()),
        None
    );
}

#[test]
fn the_string_depends_on_everything_that_was_claimed() {
    let claim = Admin::new("alice").claim();
    let bob = Person::new("bob").candidate();
    let (ours, theirs) = ([1; NONCE_LEN], [2; NONCE_LEN]);
    let mut codes = vec![
        code(&claim, &bob, &ours, &theirs),
        code(&claim, &bob, &theirs, &ours),
    ];
    let other = Person::new("mallory");
    for changed in [
        TeamClaim {
            admin_peer: other.peer(),
            ..claim.clone()
        },
        TeamClaim {
            admin_builder: other.key.id(),
            ..claim.clone()
        },
        TeamClaim {
            root: other.key.id(),
            ..claim.clone()
        },
        TeamClaim {
            team_name: "disk".to_owned(),
            ..claim.clone()
        },
    ] {
        codes.push(code(&changed, &bob, &ours, &theirs));
    }
    for changed in [
        Candidate {
            peer: other.peer(),
            ..bob.clone()
        },
        Candidate {
            builder: other.key.id(),
            ..bob.clone()
        },
        Candidate {
            name: "rob".to_owned(),
            ..bob.clone()
        },
    ] {
        codes.push(code(&claim, &changed, &ours, &theirs));
        assert_ne!(commitment(&changed, &theirs), commitment(&bob, &theirs));
    }
    for code in &codes {
        assert_eq!(code.len(), CODE_LEN + 1, "{code}");
        assert_eq!(code.find('-'), Some(CODE_LEN / 2), "{code}");
        assert!(!code.contains(['I', 'L', 'O', 'U']), "{code}");
    }
    let said = codes.len();
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), said);
}

#[test]
fn a_proof_holds_for_one_door_one_candidate_and_one_ticket() {
    let (bob, carol) = (Person::new("bob"), Person::new("carol"));
    let (door, other) = (Person::new("alice").peer(), Person::new("mallory").peer());
    let bind = Digest::of(b"this ticket");
    let proof = Proof::new(&bob.key, &door, &bob.candidate(), &bind);
    assert!(proof.holds(&door, &bob.candidate(), &bind));
    assert!(!proof.holds(&other, &bob.candidate(), &bind));
    assert!(!proof.holds(&door, &bob.candidate(), &Digest::of(b"that ticket")));
    assert!(!proof.holds(&door, &carol.candidate(), &bind));
    let moved = Candidate {
        peer: carol.peer(),
        ..bob.candidate()
    };
    assert!(!proof.holds(&door, &moved, &bind));
}

#[test]
fn messages_survive_their_frames() {
    let bob = Person::new("bob");
    let proof = Proof::new(&bob.key, &bob.peer(), &bob.candidate(), &Digest::of(b""));
    let alice = Admin::new("alice");
    for request in [
        Request::Redeem {
            secret: Zeroizing::new([3; 32]),
            candidate: bob.candidate(),
            proof,
        },
        Request::Knock {
            candidate: bob.candidate(),
            commitment: Digest::of(b"c"),
            proof,
        },
        Request::Reveal([4; NONCE_LEN]),
        Request::Poll,
    ] {
        assert_eq!(Request::from_canon(&request.to_canon()), Ok(request));
    }
    let refusals = [
        JoinRefusal::Unknown,
        JoinRefusal::Expired,
        JoinRefusal::Used,
        JoinRefusal::Identity,
        JoinRefusal::Busy,
        JoinRefusal::NotWaiting,
        JoinRefusal::Taken,
        JoinRefusal::Failed,
    ];
    let answers = [
        Answer::Welcome(alice.welcome()),
        Answer::Greeting(alice.claim(), [5; NONCE_LEN]),
        Answer::Shown,
        Answer::Pending,
        Answer::Denied,
    ];
    for answer in answers.into_iter().chain(refusals.map(Answer::Refused)) {
        assert_eq!(Answer::from_canon(&answer.to_canon()), Ok(answer));
    }
}

#[test]
fn a_name_that_would_play_with_the_terminal_is_no_name() {
    for name in ["", "bob\u{1b}[2K", "bob\n", "bob\u{202e}"] {
        let candidate = Candidate {
            name: name.to_owned(),
            ..Person::new("bob").candidate()
        };
        assert!(
            Candidate::from_canon(&candidate.to_canon()).is_err(),
            "{name:?}"
        );
        let claim = TeamClaim {
            admin_name: name.to_owned(),
            ..Admin::new("alice").claim()
        };
        assert!(
            TeamClaim::from_canon(&claim.to_canon()).is_err(),
            "{name:?}"
        );
    }
}

#[test]
fn a_log_line_keeps_the_teams_secret() {
    let line = format!("{:?}", Admin::new("alice").welcome());
    assert!(
        line.contains("addresses") && !line.contains("9, 9"),
        "{line}"
    );
}

proptest! {
    #[test]
    fn no_frame_makes_it_fall_over(tag in 0u8..8, tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let bytes: Vec<u8> = std::iter::once(tag).chain(tail).collect();
        // One encoding for each message: what decodes is what would have been written.
        if let Ok(request) = Request::from_canon(&bytes) {
            prop_assert_eq!(request.to_canon(), bytes.clone());
        }
        if let Ok(answer) = Answer::from_canon(&bytes) {
            prop_assert_eq!(answer.to_canon(), bytes);
        }
    }
}
