//! The table of attacks: each row is carried out by a node of our own making, on real libp2p,
//! against honest nodes with a real build.
//!
//! Enters: the rows, by whom they are played. Checked after each of them: the honest team went on
//! building, and had from each other what it could have; what came out is what honest builds give;
//! both honest nodes live, and grew by no more than the row says; the attack was noticed as the row
//! says. Leaves: the table with what happened. `docs/attacks.md` carries the same rows, which a
//! test compares. Must never happen here: a row without a check that can fail.

mod door;
mod entries;
mod floods;
mod foundry;
mod frames;
mod local;
mod low;
mod members;
mod objects;
mod slow;
mod stage;

use super::mallory::Attack;
use crate::harness::{Dev, wait_for};
use serde_json::Value;
use stage::{LEFT, RIGHT, Stage};
use std::any::Any;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// What one row's build may take while its attack goes on: alone it takes half a second here, and
/// a silent member may cost two deadlines of two to three seconds each.
const PATIENCE: Duration = Duration::from_secs(20);
/// The variable that chooses rows by a part of their names (all, where it is not set), and with
/// `full` plays the floods at full length.
const CHOICE: &str = "QUARRY_ATTACKS";

/// Who attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Whoever reaches a port.
    Stranger,
    /// A member that may only read.
    Reader,
    /// A member that may build.
    Builder,
    /// A member that may sign changes of the membership.
    Admin,
    /// A member that was thrown out.
    Revoked,
    /// A process of this machine.
    Local,
}

/// How the team gets to know.
#[derive(Debug, Clone, Copy)]
pub enum Noticed {
    /// Counted as `rejected.NAME`, and one line of the log names the member, and this.
    Refused(&'static str, &'static str),
    /// A counter of `qnode stats`, by its path.
    Counted(&'static str),
    /// A line of a node's log holds this.
    Logged(&'static str),
    /// Who tried is told, and it is checked what.
    Told,
    /// Nobody: it has no effect, and looks like this from outside.
    Not(&'static str),
}

/// One attack.
pub struct Row {
    /// What it is called, here and in the documents.
    pub name: &'static str,
    /// Who attacks.
    pub who: Who,
    /// What must hold beside what must always hold.
    pub holds: &'static str,
    /// What an honest node's memory may grow by meanwhile, at its peak, MiB.
    pub mib: u64,
    /// How it is noticed.
    pub noticed: Noticed,
    /// Carries it out; it goes on until what comes back is dropped.
    pub play: fn(&Stage) -> Played,
}

/// What is looked at once Bob has built.
type Check = Box<dyn FnOnce(&Stage)>;

/// An attack under way.
#[derive(Default)]
pub struct Played {
    /// Who is to stand in the log.
    by: String,
    /// Whether what the member offers is right, and to be used.
    believed: bool,
    /// Further checks, once Bob has built.
    then: Option<Check>,
    held: Vec<Box<dyn Any>>,
}

impl Played {
    /// A member's node.
    pub fn by(foe: &stage::Foe, attack: Attack) -> Self {
        Self {
            by: foe.name.clone(),
            ..Self::default()
        }
        .holding(attack)
    }

    /// Kept until the row is over.
    pub fn holding(mut self, what: impl Any) -> Self {
        self.held.push(Box::new(what));
        self
    }

    /// What it offers is true, and is to be used.
    pub fn believed(mut self) -> Self {
        self.believed = true;
        self
    }

    /// A check for the end.
    pub fn then(mut self, check: impl FnOnce(&Stage) + 'static) -> Self {
        self.then = Some(Box::new(check));
        self
    }
}

/// How often something is done: less where the whole suite is run, which is stated.
pub fn times(usually: usize, in_full: usize) -> usize {
    if choice().contains("full") {
        in_full
    } else {
        usually
    }
}

fn choice() -> String {
    std::env::var(CHOICE).unwrap_or_default()
}

/// Every row, in the order in which they are played.
pub fn rows() -> Vec<&'static Row> {
    [
        entries::ROWS,
        objects::ROWS,
        frames::ROWS,
        slow::ROWS,
        floods::ROWS,
        local::ROWS,
        door::ROWS,
        members::ROWS,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is read of an honest node before and after a row.
struct Before {
    pid: u32,
    resident: u64,
    stats: Value,
    log: usize,
}

/// A line of /proc/PID/status, in KiB.
fn status_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    let number = line.and_then(|l| l.trim_start_matches(':').split_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// A counter, by its path.
fn count(stats: &Value, path: &str) -> u64 {
    let value = path.split('.').fold(stats, |value, part| &value[part]);
    value.as_u64().unwrap_or(0)
}

impl Before {
    fn of(dev: &Dev) -> Self {
        let (pid, stats, log) = (dev.pid(), dev.stats(), dev.log().len());
        // From here on the peak is this row's: proc_pid_clear_refs(5).
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        Self {
            pid,
            resident: status_kib(pid, "VmRSS"),
            stats,
            log,
        }
    }

    /// MiB by which the node has grown at its peak.
    fn grown(&self) -> u64 {
        status_kib(self.pid, "VmHWM").saturating_sub(self.resident) / 1024
    }

    fn more(&self, dev: &Dev, path: &str) -> u64 {
        count(&dev.stats(), path).saturating_sub(count(&self.stats, path))
    }

    fn said(&self, dev: &Dev) -> String {
        dev.log().get(self.log..).unwrap_or_default().to_owned()
    }
}

/// What came of a row.
struct Outcome {
    mib: u64,
    built: Duration,
    took: Duration,
}

fn play(stage: &Stage, row: &Row, number: usize) -> Outcome {
    stage.clear();
    stage.number.set(number);
    let (bob, alice) = (Before::of(&stage.bob), Before::of(&stage.alice));
    let began = Instant::now();
    let mut played = (row.play)(stage);
    let (building, counted) = (Instant::now(), stage.bob.stats());
    let (checkout, said) = stage.build(&number.to_string());
    let built = building.elapsed();
    assert!(said.ok, "the build failed:\n{}", said.err);
    stage.is_right(&checkout);
    assert!(built < PATIENCE, "the build took {built:?}");
    let more = |path| count(&stage.bob.stats(), path) - count(&counted, path);
    let (expected, missed) = match played.believed {
        true => (LEFT + RIGHT, 0),
        false => (LEFT, RIGHT),
    };
    assert_eq!(
        (more("hits.peer"), more("misses")),
        (expected, missed),
        "hits from teammates, and what was compiled:\n{}\n{}",
        stage.bob.qnode(&["why", "--all"]).out,
        bob.said(&stage.bob),
    );
    if let Some(check) = played.then.take() {
        check(stage);
    }
    notice(stage, row, &played.by, &bob, &alice);
    assert_eq!(stage.bob.pid(), bob.pid, "Bob's node is the same");
    assert_eq!(stage.alice.pid(), alice.pid, "Alice's node is the same");
    let mib = bob.grown().max(alice.grown());
    drop(played);
    assert!(mib <= row.mib, "a node grew by {mib} MiB");
    Outcome {
        mib,
        built,
        took: began.elapsed(),
    }
}

/// Fails unless the row was noticed as it says.
fn notice(stage: &Stage, row: &Row, by: &str, bob: &Before, alice: &Before) {
    let logs = || bob.said(&stage.bob) + &alice.said(&stage.alice);
    match row.noticed {
        Noticed::Refused(name, why) => {
            let counted = format!("rejected.{name}");
            wait_for(&counted, || {
                (bob.more(&stage.bob, &counted) > 0).then_some(())
            });
            wait_for("a line of the log that says who and why", || {
                let log = bob.said(&stage.bob);
                // A node that hears much of this kind goes on counting, and says so.
                let hushed = stage.bob.log().contains("is only counted");
                let mut lines = log.lines();
                let said =
                    lines.any(|l| l.contains(&format!("from {by} ({name})")) && l.contains(why));
                (said || hushed).then_some(())
            });
        }
        Noticed::Counted(path) => {
            wait_for(path, || {
                let more = bob.more(&stage.bob, path) + alice.more(&stage.alice, path);
                (more > 0).then_some(())
            });
        }
        Noticed::Logged(line) => {
            wait_for(line, || logs().contains(line).then_some(()));
        }
        Noticed::Told | Noticed::Not(_) => {}
    }
}

fn tell(text: &str) {
    // Not a macro: what those print is held back until the end.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Without this, every row could pass because nothing is ever asked of Mallory's kind.
fn believed_while_they_play_by_the_rules(stage: &Stage) {
    stage.clear();
    let (foe, before) = (stage.foe(), Before::of(&stage.bob));
    let attack = foe.attack(stage, foe.honestly(stage));
    let (checkout, said) = stage.build("first");
    said.succeeded();
    stage.is_right(&checkout);
    let hits = before.more(&stage.bob, "hits.peer");
    assert_eq!(hits, LEFT + RIGHT, "{}", stage.bob.log());
    drop(attack);
}

#[test]
fn the_team_goes_on_building_through_every_attack_of_the_table() {
    let choice = choice();
    let stage = Stage::set();
    believed_while_they_play_by_the_rules(&stage);
    let (mut table, mut faults) = (String::new(), Vec::new());
    let rows = rows();
    let chosen = |row: &&&Row| {
        choice
            .split('+')
            .any(|c| c == "full" || row.name.contains(c))
    };
    for (number, row) in rows.iter().filter(chosen).enumerate() {
        let outcome = catch_unwind(AssertUnwindSafe(|| play(&stage, row, number)));
        let line = match &outcome {
            Ok(o) => format!(
                "held  {:>3} of {:>3} MiB  {:>5.1} s  build {:>4.1} s  {}",
                o.mib,
                row.mib,
                o.took.as_secs_f64(),
                o.built.as_secs_f64(),
                row.name
            ),
            Err(_) => format!("FAILED {}", row.name),
        };
        if outcome.is_err() {
            faults.push(row.name);
        }
        tell(&line);
        writeln!(table, "{line}").unwrap();
    }
    assert!(faults.is_empty(), "did not hold: {faults:?}\n{table}");
}

#[test]
fn the_table_is_long_enough_and_its_names_are_its_own() {
    let rows = rows();
    let names: BTreeSet<&str> = rows.iter().map(|r| r.name).collect();
    assert_eq!(names.len(), rows.len(), "each row has a name of its own");
    assert!(rows.len() >= 40, "{} rows", rows.len());
}

/// The rows as the page has them.
fn as_a_page() -> String {
    let mut lines = String::new();
    for row in rows() {
        let noticed = match row.noticed {
            Noticed::Refused(name, why) => {
                format!("`rejected.{name}`, and the log names the member: {why}")
            }
            Noticed::Counted(path) => format!("`{path}`"),
            Noticed::Logged(line) => format!("the log: {line}"),
            Noticed::Told => "who tried is told".to_owned(),
            Noticed::Not(why) => format!("not: {why}"),
        };
        let who = format!("{:?}", row.who).to_lowercase();
        let (name, holds, mib) = (row.name, row.holds, row.mib);
        writeln!(lines, "| {name} | {who} | {holds} | {mib} | {noticed} |").unwrap();
    }
    lines
}

#[test]
fn the_page_of_attacks_has_the_rows_of_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/attacks.md");
    let text = fs::read_to_string(page).unwrap();
    let expected = as_a_page();
    assert!(
        text.contains(&expected),
        "docs/attacks.md is to hold these lines:\n{expected}"
    );
}
