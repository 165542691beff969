//! Frames of the object streams, shared by who fetches and who serves.
//!
//! Enters and leaves: bytes of [`PROTOCOL`]. A stream lives long and carries one request after
//! another. A request is 64 bytes: action key, object digest. The reply is a head (status,
//! size) and chunks ([`crate::chunks`]) until `size` bytes were sent. Must never happen here: a
//! buffer sized by a number that was not checked.

use super::wire::WireError;
use crate::chunks::{self, ChunkError, Strength};
pub(super) use crate::chunks::{CHUNK, ChunkHead, HEAD as CHUNK_HEAD};
use libp2p::StreamProtocol;
use quarry_trust::entry::MAX_OBJECT;
use quarry_trust::{ActionKey, Digest};
use std::time::Duration;

/// The protocol's name and version.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/quarry/object/1");
/// Bytes of a request.
pub(super) const REQUEST: usize = 64;
/// Bytes of a reply's head.
pub(super) const HEAD: usize = 9;
/// How strongly what did not settle yet is packed: to 36 % of a dev build's bytes, at 590 MB/s and
/// 1870 out. Who serves a gigabit a second so has a tenth of a processor left; with zstd's own
/// shortest repetitions (34 %, at 520) none.
const STRENGTH: Strength = Strength {
    level: -2,
    min_match: 7,
};
/// A stream on which nothing moves for this long, although something should, is given up.
pub(super) const PROGRESS: Duration = Duration::from_secs(5);

const STATUS_ABSENT: u8 = 0;
const STATUS_HERE: u8 = 1;
const STATUS_BUSY: u8 = 2;

/// How a reply begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Not here, or not shown to who asked.
    Absent,
    /// Chunks of so many raw bytes in all follow.
    Here(u64),
    /// Too much is being served.
    Busy,
}

impl Head {
    /// The bytes.
    pub(super) fn encode(self) -> [u8; HEAD] {
        let (status, size) = match self {
            Self::Absent => (STATUS_ABSENT, 0),
            Self::Here(size) => (STATUS_HERE, size),
            Self::Busy => (STATUS_BUSY, 0),
        };
        let mut out = [0; HEAD];
        out[0] = status;
        out[1..].copy_from_slice(&size.to_le_bytes());
        out
    }

    /// Reads a head, bounded by the largest object.
    pub(super) fn decode(bytes: [u8; HEAD]) -> Result<Self, WireError> {
        let [status, size @ ..] = bytes;
        match (status, u64::from_le_bytes(size)) {
            (STATUS_ABSENT, 0) => Ok(Self::Absent),
            (STATUS_BUSY, 0) => Ok(Self::Busy),
            (STATUS_HERE, size) if size <= MAX_OBJECT => Ok(Self::Here(size)),
            (STATUS_HERE, _) => Err(WireError::Oversize),
            _ => Err(WireError::Corrupt("an unknown reply to an object request")),
        }
    }
}

/// The bytes of a request.
pub(super) fn encode_request(action: &ActionKey, object: &Digest) -> [u8; REQUEST] {
    let mut out = [0; REQUEST];
    out[..32].copy_from_slice(action.as_bytes());
    out[32..].copy_from_slice(object.as_bytes());
    out
}

/// Reads a request.
pub(super) fn decode_request(bytes: &[u8; REQUEST]) -> (ActionKey, Digest) {
    let (mut action, mut object) = ([0; 32], [0; 32]);
    action.copy_from_slice(&bytes[..32]);
    object.copy_from_slice(&bytes[32..]);
    (
        ActionKey::from_digest(Digest::from_bytes(action)),
        Digest::from_bytes(object),
    )
}

/// Appends a chunk of the object to `out`, compressed where that is wanted and saves at least an
/// eighth. Returns whether it did.
pub(super) fn encode_chunk(raw: &[u8], compress: bool, out: &mut Vec<u8>) -> bool {
    chunks::encode(raw, compress.then_some(STRENGTH), out)
}

/// Unpacks a compressed body into exactly `raw`.
pub(super) fn decode_chunk(body: &[u8], raw: &mut [u8]) -> Result<(), WireError> {
    Ok(chunks::decode(body, raw)?)
}

impl From<ChunkError> for WireError {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::Oversize => Self::Oversize,
            ChunkError::Corrupt(what) => Self::Corrupt(what),
        }
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
