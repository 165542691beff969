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
/// Tries of the roster exchange before the connection is given up.
const TRIES: u8 = 3;
/// Exchanges in a row that were lost with one of several connections, or came when the peer was
/// busy: half a minute of ticks.
const AGAINS: u8 = 60;

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

/// The exchange of rosters with one peer, without which a connection is worth nothing.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// Those that failed in a row.
    failed: u8,
    /// Those in a row that are tried again without being counted.
    lost: u8,
    wanted: bool,
}

impl Exchange {
    /// The peer took ours and gave its own.
    pub(super) fn done(&mut self) {
        (self.failed, self.lost) = (0, 0);
    }

    /// It failed. `true` where it is tried again, with the next tick.
    pub(super) fn failed(&mut self) -> bool {
        self.failed = self.failed.saturating_add(1);
        self.wanted |= self.failed < TRIES;
        self.failed < TRIES
    }

    /// It was lost, which says nothing of the peer: it does not count, for some time.
    pub(super) fn lost(&mut self) -> bool {
        self.lost = self.lost.saturating_add(1);
        if self.lost >= AGAINS {
            return self.failed();
        }
        self.wanted = true;
        true
    }

    /// Whether it is to be tried again; once for each time.
    pub(super) fn take_wanted(&mut self) -> bool {
        std::mem::take(&mut self.wanted)
    }
}

/// One connected member.
#[derive(Debug)]
pub(super) struct Link {
    /// Its connections and their remote addresses.
    pub(super) connections: HashMap<ConnectionId, Multiaddr>,
    /// What is worked on for it.
    pub(super) jobs: Arc<Semaphore>,
    /// Our roster for its own.
    pub(super) rosters: Exchange,
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
            rosters: Exchange::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_three_times_in_a_row_is_given_up() {
        let mut rosters = Exchange::default();
        assert!(!rosters.take_wanted());
        assert!(rosters.failed() && rosters.take_wanted() && !rosters.take_wanted());
        rosters.done();
        assert!(rosters.failed() && rosters.failed() && rosters.take_wanted());
        assert!(!rosters.failed() && !rosters.take_wanted());
    }

    /// Connections that come and go take their exchanges with them, whoever the peer is.
    #[test]
    fn what_is_lost_is_tried_again_for_half_a_minute() {
        let mut rosters = Exchange::default();
        for _ in 1..AGAINS {
            assert!(rosters.lost() && rosters.take_wanted());
        }
        assert!(rosters.lost() && rosters.lost(), "counted from now on");
        assert!(!rosters.lost());
        let mut rosters = Exchange::default();
        for _ in 0..2 * AGAINS {
            assert!(rosters.lost());
            rosters.done();
        }
    }
}
