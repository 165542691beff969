//! What a program says, heard to its end and handed on as it comes.
//!
//! Enters: a program that was just started. Leaves: how it ended, and all that it said, where that
//! was all. Must never happen here: a program that outlives the deadline, a reader that has gone
//! away and is not missed.

use crate::ipc::protocol::Ended;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::Instant;

/// Bytes of each stream that are kept; who says more is not asked again.
const SAID_MAX: usize = 1 << 20;
const CHUNK: usize = 64 * 1024;

/// How it went.
pub(super) struct Heard<'t> {
    pub status: ExitStatus,
    pub ended: Ended,
    /// Both streams; `None` where not all of them was heard.
    pub said: Option<[Vec<u8>; 2]>,
    /// Streams that somebody else holds still.
    pub open: Vec<Stream<'t>>,
}

/// One stream, and where it is handed on to.
pub(super) struct Stream<'t> {
    from: Option<OwnedFd>,
    to: Option<BorrowedFd<'t>>,
    kept: Vec<u8>,
    whole: bool,
}

impl Stream<'_> {
    /// Hands on what can be read. A reader that has gone away shows as it would to the program:
    /// nobody reads there any more.
    fn pump(&mut self, buffer: &mut [u8]) {
        let Some(from) = &self.from else { return };
        let read = match rustix::io::read(from, &mut *buffer) {
            Err(rustix::io::Errno::INTR) => return,
            Ok(read) => read,
            Err(_) => {
                self.whole = false;
                0
            }
        };
        let bytes = &buffer[..read];
        if self.kept.len() + read > SAID_MAX {
            self.whole = false;
        } else {
            self.kept.extend_from_slice(bytes);
        }
        let gone = self.to.is_some_and(|to| write_all(to, bytes).is_err());
        self.whole &= !gone;
        if read == 0 || gone {
            self.from = None;
        }
    }

    /// Hands on the rest, as long as there is somebody who writes.
    pub fn hand_on_rest(mut self) {
        let mut buffer = vec![0; CHUNK];
        while self.from.is_some() {
            self.pump(&mut buffer);
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Hears a program to its end; what it says before goes to `to`, where that is given. Whatever else
/// holds its streams is not waited for.
///
/// # Errors
/// `TimedOut` after `until`, and the program is killed; or what the system said.
pub(super) fn hear<'t>(
    child: &mut Child,
    to: [Option<BorrowedFd<'t>>; 2],
    until: Option<Instant>,
) -> io::Result<Heard<'t>> {
    let heard = relay(child, to, until);
    if heard.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    heard
}

fn relay<'t>(
    child: &mut Child,
    [out, err]: [Option<BorrowedFd<'t>>; 2],
    until: Option<Instant>,
) -> io::Result<Heard<'t>> {
    let stream = |from, to| Stream {
        from,
        to,
        kept: Vec::new(),
        whole: true,
    };
    let mut streams = [
        stream(child.stdout.take().map(OwnedFd::from), out),
        stream(child.stderr.take().map(OwnedFd::from), err),
    ];
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    let end = pidfd_open(pid, PidfdFlags::empty())?;
    let mut buffer = vec![0; CHUNK];
    let mut ended = false;
    loop {
        // Once it has ended, what it said is there.
        let left = match (ended, until) {
            (true, _) => Some(Timespec::default()),
            (false, None) => None,
            (false, Some(until)) => {
                let left = until.saturating_duration_since(Instant::now());
                Some(Timespec::try_from(left).map_err(io::Error::other)?)
            }
        };
        let ready = ready(&streams, &end, left.as_ref())?;
        if !ready.iter().any(|r| *r) && !ended {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let [out, err, over] = ready;
        for (stream, ready) in streams.iter_mut().zip([out, err]) {
            if ready {
                stream.pump(&mut buffer);
            }
        }
        if ended && !out && !err {
            break;
        }
        ended |= over;
    }
    let status = child.wait()?;
    let whole = streams.iter().all(|s| s.whole && s.from.is_none());
    let kept = streams.each_mut().map(|s| std::mem::take(&mut s.kept));
    Ok(Heard {
        status,
        ended: status.into(),
        said: whole.then_some(kept),
        open: streams.into_iter().filter(|s| s.from.is_some()).collect(),
    })
}

/// Which of the streams can be read, and whether the program has ended; none after `left`.
fn ready(
    streams: &[Stream<'_>; 2],
    end: &OwnedFd,
    left: Option<&Timespec>,
) -> io::Result<[bool; 3]> {
    let [out, err] = streams.each_ref().map(|s| s.from.as_ref());
    let all = [out, err, Some(end)];
    let open = all.iter().flatten();
    let mut fds: Vec<_> = open.map(|fd| PollFd::new(*fd, PollFlags::IN)).collect();
    match poll(&mut fds, left) {
        Err(rustix::io::Errno::INTR) => return ready(streams, end, left),
        other => other?,
    };
    let mut answers = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(all.map(|fd| fd.is_some() && answers.next().unwrap_or(false)))
}
