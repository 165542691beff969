//! A program that a macro started: run beside a witness while a compile is observed, and run again
//! where a lookup wants to know whether it would still say the same.
//!
//! Enters: what was to be run; the environment and directory of a compile. Leaves: all
//! that the program said and how it ended; from a witness, the program's own streams and end, and a
//! report for the node. Must never happen here: a program that runs otherwise than its macro wanted
//! it to, a report of one whose caller could have told it, or heard from it, more than a report
//! holds, a question that waits for ever.

#[cfg(target_os = "linux")]
mod streams;
#[cfg(target_os = "linux")]
mod witness;

use crate::invocation::Invocation;
use crate::ipc::protocol::Ended;
use bincode::{Decode, Encode};
use quarry_trust::Digest;
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::digest::Hasher;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// qwrap's argument in front of a report's path, a program, and what that is to be called with.
pub const WITNESS: &str = "--witness";
/// Variables that hand a jobserver's descriptors down: their numbers say nothing.
pub(crate) const JOBSERVER: [&str; 3] = ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];
/// How long a program may take that is asked: the node waits longer for who asks it.
pub const ASKED_WITHIN: Duration = Duration::from_secs(10);
/// Arguments of one program.
const PARTS_MAX: usize = 1000;
/// Bytes of one of them.
const PART_MAX: usize = 64 * 1024;

/// What was run, in the environment that a compile has, and in its directory if nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Child {
    /// The program, as it was named.
    pub program: Vec<u8>,
    /// Its arguments, from its own name on.
    pub argv: Vec<Vec<u8>>,
    /// Its working directory, where that was not the compile's.
    pub dir: Option<Vec<u8>>,
    /// Whether anybody heard its stdout, and its stderr; else they are the null device.
    pub hears: [bool; 2],
}

/// What a witness tells of a program.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    /// What was run.
    pub child: Child,
    /// Digest of the environment that it had.
    pub env: [u8; 32],
    /// What came of it.
    pub said: Said,
}

/// All that a program said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Said {
    /// How it ended.
    pub ended: Ended,
    /// All that was heard of its stdout, and of its stderr.
    pub heard: [Vec<u8>; 2],
}

impl Said {
    /// A digest of all of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let (by, number) = match self.ended {
            Ended::Code(code) => (0_u8, code),
            Ended::Signal(signal) => (1, signal),
        };
        let [stdout, stderr] = &self.heard;
        let mut all = Hasher::new();
        all.update(&[by]);
        all.update(&number.to_le_bytes());
        all.update(&(stdout.len() as u64).to_le_bytes());
        all.update(stdout);
        all.update(stderr);
        all.finish()
    }

    /// The same with each of its texts as `rewritten`, where both can be.
    #[must_use]
    pub fn map(&self, rewritten: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Self> {
        let [stdout, stderr] = &self.heard;
        Some(Self {
            ended: self.ended,
            heard: [rewritten(stdout)?, rewritten(stderr)?],
        })
    }
}

/// A digest of an environment, but for a jobserver's variables.
#[must_use]
pub fn environment(env: &[(OsString, OsString)]) -> Digest {
    let all = env.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
    let mut all: Vec<_> = all
        .filter(|(name, _)| JOBSERVER.iter().all(|j| j.as_bytes() != *name))
        .collect();
    all.sort_unstable();
    let mut hasher = Hasher::new();
    for text in all.into_iter().flat_map(|(name, value)| [name, value]) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.finish()
}

/// Runs `REPORT PROGRAM NAME ARGUMENTS…` as whoever started us wanted PROGRAM to be run, and leaves
/// a report where it can be repeated. `None` for what no observer says.
#[cfg(target_os = "linux")]
pub(crate) fn witness(argv: Vec<OsString>) -> Option<io::Result<ExitStatus>> {
    witness::witness(argv)
}

/// Elsewhere there is no observer.
#[cfg(not(target_os = "linux"))]
pub(crate) fn witness(_: Vec<OsString>) -> Option<io::Result<ExitStatus>> {
    None
}

impl Child {
    /// Its words, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let rest = self.argv.iter().skip(1);
        let words: Vec<_> = std::iter::once(&self.program)
            .chain(rest)
            .map(|word| String::from_utf8_lossy(word))
            .collect();
        words.join(" ")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(OsStr::from_bytes(&self.program));
        let mut argv = self.argv.iter().map(|a| OsStr::from_bytes(a));
        if let Some(name) = argv.next() {
            command.arg0(name);
        }
        command.args(argv);
        command
    }

    /// Runs it in this process's own directory and environment, as the compile would have. `None`
    /// where it could not be run, said too much or took longer than [`ASKED_WITHIN`].
    #[must_use]
    pub fn ask(&self) -> Option<Said> {
        self.answer(&mut self.command())
    }

    /// The same in a compile's directory and environment.
    #[must_use]
    pub fn ask_for(&self, inv: &Invocation) -> Option<Said> {
        let mut command = self.command();
        command.current_dir(&inv.cwd).env_clear();
        command.envs(inv.env.iter().map(|(name, value)| (name, value)));
        for name in JOBSERVER {
            command.env_remove(name);
        }
        // Nobody waits: who commits meanwhile shall find no lock.
        command.env("GIT_OPTIONAL_LOCKS", "0");
        self.answer(&mut command)
    }

    #[cfg(target_os = "linux")]
    fn answer(&self, command: &mut Command) -> Option<Said> {
        let [out, err] = self.hears.map(|heard| match heard {
            true => Stdio::piped(),
            false => Stdio::null(),
        });
        command.env_remove(crate::shim::TICKET);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        if let Some(dir) = &self.dir {
            command.current_dir(OsStr::from_bytes(dir));
        }
        let mut child = crate::run::dies_with_us(command).spawn().ok()?;
        let until = Instant::now() + ASKED_WITHIN;
        let heard = streams::hear(&mut child, [None, None], Some(until)).ok()?;
        Some(Said {
            ended: heard.ended,
            heard: heard.said?,
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn answer(&self, _: &mut Command) -> Option<Said> {
        None
    }
}

impl Canonical for Child {
    fn write(&self, w: &mut Writer) {
        w.bytes(&self.program);
        w.count(self.argv.len());
        for argument in &self.argv {
            w.bytes(argument);
        }
        w.option(self.dir.as_ref(), |w, dir| w.bytes(dir));
        self.hears.iter().for_each(|heard| w.u8((*heard).into()));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let program = r.bytes(PART_MAX)?.to_vec();
        let part = |r: &mut Reader<'_>| r.bytes(PART_MAX).map(<[u8]>::to_vec);
        let count = r.count(PARTS_MAX)?;
        let argv = (0..count).map(|_| part(r)).collect::<Result<_, _>>()?;
        let dir = r.option(part)?;
        let hears = [bool::read(r)?, bool::read(r)?];
        Ok(Self {
            program,
            argv,
            dir,
            hears,
        })
    }
}
