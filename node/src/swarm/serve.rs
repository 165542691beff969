//! Serving objects to members.
//!
//! Enters: streams that libp2p accepted from peers inside the gate. Leaves: the bytes that the
//! host opens for them, in compressed chunks, which are kept for who asks next. The host decides who may see what; nothing is
//! checked here but bounds: streams of one peer, replies under way, and two batches of chunks in
//! memory for each. Disk and zstd are worked on blocking threads, a slow reader holds none of them. Must
//! never happen here: a wait without end for a peer that does not read.

use super::Host;
use super::identity::{NetId, peer_id};
use super::index::{Index, Traffic};
use super::objects::{self, CHUNK, CHUNK_HEAD, ChunkHead, Head, PROGRESS, REQUEST};
use super::packed::{Keeping, Kept, Packed};
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
use std::time::{Duration, Instant};
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
/// How often it is looked whether anybody still asks for what is kept packed.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Server {
    host: Arc<dyn Host>,
    index: Arc<Index>,
    packed: Arc<Packed>,
    replies: Semaphore,
    streams: Mutex<HashMap<PeerId, Arc<Semaphore>>>,
}

impl Server {
    /// A server that serves nobody yet.
    pub(super) fn new(host: Arc<dyn Host>, index: Arc<Index>, packed: Arc<Packed>) -> Arc<Self> {
        let replies = Semaphore::new(MAX_REPLIES);
        Arc::new(Self {
            host,
            index,
            packed,
            replies,
            streams: Mutex::default(),
        })
    }

    /// Accepts streams until the swarm ends. Accepting must keep up: what it misses is dropped
    /// silently by libp2p-stream; so nothing is awaited here but the next stream, and the clock.
    pub(super) async fn accept(self: Arc<Self>, mut incoming: IncomingStreams) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                next = incoming.next() => match next {
                    Some((net, stream)) => self.accepted(&net, stream),
                    None => return,
                },
                _ = looks.tick() => {
                    let packed = self.packed.clone();
                    drop(tokio::task::spawn_blocking(move || packed.forget(Instant::now())));
                }
            }
        }
    }

    fn accepted(self: &Arc<Self>, net: &NetId, stream: Stream) {
        let Some(peer) = peer_id(net) else { return };
        let Some(traffic) = self.index.served(&peer) else {
            return;
        };
        let Some(slot) = self.slot(peer) else {
            tracing::debug!(?peer, "too many object streams; one was closed");
            return;
        };
        let server = self.clone();
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = server.stream(peer, stream, &traffic).await {
                tracing::debug!(?peer, %error, "an object stream ended");
            }
        });
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
            let mut source = Source::new(object, (digest, size), &server.packed);
            let mut out = Head::Here(source.left).encode().to_vec();
            source.batch(0, &mut out)?;
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
            source.batch(BATCH, &mut out)?;
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
    /// Where it is kept packed for who asks next.
    keeping: Option<Keeping>,
}

enum Bytes {
    Memory(Cursor<Vec<u8>>),
    File(File),
    /// Chunks as they travel.
    Settled(File),
    /// The same, as they travelled before.
    Kept(Kept),
}

impl Source {
    fn new(object: Object, (digest, size): (Digest, u64), packed: &Arc<Packed>) -> Self {
        let (mut keeping, mut left) = (None, size);
        let bytes = match object {
            Object::Bytes(bytes) => {
                left = bytes.len() as u64;
                Bytes::Memory(Cursor::new(bytes))
            }
            Object::Settled(file) => Bytes::Settled(file),
            Object::File(file) => match packed.get(&digest) {
                Some(kept) => Bytes::Kept(kept),
                None => {
                    keeping = packed.keep(digest);
                    Bytes::File(file)
                }
            },
        };
        Self {
            bytes,
            left,
            raw_run: 0,
            buffer: Vec::new(),
            keeping,
        }
    }

    /// Appends one chunk's frame, if anything is left, and further ones up to so many bytes.
    fn batch(&mut self, most: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let (from, before) = (out.len(), self.left);
        let stop = before.saturating_sub(BATCH_RAW);
        loop {
            self.chunk(out)?;
            if self.left <= stop || out.len() - from >= most {
                break;
            }
        }
        let keeping = self.keeping.take();
        self.keeping = keeping.and_then(|k| k.add(&out[from..], before - self.left));
        if self.left == 0
            && let Some(keeping) = self.keeping.take()
        {
            keeping.done();
        }
        Ok(())
    }

    /// Appends the next chunk's frame, or those that were kept together, if anything is left.
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
                self.keeping.iter_mut().for_each(|k| k.saw(&self.buffer));
            }
            Bytes::Kept(kept) => {
                self.left = self.left.saturating_sub(kept.read(out)?);
                return Ok(());
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_was_sent_to_one_is_sent_to_the_next_as_it_was_packed() {
        let dir = tempfile::tempdir().unwrap();
        let packed = Packed::new(Some(dir.path().to_owned()));
        let path = dir.path().join("object");
        let bytes = b"words and words and ".repeat(60_000);
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let sent = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            let object = Object::File(File::open(&path).unwrap());
            let mut source = Source::new(object, (digest, size), &packed);
            let (mut all, mut most) = (Vec::new(), 0);
            while source.left > 0 {
                source.batch(most, &mut all).unwrap();
                most = BATCH;
            }
            all
        };
        let first = sent(&bytes);
        let mut read = Vec::new();
        let mut unpacked = crate::chunks::Unpacked::new(&first[..], size);
        unpacked.read_to_end(&mut read).unwrap();
        assert!(read == bytes);
        // Not from the file: what it holds by now would be packed to something else.
        assert!(sent(&vec![7; bytes.len()]) == first);
    }
}
