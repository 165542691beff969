//! Whether the process at the other end of the socket is this node's own qwrap, undisturbed.
//!
//! What a node signs it must have seen compiled, and where qwrap runs the compiler the node sees
//! that through qwrap's eyes. Whatever runs in a build runs as the same user and can speak on the
//! socket too. Enters: a connection. Leaves: a [`Hand`], or why it is a stranger's; what a
//! stranger's hand reports is neither stored nor signed. Must never happen here: a yes where it
//! cannot be told.
//!
//! What is looked at, before the compiler runs and again when its end is reported: the program of
//! the process (byte for byte the qwrap beside this node), what else is mapped executable in it
//! (libraries that this node runs on itself, nothing anonymous), its environment as it began
//! (nothing preloaded), that nobody traces it, that it is the same process still, that nothing
//! came before it was asked, and, by the kernel's word, that the report was sent by that process
//! and no other that holds its end. What this cannot stop stands in docs/threat-model.md.

use quarry_trust::Digest;
use quarry_wrapper::ipc::frame::{self, FrameError, HEADER_LEN};
use quarry_wrapper::ipc::protocol::ToNode;
use thiserror::Error;
use tokio::net::UnixStream;

/// Why a process is no hand of this node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Foreign {
    /// It cannot be looked at, or is gone.
    #[error("its process cannot be looked at")]
    Unseen,
    /// The node has no qwrap beside it to compare with.
    #[error("no qwrap lies beside this node's program, or in PATH")]
    NoWrapper,
    /// Another program.
    #[error("it is not the qwrap that belongs to this node")]
    Program,
    /// Something preloaded.
    #[error("its environment preloads a library")]
    Preloaded,
    /// Something executable that is neither qwrap nor the system's.
    #[error("code is mapped in it that is not qwrap's")]
    Mapped,
    /// A debugger.
    #[error("it is being traced")]
    Traced,
    /// Not the process that asked.
    #[error("another process reported than the one that asked")]
    Other,
    /// It reported before it was told what to run.
    #[error("it spoke before it was asked")]
    Early,
}

/// A process that is this node's own qwrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hand {
    pid: i32,
    /// Its start, in ticks since the machine's: a number is used again, a start is not.
    started: u64,
}

#[cfg(target_os = "linux")]
pub use linux::Hands;

#[cfg(target_os = "linux")]
mod linux {
    use super::{Digest, Foreign, FrameError, HEADER_LEN, Hand, ToNode, UnixStream, frame};
    use crate::worker::voice::Voice;
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recv, recvmsg, sockopt,
    };
    use std::collections::HashSet;
    use std::fs::{self, File};
    use std::io::{self, IoSliceMut, Read};
    use std::mem::MaybeUninit;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// Size of an environment or a table of mappings that is read, bytes: more is no qwrap's.
    const PROC_MAX: u64 = 8 << 20;
    /// Programs whose digest is remembered: qwrap's copies on one machine.
    const PROGRAMS_MAX: usize = 64;
    /// Bytes taken from the socket at a time.
    const CHUNK: usize = 64 << 10;
    /// What the dynamic linker loads besides what a program names.
    const PRELOADS: [&[u8]; 2] = [b"LD_PRELOAD=", b"LD_AUDIT="];

    /// A file, so that another under its name is told from it.
    type FileId = (u64, u64, u64, (i64, i64), (i64, i64));

    fn id_of(m: &fs::Metadata) -> FileId {
        let modified = (m.mtime(), m.mtime_nsec());
        (
            m.dev(),
            m.ino(),
            m.size(),
            modified,
            (m.ctime(), m.ctime_nsec()),
        )
    }

    /// Knows this node's hands.
    #[derive(Default)]
    pub struct Hands {
        /// Digests of programs, by file.
        known: Mutex<Vec<(FileId, Digest)>>,
        /// Paths of what this node itself has mapped executable.
        own: OnceLock<HashSet<String>>,
        /// How often it is said that somebody else reported a compile.
        pub strange: Voice,
    }

    impl Hands {
        /// Has the kernel say of whatever arrives on connections of this listener which process
        /// sent it.
        ///
        /// # Errors
        /// What the system said.
        pub fn prepare(listener: &impl std::os::fd::AsFd) -> io::Result<()> {
            Ok(sockopt::set_socket_passcred(listener, true)?)
        }

        /// Looks at the process at the other end, before it is told what to run. Blocks briefly.
        ///
        /// # Errors
        /// [`Foreign`].
        pub fn look(&self, stream: &UnixStream) -> Result<Hand, Foreign> {
            let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
            let hand = self.look_at(pid.ok_or(Foreign::Unseen)?)?;
            // What was sent before this moment may have been sent by what the process was before
            // it became qwrap.
            let mut byte = [0];
            match recv(stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Err(rustix::io::Errno::AGAIN) => Ok(hand),
                _ => Err(Foreign::Early),
            }
        }

        /// Looks again, now that `sender` has reported the end of the compile. Blocks briefly.
        ///
        /// # Errors
        /// [`Foreign`].
        pub fn look_again(&self, hand: Hand, sender: Option<i32>) -> Result<(), Foreign> {
            if sender != Some(hand.pid) {
                return Err(Foreign::Other);
            }
            match self.look_at(hand.pid)? {
                same if same == hand => Ok(()),
                _ => Err(Foreign::Other),
            }
        }

        fn look_at(&self, pid: i32) -> Result<Hand, Foreign> {
            let proc = PathBuf::from(format!("/proc/{pid}"));
            let started = started(&proc)?;
            if traced(&proc)? {
                return Err(Foreign::Traced);
            }
            let program = proc.join("exe");
            if self.digest(&program).ok_or(Foreign::Unseen)? != self.own_wrapper()? {
                return Err(Foreign::Program);
            }
            let environ = read(&proc.join("environ"))?;
            let mut variables = environ.split(|b| *b == 0);
            let preloads = |v: &[u8]| {
                PRELOADS
                    .iter()
                    .any(|p| v.len() > p.len() && v.starts_with(p))
            };
            if variables.any(preloads) {
                return Err(Foreign::Preloaded);
            }
            let itself = fs::read_link(&program).map_err(|_| Foreign::Unseen)?;
            let maps = read(&proc.join("maps"))?;
            let maps = String::from_utf8(maps).map_err(|_| Foreign::Mapped)?;
            let itself = itself.to_str().ok_or(Foreign::Program)?;
            if !executable(&maps).all(|path| path == itself || self.is_own(path)) {
                return Err(Foreign::Mapped);
            }
            // The same process all along: a number that was given anew meanwhile started later.
            match self::started(&proc)? {
                same if same == started => Ok(Hand { pid, started }),
                _ => Err(Foreign::Other),
            }
        }

        /// The digest of the qwrap that belongs to this node.
        fn own_wrapper(&self) -> Result<Digest, Foreign> {
            let path = wrapper().ok_or(Foreign::NoWrapper)?;
            self.digest(&path).ok_or(Foreign::NoWrapper)
        }

        fn digest(&self, path: &Path) -> Option<Digest> {
            let id = id_of(&fs::metadata(path).ok()?);
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, digest)) = known.iter().find(|(k, _)| *k == id) {
                return Some(*digest);
            }
            let mut file = File::open(path).ok()?;
            let opened = id_of(&file.metadata().ok()?);
            let mut bytes = Vec::new();
            file.by_ref()
                .take(PROGRAM_MAX + 1)
                .read_to_end(&mut bytes)
                .ok()?;
            if bytes.len() as u64 > PROGRAM_MAX || opened != id {
                return None;
            }
            let digest = Digest::of(&bytes);
            if known.len() >= PROGRAMS_MAX {
                known.remove(0);
            }
            known.push((id, digest));
            Some(digest)
        }

        fn is_own(&self, path: &str) -> bool {
            let own = self.own.get_or_init(|| {
                let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
                executable(&maps).map(str::to_owned).collect()
            });
            own.contains(path)
        }
    }

    /// Size of a program that is digested, bytes: qwrap has two million, and some more unstripped.
    const PROGRAM_MAX: u64 = 256 << 20;

    /// qwrap beside this node's program, or else in PATH.
    fn wrapper() -> Option<PathBuf> {
        let program = std::env::current_exe().ok()?;
        let beside = program.parent().map(|dir| dir.join("qwrap"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&path).map(|dir| dir.join("qwrap"));
        beside.into_iter().chain(in_path).find(|p| p.is_file())
    }

    fn read(path: &Path) -> Result<Vec<u8>, Foreign> {
        let file = File::open(path).map_err(|_| Foreign::Unseen)?;
        let mut bytes = Vec::new();
        let n = file.take(PROC_MAX + 1).read_to_end(&mut bytes);
        match n {
            Ok(n) if n as u64 <= PROC_MAX => Ok(bytes),
            _ => Err(Foreign::Unseen),
        }
    }

    /// When a process started: field 22 of proc_pid_stat(5), behind a name that may hold anything.
    fn started(proc: &Path) -> Result<u64, Foreign> {
        let stat = String::from_utf8_lossy(&read(&proc.join("stat"))?).into_owned();
        let behind = stat.rsplit_once(')').ok_or(Foreign::Unseen)?.1;
        let field = behind.split_ascii_whitespace().nth(19);
        field.and_then(|f| f.parse().ok()).ok_or(Foreign::Unseen)
    }

    fn traced(proc: &Path) -> Result<bool, Foreign> {
        let status = String::from_utf8_lossy(&read(&proc.join("status"))?).into_owned();
        let tracer = status.lines().find_map(|l| l.strip_prefix("TracerPid:"));
        Ok(tracer.ok_or(Foreign::Unseen)?.trim() != "0")
    }

    /// What is mapped executable, by path without a mark of removal; what has no file by what
    /// stands there instead, but for what the kernel maps into everybody.
    pub(super) fn executable(maps: &str) -> impl Iterator<Item = &str> {
        maps.lines().filter_map(|line| {
            // address perms offset dev inode path; the path may hold blanks.
            let mut rest = line;
            let mut next = || {
                let (field, behind) = rest.split_once(' ').unwrap_or((rest, ""));
                rest = behind.trim_start();
                field
            };
            let _address = next();
            let perms = next();
            let _ = (next(), next(), next());
            let path = rest.strip_suffix(" (deleted)").unwrap_or(rest);
            let kernels = matches!(path, "[vdso]" | "[vsyscall]");
            (perms.contains('x') && !kernels).then_some(path)
        })
    }

    /// Reads one frame, and which process sent it; `None` where several did.
    ///
    /// # Errors
    /// [`FrameError`].
    pub async fn read_from(stream: &mut UnixStream) -> Result<(ToNode, Option<i32>), FrameError> {
        let mut sender = Sender::default();
        let mut header = Vec::new();
        fill(stream, &mut header, HEADER_LEN, &mut sender).await?;
        let header: [u8; HEADER_LEN] = header.try_into().map_err(|_| FrameError::Body)?;
        let length = frame::body_length(&header)?;
        let mut body = Vec::new();
        fill(stream, &mut body, length, &mut sender).await?;
        Ok((frame::decode(&body)?, sender.one()))
    }

    /// Who sent what came so far.
    #[derive(Default)]
    struct Sender {
        first: Option<i32>,
        mixed: bool,
    }

    impl Sender {
        fn note(&mut self, pid: Option<i32>) {
            match (self.first, pid) {
                (None, Some(pid)) => self.first = Some(pid),
                (Some(first), Some(pid)) if first == pid => {}
                _ => self.mixed = true,
            }
        }

        fn one(&self) -> Option<i32> {
            self.first.filter(|_| !self.mixed)
        }
    }

    async fn fill(
        stream: &UnixStream,
        into: &mut Vec<u8>,
        length: usize,
        sender: &mut Sender,
    ) -> Result<(), FrameError> {
        let mut chunk = vec![0; CHUNK.min(length)];
        while into.len() < length {
            let most = chunk.len().min(length - into.len());
            let part = chunk.get_mut(..most).unwrap_or_default();
            let (n, pid) = stream
                .async_io(tokio::io::Interest::READABLE, || receive(stream, part))
                .await?;
            if n == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            sender.note(pid);
            into.extend_from_slice(part.get(..n).unwrap_or_default());
        }
        Ok(())
    }

    /// Takes what is there, of one sender at most; descriptors that come along are closed.
    fn receive(stream: &UnixStream, into: &mut [u8]) -> io::Result<(usize, Option<i32>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = recvmsg(stream, &mut [IoSliceMut::new(into)], &mut control, flags)?;
        let pid = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(who) => Some(who.pid.as_raw_nonzero().get()),
            _ => None,
        });
        Ok((got.bytes, pid))
    }
}

#[cfg(target_os = "linux")]
pub use linux::read_from;

/// Elsewhere nothing is told of the other end but its user. Unverified.
#[cfg(not(target_os = "linux"))]
#[derive(Default)]
pub struct Hands {
    /// How often it is said that somebody else reported a compile.
    pub strange: crate::worker::voice::Voice,
}

#[cfg(not(target_os = "linux"))]
impl Hands {
    /// Nothing to prepare.
    ///
    /// # Errors
    /// None.
    pub fn prepare(_listener: &impl std::os::fd::AsFd) -> std::io::Result<()> {
        Ok(())
    }

    /// Believes it.
    ///
    /// # Errors
    /// None.
    pub fn look(&self, _stream: &UnixStream) -> Result<Hand, Foreign> {
        Ok(Hand { pid: 0, started: 0 })
    }

    /// Believes it.
    ///
    /// # Errors
    /// None.
    pub fn look_again(&self, _hand: Hand, _sender: Option<i32>) -> Result<(), Foreign> {
        Ok(())
    }
}

/// Reads one frame; nobody says who sent it.
///
/// # Errors
/// [`FrameError`].
#[cfg(not(target_os = "linux"))]
pub async fn read_from(stream: &mut UnixStream) -> Result<(ToNode, Option<i32>), FrameError> {
    Ok((crate::ipc_server::read(stream).await?, None))
}

#[cfg(all(test, target_os = "linux"))]
#[path = "hands_tests.rs"]
mod tests;
