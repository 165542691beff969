//! The local index: what each member holds, how near it is, and whether it deserves a question.
//!
//! Enters: filters and announcements that were decoded, round trips, offences, byte counts.
//! Leaves: candidates for a key, and one status line for each member. Everything is answered
//! from memory under a lock that is held for microseconds. Must never happen here: a packet, a
//! wait, an entry for someone who is no member.

use super::announce::{Batch, Heard, Hearing};
use super::filter::KeyFilter;
use super::{PeerStatus, SwarmError};
use quarry_trust::{Digest, PeerId};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Keys kept beside a peer's filter before the filter is asked for again. Eight bytes each.
const MAX_RECENT: usize = 100_000;
/// First exclusion after an offence; doubles with each, up to [`MAX_OFFENDER`].
const EXCLUSION: Duration = Duration::from_secs(30);
/// A peer that is silent again and again is looked at again after this long.
const MAX_EXCLUSION: Duration = Duration::from_secs(600);
/// A peer that goes on offending, be it one time in a hundred, is looked at again after this long:
/// twelve offences lead here, and none is forgotten while the node runs.
const MAX_OFFENDER: Duration = Duration::from_secs(24 * 3600);
/// First exclusion of a peer that let a deadline pass: the next compile must not wait for it
/// again. Doubles each time that the peer is given another chance and fails, so that silence
/// costs the longest build a few waits in all; see [`Index::prompt`].
const SLOW_EXCLUSION: Duration = Duration::from_secs(5);

/// Bytes to and from one member, on the wire. Shared with who moves them.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Received.
    pub(super) received: AtomicU64,
    /// Sent.
    pub(super) sent: AtomicU64,
    /// Bytes per second of the last large fetch; 0 where there was none.
    pub(super) bandwidth: AtomicU64,
}

impl Traffic {
    /// Counts received bytes.
    pub(super) fn receive(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts sent bytes.
    pub(super) fn send(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Member {
    connected: bool,
    /// It gave us its roster: it may ask.
    introduced: bool,
    /// It took our roster: we may ask.
    accepted: bool,
    holdings: Option<Holdings>,
    round_trip: Option<Duration>,
    excluded_until: Option<Instant>,
    offences: u32,
    /// Deadlines that it let pass, one chance after another.
    delays: u32,
    /// Questions in a row, for keys that it says it holds, that it answered with nothing.
    in_vain: u32,
    /// Connections in a row that went down before it took our roster.
    turned_away: u32,
    address: String,
    traffic: Arc<Traffic>,
}

#[derive(Debug)]
struct Holdings {
    filter: KeyFilter,
    recent: HashSet<u64>,
    heard: Heard,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    members: RwLock<HashMap<PeerId, Member>>,
}

impl Index {
    fn with<T>(&self, peer: &PeerId, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.get_mut(peer).map(change)
    }

    fn read<T>(&self, peer: &PeerId, look: impl FnOnce(&Member) -> T) -> Option<T> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.get(peer).map(look)
    }

    /// Keeps exactly these members.
    pub(super) fn keep(&self, now: &HashSet<PeerId>) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.retain(|peer, _| now.contains(peer));
        for peer in now {
            members.entry(*peer).or_default();
        }
    }

    /// A first connection came up. Nothing is believed before rosters were exchanged.
    pub(super) fn connected(&self, peer: &PeerId, address: String) {
        self.with(peer, |m| {
            m.connected = true;
            m.address = address;
        });
    }

    /// A better address to remember the member by.
    pub(super) fn address(&self, peer: &PeerId, address: String) {
        self.with(peer, |m| m.address = address);
    }

    /// The peer's roster was taken: what it asks may be answered.
    pub(super) fn introduced(&self, peer: &PeerId) {
        self.with(peer, |m| m.introduced = m.connected);
    }

    /// The peer took our roster and gave its own: it may be asked, too.
    pub(super) fn accepted(&self, peer: &PeerId) {
        self.with(peer, |m| {
            m.introduced = m.connected;
            m.accepted = m.connected;
            m.turned_away = 0;
        });
    }

    /// A connection went down before the peer took our roster.
    pub(super) fn turned_away(&self, peer: &PeerId) {
        self.with(peer, |m| m.turned_away = m.turned_away.saturating_add(1));
    }

    /// Whether the peer's roster was taken on a connection that is up.
    pub(super) fn is_introduced(&self, peer: &PeerId) -> bool {
        self.served(peer).is_some()
    }

    /// The last connection went down: what it said is forgotten.
    pub(super) fn disconnected(&self, peer: &PeerId) {
        self.with(peer, |m| {
            m.connected = false;
            m.introduced = false;
            m.accepted = false;
            m.holdings = None;
            m.round_trip = None;
        });
    }

    /// A measured round trip.
    pub(super) fn round_trip(&self, peer: &PeerId, time: Duration) {
        self.with(peer, |m| m.round_trip = Some(time));
    }

    /// A peer's filter arrived. Keys heard after the moment it was made are kept.
    pub(super) fn filter(&self, peer: &PeerId, filter: KeyFilter) {
        self.with(peer, |m| {
            let recent = m.holdings.take().map(|old| old.recent).unwrap_or_default();
            let recent = recent
                .into_iter()
                .filter(|key| !filter.contains(*key))
                .collect();
            let heard = Heard::filter(filter.generation, filter.sequence);
            m.holdings = Some(Holdings {
                filter,
                recent,
                heard,
            });
        });
    }

    /// A member's announcement arrived, from itself or passed on. True where its filter should be asked for (again).
    pub(super) fn batch(&self, peer: &PeerId, batch: &Batch) -> bool {
        self.with(peer, |m| {
            if !m.connected {
                return false;
            }
            let Some(holdings) = &mut m.holdings else {
                let (generation, sequence) = (batch.generation, batch.sequence);
                m.holdings = Some(Holdings {
                    filter: KeyFilter::build(generation, sequence, Vec::new()),
                    recent: batch.keys.iter().copied().collect(),
                    heard: Heard::filter(generation, sequence),
                });
                return true;
            };
            let hearing = holdings.heard.batch(batch);
            if hearing == Hearing::Stale {
                return false;
            }
            if hearing == Hearing::NewRun {
                // Keys of the old run may be gone; the new filter has those that are not.
                holdings.recent.clear();
            }
            let room = MAX_RECENT.saturating_sub(holdings.recent.len());
            holdings.recent.extend(batch.keys.iter().take(room));
            matches!(hearing, Hearing::NewRun | Hearing::UseAndAsk) || batch.keys.len() > room
        })
        .unwrap_or(false)
    }

    /// Members that may hold the key: those first that were last asked with success and never
    /// offended, nearest first among equals. A liar that says it has everything, and answers
    /// pings fastest, is so asked once before the one who gives.
    pub(super) fn candidates(&self, key: &Digest) -> Vec<PeerId> {
        let (short, now) = (key.short(), Instant::now());
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = members
            .iter()
            .filter(|(_, m)| m.connected && m.accepted)
            .filter(|(_, m)| m.excluded_until.is_none_or(|until| until <= now))
            .filter(|(_, m)| m.holdings.as_ref().is_some_and(|h| h.holds(short)))
            .map(|(peer, m)| (m.doubts(), m.round_trip.unwrap_or(Duration::MAX), *peer))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(.., peer)| peer).collect()
    }

    /// What a peer sent was refused: no candidate for a while, longer each time.
    pub(super) fn offence(&self, peer: &PeerId) {
        self.with(peer, |m| {
            let wait = EXCLUSION * 2_u32.saturating_pow(m.offences.min(16));
            m.offences = m.offences.saturating_add(1);
            m.excluded_until = Some(Instant::now() + wait.min(MAX_OFFENDER));
        });
    }

    /// A peer let a deadline pass. Those of one moment, in which many compiles wait for it, are
    /// one.
    pub(super) fn slow(&self, peer: &PeerId) {
        self.slow_at(peer, Instant::now());
    }

    fn slow_at(&self, peer: &PeerId, now: Instant) {
        self.with(peer, |m| {
            if m.excluded_until.is_some_and(|until| until > now) {
                return;
            }
            let wait = SLOW_EXCLUSION * 2_u32.saturating_pow(m.delays.min(8));
            m.delays = m.delays.saturating_add(1);
            m.excluded_until = Some(now + wait.min(MAX_EXCLUSION));
        });
    }

    /// A peer gave a whole object in time: what was slow or in vain before is forgotten.
    pub(super) fn prompt(&self, peer: &PeerId) {
        if self.read(peer, |m| m.delays > 0 || m.in_vain > 0) == Some(true) {
            self.with(peer, |m| (m.delays, m.in_vain) = (0, 0));
        }
    }

    /// A peer that says it holds a key had nothing under it. No offence: filters err now and
    /// then, and what was evicted stays in them for a while.
    pub(super) fn in_vain(&self, peer: &PeerId) {
        self.with(peer, |m| m.in_vain = m.in_vain.saturating_add(1));
    }

    /// The byte counts of a member that may be asked.
    ///
    /// # Errors
    /// [`SwarmError::NotConnected`] where there is no connection, or no roster came on it.
    pub(super) fn traffic(&self, peer: &PeerId) -> Result<Arc<Traffic>, SwarmError> {
        self.read(peer, |m| {
            (m.connected && m.accepted).then(|| m.traffic.clone())
        })
        .flatten()
        .ok_or(SwarmError::NotConnected(*peer))
    }

    /// The byte counts of a member that asks.
    pub(super) fn served(&self, peer: &PeerId) -> Option<Arc<Traffic>> {
        self.read(peer, |m| {
            (m.connected && m.introduced).then(|| m.traffic.clone())
        })
        .flatten()
    }

    /// One line for each member, by peer id.
    pub(super) fn status(&self) -> Vec<PeerStatus> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = members.iter().map(|(peer, m)| m.status(*peer)).collect();
        all.sort_unstable_by_key(|status| status.peer);
        all
    }
}

impl Holdings {
    fn holds(&self, key: u64) -> bool {
        self.recent.contains(&key) || self.filter.contains(key)
    }
}

impl Member {
    /// How much speaks against asking it first.
    const fn doubts(&self) -> u32 {
        self.offences.saturating_add(self.in_vain)
    }

    fn status(&self, peer: PeerId) -> PeerStatus {
        let bandwidth = self.traffic.bandwidth.load(Ordering::Relaxed);
        PeerStatus {
            peer,
            connected: self.connected && self.accepted,
            address: self.address.clone(),
            round_trip: self.round_trip,
            bytes_in: self.traffic.received.load(Ordering::Relaxed),
            bytes_out: self.traffic.sent.load(Ordering::Relaxed),
            keys: self
                .holdings
                .as_ref()
                .map_or(0, |h| u64::from(h.filter.keys) + h.recent.len() as u64),
            bandwidth: (bandwidth > 0).then_some(bandwidth),
            offences: self.offences,
            in_vain: self.in_vain,
            turned_away: self.turned_away,
            left_out: self
                .excluded_until
                .and_then(|until| until.checked_duration_since(Instant::now())),
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
