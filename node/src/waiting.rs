//! Callers that wait for an answer: told every second that the node is at it.
//!
//! Enters: a caller's line, for as long as it waits. Leaves: frames on it. One task tells all of
//! them, so that a wait costs nothing while it is short. Must never happen here: a wait for who
//! does not read, a frame in the middle of an answer.

use quarry_wrapper::child::{Child, Said};
use quarry_wrapper::ipc::frame;
use quarry_wrapper::ipc::protocol::{FromNode, ToNode, WORKING_EVERY};
use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a caller may take that is asked to run a program, which has
/// [`quarry_wrapper::child::ASKED_WITHIN`].
const ASKED_MOST: Duration = Duration::from_secs(60);
/// Bytes of such a question: a socket's buffer holds several.
const ASK_MAX: usize = 64 * 1024;

/// One that waits.
struct Caller {
    since: Instant,
    line: OwnedFd,
    /// Whether it waits for somebody else's compile, or for its turn.
    queued: Arc<AtomicBool>,
}

/// All that wait.
#[derive(Default)]
pub struct Waiting {
    callers: Mutex<HashMap<u64, Caller>>,
    count: AtomicU64,
}

/// A caller's place among those that wait; given up before it is answered.
pub struct Place<'a> {
    waiting: &'a Waiting,
    id: u64,
    queued: Arc<AtomicBool>,
    /// Whether it has not answered once.
    mute: AtomicBool,
}

impl Waiting {
    /// Tells this caller until its place is given up.
    pub fn begin(&self, line: OwnedFd) -> Place<'_> {
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        let queued = Arc::<AtomicBool>::default();
        let caller = Caller {
            since: Instant::now(),
            line,
            queued: queued.clone(),
        };
        self.lock().insert(id, caller);
        Place {
            waiting: self,
            id,
            queued,
            mute: AtomicBool::new(false),
        }
    }

    /// Tells everybody, again and again.
    pub async fn tell(&self) {
        let (Ok(working), Ok(queued)) = (
            frame::encode(&FromNode::Working),
            frame::encode(&FromNode::Queued),
        ) else {
            return;
        };
        let mut tick = tokio::time::interval(WORKING_EVERY);
        loop {
            tick.tick().await;
            for caller in self.lock().values() {
                let frame = match caller.queued.load(Ordering::Relaxed) {
                    true => &queued,
                    false => &working,
                };
                if caller.since.elapsed() >= WORKING_EVERY / 2 {
                    send(&caller.line, frame);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Caller>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a caller answers.
struct Answers {
    line: OwnedFd,
    until: Instant,
}

impl Read for Answers {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::net::{RecvFlags, recv};
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut fds = [PollFd::new(&self.line, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            match recv(&self.line, &mut *to, RecvFlags::DONTWAIT) {
                Ok((got, _)) => return Ok(got),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Without a wait: who has not read the frames before is in no need of one more. Where the caller
/// is gone, what is under way notices by itself.
fn send(line: &OwnedFd, frame: &[u8]) -> Option<usize> {
    use rustix::net::{SendFlags, send};
    send(line, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).ok()
}

impl Place<'_> {
    /// From now on it waits for another compile, or for its turn; or no more.
    pub fn queue(&self, queued: bool) {
        self.queued.store(queued, Ordering::Relaxed);
    }

    /// Has it run a program, and gives what that said; `None` where that cannot be
    /// had. Blocks while the program runs, [`ASKED_MOST`] at the most.
    pub fn ask(&self, child: &Child) -> Option<Said> {
        let frame = frame::encode(&FromNode::Ask(Box::new(child.clone()))).ok()?;
        if frame.len() > ASK_MAX || self.mute.load(Ordering::Relaxed) {
            return None;
        }
        let mut answers = {
            // Nobody else's frame comes in between, and all of this one fits into the socket.
            let callers = self.waiting.lock();
            let caller = callers.get(&self.id)?;
            let line = caller.line.try_clone().ok()?;
            match send(&line, &frame) {
                Some(sent) if sent == frame.len() => {}
                None => return None,
                Some(_) => {
                    // Half a question: nothing else can be said on this line.
                    let _ = rustix::net::shutdown(&line, rustix::net::Shutdown::Both);
                    return None;
                }
            }
            Answers {
                line,
                until: Instant::now() + ASKED_MOST,
            }
        };
        match frame::read(&mut answers) {
            Ok(ToNode::Said(said)) => said,
            _ => {
                // What it might say later would be taken for the answer to something else.
                self.mute.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[tokio::test]
    async fn who_waits_is_told_what_for_and_who_was_answered_is_told_no_more() {
        let waiting = Waiting::default();
        let (near, mut far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let mut heard = || frame::read::<FromNode>(&mut far).ok();
        let place = waiting.begin(near.into());
        waiting
            .lock()
            .values_mut()
            .for_each(|c| c.since -= WORKING_EVERY);
        let one = || tokio::time::timeout(WORKING_EVERY / 20, waiting.tell());
        assert!(one().await.is_err());
        assert_eq!(heard(), Some(FromNode::Working));
        place.queue(true);
        assert!(one().await.is_err());
        assert_eq!(heard(), Some(FromNode::Queued));
        drop(place);
        assert!(one().await.is_err());
        assert_eq!(heard(), None);
    }
}
