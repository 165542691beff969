//! Compiles a second time in the background, and compares the bytes: a share of hits, to find
//! what is wrong; and what only the package's directory keeps from being shared, to show that the
//! directory does not matter.
//!
//! Enters: hits and new entries, as they happen. Leaves: an alarm that names crate, output and
//! builder where a hit's bytes differ; that entry is set aside and not used again. Where all of a
//! teammate's hit is the same here, our own word for it, so that members come to agree. Or a second
//! entry for everyone. One compile at a time; what comes while too many wait is left out. Must
//! never happen here: a build that waits.

use super::attempts::Attempts;
use super::believing::Believing;
use super::cache::NodeCache;
use crate::service::counters::Counters;
use crate::team::Team;
use quarry_trust::{Entry, Scope, Verified};
use quarry_wrapper::invocation::Invocation;
use quarry_wrapper::pipeline::Pipeline;
use quarry_wrapper::pipeline::loosen::{self, Loosened};
use quarry_wrapper::pipeline::recheck::Rechecked;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Entries that wait to be compiled again, at most.
const QUEUE: usize = 64;
/// How long somebody who asks waits for what is to be shared.
const WAIT: Duration = Duration::from_secs(5 * 60);
/// How long one compile may take.
const WITHIN: Duration = Duration::from_secs(15 * 60);
/// The whole, of which a share is taken.
pub const WHOLE: u64 = 10_000;

/// Why something is compiled a second time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To find what is wrong.
    Recheck,
    /// For those for whom the first compile was, whether or not its entry is shared.
    Loosen(Scope),
}

/// An entry to look at.
pub struct Second {
    /// Why.
    pub purpose: Purpose,
    /// The command that leads to it.
    pub inv: Arc<Invocation>,
    /// What is compared.
    pub entry: Verified<Entry>,
    /// Under which it was found or stored.
    pub prediction: Vec<u8>,
}

/// The queue to the rechecking thread, which ends when this is dropped.
pub struct Rechecker {
    queue: SyncSender<Second>,
    attempts: Arc<Attempts>,
    /// Share of hits that are rechecked, in parts of [`WHOLE`].
    share: u64,
    /// What the hits so far add up to, in parts of [`WHOLE`].
    sum: AtomicU64,
}

/// What the thread works with.
pub struct Parts {
    /// Compiles again.
    pub pipeline: Arc<Pipeline>,
    /// Where entries are set aside.
    pub cache: Arc<NodeCache>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Who builders are.
    pub team: Arc<Team>,
    /// A private directory of ours to compile in.
    pub scratch: PathBuf,
}

impl Rechecker {
    /// Starts the thread. `share` is in parts of [`WHOLE`].
    #[must_use]
    pub fn start(parts: Parts, share: u64) -> Self {
        let (queue, seconds) = sync_channel(QUEUE);
        let attempts = Arc::new(Attempts::default());
        let noted = attempts.clone();
        std::thread::spawn(move || work(&parts, &seconds, &noted));
        Self {
            queue,
            attempts,
            share,
            sum: AtomicU64::new(0),
        }
    }

    /// A hit happened: it is rechecked where its turn has come. What the caller's environment
    /// says (`QUARRY_VERIFY`) goes before the setting. What could not be shared, as something it
    /// needs was gone, is tried once more.
    pub fn hit(
        &self,
        inv: &Arc<Invocation>,
        entry: &Verified<Entry>,
        prediction: &[u8],
        scope: Scope,
    ) {
        if let Some(second) = self.attempts.served(entry, inv, scope) {
            self.take(second);
        }
        let asked = inv.var("QUARRY_VERIFY").and_then(|v| v.to_str());
        let share = asked.map_or(Ok(self.share), parse_share);
        if !self.is_due(share.unwrap_or(self.share)) {
            return;
        }
        self.take(Second {
            purpose: Purpose::Recheck,
            inv: inv.clone(),
            entry: entry.clone(),
            prediction: prediction.to_owned(),
        });
    }

    /// An entry was stored: where only its directories' names bind it to its checkout, it is
    /// compiled again under others.
    pub fn stored(
        &self,
        inv: &Arc<Invocation>,
        entry: &Verified<Entry>,
        scope: Scope,
        prediction: Vec<u8>,
    ) {
        if loosen::is_bound(&prediction) {
            let second = Second {
                purpose: Purpose::Loosen(scope),
                inv: inv.clone(),
                entry: entry.clone(),
                prediction,
            };
            self.attempts.begins(&second);
            self.take(second);
        }
    }

    fn take(&self, second: Second) {
        if let Err(TrySendError::Full(second) | TrySendError::Disconnected(second)) =
            self.queue.try_send(second)
        {
            tracing::debug!("not compiled a second time: too many wait");
            if second.purpose != Purpose::Recheck {
                self.attempts.put_off(second);
            }
        }
    }

    /// Returns when nothing waits to be shared, or after [`WAIT`]. Blocks.
    pub fn wait_loosened(&self) {
        self.attempts.wait(WAIT);
    }

    /// Whether this hit's turn has come: spread evenly, every hit where the share is the whole.
    fn is_due(&self, share: u64) -> bool {
        let before = self.sum.fetch_add(share, Ordering::Relaxed);
        before / WHOLE != (before + share) / WHOLE
    }
}

/// Reads a share: `5%`, `0.5%`, or a number of percent without the sign.
///
/// # Errors
/// What is right instead.
pub fn parse_share(text: &str) -> Result<u64, String> {
    let usage = || format!("{text:?} is no share of hits: write it as in 5%, 0.5%, 100%");
    let number = text.trim().trim_end_matches('%').trim_end();
    let percent: f64 = number.parse().map_err(|_| usage())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(usage());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 10,000"
    )]
    let parts = (percent * 100.0).round() as u64;
    Ok(parts)
}

fn work(parts: &Parts, queue: &Receiver<Second>, attempts: &Attempts) {
    for second in queue {
        let mut next = Some(second);
        while let Some(second) = next.take() {
            if second.purpose != Purpose::Recheck {
                attempts.works(&second);
            }
            let found = match Scratch::new(&parts.scratch) {
                Ok(scratch) => compile(parts, &second, &scratch.0),
                Err(error) => {
                    let at = parts.scratch.display();
                    tracing::warn!(%error, "nothing is compiled a second time: {at} cannot be written");
                    None
                }
            };
            if second.purpose != Purpose::Recheck {
                let disturbed = matches!(found, Some(Loosened::Disturbed(_)));
                next = attempts.ended(second, disturbed);
            }
        }
    }
}

/// What was found of an entry that is to be shared; of others it is told.
fn compile(parts: &Parts, second: &Second, scratch: &Path) -> Option<Loosened> {
    let Second { inv, entry, .. } = second;
    let prediction = second.prediction.as_slice();
    let pipeline = &parts.pipeline;
    let scope = match second.purpose {
        Purpose::Recheck => parts.team.again(entry),
        Purpose::Loosen(scope) => scope,
    };
    let cache = &Believing::storing(parts.cache.clone(), scope);
    match second.purpose {
        Purpose::Recheck => {
            // What is ours already needs no second word of ours.
            let sign = entry.builder != parts.team.builder();
            let stored = (&**entry, prediction, sign);
            let found = pipeline.recheck(inv, stored, scratch, WITHIN, cache);
            told(parts, entry, &found);
            None
        }
        Purpose::Loosen(_) => {
            let stored = (&**entry, prediction);
            let found = pipeline.loosen(inv, stored, scratch, WITHIN, cache);
            tracing::info!(
                crate_name = entry.crate_name,
                ?found,
                "compiled with its directories under other names"
            );
            Some(found)
        }
    }
}

fn told(parts: &Parts, entry: &Verified<Entry>, found: &Rechecked) {
    let crate_name = &entry.crate_name;
    match found {
        Rechecked::Same => parts.counters.rechecked(None),
        Rechecked::Agreed => parts.counters.agreed(),
        Rechecked::Unknown(why) => tracing::debug!(crate_name, why, "a recheck shows nothing"),
        Rechecked::Differs(output) => {
            let builder = match parts.team.builder_name(&entry.builder) {
                Some(name) => format!("{name} ({})", entry.builder),
                None => entry.builder.to_string(),
            };
            let alarm = format!(
                "compiling {crate_name} again gave another {output} than the entry {} that \
                 {builder} signed: the entry is set aside. Either the compile is not \
                 deterministic, or the entry is wrong: `qnode purge --builder` removes all that \
                 this builder signed",
                entry.action
            );
            tracing::error!("{alarm}");
            parts.counters.rechecked(Some(alarm));
            parts.cache.set_aside(entry);
        }
    }
}

/// An empty directory, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(at: &Path) -> io::Result<Self> {
        match fs::remove_dir_all(at) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs::DirBuilder::new().mode(0o700).create(at)?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_share(share: u64) -> Rechecker {
        Rechecker {
            queue: sync_channel(1).0,
            attempts: Arc::default(),
            share,
            sum: AtomicU64::new(0),
        }
    }

    #[test]
    fn a_share_of_hits_is_taken_evenly() {
        for (share, taken) in [(0, 0), (WHOLE / 20, 5), (WHOLE / 2, 50), (WHOLE, 100)] {
            let rechecker = with_share(share);
            let due = (0..100).filter(|_| rechecker.is_due(share)).count();
            assert_eq!(due, taken, "of a hundred at {share}");
        }
    }

    #[test]
    fn shares_are_read_as_people_write_them() {
        for (text, parts) in [
            ("0", 0),
            ("5%", 500),
            ("0.5 %", 50),
            ("100%", WHOLE),
            (" 7 ", 700),
        ] {
            assert_eq!(parse_share(text), Ok(parts), "{text}");
        }
        for text in ["", "%", "-1%", "101%", "much", "NaN", "inf%"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }
}
