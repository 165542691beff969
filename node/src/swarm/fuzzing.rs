//! Fuzz targets of the swarm's decoders: frames, objects, filters, announcements, provider
//! records, addresses.
//!
//! Enters: bytes of a peer. Leaves: a panic where a decoder breaks a promise. See
//! `crate::fuzzing`. Must never happen here: a socket.

use super::announce::Batch;
use super::filter::KeyFilter;
use super::identity::{NetId, keypair, peer_id};
use super::objects::{self, Head};
use super::providers::{self, Providers};
use super::wire::{Answer, Request};
use super::{Ask, bootstrap, fetch, libp2p_swarm};
use crate::fuzzing::{Feed, Probe};
use crate::store::Offer;
use futures::executor::block_on;
use futures::io::Cursor;
use libp2p::Multiaddr;
use libp2p::kad::{Event, InboundRequest, ProviderRecord, RecordKey};
use quarry_trust::canon::Canonical;
use quarry_trust::{ActionKey, Digest, Entry, LookupKey, PeerId};
use std::collections::HashSet;
use std::time::Instant;

pub(crate) use super::door::fuzzing as door;

/// Raw bytes of a chunk, at most.
pub(crate) const CHUNK: usize = objects::CHUNK;

/// Requests (0) and answers (1), each a whole frame.
pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let requests = [
        Request::Roster(b"a roster".to_vec()),
        Request::Filter,
        Request::Ask(Ask::Lookup(LookupKey::of(b"l"))),
        Request::Ask(Ask::Action(ActionKey::of(b"a"))),
        Request::Ask(Ask::Crate(super::crate_digest("serde"))),
        Request::Ask(Ask::Next(ActionKey::of(b"n"))),
    ];
    let offer = |prediction: Vec<u8>| Offer {
        prediction,
        signed: crate::fuzzing::signed_entry(),
    };
    let answers = [
        Answer::Roster(b"a roster".to_vec()),
        Answer::Filter(KeyFilter::build(1, 2, vec![3, 4, 5]).encode()),
        Answer::Offers(vec![offer(Vec::new()), offer(crate::fuzzing::prediction())]),
        Answer::Busy,
    ];
    let mut seeds = Vec::new();
    for request in requests {
        let mut out = Cursor::new(vec![0]);
        out.set_position(1);
        block_on(request.write(&mut out)).expect("memory");
        seeds.push(out.into_inner());
    }
    for answer in answers {
        let mut out = Cursor::new(vec![1]);
        out.set_position(1);
        block_on(answer.write(&mut out)).expect("memory");
        seeds.push(out.into_inner());
    }
    seeds
}

/// A member's frames.
pub(crate) fn frames(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    let (answer, bytes) = (feed.pick(2) == 1, feed.rest());
    let mut from = Cursor::new(bytes);
    let mut to = Cursor::new(Vec::new());
    if answer {
        let Ok(read) = probe.decode(bytes.len(), || block_on(Answer::read(&mut from))) else {
            return;
        };
        block_on(read.write(&mut to)).expect("memory");
        assert_eq!(read.wire_len(), to.position(), "an answer knows its length");
        within_answer(probe, &read);
    } else {
        let Ok(read) = probe.decode(bytes.len(), || block_on(Request::read(&mut from))) else {
            return;
        };
        if matches!(read, Request::Refused(_)) {
            return;
        }
        block_on(read.write(&mut to)).expect("memory");
    }
    let used = usize::try_from(from.position()).unwrap_or(usize::MAX);
    assert_eq!(to.into_inner(), bytes[..used], "two frames of one message");
}

/// What is taken out of an answer next.
fn within_answer(probe: &Probe, answer: &Answer) {
    match answer {
        Answer::Filter(bytes) => filters(probe, bytes),
        Answer::Offers(offers) => {
            for offer in offers {
                if let Ok(entry) = Entry::from_canon(&offer.signed.bytes) {
                    assert_eq!(entry.to_canon(), offer.signed.bytes);
                }
                crate::fuzzing::prediction_of(&offer.prediction);
            }
        }
        Answer::Roster(_) | Answer::Restored(_) | Answer::Busy => {}
    }
}

/// A request; heads; streams of chunks, raw and compressed.
pub(crate) fn object_seeds() -> Vec<Vec<u8>> {
    let stream = |object: &[u8], compress: bool| {
        let mut bytes = Head::Here(object.len() as u64).encode().to_vec();
        for chunk in object.chunks(2000) {
            objects::encode_chunk(chunk, compress, &mut bytes);
        }
        bytes
    };
    let request = objects::encode_request(&ActionKey::of(b"a"), &Digest::of(b"o"));
    vec![
        request.to_vec(),
        Head::Absent.encode().to_vec(),
        Head::Busy.encode().to_vec(),
        stream(b"a short object", true),
        stream(&b"again and ".repeat(500), true),
        stream(&b"again and ".repeat(300), false),
    ]
}

/// A reply to an object request, as the fetcher takes it; and the request itself.
pub(crate) fn objects(probe: &Probe, data: &[u8]) {
    if let Some(request) = data.first_chunk() {
        let (action, object) = objects::decode_request(request);
        assert_eq!(&objects::encode_request(&action, &object), request);
    }
    let Some((head, rest)) = data.split_first_chunk() else {
        return;
    };
    let Ok(read) = Head::decode(*head) else {
        return;
    };
    assert_eq!(read.encode(), *head, "two heads of one reply");
    let Head::Here(size) = read else { return };
    probe.decode(data.len(), || {
        let (mut from, mut left) = (Cursor::new(rest), size);
        let (mut body, mut raw) = (Vec::new(), Vec::new());
        while left > 0 {
            let Ok(chunk) = block_on(fetch::read_chunk(&mut from, left, &mut body)) else {
                return;
            };
            assert!(chunk.raw as u64 <= left, "more than was promised");
            if chunk.wire != chunk.raw {
                raw.resize(chunk.raw, 0);
                if objects::decode_chunk(&body, &mut raw).is_err() {
                    return;
                }
            }
            left -= chunk.raw as u64;
        }
    });
}

/// Filters of several sizes.
pub(crate) fn filter_seeds() -> Vec<Vec<u8>> {
    let keys = |n: u64| {
        (0..n)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect()
    };
    [0, 1, 7, 200]
        .map(|n| KeyFilter::build(n, 2 * n, keys(n)).encode())
        .to_vec()
}

/// A peer's filter, and lookups in it.
pub(crate) fn filters(probe: &Probe, data: &[u8]) {
    let Ok(filter) = probe.decode(data.len(), || KeyFilter::decode(data)) else {
        return;
    };
    assert_eq!(filter.encode(), data, "two frames of one filter");
    // Keys near everything that an index is made of, and some of the input's own.
    let own = data.chunks_exact(8).take(32).map(|c| {
        let mut key = [0; 8];
        key.copy_from_slice(c);
        u64::from_le_bytes(key)
    });
    for key in [0, 1, u64::MAX, u64::MAX / 2].into_iter().chain(own) {
        filter.contains(key);
    }
}

/// Batches: empty, short and full.
pub(crate) fn announcement_seeds() -> Vec<Vec<u8>> {
    [0, 1, 500]
        .map(|n| {
            let batch = Batch {
                generation: 1,
                sequence: n,
                keys: (0..n).collect(),
            };
            batch.encode()
        })
        .to_vec()
}

/// A published batch.
pub(crate) fn announcements(probe: &Probe, data: &[u8]) {
    if let Ok(batch) = probe.decode(data.len(), || Batch::decode(data)) {
        assert_eq!(batch.encode(), data, "two frames of one batch");
    }
}

/// A few records: by members and by others, with and without addresses.
pub(crate) fn provider_seeds() -> Vec<Vec<u8>> {
    let record = |by: u8, key: &[u8], address: &[u8]| {
        let mut bytes = vec![by];
        for part in [key, address] {
            bytes.push(u8::try_from(part.len()).unwrap_or(0));
            bytes.extend(part);
        }
        bytes
    };
    let address: Multiaddr = "/ip4/127.0.0.1/tcp/4746".parse().expect("an address");
    let one = record(0, &[7; 32], &address.to_vec());
    let other = record(3, &[8; 32], b"no address");
    vec![
        one.clone(),
        [one.clone(), other.clone(), one].concat(),
        [record(1, b"too short", &[]), other].concat(),
    ]
}

/// Records that peers leave with us: by whom, which key, where.
pub(crate) fn providers(probe: &Probe, data: &[u8]) {
    let peers: Vec<NetId> = (1..=4)
        .map(|seed| keypair(&[seed; 32]).expect("a seed").public().to_peer_id())
        .collect();
    let members: HashSet<PeerId> = peers[..2].iter().filter_map(peer_id).collect();
    let mut kad = providers::behaviour(peers[3]);
    let mut ours = Providers::default();
    let now = Instant::now();
    probe.decode(data.len(), || {
        let mut feed = Feed::new(data);
        while !feed.is_over() {
            let by = peers[feed.pick(peers.len())];
            let key = RecordKey::new(&feed.some());
            let addresses = Multiaddr::try_from(feed.some().to_vec()).ok();
            let mut record = ProviderRecord::new(key, by, Vec::new());
            record.addresses = addresses.into_iter().cycle().take(feed.pick(40)).collect();
            let event = Event::InboundRequest {
                request: InboundRequest::AddProvider {
                    record: Some(record),
                },
            };
            let found = ours.event(&mut kad, event, &members, now);
            assert!(found.is_empty(), "a record leads nowhere by itself");
        }
    });
    ours.check(&members);
}

/// Addresses as settings, peers and tickets have them.
pub(crate) fn address_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "/ip4/192.0.2.1/tcp/4746",
        "/ip6/::1/tcp/1",
        "/dns4/host/tcp/4746/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
        "/ip4/127.0.0.1/tcp/0,/ip4/1.2.3.4/udp/1/quic-v1",
    ];
    texts.map(|t| t.as_bytes().to_vec()).to_vec()
}

/// Text that should be a multiaddr, and bytes that should be one.
pub(crate) fn addresses(probe: &Probe, data: &[u8]) {
    probe.decode(data.len(), || {
        if let Ok(address) = Multiaddr::try_from(data.to_vec()) {
            let _ = bootstrap::dialable(&address);
            let _ = bootstrap::is_loopback(&address);
        }
        let text = String::from_utf8_lossy(data).into_owned();
        let _ = super::identity::split(&text);
        let parsed = libp2p_swarm::parse(std::slice::from_ref(&text));
        for address in parsed.iter().filter_map(bootstrap::dialable) {
            assert_eq!(bootstrap::dialable(&address), Some(address.clone()));
        }
    });
}
