//! The lock by which a home has one node.
//!
//! Enters: a home. Leaves: its lock, held for as long as the file is open, with our process id in
//! it. Must never happen here: a second node beside one that lives; a node that is turned away by
//! one that was killed and has not let go yet.

use quarry_wrapper::home::Home;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::time::{Duration, Instant};

/// A node that was killed holds its lock until its last thread has come back from the disk.
const DYING: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(5);

/// Why there is no lock.
#[derive(Debug)]
pub(crate) enum Taken {
    /// A node has it: its process id, or `unknown`.
    By(String),
    /// It could not be taken.
    Not(io::Error),
}

impl From<io::Error> for Taken {
    fn from(error: io::Error) -> Self {
        Self::Not(error)
    }
}

/// Takes the home's lock for life and writes our process id into it.
pub(crate) fn lock(home: &Home) -> Result<File, Taken> {
    let path = home.node_lock();
    let mut lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)?;
    let until = Instant::now() + DYING;
    while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let pid = std::fs::read_to_string(&path).unwrap_or_default();
        if Instant::now() > until || !is_dying(pid.trim()) {
            let known = !pid.trim().is_empty();
            let pid = if known { pid.trim() } else { "unknown" };
            return Err(Taken::By(pid.to_owned()));
        }
        std::thread::sleep(POLL);
    }
    lock.set_len(0)?;
    lock.rewind()?;
    write!(lock, "{}", std::process::id())?;
    Ok(lock)
}

/// Whether a process has ended but for some of its threads, as far as the system tells.
fn is_dying(pid: &str) -> bool {
    let Some(stat) = pid
        .parse::<u32>()
        .ok()
        .and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok())
    else {
        return false;
    };
    // The name in parentheses may hold anything.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home")).unwrap();
        home.create().unwrap();
        (dir, home)
    }

    /// Holds the lock as this process would.
    fn held(home: &Home, pid: u32) -> File {
        let mut file = File::create(home.node_lock()).unwrap();
        write!(file, "{pid}").unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        file
    }

    #[test]
    fn a_node_that_lives_is_named_at_once() {
        let (_dir, home) = home();
        let _held = held(&home, std::process::id());
        let began = Instant::now();
        let Err(Taken::By(pid)) = lock(&home) else {
            panic!("two nodes")
        };
        assert_eq!(pid, std::process::id().to_string());
        assert!(began.elapsed() < DYING / 2);
    }

    #[test]
    fn one_that_was_killed_is_waited_for() {
        let (_dir, home) = home();
        // Not waited for by its parent, it stays as it ended.
        let mut ended = Command::new("true").spawn().unwrap();
        while !is_dying(&ended.id().to_string()) {
            std::thread::yield_now();
        }
        let held = held(&home, ended.id());
        std::thread::scope(|scope| {
            let next = scope.spawn(|| lock(&home).is_ok());
            std::thread::sleep(Duration::from_millis(50));
            assert!(!next.is_finished());
            drop(held);
            assert!(next.join().unwrap());
        });
        let told = std::fs::read_to_string(home.node_lock()).unwrap();
        assert_eq!(told, std::process::id().to_string());
        ended.wait().unwrap();
    }
}
