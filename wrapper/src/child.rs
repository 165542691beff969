//! A program that a macro started: run beside a witness while a compile is observed, and run again
//! where a lookup wants to know whether it would still say the same.
//!
//! Enters: what was to be run; the environment and directory of a compile. Leaves: a digest of all
//! that the program said and how it ended; from a witness, the program's own streams and end, and a
//! report for the node. Must never happen here: a program that runs otherwise than its macro wanted
//! it to, a report of one whose caller could have told it, or heard from it, more than a report
//! holds.

use crate::invocation::Invocation;
use crate::ipc::frame;
use crate::ipc::protocol::Ended;
use crate::run::{self, Outcome, Showing};
use bincode::{Decode, Encode};
use quarry_trust::Digest;
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::digest::Hasher;
use rustix::fs::{FileType, fstat};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

/// qwrap's argument in front of a report's path, a program, and what that is to be called with.
pub const WITNESS: &str = "--witness";
/// Variables that hand a jobserver's descriptors down: their numbers say nothing.
pub(crate) const JOBSERVER: [&str; 3] = ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];
/// Bytes of each stream that a report holds; who says more is not asked again.
const SAID_MAX: usize = 1 << 20;
/// Arguments, and variables, of one program.
const PARTS_MAX: usize = 1000;
/// Bytes of one of them.
const PART_MAX: usize = 64 * 1024;

/// What was run, beside the directory and the environment that a compile has anyway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Child {
    /// The program, as it was named.
    pub program: Vec<u8>,
    /// Its arguments, from its own name on.
    pub argv: Vec<Vec<u8>>,
    /// Its working directory, where that was not the compile's.
    pub dir: Option<Vec<u8>>,
    /// Variables that the compile did not have so, in ascending order.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a witness tells of a program.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    /// What was run; its variables are all that it had.
    pub child: Child,
    /// How it ended.
    pub ended: Ended,
    /// All of its stdout.
    pub stdout: Vec<u8>,
    /// All of its stderr.
    pub stderr: Vec<u8>,
}

impl Report {
    /// A digest of what the program said and how it ended.
    #[must_use]
    pub fn said(&self) -> Digest {
        said(self.ended, &self.stdout, &self.stderr)
    }
}

fn said(ended: Ended, stdout: &[u8], stderr: &[u8]) -> Digest {
    let (by, number) = match ended {
        Ended::Code(code) => (0_u8, code),
        Ended::Signal(signal) => (1, signal),
    };
    let mut all = Hasher::new();
    all.update(&[by]);
    all.update(&number.to_le_bytes());
    all.update(&(stdout.len() as u64).to_le_bytes());
    all.update(stdout);
    all.update(stderr);
    all.finish()
}

fn ended(status: ExitStatus) -> Option<Ended> {
    let signal = status.signal().map(Ended::Signal);
    status.code().map(Ended::Code).or(signal)
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
    /// where it could not be run or said too much.
    #[must_use]
    pub fn ask(&self) -> Option<Digest> {
        self.answer(&mut self.command())
    }

    /// The same in a compile's directory and environment.
    #[must_use]
    pub fn ask_for(&self, inv: &Invocation) -> Option<Digest> {
        let mut command = self.command();
        command.current_dir(&inv.cwd).env_clear();
        command.envs(inv.env.iter().map(|(name, value)| (name, value)));
        for name in JOBSERVER {
            command.env_remove(name);
        }
        self.answer(&mut command)
    }

    fn answer(&self, command: &mut Command) -> Option<Digest> {
        let os = |bytes: &Vec<u8>| OsString::from_vec(bytes.clone());
        command
            .envs(self.env.iter().map(|(name, value)| (os(name), os(value))))
            .env_remove(crate::shim::TICKET)
            .stdin(std::process::Stdio::null());
        if let Some(dir) = &self.dir {
            command.current_dir(os(dir));
        }
        let (mut out, mut err) = (io::sink(), io::sink());
        let outcome = run::run(command, &Showing::default(), &mut out, &mut err).ok()?;
        let (ended, stdout, stderr) = told(&outcome)?;
        Some(said(ended, stdout, stderr))
    }
}

/// How a program ended and what it said; `None` where that is too much.
fn told(outcome: &Outcome) -> Option<(Ended, &[u8], &[u8])> {
    let stream = |kept: &'_ Option<Vec<u8>>| kept.as_ref().is_some_and(|s| s.len() <= SAID_MAX);
    if !stream(&outcome.stdout) || !stream(&outcome.stderr) {
        return None;
    }
    let (stdout, stderr) = (outcome.stdout.as_deref()?, outcome.stderr.as_deref()?);
    Some((ended(outcome.status)?, stdout, stderr))
}

/// Runs `REPORT PROGRAM NAME ARGUMENTS…` as whoever started us wanted PROGRAM to be run, and leaves
/// a report where it can be repeated. `None` for what no observer says.
pub(crate) fn witness(mut argv: Vec<OsString>) -> Option<io::Result<ExitStatus>> {
    if argv.len() < 3 {
        return None;
    }
    let arguments = argv.split_off(2);
    let [report, program]: [OsString; 2] = argv.try_into().ok()?;
    let bytes = |text: OsString| text.into_vec();
    let mut child = Child {
        program: bytes(program),
        argv: arguments.into_iter().map(bytes).collect(),
        dir: None,
        env: Vec::new(),
    };
    let mut command = child.command();
    if !could_be_repeated() {
        return Some(Err(command.exec()));
    }
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let outcome = match run::run(&mut command, &Showing::default(), &mut out, &mut err) {
        Ok(outcome) => outcome,
        Err(error) => return Some(Err(error)),
    };
    if let Some((ended, stdout, stderr)) = told(&outcome) {
        child.dir = std::env::current_dir().ok().map(|dir| bytes(dir.into()));
        let env = std::env::vars_os();
        child.env = env
            .map(|(name, value)| (bytes(name), bytes(value)))
            .collect();
        let whole = Report {
            child,
            ended,
            stdout: stdout.to_vec(),
            stderr: stderr.to_vec(),
        };
        // Without a report the compile is not kept.
        let _ = leave(&report, &whole);
    }
    Some(Ok(outcome.status))
}

fn leave(path: &OsStr, report: &Report) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let bytes = frame::encode(report).map_err(io::Error::other)?;
    options.open(path)?.write_all(&bytes)
}

/// Whether all that reaches this process, and all that it says, is in a report: stdin is empty, the
/// other two streams are pipes (or nothing), and no further pipe or socket is open but such as the
/// compiler's own caller holds, and a jobserver's.
fn could_be_repeated() -> bool {
    let kind = |fd: i32| {
        // SAFETY: it is looked at and not kept; one that is closed is an error.
        #[expect(unsafe_code, reason = "a descriptor by its number")]
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        fstat(fd).map(|s| (FileType::from_raw_mode(s.st_mode), (s.st_dev, s.st_ino)))
    };
    let pipe = |fd: i32| kind(fd).is_ok_and(|(kind, _)| kind == FileType::Fifo);
    let heard = crate::shim::is_null(io::stdout()) || pipe(1);
    let warned = crate::shim::is_null(io::stderr()) || pipe(2);
    if !crate::shim::is_null(io::stdin()) || !heard || !warned {
        return false;
    }
    let caller = compilers_caller();
    let from_outside = |fd: i32, id: (u64, u64)| {
        let there = fs::metadata(format!("/proc/{caller}/fd/{fd}"));
        there.is_ok_and(|m| (m.dev(), m.ino()) == id)
    };
    let jobserver = crate::surroundings::jobserver();
    let of_jobserver = |fd: i32| jobserver.is_some_and(|(read, write)| fd == read || fd == write);
    let Ok(open) = fs::read_dir("/proc/self/fd") else {
        return false;
    };
    let numbers = open.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut others = numbers.filter(|fd| *fd > 2 && !of_jobserver(*fd));
    others.all(|fd| match kind(fd) {
        Ok((FileType::Fifo | FileType::Socket, id)) => from_outside(fd, id),
        _ => true,
    })
}

/// The process that started the compiler which is our parent; 0 for none.
fn compilers_caller() -> u32 {
    let stat = fs::read(format!(
        "/proc/{}/stat",
        std::os::unix::process::parent_id()
    ));
    // The parent stands second behind the name in parentheses: proc_pid_stat(5).
    let stat = stat.unwrap_or_default();
    let behind = stat.iter().rposition(|b| *b == b')').unwrap_or(0);
    let rest = stat.get(behind..).unwrap_or_default();
    let parent = rest.split(|b| *b == b' ').nth(2).unwrap_or_default();
    let parent = std::str::from_utf8(parent)
        .ok()
        .and_then(|p| p.parse().ok());
    parent.unwrap_or(0)
}

impl Canonical for Child {
    fn write(&self, w: &mut Writer) {
        w.bytes(&self.program);
        w.count(self.argv.len());
        for argument in &self.argv {
            w.bytes(argument);
        }
        w.option(self.dir.as_ref(), |w, dir| w.bytes(dir));
        w.count(self.env.len());
        for (name, value) in &self.env {
            w.bytes(name);
            w.bytes(value);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let program = r.bytes(PART_MAX)?.to_vec();
        let part = |r: &mut Reader<'_>| r.bytes(PART_MAX).map(<[u8]>::to_vec);
        let count = r.count(PARTS_MAX)?;
        let argv = (0..count).map(|_| part(r)).collect::<Result<_, _>>()?;
        let dir = r.option(part)?;
        let count = r.count(PARTS_MAX)?;
        let env = (0..count).map(|_| Ok((part(r)?, part(r)?)));
        let env = env.collect::<Result<Vec<_>, CanonError>>()?;
        quarry_trust::canon::strictly_ascending(env.iter().map(|(name, _)| name))?;
        Ok(Self {
            program,
            argv,
            dir,
            env,
        })
    }
}
