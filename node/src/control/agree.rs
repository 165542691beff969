//! What a team has to agree on to share, read off the latest misses: `doctor` asks.
//!
//! Enters: the latest outcomes, what teammates hold. Leaves: a line for each teammate whose
//! compiler or flags are others. Only looks.

use super::RecentReport;
use super::why::{Neighbours, nearest};
use crate::runtime::Node;
use quarry_wrapper::difference::Difference;
use std::collections::{BTreeMap, BTreeSet};

/// Crates whose latest misses are held against what teammates have: each of these is asked for.
const CRATES_COMPARED: usize = 4;
/// Settings that one line names; the others are counted.
const SETTINGS_NAMED: usize = 6;

/// One line for each teammate whose nearest entries differ from the latest misses in compiler or
/// flags. Asks teammates; blocks for some seconds at the most.
pub(super) fn notes(node: &Node) -> Vec<String> {
    let mut near = Neighbours::new(node, true);
    let mut met: BTreeMap<String, Unlike> = BTreeMap::new();
    for compile in missed(node.counters.recent()) {
        let Ok((found, neighbour)) = nearest(node, &compile, &mut near) else {
            continue;
        };
        let builder = &neighbour.entry.builder;
        if *builder == node.team.builder() || !settings_alone(&found) {
            continue;
        }
        let name = node.team.builder_name(builder);
        let unlike = met.entry(name.unwrap_or_else(|| "a teammate".to_owned()));
        let unlike = unlike.or_default();
        unlike.crates.insert(compile.crate_name);
        let settings = found.iter().filter(|d| is_setting(d));
        unlike.settings.extend(settings.map(told));
    }
    met.iter().map(|(name, unlike)| unlike.line(name)).collect()
}

#[derive(Default)]
struct Unlike {
    crates: BTreeSet<String>,
    settings: BTreeSet<String>,
}

impl Unlike {
    fn line(&self, name: &str) -> String {
        let crates: Vec<&str> = self.crates.iter().map(String::as_str).collect();
        let settings = self.settings.iter().take(SETTINGS_NAMED);
        let mut settings: Vec<String> = settings.cloned().collect();
        match self.settings.len().saturating_sub(SETTINGS_NAMED) {
            0 => {}
            more => settings.push(format!("{more} more")),
        }
        format!(
            "{} missed, and the nearest are {name}'s, with other settings: {}. Who is to share \
             builds with the same compiler (rust-toolchain.toml), RUSTFLAGS (.cargo/config.toml) \
             and profiles (Cargo.toml)",
            crates.join(", "),
            settings.join("; ")
        )
    }
}

/// The latest misses of crates, each crate once, the newest first.
fn missed(mut recent: Vec<RecentReport>) -> Vec<RecentReport> {
    let mut met = BTreeSet::new();
    recent.reverse();
    recent.retain(|r| r.outcome == "miss" && !r.script && met.insert(r.crate_name.clone()));
    recent.truncate(CRATES_COMPARED);
    recent
}

/// Whether settings explain it all: with another source it is another crate. Dependencies, what is
/// linked and what variables hold follow the settings.
fn settings_alone(found: &[Difference]) -> bool {
    found.iter().any(is_setting) && !found.iter().any(|d| matches!(d.what, "root" | "file"))
}

fn is_setting(d: &Difference) -> bool {
    matches!(d.what, "compiler" | "argument")
}

fn told(d: &Difference) -> String {
    match (d.before.as_str(), d.now.as_str()) {
        ("", now) => format!("{now} here alone"),
        (before, "") => format!("{before} there alone"),
        (before, now) => format!("{now} here, {before} there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(what: &'static str, before: &str, now: &str) -> Difference {
        Difference {
            what,
            name: String::new(),
            before: before.into(),
            now: now.into(),
        }
    }

    #[test]
    fn settings_are_compilers_and_flags_and_an_edit_is_none() {
        let flag = difference("argument", "", "--cfg a");
        let dependency = difference("dependency", "x", "y");
        assert!(settings_alone(&[flag.clone(), dependency.clone()]));
        assert!(settings_alone(&[difference("compiler", "1", "2")]));
        assert!(!settings_alone(&[flag, difference("file", "x", "y")]));
        assert!(!settings_alone(&[dependency]));
    }

    #[test]
    fn the_latest_misses_are_compared_each_crate_once() {
        let compile = |crate_name: &str, outcome: &str, ms| RecentReport {
            crate_name: crate_name.into(),
            outcome: outcome.into(),
            ms,
            ..RecentReport::default()
        };
        let found = missed(vec![
            compile("a", "miss", 1),
            compile("b", "hit-local", 2),
            compile("a", "miss", 3),
        ]);
        assert_eq!(found, [compile("a", "miss", 3)]);
        let many = (0..9).map(|n| compile(&n.to_string(), "miss", n));
        assert_eq!(missed(many.collect()).len(), CRATES_COMPARED);
    }

    #[test]
    fn a_line_names_crates_teammate_and_both_values() {
        let line = Unlike {
            crates: BTreeSet::from(["serde".to_owned()]),
            settings: BTreeSet::from([
                told(&difference("argument", "-C opt-level=3", "-C opt-level=1")),
                told(&difference("argument", "", "--cfg a")),
            ]),
        }
        .line("alice");
        assert!(line.starts_with(
            "serde missed, and the nearest are alice's, with other settings: --cfg a here alone; \
             -C opt-level=1 here, -C opt-level=3 there. "
        ));
    }
}
