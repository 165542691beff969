//! Announces what was stored once it is durable: announced means that `kill -9` does not lose it.
//!
//! Enters: tags of entries that were just put. Leaves: the same tags to the swarm, in batches,
//! each after a flush of the store. Where the node is in no team nothing enters. Must never happen
//! here: a flush that failed and that nobody who asks for one hears of.

use crate::store::StoreError;
use crate::swarm::Swarm;
use quarry_trust::Digest;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Entries that wait to be announced; beyond it the worker that puts the next one waits.
const QUEUE: usize = 4096;
/// How long a batch is collected: one flush for all that a build puts meanwhile.
const COLLECT: Duration = Duration::from_millis(150);

/// The tags of an entry's keys, and whether the first of them is worth a provider record.
struct News {
    tags: Vec<Digest>,
    provide: bool,
}

enum Message {
    News(News),
    /// Everything before this is to be durable and announced, then the sender hears of it.
    Flush(SyncSender<Result<(), StoreError>>),
}

/// Makes what was stored durable.
pub trait Flush: Fn() -> Result<(), StoreError> + Send + 'static {}

impl<F: Fn() -> Result<(), StoreError> + Send + 'static> Flush for F {}

/// The queue to the announcing thread, which ends when the last queue is dropped.
#[derive(Clone)]
pub struct Announcer(SyncSender<Message>);

impl Announcer {
    /// Starts the announcing thread; `flush` makes what was stored durable.
    #[must_use]
    pub fn start(flush: impl Flush, swarm: Arc<dyn Swarm>) -> Self {
        let (send, receive) = sync_channel(QUEUE);
        std::thread::spawn(move || announce(&receive, &flush, swarm.as_ref()));
        Self(send)
    }

    /// Queues tags of keys that were stored: of an entry its lookup key's first.
    pub fn stored(&self, tags: Vec<Digest>, provide: bool) {
        let news = News { tags, provide };
        // The thread ends only after us.
        let _ = self.0.send(Message::News(news));
    }

    /// Returns when all that was queued is durable and announced.
    ///
    /// # Errors
    /// Why something that was queued since the last call is not; it is not announced either.
    pub fn flush(&self) -> Result<(), StoreError> {
        let (done, heard) = sync_channel(1);
        // The thread ends only after us.
        let _ = self.0.send(Message::Flush(done));
        heard.recv().unwrap_or(Ok(()))
    }
}

fn announce(queue: &Receiver<Message>, flush: &impl Flush, swarm: &dyn Swarm) {
    let mut untold = None;
    while let Ok(first) = queue.recv() {
        let until = Instant::now() + COLLECT;
        let mut news = Vec::new();
        let mut waiting = None;
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::News(one) => news.push(one),
                Message::Flush(done) => {
                    waiting = Some(done);
                    break;
                }
            }
            next = queue
                .recv_timeout(until.saturating_duration_since(Instant::now()))
                .ok();
        }
        if let Err(error) = tell(&news, flush, swarm) {
            tracing::warn!(%error, "new entries are not announced: they could not be made durable");
            untold = Some(error);
        }
        if let Some(done) = waiting {
            let _ = done.send(untold.take().map_or(Ok(()), Err));
        }
    }
}

fn tell(news: &[News], flush: &impl Flush, swarm: &dyn Swarm) -> Result<(), StoreError> {
    if news.is_empty() {
        return Ok(());
    }
    flush()?;
    let tags: Vec<Digest> = news.iter().flat_map(|n| n.tags.clone()).collect();
    swarm.announce(&tags);
    let costly = news.iter().filter(|n| n.provide);
    let costly: Vec<Digest> = costly.filter_map(|n| n.tags.first().copied()).collect();
    if !costly.is_empty() {
        swarm.provide(&costly);
    }
    Ok(())
}
