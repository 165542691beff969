//! The demo's stage: a temporary place, two developers, their nodes, and a clean end.
//!
//! Enters: names. Leaves: running nodes that only this process knows of, and no trace after
//! [`Stage::clear`], whichever way the demo ends. The nodes are children: they listen on
//! loopback alone, in homes below the temporary place, and end with this process.

use super::desk_files;
use crate::cli::ask::{self, Line, SOON};
use crate::cli::print;
use crate::cli::start;
use crate::control::{RecentReport, Request, Stats, Status};
use anyhow::{Result, anyhow, bail};
use quarry_wrapper::home::Home;
use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How long a node may take to answer and listen.
const NODE_WITHIN: Duration = Duration::from_secs(15);
/// How long one of the commands may take; joining is the slowest.
const COMMAND_WITHIN: Duration = Duration::from_secs(90);
/// How long a node may take to end before it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How often a child is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How much of a command's output is read, bytes: a ticket, a sentence.
const OUTPUT_MAX: u64 = 64 << 10;
/// How often the place is removed again, should a dying compiler still write to it.
const REMOVALS: usize = 20;

/// Whether somebody wants the demo to end.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes SIGINT, SIGTERM and SIGHUP from now on: the stage must be cleared first.
    ///
    /// # Errors
    /// What the system said.
    pub fn watch() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut int, mut term, mut hup) = runtime.block_on(async {
            let (int, term) = (SignalKind::interrupt(), SignalKind::terminate());
            std::io::Result::Ok((signal(int)?, signal(term)?, signal(SignalKind::hangup())?))
        })?;
        let flag = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&flag);
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hup.recv() => {}
                }
            });
            seen.store(true, Ordering::SeqCst);
        });
        Ok(Self(flag))
    }

    /// Fails once somebody asked for the end.
    ///
    /// # Errors
    /// That somebody did.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) {
            bail!("the demo was interrupted; its nodes and files are gone");
        }
        Ok(())
    }
}

/// A person of the story: a node's home, a cargo home, a checkout.
pub struct Developer {
    /// `alice` or `bob`.
    pub name: &'static str,
    /// The node's home.
    pub home: Home,
    /// `CARGO_HOME`.
    pub cargo_home: PathBuf,
    /// Where the workspace lies.
    pub checkout: PathBuf,
}

impl Developer {
    /// The name as it starts a sentence.
    #[must_use]
    pub fn title(&self) -> String {
        let mut letters = self.name.chars();
        letters
            .next()
            .map_or_else(String::new, |l| l.to_uppercase().chain(letters).collect())
    }

    /// `Alice's`.
    #[must_use]
    pub fn possessive(&self) -> String {
        format!("{}'s", self.title())
    }

    /// The settings of this developer's node, for everything that talks to it or may start it.
    #[must_use]
    pub fn settings(&self) -> [(&'static str, OsString); 4] {
        const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";
        [
            ("QUARRY_HOME", self.home.path().into()),
            ("QUARRY_LISTEN", LOOPBACK.into()),
            ("QUARRY_DOOR_LISTEN", LOOPBACK.into()),
            ("QUARRY_MDNS", "off".into()),
        ]
    }
}

/// The temporary place and what runs in it.
pub struct Stage {
    /// Our own executable.
    node: PathBuf,
    /// qwrap beside it.
    pub wrap: PathBuf,
    place: PathBuf,
    nodes: Vec<Child>,
    interrupt: Interrupt,
    keep: bool,
}

impl Stage {
    /// Makes the place, which nobody else may enter.
    ///
    /// # Errors
    /// What the system said.
    pub fn set(node: PathBuf, wrap: PathBuf, interrupt: Interrupt, keep: bool) -> Result<Self> {
        let above = std::env::temp_dir();
        let failed = |e: std::io::Error| {
            anyhow!(
                "cannot make a place in {}: {e}; set TMPDIR to a directory of yours",
                above.display()
            )
        };
        let above = fs::canonicalize(&above).map_err(failed)?;
        let mut random = [0; 4];
        getrandom::fill(&mut random)
            .map_err(|e| anyhow!("the system gives no random bytes: {e}"))?;
        let place = above.join(format!("quarry-demo-{:08x}", u32::from_le_bytes(random)));
        DirBuilder::new()
            .mode(0o700)
            .create(&place)
            .map_err(failed)?;
        Ok(Self {
            node,
            wrap,
            place,
            nodes: Vec::new(),
            interrupt,
            keep,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// A developer with a checkout of the workspace at `NAME/checkout`.
    ///
    /// # Errors
    /// What the disk said.
    pub fn developer(&self, name: &'static str, checkout: &str) -> Result<Developer> {
        let own = self.place.join(name);
        let who = Developer {
            name,
            home: Home::at(own.join("quarry")).map_err(|e| anyhow!("{e}"))?,
            cargo_home: own.join("cargo"),
            checkout: own.join(checkout),
        };
        who.home.create().map_err(|e| anyhow!("{e}"))?;
        fs::create_dir_all(&who.cargo_home)?;
        for (path, bytes) in desk_files::FILES {
            let path = who.checkout.join(path);
            let write = || -> std::io::Result<()> {
                fs::create_dir_all(path.parent().unwrap_or(&who.checkout))?;
                fs::write(&path, bytes)
            };
            write().map_err(|e| anyhow!("cannot write {}: {e}", path.display()))?;
        }
        Ok(who)
    }

    /// Runs a developer's node until the stage is cleared.
    ///
    /// # Errors
    /// Why it does not answer or listen.
    pub fn run_node(&mut self, who: &Developer) -> Result<Status> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(who.home.log())?;
        let mut command = self.plain(&self.node.clone(), who);
        command
            .args(["run", "--with-parent"])
            .current_dir("/")
            .process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let node = command
            .spawn()
            .map_err(|e| anyhow!("cannot run {}: {e}", self.node.display()))?;
        self.nodes.push(node);
        let deadline = Instant::now() + NODE_WITHIN;
        loop {
            self.interrupt.check()?;
            if let Some(node) = self.nodes.last_mut()
                && let Ok(Some(ended)) = node.try_wait()
            {
                bail!(
                    "{} node ended ({ended}): {}",
                    who.possessive(),
                    start::reason(&who.home, 0)
                );
            }
            if let Ok(status) = self.status(who)
                && !status.listen.is_empty()
            {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} node does not answer: {}",
                    who.possessive(),
                    start::reason(&who.home, 0)
                );
            }
            std::thread::sleep(POLL);
        }
    }

    /// A command with this user's environment, less all that could disturb, and a developer's
    /// settings.
    fn plain(&self, program: &Path, who: &Developer) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_harmless(name)));
        command.envs(who.settings());
        command
    }

    /// Runs one of qnode's commands as a developer and returns what it printed.
    ///
    /// # Errors
    /// What it said on stderr.
    pub fn command(&self, who: &Developer, args: &[&str]) -> Result<String> {
        let mut command = self.plain(&self.node, who);
        command
            .args(args)
            .current_dir(&self.place)
            .stdin(Stdio::null())
            .process_group(0);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let ended = self.wait(&mut child, COMMAND_WITHIN)?;
        let read = |from: Option<&mut dyn Read>| -> String {
            let mut bytes = Vec::new();
            // What was read before an error is what there is to show.
            let _ = from.map(|f| f.take(OUTPUT_MAX).read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let said = read(child.stderr.as_mut().map(|f| f as &mut dyn Read));
        if !ended {
            bail!(
                "`qnode {}` failed for {}: {}",
                args.join(" "),
                who.title(),
                said.trim()
            );
        }
        Ok(read(child.stdout.as_mut().map(|f| f as &mut dyn Read)))
    }

    /// A cargo in a developer's checkout, offline, through qwrap.
    #[must_use]
    pub fn cargo(&self, who: &Developer) -> Command {
        let mut command = self.plain(Path::new("cargo"), who);
        command
            .env("CARGO_HOME", &who.cargo_home)
            .env("RUSTC_WRAPPER", &self.wrap)
            .current_dir(&who.checkout)
            .process_group(0)
            .stdin(Stdio::null());
        command
    }

    /// Waits for a child to end; says whether it succeeded. One that is too late, or that
    /// nobody wants any more, is ended with its whole group.
    ///
    /// # Errors
    /// That it took too long, or that the demo was interrupted.
    pub fn wait(&self, child: &mut Child, within: Duration) -> Result<bool> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.success());
            }
            let wanted = self.interrupt.check().and_then(|()| {
                if Instant::now() < deadline {
                    Ok(())
                } else {
                    bail!("a step took over {} s", within.as_secs())
                }
            });
            if let Err(e) = wanted {
                end_group(child);
                return Err(e);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits a moment.
    ///
    /// # Errors
    /// That the demo was interrupted.
    pub fn pause(&self, moment: Duration) -> Result<()> {
        std::thread::sleep(moment);
        self.interrupt.check()
    }

    /// Asks a developer's node.
    ///
    /// # Errors
    /// As [`Line::ask`].
    pub fn ask(&self, who: &Developer, request: &Request) -> Result<serde_json::Value> {
        let Some(line) = Line::open(&who.home)? else {
            bail!(
                "{} node is gone: {}",
                who.possessive(),
                start::reason(&who.home, 0)
            );
        };
        line.ask(request, SOON, |_| {})
    }

    /// A node's `status`.
    ///
    /// # Errors
    /// As [`Stage::ask`].
    pub fn status(&self, who: &Developer) -> Result<Status> {
        ask::decode(self.ask(who, &Request::Status)?)
    }

    /// A node's `stats`.
    ///
    /// # Errors
    /// As [`Stage::ask`].
    pub fn stats(&self, who: &Developer) -> Result<Stats> {
        ask::decode(self.ask(who, &Request::Stats { reset: false })?)
    }

    /// A node's latest compiles, oldest first, without runs of build scripts.
    ///
    /// # Errors
    /// As [`Stage::ask`].
    pub fn recent(&self, who: &Developer) -> Result<Vec<RecentReport>> {
        let mut all: Vec<RecentReport> = ask::decode(self.ask(who, &Request::Recent)?)?;
        all.retain(|report| !report.script);
        Ok(all)
    }

    /// Ends the nodes and removes the place; where it is kept, says where it is.
    pub fn clear(&mut self) -> Option<PathBuf> {
        for node in &mut self.nodes {
            signal_group(node, Signal::TERM);
        }
        for mut node in self.nodes.drain(..) {
            let deadline = Instant::now() + ENDS_WITHIN;
            while matches!(node.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    let _ = node.kill();
                    let _ = node.wait();
                    break;
                }
                std::thread::sleep(POLL);
            }
        }
        if self.keep {
            return Some(self.place.clone());
        }
        for _ in 0..REMOVALS {
            if fs::remove_dir_all(&self.place).is_ok() || !self.place.exists() {
                return None;
            }
            std::thread::sleep(POLL);
        }
        print::note(format!(
            "cannot remove {}: remove it yourself",
            self.place.display()
        ));
        None
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.clear();
    }
}

fn signal_group(child: &Child, signal: Signal) {
    // Not reaped yet, so the number is still this child's and its group's.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

fn end_group(child: &mut Child) {
    signal_group(child, Signal::TERM);
    let deadline = Instant::now() + ENDS_WITHIN;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    signal_group(child, Signal::KILL);
    let _ = child.wait();
}

/// Whether a variable may reach the demo's nodes and builds: none that changes how cargo or
/// rustc work, none of Quarry's, none that loads code into processes.
fn is_harmless(name: &std::ffi::OsStr) -> bool {
    const DISTURBING: [&str; 9] = [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "QUARRY",
        "LD_",
        "DYLD_",
        "MAKE",
        "MFLAGS",
    ];
    let name = name.to_string_lossy();
    !DISTURBING.iter().any(|prefix| name.starts_with(prefix))
}

/// A file for what a child says, below the place.
///
/// # Errors
/// What the disk said.
pub fn transcript(path: &Path) -> Result<File> {
    File::create(path).map_err(|e| anyhow!("cannot write {}: {e}", path.display()))
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
