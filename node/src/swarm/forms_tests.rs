//! Every frame has one form: what is written is read back, and whatever else is read is written
//! as exactly the bytes that it was read from.

use super::Ask;
use super::announce::{BATCH_KEYS, Batch};
use super::door::{Candidate, JoinRefusal, Proof, TeamClaim, Welcome, wire as door};
use super::filter::KeyFilter;
use super::objects::{CHUNK_HEAD, ChunkHead, HEAD, Head, decode_request, encode_request};
use super::wire::{Answer, Request, WireError};
use crate::store::Offer;
use futures::executor::block_on;
use futures::io::Cursor;
use proptest::collection::vec;
use proptest::prelude::*;
use quarry_trust::canon::Canonical;
use quarry_trust::entry::MAX_OBJECT;
use quarry_trust::{
    ActionKey, BuilderId, Digest, LookupKey, PeerId, Signature, SignedEntry, TeamId,
};
use std::fmt::Debug;
use zeroize::Zeroizing;

/// Ways to bend bytes: where, how, and with what. Positions are taken modulo the length.
type Bends = Vec<(usize, u8, u8)>;

fn bends() -> impl Strategy<Value = Bends> {
    vec((any::<usize>(), 0..4_u8, 1..=u8::MAX), 1..16)
}

fn bent(bytes: &[u8], (at, how, byte): (usize, u8, u8)) -> Vec<u8> {
    let (mut bent, at) = (bytes.to_vec(), at % bytes.len());
    match how {
        0 => bent[at] ^= byte,
        1 => bent.insert(at, byte),
        2 => drop(bent.remove(at)),
        _ => bent.truncate(at),
    }
    bent
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        texts().prop_map(Request::Roster),
        Just(Request::Filter),
        digests().prop_map(|d| Request::Ask(Ask::Lookup(LookupKey::from_digest(d)))),
        digests().prop_map(|d| Request::Ask(Ask::Action(ActionKey::from_digest(d)))),
        digests().prop_map(|d| Request::Ask(Ask::Crate(d))),
        digests().prop_map(|d| Request::Ask(Ask::Next(ActionKey::from_digest(d)))),
    ]
}

fn answers() -> impl Strategy<Value = Answer> {
    let offer = (texts(), texts(), any::<[u8; 32]>()).prop_map(|(prediction, bytes, half)| {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&half);
        let signature = Signature(signature);
        Offer {
            prediction,
            signed: SignedEntry { bytes, signature },
        }
    });
    prop_oneof![
        texts().prop_map(Answer::Roster),
        texts().prop_map(Answer::Filter),
        vec(offer, 0..=8).prop_map(Answer::Offers),
        Just(Answer::Busy),
    ]
}

fn written_request(request: &Request) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    block_on(request.write(&mut out)).expect("memory");
    out.into_inner()
}

fn written_answer(answer: &Answer) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    block_on(answer.write(&mut out)).expect("memory");
    out.into_inner()
}

/// What is read, and how many bytes that took.
fn read_request(bytes: &[u8]) -> Option<(Request, usize)> {
    let mut from = Cursor::new(bytes);
    let read = block_on(Request::read(&mut from)).ok()?;
    let refused = matches!(read, Request::Refused(_));
    (!refused).then_some((read, from.position() as usize))
}

fn read_answer(bytes: &[u8]) -> Option<(Answer, usize)> {
    let mut from = Cursor::new(bytes);
    let read = block_on(Answer::read(&mut from)).ok()?;
    Some((read, from.position() as usize))
}

fn canonical<T: Canonical + PartialEq + Debug>(value: &T, bends: &Bends) {
    let bytes = value.to_canon();
    assert_eq!(T::from_canon(&bytes).as_ref(), Ok(value));
    for bend in bends {
        let bent = bent(&bytes, *bend);
        if let Ok(other) = T::from_canon(&bent) {
            assert_eq!(other.to_canon(), bent, "two encodings of {other:?}");
        }
    }
}

fn door_requests() -> impl Strategy<Value = door::Request> {
    let candidate = (
        "[a-zä@]{1,9}",
        any::<[u8; 32]>(),
        any::<[u8; 32]>(),
        vec("/[a-z0-9/]{1,9}", 0..4),
    );
    let candidate = candidate.prop_map(|(name, peer, builder, addresses)| Candidate {
        name,
        peer: PeerId(peer),
        builder: BuilderId(builder),
        addresses,
    });
    let numbers = (any::<[u8; 32]>(), any::<[u8; 32]>(), 0..4_u8);
    (candidate, numbers).prop_map(|(candidate, (secret, half, kind))| {
        let proof = Proof(Signature([half[0]; 64]));
        match kind {
            0 => door::Request::Redeem {
                secret: Zeroizing::new(secret),
                candidate,
                proof,
            },
            1 => door::Request::Knock {
                candidate,
                commitment: Digest::from_bytes(half),
                proof,
            },
            2 => door::Request::Reveal(secret),
            _ => door::Request::Poll,
        }
    })
}

fn door_answers() -> impl Strategy<Value = door::Answer> {
    let ids = any::<[[u8; 32]; 4]>();
    (ids, "[a-zä@]{1,9}", texts(), 0..6_u8).prop_map(|(ids, name, roster, kind)| match kind {
        0 => door::Answer::Refused(JoinRefusal::Taken),
        1 => door::Answer::Welcome(Welcome {
            roster,
            team_secret: Zeroizing::new(ids[0]),
            addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
            admin: PeerId(ids[1]),
        }),
        2 => {
            let claim = TeamClaim {
                team_name: name.clone(),
                team: TeamId(Digest::from_bytes(ids[0])),
                root: BuilderId(ids[1]),
                admin_name: name,
                admin_peer: PeerId(ids[2]),
                admin_builder: BuilderId(ids[3]),
            };
            door::Answer::Greeting(claim, ids[0])
        }
        3 => door::Answer::Shown,
        4 => door::Answer::Pending,
        _ => door::Answer::Denied,
    })
}

proptest! {
    #[test]
    fn a_request_has_one_form(request in requests(), bends in bends()) {
        let wire = written_request(&request);
        prop_assert_eq!(read_request(&wire), Some((request, wire.len())));
        for bend in bends {
            let bent = bent(&wire, bend);
            if let Some((other, used)) = read_request(&bent) {
                prop_assert_eq!(&written_request(&other)[..], &bent[..used]);
            }
        }
    }

    #[test]
    fn an_answer_has_one_form(answer in answers(), bends in bends()) {
        let wire = written_answer(&answer);
        prop_assert_eq!(read_answer(&wire), Some((answer, wire.len())));
        for bend in bends {
            let bent = bent(&wire, bend);
            if let Some((other, used)) = read_answer(&bent) {
                prop_assert_eq!(&written_answer(&other)[..], &bent[..used]);
            }
        }
    }

    #[test]
    fn what_is_said_at_the_door_has_one_form(
        request in door_requests(), answer in door_answers(), bends in bends()
    ) {
        canonical(&request, &bends);
        canonical(&answer, &bends);
    }

    #[test]
    fn an_announcement_has_one_form(
        numbers: (u64, u64), keys in vec(any::<u64>(), 0..=BATCH_KEYS), bends in bends()
    ) {
        let batch = Batch { generation: numbers.0, sequence: numbers.1, keys };
        let wire = batch.encode();
        prop_assert_eq!(Batch::decode(&wire), Ok(batch));
        for bend in bends {
            let bent = bent(&wire, bend);
            if let Ok(other) = Batch::decode(&bent) {
                prop_assert_eq!(other.encode(), bent);
            }
        }
    }

    #[test]
    fn a_filter_has_one_form(
        numbers: (u64, u64), keys in vec(any::<u64>(), 0..300), bends in bends()
    ) {
        let wire = KeyFilter::build(numbers.0, numbers.1, keys.clone()).encode();
        let read = KeyFilter::decode(&wire).expect("our own");
        prop_assert_eq!(read.encode(), &wire[..]);
        prop_assert!(keys.iter().all(|key| read.contains(*key)));
        for bend in bends {
            let bent = bent(&wire, bend);
            if let Ok(other) = KeyFilter::decode(&bent) {
                prop_assert_eq!(other.encode(), bent);
            }
        }
    }

    #[test]
    fn a_reply_to_an_object_request_has_one_form(bytes: [u8; HEAD], size: u64) {
        let here = Head::Here(size);
        let read = Head::decode(here.encode());
        let fits = size <= MAX_OBJECT;
        prop_assert_eq!(read, if fits { Ok(here) } else { Err(WireError::Oversize) });
        let mut near = bytes;
        near[0] %= 4;
        near[6..].fill(0);
        for bytes in [bytes, near] {
            if let Ok(head) = Head::decode(bytes) {
                prop_assert_eq!(head.encode(), bytes);
            }
        }
    }

    #[test]
    fn an_object_request_has_one_form(action in digests(), object in digests()) {
        let action = ActionKey::from_digest(action);
        let wire = encode_request(&action, &object);
        prop_assert_eq!(decode_request(&wire), (action, object));
    }

    #[test]
    fn a_chunk_is_never_longer_than_what_is_left(bytes: [u8; CHUNK_HEAD], left: u64) {
        let mut near = bytes;
        near[3] = 0;
        near[6..].fill(0);
        for bytes in [bytes, near] {
            if let Ok(chunk) = ChunkHead::decode(bytes, left) {
                prop_assert!(chunk.raw as u64 <= left && 0 < chunk.wire && chunk.wire <= chunk.raw);
                let [raw, wire] = [chunk.raw, chunk.wire].map(|n| (n as u32).to_le_bytes());
                prop_assert_eq!([raw, wire].concat(), bytes.to_vec());
            }
        }
    }
}
