//! Serving objects to members.
//!
//! Enters: streams that libp2p accepted from peers inside the gate. Leaves: the bytes that the
//! host opens for them, in compressed chunks. The host decides who may see what; nothing is
//! checked here but bounds: streams of one peer, replies under way, and two batches of chunks in
//! memory for each. Disk and zstd are worked on blocking threads, a slow reader holds none of them. Must
//! never happen here: a wait without end for a peer that does not read.

use super::Host;
use super::identity::peer_id;
use super::index::{Index, Traffic};
use super::objects::{self, CHUNK, CHUNK_HEAD, ChunkHead, Head, PROGRESS, REQUEST};
use super::wire::WireError;
use crate::store::Object;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::Stream;
use libp2p_stream::IncomingStreams;
use quarry_trust::{ActionKey, Digest, PeerId};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Streams of one peer: four times what a node of ours opens, for those that linger.
const MAX_STREAMS: usize = 16;
/// Replies under way in all; each holds two batches (a MiB at the most) and, now and then, a thread.
const MAX_REPLIES: usize = 32;
/// A stream without a request for this long is closed; the other end opens another.
const IDLE: Duration = Duration::from_secs(600);
/// Chunks are made and sent until they come to so many bytes: a packed one is far smaller than what
/// it holds, and each batch costs a turn between threads.
const BATCH: usize = CHUNK;
/// And no more than come to so many bytes unpacked: the reader does not wait while zeroes are packed.
const BATCH_RAW: u64 = 4 << 20;
/// After a chunk that did not shrink, this many go raw before zstd is tried again.
const RAW_RUN: u8 = 8;

/// See the module.
pub(super) struct Server {
    host: Arc<dyn Host>,
    index: Arc<Index>,
    replies: Semaphore,
    streams: Mutex<HashMap<PeerId, Arc<Semaphore>>>,
}

impl Server {
    /// A server that serves nobody yet.
    pub(super) fn new(host: Arc<dyn Host>, index: Arc<Index>) -> Arc<Self> {
        let replies = Semaphore::new(MAX_REPLIES);
        Arc::new(Self {
            host,
            index,
            replies,
            streams: Mutex::default(),
        })
    }

    /// Accepts streams until the swarm ends. Accepting must keep up: what it misses is dropped
    /// silently by libp2p-stream; so nothing is awaited here but the next stream.
    pub(super) async fn accept(self: Arc<Self>, mut incoming: IncomingStreams) {
        while let Some((net, stream)) = incoming.next().await {
            let Some(peer) = peer_id(&net) else { continue };
            let Some(traffic) = self.index.served(&peer) else {
                continue;
            };
            let Some(slot) = self.slot(peer) else {
                tracing::debug!(?peer, "too many object streams; one was closed");
                continue;
            };
            let server = self.clone();
            tokio::spawn(async move {
                let _slot = slot;
                if let Err(error) = server.stream(peer, stream, &traffic).await {
                    tracing::debug!(?peer, %error, "an object stream ended");
                }
            });
        }
    }

    fn slot(&self, peer: PeerId) -> Option<OwnedSemaphorePermit> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has no stream any more needs no entry.
        streams.retain(|_, slots| slots.available_permits() < MAX_STREAMS);
        let slots = streams
            .entry(peer)
            .or_insert_with(|| Arc::new(Semaphore::new(MAX_STREAMS)));
        slots.clone().try_acquire_owned().ok()
    }

    /// One request after another.
    async fn stream(
        self: &Arc<Self>,
        peer: PeerId,
        mut stream: Stream,
        traffic: &Traffic,
    ) -> io::Result<()> {
        loop {
            let mut request = [0; REQUEST];
            timeout(IDLE, stream.read_exact(&mut request)).await??;
            let Ok(Ok(_reply)) = timeout(PROGRESS, self.replies.acquire()).await else {
                send(&mut stream, &Head::Busy.encode(), traffic).await?;
                continue;
            };
            let (action, digest) = objects::decode_request(&request);
            match self.open(peer, action, digest).await? {
                None => send(&mut stream, &Head::Absent.encode(), traffic).await?,
                Some((source, first)) => reply(&mut stream, source, first, traffic).await?,
            }
        }
    }

    /// Opens the object and prepares the head with the first chunk, on a blocking thread.
    async fn open(
        self: &Arc<Self>,
        peer: PeerId,
        action: ActionKey,
        digest: Digest,
    ) -> io::Result<Option<(Source, Vec<u8>)>> {
        let server = self.clone();
        blocking(move || {
            let Some((object, size)) = server.host.open(&peer, &action, &digest) else {
                return Ok(None);
            };
            let mut source = Source::new(object, size);
            let mut out = Head::Here(source.left).encode().to_vec();
            source.chunk(&mut out)?;
            Ok(Some((source, out)))
        })
        .await
    }
}

/// Sends chunks, reading and compressing the next while one is on its way.
async fn reply(
    stream: &mut Stream,
    mut source: Source,
    mut ready: Vec<u8>,
    traffic: &Traffic,
) -> io::Result<()> {
    while source.left > 0 {
        let next = blocking(move || {
            let mut out = Vec::with_capacity(BATCH + CHUNK + CHUNK_HEAD);
            let stop = source.left.saturating_sub(BATCH_RAW);
            while source.left > stop && out.len() < BATCH {
                source.chunk(&mut out)?;
            }
            Ok((source, out))
        });
        let (sent, next) = futures::join!(send(stream, &ready, traffic), next);
        sent?;
        (source, ready) = next?;
    }
    send(stream, &ready, traffic).await
}

async fn send(stream: &mut Stream, bytes: &[u8], traffic: &Traffic) -> io::Result<()> {
    let write = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    timeout(PROGRESS, write).await??;
    traffic.send(bytes.len() as u64);
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// What is left of an object.
struct Source {
    bytes: Bytes,
    left: u64,
    raw_run: u8,
    buffer: Vec<u8>,
}

enum Bytes {
    Memory(Cursor<Vec<u8>>),
    File(File),
    /// Chunks as they travel.
    Settled(File),
}

impl Source {
    fn new(object: Object, size: u64) -> Self {
        let (bytes, left) = match object {
            Object::Bytes(bytes) => {
                let left = bytes.len() as u64;
                (Bytes::Memory(Cursor::new(bytes)), left)
            }
            Object::File(file) => (Bytes::File(file), size),
            Object::Settled(file) => (Bytes::Settled(file), size),
        };
        Self {
            bytes,
            left,
            raw_run: 0,
            buffer: Vec::new(),
        }
    }

    /// Appends the next chunk's frame, if anything is left.
    fn chunk(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let size = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        if size == 0 {
            return Ok(());
        }
        match &mut self.bytes {
            Bytes::Memory(bytes) => {
                self.buffer.resize(size, 0);
                bytes.read_exact(&mut self.buffer)?;
            }
            Bytes::File(file) => {
                self.buffer.resize(size, 0);
                file.read_exact(&mut self.buffer)?;
            }
            Bytes::Settled(file) => {
                let mut head = [0; CHUNK_HEAD];
                file.read_exact(&mut head)?;
                let chunk = ChunkHead::decode(head, self.left).map_err(WireError::from)?;
                out.extend_from_slice(&head);
                self.left -= chunk.raw as u64;
                out.reserve(chunk.wire);
                let read = file.take(chunk.wire as u64).read_to_end(out)?;
                let whole = (read == chunk.wire).then_some(());
                return whole.ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.left -= size as u64;
        let shrank = objects::encode_chunk(&self.buffer, self.raw_run == 0, out);
        self.raw_run = match (shrank, self.raw_run) {
            (true, _) => 0,
            (false, 0) => RAW_RUN,
            (false, run) => run - 1,
        };
        Ok(())
    }
}
