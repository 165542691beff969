//! The caller's end of the socket: connect, start a node where none runs, ask with a deadline.
//!
//! Every failure here means "run the compiler yourself", so nothing is fatal and everything is
//! bounded. A node that does not answer in time is left alone for a while, so that one stuck
//! process does not slow every compile of a build.

use super::frame::{self, FrameError};
use super::protocol::{FromNode, ToNode};
use crate::home::Home;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long an answer may take before the caller compiles by itself: above the node's own
/// deadline for fetching from peers.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a node that looks may be silent before it is taken for stuck: several times
/// [`super::protocol::WORKING_EVERY`], since the machine may be busy.
pub const SILENT_MOST: Duration = Duration::from_secs(5);
/// How long a start may take.
pub const START_WITHIN: Duration = Duration::from_secs(5);
/// How often a start is looked at while it lasts.
const START_POLL: Duration = Duration::from_millis(5);

/// A connection to the node of a home.
pub struct Client {
    stream: UnixStream,
    home: Home,
}

impl Client {
    /// Connects to the node that runs.
    ///
    /// # Errors
    /// What the system said; `NotFound` or `ConnectionRefused` where none runs, `PermissionDenied`
    /// where the other end is another user's, `TimedOut` where it was found stuck lately.
    pub fn connect(home: &Home) -> io::Result<Self> {
        if stamped_lately(&stuck(home)) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the node did not answer lately",
            ));
        }
        let stream = connect_short(&home.socket())?;
        check_peer(&stream)?;
        Self::over(home, stream)
    }

    /// A connection that somebody else made, and on which a request was sent.
    ///
    /// # Errors
    /// What the system said.
    pub fn asked(home: &Home, socket: OwnedFd) -> io::Result<Self> {
        Self::over(home, socket.into())
    }

    fn over(home: &Home, stream: UnixStream) -> io::Result<Self> {
        // A node that is stopped takes what fits into the socket's buffer and no more.
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self {
            stream,
            home: home.clone(),
        })
    }

    /// Connects, and starts a node first where none runs. One start at a time to a home; after a
    /// failed one none is tried for [`crate::home::START_PAUSE`].
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_or_start(home: &Home) -> io::Result<Self> {
        let first = match Self::connect(home) {
            Err(e) if is_absent(&e) => e,
            other => return other,
        };
        if home.start_failed_lately() {
            return Err(first);
        }
        let Some(node) = find_node() else {
            return Err(first);
        };
        home.create().map_err(io::Error::other)?;
        let lock = File::create(home.start_lock())?;
        // Whoever holds the lock is done within START_WITHIN.
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        match Self::connect(home) {
            Err(e) if is_absent(&e) && !home.start_failed_lately() => {}
            other => return other,
        }
        if start(&node) {
            Self::connect(home)
        } else {
            let _ = File::create(home.start_failed());
            Err(first)
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn send(&mut self, message: &ToNode) -> Result<(), FrameError> {
        let sent = frame::write(&mut self.stream, message);
        self.note_stuck(sent)
    }

    /// Marks the node as stuck where a deadline passed.
    fn note_stuck<T>(&self, outcome: Result<T, FrameError>) -> Result<T, FrameError> {
        if let Err(FrameError::Io(e)) = &outcome
            && matches!(
                e.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            )
        {
            let _ = File::create(stuck(&self.home));
        }
        outcome
    }

    /// Waits for an answer, at most `within` where that is given. A node that is too late is
    /// marked as stuck.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn receive(&mut self, within: Option<Duration>) -> Result<FromNode, FrameError> {
        self.stream.set_read_timeout(within)?;
        let answer = frame::read(&mut self.stream);
        self.note_stuck(answer)
    }

    /// The socket itself, for descriptors that travel beside a message.
    #[must_use]
    pub const fn stream(&self) -> &UnixStream {
        &self.stream
    }
}

/// Whether a failed connect means that no node runs there.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn stuck(home: &Home) -> PathBuf {
    home.path().join("node.stuck")
}

fn stamped_lately(path: &Path) -> bool {
    fs::metadata(path)
        .and_then(|m| m.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < crate::home::START_PAUSE))
}

/// Calls `with` with a path to the socket that fits into an address (107 bytes): where the real
/// one is longer, one through a descriptor of its directory.
///
/// # Errors
/// What opening the directory or `with` said.
pub fn with_short_path<T>(
    socket: &Path,
    with: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    const ADDRESS_MAX: usize = 107;
    if socket.as_os_str().len() <= ADDRESS_MAX || !cfg!(target_os = "linux") {
        return with(socket);
    }
    let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    with(
        &Path::new("/proc/self/fd")
            .join(dir.as_raw_fd().to_string())
            .join(name),
    )
}

fn connect_short(socket: &Path) -> io::Result<UnixStream> {
    with_short_path(socket, |path| UnixStream::connect(path))
}

/// Refuses a socket whose other end is not our own user's.
///
/// # Errors
/// `PermissionDenied`, or what the system said.
#[cfg(target_os = "linux")]
pub fn check_peer(stream: &impl std::os::fd::AsFd) -> io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    if peer.uid == rustix::process::geteuid() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the socket is another user's",
        ))
    }
}

/// Elsewhere the home's own mode (0700) keeps others from the socket. Unverified.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn check_peer(_stream: &impl std::os::fd::AsFd) -> io::Result<()> {
    Ok(())
}

/// `qnode`, beside our own executable or else in PATH.
fn find_node() -> Option<PathBuf> {
    let name = OsStr::new("qnode");
    let beside = std::env::current_exe()
        .ok()
        .and_then(|p| Some(p.parent()?.join(name)));
    let in_path = std::env::var_os("PATH")
        .map(|path| {
            std::env::split_paths(&path)
                .map(|dir| dir.join(name))
                .collect::<Vec<_>>()
        })
        .unwrap_or_default();
    beside.into_iter().chain(in_path).find(|p| p.is_file())
}

/// Runs `qnode start` and says whether it succeeded in time. It leaves nothing of ours in the
/// node: no descriptors, no terminal, no working directory.
fn start(node: &Path) -> bool {
    let child = Command::new(node)
        .arg("start")
        .arg("--from-wrapper")
        .env_remove(crate::shim::TICKET)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let deadline = Instant::now() + START_WITHIN;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(START_POLL),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}
