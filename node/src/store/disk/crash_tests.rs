//! Crash stories: a child process works in a store and is killed with SIGKILL, at a moment that
//! it does not choose; then this process opens what it left.
//!
//! The child is this test binary again, told by the environment what to do. Must never happen
//! here: a crash that is only simulated.

use super::super::fixtures::{Compile, stage};
use super::super::report::Fault;
use super::super::{COMMIT_EVERY, Opened, Store};
use super::RedbStore;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "QUARRY_TEST_CRASH_ROLE";
const DIR: &str = "QUARRY_TEST_CRASH_DIR";
const FROM: &str = "QUARRY_TEST_CRASH_FROM";
/// Compiles that the child stores between two flushes.
const ROUND: u64 = 20;

/// A child that is killed when the story ends, whatever happens.
struct Doomed(Child);

impl Doomed {
    fn spawn(role: &str, dir: &Path, from: u64) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("store::disk::crash_tests::the_child")
            .env(ROLE, role)
            .env(DIR, dir)
            .env(FROM, from.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Reads what the child says until `enough`; answers with the last number it said.
    fn listen(&mut self, enough: impl Fn(u64) -> bool) -> u64 {
        for line in BufReader::new(self.0.stdout.as_mut().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(said) = line.strip_prefix("durable ") {
                let said = said.parse().unwrap();
                if enough(said) {
                    return said;
                }
            }
        }
        panic!("the child ended by itself");
    }

    fn kill(mut self) {
        // SIGKILL: `Child::kill`'s signal on Unix.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Small and large outputs in turn.
fn compile(number: u64) -> Compile {
    Compile::new(
        number,
        if number.is_multiple_of(3) {
            150_000
        } else {
            3000
        },
    )
}

#[test]
fn the_child() {
    // The child of the crash stories: they start it by name, with a role, and kill it.
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let dir = std::env::var(DIR).unwrap();
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let (store, _) = RedbStore::open(Path::new(&dir)).unwrap();
    match role.as_str() {
        "stores and flushes" => {
            for number in from.. {
                compile(number).store(&store).unwrap();
                if (number + 1).is_multiple_of(ROUND) {
                    store.flush().unwrap();
                    println!("durable {}", number + 1);
                }
            }
        }
        "waits for the commit" => {
            let before = store.inner.engine.commits();
            compile(0).store(&store).unwrap();
            let deadline = Instant::now() + 50 * COMMIT_EVERY;
            while store.inner.engine.commits() == before {
                assert!(Instant::now() < deadline, "nothing was committed");
                std::thread::yield_now();
            }
            println!("durable 1");
            std::thread::park();
        }
        "collects" => {
            for number in from.. {
                compile(number).store(&store).unwrap();
                if (number + 1).is_multiple_of(ROUND) {
                    store.gc(1_000_000).unwrap();
                    println!("durable {}", number + 1);
                }
            }
        }
        "dies in a stage" => {
            let mut stage = store.stage(1 << 20).unwrap();
            std::io::Write::write_all(&mut stage, &[7; 300_000]).unwrap();
            println!("durable 1");
            std::thread::park();
        }
        other => panic!("no such role: {other}"),
    }
}

/// Every entry that can be seen is whole; nothing is wrong but files that nobody names yet.
fn assert_nothing_is_half_written(store: &RedbStore) {
    let report = store.fsck(false).unwrap();
    for fault in &report.faults {
        assert!(matches!(fault, Fault::StrayFile(_)), "{fault:?}");
    }
}

#[test]
fn everything_flushed_survives_sigkill_and_nothing_half_written_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let mut durable = 0;
    // Killed at once after a flush, and some way into the next rounds, over and over in the
    // same store.
    for rounds in [1, 2, 4, 3, 5] {
        let mut child = Doomed::spawn("stores and flushes", dir.path(), durable);
        let start = durable;
        durable = child.listen(|said| said >= start + rounds * ROUND);
        child.kill();
        let (store, opened) = RedbStore::open(dir.path()).unwrap();
        assert_eq!(opened, Opened::Reopened);
        for number in 0..durable {
            assert!(
                compile(number).restores(&store),
                "compile {number} of {durable}"
            );
        }
        assert_nothing_is_half_written(&store);
    }
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    store.gc(u64::MAX).unwrap();
    assert!(
        store.fsck(false).unwrap().is_sound(),
        "gc takes what a crash left"
    );
}

#[test]
fn what_is_put_becomes_durable_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Doomed::spawn("waits for the commit", dir.path(), 0);
    child.listen(|said| said == 1);
    child.kill();
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    assert!(compile(0).restores(&store));
}

#[test]
fn a_crash_during_gc_leaves_no_entry_without_its_objects() {
    let dir = tempfile::tempdir().unwrap();
    let mut from = 0;
    for rounds in [2, 3, 1] {
        let mut child = Doomed::spawn("collects", dir.path(), from);
        let start = from;
        from = child.listen(|said| said >= start + rounds * ROUND);
        child.kill();
        let (store, _) = RedbStore::open(dir.path()).unwrap();
        assert_nothing_is_half_written(&store);
    }
}

#[test]
fn a_stage_cut_by_a_crash_is_cleared_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Doomed::spawn("dies in a stage", dir.path(), 0);
    child.listen(|said| said == 1);
    child.kill();
    let left = |dir: &Path| std::fs::read_dir(dir.join("tmp")).unwrap().count();
    assert_eq!(left(dir.path()), 1);
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    assert_eq!(left(dir.path()), 0);
    assert!(store.fsck(false).unwrap().is_sound());
}

#[test]
fn a_store_of_two_thousand_entries_opens_at_once_after_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (store, _) = RedbStore::open(dir.path()).unwrap();
        for number in 0..2000 {
            compile(number).store(&store).unwrap();
        }
    }
    let mut child = Doomed::spawn("stores and flushes", dir.path(), 2000);
    child.listen(|said| said >= 2000 + ROUND);
    child.kill();
    let start = Instant::now();
    let (store, opened) = RedbStore::open(dir.path()).unwrap();
    let took = start.elapsed();
    println!(
        "reopened after SIGKILL in {took:?}: {:?}",
        store.counts().unwrap()
    );
    assert_eq!(opened, Opened::Reopened);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(store.counts().unwrap().entries >= 2000 + ROUND);
}

#[test]
fn small_puts_of_many_threads_share_their_commits() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..250 {
                    Compile::new(1000 * thread + number, 3000)
                        .store(store)
                        .unwrap();
                }
            });
        }
    });
    let took = start.elapsed();
    let commits = store.inner.engine.commits();
    println!("1000 entries, 2000 objects in {took:?} with {commits} commits");
    let most = took.as_millis() / COMMIT_EVERY.as_millis() + 2;
    assert!(u128::from(commits) <= most, "{commits} commits in {took:?}");
    drop(stage(&store, b"x").unwrap());
    store.flush().unwrap();
    let idle = store.inner.engine.commits();
    store.flush().unwrap();
    assert_eq!(
        store.inner.engine.commits(),
        idle,
        "nothing new costs no fsync"
    );
}
