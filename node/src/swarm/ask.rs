//! The protocol of small messages on libp2p's request-response: our frames instead of CBOR.
//!
//! Enters: streams under [`PROTOCOL`]. Leaves: [`Request`]s and [`Answer`]s. Must never happen
//! here: a frame of its own (they are in `wire`), a decision.

use super::Ask;
use super::objects::PROGRESS;
use super::wire::{Answer, HEADER, MAX_ROSTER_BYTES, Request};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite};
use libp2p::StreamProtocol;
use libp2p::request_response::{Behaviour, Codec, Config, ProtocolSupport};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The protocol's name and version.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/quarry/ask/3");
/// The version before, which does not know [`Ask::Next`]. Still spoken with who speaks no other.
pub(super) const BEFORE: StreamProtocol = StreamProtocol::new("/quarry/ask/2");
/// After this long an exchange is over, whatever the caller's deadline: what a silent peer holds
/// of our memory is freed.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Exchanges under way on one connection, in both directions together.
const MAX_STREAMS: usize = 128;

/// Requests up to this length are read as they come. Bytes.
const SMALL: usize = 64 * 1024;
/// KiB of longer requests that are read at once, from everybody together: sixteen rosters of the
/// greatest length. Otherwise a member fills each of its streams with a roster but its last byte,
/// and holds half a GiB of us.
const MAX_READING_KIB: usize = 64 * 1024;

/// Reads and writes frames. Clones share the room for long ones.
#[derive(Debug, Clone)]
pub(super) struct AskCodec(Arc<Semaphore>);

impl Default for AskCodec {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_READING_KIB)))
    }
}

impl AskCodec {
    /// Reads a request; a long one when there is room for it, and then without a pause.
    async fn read(&self, io: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Request> {
        let mut header = [0; HEADER];
        io.read_exact(&mut header).await?;
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let mut whole = AsyncReadExt::chain(&header[..], io);
        // What is longer than any limit is refused by its header.
        if length <= SMALL || length > MAX_ROSTER_BYTES {
            return Request::read(&mut whole).await;
        }
        let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = self.0.acquire_many(kib).await;
        let _room = room.map_err(io::Error::other)?;
        timeout(PROGRESS, Request::read(&mut whole)).await?
    }
}

impl Codec for AskCodec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        Answer::read(io).await
    }

    async fn write_request<T>(
        &mut self,
        protocol: &StreamProtocol,
        io: &mut T,
        request: Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        // To who does not know it, a request is an offence.
        if *protocol == BEFORE && matches!(request, Request::Ask(Ask::Next(_))) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        request.write(io).await
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
        answer.write(io).await
    }
}

/// The behaviour, with its limits.
pub(super) fn behaviour() -> Behaviour<AskCodec> {
    let config = Config::default()
        .with_request_timeout(ASK_TIMEOUT)
        .with_max_concurrent_streams(MAX_STREAMS);
    let protocols = [PROTOCOL, BEFORE].map(|name| (name, ProtocolSupport::Full));
    Behaviour::with_codec(AskCodec::default(), protocols, config)
}
