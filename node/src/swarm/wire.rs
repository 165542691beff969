//! Frames of the small messages between members: rosters, filters, questions, offers.
//!
//! Enters: bytes of one frame, already cut at its limit. Leaves: a [`Request`] or an [`Answer`].
//! A frame is a tag (one byte), a length (`u32`, little-endian) and a body; the tag fixes the
//! limit of the length, so that nothing is read before it is bounded. Must never happen here: an
//! allocation larger than the bytes that arrived, a belief about what the bytes say.

use super::filter::MAX_FILTER_BYTES;
use super::restored::{self, MAX_RESTORED_BYTES, Restored};
use super::{Ask, MAX_OFFERS};
use crate::store::{MAX_PREDICTION_BYTES, Offer};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::entry::MAX_ENTRY_BYTES;
use quarry_trust::key::SIGNATURE_LEN;
use quarry_trust::{ActionKey, BuilderId, Digest, LookupKey, Refusal, SignedEntry};
use std::io;
use thiserror::Error;

/// A roster's wire form: thousands of members fit. Bytes.
pub(super) const MAX_ROSTER_BYTES: usize = 4 << 20;
/// All offers of one answer together: eight entries with usual predictions (a few KiB each) are
/// far below; the limit bounds what a question can cost us in memory. Bytes.
pub(super) const MAX_OFFERS_BYTES: usize = 4 << 20;
/// Tag and length.
pub(super) const HEADER: usize = 5;
/// The widest signed entry on the wire.
const MAX_SIGNED: usize = MAX_ENTRY_BYTES + SIGNATURE_LEN;

const REQUEST_ROSTER: u8 = 1;
const REQUEST_FILTER: u8 = 2;
const REQUEST_LOOKUP: u8 = 3;
const REQUEST_ACTION: u8 = 4;
const REQUEST_CRATE: u8 = 5;
/// Since the third version.
const REQUEST_NEXT: u8 = 6;
/// Apart from the others: a question of people, not of builds.
const REQUEST_RESTORED: u8 = 16;
const ANSWER_ROSTER: u8 = 1;
const ANSWER_FILTER: u8 = 2;
const ANSWER_OFFERS: u8 = 3;
const ANSWER_BUSY: u8 = 4;
const ANSWER_RESTORED: u8 = 16;

/// Why a frame was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum WireError {
    /// Longer than its tag allows, or more parts than are allowed.
    #[error("a frame is larger than its limit")]
    Oversize,
    /// Not the form that was promised.
    #[error("a frame is malformed: {0}")]
    Corrupt(&'static str),
}

impl WireError {
    /// What is counted.
    pub(super) const fn refusal(self) -> Refusal {
        match self {
            Self::Oversize => Refusal::Oversize,
            Self::Corrupt(what) => Refusal::Corrupt(what),
        }
    }

    /// Finds the refusal inside an I/O error that a codec returned.
    pub(super) fn within(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl From<CanonError> for WireError {
    fn from(error: CanonError) -> Self {
        match error {
            CanonError::Limit => Self::Oversize,
            CanonError::Short => Self::Corrupt("the bytes end inside a field"),
            CanonError::Trailing => Self::Corrupt("bytes follow the last field"),
            CanonError::Value(what) => Self::Corrupt(what),
            CanonError::Schema(_) => Self::Corrupt("an unknown schema"),
        }
    }
}

/// What one member asks of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// Here is my roster; give me yours. Comes before anything else.
    Roster(Vec<u8>),
    /// Which keys do you hold?
    Filter,
    /// What do you have under this key?
    Ask(Ask),
    /// What did you restore of this builder's entries?
    Restored(BuilderId),
    /// What came was no request. Never sent: libp2p's request-response keeps a request that
    /// does not decode to itself, and it must be counted.
    Refused(WireError),
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// My roster.
    Roster(Vec<u8>),
    /// My filter, in the form of `filter`.
    Filter(Vec<u8>),
    /// Entries with their predictions.
    Offers(Vec<Offer>),
    /// What was restored.
    Restored(Restored),
    /// Not now: too much is under way, or rosters were not exchanged.
    Busy,
}

impl Request {
    fn parts(&self) -> Result<(u8, &[u8]), WireError> {
        Ok(match self {
            Self::Refused(error) => return Err(*error),
            Self::Roster(wire) => (REQUEST_ROSTER, wire),
            Self::Filter => (REQUEST_FILTER, &[]),
            Self::Ask(Ask::Lookup(key)) => (REQUEST_LOOKUP, key.as_bytes()),
            Self::Ask(Ask::Action(key)) => (REQUEST_ACTION, key.as_bytes()),
            Self::Ask(Ask::Crate(name)) => (REQUEST_CRATE, name.as_bytes()),
            Self::Ask(Ask::Next(key)) => (REQUEST_NEXT, key.as_bytes()),
            Self::Restored(builder) => (REQUEST_RESTORED, &builder.0),
        })
    }

    fn limit(tag: u8) -> Result<usize, WireError> {
        match tag {
            REQUEST_ROSTER => Ok(MAX_ROSTER_BYTES),
            REQUEST_FILTER => Ok(0),
            REQUEST_LOOKUP | REQUEST_ACTION | REQUEST_CRATE | REQUEST_NEXT | REQUEST_RESTORED => {
                Ok(32)
            }
            _ => Err(WireError::Corrupt("an unknown request")),
        }
    }

    fn decode(tag: u8, body: Vec<u8>) -> Result<Self, WireError> {
        match tag {
            REQUEST_ROSTER => Ok(Self::Roster(body)),
            REQUEST_FILTER if body.is_empty() => Ok(Self::Filter),
            REQUEST_LOOKUP => Ok(Self::Ask(Ask::Lookup(LookupKey::from_digest(
                Digest::from_canon(&body)?,
            )))),
            REQUEST_ACTION => Ok(Self::Ask(Ask::Action(ActionKey::from_digest(
                Digest::from_canon(&body)?,
            )))),
            REQUEST_CRATE => Ok(Self::Ask(Ask::Crate(Digest::from_canon(&body)?))),
            REQUEST_NEXT => Ok(Self::Ask(Ask::Next(ActionKey::from_digest(
                Digest::from_canon(&body)?,
            )))),
            REQUEST_RESTORED => Ok(Self::Restored(BuilderId::from_canon(&body)?)),
            _ => Err(WireError::Corrupt("an unknown request")),
        }
    }

    /// Reads one request from a stream; a malformed one is [`Request::Refused`].
    pub(super) async fn read(io: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Self> {
        let read = async {
            let (tag, body) = read_frame(io, Self::limit).await?;
            Ok(Self::decode(tag, body)?)
        };
        read.await
            .or_else(|error| WireError::within(&error).map(Self::Refused).ok_or(error))
    }

    /// Writes the request.
    pub(super) async fn write(&self, io: &mut (impl AsyncWrite + Unpin + Send)) -> io::Result<()> {
        let (tag, body) = self.parts()?;
        write_frame(io, tag, body).await
    }
}

impl Answer {
    fn limit(tag: u8) -> Result<usize, WireError> {
        match tag {
            ANSWER_ROSTER => Ok(MAX_ROSTER_BYTES),
            ANSWER_FILTER => Ok(MAX_FILTER_BYTES),
            ANSWER_OFFERS => Ok(MAX_OFFERS_BYTES),
            ANSWER_RESTORED => Ok(MAX_RESTORED_BYTES),
            ANSWER_BUSY => Ok(0),
            _ => Err(WireError::Corrupt("an unknown answer")),
        }
    }

    fn decode(tag: u8, body: Vec<u8>) -> Result<Self, WireError> {
        match tag {
            ANSWER_ROSTER => Ok(Self::Roster(body)),
            ANSWER_FILTER => Ok(Self::Filter(body)),
            ANSWER_OFFERS => decode_offers(&body).map(Self::Offers),
            ANSWER_RESTORED => restored::decode(&body).map(Self::Restored),
            ANSWER_BUSY if body.is_empty() => Ok(Self::Busy),
            _ => Err(WireError::Corrupt("an unknown answer")),
        }
    }

    /// Reads one answer from a stream.
    pub(super) async fn read(io: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Self> {
        let (tag, body) = read_frame(io, Self::limit).await?;
        Ok(Self::decode(tag, body)?)
    }

    /// Writes the answer.
    pub(super) async fn write(&self, io: &mut (impl AsyncWrite + Unpin + Send)) -> io::Result<()> {
        match self {
            Self::Roster(wire) => write_frame(io, ANSWER_ROSTER, wire).await,
            Self::Filter(bytes) => write_frame(io, ANSWER_FILTER, bytes).await,
            Self::Offers(offers) => write_frame(io, ANSWER_OFFERS, &encode_offers(offers)).await,
            Self::Restored(all) => write_frame(io, ANSWER_RESTORED, &all.to_canon()).await,
            Self::Busy => write_frame(io, ANSWER_BUSY, &[]).await,
        }
    }

    /// Bytes on the wire, frame included.
    pub(super) fn wire_len(&self) -> u64 {
        let body = match self {
            Self::Roster(bytes) | Self::Filter(bytes) => bytes.len(),
            Self::Offers(offers) => 1 + offers.iter().map(offer_len).sum::<usize>(),
            Self::Restored(all) => all.to_canon().len(),
            Self::Busy => 0,
        };
        (HEADER + body) as u64
    }
}

async fn read_frame(
    io: &mut (impl AsyncRead + Unpin + Send),
    limit: impl Fn(u8) -> Result<usize, WireError>,
) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; HEADER];
    io.read_exact(&mut header).await?;
    let tag = header[0];
    let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length > limit(tag)? {
        return Err(WireError::Oversize.into());
    }
    // Grows as bytes come: a header alone reserves nothing.
    let mut body = Vec::new();
    io.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((tag, body))
}

async fn write_frame(
    io: &mut (impl AsyncWrite + Unpin + Send),
    tag: u8,
    body: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(|_| WireError::Oversize)?;
    let mut frame = Vec::with_capacity(HEADER + body.len());
    frame.push(tag);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(body);
    io.write_all(&frame).await?;
    io.flush().await
}

/// Bytes that one offer takes in an answer.
fn offer_len(offer: &Offer) -> usize {
    8 + offer.prediction.len() + SIGNATURE_LEN + offer.signed.bytes.len()
}

/// Leaves out what an answer may not carry: oversized offers, and those that no longer fit.
pub(super) fn fit_offers(mut offers: Vec<Offer>) -> Vec<Offer> {
    let mut left = MAX_OFFERS_BYTES - 1;
    offers.retain(|offer| {
        let size = offer_len(offer);
        let fits = offer.prediction.len() <= MAX_PREDICTION_BYTES
            && offer.signed.bytes.len() <= MAX_ENTRY_BYTES
            && size <= left;
        if fits {
            left -= size;
        }
        fits
    });
    offers.truncate(MAX_OFFERS);
    offers
}

fn encode_offers(offers: &[Offer]) -> Vec<u8> {
    let mut w = Writer::default();
    w.u8(u8::try_from(offers.len()).unwrap_or(u8::MAX));
    for offer in offers {
        w.bytes(&offer.prediction);
        w.bytes(&offer.signed.to_wire());
    }
    w.finish()
}

fn decode_offers(body: &[u8]) -> Result<Vec<Offer>, WireError> {
    let mut r = Reader::new(body);
    let count = usize::from(r.u8()?);
    if count > MAX_OFFERS {
        return Err(WireError::Oversize);
    }
    let mut offers = Vec::with_capacity(count);
    for _ in 0..count {
        let prediction = r.bytes(MAX_PREDICTION_BYTES)?.to_vec();
        let signed = SignedEntry::from_wire(r.bytes(MAX_SIGNED)?)?;
        offers.push(Offer { prediction, signed });
    }
    r.finish()?;
    Ok(offers)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
