//! What callers' threads, blocking calls and the driver hand each other.
//!
//! Enters: keys, commands, results of the host's calls. Leaves: the same, taken by the driver at
//! its next turn. Every queue is bounded, and nobody waits in adding to one. Must never happen
//! here: a decision.

use super::filter::KeyFilter;
use super::index::Index;
use super::wire::{Answer, WireError};
use super::{Ask, Restored, SwarmError, Taken};
use crate::store::Offer;
use libp2p::Multiaddr;
use libp2p::request_response::ResponseChannel;
use quarry_trust::{BuilderId, Digest, PeerId};
use std::collections::HashSet;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit};

/// Keys, sought or announced, that callers may queue between two turns of the loop.
const MAX_QUEUED: usize = 100_000;
/// What a caller's thread asks of the driver.
pub(super) enum Command {
    /// A question to a peer.
    Ask {
        peer: PeerId,
        ask: Ask,
        reply: SyncSender<Result<Vec<Offer>, SwarmError>>,
    },
    /// A question to a peer: what it restored of a builder's.
    Restored {
        peer: PeerId,
        builder: BuilderId,
        reply: SyncSender<Result<Restored, SwarmError>>,
    },
    /// Addresses to remember and dial.
    Addresses {
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    },
    /// Addresses of a newcomer, for who looks for it.
    Expect {
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    },
    /// What was queued so far is to be published now; says when that is done.
    Publish { done: SyncSender<()> },
}

/// What a blocking call came to.
pub(super) enum Done {
    /// The host's roster and members.
    Roster(RosterRead),
    /// Our roster, with what this peer may know.
    Introduction { peer: PeerId, wire: Option<Vec<u8>> },
    /// A peer's roster was merged; it may wait for ours.
    Merged {
        peer: PeerId,
        taken: Taken,
        ours: Option<Vec<u8>>,
        channel: Option<ResponseChannel<Answer>>,
        permit: Option<OwnedSemaphorePermit>,
    },
    /// Offers for a peer.
    Offers {
        peer: PeerId,
        offers: Vec<Offer>,
        channel: ResponseChannel<Answer>,
        permit: OwnedSemaphorePermit,
    },
    /// What was restored here, for a peer.
    Restored {
        peer: PeerId,
        restored: Restored,
        channel: ResponseChannel<Answer>,
        permit: OwnedSemaphorePermit,
    },
    /// Our own filter.
    Built {
        position: (u64, u64),
        bytes: Vec<u8>,
    },
    /// A peer's filter.
    Decoded {
        peer: PeerId,
        filter: Result<KeyFilter, WireError>,
    },
    /// Nothing to do.
    Told,
}

/// What the host says about the team.
pub(super) struct RosterRead {
    /// The roster; `None` where we are in no team.
    pub(super) wire: Option<Vec<u8>>,
    /// Members in good standing, ourselves left out.
    pub(super) members: HashSet<PeerId>,
    /// What stands for the secrets under which keys are announced.
    pub(super) tags: Digest,
}

/// What callers' threads leave for the driver, and read from it.
#[derive(Default)]
pub(super) struct Shared {
    /// See `index`.
    pub(super) index: Arc<Index>,
    listening: Mutex<Vec<String>>,
    queued: Mutex<Queued>,
    /// Something was queued.
    pub(super) wake: Notify,
    /// The host is to be read again.
    pub(super) roster: Notify,
    /// The driver is to end.
    pub(super) stop: Notify,
}

#[derive(Default)]
pub(super) struct Queued {
    pub(super) announce: Vec<u64>,
    pub(super) overflow: bool,
    pub(super) provide: Vec<Digest>,
    pub(super) seek: Vec<Digest>,
}

impl Shared {
    fn queue(&self, add: impl FnOnce(&mut Queued)) {
        add(&mut self.queued.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    /// Queues keys to announce; too many become a new filter.
    pub(super) fn announce(&self, keys: &[Digest]) {
        self.queue(|queued| {
            if queued.announce.len() + keys.len() > MAX_QUEUED {
                queued.announce.clear();
                queued.overflow = true;
            } else {
                queued.announce.extend(keys.iter().map(Digest::short));
            }
        });
    }

    /// Queues keys to provide.
    pub(super) fn provide(&self, keys: &[Digest]) {
        self.queue(|queued| {
            let room = MAX_QUEUED.saturating_sub(queued.provide.len());
            queued.provide.extend(keys.iter().take(room));
        });
    }

    /// Queues a key to look for.
    pub(super) fn seek(&self, key: &Digest) {
        self.queue(|queued| {
            if queued.seek.len() < MAX_QUEUED {
                queued.seek.push(*key);
            }
        });
    }

    /// The host is to be read again.
    pub(super) fn roster_changed(&self) {
        self.roster.notify_one();
    }

    /// The driver is to end.
    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Takes all that was queued.
    pub(super) fn take(&self) -> Queued {
        std::mem::take(&mut *self.queued.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes where we listen.
    pub(super) fn set_listening(&self, all: Vec<String>) {
        *self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Where we listen.
    pub(super) fn listening(&self) -> Vec<String> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
