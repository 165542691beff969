//! What qwrap does: ask the node, do as it says; on any doubt, run the compiler.
//!
//! Until a byte has reached cargo, every trouble ends in the caller's own command, run as it
//! came. After that the compile that runs simply goes on, node or no node, and nobody runs it
//! twice. qwrap ends as the compiler did, by signal too. It reads `QUARRY`, `QUARRY_HOME` and
//! `QUARRY_COMPILE`, and no file.

use crate::child;
use crate::home::Home;
use crate::ipc::client::{ANSWER_WITHIN, Client, SILENT_MOST};
use crate::ipc::protocol::{
    CompileRequest, Ended, FileId, Finished, FromNode, Replay, RunPlan, ToNode,
};
use crate::observer;
use crate::paths::Rewrites;
use crate::run::{self, Showing};
use crate::stopped::{self, Watch};
use crate::surroundings;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Instant;

const USAGE: &str = "qwrap: the compiler wrapper of Quarry, a peer-to-peer build cache\n\
    usage: RUSTC_WRAPPER=qwrap cargo build\n\
    (cargo then calls `qwrap rustc …`; `qnode doctor` checks the set-up)";
/// The variable that holds a ticket where a machine joins without a terminal.
pub const TICKET: &str = "QUARRY_TICKET";
/// What a shell says of a command that cannot be run.
const CANNOT_RUN: u8 = 127;

/// Runs qwrap on this process's own arguments and environment. `asked` is the socket on which the
/// answer waits where the node was asked for them already.
#[must_use]
pub fn main(asked: Option<OwnedFd>) -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    match argv.first().map(|a| a.as_bytes()) {
        None | Some(b"--help" | b"-h") => {
            eprintln!("{USAGE}");
            return ExitCode::from(if argv.is_empty() { 2 } else { 0 });
        }
        Some(b"--version" | b"-V") => {
            println!("qwrap {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(word) if word == child::WITNESS.as_bytes() => return witness(argv),
        Some(_) => {}
    }
    let Some(wanted) = Wanted::of(argv) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let off = std::env::var_os("QUARRY").is_some_and(|v| v == "off");
    // What a build script asks of the compiler is part of its run.
    let inside = std::env::var_os(observer::RUN).is_some();
    if off || inside {
        return wanted.plain();
    }
    let (mut client, answer) = match ask(&wanted, asked) {
        Asked::Answered(client, answer) => (client, answer),
        Asked::Nobody => return wanted.plain(),
        Asked::LostWhileCompiling(plan) if plan.argv.is_empty() => return wanted.plain(),
        Asked::LostWhileCompiling(plan) => return compile_again(&plan, &wanted),
    };
    match answer {
        FromNode::Replay(replay) => show(&replay),
        FromNode::Run(plan) => run_plan(&mut client, &plan, &wanted),
        FromNode::Compiled(Ended::Code(code)) => exit_code(code),
        FromNode::Compiled(Ended::Signal(signal)) => end_by(signal),
        _ => wanted.plain(),
    }
}

/// Stands between a macro and a program that it starts.
fn witness(mut argv: Vec<OsString>) -> ExitCode {
    argv.remove(0);
    let program = argv.get(1).cloned().unwrap_or_default();
    match child::witness(argv) {
        Some(Ok(status)) => exit_as(status),
        Some(Err(error)) => cannot_run(&program, &error),
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// What the caller wants to be run.
struct Wanted {
    /// The program and its arguments.
    argv: Vec<OsString>,
    /// What a build script is to be called by, where that is one: the path of its launcher.
    script: Option<OsString>,
}

impl Wanted {
    /// From qwrap's arguments; a launcher gives `--script PROGRAM NAME ARGUMENTS…`. `None` for
    /// what no launcher says.
    fn of(mut argv: Vec<OsString>) -> Option<Self> {
        if argv.first()? != "--script" {
            return Some(Self { argv, script: None });
        }
        if argv.len() < 3 {
            return None;
        }
        let name = argv.remove(2);
        argv.remove(0);
        Some(Self {
            argv,
            script: Some(name),
        })
    }

    fn command(&self, argv: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]);
        if let Some(name) = &self.script {
            command.arg0(name);
        }
        // An invitation is for `qnode join`, and no compiler's or build script's to read.
        command.env_remove(TICKET);
        command
    }

    /// Becomes the caller's command: same process, same everything.
    fn plain(&self) -> ExitCode {
        let error = self.command(&self.argv).exec();
        cannot_run(&self.argv[0], &error)
    }
}

fn cannot_run(compiler: &OsStr, error: &io::Error) -> ExitCode {
    eprintln!("qwrap: cannot run {}: {error}", compiler.display());
    ExitCode::from(CANNOT_RUN)
}

/// What came of asking the node.
enum Asked {
    /// It answered.
    Answered(Client, FromNode),
    /// Nobody did: the command is to be run as if we were not here.
    Nobody,
    /// The node died while it ran this for us: some of what it said may have been shown.
    LostWhileCompiling(RunPlan),
}

/// One round trip.
fn ask(wanted: &Wanted, asked: Option<OwnedFd>) -> Asked {
    let client = match asked {
        Some(socket) => Home::from_env()
            .ok()
            .and_then(|home| Client::asked(&home, socket).ok()),
        None => send(wanted),
    };
    let Some(mut client) = client else {
        return Asked::Nobody;
    };
    let mut deadline = Instant::now() + ANSWER_WITHIN;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Asked::Nobody;
        }
        match client.receive(Some(SILENT_MOST.min(left))) {
            Ok(FromNode::Working) => {}
            Ok(FromNode::Queued) => deadline = Instant::now() + ANSWER_WITHIN,
            Ok(FromNode::Descriptors) => {
                if surroundings::send_descriptors(client.stream()).is_err() {
                    return Asked::Nobody;
                }
            }
            // As the compile would: in our directory and environment.
            Ok(FromNode::Ask(child)) => {
                if client.send(&ToNode::Said(child.ask())).is_err() {
                    return Asked::Nobody;
                }
                deadline = Instant::now() + ANSWER_WITHIN;
            }
            // The answer comes when the compile has ended; a node that dies closes the socket.
            Ok(FromNode::Spawned(plan)) => {
                return match client.receive(None) {
                    Ok(answer) => Asked::Answered(client, answer),
                    Err(_) => Asked::LostWhileCompiling(plan),
                };
            }
            Ok(answer) => return Asked::Answered(client, answer),
            Err(_) => return Asked::Nobody,
        }
    }
}

/// Sends the request.
fn send(wanted: &Wanted) -> Option<Client> {
    let request = request(wanted)?;
    let home = Home::from_env().ok()?;
    home.check().ok()?;
    let mut client = Client::connect_or_start(&home).ok()?;
    client.send(&ToNode::Compile(Box::new(request))).ok()?;
    Some(client)
}

/// Runs what the node ran when it was lost, to the letter (another command would give other
/// metadata than dependents may have read), without repeating notifications that cargo may have
/// seen.
fn compile_again(plan: &RunPlan, wanted: &Wanted) -> ExitCode {
    let (mut command, showing) = planned(plan, wanted);
    let showing = Showing {
        swallow_notifications: true,
        ..showing
    };
    match run::run(&mut command, &showing, &mut io::stdout(), &mut io::stderr()) {
        Ok(outcome) => exit_as(outcome.status),
        Err(error) => cannot_run(command.get_program(), &error),
    }
}

/// A plan's command, and how to show what it says.
fn planned(plan: &RunPlan, wanted: &Wanted) -> (Command, Showing) {
    let argv: Vec<&OsStr> = plan.argv.iter().map(|a| OsStr::from_bytes(a)).collect();
    let mut command = wanted.command(&argv);
    let env = plan.env.iter();
    command.envs(env.map(|(k, v)| (OsStr::from_bytes(k), OsStr::from_bytes(v))));
    let showing = Showing {
        rewrites: Rewrites::new(&plan.rewrites),
        swallow_notifications: false,
    };
    (command, showing)
}

/// What the node needs to know. `None` in a working directory that is gone.
fn request(wanted: &Wanted) -> Option<CompileRequest> {
    let bytes = |s: &OsStr| s.as_bytes().to_vec();
    let cwd = std::env::current_dir().ok()?;
    let node_spawns = std::env::var_os("QUARRY_COMPILE").is_some_and(|v| v == "node");
    let script = wanted.script.is_some();
    let surroundings = (node_spawns && !script)
        .then(surroundings::observe)
        .flatten();
    let itself = std::env::current_exe().ok();
    Some(CompileRequest {
        argv: wanted.argv.iter().map(|a| bytes(a)).collect(),
        script,
        wrapper: itself.map(|path| path.into_os_string().into_vec()),
        env: std::env::vars_os()
            .filter(|(name, _)| name != TICKET)
            .map(|(k, v)| (k.into_vec(), v.into_vec()))
            .collect(),
        cwd_id: file_id(".".as_ref())?,
        root_id: file_id("/".as_ref())?,
        cwd: cwd.into_os_string().into_vec(),
        umask: umask(),
        no_stdin: !script && wanted.argv.iter().any(|a| a == "-") && is_null(io::stdin()),
        surroundings,
    })
}

/// Device and inode of a directory as this process sees it.
#[must_use]
pub fn file_id(path: &std::path::Path) -> Option<FileId> {
    let m = std::fs::metadata(path).ok()?;
    Some(FileId {
        device: m.dev(),
        inode: m.ino(),
    })
}

/// Whether a descriptor is the null device, by the numbers that it has everywhere.
#[cfg(target_os = "linux")]
pub(crate) fn is_null(fd: impl std::os::fd::AsFd) -> bool {
    use rustix::fs::{FileType, fstat, major, minor};
    fstat(fd).is_ok_and(|stat| {
        let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        device && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
    })
}

/// Elsewhere it has other numbers.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_null(_: impl std::os::fd::AsFd) -> bool {
    false
}

fn umask() -> u32 {
    use rustix::fs::Mode;
    // The mask can only be read by setting it; this process has one thread, so nobody sees 0.
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

fn show(replay: &Replay) -> ExitCode {
    // cargo reading no further is cargo's affair, as it would be the compiler's.
    let _ = io::stdout()
        .write_all(&replay.stdout)
        .and_then(|()| io::stdout().flush());
    let _ = io::stderr().write_all(&replay.stderr);
    ExitCode::SUCCESS
}

/// Runs what the node said, and tells it how that went. From the moment the compiler runs the
/// node's fate does not matter any more.
fn run_plan(client: &mut Client, plan: &RunPlan, wanted: &Wanted) -> ExitCode {
    if plan.argv.is_empty() {
        return wanted.plain();
    }
    let (mut command, showing) = planned(plan, wanted);
    let noticed = stopped::notice().is_ok();
    let watch = Watch::begin();
    let outcome = match run::run(&mut command, &showing, &mut io::stdout(), &mut io::stderr()) {
        Ok(outcome) => outcome,
        Err(error) => return cannot_run(command.get_program(), &error),
    };
    if plan.record {
        let success = outcome.status.success();
        let finished = ToNode::Finished(Finished {
            success,
            stdout: outcome.stdout,
            stderr: outcome.stderr,
            duration_ms: u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX),
            // What would not have been noticed may have happened.
            stopped: !noticed || watch.stopped(),
        });
        // The outputs are captured before cargo may touch them; a failure has none. That of a
        // script may be ours: it is run as it came then, and what it says counts.
        if client.send(&finished).is_ok() && (success || wanted.script.is_some()) {
            let answer = client.receive(Some(ANSWER_WITHIN));
            let ended = outcome.status.code().is_some();
            if !success && ended && matches!(answer, Ok(FromNode::Untouched)) {
                return wanted.plain();
            }
        }
    }
    exit_as(outcome.status)
}

fn exit_as(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => exit_code(code),
        (None, Some(signal)) => end_by(signal),
        (None, None) => ExitCode::FAILURE,
    }
}

fn exit_code(code: i32) -> ExitCode {
    // Codes are eight bits wide on every Unix.
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}

/// Ends this process by the signal that ended the compiler, without a second core dump.
fn end_by(signal: i32) -> ExitCode {
    use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    if signal == libc::SIGPIPE {
        // It is ignored in every Rust program.
        // SAFETY: sets what the kernel does with a signal.
        #[expect(
            unsafe_code,
            reason = "no safe interface gives a signal back its default"
        )]
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    if let Some(signal) = Signal::from_named_raw(signal) {
        let _ = kill_process(getpid(), signal);
    }
    exit_code(128 + signal)
}
