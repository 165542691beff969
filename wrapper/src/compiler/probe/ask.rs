//! Running a compiler to ask it something.
//!
//! Enters: a program, arguments, the caller's environment and directory. Leaves: what it printed
//! on stdout, bounded in bytes and time. Must never happen here: a wait without an end, a child
//! left behind, this process's own environment in the child.

use crate::invocation::Invocation;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a compiler may take to answer: 30 ms are usual; a rustup proxy that has to start
/// from a cold disk takes seconds.
const DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of an answer. The longest (`--print target-cpus`) are some 20 KiB.
const MAX_ANSWER: usize = 256 * 1024;
const CHUNK: usize = 8 * 1024;

/// Asks `program` in the caller's environment and directory; gives its stdout.
pub(crate) fn ask(program: &Path, args: &[&str], inv: &Invocation) -> io::Result<String> {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(&inv.cwd)
        .env_clear()
        .envs(inv.env.iter().rev().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let answer = answer(&mut child);
    if answer.is_err() {
        // It may be gone already; what counts is that it is waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
    answer
}

fn answer(child: &mut Child) -> io::Result<String> {
    let end = Instant::now() + DEADLINE;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("no stdout"))?;
    let bytes = drain(stdout, end)?;
    // Its stdout is closed: it ends now, or it is not what it should be.
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        left(end)?;
        std::thread::sleep(Duration::from_millis(1));
    };
    if !status.success() {
        return Err(io::Error::other(format!(
            "the compiler ended with {status}"
        )));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("the answer is not UTF-8"))
}

fn drain(mut stdout: ChildStdout, end: Instant) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let wait = Timespec::try_from(left(end)?).map_err(io::Error::other)?;
        let ready = poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&wait));
        match ready {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        match stdout.read(&mut chunk) {
            Ok(0) => return Ok(out),
            Ok(n) => out.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        if out.len() > MAX_ANSWER {
            return Err(io::Error::other("the answer is too long"));
        }
    }
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the compiler does not answer",
        ));
    }
    Ok(left)
}
