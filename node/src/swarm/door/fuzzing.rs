//! Fuzz target of the door's frames: what a stranger sends, and what a newcomer is answered.
//!
//! Enters: bytes. Leaves: a panic where a frame has two forms, or takes more than its bound. See
//! `crate::fuzzing`. Must never happen here: a socket.

use super::claim::{Candidate, JoinRefusal, Nonce, Proof, TeamClaim, Welcome};
use super::wire::{Answer, MAX_ANSWER, MAX_REQUEST, Request, read_frame, write_frame};
use crate::fuzzing::{Feed, Probe};
use futures::executor::block_on;
use futures::io::Cursor;
use quarry_trust::canon::Canonical;
use quarry_trust::{BuilderId, BuilderKey, Digest, PeerId, TeamId};
use zeroize::Zeroizing;

const NONCE: Nonce = [5; 32];

/// Requests (0) and answers (1), each a whole frame.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let key = BuilderKey::from_seed(&[7; 32]);
    let candidate = Candidate {
        name: "bob@desk".into(),
        peer: PeerId([3; 32]),
        builder: key.id(),
        addresses: vec!["/ip4/127.0.0.1/tcp/4746".into()],
    };
    let proof = Proof::new(&key, &PeerId([4; 32]), &candidate, &Digest::of(b"secret"));
    let claim = TeamClaim {
        team_name: "desk".into(),
        team: TeamId(Digest::of(b"team")),
        root: BuilderId([1; 32]),
        admin_name: "alice".into(),
        admin_peer: PeerId([4; 32]),
        admin_builder: BuilderId([2; 32]),
    };
    let welcome = Welcome {
        roster: b"a roster".to_vec(),
        team_secret: Zeroizing::new([6; 32]),
        addresses: candidate.addresses.clone(),
        admin: PeerId([4; 32]),
    };
    let requests = [
        Request::Redeem {
            secret: Zeroizing::new([9; 32]),
            candidate: candidate.clone(),
            proof,
        },
        Request::Knock {
            candidate,
            commitment: Digest::of(b"commitment"),
            proof,
        },
        Request::Reveal(NONCE),
        Request::Poll,
    ];
    let answers = [
        Answer::Refused(JoinRefusal::Used),
        Answer::Welcome(welcome),
        Answer::Greeting(claim, NONCE),
        Answer::Shown,
        Answer::Pending,
        Answer::Denied,
    ];
    let requests = requests.map(|r| frame(0, &r, MAX_REQUEST));
    let answers = answers.map(|a| frame(1, &a, MAX_ANSWER));
    requests.into_iter().chain(answers).collect()
}

fn frame<M: Canonical>(kind: u8, message: &M, max: usize) -> Vec<u8> {
    let mut out = Cursor::new(vec![kind]);
    out.set_position(1);
    block_on(write_frame(&mut out, message, max)).expect("memory");
    out.into_inner()
}

/// A frame at the door.
pub(crate) fn frames(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.pick(2) {
        0 => one::<Request>(probe, feed.rest(), MAX_REQUEST),
        _ => one::<Answer>(probe, feed.rest(), MAX_ANSWER),
    }
}

fn one<M: Canonical>(probe: &Probe, bytes: &[u8], max: usize) {
    let mut from = Cursor::new(bytes);
    let read = probe.decode(bytes.len(), || block_on(read_frame::<M>(&mut from, max)));
    if let Ok(message) = read {
        let again = frame(0, &message, max);
        let used = usize::try_from(from.position()).unwrap_or(usize::MAX);
        assert_eq!(again[1..], bytes[..used], "two frames of one message");
    }
}
