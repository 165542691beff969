//! What stands behind a unit: the macros that ran for it and the crates that it is made of.
//!
//! Enters: a unit's externs, and what is remembered of the places where they lie. Leaves: macro
//! libraries by content, and the names of all crates that a link of it would take. Must never
//! happen here: a crate left out; where nothing is remembered, whatever a search directory holds
//! counts.

use super::find::file_name;
use super::places::Behind;
use super::{Pipeline, digest_seen};
use crate::action::FileInput;
use crate::compiler::Bypass;
use crate::compiler::rustc::args::{SearchKind, Unit};
use crate::digests::Identity;
use crate::invocation::Invocation;
use quarry_trust::Digest;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

fn is_library(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "so" || e == "dylib")
}

/// The name that a crate's files have in common: `NAME-HASH` of `libNAME-HASH.rmeta`.
fn stem(path: &Path) -> Option<&str> {
    let known = ["rlib", "rmeta", "so", "dylib"];
    let extension = path.extension().and_then(OsStr::to_str)?;
    let name = path.file_stem().and_then(OsStr::to_str)?;
    known
        .contains(&extension)
        .then(|| name.strip_prefix("lib"))
        .flatten()
}

/// Where the crates of a unit's crates are looked for.
fn dependencies(inv: &Invocation, unit: &Unit) -> Vec<PathBuf> {
    let dirs = unit.search.iter();
    dirs.filter(|s| s.kind == SearchKind::Dependency)
        .map(|s| inv.cwd.join(&s.path))
        .collect()
}

/// Every macro library from outside the sysroot, and every crate, that is reachable through the
/// externs.
pub(super) fn behind(
    pipeline: &Pipeline,
    inv: &Invocation,
    unit: &Unit,
    seen: &mut HashMap<PathBuf, Identity>,
) -> Result<Behind, Bypass> {
    let mut macros: BTreeMap<String, Digest> = BTreeMap::new();
    let mut crates = BTreeSet::new();
    let mut unknown = false;
    let mut private = false;
    let mut library = |path: &Path, macros: &mut BTreeMap<String, Digest>| {
        let digest = digest_seen(pipeline.digests.as_ref(), path, seen);
        let digest = digest.map_err(|_| Bypass::UnreadableInput)?;
        macros.insert(file_name(path)?, digest);
        Ok(())
    };
    for path in unit.externs.iter().filter_map(|e| e.path.as_ref()) {
        let path = inv.cwd.join(path);
        crates.extend(stem(&path).map(str::to_owned));
        if is_library(&path) {
            library(&path, &mut macros)?;
        }
        private |= pipeline.places.is_private(&path);
        if let Some(closure) = pipeline.places.behind(&path) {
            let known = closure.macros.iter();
            macros.extend(known.filter_map(|m| Some((m.name.clone(), m.digest?))));
            crates.extend(closure.crates.iter().cloned());
        } else {
            // A library that we do not know is a macro, most likely: it stands for itself.
            unknown |= !is_library(&path);
        }
    }
    if unknown {
        // Something was compiled without us: whatever a search directory holds may stand behind it.
        for dir in dependencies(inv, unit) {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if is_library(&path) {
                    library(&path, &mut macros)?;
                }
                if let Some(stem) = stem(&path) {
                    private |= pipeline.places.is_private(&path);
                    crates.insert(stem.to_owned());
                }
            }
        }
    }
    let macros = macros.into_iter().map(|(name, digest)| FileInput {
        name,
        digest: Some(digest),
    });
    Ok(Behind {
        macros: macros.collect(),
        crates: crates.into_iter().collect(),
        private,
    })
}

/// The files of all crates behind a unit, by content: what a link may take.
pub(super) fn crates(
    pipeline: &Pipeline,
    inv: &Invocation,
    unit: &Unit,
    behind: &Behind,
    seen: &mut HashMap<PathBuf, Identity>,
) -> Result<Vec<FileInput>, Bypass> {
    let mut dirs = dependencies(inv, unit);
    let given = unit.externs.iter().filter_map(|e| e.path.as_ref());
    dirs.extend(given.filter_map(|path| Some(inv.cwd.join(path).parent()?.to_owned())));
    let mut met = BTreeSet::new();
    dirs.retain(|dir| met.insert(dir.clone()));
    let mut all = Vec::new();
    for stem in &behind.crates {
        for extension in ["rlib", "so"] {
            let name = format!("lib{stem}.{extension}");
            let Some(path) = dirs.iter().map(|dir| dir.join(&name)).find(|p| p.is_file()) else {
                continue;
            };
            let digest = digest_seen(pipeline.digests.as_ref(), &path, seen);
            all.push(FileInput {
                name: crate_file(&name),
                digest: Some(digest.map_err(|_| Bypass::UnreadableInput)?),
            });
        }
    }
    Ok(all)
}

/// What a crate's file is called in the description of a link.
pub(super) fn crate_file(name: &str) -> String {
    format!("crate {name}")
}
