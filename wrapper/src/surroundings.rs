//! What a compiler inherits from its caller besides argv, environment and directory: descriptors,
//! limits, umask, niceness.
//!
//! In mode `node` the node spawns the compiler, and it must be as if the caller had: qwrap
//! observes and sends its surroundings, the node gives them to the child between fork and exec.
//! Where namespaces, groups or seccomp differ, the node declines and the caller spawns.

use crate::ipc::protocol::Surroundings;
use rustix::io::FdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::{Resource, Rlimit};
use std::ffi::OsString;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Descriptors that travel: stdin, stdout, stderr, and the jobserver's two.
const DESCRIPTORS_MAX: usize = 5;
/// The limits that a compile may meet, numbered by their place here.
const LIMITS: [Resource; 7] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Nofile,
    Resource::As,
];

/// This process's surroundings; `None` where they cannot be told (no `/proc`).
#[must_use]
pub fn observe() -> Option<Surroundings> {
    let limits = LIMITS.iter().zip(0..).map(|(resource, at)| {
        let limit = rustix::process::getrlimit(*resource);
        (at, limit.current, limit.maximum)
    });
    Some(Surroundings {
        nice: rustix::process::getpriority_process(None).ok()?,
        limits: limits.collect(),
        confinement: confinement()?,
        jobserver: jobserver(),
    })
}

/// Namespaces, groups and seccomp of this process as text, to be compared. The network and mount
/// namespaces are left out: a compile needs no network, and whether paths mean the same is
/// checked by device and inode.
#[must_use]
pub fn confinement() -> Option<Vec<u8>> {
    let mut text = String::new();
    for namespace in ["user", "pid", "ipc", "uts", "cgroup"] {
        let link = fs::read_link(format!("/proc/self/ns/{namespace}")).ok()?;
        text.push_str(link.to_str()?);
        text.push('\n');
    }
    let status = fs::read_to_string("/proc/self/status").ok()?;
    for line in status.lines() {
        if ["Uid:", "Gid:", "Groups:", "Seccomp:", "NoNewPrivs:"]
            .iter()
            .any(|k| line.starts_with(k))
        {
            text.push_str(line);
            text.push('\n');
        }
    }
    Some(text.into_bytes())
}

/// The process that started another one, where that can be seen.
#[must_use]
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything, parentheses too: proc_pid_stat(5).
    let behind = stat.iter().rposition(|b| *b == b')')?;
    let behind = std::str::from_utf8(stat.get(behind + 1..)?).ok()?;
    behind.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The jobserver's descriptor numbers, where it is a pair of pipes that this process holds.
pub(crate) fn jobserver() -> Option<(i32, i32)> {
    let flags = std::env::var("CARGO_MAKEFLAGS").ok()?;
    let (read, write) = jobserver_numbers(&flags)?;
    let open = |fd: i32| fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
    (open(read) && open(write)).then_some((read, write))
}

/// `R,W` of the last `--jobserver-auth=R,W` (or the older `--jobserver-fds`).
fn jobserver_numbers(flags: &str) -> Option<(i32, i32)> {
    let auth = flags.split_whitespace().rev().find_map(|word| {
        word.strip_prefix("--jobserver-auth=")
            .or_else(|| word.strip_prefix("--jobserver-fds="))
    })?;
    let (read, write) = auth.split_once(',')?;
    Some((read.parse().ok()?, write.parse().ok()?))
}

/// Sends stdin, stdout, stderr and, where there is one, the jobserver.
///
/// # Errors
/// What the system said.
pub fn send_descriptors(socket: &impl AsFd) -> io::Result<()> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let mut fds = vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    if let Some((read, write)) = jobserver() {
        for fd in [read, write] {
            // SAFETY: both numbers were just seen open in /proc/self/fd, they were inherited, and
            // nothing in this single-threaded process closes them.
            #[expect(unsafe_code, reason = "inherited descriptors are known by number only")]
            fds.push(unsafe { BorrowedFd::borrow_raw(fd) });
        }
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(&[1])],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// Receives what [`send_descriptors`] sent, close-on-exec.
///
/// # Errors
/// What the system said; `InvalidData` where fewer than three came.
pub fn receive_descriptors(socket: &impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if fds.len() < 3 {
        Err(io::Error::from(io::ErrorKind::InvalidData))
    } else {
        Ok(fds)
    }
}

/// Prepares a command to run as if the caller had spawned it: its environment with the jobserver
/// renumbered, its stdin, limits, umask and niceness, in a process group of its own (so that the
/// whole of it can be ended when the caller goes). `fds` are the received descriptors.
///
/// # Errors
/// `InvalidData` for limits that no caller sends.
pub fn dress(
    command: &mut Command,
    env: &[(OsString, OsString)],
    umask: u32,
    around: &Surroundings,
    fds: &[OwnedFd],
) -> io::Result<()> {
    command.env_clear();
    let numbers = match (around.jobserver, fds) {
        (Some(_), [_, _, _, read, write]) => Some((read.as_raw_fd(), write.as_raw_fd())),
        _ => None,
    };
    for (name, value) in env {
        let renumbered = match (name.to_str(), value.to_str(), numbers) {
            (Some("CARGO_MAKEFLAGS" | "MAKEFLAGS" | "MFLAGS"), Some(flags), Some(numbers)) => {
                Some(renumber(flags, numbers))
            }
            _ => None,
        };
        command.env(
            name,
            renumbered.map_or_else(|| value.clone(), OsString::from),
        );
    }
    command.stdin(Stdio::from(fds[0].try_clone()?));
    command.process_group(0);
    let inherited: Vec<OwnedFd> = fds
        .iter()
        .skip(3)
        .map(OwnedFd::try_clone)
        .collect::<io::Result<_>>()?;
    let inherited_numbers: Vec<i32> = fds.iter().skip(3).map(AsRawFd::as_raw_fd).collect();
    let mut limits = Vec::with_capacity(around.limits.len());
    for (at, current, maximum) in &around.limits {
        let resource = LIMITS
            .get(usize::from(*at))
            .ok_or(io::ErrorKind::InvalidData)?;
        limits.push((
            *resource,
            Rlimit {
                current: *current,
                maximum: *maximum,
            },
        ));
    }
    let nice = around.nice;
    // SAFETY: only async-signal-safe system calls, on values made before the fork; nothing is
    // allocated or freed. The descriptors stay open in the parent while `command` lives.
    #[expect(
        unsafe_code,
        reason = "limits and descriptors are set between fork and exec"
    )]
    unsafe {
        command.pre_exec(move || {
            let _ = &inherited;
            for number in &inherited_numbers {
                let fd = BorrowedFd::borrow_raw(*number);
                rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
            }
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
            for (resource, limit) in &limits {
                // Raising above the node's own hard limit is refused; the caller's was lower.
                let _ = rustix::process::setrlimit(*resource, *limit);
            }
            let _ = rustix::process::setpriority_process(None, nice);
            Ok(())
        });
    }
    Ok(())
}

/// The flags with every jobserver pair replaced by these numbers.
fn renumber(flags: &str, (read, write): (i32, i32)) -> String {
    let words: Vec<String> = flags
        .split(' ')
        .map(|word| {
            for key in ["--jobserver-auth=", "--jobserver-fds="] {
                if word.strip_prefix(key).is_some_and(|v| v.contains(',')) {
                    return format!("{key}{read},{write}");
                }
            }
            word.to_owned()
        })
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobserver_of_pipes_is_renumbered_and_a_fifo_is_left() {
        let flags = "-j --jobserver-fds=8,9 --jobserver-auth=8,9";
        assert_eq!(jobserver_numbers(flags), Some((8, 9)));
        assert_eq!(
            renumber(flags, (20, 21)),
            "-j --jobserver-fds=20,21 --jobserver-auth=20,21"
        );
        let fifo = "-j --jobserver-auth=fifo:/tmp/x";
        assert_eq!(jobserver_numbers(fifo), None);
        assert_eq!(renumber(fifo, (20, 21)), fifo);
    }

    #[test]
    fn descriptors_cross_a_socket() {
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        send_descriptors(&a).unwrap();
        assert!(receive_descriptors(&b).unwrap().len() >= 3);
    }

    #[test]
    fn this_process_is_confined_like_itself() {
        let around = observe().unwrap();
        assert_eq!(Some(around.confinement), confinement());
        assert_eq!(around.limits.len(), LIMITS.len());
    }
}
