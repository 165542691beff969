//! The protocol of small messages on libp2p's request-response: our frames instead of CBOR.
//!
//! Enters: streams under [`PROTOCOL`]. Leaves: [`Request`]s and [`Answer`]s. Must never happen
//! here: a frame of its own (they are in `wire`), a decision.

use super::wire::{Answer, Request};
use futures::{AsyncRead, AsyncWrite};
use libp2p::StreamProtocol;
use libp2p::request_response::{Behaviour, Codec, Config, ProtocolSupport};
use std::io;
use std::time::Duration;

/// The protocol's name and version.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/quarry/ask/2");
/// After this long an exchange is over, whatever the caller's deadline: what a silent peer holds
/// of our memory is freed.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Exchanges under way on one connection, in both directions together.
const MAX_STREAMS: usize = 128;

/// Reads and writes frames.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AskCodec;

impl Codec for AskCodec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        Request::read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        Answer::read(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
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
    Behaviour::new([(PROTOCOL, ProtocolSupport::Full)], config)
}
