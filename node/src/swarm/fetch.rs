//! Fetching objects from a member, over a few long-lived streams.
//!
//! Enters: an entry's object and a sink. Leaves: exactly its bytes in the sink, in order, or an
//! error; the digest is the caller's to check. Runs on the caller's own blocking thread: it
//! waits for the network and decompresses there. Must never happen here: a read without a
//! deadline, a byte beyond the stated size, a stream used again after it misbehaved.
//!
//! libp2p-stream drops inbound streams silently when they come faster than they are accepted
//! (its issue 5651), and the other end closes streams that idle: so an exchange that breaks
//! before its first byte is tried again on a new stream.

use super::identity::{NetId, net_id};
use super::index::{Index, Traffic};
use super::objects::{self, CHUNK, CHUNK_HEAD, ChunkHead, HEAD, Head, PROGRESS};
use super::wire::WireError;
use super::{Host, SwarmError};
use futures::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use libp2p_stream::Control;
use quarry_trust::{ActionKey, ObjectRef, PeerId};
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Streams to one peer: enough that compression, the network and the disk work at once.
pub(super) const MAX_LINES: usize = 4;
/// Tries of an exchange that broke before its first byte.
const TRIES: usize = 3;
/// Negotiating a stream takes one round trip; a peer that needs longer is not worth the wait.
const OPEN_WITHIN: Duration = Duration::from_secs(3);
/// Bytes a second that a peer must keep up over a whole object, once [`PROGRESS`] has passed: a
/// twentieth of a 100 Mbit link. Otherwise a member that sends a byte now and then costs the
/// whole of a deadline, which grows with the size that it claims itself.
const SLOWEST: u64 = 640 * 1024;
/// Only fetches of at least this many bytes say something about bandwidth.
const BANDWIDTH_FROM: u64 = 1 << 20;

/// The streams to one peer.
struct Lines {
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Stream>>,
}

/// One stream, taken from its pool.
struct Line {
    stream: Stream,
    _slot: OwnedSemaphorePermit,
}

/// How an exchange ended badly.
enum Trouble {
    /// The deadline, or no progress.
    Silent,
    /// The stream broke.
    Broken(io::Error),
    /// What came cannot be used.
    Refused(WireError, &'static str),
    /// For the caller as it is.
    Other(SwarmError),
}

/// See the module.
pub(super) struct Fetcher {
    runtime: Handle,
    control: Control,
    index: Arc<Index>,
    host: Arc<dyn Host>,
    pools: Mutex<HashMap<PeerId, Arc<Lines>>>,
}

impl Fetcher {
    /// A fetcher without streams.
    pub(super) fn new(
        runtime: Handle,
        control: Control,
        index: Arc<Index>,
        host: Arc<dyn Host>,
    ) -> Self {
        Self {
            runtime,
            control,
            index,
            host,
            pools: Mutex::default(),
        }
    }

    /// The peer's last connection went down: its streams are dead.
    pub(super) fn forget(&self, peer: &PeerId) {
        self.pools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(peer);
    }

    /// [`super::Swarm::fetch`].
    pub(super) fn fetch(
        &self,
        peer: &PeerId,
        action: &ActionKey,
        object: &ObjectRef,
        sink: &mut dyn Write,
        deadline: Instant,
    ) -> Result<(), SwarmError> {
        let traffic = self.index.traffic(peer)?;
        let net = net_id(peer).ok_or(SwarmError::NotConnected(*peer))?;
        let started = Instant::now();
        let result = self.exchange((peer, net), action, object, sink, deadline, &traffic);
        match result {
            Ok(()) => {
                self.index.prompt(peer);
                if object.size >= BANDWIDTH_FROM {
                    let micros = started.elapsed().as_micros().max(1);
                    let rate = u128::from(object.size) * 1_000_000 / micros;
                    let rate = u64::try_from(rate).unwrap_or(u64::MAX);
                    traffic
                        .bandwidth
                        .store(rate, std::sync::atomic::Ordering::Relaxed);
                }
                Ok(())
            }
            Err(Trouble::Silent) => {
                self.index.slow(peer);
                Err(SwarmError::Deadline(*peer))
            }
            Err(Trouble::Broken(error)) => Err(SwarmError::Lost {
                peer: *peer,
                what: error.to_string(),
            }),
            Err(Trouble::Refused(error, what)) => {
                self.index.offence(peer);
                self.host.refused(peer, error.refusal(), what);
                Err(SwarmError::Refused {
                    peer: *peer,
                    why: error.refusal(),
                })
            }
            Err(Trouble::Other(error)) => Err(error),
        }
    }

    fn exchange(
        &self,
        to: (&PeerId, NetId),
        action: &ActionKey,
        object: &ObjectRef,
        sink: &mut dyn Write,
        deadline: Instant,
        traffic: &Traffic,
    ) -> Result<(), Trouble> {
        let lines = self.lines(to.0);
        let request = objects::encode_request(action, &object.digest);
        let mut broken = io::Error::from(io::ErrorKind::NotConnected);
        for _ in 0..TRIES {
            let mut line = self.line(to, &lines, deadline)?;
            let head = match self.ask(&mut line.stream, &request, deadline) {
                Err(Trouble::Broken(error)) => {
                    // Streams of the same age are as dead; the next try opens a new one.
                    lines
                        .idle
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clear();
                    broken = error;
                    continue;
                }
                other => other?,
            };
            traffic.receive(HEAD as u64);
            let size = match head {
                Head::Here(size) => size,
                Head::Absent => {
                    lines.put_back(line);
                    return Err(Trouble::Other(SwarmError::Absent(*to.0)));
                }
                Head::Busy => {
                    lines.put_back(line);
                    return Err(Trouble::Other(SwarmError::Busy(*to.0)));
                }
            };
            if size > object.size {
                return Err(Trouble::Refused(
                    WireError::Oversize,
                    "an object longer than its entry says",
                ));
            }
            if size < object.size {
                let error = WireError::Corrupt("shorter than its entry says");
                return Err(Trouble::Refused(
                    error,
                    "an object shorter than its entry says",
                ));
            }
            self.receive(&mut line.stream, size, sink, deadline, traffic)?;
            lines.put_back(line);
            return Ok(());
        }
        Err(Trouble::Broken(broken))
    }

    fn lines(&self, peer: &PeerId) -> Arc<Lines> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Lines {
                slots: Arc::new(Semaphore::new(MAX_LINES)),
                idle: Mutex::default(),
            })
        };
        pools.entry(*peer).or_insert_with(new).clone()
    }

    /// Waits for a free stream, and opens one where none idles.
    fn line(
        &self,
        (peer, net): (&PeerId, NetId),
        lines: &Lines,
        deadline: Instant,
    ) -> Result<Line, Trouble> {
        let busy = || Trouble::Other(SwarmError::Busy(*peer));
        let slots = lines.slots.clone();
        let slot = self
            .within(deadline, slots.acquire_owned())
            .ok_or_else(busy)?;
        let slot = slot.map_err(|_| busy())?;
        let idle = lines
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(stream) = idle {
            return Ok(Line {
                stream,
                _slot: slot,
            });
        }
        let mut control = self.control.clone();
        let within = deadline.min(Instant::now() + OPEN_WITHIN);
        match self.within(within, control.open_stream(net, objects::PROTOCOL)) {
            Some(Ok(stream)) => Ok(Line {
                stream,
                _slot: slot,
            }),
            Some(Err(error)) => Err(Trouble::Broken(io::Error::other(error.to_string()))),
            None => Err(Trouble::Silent),
        }
    }

    /// Runs a future on this thread up to an instant; `None` where it was not done by then.
    fn within<T>(&self, until: Instant, work: impl Future<Output = T>) -> Option<T> {
        self.runtime
            .block_on(async { tokio::time::timeout_at(until.into(), work).await.ok() })
    }

    fn ask(&self, stream: &mut Stream, request: &[u8], deadline: Instant) -> Result<Head, Trouble> {
        let mut head = [0; HEAD];
        let exchange = async {
            stream.write_all(request).await?;
            stream.flush().await?;
            stream.read_exact(&mut head).await
        };
        match self.within(deadline.min(Instant::now() + PROGRESS), exchange) {
            None => Err(Trouble::Silent),
            Some(Err(error)) => Err(Trouble::Broken(error)),
            Some(Ok(())) => Head::decode(head)
                .map_err(|e| Trouble::Refused(e, "the reply to an object request")),
        }
    }

    /// Takes chunks until the object is whole.
    fn receive(
        &self,
        stream: &mut Stream,
        size: u64,
        sink: &mut dyn Write,
        deadline: Instant,
        traffic: &Traffic,
    ) -> Result<(), Trouble> {
        let mut left = size;
        let (mut body, mut raw) = (Vec::new(), Vec::new());
        let started = Instant::now();
        while left > 0 {
            let until = deadline
                .min(Instant::now() + PROGRESS)
                .min(started + allowance(size - left));
            let chunk = match self.within(until, read_chunk(stream, left, &mut body)) {
                None => return Err(Trouble::Silent),
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => {
                    return Err(match WireError::within(&error) {
                        Some(wire) => Trouble::Refused(wire, "a chunk of an object"),
                        None => Trouble::Broken(error),
                    });
                }
            };
            traffic.receive((CHUNK_HEAD + chunk.wire) as u64);
            let bytes = if chunk.wire == chunk.raw {
                &body
            } else {
                raw.resize(chunk.raw, 0);
                objects::decode_chunk(&body, &mut raw)
                    .map_err(|e| Trouble::Refused(e, "a compressed chunk of an object"))?;
                &raw
            };
            sink.write_all(bytes)
                .map_err(|e| Trouble::Other(SwarmError::Sink(e)))?;
            left -= chunk.raw as u64;
        }
        Ok(())
    }
}

impl Lines {
    fn put_back(&self, line: Line) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line.stream);
    }
}

/// How long a peer may have taken by the time it gives the chunk after so many bytes.
fn allowance(received: u64) -> Duration {
    PROGRESS + Duration::from_millis((received + CHUNK as u64).saturating_mul(1000) / SLOWEST)
}

/// Reads one chunk into `body`, which never grows beyond [`CHUNK`].
pub(super) async fn read_chunk(
    stream: &mut (impl AsyncRead + Unpin),
    left: u64,
    body: &mut Vec<u8>,
) -> io::Result<ChunkHead> {
    let mut head = [0; CHUNK_HEAD];
    stream.read_exact(&mut head).await?;
    let chunk = ChunkHead::decode(head, left).map_err(WireError::from)?;
    debug_assert!(chunk.wire <= CHUNK, "the head was checked");
    body.resize(chunk.wire, 0);
    stream.read_exact(body).await?;
    Ok(chunk)
}
