//! Starting a node in the background: one start at a time, nothing of the caller's left in it.
//!
//! Enters: a home and settings. Leaves: a node that answers and listens, or the reason why not,
//! out of its own log. The node gets no terminal, no working directory, no descriptors and none
//! of a build's variables: it outlives the cargo that made a wrapper start it.

use super::ask::{Line, WentAway};
use crate::config::Config;
use crate::control::{Request, Status};
use anyhow::{Result, anyhow, bail};
use quarry_wrapper::home::Home;
use rustix::fs::FlockOperation;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take until it answers: it opens a database and binds two ports. Below
/// the five seconds after which a wrapper that waits for us gives up.
const ANSWERS_WITHIN: Duration = Duration::from_millis(4_700);
/// The same where somebody typed the command: on a busy machine a slow start is no failed one.
const ANSWERS_A_PERSON_WITHIN: Duration = Duration::from_secs(30);
/// How long another start may hold the lock: somewhat more than one start takes.
const LOCK_WITHIN: Duration = Duration::from_secs(35);
/// How often a start is looked at while it lasts.
const POLL: Duration = Duration::from_millis(10);
/// Size at which the log is put aside, bytes: one is kept, so a log takes twice that.
const LOG_ROTATE: u64 = 10 << 20;
/// How much of the log is searched for the reason of a failure, bytes.
const LOG_TAIL: u64 = 64 << 10;
/// What a node keeps of its starter's environment: who and where the user is, what is meant for
/// it. A build's variables would end in compilers that the node spawns for others.
const KEPT: [&str; 12] = [
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TMPDIR",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "RUSTUP_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
];
/// Prefixes of names that it keeps too.
const KEPT_PREFIXES: [&str; 3] = ["XDG_", "QUARRY_", "LC_"];
/// What it never keeps: a secret that is none of its business.
const DROPPED: [&str; 1] = ["QUARRY_TICKET"];

/// How a start ended.
#[derive(Debug)]
pub enum Started {
    /// A node ran already.
    Already(Status),
    /// It was started.
    Now(Status),
}

/// Starts the node of `home` unless it runs. Where the caller holds the start lock
/// (`lock_is_held`), it is not taken.
///
/// # Errors
/// Why there is no node, and what to do.
pub fn start(home: &Home, config: &Config, lock_is_held: bool) -> Result<Started> {
    home.create().map_err(|e| anyhow!("{e}"))?;
    let _lock = if lock_is_held {
        None
    } else {
        Some(lock(home)?)
    };
    if let Some(line) = Line::open(home)? {
        match status(line, ANSWERS_WITHIN) {
            Ok(status) => return Ok(Started::Already(status)),
            // What was killed may still have been there to connect to. The next node waits for it.
            Err(e) if e.is::<WentAway>() => {}
            Err(e) => return Err(e),
        }
    }
    let (log, from) = open_log(home)?;
    let within = match lock_is_held {
        true => ANSWERS_WITHIN,
        false => ANSWERS_A_PERSON_WITHIN,
    };
    let mut node = spawn(log)?;
    let enough = |s: &Status| lock_is_held || config.listen.is_empty() || !s.listen.is_empty();
    let deadline = Instant::now() + within;
    let mut seen = None;
    while Instant::now() < deadline {
        if let Ok(Some(ended)) = node.try_wait() {
            bail!("the node did not start ({ended}): {}", reason(home, from));
        }
        // It may have been accepted by a node that is just ending; then the next look tells.
        if let Ok(Some(line)) = Line::open(home)
            && let Ok(status) = status(line, ANSWERS_WITHIN)
        {
            if enough(&status) {
                let _ = fs::remove_file(home.start_failed());
                return Ok(Started::Now(status));
            }
            seen = Some(status);
        }
        std::thread::sleep(POLL);
    }
    Err(late(home, &node, seen.as_ref(), from))
}

fn late(home: &Home, node: &Child, seen: Option<&Status>, from: u64) -> anyhow::Error {
    let what = if seen.is_some() {
        "runs but does not listen yet"
    } else {
        "does not answer yet"
    };
    anyhow!(
        "the node (pid {}) {what}: {}; see `qnode log`",
        node.id(),
        reason(home, from)
    )
}

/// What the node at the other end says of itself.
///
/// # Errors
/// As [`Line::ask`].
pub fn status(line: Line, within: Duration) -> Result<Status> {
    super::ask::decode(line.ask(&Request::Status, within, super::ask::show)?)
}

fn lock(home: &Home) -> Result<File> {
    let path = home.start_lock();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(|e| anyhow!("cannot open {}: {e}", path.display()))?;
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(POLL);
            }
            Err(e) => bail!(
                "another start goes on and does not end ({e}, {}): `qnode doctor`",
                path.display()
            ),
        }
    }
}

/// The log, for appending, put aside first where it is large; and its length.
fn open_log(home: &Home) -> Result<(File, u64)> {
    let path = home.log();
    if fs::metadata(&path).is_ok_and(|m| m.len() > LOG_ROTATE) {
        let _ = fs::rename(&path, path.with_extension("log.1"));
    }
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path);
    let log = log.map_err(|e| {
        anyhow!(
            "cannot write the log {}: {e}; free some space or mend its permissions",
            path.display()
        )
    })?;
    let length = log.metadata().map_or(0, |m| m.len());
    Ok((log, length))
}

/// What a node may know of the environment that it is started from.
fn environment(
    ours: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    ours.filter(|(name, _)| {
        let name = name.to_string_lossy();
        !DROPPED.contains(&&*name)
            && (KEPT.contains(&&*name) || KEPT_PREFIXES.iter().any(|p| name.starts_with(p)))
    })
}

fn spawn(log: File) -> Result<Child> {
    let node = std::env::current_exe()
        .map_err(|e| anyhow!("cannot tell where qnode lies ({e}): was it removed or replaced?"))?;
    close_on_exec();
    let mut command = Command::new(&node);
    command
        .args(["run", "--detached"])
        .current_dir("/")
        .env_clear()
        .envs(environment(std::env::vars_os()))
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(Stdio::from(log));
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    #[expect(
        unsafe_code,
        reason = "the node must leave the caller's session before it runs"
    )]
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
    command
        .spawn()
        .map_err(|e| anyhow!("cannot run {}: {e}", node.display()))
}

/// Marks every descriptor but the first three as not to be inherited: a jobserver's pipe or a
/// build's output held open by a node would keep others waiting for its end.
fn close_on_exec() {
    let listed = ["/proc/self/fd", "/dev/fd"]
        .iter()
        .find_map(|d| fs::read_dir(d).ok());
    let numbers: Vec<i32> = listed
        .into_iter()
        .flatten()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .filter(|n| *n > 2)
        .collect();
    for number in numbers {
        // SAFETY: the number was listed as open, or was the listing's own and is closed again;
        // then the call fails with EBADF. Nothing else in this process opens or closes
        // descriptors meanwhile, and only a flag is set through the borrowed one.
        #[expect(unsafe_code, reason = "inherited descriptors are known by number only")]
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if let Ok(flags) = rustix::io::fcntl_getfd(fd) {
            let _ = rustix::io::fcntl_setfd(fd, flags | rustix::io::FdFlags::CLOEXEC);
        }
    }
}

/// The last thing that a node said after `from` bytes of its log.
#[must_use]
pub fn reason(home: &Home, from: u64) -> String {
    let said = tail(&home.log(), from).and_then(|t| {
        t.lines()
            .rev()
            .find(|l| !l.trim().is_empty())
            .map(str::to_owned)
    });
    match said {
        Some(line) => line.strip_prefix("qnode: ").unwrap_or(&line).to_owned(),
        None => format!("it said nothing in {}", home.log().display()),
    }
}

/// The end of a log: at most 64 KiB, and nothing before `from`.
#[must_use]
pub fn tail(log: &Path, from: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(
        from.min(length).max(length.saturating_sub(LOG_TAIL)),
    ))
    .ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether `name` is one of a build's variables that a node must not be started with.
#[cfg(test)]
fn is_kept(name: &str) -> bool {
    let pair = (OsString::from(name), OsString::new());
    environment(std::iter::once(pair)).next().is_some()
}

/// `qwrap`, where it lies beside `node`.
#[must_use]
pub fn wrapper_beside(node: &Path) -> Option<std::path::PathBuf> {
    let beside = node.parent()?.join(OsStr::new("qwrap"));
    beside.is_file().then_some(beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builds_variables_do_not_reach_the_node() {
        for name in [
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC",
            "CARGO_HOME",
            "CARGO_MAKEFLAGS",
            "MAKEFLAGS",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "QUARRY_TICKET",
            "OUT_DIR",
        ] {
            assert!(!is_kept(name), "{name}");
        }
        for name in [
            "HOME",
            "PATH",
            "QUARRY_HOME",
            "QUARRY_LISTEN",
            "XDG_DATA_HOME",
            "RUST_LOG",
        ] {
            assert!(is_kept(name), "{name}");
        }
    }

    #[test]
    fn the_reason_is_the_last_line_of_this_start() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned()).unwrap();
        assert!(reason(&home, 0).contains("said nothing"));
        fs::write(home.log(), "old trouble\n").unwrap();
        assert!(reason(&home, 12).contains("said nothing"));
        fs::write(
            home.log(),
            "old trouble\ninfo\nqnode: the port is taken\n\n",
        )
        .unwrap();
        assert_eq!(reason(&home, 12), "the port is taken");
    }

    #[test]
    fn a_large_log_is_put_aside_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned()).unwrap();
        File::create(home.log())
            .unwrap()
            .set_len(LOG_ROTATE + 1)
            .unwrap();
        let (_, from) = open_log(&home).unwrap();
        assert_eq!(from, 0);
        assert_eq!(
            fs::metadata(dir.path().join("node.log.1")).unwrap().len(),
            LOG_ROTATE + 1
        );
        assert_eq!(fs::metadata(home.log()).unwrap().len(), 0);
    }
}
