//! demo: two nodes, two checkouts, one real build shared between them, on this machine.
//!
//! Enters: nothing but this executable, qwrap beside it and a cargo in PATH. Leaves: a story on
//! the terminal with a table at its end, and nothing else: nodes and files go, also on an error
//! and on Ctrl-C. Every step is a real one: real nodes and sockets, the commands that a user
//! types, cargo and rustc. Must never happen here: a number that was not measured.

mod build;
mod compare;
mod desk_files;
mod stage;

use super::ask;
use super::print;
use super::start::wrapper_beside;
use crate::control::{PeerReport, Request};
use anyhow::{Result, anyhow, bail};
use build::Built;
use stage::{Developer, Interrupt, Stage};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long Bob's index may take to learn what Alice holds: a connection and one message.
const INDEX_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(50);

/// `qnode demo`.
///
/// # Errors
/// Which step failed, and why.
pub fn run(keep: bool) -> Result<()> {
    let node = std::env::current_exe().map_err(|e| anyhow!("cannot tell where qnode lies: {e}"))?;
    let wrap = wrapper_beside(&node).ok_or_else(|| {
        anyhow!(
            "qwrap does not lie beside {}: install both (`cargo install`)",
            node.display()
        )
    })?;
    let interrupt = Interrupt::watch()?;
    let mut stage = Stage::set(node, wrap.clone(), interrupt, keep)?;
    let told = tell(&mut stage);
    let left = stage.clear();
    told?;
    if let Some(place) = left {
        print::line(format!(
            "\nThe nodes have ended; their files stay in {}",
            place.display()
        ))?;
    }
    print::line(next_steps(&wrap))?;
    Ok(())
}

fn tell(stage: &mut Stage) -> Result<()> {
    print::line(format!(
        "Two developers on this machine, in {}",
        stage.place().display()
    ))?;
    let alice = stage.developer("alice", "desk")?;
    let bob = stage.developer("bob", "elsewhere/desk")?;
    for who in [&alice, &bob] {
        let status = stage.run_node(who)?;
        step(
            &format!("{} node", who.possessive()),
            &format!("pid {}, {}", status.pid, status.listen.join(", ")),
        )?;
    }
    stage.command(&alice, &["team", "create", "desk", "--name", "alice"])?;
    let ticket = stage.command(&alice, &["invite", "--expires", "10m"])?;
    stage.command(&bob, &["join", ticket.trim(), "--name", "bob"])?;
    step(
        "team desk",
        "Alice made it and invited Bob; Bob joined with her ticket",
    )?;

    let hers = build::build(stage, &alice)?;
    step("Alice builds", &hers.summary())?;
    stage.command(&alice, &["flush"])?;
    let keys = wait_for_index(stage, &alice, &bob)?;
    step(
        "Bob hears of it",
        &format!("{keys} keys that Alice holds, not one object yet"),
    )?;
    let his = build::build(stage, &bob)?;
    step("Bob builds", &his.summary())?;

    let verdict = compare::compare(&alice, &bob, (&hers, &his))?;
    let (earlier, later) = (stage.recent(&alice)?, stage.recent(&bob)?);
    print::line(format!(
        "\n{}\n",
        compare::table(&earlier, &later, (&hers, &his))
    ))?;
    print::line(verdict.text())?;
    let from_alice = stage.stats(&bob)?.hits.peer;
    if from_alice == 0 {
        bail!(
            "Bob's build took nothing from Alice's node: `qnode demo --keep` leaves both nodes' logs to look at"
        );
    }
    verdict.judge()
}

/// A finished phase, as a line.
fn step(what: &str, how: &str) -> Result<()> {
    print::line(format!("  {what:<16} {}", print::clean_line(how)))?;
    Ok(())
}

/// Waits until Bob's node knows what Alice holds.
fn wait_for_index(stage: &Stage, alice: &Developer, bob: &Developer) -> Result<u64> {
    let entries = stage.status(alice)?.store.entries;
    let deadline = Instant::now() + INDEX_WITHIN;
    loop {
        let peers: Vec<PeerReport> = ask::decode(stage.ask(bob, &Request::Peers)?)?;
        let keys = peers
            .iter()
            .filter(|p| p.connected)
            .map(|p| p.keys)
            .max()
            .unwrap_or(0);
        if keys > 0 && keys >= entries {
            return Ok(keys);
        }
        if Instant::now() > deadline {
            bail!(
                "Bob's node knows {keys} of the {entries} entries that Alice's holds after {} s: \
                 `qnode demo --keep` leaves both nodes' logs to look at",
                INDEX_WITHIN.as_secs()
            );
        }
        stage.pause(POLL)?;
    }
}

fn next_steps(wrap: &std::path::Path) -> String {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("qwrap") == *wrap));
    let wrap: PathBuf = if found {
        "qwrap".into()
    } else {
        wrap.to_owned()
    };
    let wrap = wrap.display();
    format!(
        "\nYour own project:\n  \
           RUSTC_WRAPPER={wrap} cargo build      once; the node starts by itself\n  \
           qnode setup                           for every build from now on\n\
         With a teammate:\n  \
           you   qnode team create NAME && qnode invite\n  \
           they  qnode join TICKET\n\
         and `qnode stats` tells what it saved."
    )
}

/// Alice's build and Bob's.
type Builds<'a> = (&'a Built, &'a Built);
