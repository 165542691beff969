//! Whether this node has heard the newest roster since it started.
//!
//! A node that was away does not know who was revoked meanwhile. So the first lookup that would
//! believe a teammate's entry waits until some member has given us its roster, or until a dial
//! and an exchange have had their time. A node that meets nobody cannot know: it goes on, and its
//! roster's freshness mark bounds for how long. Enters: that a roster was merged. Leaves: that one
//! need wait no longer. Must never happen here: a second wait, a wait without a deadline.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the first lookups wait for a teammate's roster: a dial has five seconds, and the
/// wrapper waits thirty for the whole answer. Only who meets nobody waits so long, and once.
pub const HEAR_WITHIN: Duration = Duration::from_secs(6);

/// See the module.
pub struct Hearing {
    until: Instant,
    over: Mutex<bool>,
    news: Condvar,
}

impl Hearing {
    /// The wait of a node that starts now; without teammates there is nobody to wait for.
    #[must_use]
    pub fn new(has_mates: bool) -> Self {
        Self::within(has_mates, HEAR_WITHIN)
    }

    fn within(has_mates: bool, within: Duration) -> Self {
        Self {
            until: Instant::now() + within,
            over: Mutex::new(!has_mates),
            news: Condvar::new(),
        }
    }

    /// A member's roster was merged.
    pub fn heard(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.news.notify_all();
    }

    /// Whether nobody need wait.
    #[must_use]
    pub fn is_over(&self) -> bool {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once a roster was heard, or the time for it is over. Blocks, [`HEAR_WITHIN`] after
    /// the start at the latest.
    pub fn wait(&self) {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.until.saturating_duration_since(Instant::now());
        let (mut over, waited) = self
            .news
            .wait_timeout_while(over, left, |over| !*over)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() && !*over {
            tracing::info!("no teammate was met since the start: the roster known here counts");
            *over = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_waits_for_nobody() {
        assert!(Hearing::new(false).is_over());
    }

    #[test]
    fn the_wait_ends_with_the_first_roster_and_for_good() {
        let hearing = Hearing::within(true, Duration::from_secs(3600));
        assert!(!hearing.is_over());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| hearing.wait());
            hearing.heard();
            waiting.join().unwrap();
        });
        assert!(hearing.is_over());
    }

    #[test]
    fn who_meets_nobody_goes_on_after_the_time_for_it() {
        let hearing = Hearing::within(true, Duration::ZERO);
        hearing.wait();
        assert!(hearing.is_over(), "and nobody waits again");
    }
}
