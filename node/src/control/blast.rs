//! What a builder's entries have reached: the report before `qnode purge --builder`.
//!
//! Enters: the journal, the entries that are here with their descriptions, the target directories
//! themselves, the members' own journals. Leaves: which crates, which projects, which files still
//! hold those bytes, on whose machines what runs was restored. The walk from one entry to another
//! is `service::blast`'s. Only looks; deletes nothing. Must never happen here: a file that is
//! followed through a link, a member that is waited for without a deadline.

use super::target;
use crate::adopt::read_description;
use crate::runtime::Node;
use crate::service::blast::{Graph, Made, Reach};
use crate::store::{Kind, Placed, Store};
use crate::swarm::RestoredCrate;
use quarry_trust::canon::Canonical;
use quarry_trust::{BuilderId, Digest, Entry, Standing};
use quarry_wrapper::action::{Description, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long members are asked, all of them together.
const MEMBERS_WITHIN: Duration = Duration::from_secs(10);
/// Files that one report names. Beyond it `qnode` says to clean the projects.
const FILES_MAX: usize = 20_000;
/// What stands before the name of a directory that a build script filled, in its stand-in digest.
const OUT: &str = "OUT_DIR ";
/// The same before the package's name.
const RUN: &str = "run of ";

/// What a builder's entries have reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlastReport {
    /// The builder's key.
    pub builder: String,
    /// Its name in the roster, also of a former member.
    pub builder_name: Option<String>,
    /// `stands`, `retired`, `revoked` or `unknown`.
    pub standing: String,
    /// Its entries that are in this node's store now.
    pub entries: u64,
    /// Entries in the store that others made from what it signed.
    pub built_from: u64,
    /// What of that was put into target directories here.
    pub crates: Vec<BlastCrate>,
    /// The projects they are in: workspaces, or target directories that lie elsewhere.
    pub projects: Vec<String>,
    /// The files in those.
    pub files: Vec<BlastFile>,
    /// Files beyond those that one report names.
    pub files_more: u64,
    /// What other members restored.
    pub members: Vec<BlastMember>,
    /// Whether there were more entries than one report looks at.
    pub cut: bool,
}

/// One crate that came from the builder, or was built from what did.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlastCrate {
    /// Its name.
    pub crate_name: String,
    /// `library`, `macro`, `build-script`, `script-run` or `program`.
    pub kind: String,
    /// Whether it runs while building, steers what runs, or is a program.
    pub executes: bool,
    /// `restored`: the builder signed it; `built-from`: somebody else did, with such an input.
    pub how: String,
    /// Who signed it: a name, or the key.
    pub signed_by: String,
    /// Whether somebody who stands compiled the same bytes from clean inputs.
    pub agreed: bool,
    /// The action key.
    pub action: String,
    /// The directories that it was put into.
    pub dirs: Vec<String>,
    /// When last, seconds since 1970.
    pub at: u64,
}

/// One file that came from the builder, or was built from what did.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlastFile {
    /// Its path; of a build script's run OUT_DIR.
    pub path: String,
    /// `holds` these bytes still (delete it), `changed`, or `gone`.
    pub state: String,
    /// The crate.
    pub crate_name: String,
    /// `restored` or `built-from`.
    pub how: String,
    /// Whether somebody who stands compiled the same bytes from clean inputs.
    pub agreed: bool,
}

/// What one member restored of the builder's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlastMember {
    /// The member's name.
    pub name: String,
    /// Whether it answered; who is away is not asked.
    pub asked: bool,
    /// Crates that run while building, steer what runs, or are programs: change this member's
    /// keys where there are any.
    pub executes: Vec<String>,
    /// The other crates.
    pub libraries: Vec<String>,
    /// Crates beyond those that an answer holds.
    pub more: u64,
}

/// The report on a builder. Asks members; blocks for some seconds at the most.
///
/// # Errors
/// What the store said.
pub(super) fn blast(node: &Node, builder: BuilderId) -> Result<BlastReport, String> {
    let store = node.store.as_ref();
    let mut rows = Vec::new();
    store
        .each_placed(None, &mut |placed| rows.push(placed))
        .map_err(|e| e.to_string())?;
    let walked = walk(node, &builder, &rows).map_err(|e| e.to_string())?;
    let mut report = BlastReport {
        builder: builder.to_hex(),
        builder_name: name_of(node, &builder),
        standing: standing(node, &builder).to_owned(),
        entries: walked.entries,
        built_from: walked.reach.built_from.len() as u64,
        cut: walked.cut,
        ..BlastReport::default()
    };
    let signed_by = |builder: &BuilderId| name_of(node, builder).unwrap_or(builder.to_hex());
    rows.retain(|row| how(row, &builder, &walked.reach).is_some());
    list_crates(&mut report, &rows, &builder, &walked.reach, &signed_by);
    list_files(&mut report, &rows, &builder, &walked.reach);
    report.members = members(node, &builder);
    Ok(report)
}

/// How a row's files came from the builder, where they did.
fn how(row: &Placed, builder: &BuilderId, reach: &Reach) -> Option<&'static str> {
    if row.builder == *builder {
        Some("restored")
    } else {
        let derived = reach.built_from.contains(&(row.action, row.builder));
        derived.then_some("built-from")
    }
}

fn agreed(row: &Placed, reach: &Reach) -> bool {
    !row.files.is_empty() && row.files.iter().all(|(_, d)| reach.agreed.contains(d))
}

fn list_crates(
    report: &mut BlastReport,
    rows: &[Placed],
    builder: &BuilderId,
    reach: &Reach,
    signed_by: &dyn Fn(&BuilderId) -> String,
) {
    let mut crates: BTreeMap<_, BlastCrate> = BTreeMap::new();
    for row in rows {
        let how = how(row, builder, reach).unwrap_or_default();
        let key = (
            how != "restored",
            row.crate_name.clone(),
            row.action,
            row.builder,
        );
        let entry = crates.entry(key).or_insert_with(|| BlastCrate {
            crate_name: row.crate_name.clone(),
            kind: row.kind.word().to_owned(),
            executes: row.kind.executes(),
            how: how.to_owned(),
            signed_by: signed_by(&row.builder),
            agreed: agreed(row, reach),
            action: row.action.to_string(),
            dirs: Vec::new(),
            at: 0,
        });
        entry.dirs.push(row.dir.clone());
        entry.dirs.sort();
        entry.at = entry.at.max(row.at / 1000);
    }
    report.crates = crates.into_values().collect();
}

fn list_files(report: &mut BlastReport, rows: &[Placed], builder: &BuilderId, reach: &Reach) {
    let mut projects = BTreeSet::new();
    let mut files: BTreeMap<String, BlastFile> = BTreeMap::new();
    let mut more = 0;
    for row in rows {
        let dir = Path::new(&row.dir);
        projects.insert(target::project(dir).display().to_string());
        for (name, digest) in &row.files {
            if files.len() >= FILES_MAX {
                more += 1;
                continue;
            }
            let is_out = row.kind == Kind::ScriptRun;
            for (path, state) in target::states(dir, name, digest, is_out) {
                let file = BlastFile {
                    path: path.display().to_string(),
                    state: state.to_owned(),
                    crate_name: row.crate_name.clone(),
                    how: how(row, builder, reach).unwrap_or_default().to_owned(),
                    agreed: reach.agreed.contains(digest),
                };
                // Of two rows for one file the one counts whose bytes it holds.
                let known = files.get(&file.path);
                if known.is_none_or(|known| known.state != target::HOLDS) {
                    files.insert(file.path.clone(), file);
                }
            }
        }
    }
    report.projects = projects.into_iter().collect();
    report.files = files.into_values().collect();
    report.files_more = more;
}

struct Walked {
    entries: u64,
    reach: Reach,
    cut: bool,
}

/// Two walks through the store: the first names what came out of anything, the second what each
/// entry was made from. Between them only digests are held.
fn walk(
    node: &Node,
    builder: &BuilderId,
    rows: &[Placed],
) -> Result<Walked, crate::store::StoreError> {
    let store = node.store.as_ref();
    let mut graph = Graph::default();
    let mut seeds = BTreeSet::new();
    let mut runs: HashMap<_, Vec<Digest>> = HashMap::new();
    for row in rows {
        let mut outputs: Vec<Digest> = row.files.iter().map(|(_, d)| *d).collect();
        if row.kind == Kind::ScriptRun {
            let stands_in = stand_ins_of_run(&row.crate_name, Path::new(&row.dir));
            let known = runs.entry((row.action, row.builder)).or_default();
            known.extend_from_slice(&stands_in);
            outputs.extend(stands_in);
        }
        outputs.iter().for_each(|digest| graph.output(*digest));
        if row.builder == *builder {
            seeds.extend(outputs);
        }
    }
    let mut entries = 0;
    each_entry(store, &mut |entry| {
        let outputs = outputs_of(&entry);
        outputs.iter().for_each(|digest| graph.output(*digest));
        if entry.builder == *builder {
            entries += 1;
            seeds.extend(outputs);
        }
    })?;
    each_entry(store, &mut |entry| {
        let mut outputs = outputs_of(&entry);
        outputs.extend(
            runs.get(&(entry.action, entry.builder))
                .into_iter()
                .flatten(),
        );
        graph.add(&Made {
            action: entry.action,
            builder: entry.builder,
            stands: standing(node, &entry.builder) == "stands",
            inputs: inputs_of(store, &entry),
            outputs,
        });
    })?;
    let seeds: Vec<Digest> = seeds.into_iter().collect();
    Ok(Walked {
        entries,
        reach: graph.reach(builder, &seeds),
        cut: graph.is_cut(),
    })
}

fn each_entry(
    store: &dyn Store,
    each: &mut dyn FnMut(Entry),
) -> Result<(), crate::store::StoreError> {
    store.each_signed(&mut |signed| {
        if let Ok(entry) = Entry::from_canon(&signed.bytes) {
            each(entry);
        }
    })
}

/// What came out of an entry, but for what is rewritten for each checkout.
fn outputs_of(entry: &Entry) -> Vec<Digest> {
    let kept = entry.outputs.iter();
    let kept = kept.filter(|o| o.kind != quarry_trust::OutputKind::DepInfo && o.object.size > 0);
    kept.map(|o| o.object.digest).collect()
}

/// What an entry was made from, by its stored description.
fn inputs_of(store: &dyn Store, entry: &Entry) -> Vec<Digest> {
    let bytes = read_description(store, entry);
    let Some(d) = bytes.and_then(|bytes| Description::from_canon(&bytes).ok()) else {
        return Vec::new();
    };
    let files = [&d.files, &d.macros, &d.native, &d.link]
        .into_iter()
        .flatten();
    let mut inputs: Vec<Digest> = files.clone().filter_map(|f| f.digest).collect();
    inputs.extend(d.externs.iter().filter_map(|e| e.digest));
    inputs.extend(d.known.root.digest);
    let outs: BTreeSet<&str> = files
        .map(|f| f.name.as_str())
        .chain(d.variables.iter().filter_map(|v| match &v.value {
            Value::Symbolic(text) => Some(text.as_str()),
            _ => None,
        }))
        .filter_map(out_dir_in)
        .collect();
    inputs.extend(outs.iter().map(|out| stand_in(OUT, out)));
    if !quarry_wrapper::pipeline::script::is_run(entry) {
        inputs.push(stand_in(RUN, &entry.crate_name));
    }
    inputs
}

/// What stands for the result of a build script's run among digests: its files are inputs of
/// others by name, below OUT_DIR; and what it said reaches its own package's crate.
fn stand_ins_of_run(package: &str, out_dir: &Path) -> [Digest; 2] {
    let named = target::named(out_dir);
    [stand_in(OUT, &named), stand_in(RUN, package)]
}

fn stand_in(what: &str, name: &str) -> Digest {
    Digest::of(format!("{what}{name}").as_bytes())
}

/// The part of a placeholder name up to the OUT_DIR that it lies in.
fn out_dir_in(name: &str) -> Option<&str> {
    let below = name.strip_prefix(target::PLACEHOLDER)?;
    let at = below.find("/build/")?;
    let package = &below[at + "/build/".len()..];
    let end = package.find("/out")? + "/out".len();
    let rest = &package[end..];
    let whole = rest.is_empty() || rest.starts_with('/');
    whole.then(|| &name[..target::PLACEHOLDER.len() + at + "/build/".len() + end])
}

pub(super) fn standing(node: &Node, builder: &BuilderId) -> &'static str {
    match node.team.roster(|r| r.standing(builder)) {
        Some(Standing::Stands) => "stands",
        Some(Standing::Retired) => "retired",
        Some(Standing::Revoked) => "revoked",
        None if *builder == node.team.builder() => "stands",
        _ => "unknown",
    }
}

/// The name of a member, present or former.
pub(super) fn name_of(node: &Node, builder: &BuilderId) -> Option<String> {
    node.team.builder_name(builder).or_else(|| {
        let former = |r: &quarry_trust::Roster| {
            let mut former = r.former();
            let found = former.find(|(m, _)| m.builder == *builder);
            found.map(|(m, _)| m.name.clone())
        };
        node.team.roster(former).flatten()
    })
}

/// Asks every member that is connected, one after another, within one deadline.
fn members(node: &Node, builder: &BuilderId) -> Vec<BlastMember> {
    let deadline = Instant::now() + MEMBERS_WITHIN;
    let mut all = Vec::new();
    for status in node.swarm.peers() {
        let Some(name) = node.team.peer_name(&status.peer) else {
            continue;
        };
        let answer = if status.connected {
            node.swarm.restored(&status.peer, builder, deadline).ok()
        } else {
            None
        };
        let asked = answer.is_some();
        let answer = answer.unwrap_or_default();
        let named = |executes: bool| {
            let some = answer.crates.iter().filter(|c| c.executes == executes);
            some.map(line).collect()
        };
        all.push(BlastMember {
            name,
            asked,
            executes: named(true),
            libraries: named(false),
            more: answer.more,
        });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn line(c: &RestoredCrate) -> String {
    match c.count {
        1 => c.crate_name.clone(),
        n => format!("{} ({n} times)", c.crate_name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_below_out_dir_leads_to_it_and_no_other_does() {
        let out = "/quarry/target/debug/build/a-0123/out";
        for (name, expected) in [
            (format!("{out}/table.rs"), Some(out)),
            (format!("{out}/deep/er.rs"), Some(out)),
            (out.to_owned(), Some(out)),
            (format!("{out}er/table.rs"), None),
            ("/quarry/target/debug/deps/liba.rlib".to_owned(), None),
            ("/quarry/ws/build/a/out/x.rs".to_owned(), None),
            (
                "/quarry/target/x86/debug/build/a-0123/output".to_owned(),
                None,
            ),
        ] {
            assert_eq!(out_dir_in(&name), expected, "{name}");
        }
    }

    #[test]
    fn a_run_is_an_input_of_who_names_a_file_of_its_own_directory() {
        let dir = Path::new("/home/bob/ws/target/debug/build/a-0123/out");
        let named = target::named(dir);
        assert_eq!(named, "/quarry/target/debug/build/a-0123/out");
        let file = format!("{named}/table.rs");
        let found = out_dir_in(&file).map(|out| stand_in(OUT, out));
        assert_eq!(found, Some(stand_ins_of_run("a", dir)[0]));
    }
}
