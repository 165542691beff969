//! How often the log says what others did wrong: clearly at first, then only now and then.
//!
//! Enters: the moments of refusals. Leaves: whether each is worth a line. Everything is counted
//! elsewhere, whatever is said. Must never happen here: a log that grows as fast as a stranger
//! can connect, or a member can lie: it would fill the disk.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines in one window: enough to see every party of a small team misbehave.
const LINES: u32 = 30;
/// The window. At two hundred bytes a line, a year of this is 3 GB at the very worst.
const WINDOW: Duration = Duration::from_secs(60);

/// What is to be done about one refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// A line.
    Line,
    /// A line, and that further ones are left out for a while.
    Last,
    /// Nothing.
    Nothing,
}

/// The pace of one kind of line.
#[derive(Debug, Default)]
pub struct Voice(Mutex<Option<(Instant, u32)>>);

impl Voice {
    /// Whether something that happened now is worth a line.
    pub fn say(&self, now: Instant) -> Say {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, said) = window
            .filter(|(since, _)| now.saturating_duration_since(*since) < WINDOW)
            .unwrap_or((now, 0));
        *window = Some((since, said.saturating_add(1)));
        match said.saturating_add(1) {
            n if n < LINES => Say::Line,
            LINES => Say::Last,
            _ => Say::Nothing,
        }
    }

    /// Says a line, or not.
    pub fn warn(&self, line: impl FnOnce() -> String) {
        match self.say(Instant::now()) {
            Say::Line => tracing::warn!("{}", line()),
            Say::Last => tracing::warn!(
                "{}; more of this kind is only counted for up to {} s (`qnode stats`)",
                line(),
                WINDOW.as_secs()
            ),
            Say::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_a_few_lines_and_the_next_minute_is_heard_again() {
        let (voice, began) = (Voice::default(), Instant::now());
        let all: Vec<Say> = (0..1000).map(|_| voice.say(began)).collect();
        let lines = all.iter().filter(|s| **s != Say::Nothing).count();
        assert_eq!(lines, LINES as usize);
        assert_eq!(all.iter().filter(|s| **s == Say::Last).count(), 1);
        assert_eq!(voice.say(began + WINDOW), Say::Line);
    }
}
