//! Frames: a fixed header, then bincode, bounded before it is decoded.
//!
//! ```text
//! 0  4 bytes  "QRY" and 0
//! 4  u16 LE   protocol version
//! 6  u32 LE   length of the body, at most MAX_FRAME
//! 10 …        body: one bincode value, nothing after it
//! ```
//! The header never changes, so that any two versions can tell each other apart.

use super::protocol::PROTOCOL;
use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};
use bincode::{Decode, Encode};
use std::io::{self, Read, Write};
use thiserror::Error;

/// Length of a body, in bytes: an environment and argv (2 MiB by default on Linux, 6 MiB at the
/// most) or the two captured streams fit.
pub const MAX_FRAME: usize = 32 << 20;
/// Length of a header, in bytes.
pub const HEADER_LEN: usize = 10;
const MAGIC: [u8; 4] = *b"QRY\0";

/// Why a frame is not taken.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The connection ended or broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// It is no frame of ours.
    #[error("it is not a frame of this protocol")]
    Magic,
    /// The other side speaks another version.
    #[error(
        "the other side speaks version {0} of the protocol, this one {PROTOCOL}: restart the node (`qnode restart`)"
    )]
    Version(u16),
    /// The body is larger than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME}")]
    Large(usize),
    /// The body is not the value it should be.
    #[error("the frame does not decode")]
    Body,
}

fn form() -> Configuration<LittleEndian, Fixint, Limit<MAX_FRAME>> {
    config::standard()
        .with_fixed_int_encoding()
        .with_limit::<MAX_FRAME>()
}

/// A whole frame around a value.
///
/// # Errors
/// [`FrameError::Large`] where the value does not fit.
pub fn encode<T: Encode>(value: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER_LEN];
    let body = bincode::encode_into_std_write(value, &mut frame, form())
        .map_err(|_| FrameError::Large(MAX_FRAME + 1))?;
    if body > MAX_FRAME {
        return Err(FrameError::Large(body));
    }
    let length = u32::try_from(body).map_err(|_| FrameError::Large(body))?;
    frame[..4].copy_from_slice(&MAGIC);
    frame[4..6].copy_from_slice(&PROTOCOL.to_le_bytes());
    frame[6..10].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Bytes that hardly any message exceeds: what a reader makes room for at once.
pub const USUAL: usize = 32 * 1024;

/// The length of the body that follows a header.
///
/// # Errors
/// [`FrameError::Magic`], [`FrameError::Version`], [`FrameError::Large`].
pub fn body_length(header: &[u8; HEADER_LEN]) -> Result<usize, FrameError> {
    if header[..4] != MAGIC {
        return Err(FrameError::Magic);
    }
    let version = u16::from_le_bytes([header[4], header[5]]);
    if version != PROTOCOL {
        return Err(FrameError::Version(version));
    }
    let length = u32::from_le_bytes([header[6], header[7], header[8], header[9]]) as usize;
    if length > MAX_FRAME {
        Err(FrameError::Large(length))
    } else {
        Ok(length)
    }
}

/// The value of a body; every byte of it must be used.
///
/// # Errors
/// [`FrameError::Body`].
pub fn decode<T: Decode<()>>(body: &[u8]) -> Result<T, FrameError> {
    match bincode::decode_from_slice(body, form()) {
        Ok((value, used)) if used == body.len() => Ok(value),
        _ => Err(FrameError::Body),
    }
}

/// Writes one value as a frame.
///
/// # Errors
/// [`FrameError`].
pub fn write<T: Encode>(to: &mut impl Write, value: &T) -> Result<(), FrameError> {
    to.write_all(&encode(value)?)?;
    Ok(())
}

/// Reads one frame's value.
///
/// # Errors
/// [`FrameError`].
pub fn read<T: Decode<()>>(from: &mut impl Read) -> Result<T, FrameError> {
    let mut header = [0; HEADER_LEN];
    from.read_exact(&mut header)?;
    let length = body_length(&header)?;
    // Grows as bytes arrive: a header alone allocates no more than what most messages need.
    let mut body = Vec::with_capacity(length.min(USUAL));
    from.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    decode(&body)
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{Finished, FromNode, Replay, ToNode};
    use super::*;
    use proptest::prelude::*;

    fn finished() -> ToNode {
        ToNode::Finished(Finished {
            success: true,
            stdout: Some(vec![]),
            stderr: Some(b"warning".to_vec()),
            duration_ms: 12,
            stopped: true,
        })
    }

    #[test]
    fn a_value_round_trips() {
        let mut wire = Vec::new();
        write(&mut wire, &finished()).unwrap();
        assert_eq!(read::<ToNode>(&mut wire.as_slice()).unwrap(), finished());
    }

    #[test]
    fn trailing_bytes_in_a_body_are_refused() {
        let mut wire = encode(&FromNode::Replay(Replay {
            stdout: vec![],
            stderr: vec![],
        }))
        .unwrap();
        wire.push(0);
        let length = u32::try_from(wire.len() - HEADER_LEN).unwrap();
        wire[6..10].copy_from_slice(&length.to_le_bytes());
        assert!(matches!(
            read::<FromNode>(&mut wire.as_slice()),
            Err(FrameError::Body)
        ));
    }

    #[test]
    fn another_version_is_told_apart_from_rubbish() {
        let mut wire = encode(&finished()).unwrap();
        let next = PROTOCOL + 1;
        wire[4..6].copy_from_slice(&next.to_le_bytes());
        assert!(matches!(
            read::<ToNode>(&mut wire.as_slice()),
            Err(FrameError::Version(version)) if version == next
        ));
        // The last before a caller could be told to wait for another.
        wire[4] = 5;
        assert!(matches!(
            read::<ToNode>(&mut wire.as_slice()),
            Err(FrameError::Version(5))
        ));
        wire[0] = b'X';
        assert!(matches!(
            read::<ToNode>(&mut wire.as_slice()),
            Err(FrameError::Magic)
        ));
    }

    #[test]
    fn a_lying_length_allocates_nothing() {
        let mut wire = encode(&finished()).unwrap();
        wire[6..10].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(
            read::<ToNode>(&mut wire.as_slice()),
            Err(FrameError::Large(_))
        ));
        // A body that claims a vector of 2^60 elements: refused by the decoder's limit.
        let mut body = vec![1, 0, 0, 0, 1, 1];
        body.extend_from_slice(&(1_u64 << 60).to_le_bytes());
        assert!(matches!(decode::<ToNode>(&body), Err(FrameError::Body)));
    }

    proptest! {
        #[test]
        fn rubbish_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode::<ToNode>(&bytes);
            let _ = decode::<FromNode>(&bytes);
            let _ = read::<ToNode>(&mut bytes.as_slice());
        }
    }
}
