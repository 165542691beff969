//! Deadlines, limits and thresholds, each a named constant or a function of its arguments.

use quarry_trust::PeerId;
use std::time::Duration;

/// Peers that one lookup asks, at most: the nearest first.
pub const ASK_PEERS: usize = 3;
/// The same where several members must agree, or some alone count: their number, and one more
/// for each that is away or holds nothing.
pub const ASK_PEERS_MOST: usize = 8;
/// How long one question to a peer may take. A compile waits for it.
pub const ASK_WITHIN: Duration = Duration::from_secs(2);
/// How long all questions of one lookup may take, however many peers are asked.
pub const ASK_ALL_WITHIN: Duration = Duration::from_secs(6);
/// The shortest and the longest time that fetching one entry's objects may take; the wrapper
/// gives the node 30 s for the whole answer.
pub const FETCH_LEAST: Duration = Duration::from_secs(3);
/// See [`FETCH_LEAST`].
pub const FETCH_MOST: Duration = Duration::from_secs(20);
/// The slowest peer that is worth waiting for, bytes per second: a tenth of a 100 Mbit link.
pub const FETCH_RATE_LEAST: u64 = 1_250_000;
/// Compiles that took at least this long, milliseconds, are worth a provider record of their own.
pub const PROVIDE_FROM_MS: u64 = 2_000;
/// gc begins when the limit is passed and frees down to this share of it, percent, so that it
/// does not run at every compile.
pub const GC_TO_PERCENT: u64 = 90;
/// An admin's node renews its freshness mark when the last is older, seconds (a day).
pub const MARK_EVERY: u64 = 24 * 60 * 60;
/// Outcomes of recent compiles that are kept for people to look at.
pub const RECENT_MAX: usize = 2_000;

/// How long `why` looks for a crate's entries at teammates, all of them together.
pub const ELSEWHERE_WITHIN: Duration = Duration::from_secs(5);
/// Teammates that `why` asks, at most.
pub const ELSEWHERE_PEERS: usize = 8;

/// How long fetching `bytes` may take.
#[must_use]
pub fn fetch_within(bytes: u64) -> Duration {
    let at_least_rate = Duration::from_millis(bytes.saturating_mul(1000) / FETCH_RATE_LEAST);
    (FETCH_LEAST + at_least_rate).min(FETCH_MOST)
}

/// Where gc should stop, if it is due.
#[must_use]
pub fn gc_target(stored: u64, limit: u64) -> Option<u64> {
    (stored > limit).then(|| limit / 100 * GC_TO_PERCENT)
}

/// Whether an admin's mark is to be renewed.
#[must_use]
pub const fn mark_due(last: u64, now: u64) -> bool {
    now.saturating_sub(last) >= MARK_EVERY
}

/// Whom one lookup asks.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Whether more than one may be needed, so that [`ASK_PEERS_MOST`] are asked.
    pub far: bool,
    /// Who is asked before all others: whose own entries are looked for.
    pub first: Vec<PeerId>,
}

impl Reach {
    /// The peers to ask, in order, of candidates as the index ranks them.
    #[must_use]
    pub fn order(&self, candidates: Vec<PeerId>) -> Vec<PeerId> {
        let (mut first, others): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(|peer| self.first.contains(peer));
        first.extend(others);
        first.truncate(if self.far { ASK_PEERS_MOST } else { ASK_PEERS });
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_object_gets_longer_but_never_longer_than_the_wrapper_waits() {
        assert_eq!(fetch_within(0), FETCH_LEAST);
        assert!(fetch_within(10 << 20) > FETCH_LEAST);
        assert_eq!(fetch_within(u64::MAX), FETCH_MOST);
        assert!(FETCH_MOST + ASK_ALL_WITHIN < quarry_wrapper::ipc::client::ANSWER_WITHIN);
    }

    #[test]
    fn who_is_looked_for_is_asked_first_and_more_are_asked_where_several_must_agree() {
        let peers: Vec<PeerId> = (0..20).map(|n| PeerId([n; 32])).collect();
        let near = Reach::default().order(peers.clone());
        assert_eq!(near, peers[..ASK_PEERS]);
        let far = Reach {
            far: true,
            first: vec![peers[15]],
        };
        let asked = far.order(peers.clone());
        assert_eq!(asked.len(), ASK_PEERS_MOST);
        assert_eq!(asked[..2], [peers[15], peers[0]]);
    }

    #[test]
    fn gc_waits_for_the_limit_and_then_makes_room() {
        assert_eq!(gc_target(100, 100), None);
        assert_eq!(gc_target(101, 100), Some(90));
        assert_eq!(gc_target(1, 0), Some(0));
    }

    #[test]
    fn a_mark_is_renewed_daily() {
        assert!(!mark_due(1_000, 1_000 + MARK_EVERY - 1));
        assert!(mark_due(1_000, 1_000 + MARK_EVERY));
        assert!(
            !mark_due(2_000, 1_000),
            "a clock that went back renews nothing"
        );
    }
}
