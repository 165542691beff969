//! An object's bytes in chunks, each packed by itself: as they travel, and as they lie when they
//! have settled.
//!
//! Enters: raw bytes. Leaves: for each chunk its raw length, its packed length and its body; a
//! body as long as it is raw is raw, a shorter one is a zstd frame of its own. And back. Must never
//! happen here: a buffer sized by a number that was not checked.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use thiserror::Error;
use zstd::zstd_safe::CParameter;

/// Bytes of a chunk's head.
pub const HEAD: usize = 8;
/// Raw bytes of a chunk, at most: large enough for zstd to see repetitions, small enough to hold
/// two of them for each stream.
pub const CHUNK: usize = 256 * 1024;
/// Chunks below this stay raw: a zstd frame would save less than a packet.
const RAW_BELOW: usize = 512;
/// Memory that a frame under suspicion may ask for, as a power of two: what zstd's level 19 asks
/// for, and little enough to spend on an offender.
const MAX_WINDOW_LOG: u32 = 23;

/// Why chunks are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChunkError {
    /// Longer than it may be, or than it said.
    #[error("a chunk is longer than it may be")]
    Oversize,
    /// Not what it said.
    #[error("{0}")]
    Corrupt(&'static str),
}

/// A chunk's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHead {
    /// Bytes of the object.
    pub raw: usize,
    /// Bytes of the body.
    pub wire: usize,
}

impl ChunkHead {
    /// Reads a chunk's head; `left` bytes of the object are still to come.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub fn decode(bytes: [u8; HEAD], left: u64) -> Result<Self, ChunkError> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let raw = u32::from_le_bytes([a, b, c, d]) as usize;
        let wire = u32::from_le_bytes([e, f, g, h]) as usize;
        if raw == 0 || wire == 0 {
            return Err(ChunkError::Corrupt("an empty chunk"));
        }
        if raw > CHUNK || raw as u64 > left || wire > raw {
            return Err(ChunkError::Oversize);
        }
        Ok(Self { raw, wire })
    }
}

/// How strongly chunks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strength {
    /// zstd's level.
    pub level: i32,
    /// Bytes that a repetition has at least to be named as one: with fewer there are more of them,
    /// each of which takes its time, in packing and in unpacking.
    pub min_match: u32,
}

/// Appends a chunk to `out`, compressed where that is wanted and saves at least an eighth. Returns
/// whether it did.
pub fn encode(raw: &[u8], strength: Option<Strength>, out: &mut Vec<u8>) -> bool {
    let strength = strength.filter(|_| raw.len() >= RAW_BELOW);
    let packed = strength
        .and_then(|strength| compress(raw, strength).ok())
        .filter(|p| p.len() < raw.len() - raw.len() / 8);
    let body = packed.as_deref().unwrap_or(raw);
    // Both lengths are at most CHUNK.
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
    packed.is_some()
}

// Making a context for each chunk costs as much as an eighth of the work.
thread_local! {
    static PACKER: RefCell<Option<(Strength, zstd::bulk::Compressor<'static>)>> =
        const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        RefCell::new(zstd::bulk::Decompressor::new().ok());
}

/// Unpacks one frame of at most `room` bytes.
pub fn unpack(frame: &[u8], room: usize) -> Option<Vec<u8>> {
    UNPACKER.with_borrow_mut(|unpacker| unpacker.as_mut()?.decompress(frame, room).ok())
}

fn compress(raw: &[u8], strength: Strength) -> io::Result<Vec<u8>> {
    PACKER.with_borrow_mut(|packer| {
        if packer.as_ref().is_none_or(|(of, _)| *of != strength) {
            let mut new = zstd::bulk::Compressor::new(strength.level)?;
            new.set_parameter(CParameter::MinMatch(strength.min_match))?;
            *packer = Some((strength, new));
        }
        match packer {
            Some((_, packer)) => packer.compress(raw),
            None => Err(io::Error::from(io::ErrorKind::OutOfMemory)),
        }
    })
}

/// Gives the memory of this thread's packer free: a thread that packs now and then keeps none.
pub fn forget_packer() {
    PACKER.with_borrow_mut(|packer| *packer = None);
}

/// Unpacks a compressed body into exactly `raw`.
///
/// # Errors
/// [`ChunkError`].
pub fn decode(body: &[u8], raw: &mut [u8]) -> Result<(), ChunkError> {
    let unpacked = UNPACKER.with_borrow_mut(|unpacker| match unpacker {
        Some(unpacker) => unpacker.decompress_to_buffer(body, raw),
        None => zstd::bulk::decompress_to_buffer(body, raw),
    });
    match unpacked {
        Ok(n) if n == raw.len() => Ok(()),
        Ok(_) => Err(ChunkError::Corrupt("a chunk is shorter than it said")),
        Err(_) => Err(what_is_wrong(body, raw.len())),
    }
}

/// Tells a bomb from garbage: by what the frame says of itself, else by reading one byte more
/// than was promised, and no further.
fn what_is_wrong(body: &[u8], promised: usize) -> ChunkError {
    let promised = promised as u64;
    if zstd::zstd_safe::get_frame_content_size(body).is_ok_and(|s| s.is_some_and(|s| s > promised))
    {
        return ChunkError::Oversize;
    }
    let corrupt = ChunkError::Corrupt("a chunk does not decompress");
    let Ok(mut decoder) = zstd::stream::read::Decoder::new(body) else {
        return corrupt;
    };
    if decoder.window_log_max(MAX_WINDOW_LOG).is_err() {
        return corrupt;
    }
    match io::copy(&mut decoder.take(promised + 1), &mut io::sink()) {
        Ok(n) if n > promised => ChunkError::Oversize,
        _ => corrupt,
    }
}

/// Reads an object out of its chunks, one at a time.
pub struct Unpacked<R> {
    from: R,
    /// Bytes of the object that are still to come.
    left: u64,
    body: Vec<u8>,
    raw: Vec<u8>,
    /// Up to where `raw` was given out.
    at: usize,
}

/// The object in a file of chunks.
pub fn unpacked(file: File, size: u64) -> Unpacked<BufReader<File>> {
    Unpacked::new(BufReader::new(file), size)
}

impl<R: Read> Unpacked<R> {
    /// An object of `size` bytes.
    pub fn new(from: R, size: u64) -> Self {
        Self {
            from,
            left: size,
            body: Vec::new(),
            raw: Vec::new(),
            at: 0,
        }
    }

    fn next(&mut self) -> io::Result<()> {
        let mut head = [0; HEAD];
        self.from.read_exact(&mut head)?;
        let head = ChunkHead::decode(head, self.left).map_err(io::Error::other)?;
        self.body.resize(head.wire, 0);
        self.from.read_exact(&mut self.body)?;
        self.at = 0;
        self.left -= head.raw as u64;
        if head.wire == head.raw {
            std::mem::swap(&mut self.raw, &mut self.body);
            return Ok(());
        }
        self.raw.resize(head.raw, 0);
        decode(&self.body, &mut self.raw).map_err(io::Error::other)
    }
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at == self.raw.len() {
            if self.left == 0 {
                return Ok(0);
            }
            self.next()?;
        }
        let n = to.len().min(self.raw.len() - self.at);
        to[..n].copy_from_slice(&self.raw[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRENGTH: Strength = Strength {
        level: 3,
        min_match: 5,
    };

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in bytes.chunks(CHUNK) {
            encode(chunk, Some(STRENGTH), &mut out);
        }
        out
    }

    #[test]
    fn an_object_is_read_as_it_was_packed() {
        let noise: Vec<u8> = (0..CHUNK as u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let object = [&noise[..], &[7; 3 * CHUNK][..], b"end"].concat();
        let packed = packed(&object);
        assert!(packed.len() < object.len() / 2);
        let mut read = Vec::new();
        let size = object.len() as u64;
        Unpacked::new(&packed[..], size)
            .read_to_end(&mut read)
            .unwrap();
        assert!(read == object);
    }

    #[test]
    fn what_is_cut_or_longer_than_said_is_an_error() {
        let object = [7; 2 * CHUNK];
        let packed = packed(&object);
        let read = |bytes: &[u8], size: usize| {
            Unpacked::new(bytes, size as u64).read_to_end(&mut Vec::new())
        };
        assert!(read(&packed[..packed.len() - 1], object.len()).is_err());
        assert!(read(&packed, object.len() + 1).is_err());
        assert!(read(&packed, object.len() - 1).is_err());
    }
}
