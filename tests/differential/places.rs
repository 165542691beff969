//! Which units another checkout did not get by hits, and why: what is bound to its place, or not
//! cached at all. Everything else must have the same bytes there.

use crate::harness::{Dev, qnode};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes of files, by path below the target directory.
type Outputs = [(PathBuf, Vec<u8>)];

/// The units that were not restored in a checkout.
pub struct Bound {
    /// How many were asked for.
    asked: usize,
    /// Directory below the checkout and crate, or the package whose script ran; and why, as the
    /// node says it.
    units: Vec<(PathBuf, String, String)>,
    /// The same without the scripts' runs, and without the reasons.
    pub crates: Crates,
}

/// Crates, by the directory below the target directory that their files are in.
pub type Crates = BTreeSet<(PathBuf, String)>;

/// What the node remembers of compiles in a checkout.
fn compiles(dev: &Dev, checkout: &Path) -> Vec<Value> {
    let mut all = dev.recent();
    all.retain(|r| Path::new(text(r, "out_dir")).starts_with(checkout));
    all
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// How many compiles the node remembers of a checkout.
pub fn seen(dev: &Dev, checkout: &Path) -> usize {
    compiles(dev, checkout).len()
}

/// What was not restored in a checkout since that many compiles were remembered of it.
pub fn bound(dev: &Dev, checkout: &Path, seen: usize) -> Bound {
    let why = why(dev, checkout);
    let new = compiles(dev, checkout).split_off(seen);
    let mut bound = Bound {
        asked: new.len(),
        units: Vec::new(),
        crates: BTreeSet::new(),
    };
    for compile in new {
        if text(&compile, "outcome").starts_with("hit") {
            continue;
        }
        let out_dir = Path::new(text(&compile, "out_dir"));
        let dir = out_dir.strip_prefix(checkout.join("target")).unwrap();
        let mut name = text(&compile, "crate_name").to_owned();
        if compile["script"] == true {
            name.push_str(" (script)");
        } else {
            bound.crates.insert((dir.to_owned(), name.clone()));
        }
        let reason = match text(&compile, "outcome") {
            "bypass" => text(&compile, "reason").to_owned(),
            _ => why
                .get(text(&compile, "action"))
                .cloned()
                .unwrap_or_default(),
        };
        bound.units.push((dir.to_owned(), name, reason));
    }
    bound
}

/// For each action that was a miss, what differs from the entry that comes nearest.
fn why(dev: &Dev, checkout: &Path) -> BTreeMap<String, String> {
    let mut command = dev.command(qnode());
    let command = command.current_dir(checkout);
    let said = dev
        .run(command.args(["why", "--format", "json"]))
        .succeeded();
    let reports: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    let named = |d: &Value| format!("{} {}", text(d, "what"), text(d, "name"));
    let reason = |report: &Value| {
        let differ: Vec<String> = report["differences"]
            .as_array()
            .map(|all| all.iter().map(named).collect())
            .unwrap_or_default();
        (text(report, "action").to_owned(), differ.join(", "))
    };
    reports.iter().map(reason).collect()
}

impl Bound {
    /// Whether everything was restored.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }
}

/// Fails unless the same files are in both places, with the same bytes but for those of crates
/// that were not restored; names the ones that differ.
#[track_caller]
pub fn assert_same_but(compiled: &Crates, here: &Outputs, there: &Outputs) {
    let names = |list: &Outputs| -> Vec<PathBuf> { list.iter().map(|(n, _)| n.clone()).collect() };
    assert_eq!(names(here), names(there), "the same files");
    let differ = here.iter().zip(there).filter(|(a, b)| a.1 != b.1);
    let (own, others): (Vec<&PathBuf>, Vec<_>) = differ
        .map(|(a, _)| &a.0)
        .partition(|path| made(compiled, path));
    if !own.is_empty() {
        println!("  {} of {} files differ: {own:?}", own.len(), here.len());
    }
    assert!(others.is_empty(), "restored, and other bytes: {others:?}");
}

/// Whether one of these crates made this file.
fn made(crates: &Crates, path: &Path) -> bool {
    let stem = path.file_name().unwrap().to_string_lossy();
    let stem = stem.split_once('-').map_or(&*stem, |(stem, _)| stem);
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut crates = crates.iter().filter(|(within, _)| within == dir);
    crates.any(|(_, name)| stem == name || stem.strip_prefix("lib") == Some(name))
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let restored = self.asked - self.units.len();
        write!(f, "{restored} of {} restored", self.asked)?;
        for (dir, name, why) in &self.units {
            write!(f, "\n    {} {name}: {why}", dir.display())?;
        }
        Ok(())
    }
}
