//! Runs a compiler as its caller would have, shows what it says as it comes, keeps a copy.
//!
//! Enters: what to run and how to rewrite paths in its messages. Leaves: how it ended, and both
//! streams as the compiler wrote them. Used by qwrap, and by the node where that spawns. Must
//! never happen here: a second run, a message held back, a compiler that outlives its caller.

use crate::paths::Rewrites;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What is kept of each stream, in bytes. A compile that says more is shown whole and not stored.
pub const CAPTURE_MAX: usize = 8 << 20;
/// A line that grows longer than this is shown without waiting for its end.
const LINE_MAX: usize = 4 << 20;
const CHUNK: usize = 64 * 1024;

/// How stderr is shown.
#[derive(Debug, Clone, Default)]
pub struct Showing {
    /// Placeholders to replace by this checkout's paths.
    pub rewrites: Rewrites,
    /// Leave out notifications of written files: an earlier run of the same command may have sent
    /// them, and cargo panics on a second one. Without any it goes by the command's end.
    pub swallow_notifications: bool,
}

impl Showing {
    fn of(&self, text: &[u8]) -> Vec<u8> {
        const NOTIFICATION: &[u8] = br#"{"$message_type":"artifact""#;
        let text = self.rewrites.apply(text);
        if !self.swallow_notifications {
            return text;
        }
        let lines = text.split_inclusive(|b| *b == b'\n');
        lines
            .filter(|line| !line.starts_with(NOTIFICATION))
            .flatten()
            .copied()
            .collect()
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The compiler's own status.
    pub status: ExitStatus,
    /// All of stdout, or `None` where it was over [`CAPTURE_MAX`].
    pub stdout: Option<Vec<u8>>,
    /// All of stderr before rewriting, or `None` likewise.
    pub stderr: Option<Vec<u8>>,
    /// Wall time.
    pub duration: Duration,
}

/// Runs `command` to its end. stdin and everything else is as the command says; stdout and
/// stderr are shown on `out` and `err` as they come, stderr line by line as `showing` says.
/// A reader that has gone away does not stop the compiler.
///
/// # Errors
/// What spawning or waiting said; nothing has been shown then.
pub fn run(
    command: &mut Command,
    showing: &Showing,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Outcome> {
    run_noting(command, showing, out, err, |_| {})
}

/// As [`run`], and calls `spawned` with the process id once the compiler runs.
///
/// # Errors
/// As [`run`].
pub fn run_noting(
    command: &mut Command,
    showing: &Showing,
    out: &mut dyn Write,
    err: &mut dyn Write,
    spawned: impl FnOnce(u32),
) -> io::Result<Outcome> {
    let started = Instant::now();
    let mut child = dies_with_us(command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    spawned(child.id());
    let (stdout, stderr) = relay(&mut child, showing, out, err)?;
    let status = child.wait()?;
    Ok(Outcome {
        status,
        stdout,
        stderr,
        duration: started.elapsed(),
    })
}

/// The child is killed when the thread that spawned it dies: a caller that is gone has nobody to
/// compile for.
pub(crate) fn dies_with_us(command: &mut Command) -> &mut Command {
    #[cfg(target_os = "linux")]
    {
        let us = rustix::process::getpid();
        // SAFETY: between fork and exec only async-signal-safe system calls are made, and nothing
        // is allocated.
        #[expect(unsafe_code, reason = "a death signal is set between fork and exec")]
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(
                    rustix::process::Signal::KILL,
                ))?;
                if rustix::process::getppid() == Some(us) {
                    Ok(())
                } else {
                    Err(io::Error::from_raw_os_error(3)) // ESRCH: the parent died before
                }
            });
        }
    }
    command
}

/// One of the child's streams.
struct Stream<R> {
    from: Option<R>,
    kept: Option<Vec<u8>>,
}

impl<R: Read> Stream<R> {
    const fn new(from: Option<R>) -> Self {
        Self {
            from,
            kept: Some(Vec::new()),
        }
    }

    /// Reads once; empty at the end, after which `from` is `None`.
    fn pump<'b>(&mut self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let Some(from) = &mut self.from else {
            return Ok(&[]);
        };
        let n = loop {
            match from.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if n == 0 {
            self.from = None;
        }
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&buffer[..n]);
            if kept.len() > CAPTURE_MAX {
                self.kept = None;
            }
        }
        Ok(&buffer[..n])
    }
}

type Kept = Option<Vec<u8>>;

fn relay(
    child: &mut Child,
    showing: &Showing,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<(Kept, Kept)> {
    let mut stdout = Stream::new(child.stdout.take());
    let mut stderr = Stream::new(child.stderr.take());
    let mut lines = Lines::default();
    let mut buffer = vec![0; CHUNK];
    while stdout.from.is_some() || stderr.from.is_some() {
        let (out_ready, err_ready) = wait_readable(stdout.from.as_ref(), stderr.from.as_ref())?;
        if out_ready {
            let _ = out
                .write_all(stdout.pump(&mut buffer)?)
                .and_then(|()| out.flush());
        }
        if err_ready {
            let whole = lines.push(stderr.pump(&mut buffer)?);
            show(&whole, showing, err);
        }
    }
    show(&lines.rest(), showing, err);
    Ok((stdout.kept, stderr.kept))
}

fn show(text: &[u8], showing: &Showing, err: &mut dyn Write) {
    if !text.is_empty() {
        let _ = err.write_all(&showing.of(text)).and_then(|()| err.flush());
    }
}

/// Which of two streams can be read without blocking; waits until one can.
fn wait_readable<A: AsFd, B: AsFd>(a: Option<&A>, b: Option<&B>) -> io::Result<(bool, bool)> {
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(2);
    fds.extend(a.map(|fd| PollFd::new(fd, PollFlags::IN)));
    fds.extend(b.map(|fd| PollFd::new(fd, PollFlags::IN)));
    loop {
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    let a = a.is_some() && ready.next().unwrap_or(false);
    Ok((a, ready.next().unwrap_or(false)))
}

/// Cuts a stream into whole lines.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Takes bytes; gives back all lines that are complete.
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > LINE_MAX {
            return std::mem::take(&mut self.0);
        }
        let end = self
            .0
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let rest = self.0.split_off(end);
        std::mem::replace(&mut self.0, rest)
    }

    fn rest(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_are_swallowed_and_diagnostics_are_not() {
        let text = b"{\"$message_type\":\"artifact\",\"artifact\":\"/t/a.rmeta\"}\n{\"$message_type\":\"diagnostic\"}\n";
        let plain = Showing::default();
        assert_eq!(plain.of(text), text);
        let swallowing = Showing {
            swallow_notifications: true,
            ..Showing::default()
        };
        assert_eq!(swallowing.of(text), b"{\"$message_type\":\"diagnostic\"}\n");
    }

    #[test]
    fn both_streams_are_shown_and_kept() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo to out; echo to err >&2; printf tail >&2; exit 4",
        ]);
        let outcome = run(&mut command, &Showing::default(), &mut out, &mut err).unwrap();
        assert_eq!(outcome.status.code(), Some(4));
        assert_eq!(
            (out.as_slice(), err.as_slice()),
            (b"to out\n".as_slice(), b"to err\ntail".as_slice())
        );
        assert_eq!((outcome.stdout, outcome.stderr), (Some(out), Some(err)));
    }

    #[test]
    fn lines_are_cut_where_they_end() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), b"one\n");
        assert_eq!(lines.push(b"o\n"), b"two\n");
        assert_eq!(lines.push(b"rest"), b"");
        assert_eq!(lines.rest(), b"rest");
    }
}
