//! The messages between qwrap (or the command line) and the node: plain data, no behaviour.
//!
//! A wrapper's conversation: [`ToNode::Compile`] → any number of [`FromNode::Working`] and
//! [`FromNode::Queued`], and of [`FromNode::Ask`], each answered by [`ToNode::Said`], then one of
//! [`FromNode::Replay`], [`FromNode::Untouched`], [`FromNode::Run`]; after `Run`,
//! [`ToNode::Finished`] → [`FromNode::Recorded`]. Where the node is to spawn, it may answer
//! [`FromNode::Descriptors`]; the caller sends them, and hears [`FromNode::Spawned`], and then
//! [`FromNode::Compiled`] or, where the compiler could not be run after all,
//! [`FromNode::Untouched`]. They travel no earlier: while they lie in the socket of a node that
//! hangs, whoever reads from the other end of a pipe among them waits too.
//! The command line's requests are opaque here.

use crate::child::{Child, Said};
use bincode::{Decode, Encode};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

pub use super::version::PROTOCOL;

/// How often a node that looks says that it is alive.
pub const WORKING_EVERY: Duration = Duration::from_secs(1);

/// Device and inode: whether a path means the same file on both sides of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// A compiler command as it came.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CompileRequest {
    /// `[compiler, arguments…]`, without qwrap; or a build script's program and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// Whether it is the run of a build script.
    pub script: bool,
    /// The wrapper's own path, where it knows it: a build script's launcher hands over to it.
    pub wrapper: Option<Vec<u8>>,
    /// The whole environment.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// The working directory.
    pub cwd: Vec<u8>,
    /// What the working directory is on the caller's side.
    pub cwd_id: FileId,
    /// What `/` is on the caller's side.
    pub root_id: FileId,
    /// The caller's umask: restored files get the modes that a compile would have given them.
    pub umask: u32,
    /// Whether stdin is the null device; only looked at where the command reads its source there.
    pub no_stdin: bool,
    /// Where the node is to spawn the compiler: what the child must inherit besides descriptors.
    pub surroundings: Option<Surroundings>,
}

/// The caller's process attributes that a compiler spawned by the node must have.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Surroundings {
    /// Niceness.
    pub nice: i32,
    /// Resource limits as (kind, soft, hard); `None` is unlimited. Kinds by Linux number.
    pub limits: Vec<(u8, Option<u64>, Option<u64>)>,
    /// Namespaces, groups and seccomp as text: must equal the node's own.
    pub confinement: Vec<u8>,
    /// The descriptor numbers of the jobserver in the caller, read then write, sent after
    /// stdin, stdout and stderr.
    pub jobserver: Option<(i32, i32)>,
}

/// What to run, and how to show what it says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RunPlan {
    /// `[compiler, arguments…]` to spawn in the caller's own context.
    pub argv: Vec<Vec<u8>>,
    /// Variables to set beside the caller's: the observer's.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Placeholder → this checkout's path, applied token by token to stderr before it is shown.
    pub rewrites: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the node wants to hear how it ended, with stdout and stderr.
    pub record: bool,
}

/// How a compile that the caller spawned ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Finished {
    /// Whether it exited with 0.
    pub success: bool,
    /// What it wrote on stdout, as it wrote it; `None` where that was over the capture limit.
    pub stdout: Option<Vec<u8>>,
    /// What it wrote on stderr, as it wrote it, before rewriting; `None` likewise.
    pub stderr: Option<Vec<u8>>,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// Whether it or who waited for it was stopped meanwhile.
    pub stopped: bool,
}

/// What to show in place of a compile.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Replay {
    /// For stdout, in this checkout's paths.
    pub stdout: Vec<u8>,
    /// For stderr, in this checkout's paths.
    pub stderr: Vec<u8>,
}

/// What a compile that the node spawned ended as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Ended {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Self::Code(code),
            // Who has no code was ended by a signal.
            None => Self::Signal(status.signal().unwrap_or(9)),
        }
    }
}

/// To the node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToNode {
    /// A compile is asked for.
    Compile(Box<CompileRequest>),
    /// The compile that [`FromNode::Run`] asked for has ended.
    Finished(Finished),
    /// A request of the command line, opaque here.
    Control(Vec<u8>),
    /// What [`FromNode::Ask`] asked for: what the program said, where it could be run.
    Said(Option<Said>),
}

/// From the node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FromNode {
    /// The node is at it: sent every [`WORKING_EVERY`] until there is an answer.
    Working,
    /// As [`FromNode::Working`], where another caller compiles the same, or it is not this one's
    /// turn yet: that may take as long as a compile does.
    Queued,
    /// The node will run the compiler: send the descriptors.
    Descriptors,
    /// The node runs this now: from here on its messages may be shown. Where the node is lost, it
    /// is what is to be run again.
    Spawned(RunPlan),
    /// The outputs are in place: show this, exit 0.
    Replay(Replay),
    /// Run the caller's command as it came.
    Untouched,
    /// Run this instead.
    Run(RunPlan),
    /// What was finished has been captured.
    Recorded,
    /// The node ran it (its messages went to the caller's own descriptors).
    Compiled(Ended),
    /// An answer to the command line, opaque here.
    Control(Vec<u8>),
    /// The node cannot take the request now; run the command as it came.
    Busy,
    /// Run this where the compile would run, and say what it says.
    Ask(Box<Child>),
}
