//! Record: from a finished compile to an entry, if nothing moved under it.
//!
//! What changed at or after the start, by the filesystem's own clock, was perhaps read in another
//! state than it is in now: then nothing is stored. Outputs that hold a path of this checkout
//! that the key does not hold are not stored either.

use super::find::{LAYOUT, named, variables};
use super::moved::{Began, Ways};
use super::observed::{self, Observed};
use super::{
    Cache, Pipeline, Recording, StagedOutput, UnsignedEntry, editing, links, output_paths,
    stays_here,
};
use crate::action::{FileInput, Use, Value, Variable};
use crate::compiler::Bypass;
use crate::compiler::clippy;
use crate::compiler::depinfo::DepInfo;
use crate::compiler::rustc::args::Unit;
use crate::compiler::rustc::inputs::{self, How, Inputs, InputsError};
use crate::compiler::rustc::native;
use crate::digests::{FileDigests, Identity, local_clock, open_regular};
use crate::invocation::Invocation;
use crate::ipc::protocol::Finished;
use crate::paths::{Named, RootKind, Roots, Scanner};
use crate::stopped::Watch;
use quarry_trust::canon::Canonical;
use quarry_trust::entry::MAX_OBJECT;
use quarry_trust::{Digest, Entry, OutputKind, Verified};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A dep-info file larger than this is not read.
const DEP_INFO_MAX: u64 = 16 << 20;
const SCAN_CHUNK: usize = 1 << 20;

/// What became of a finished compile.
pub enum Recorded {
    /// It was stored.
    Stored(Box<Verified<Entry>>, Vec<u8>),
    /// It was not, for this reason.
    NotStored(Bypass),
}

pub(super) fn record(
    pipeline: &Pipeline,
    unit: &Unit,
    recording: &Recording,
    finished: &Finished,
    cache: &dyn Cache,
) -> Recorded {
    match try_record(pipeline, unit, recording, finished, cache) {
        Ok((entry, prediction)) => Recorded::Stored(Box::new(entry), prediction),
        Err(reason) => Recorded::NotStored(reason),
    }
}

fn try_record(
    pipeline: &Pipeline,
    unit: &Unit,
    r: &Recording,
    finished: &Finished,
    cache: &dyn Cache,
) -> Result<(Verified<Entry>, Vec<u8>), Bypass> {
    if !finished.success {
        return Err(Bypass::FailedCompile);
    }
    // Whatever else happens, the files are in place and this stands behind them.
    let mut behind = r.base.behind_outputs(unit);
    behind.private |= r.private.is_some();
    pipeline.places.note(&output_paths(&r.inv, unit), &behind);
    if let Some(reason) = r.private {
        return Err(reason);
    }
    editing::shared(pipeline, &r.inv, unit, &r.roots);
    let (Some(stdout), Some(stderr)) = (&finished.stdout, &finished.stderr) else {
        return Err(Bypass::MessagesTooLarge);
    };
    let dep_bytes = read_dep_info(unit, r)?;
    let dep_info = DepInfo::parse(&dep_bytes).map_err(|_| Bypass::NoDepInfo)?;
    let mut inputs = inputs::inputs(unit, &r.inv, &dep_info, &|path| fs::read(path)).map_err(
        |error| match error {
            InputsError::Assembler(_) => Bypass::AssemblerInput,
            _ => Bypass::UnreadableInput,
        },
    )?;
    unchanged_seen(pipeline, r)?;
    same_archives(unit, r)?;
    same_lints(pipeline, r, &inputs)?;
    let mut ways = Ways::new(Began::of(r), &r.inv.cwd.join(&unit.out_dir))?;
    let observed = observed::observed(pipeline, r)?;
    let mut uses = uses(r, &inputs, &observed);
    inputs.files.extend(observed.files.iter().cloned());
    inputs.absent.extend(observed.absent.iter().cloned());
    let looked = observed.sights(r, &mut ways)?;
    let mut files = digest_files(pipeline, r, &inputs, &mut ways)?;
    files.extend(links::libraries(pipeline, unit, r)?);
    files.sort();
    files.dedup();
    uses.extend(observed.variables);
    let variables = variables(&r.inv, &r.roots, &r.base, &uses, &cache.value_secret());
    let description = r.base.with(files, looked, variables, observed.ran);
    let private = stays_here(&description);
    let (action, description_bytes) = description.action();

    let outputs = stage_outputs(unit, r, &dep_info, &description.variables, cache)?;
    let store = |_| Bypass::StoreUnavailable;
    let prediction = description.prediction().to_canon();
    let entry = UnsignedEntry {
        lookup: r.base.known.lookup(),
        action,
        description: cache.stage_bytes(&description_bytes).map_err(store)?,
        prediction: prediction.clone(),
        crate_name: unit.crate_name.clone(),
        outputs,
        stdout: cache
            .stage_bytes(&r.roots.normalise(stdout))
            .map_err(store)?,
        stderr: cache
            .stage_bytes(&r.roots.normalise(stderr))
            .map_err(store)?,
        width: has_messages(stderr).then(|| unit.width.unwrap_or(0)),
        duration_ms: finished.duration_ms,
        private,
    };
    undisturbed(finished, r.watch)?;
    Ok((cache.put(entry).map_err(store)?, prediction))
}

/// Asked when all has been taken: nobody was stopped while outputs could be rewritten.
pub(super) fn undisturbed(finished: &Finished, watch: Watch) -> Result<(), Bypass> {
    if finished.stopped || watch.stopped() {
        return Err(Bypass::Stopped);
    }
    Ok(())
}

/// The variables that dep-info names, and how each enters the key. What lies in the target
/// directory and may have been found from the workspace lies elsewhere where that does.
fn uses(r: &Recording, inputs: &Inputs, observed: &Observed) -> Vec<(String, Use)> {
    let how = |how| match how {
        How::Symbolic => Use::Symbolic,
        How::Literal => Use::Literal,
    };
    let all = inputs.env.iter();
    let in_target = |path: &Path| matches!(r.roots.name(path), Named::Rooted(RootKind::Target, _));
    let out = r.inv.var("OUT_DIR");
    let found = |path: &Path| in_target(path) && out.is_none_or(|out| !path.starts_with(out));
    let mut relative = inputs.files.iter().chain(&inputs.absent);
    let layout = relative.any(|path| path.is_relative() && in_target(path))
        || observed.paths().any(|path| found(path));
    let layout = layout.then(|| (LAYOUT.to_owned(), Use::Literal));
    all.map(|e| (e.name.clone(), how(e.how)))
        .chain(layout)
        .collect()
}

/// Whether the compiler said anything besides which files it wrote.
fn has_messages(stderr: &[u8]) -> bool {
    const NOTIFICATION: &[u8] = br#"{"$message_type":"artifact""#;
    stderr
        .split(|b| *b == b'\n')
        .any(|line| !line.is_empty() && !line.starts_with(NOTIFICATION))
}

fn read_dep_info(unit: &Unit, r: &Recording) -> Result<Vec<u8>, Bypass> {
    let name = unit
        .outputs()
        .into_iter()
        .find(|o| o.kind == OutputKind::DepInfo);
    let name = name.ok_or(Bypass::NoDepInfo)?.name;
    let path = r.inv.cwd.join(&unit.out_dir).join(name);
    let mut bytes = Vec::new();
    open_regular(&path)
        .and_then(|f| f.take(DEP_INFO_MAX + 1).read_to_end(&mut bytes))
        .map_err(|_| Bypass::NoDepInfo)?;
    if bytes.len() as u64 > DEP_INFO_MAX {
        Err(Bypass::NoDepInfo)
    } else {
        Ok(bytes)
    }
}

/// What was digested before the compile began is still what it was.
fn unchanged_seen(pipeline: &Pipeline, r: &Recording) -> Result<(), Bypass> {
    for (path, before) in &r.seen {
        let now = fs::metadata(path).map_err(|_| Bypass::ChangedWhileCompiling)?;
        let now = Identity::of(&now);
        // A link that cargo made moves ctime only.
        let same = (now.device, now.inode, now.size, now.modified)
            == (before.device, before.inode, before.size, before.modified);
        let rested = now.newest() < r.looked;
        // Touched in the tick of the lookup or later: what it holds now is asked again.
        if !same || !(rested || digest_is_known(pipeline, r, path)) {
            return Err(Bypass::ChangedWhileCompiling);
        }
    }
    Ok(())
}

/// The native search directories hold the archives that stand in the key, and no others: one that
/// came meanwhile may have been found first.
fn same_archives(unit: &Unit, r: &Recording) -> Result<(), Bypass> {
    let now = native::archives(unit, &r.inv)?;
    let names = now.iter().map(|path| named(&r.roots, path));
    let names: Vec<String> = names.collect::<Result<_, _>>()?;
    if names.iter().eq(r.base.native.iter().map(|file| &file.name)) {
        Ok(())
    } else {
        Err(Bypass::ChangedWhileCompiling)
    }
}

/// Clippy found the configuration that stands in the key, and ran no lint that reads more.
fn same_lints(pipeline: &Pipeline, r: &Recording, inputs: &Inputs) -> Result<(), Bypass> {
    let Some(before) = &r.base.lints else {
        return Ok(());
    };
    if clippy::configuration(&r.inv, &r.roots, pipeline.digests.as_ref())? != *before {
        return Err(Bypass::ChangedWhileCompiling);
    }
    for path in inputs
        .files
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
    {
        let text = fs::read(path).map_err(|_| Bypass::UnreadableInput)?;
        if clippy::asks_for_cargo(&text) {
            return Err(Bypass::ClippyCargo);
        }
    }
    Ok(())
}

/// Whether the file's bytes now are those that stand in the key.
fn digest_is_known(pipeline: &Pipeline, r: &Recording, path: &Path) -> bool {
    let Ok(digest) = pipeline.digests.digest(path) else {
        return false;
    };
    let digest = Some(digest);
    r.base.externs.iter().any(|e| e.digest == digest)
        || r.base
            .macros
            .iter()
            .chain(&r.base.native)
            .chain(&r.base.link)
            .any(|f| f.digest == digest)
        || r.base.known.root.digest == digest
}

fn digest_files(
    pipeline: &Pipeline,
    r: &Recording,
    inputs: &Inputs,
    ways: &mut Ways<'_>,
) -> Result<Vec<FileInput>, Bypass> {
    let mut files: BTreeMap<String, Option<Digest>> = BTreeMap::new();
    let name = |path: &Path| {
        if r.roots.climbs_out(path) {
            return Err(Bypass::InputOutside);
        }
        named(&r.roots, path)
    };
    for path in &inputs.files {
        let path = &r.inv.cwd.join(path);
        let file = open_regular(path).map_err(|_| Bypass::UnreadableInput)?;
        let identity = file.metadata().map(|m| Identity::of(&m));
        let identity = identity.map_err(|_| Bypass::UnreadableInput)?;
        if !local_clock(&file) {
            return Err(Bypass::ForeignClock);
        }
        if identity.newest() >= r.started && !r.seen.contains_key(path) {
            return Err(Bypass::ChangedWhileCompiling);
        }
        ways.rested(path)?;
        let digest = pipeline
            .digests
            .digest(path)
            .map_err(|_| Bypass::UnreadableInput)?;
        files.insert(name(path)?, Some(digest));
    }
    for path in &inputs.absent {
        let path = &r.inv.cwd.join(path);
        absent_throughout(path, r.started)?;
        files.insert(name(path)?, None);
    }
    ways.still()?;
    Ok(files
        .into_iter()
        .map(|(name, digest)| FileInput { name, digest })
        .collect())
}

/// A file that had to be absent still is, and its directory did not change meanwhile.
pub(super) fn absent_throughout(path: &Path, started: i128) -> Result<(), Bypass> {
    if path.symlink_metadata().is_ok() {
        return Err(Bypass::ChangedWhileCompiling);
    }
    let above = path
        .ancestors()
        .skip(1)
        .find_map(|dir| fs::metadata(dir).ok());
    match above {
        Some(m) if Identity::of(&m).modified < started => Ok(()),
        _ => Err(Bypass::ChangedWhileCompiling),
    }
}

fn stage_outputs(
    unit: &Unit,
    r: &Recording,
    dep_info: &DepInfo,
    variables: &[Variable],
    cache: &dyn Cache,
) -> Result<Vec<StagedOutput>, Bypass> {
    let dir = r.inv.cwd.join(&unit.out_dir);
    let scanner = scanner(unit, (&r.inv, &r.roots), variables);
    let mut staged = Vec::new();
    for expected in unit.outputs() {
        let path = dir.join(&expected.name);
        let file = match open_regular(&path) {
            Ok(file) => file,
            Err(_) if !expected.required => continue,
            Err(_) => return Err(Bypass::MissingOutput),
        };
        let metadata = file.metadata().map_err(|_| Bypass::MissingOutput)?;
        if metadata.size() > MAX_OBJECT {
            return Err(Bypass::OutputTooLarge);
        }
        let object = if expected.kind == OutputKind::DepInfo {
            let stored = dep_info.to_stored(&r.roots).map_err(|_| Bypass::NotUtf8)?;
            cache.stage_bytes(&stored)
        } else {
            scan(&file, &scanner)?;
            cache.stage_file(&file)
        };
        staged.push(StagedOutput {
            name: expected.name,
            kind: expected.kind,
            executable: metadata.permissions().mode() & 0o111 != 0,
            staged: object.map_err(|_| Bypass::StoreUnavailable)?,
        });
    }
    staged.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(staged)
}

/// Looks for paths of this checkout in an output: the second defence.
pub(super) fn scan(mut file: &File, scanner: &Scanner) -> Result<(), Bypass> {
    let overlap = scanner.longest();
    let mut buffer = Vec::with_capacity(SCAN_CHUNK + overlap);
    loop {
        let kept = buffer.len().min(overlap);
        buffer.drain(..buffer.len() - kept);
        let n = Read::by_ref(&mut file)
            .take(SCAN_CHUNK as u64)
            .read_to_end(&mut buffer)
            .map_err(|_| Bypass::MissingOutput)?;
        if n == 0 {
            break;
        }
        if scanner.found_in(&buffer) {
            return Err(Bypass::PathInOutput);
        }
    }
    io::Seek::rewind(&mut file).map_err(|_| Bypass::MissingOutput)
}

/// What to look for. A path that stands in the key by its literal value makes the entry this
/// checkout's alone, so there it may appear.
pub(super) fn scanner(
    unit: &Unit,
    (inv, roots): (&Invocation, &Roots),
    variables: &[Variable],
) -> Scanner {
    let literal: Vec<&OsStr> = variables
        .iter()
        .filter(|v| !matches!(v.value, Value::Symbolic(_)))
        .filter_map(|v| match v.name.as_str() {
            observed::DIRECTORY => Some(inv.cwd.as_os_str()),
            name => inv.var(name),
        })
        .collect();
    Scanner::new(roots, &literal, unit.bitcode_only)
}
