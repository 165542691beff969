//! Of compiles that are alike one runs, and the others wait for what it leaves.
//!
//! Enters: lookup keys of what is about to be compiled. Leaves: the word to compile, or, once the
//! other has ended, to look again. Must never happen here: a wait for what was given up, is
//! stopped, or takes longer than anybody would wait; two that wait for each other (who waits has
//! nothing that a compile needs).

use super::Caller;
use quarry_trust::LookupKey;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long one waits for another's compile: longer than all but the longest take.
const WAIT_MOST: Duration = Duration::from_secs(300);
/// How often one looks whether there is still something to wait for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Default)]
struct Inner {
    running: HashMap<LookupKey, Option<i32>>,
    /// How many have ended.
    ended: u64,
}

/// What is being compiled now.
#[derive(Clone, Default)]
pub(super) struct Alike(Arc<(Mutex<Inner>, Condvar)>);

/// A compile that others wait for, until this is dropped.
pub(super) struct Running {
    of: Alike,
    key: LookupKey,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut inner = self.of.lock();
        inner.running.remove(&self.key);
        inner.ended += 1;
        drop(inner);
        self.of.0.1.notify_all();
    }
}

impl Alike {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A mark of what has ended so far: taken before one looks.
    pub(super) fn mark(&self) -> u64 {
        self.lock().ended
    }

    /// Called where nothing was found, by a caller that looked after it took `mark`. Waits while
    /// the same is compiled for another; then, or where something ended meanwhile, `look` is
    /// called once more, and what it finds given out. Else it is ours to compile; without a
    /// [`Running`] where another has begun it since.
    pub(super) fn compile<H>(
        &self,
        key: LookupKey,
        mark: u64,
        caller: &Caller<'_>,
        look: impl FnOnce() -> Option<H>,
    ) -> Result<H, Option<Running>> {
        let mut running = self.begin(key, caller.pid);
        if running.is_none() {
            (caller.queued)(true);
            self.wait(&key, caller);
            (caller.queued)(false);
        }
        let ended = self.mark() != mark;
        if ended && let Some(hit) = look() {
            return Ok(hit);
        }
        if running.is_none() {
            running = self.begin(key, caller.pid);
        }
        Err(running)
    }

    fn begin(&self, key: LookupKey, pid: Option<i32>) -> Option<Running> {
        match self.lock().running.entry(key) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => {
                place.insert(pid);
                let of = self.clone();
                Some(Running { of, key })
            }
        }
    }

    fn wait(&self, key: &LookupKey, caller: &Caller<'_>) {
        let until = Instant::now() + WAIT_MOST;
        let mut inner = self.lock();
        while let Some(pid) = inner.running.get(key).copied() {
            drop(inner);
            if Instant::now() >= until || pid.is_some_and(is_stopped) || !(caller.waits)() {
                return;
            }
            inner = self.lock();
            if inner.running.contains_key(key) {
                let waited = self.0.1.wait_timeout(inner, LOOK_EVERY);
                inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

/// Whether a process was stopped, as by Ctrl-Z: `T` or `t` in proc_pid_stat(5).
fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind = stat.iter().rposition(|b| *b == b')').unwrap_or(0);
    matches!(stat.get(behind + 2), Some(b'T' | b't'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_trust::Digest;

    fn key() -> LookupKey {
        LookupKey::from_digest(Digest::of(b"key"))
    }

    fn compile(alike: &Alike, mark: u64, look: Option<u8>) -> Result<u8, Option<Running>> {
        let caller = Caller {
            umask: 0o022,
            waits: &|| true,
            queued: &|_| {},
            wrapper: None,
            pid: None,
            above: None,
            no_stdin: false,
            ask: &|_| None,
        };
        alike.compile(key(), mark, &caller, || look)
    }

    #[test]
    fn who_comes_second_waits_and_looks_again() {
        let alike = Alike::default();
        let first = compile(&alike, alike.mark(), None).unwrap_err().unwrap();
        let mark = alike.mark();
        let found = std::thread::scope(|scope| {
            let second = scope.spawn(|| compile(&alike, mark, Some(7)));
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap()
        });
        assert_eq!(found.ok(), Some(7));
    }

    #[test]
    fn who_looked_before_the_first_ended_looks_again_and_nobody_else() {
        let alike = Alike::default();
        let mark = alike.mark();
        drop(compile(&alike, mark, None));
        assert_eq!(compile(&alike, mark, Some(7)).ok(), Some(7));
        let now = alike.mark();
        assert!(
            compile(&alike, now, Some(7)).is_err(),
            "nothing has ended since"
        );
    }

    #[test]
    fn nobody_waits_for_who_is_stopped_or_for_a_caller_that_is_gone() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let signal = |name: &str| {
            let sent = std::process::Command::new("kill")
                .arg(name)
                .arg(pid.to_string())
                .status();
            assert!(sent.unwrap().success());
        };
        signal("-STOP");
        let deadline = Instant::now() + Duration::from_secs(10);
        while cfg!(target_os = "linux") && !is_stopped(pid) {
            assert!(Instant::now() < deadline, "it never stops");
            std::thread::yield_now();
        }
        let alike = Alike::default();
        let _first = alike.begin(key(), Some(pid)).unwrap();
        let began = Instant::now();
        if cfg!(target_os = "linux") {
            assert!(compile(&alike, alike.mark(), None).is_err());
        }
        let gone = Caller {
            umask: 0o022,
            waits: &|| false,
            queued: &|_| {},
            wrapper: None,
            pid: None,
            above: None,
            no_stdin: false,
            ask: &|_| None,
        };
        assert!(alike.compile(key(), 0, &gone, || None::<u8>).is_err());
        assert!(began.elapsed() < WAIT_MOST / 4);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
