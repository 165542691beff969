//! What a link consists of, beyond what a library's compile reads.
//!
//! Enters: a unit that is linked. Leaves: before the compile, the crates behind it and the linker
//! by content; after it, the libraries that the linker was asked for, by what they mean here.
//! Which libraries those are no command says (`#[link]` stands in some crate's source), so their
//! names are predicted as those of sources are, and the meaning is looked up here, now. Must never
//! happen here: a link stored whose linker was given a file that the key does not hold.

use super::behind::{self, crate_file};
use super::places::Behind;
use super::{Base, Pipeline, Recording, restore};
use crate::action::FileInput;
use crate::compiler::Bypass;
use crate::compiler::linker::{Library, Linker};
use crate::compiler::probe::Compiler;
use crate::compiler::rustc::args::{SearchKind, Unit};
use crate::compiler::rustc::link_line::{self, Held, MAX_LINE};
use crate::compiler::rustc::outputs::Linking;
use crate::digests::{Identity, open_regular};
use crate::invocation::Invocation;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names of libraries begin so among the names of files: no root has this placeholder.
const LIBRARY: &str = "/quarry/linked/";
/// Libraries that a prediction may name. Programs for desktops are linked with a hundred.
pub(super) const LIBRARIES_MAX: usize = 1_000;

/// How a unit is linked by the system's linker.
pub(super) struct Linked {
    linker: Arc<Linker>,
    compiler: Arc<Compiler>,
    /// Where libraries are looked for, in the linker's order.
    directories: Vec<PathBuf>,
}

/// The crates and the linker of a unit, by content, in ascending order.
pub(super) fn base(
    pipeline: &Pipeline,
    inv: &Invocation,
    unit: &Unit,
    compiler: &Arc<Compiler>,
    behind: &Behind,
    seen: &mut HashMap<PathBuf, Identity>,
) -> Result<(Vec<FileInput>, Option<Linked>), Bypass> {
    let linking = unit.linking();
    if linking == Linking::None {
        return Ok((Vec::new(), None));
    }
    let for_host = unit.target.as_ref().is_none_or(|t| *t == compiler.host);
    if !for_host || !compiler.host.ends_with("-linux-gnu") {
        return Err(Bypass::LinkTarget);
    }
    let mut link = behind::crates(pipeline, inv, unit, behind, seen)?;
    let mut linked = None;
    if linking == Linking::Linker {
        let linker = pipeline
            .linkers
            .identify(inv, unit, compiler, pipeline.digests.as_ref())?;
        link.extend(linker.parts.iter().cloned());
        linked = Some(Linked {
            directories: directories(inv, unit, compiler, &linker),
            compiler: Arc::clone(compiler),
            linker,
        });
    }
    link.sort();
    link.dedup();
    Ok((link, linked))
}

fn directories(
    inv: &Invocation,
    unit: &Unit,
    compiler: &Compiler,
    linker: &Linker,
) -> Vec<PathBuf> {
    let native = |kind| matches!(kind, SearchKind::Native | SearchKind::All);
    let given = unit.search.iter().filter(|s| native(s.kind));
    let mut all: Vec<PathBuf> = given.map(|s| inv.cwd.join(&s.path)).collect();
    let target = unit.target.as_ref().unwrap_or(&compiler.host);
    all.push(
        compiler
            .sysroot
            .join("lib/rustlib")
            .join(target)
            .join("lib"),
    );
    all.extend(linker.directories.iter().cloned());
    all
}

/// The library that a name among a prediction's files asks for; `None` for a file's name.
pub(super) fn library_of(name: &str) -> Option<&str> {
    name.strip_prefix(LIBRARY)
}

impl Linked {
    /// What a library means here.
    pub(super) fn library(&self, pipeline: &Pipeline, name: &str) -> Option<Library> {
        Library::find(name, &self.directories, pipeline.digests.as_ref())
    }
}

/// A file into which rustc writes how it runs the linker; removed when this goes.
pub(super) struct Witness(PathBuf);

impl Witness {
    /// A witness of a unit's link, where the system's linker runs.
    pub(super) fn of(base: &Base, out_dir: &Path) -> Option<Self> {
        base.linked.as_ref()?;
        Some(Self(restore::temporary(out_dir, "link")))
    }

    /// The argument by which rustc writes it.
    pub(super) fn argument(&self) -> OsString {
        let mut argument = OsString::from("--print=link-args=");
        argument.push(&self.0);
        argument
    }

    fn read(&self) -> Option<String> {
        let mut text = String::new();
        let file = open_regular(&self.0).ok()?;
        file.take(MAX_LINE + 1).read_to_string(&mut text).ok()?;
        (text.len() as u64 <= MAX_LINE).then_some(text)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The libraries that a finished link was made with, by what they mean; empty for other units.
pub(super) fn libraries(
    pipeline: &Pipeline,
    unit: &Unit,
    r: &Recording,
) -> Result<Vec<FileInput>, Bypass> {
    let Some(linked) = &r.base.linked else {
        return Ok(Vec::new());
    };
    let inv = &r.inv;
    let now = pipeline
        .linkers
        .identify(inv, unit, &linked.compiler, pipeline.digests.as_ref())?;
    if now != linked.linker {
        return Err(Bypass::ChangedWhileCompiling);
    }
    let witness = r.witness.as_ref().and_then(Witness::read);
    let line = witness.ok_or(Bypass::LinkInput)?;
    let held_crate = |name: &str| {
        let name = crate_file(name);
        r.base.link.iter().any(|file| file.name == name)
    };
    let held_archive = |path: &Path| {
        let name = super::find::named(&r.roots, path);
        name.is_ok_and(|name| r.base.native.iter().any(|file| file.name == name))
    };
    let names = link_line::libraries(
        &line,
        &Held {
            unit,
            cwd: &inv.cwd,
            sysroot: &linked.compiler.sysroot,
            crates: &held_crate,
            archive: &held_archive,
            directories: &linked.directories,
        },
    )?;
    let mut all = Vec::new();
    for name in names {
        // A crate's own library, which is looked for among the crates.
        if held_crate(&format!("lib{name}.so")) {
            continue;
        }
        let library = linked.library(pipeline, &name).ok_or(Bypass::LinkLibrary)?;
        for path in &library.read {
            let rested = fs::metadata(path).is_ok_and(|m| Identity::of(&m).newest() < r.started);
            if !rested {
                return Err(Bypass::ChangedWhileCompiling);
            }
        }
        all.push(FileInput {
            name: format!("{LIBRARY}{name}"),
            digest: Some(library.digest),
        });
    }
    if all.len() > LIBRARIES_MAX {
        return Err(Bypass::LinkLibrary);
    }
    Ok(all)
}
