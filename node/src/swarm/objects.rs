//! Frames of the object streams, shared by who fetches and who serves.
//!
//! Enters and leaves: bytes of [`PROTOCOL`]. A stream lives long and carries one request after
//! another. A request is 64 bytes: action key, object digest. The reply is a head (status,
//! size) and chunks until `size` bytes were sent: raw length, wire length, body; a body as long
//! as it is raw is raw, a shorter one is a zstd frame of its own. Must never happen here: a
//! buffer sized by a number that was not checked.

use super::wire::WireError;
use libp2p::StreamProtocol;
use quarry_trust::entry::MAX_OBJECT;
use quarry_trust::{ActionKey, Digest};
use std::io::Read;
use std::time::Duration;

/// The protocol's name and version.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/quarry/object/1");
/// Bytes of a request.
pub(super) const REQUEST: usize = 64;
/// Bytes of a reply's head.
pub(super) const HEAD: usize = 9;
/// Bytes of a chunk's head.
pub(super) const CHUNK_HEAD: usize = 8;
/// Raw bytes of a chunk, at most: large enough for zstd to see repetitions, small enough to hold
/// two of them for each stream.
pub(super) const CHUNK: usize = 256 * 1024;
/// Objects below this travel raw: a zstd frame would save less than a packet.
const RAW_BELOW: usize = 512;
/// The level: 600 MB/s in, a third in size, on rlibs; higher levels save 10 % more at half the
/// speed.
const LEVEL: i32 = 1;
/// A stream on which nothing moves for this long, although something should, is given up.
pub(super) const PROGRESS: Duration = Duration::from_secs(5);

/// Memory that a frame under suspicion may ask for, as a power of two: what zstd's level 19 asks
/// for, and little enough to spend on an offender.
const MAX_WINDOW_LOG: u32 = 23;

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

/// A chunk's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkHead {
    /// Bytes of the object.
    pub(super) raw: usize,
    /// Bytes on the wire.
    pub(super) wire: usize,
}

impl ChunkHead {
    /// Reads a chunk's head; `left` bytes of the object are still to come.
    pub(super) fn decode(bytes: [u8; CHUNK_HEAD], left: u64) -> Result<Self, WireError> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let raw = u32::from_le_bytes([a, b, c, d]) as usize;
        let wire = u32::from_le_bytes([e, f, g, h]) as usize;
        if raw == 0 || wire == 0 {
            return Err(WireError::Corrupt("an empty chunk"));
        }
        if raw > CHUNK || raw as u64 > left || wire > raw {
            return Err(WireError::Oversize);
        }
        Ok(Self { raw, wire })
    }
}

/// Appends a chunk of the object to `out`, compressed where that saves at least an eighth.
/// Returns whether it did.
pub(super) fn encode_chunk(raw: &[u8], compress: bool, out: &mut Vec<u8>) -> bool {
    let packed = if compress && raw.len() >= RAW_BELOW {
        zstd::bulk::compress(raw, LEVEL)
            .ok()
            .filter(|p| p.len() < raw.len() - raw.len() / 8)
    } else {
        None
    };
    let body = packed.as_deref().unwrap_or(raw);
    // Both lengths are at most CHUNK.
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
    packed.is_some()
}

/// Unpacks a compressed body into exactly `raw` bytes of `out`.
pub(super) fn decode_chunk(body: &[u8], raw: &mut [u8]) -> Result<(), WireError> {
    match zstd::bulk::decompress_to_buffer(body, raw) {
        Ok(n) if n == raw.len() => Ok(()),
        Ok(_) => Err(WireError::Corrupt("a chunk is shorter than it said")),
        Err(_) => Err(what_is_wrong(body, raw.len())),
    }
}

/// Tells a bomb from garbage: by what the frame says of itself, else by reading one byte more
/// than was promised, and no further.
fn what_is_wrong(body: &[u8], promised: usize) -> WireError {
    let promised = promised as u64;
    if zstd::zstd_safe::get_frame_content_size(body).is_ok_and(|s| s.is_some_and(|s| s > promised))
    {
        return WireError::Oversize;
    }
    let corrupt = WireError::Corrupt("a chunk does not decompress");
    let Ok(mut decoder) = zstd::stream::read::Decoder::new(body) else {
        return corrupt;
    };
    if decoder.window_log_max(MAX_WINDOW_LOG).is_err() {
        return corrupt;
    }
    match std::io::copy(&mut decoder.take(promised + 1), &mut std::io::sink()) {
        Ok(n) if n > promised => WireError::Oversize,
        _ => corrupt,
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
