//! The team harness: developers with a home, a cargo home, checkouts and a node of their own.
//!
//! Everything runs in temporary directories on loopback, with mDNS off, and is stopped and
//! removed at the end, also of a failed test. Waits are for events, with deadlines.

pub mod disk;
pub mod network;
pub mod projects;

use quarry_wrapper::ipc::client::with_short_path;
use quarry_wrapper::ipc::frame;
use quarry_wrapper::ipc::protocol::{FromNode, ToNode};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long an event may take before a test gives up on it.
pub const SOON: Duration = Duration::from_secs(60);

/// The node's executable.
pub fn qnode() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_qnode"))
}

/// The wrapper's executable.
pub fn qwrap() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_qwrap"))
}

/// Waits until `ready` gives a value.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a finished command said.
pub struct Said {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Its exit code; `None` for a signal.
    pub code: Option<i32>,
    /// stdout.
    pub out: String,
    /// stderr.
    pub err: String,
}

impl Said {
    /// What a finished command left.
    pub fn of(output: &Output) -> Self {
        Self {
            ok: output.status.success(),
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the command succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(
            self.ok,
            "failed ({:?}):\n{}\n{}",
            self.code, self.out, self.err
        );
        self
    }
}

/// One developer: a home, a cargo home, and wherever checkouts are put.
pub struct Dev {
    dir: TempDir,
    /// Environment beside the standard one.
    pub env: Vec<(String, String)>,
    /// What stands before every command: `ip netns exec HOST`, or nothing.
    pub prefix: Vec<String>,
}

impl Dev {
    /// A developer with nothing yet. Directories of different developers differ in length, so
    /// that a path that leaks into an output shows.
    pub fn new(name: &str) -> Self {
        Self::within(&std::env::temp_dir(), name)
    }

    /// The same, below this directory.
    pub fn within(above: &Path, name: &str) -> Self {
        tell_failures_at_once();
        let dir = tempfile::Builder::new()
            .prefix(&format!("q-{name}-"))
            .tempdir_in(above)
            .unwrap();
        let dev = Self {
            dir,
            env: Vec::new(),
            prefix: Vec::new(),
        };
        for sub in ["home", "cargo"] {
            fs::create_dir(dev.path(sub)).unwrap();
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dev.path("home"), fs::Permissions::from_mode(0o700)).unwrap();
        dev
    }

    /// The same developer, who never compiles incrementally: every edit is then compiled for
    /// everybody. For stories about what keys hold, which an edit must not turn into private
    /// compiles halfway.
    pub fn never_incremental(mut self) -> Self {
        self.env.push(("CARGO_INCREMENTAL".into(), "0".into()));
        self
    }

    /// A path below the developer's directory.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The node's home.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// A command in this developer's world: no variable of cargo's or Quarry's but our own.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.prefix.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.env_clear().stdin(Stdio::null());
        for (name, value) in std::env::vars_os() {
            let keep = [
                "PATH",
                "HOME",
                "LANG",
                "TMPDIR",
                "RUSTUP_HOME",
                "RUSTUP_TOOLCHAIN",
                "RUST_LOG",
                "USER",
            ];
            if keep.iter().any(|k| name == *k) {
                command.env(name, value);
            }
        }
        if std::env::var_os("RUSTUP_HOME").is_none()
            && let Some(home) = std::env::var_os("HOME")
        {
            // rustup looks beside CARGO_HOME otherwise.
            let rustup = Path::new(&home).join(".rustup");
            if rustup.is_dir() {
                command.env("RUSTUP_HOME", rustup);
            }
        }
        command
            .env("QUARRY_HOME", self.home())
            .env("QUARRY_LISTEN", "/ip4/127.0.0.1/tcp/0")
            .env("QUARRY_DOOR_LISTEN", "/ip4/127.0.0.1/tcp/0")
            .env("QUARRY_MDNS", "off")
            // The tests' own gate holds compiles up by files; what it does is of no account.
            .env("QUARRY_PURE_MACROS", "gate")
            .env("CARGO_HOME", self.path("cargo"))
            .env("CARGO_TERM_COLOR", "never")
            // So that the whole suite can be run in each mode.
            .envs(std::env::var_os("QUARRY_COMPILE").map(|mode| ("QUARRY_COMPILE", mode)))
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Runs `qnode` with arguments.
    pub fn qnode(&self, args: &[&str]) -> Said {
        Said::of(&self.command(qnode()).args(args).output().unwrap())
    }

    /// Runs `qnode` and reads its JSON.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let said = self
            .qnode(&[args, &["--format", "json"]].concat())
            .succeeded();
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("no JSON ({e}): {}", said.out))
    }

    /// The counters.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.json(&["stats"])
    }

    /// One counter, by its path: `hits.peer`.
    #[track_caller]
    pub fn count(&self, path: &str) -> u64 {
        let mut value = &self.stats();
        for part in path.split('.') {
            value = &value[part];
        }
        value.as_u64().unwrap_or(0)
    }

    /// The node's latest compiles, oldest first.
    #[track_caller]
    pub fn recent(&self) -> Vec<Value> {
        serde_json::from_value(self.control("\"recent\"")).unwrap()
    }

    /// What the node answers to a request, without a process of `qnode` between.
    #[track_caller]
    pub fn control(&self, request: &str) -> Value {
        let stream = with_short_path(&self.home().join("node.sock"), |p| UnixStream::connect(p));
        let mut stream = stream.expect("the node runs");
        frame::write(&mut stream, &ToNode::Control(request.into())).unwrap();
        let FromNode::Control(answer) = frame::read(&mut stream).unwrap() else {
            panic!("the answer is one to this request");
        };
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["done"].take()
    }

    /// A cargo command in a checkout, through qwrap.
    pub fn cargo(&self, checkout: &Path, args: &[&str]) -> Command {
        let mut command = self.command("cargo");
        command
            .current_dir(checkout)
            .args(args)
            .env("RUSTC_WRAPPER", qwrap());
        command
    }

    /// Runs cargo in a checkout, through qwrap.
    pub fn build(&self, checkout: &Path, args: &[&str]) -> Said {
        Said::of(&self.cargo(checkout, args).output().unwrap())
    }

    /// Runs cargo in a checkout, without qwrap.
    pub fn plain(&self, checkout: &Path, args: &[&str]) -> Said {
        let mut command = self.command("cargo");
        Said::of(&command.current_dir(checkout).args(args).output().unwrap())
    }

    /// Runs any prepared command.
    pub fn run(&self, command: &mut Command) -> Said {
        Said::of(&command.output().unwrap())
    }

    /// Starts the node and waits until it answers.
    #[track_caller]
    pub fn start(&self) {
        self.qnode(&["start"]).succeeded();
    }

    /// Waits until everything captured is stored and announced.
    #[track_caller]
    pub fn flush(&self) {
        self.qnode(&["flush"]).succeeded();
    }

    /// The process id of the node.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        u32::try_from(self.json(&["status"])["pid"].as_u64().unwrap()).unwrap()
    }

    /// Kills the node as a power cut would.
    #[track_caller]
    pub fn kill_node(&self) {
        let pid = self.pid();
        let killed = Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        // A process that nobody has waited for yet is dead all the same.
        let status = Path::new("/proc").join(pid.to_string()).join("status");
        wait_for("the node to be gone", || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let lives = text.lines().any(|l| {
                let state = l.strip_prefix("State:").map(str::trim);
                state.is_some_and(|s| !s.starts_with(['Z', 'X']))
            });
            (!lives).then_some(())
        });
    }

    /// The node's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home().join("node.log")).unwrap_or_default()
    }
}

/// Says on stderr what failed when it fails, not only at the end: what is cut off there is found
/// here, beside the tests that ran at the time.
fn tell_failures_at_once() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            tell(&format!("FAILED {}: {info}", thread.name().unwrap_or("?")));
            usual(info);
        }));
    });
}

/// Not a macro: what those print is held back until the end.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = self.qnode(&["why", "--all"]).out;
            tell(&format!("--- what was compiled, newest first:\n{why}"));
        }
        let _ = self.command(qnode()).arg("stop").output();
        if std::thread::panicking() {
            let log = tail(&self.log()).to_owned();
            tell(&format!("--- log of {}:\n{log}", self.dir.path().display()));
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A team: the first developer founds it, the others join by ticket.
pub fn team(names: &[&str]) -> Vec<Dev> {
    joined(names.iter().map(|n| Dev::new(n)).collect(), names)
}

/// The same of developers who are there already, and have these names.
pub fn joined(devs: Vec<Dev>, names: &[&str]) -> Vec<Dev> {
    devs[0]
        .qnode(&["team", "create", "desk", "--name", names[0]])
        .succeeded();
    for (dev, name) in devs.iter().zip(names).skip(1) {
        let ticket = devs[0].qnode(&["invite"]).succeeded().out;
        dev.qnode(&["join", ticket.trim(), "--name", name])
            .succeeded();
    }
    for dev in &devs {
        wait_connected(dev, devs.len() as u64 - 1);
    }
    devs
}

/// Waits until a developer's node is connected to that many peers.
#[track_caller]
pub fn wait_connected(dev: &Dev, peers: u64) {
    wait_for("the peers to connect", || {
        (dev.json(&["status"])["peers"].as_u64()? >= peers).then_some(())
    });
}

/// Waits until `bob` knows which keys `alice` holds.
#[track_caller]
pub fn wait_keys(bob: &Dev, alice: &Dev) {
    alice.flush();
    let status = alice.json(&["status"]);
    let entries = status["store"]["entries"].as_u64().unwrap();
    let mut seen = (0, Instant::now());
    wait_for("the keys to be announced", || {
        let peers = bob.json(&["peers"]);
        let mut peers = peers.as_array()?.iter();
        let keys = peers.find(|p| p["peer_id"] == status["peer_id"])?["keys"].as_u64()?;
        if keys != seen.0 {
            seen = (keys, Instant::now());
        }
        // One action key and one lookup key each, but several actions may share a lookup key:
        // where that may be so, nothing more must come for a while.
        let quiet = seen.1.elapsed() > Duration::from_secs(1);
        (keys >= 2 * entries || (keys > entries && quiet)).then_some(())
    });
}

/// Writes a program: a script that begins with its `#!`, or an executable's bytes.
pub fn write_program(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Every file below a directory, as (relative path, bytes), sorted, that `keep` keeps.
pub fn files(dir: &Path, keep: &dyn Fn(&Path) -> bool) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap();
            if kind.is_dir() {
                dirs.push(path);
            } else if keep(&path) {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The rlibs and rmetas of a target directory's `deps`.
pub fn libraries(target: &Path, profile: &str) -> Vec<(PathBuf, Vec<u8>)> {
    files(&target.join(profile).join("deps"), &|p| {
        p.extension().is_some_and(|e| e == "rlib" || e == "rmeta")
    })
}

/// Fails unless two lists of files are the same, naming the first that differ.
#[track_caller]
pub fn assert_same_files(a: &[(PathBuf, Vec<u8>)], b: &[(PathBuf, Vec<u8>)]) {
    let names = |list: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        list.iter().map(|(n, _)| n.clone()).collect()
    };
    assert_eq!(names(a), names(b), "the same files");
    let differ: Vec<_> = a
        .iter()
        .zip(b)
        .filter(|(x, y)| x.1 != y.1)
        .map(|(x, _)| x.0.display().to_string())
        .collect();
    assert!(differ.is_empty(), "files differ: {differ:?}");
}
