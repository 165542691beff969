//! The door's one protocol: four requests, six answers, each in one bounded frame.
//!
//! Bytes from a stranger enter; decoded, unbelieved messages leave. A frame is a length (`u32`,
//! little-endian) and canonical bytes of that length; the length is checked before anything is
//! allocated, and bytes that are left over are refused. Must never happen here: a verdict.

use super::claim::{
    Candidate, JoinRefusal, NONCE_LEN, Nonce, Proof, TeamClaim, Welcome, write_addresses,
};
use crate::ticket::{SECRET_LEN, read_addresses};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::{Digest, PeerId};
use std::io;
use std::time::Duration;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The protocol's name: a stranger can reach this one, and no other.
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/quarry/door/1");
/// Size of a request, in bytes: a candidate with sixteen of the longest addresses takes 5 KiB.
pub const MAX_REQUEST: usize = 16 * 1024;
/// Size of a roster in a welcome, in bytes: what the roster's own limit allows.
pub const MAX_ROSTER: usize = 4 << 20;
/// Size of an answer, in bytes: a roster, and room for what stands beside it.
pub const MAX_ANSWER: usize = MAX_ROSTER + 64 * 1024;

/// What a newcomer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Shows a ticket's secret.
    Redeem {
        /// The ticket's secret.
        secret: Zeroizing<[u8; SECRET_LEN]>,
        /// Who asks.
        candidate: Candidate,
        /// Over the secret's digest.
        proof: Proof,
    },
    /// Asks for approval, without a ticket.
    Knock {
        /// Who asks.
        candidate: Candidate,
        /// To the candidate and its nonce.
        commitment: Digest,
        /// Over the commitment.
        proof: Proof,
    },
    /// Opens the commitment.
    Reveal(Nonce),
    /// Asks how the approval stands.
    Poll,
}

/// What a door answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Not let in.
    Refused(JoinRefusal),
    /// Let in.
    Welcome(Welcome),
    /// To a knock: who we are, and our nonce.
    Greeting(TeamClaim, Nonce),
    /// To a reveal: the commitment held, the short string is being shown.
    Shown,
    /// To a poll: nobody has decided yet.
    Pending,
    /// To a poll: an admin said no.
    Denied,
}

impl Canonical for Request {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Redeem {
                secret,
                candidate,
                proof,
            } => {
                w.u8(0);
                w.fixed(secret.as_ref());
                candidate.write(w);
                proof.write(w);
            }
            Self::Knock {
                candidate,
                commitment,
                proof,
            } => {
                w.u8(1);
                candidate.write(w);
                commitment.write(w);
                proof.write(w);
            }
            Self::Reveal(nonce) => {
                w.u8(2);
                w.fixed(nonce);
            }
            Self::Poll => w.u8(3),
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(match r.u8()? {
            0 => Self::Redeem {
                secret: Zeroizing::new(r.array()?),
                candidate: Candidate::read(r)?,
                proof: Proof::read(r)?,
            },
            1 => Self::Knock {
                candidate: Candidate::read(r)?,
                commitment: Digest::read(r)?,
                proof: Proof::read(r)?,
            },
            2 => Self::Reveal(r.array::<NONCE_LEN>()?),
            3 => Self::Poll,
            _ => return Err(CanonError::Value("an unknown request")),
        })
    }
}

impl Canonical for Answer {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Refused(why) => {
                w.u8(0);
                why.write(w);
            }
            Self::Welcome(welcome) => {
                w.u8(1);
                w.bytes(&welcome.roster);
                w.fixed(welcome.team_secret.as_ref());
                write_addresses(w, &welcome.addresses);
                welcome.admin.write(w);
            }
            Self::Greeting(claim, nonce) => {
                w.u8(2);
                claim.write(w);
                w.fixed(nonce);
            }
            Self::Shown => w.u8(3),
            Self::Pending => w.u8(4),
            Self::Denied => w.u8(5),
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(match r.u8()? {
            0 => Self::Refused(JoinRefusal::read(r)?),
            1 => Self::Welcome(Welcome {
                roster: r.bytes(MAX_ROSTER)?.to_vec(),
                team_secret: Zeroizing::new(r.array()?),
                addresses: read_addresses(r)?,
                admin: PeerId::read(r)?,
            }),
            2 => Self::Greeting(TeamClaim::read(r)?, r.array::<NONCE_LEN>()?),
            3 => Self::Shown,
            4 => Self::Pending,
            5 => Self::Denied,
            _ => return Err(CanonError::Value("an unknown answer")),
        })
    }
}

/// What came where a request was due. libp2p's request-response keeps a request that cannot be
/// read to itself; so one is handed on, and the door can count it and hang up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A request, decoded and unbelieved.
    Request(Request),
    /// Something else, or nothing in time.
    Malformed(String),
}

/// Reads and writes frames.
#[derive(Debug, Clone, Copy)]
pub struct DoorCodec {
    /// How long one request may take to come in.
    pub read_within: Duration,
}

impl Codec for DoorCodec {
    type Protocol = StreamProtocol;
    type Request = Incoming;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Incoming>
    where
        T: AsyncRead + Unpin + Send,
    {
        let read = timeout(self.read_within, read_frame(io, MAX_REQUEST)).await;
        Ok(match read {
            Ok(Ok(request)) => Incoming::Request(request),
            Ok(Err(error)) => Incoming::Malformed(format!("no request: {error}")),
            Err(_) => Incoming::Malformed("a request that did not come in time".to_owned()),
        })
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_frame(io, MAX_ANSWER).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Incoming,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match request {
            Incoming::Request(request) => write_frame(io, &request, MAX_REQUEST).await,
            Incoming::Malformed(what) => Err(invalid(what)),
        }
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        answer: Answer,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &answer, MAX_ANSWER).await
    }
}

pub(super) async fn read_frame<M: Canonical>(
    io: &mut (impl AsyncRead + Unpin + Send),
    max: usize,
) -> io::Result<M> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length);
    if usize::try_from(length).map_or(true, |length| length > max) {
        return Err(invalid(format!(
            "a frame of {length} bytes, where {max} are allowed"
        )));
    }
    // Grows with what arrives, so that a length alone costs nothing here.
    let mut body = Zeroizing::new(Vec::new());
    let read = io
        .take(u64::from(length))
        .read_to_end(body.as_mut())
        .await?;
    if u64::try_from(read) != Ok(u64::from(length)) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    M::from_canon(&body).map_err(|error| invalid(error.to_string()))
}

pub(super) async fn write_frame<M: Canonical>(
    io: &mut (impl AsyncWrite + Unpin + Send),
    message: &M,
    max: usize,
) -> io::Result<()> {
    let body = Zeroizing::new(message.to_canon());
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= max)
        .ok_or_else(|| invalid(format!("a message of {} bytes to send", body.len())))?;
    io.write_all(&length.to_le_bytes()).await?;
    io.write_all(&body).await?;
    io.flush().await
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
