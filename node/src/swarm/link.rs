//! What the driver remembers of one connected member: bounds and open exchanges.
//!
//! Enters and leaves: plain state, changed by `driver` and `dialogue`. Must never happen here: a
//! message.

use super::wire::Answer;
use super::{Restored, SwarmError};
use crate::store::Offer;
use libp2p::Multiaddr;
use libp2p::request_response::ResponseChannel;
use libp2p::swarm::ConnectionId;
use quarry_trust::PeerId;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Questions and rosters of one peer that are worked on at once; more are answered *busy*.
const MAX_JOBS_EACH: usize = 8;
/// The window in which a peer's pace is counted.
const WINDOW: Duration = Duration::from_secs(1);
/// How much a peer did within the current window.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    count: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            count: 0,
        }
    }
}

impl Pace {
    /// Counts one more; false where that is too much.
    pub(super) fn allows(&mut self, max: u32, now: Instant) -> bool {
        if now.duration_since(self.since) >= WINDOW {
            *self = Self {
                since: now,
                count: 0,
            };
        }
        self.count = self.count.saturating_add(1);
        self.count <= max
    }
}

/// One connected member.
#[derive(Debug)]
pub(super) struct Link {
    /// Its connections and their remote addresses.
    pub(super) connections: HashMap<ConnectionId, Multiaddr>,
    /// What is worked on for it.
    pub(super) jobs: Arc<Semaphore>,
    /// Exchanges of rosters that failed in a row.
    pub(super) roster_tries: u8,
    /// Those that are tried again without being counted.
    pub(super) roster_agains: u8,
    /// Whether the exchange is to be tried again.
    pub(super) roster_wanted: bool,
    /// Whether its filter was asked for and has not come.
    pub(super) filter_asked: bool,
    /// Whether its filter is to be asked for when it may be.
    pub(super) filter_wanted: bool,
    /// When its filter may be asked for again.
    pub(super) filter_next: Instant,
    /// Filters that it asked for.
    pub(super) filters: Pace,
    /// Whether it took our roster and gave its own.
    pub(super) accepted: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            connections: HashMap::new(),
            jobs: Arc::new(Semaphore::new(MAX_JOBS_EACH)),
            roster_tries: 0,
            roster_agains: 0,
            roster_wanted: false,
            filter_asked: false,
            filter_wanted: false,
            filter_next: Instant::now(),
            filters: Pace::default(),
            accepted: false,
        }
    }
}

/// A request of ours that is under way.
pub(super) enum Asked {
    /// Our roster for the peer's.
    Roster,
    /// The peer's filter.
    Filter,
    /// A caller's question.
    Question(SyncSender<Result<Vec<Offer>, SwarmError>>),
    /// A caller's question what was restored.
    Restored(SyncSender<Result<Restored, SwarmError>>),
}

/// Our own filter, and who waits for it.
#[derive(Default)]
pub(super) struct FilterCache {
    /// The frame, and the announcements that it includes.
    pub(super) built: Option<((u64, u64), Vec<u8>)>,
    /// Whether it is being built.
    pub(super) building: bool,
    /// Who asked meanwhile.
    pub(super) waiting: Vec<(PeerId, ResponseChannel<Answer>)>,
}
