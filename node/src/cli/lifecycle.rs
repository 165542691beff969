//! run, start, stop, restart, status: whether there is a node.
//!
//! Enters: a home and its settings. Leaves: a node, or none, and a line that says so.

use super::ask::{self, Line, SOON};
use super::print::{self, Format};
use super::start::{self, Started};
use crate::config::Config;
use crate::control::{Request, Status, TrustReport};
use anyhow::{Result, anyhow, bail};
use quarry_wrapper::home::Home;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// How long a node may take to end: it stores what it captured and says goodbye.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(10);
/// What is logged where `RUST_LOG` does not say: our own doings, others' warnings.
/// Kademlia warns wherever a node is alone, which is no fault.
const LOGGED: &str = "warn,libp2p_kad=error,quarry_node=info,quarry_wrapper=info,quarry_trust=info";

/// The settings of a home, or why they cannot be used.
///
/// # Errors
/// The config file's or a variable's fault, with its place.
pub fn settings(home: &Home) -> Result<Config> {
    Config::load(home).map_err(|e| anyhow!("{e}"))
}

/// `qnode run`.
///
/// # Errors
/// Why the node cannot run.
pub fn run(detached: bool, with_parent: bool) -> Result<()> {
    let home = ask::home()?;
    home.create().map_err(|e| anyhow!("{e}"))?;
    let config = settings(&home)?;
    if with_parent {
        end_with_parent()?;
    }
    log_to_stderr();
    if !detached {
        print::note(format!(
            "qnode {} runs in {}",
            env!("CARGO_PKG_VERSION"),
            home.path().display()
        ));
    }
    crate::runtime::run(config, home).map_err(|e| anyhow!("{e}"))
}

/// Asks the kernel to end this process when the one that started it ends, however it does.
#[cfg(target_os = "linux")]
fn end_with_parent() -> Result<()> {
    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid().is_none_or(Pid::is_init) {
        bail!("the process that started this node is gone");
    }
    Ok(())
}

/// Elsewhere the starter's own clean-up must do. Unverified.
#[cfg(not(target_os = "linux"))]
fn end_with_parent() -> Result<()> {
    Ok(())
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    // A second subscriber is refused; then the first one logs.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .try_init();
}

/// `qnode start`.
///
/// # Errors
/// Why there is no node.
pub fn start(from_wrapper: bool) -> Result<()> {
    let home = ask::home()?;
    let config = settings(&home)?;
    match start::start(&home, &config, from_wrapper)? {
        Started::Already(s) => print::line(format!(
            "a node runs already (pid {}){}",
            s.pid,
            listening(&s)
        ))?,
        Started::Now(s) => print::line(format!("the node runs (pid {}){}", s.pid, listening(&s)))?,
    }
    Ok(())
}

fn listening(status: &Status) -> String {
    match status.listen.as_slice() {
        [] => String::new(),
        addresses => format!(
            ", listening on {}",
            print::clean_line(&addresses.join(", "))
        ),
    }
}

/// Starts a node where none runs, saying so on stderr.
///
/// # Errors
/// As [`start::start`].
pub fn ensure(home: &Home) -> Result<()> {
    if Line::open(home)?.is_some() {
        return Ok(());
    }
    if let Started::Now(status) = start::start(home, &settings(home)?, false)? {
        print::note(format!(
            "started the node (pid {}){}",
            status.pid,
            listening(&status)
        ));
    }
    Ok(())
}

/// `qnode stop`.
///
/// # Errors
/// That the node does not end.
pub fn stop() -> Result<()> {
    let home = ask::home()?;
    let text = if end(&home)? {
        "the node has ended"
    } else {
        "no node runs"
    };
    print::line(text)?;
    Ok(())
}

/// Ends the node and waits until its home is free; `false` where none ran.
fn end(home: &Home) -> Result<bool> {
    let Some(line) = Line::open(home)? else {
        if is_free(home) {
            return Ok(false);
        }
        bail!(
            "a node holds {} but does not answer: end it with `kill` (`qnode doctor` says more)",
            home.node_lock().display()
        );
    };
    let pid = start::status(line, ENDS_WITHIN).map(|s| s.pid).ok();
    if let Some(line) = Line::open(home)? {
        // The answer may be lost with the node that gave it; the lock tells.
        let asked = line.ask(&Request::Stop, SOON, ask::show);
        if let Err(e) = asked
            && pid.is_none()
        {
            return Err(e);
        }
    }
    let deadline = Instant::now() + ENDS_WITHIN;
    while !is_free(home) {
        if Instant::now() > deadline {
            let kill = pid.map_or("`kill` it".to_owned(), |p| {
                format!("`kill {p}` ends it at once")
            });
            bail!(
                "the node was told to end and still runs after 10 s: {kill}; `qnode log` says what it does"
            );
        }
        std::thread::sleep(POLL);
    }
    Ok(true)
}

/// Whether no node lives in `home`: it would hold the lock.
#[must_use]
pub fn is_free(home: &Home) -> bool {
    File::open(home.node_lock()).map_or(true, |lock| {
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_ok()
    })
}

/// `qnode restart`.
///
/// # Errors
/// As [`stop`] and [`start`].
pub fn restart() -> Result<()> {
    let home = ask::home()?;
    // A setting that cannot be used must not cost the node that runs.
    settings(&home)?;
    end(&home)?;
    start(false)
}

/// `qnode status`.
///
/// # Errors
/// That no node runs.
pub fn status(format: Format) -> Result<()> {
    let mut value = ask::value(&Request::Status, SOON)?;
    // An older node does not know the question; what else it says is shown all the same.
    let trust = ask::value(&belief_here(), SOON).unwrap_or_default();
    if format == Format::Json {
        value["trust"] = trust;
        print::json(&value)?;
    } else {
        let trust = ask::decode(trust).unwrap_or_default();
        print::line(status_text(&ask::decode(value)?, &trust))?;
    }
    Ok(())
}

/// The question what is believed in this directory.
pub(super) fn belief_here() -> Request {
    let here = std::env::current_dir().unwrap_or_default();
    Request::Trust {
        workspace: here.display().to_string(),
    }
}

/// The rules of a report, in one line.
pub(super) fn belief_text(trust: &TrustReport) -> String {
    let rules = trust.rules.iter().enumerate();
    // The first is the node's own setting; of the others where they stand matters.
    let rules = rules.map(|(at, rule)| match at {
        0 => rule.rule.clone(),
        _ => format!("{} ({})", rule.rule, rule.from),
    });
    rules.collect::<Vec<_>>().join(" · narrowed to ")
}

/// How many are connected, and who turns this node away.
fn peers_text(s: &Status) -> String {
    let mut text = format!("{} connected", s.peers);
    if !s.turned_away_by.is_empty() {
        text.push_str(&format!(
            "; turned away by {}: this node may have been removed from the team, or the one who let it in; ask an admin",
            s.turned_away_by.join(", ")
        ));
    }
    text
}

fn status_text(s: &Status, trust: &TrustReport) -> String {
    let team = match (&s.team, &s.role) {
        (Some(team), Some(role)) => format!("{team} (you are {role})"),
        (Some(team), None) => team.clone(),
        (None, _) => "none (`qnode team create NAME`, or `qnode join`)".to_owned(),
    };
    let listen = if s.listen.is_empty() {
        "nowhere".to_owned()
    } else {
        s.listen.join(", ")
    };
    let mut rows = vec![
        (
            "node",
            format!(
                "version {}, pid {}, for {}",
                s.version,
                s.pid,
                print::seconds(s.uptime_s)
            ),
        ),
        ("home", s.home.clone()),
        ("team", team),
        ("peer", s.peer_id.clone()),
        ("builder", s.builder.clone()),
        ("trusts", belief_text(trust)),
        (
            "shares",
            format!("what is built here with {}", trust.shared_with),
        ),
        ("listens", listen),
        ("peers", peers_text(s)),
        (
            "store",
            format!(
                "{}, {}, {} of {}",
                print::count(s.store.entries, "entry", "entries"),
                print::count(s.store.objects, "object", "objects"),
                print::bytes(s.store.bytes),
                print::bytes(s.store.limit)
            ),
        ),
        ("busy", print::count(s.busy, "compile", "compiles")),
    ];
    if let Some(fork) = &s.fork {
        let waiting = print::count(fork.waiting.len() as u64, "member", "members");
        rows.insert(
            3,
            (
                "forked",
                format!("{waiting} wait for an admin's `qnode team merge`"),
            ),
        );
    }
    if s.rotating {
        rows.push(("keys", "new ones wait for a teammate's node".to_owned()));
    }
    if !s.door.is_empty() {
        rows.insert(
            7,
            (
                "door",
                format!("open for newcomers on {}", s.door.join(", ")),
            ),
        );
    }
    print::pairs(&rows)
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
