//! Frames of libp2p's own protocols, made by hand: gossip, Kademlia, identify.
//!
//! Enters: what is to be said. Leaves: bytes, right in form and whatever they say. Must never
//! happen here: a call of libp2p's own encoders, which refuse to lie.

use libp2p::identity::Keypair;

/// Kademlia.
pub const KAD: &str = "/quarry/kad/1";
/// What a node says of itself, unasked.
pub const PUSH: &str = "/ipfs/id/push/1.0.0";
/// The topic of announcements.
pub const TOPIC: &str = "/quarry/keys/1";

/// Kademlia's messages.
#[derive(Debug, Clone, Copy)]
pub enum Kad {
    /// A value to keep.
    Put = 0,
    /// Somebody has a key.
    AddProvider = 2,
    /// Who is near a key?
    Find = 4,
}

/// protobuf's variable-length integer.
pub fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// protobuf's field of bytes.
pub fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [
        varint(number << 3 | 2),
        varint(bytes.len() as u64),
        bytes.to_vec(),
    ]
    .concat()
}

fn number(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

/// A message with its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [varint(message.len() as u64), message.to_vec()].concat()
}

/// A subscription to the topic.
pub fn subscribe() -> Vec<u8> {
    let subscription = [number(1, 1), field(2, TOPIC.as_bytes())].concat();
    framed(&field(1, &subscription))
}

/// A gossip message with a signature by `by`, under the name of `author`.
pub fn gossip(author: &Keypair, by: &Keypair, sequence: u64, data: &[u8]) -> Vec<u8> {
    let unsigned = [
        field(1, &author.public().to_peer_id().to_bytes()),
        field(2, data),
        field(3, &sequence.to_be_bytes()),
        field(4, TOPIC.as_bytes()),
    ]
    .concat();
    let tagged = [&b"libp2p-pubsub:"[..], &unsigned].concat();
    let message = [unsigned, field(5, &by.sign(&tagged).unwrap())].concat();
    framed(&field(2, &message))
}

/// An announcement.
pub fn batch(generation: u64, sequence: u64, keys: &[u64]) -> Vec<u8> {
    let mut out = vec![1];
    out.extend(generation.to_le_bytes());
    out.extend(sequence.to_le_bytes());
    out.extend(u32::try_from(keys.len()).unwrap().to_le_bytes());
    keys.iter().for_each(|key| out.extend(key.to_le_bytes()));
    out
}

/// A message of Kademlia about a key, with peers under `as_field` (8: closer ones, 9: providers).
pub fn kad(kind: Kad, key: &[u8], as_field: u64, peers: &[Vec<u8>]) -> Vec<u8> {
    let mut message = [number(1, kind as u64), field(2, key)].concat();
    peers
        .iter()
        .for_each(|p| message.extend(field(as_field, p)));
    framed(&message)
}

/// The message that asks to keep a value.
pub fn kad_put(key: &[u8], value: &[u8]) -> Vec<u8> {
    let record = [field(1, key), field(2, value)].concat();
    let message = [number(1, Kad::Put as u64), field(2, key), field(3, &record)].concat();
    framed(&message)
}

/// A peer as Kademlia names it.
pub fn kad_peer(id: &libp2p::PeerId, addresses: &[libp2p::Multiaddr]) -> Vec<u8> {
    let mut peer = field(1, &id.to_bytes());
    addresses
        .iter()
        .for_each(|a| peer.extend(field(2, &a.to_vec())));
    // Connected.
    peer.extend(number(3, 1));
    peer
}

/// What a node says of itself: that it listens at all these.
pub fn identify(pair: &Keypair, addresses: &[libp2p::Multiaddr]) -> Vec<u8> {
    let mut message = field(1, &pair.public().encode_protobuf());
    addresses
        .iter()
        .for_each(|a| message.extend(field(2, &a.to_vec())));
    message.extend(field(5, b"/quarry/1"));
    message.extend(field(6, b"mallory"));
    framed(&message)
}
