//! Why a compile was a hit, a miss or a bypass: the report behind `qnode why`.
//!
//! Enters: the latest outcomes, what is stored, what teammates hold. Leaves: for each compile an
//! explanation and, for a miss, the nearest entry with the inputs that differ. Only looks.

use super::{DifferenceReport, NearestReport, RecentReport, WhyReport};
use crate::adopt::read_description;
use crate::runtime::Node;
use quarry_trust::canon::Canonical;
use quarry_trust::{ActionKey, Digest, Entry};
use quarry_wrapper::action::Description;
use quarry_wrapper::compiler::Bypass;
use quarry_wrapper::difference::{Difference, differences, distance};
use quarry_wrapper::pipeline::script::is_run;
use std::collections::HashMap;
use std::path::Path;

/// Compiles that one answer explains, at most.
const COMPILES_MOST: usize = 50;
/// Entries of one crate that a miss is compared with, at most; the newest.
const NEIGHBOURS_MOST: usize = 64;
/// Differences that are reported of one miss, at most: the weightiest.
const DIFFERENCES_MOST: usize = 200;

/// An entry that a miss is compared with.
pub(super) struct Neighbour {
    pub entry: Entry,
    description: Description,
    /// The teammate who offers it; `None` where it lies here.
    held_by: Option<String>,
}

/// Explains compiles, newest first: the latest of `crate_name`, or what was no hit lately where
/// that is none; those of `workspace` (a directory) before all others. With `all`, every one that
/// is remembered.
///
/// # Errors
/// That no such compile is remembered, in words.
pub(super) fn why(
    node: &Node,
    crate_name: Option<&str>,
    workspace: &str,
    all: bool,
) -> Result<Vec<WhyReport>, String> {
    let name = crate_name.map(|name| name.replace('-', "_"));
    let compiles = chosen(node.counters.recent(), name.as_deref(), workspace, all);
    if compiles.is_empty() {
        return match name {
            Some(name) => Err(format!(
                "no compile of a crate {name:?} is remembered since the node started: build it through qwrap, then ask again"
            )),
            None => Ok(Vec::new()),
        };
    }
    // Many crates at once are compared with what is here; teammates are asked about one.
    let mut near = Neighbours::new(node, name.is_some());
    let explain = |compile| explain(node, compile, &mut near);
    Ok(compiles.into_iter().map(explain).collect())
}

/// The compiles to explain, newest first.
fn chosen(
    mut recent: Vec<RecentReport>,
    name: Option<&str>,
    workspace: &str,
    all: bool,
) -> Vec<RecentReport> {
    recent.reverse();
    recent.retain(|r| match name {
        Some(name) => r.crate_name == name,
        None => all || !r.outcome.starts_with("hit"),
    });
    let here = |r: &RecentReport| {
        let below = |dir: &str| !workspace.is_empty() && Path::new(dir).starts_with(workspace);
        below(&r.cwd) || below(&r.out_dir)
    };
    if recent.iter().any(here) {
        recent.retain(here);
    }
    if name.is_some() && !all {
        // The latest compile, and the latest run of the package's build script.
        let mut met = [false; 2];
        recent.retain(|r| !std::mem::replace(&mut met[usize::from(r.script)], true));
    }
    recent.truncate(COMPILES_MOST);
    recent
}

/// The entries of each crate that was asked about.
pub(super) struct Neighbours<'n> {
    node: &'n Node,
    ask_peers: bool,
    known: HashMap<String, Vec<Neighbour>>,
}

impl<'n> Neighbours<'n> {
    pub(super) fn new(node: &'n Node, ask_peers: bool) -> Self {
        Self {
            node,
            ask_peers,
            known: HashMap::new(),
        }
    }

    fn of(&mut self, crate_name: &str) -> &[Neighbour] {
        let (node, ask_peers) = (self.node, self.ask_peers);
        self.known
            .entry(crate_name.to_owned())
            .or_insert_with(|| gather(node, crate_name, ask_peers))
    }
}

/// The newest entries of a crate, here and at teammates.
fn gather(node: &Node, crate_name: &str, ask_peers: bool) -> Vec<Neighbour> {
    let mut entries: Vec<Entry> = Vec::new();
    let walked = node.store.each_offer(&mut |offer| {
        let entry = Entry::from_canon(&offer.signed.bytes).ok();
        entries.extend(entry.filter(|e| e.crate_name == crate_name));
    });
    if let Err(error) = walked {
        tracing::warn!(%error, "the store could not be read for `why`");
    }
    entries.sort_by_key(|e| std::cmp::Reverse(e.created));
    entries.truncate(NEIGHBOURS_MOST);
    let scope = entries.first().map(|entry| entry.scope);
    let mut all: Vec<Neighbour> = entries
        .into_iter()
        .filter_map(|entry| {
            let bytes = read_description(node.store.as_ref(), &entry)?;
            Some(Neighbour {
                description: Description::from_canon(&bytes).ok()?,
                entry,
                held_by: None,
            })
        })
        .collect();
    if ask_peers {
        let theirs = node.worker.elsewhere(crate_name, scope).into_iter();
        all.extend(theirs.map(|(peer, entry, description)| Neighbour {
            entry: (*entry).clone(),
            description,
            held_by: Some(node.team.peer_name(&peer).unwrap_or_else(|| peer.to_hex())),
        }));
    }
    all
}

fn explain(node: &Node, compile: RecentReport, near: &mut Neighbours<'_>) -> WhyReport {
    let by = |name: &Option<String>| name.clone().unwrap_or_else(|| "a teammate".to_owned());
    let did = if compile.script { "ran" } else { "compiled" };
    let mut report = WhyReport::default();
    report.explanation = match compile.outcome.as_str() {
        "hit-local" => format!(
            "restored from this node's store; {} {did} it",
            by(&compile.signed_by)
        ),
        "hit-peer" => format!(
            "restored from {}'s node; {} {did} it",
            by(&compile.from),
            by(&compile.signed_by)
        ),
        "bypass" => Bypass::ALL
            .iter()
            .find(|b| b.name() == compile.reason)
            .map_or("compiled as cargo asked", Bypass::why)
            .to_owned(),
        _ if !compile.policy.is_empty() => format!(
            "{did} and stored: an entry was there and is not believed: {}",
            compile.policy
        ),
        _ if !compile.alone.is_empty() => {
            format!("{did} and stored: no teammate was asked: {}", compile.alone)
        }
        _ => miss(node, &compile, near, &mut report),
    };
    if !compile.disagreement.is_empty() {
        report.explanation.push_str("; ");
        report.explanation.push_str(&compile.disagreement);
    }
    report.compile = compile;
    report
}

/// Explains a miss by the entry that came nearest to what was compiled.
fn miss(
    node: &Node,
    compile: &RecentReport,
    near: &mut Neighbours<'_>,
    report: &mut WhyReport,
) -> String {
    let did = if compile.script { "ran" } else { "compiled" };
    let (found, neighbour) = match nearest(node, compile, near) {
        Ok(nearest) => nearest,
        Err(Alone::Unknown) => return format!("{did} and stored"),
        Err(Alone::Gone) => {
            return format!(
                "{did} and stored; its entry is not here any more, so there is nothing to compare with"
            );
        }
        Err(Alone::First) => {
            return format!("{did} and stored: no other entry of this crate is known");
        }
    };
    let signed_by = node.team.builder_name(&neighbour.entry.builder);
    report.nearest = Some(NearestReport {
        action: neighbour.entry.action.to_string(),
        signed_by: signed_by.unwrap_or_else(|| neighbour.entry.builder.to_hex()[..12].to_owned()),
        held_by: neighbour.held_by.clone(),
        created: neighbour.entry.created,
    });
    let held = match &neighbour.held_by {
        Some(name) => format!("at {name}'s node"),
        None => "here".to_owned(),
    };
    if found.is_empty() {
        return format!(
            "{did} and stored: the same is held {held}, but came too late or could not be had"
        );
    }
    let explanation = format!(
        "{did} and stored: the nearest entry, {held}, differs in {}",
        summary(&found)
    );
    report.differences = found.into_iter().take(DIFFERENCES_MOST).map(told).collect();
    explanation
}

/// Why a miss is compared with nothing.
pub(super) enum Alone {
    /// Its action is not known.
    Unknown,
    /// Its own entry is not here any more.
    Gone,
    /// No other entry of the crate is known.
    First,
}

/// The entry that came nearest to what was compiled, and in what it differs.
pub(super) fn nearest<'n>(
    node: &Node,
    compile: &RecentReport,
    near: &'n mut Neighbours<'_>,
) -> Result<(Vec<Difference>, &'n Neighbour), Alone> {
    let action = compile.action.as_deref().and_then(Digest::from_hex);
    let action = ActionKey::from_digest(action.ok_or(Alone::Unknown)?);
    let own = node.team.builder();
    let all = near.of(&compile.crate_name);
    let ours = |n: &&Neighbour| n.entry.action == action && n.held_by.is_none();
    let this = all.iter().find(ours).ok_or(Alone::Gone)?;
    let alike = all.iter().filter(|n| is_run(&n.entry) == compile.script);
    let others = alike.filter(|n| {
        // Our own copy of this very entry, here or brought back by a teammate, is no other.
        n.entry.action != action || (n.held_by.is_some() && n.entry.builder != own)
    });
    let compared = others.map(|n| (differences(&n.description, &this.description), n));
    compared
        .min_by_key(|(d, n)| (distance(d), std::cmp::Reverse(n.entry.created)))
        .ok_or(Alone::First)
}

fn told(d: Difference) -> DifferenceReport {
    DifferenceReport {
        what: d.what.to_owned(),
        name: d.name,
        before: d.before,
        now: d.now,
    }
}

/// `1 argument and 2 files`.
fn summary(all: &[Difference]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for difference in all {
        match counts.iter_mut().find(|(what, _)| *what == difference.what) {
            Some((_, count)) => *count += 1,
            None => counts.push((difference.what, 1)),
        }
    }
    let word = |(what, count): &(&str, usize)| match (*what, *count) {
        ("root", _) => "the root file".to_owned(),
        ("compiler", _) => "the compiler".to_owned(),
        ("observation", _) => "the rules of observation".to_owned(),
        ("dependency", 1) => "1 dependency".to_owned(),
        ("dependency", n) => format!("{n} dependencies"),
        ("native", n) => format!(
            "{n} native {}",
            if n == 1 { "library" } else { "libraries" }
        ),
        ("link", 1) => "1 part of the link".to_owned(),
        ("link", n) => format!("{n} parts of the link"),
        (what, 1) => format!("1 {what}"),
        (what, n) => format!("{n} {what}s"),
    };
    let words: Vec<String> = counts.iter().map(word).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(crate_name: &str, outcome: &str, cwd: &str, ms: u64) -> RecentReport {
        RecentReport {
            crate_name: crate_name.into(),
            outcome: outcome.into(),
            cwd: cwd.into(),
            ms,
            ..RecentReport::default()
        }
    }

    fn three() -> Vec<RecentReport> {
        vec![
            compile("a", "miss", "/ws", 1),
            compile("a", "hit-local", "/ws/sub", 2),
            compile("a", "miss", "/wsother", 3),
        ]
    }

    #[test]
    fn this_workspace_comes_first_and_the_latest_of_it() {
        let found = chosen(three(), Some("a"), "/ws", false);
        assert_eq!(found, [compile("a", "hit-local", "/ws/sub", 2)]);
        let found = chosen(three(), Some("a"), "/elsewhere", false);
        assert_eq!(found[0].ms, 3, "the latest of any, where none is of here");
        assert_eq!(chosen(three(), Some("a"), "/ws", true).len(), 2);
    }

    #[test]
    fn without_a_crate_only_what_was_no_hit_is_told() {
        let found = chosen(three(), None, "/ws", false);
        assert_eq!(found, [compile("a", "miss", "/ws", 1)]);
        assert_eq!(chosen(three(), None, "/ws", true).len(), 2);
    }

    #[test]
    fn a_summary_counts_by_kind() {
        let d = |what| Difference {
            what,
            name: String::new(),
            before: String::new(),
            now: String::new(),
        };
        assert_eq!(
            summary(&[d("root"), d("dependency"), d("dependency"), d("file")]),
            "the root file, 2 dependencies and 1 file"
        );
        assert_eq!(summary(&[d("variable")]), "1 variable");
    }
}
