//! The wire as a stranger to our code writes it: bytes by the documented formats, and only those.
//!
//! Nothing here calls the node's own encoders: an attacker has its own, and so a change of the
//! format shows.

use quarry_trust::SignedEntry;
use xorf::BinaryFuse16;

/// The protocol of small messages.
pub const ASK: &str = "/quarry/ask/2";
/// The protocol of objects.
pub const OBJECT: &str = "/quarry/object/1";
/// Gossip, as libp2p speaks it.
pub const GOSSIP: &str = "/meshsub/1.1.0";
/// Raw bytes of a chunk, at most.
pub const CHUNK: usize = 256 * 1024;

/// A frame: tag, length, body.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    claimed(tag, u32::try_from(body.len()).unwrap(), body)
}

/// A frame whose length is whatever it claims.
pub fn claimed(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &length.to_le_bytes(), body].concat()
}

/// The answer that gives a roster.
pub fn roster(exchange: &[u8]) -> Vec<u8> {
    frame(1, exchange)
}

/// The answer that claims keys, by their first eight bytes.
pub fn filter(keys: &[u64]) -> Vec<u8> {
    let filter = BinaryFuse16::try_from(keys).unwrap();
    let mut body = vec![1];
    body.extend(u64::MAX.to_le_bytes());
    body.extend(1_u64.to_le_bytes());
    body.extend(u32::try_from(keys.len()).unwrap().to_le_bytes());
    body.extend(filter.descriptor.seed.to_le_bytes());
    body.extend(filter.descriptor.segment_length.to_le_bytes());
    body.extend(filter.descriptor.segment_count_length.to_le_bytes());
    let count = u32::try_from(filter.fingerprints.len()).unwrap();
    body.extend(count.to_le_bytes());
    for fingerprint in &filter.fingerprints {
        body.extend(fingerprint.to_le_bytes());
    }
    frame(2, &body)
}

/// The answer that offers entries with their predictions.
pub fn offers(offers: &[(Vec<u8>, SignedEntry)]) -> Vec<u8> {
    let mut body = vec![u8::try_from(offers.len()).unwrap()];
    for (prediction, signed) in offers {
        for part in [prediction, &signed.to_wire()] {
            body.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
            body.extend(part);
        }
    }
    frame(3, &body)
}

/// The head of a reply to an object request: here, and so long.
pub fn head(size: u64) -> Vec<u8> {
    [&[1][..], &size.to_le_bytes()].concat()
}

/// One chunk: raw length, wire length, body. Compressed where the two differ.
pub fn chunk(raw: usize, body: &[u8]) -> Vec<u8> {
    let length = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    [&length(raw)[..], &length(body.len()), body].concat()
}

/// A whole reply, raw.
pub fn object(bytes: &[u8]) -> Vec<u8> {
    let mut reply = head(bytes.len() as u64);
    for part in bytes.chunks(CHUNK) {
        reply.extend(chunk(part.len(), part));
    }
    reply
}
