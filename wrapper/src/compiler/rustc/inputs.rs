//! What a compile by rustc has read, and what must stay absent.
//!
//! Enters: a unit, its dep-info, a way to read files. Leaves: files, paths that must be absent,
//! variables and how each enters the key. Must never happen here: a variable taken for a mere
//! name of included files where its value could reach the outputs.
//!
//! What this cannot see, and what the scan of the outputs is there for: a macro of *another*
//! crate that expands to `env!("OUT_DIR")` in a crate whose own uses all name included files.

use crate::compiler::depinfo::DepInfo;
use crate::compiler::rustc::args::{SearchKind, Unit};
use crate::compiler::rustc::env_use::{Lexed, VariableUse};
use crate::invocation::Invocation;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// How a variable's value enters the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// By its value.
    Literal,
    /// By its placeholder: it only names files that are inputs by themselves.
    Symbolic,
}

/// A variable that the compile has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvUse {
    /// Its name.
    pub name: String,
    /// Its value; `None` where it was not set, which is not the same as empty.
    pub value: Option<String>,
    /// How it enters the key.
    pub how: How,
}

/// All that a compile has read, as far as dep-info says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inputs {
    /// Absolute paths, each once, in rustc's order.
    pub files: Vec<PathBuf>,
    /// Absolute paths where a file would make another program of it, or none (E0761).
    pub absent: Vec<PathBuf>,
    /// In rustc's order.
    pub env: Vec<EnvUse>,
}

/// Why the inputs are not known well enough to store the compile.
#[derive(Debug, Error)]
pub enum InputsError {
    /// The dep-info is not of this unit.
    #[error("the dep-info does not name the unit's source {0}; the compile is not cached")]
    OtherUnit(PathBuf),
    /// The compiler saw another environment than the caller's.
    #[error("{0} had another value in the compiler than in the caller; the compile is not cached")]
    VariableDiffers(String),
    /// A source file could not be read again.
    #[error("cannot read the input {path}: {source}; the compile is not cached")]
    Read {
        /// The file.
        path: PathBuf,
        /// What reading said.
        source: io::Error,
    },
    /// The assembler read files that no list names.
    #[error("{0} has assembly that reads files; the compile is not cached")]
    Assembler(PathBuf),
    /// Files under any name may be bundled.
    #[error("{0} asks for a native library by a verbatim name; the compile is not cached")]
    Verbatim(PathBuf),
}

/// The inputs of a unit that has been compiled. Relative paths are the working directory's.
///
/// # Errors
/// Any [`InputsError`].
pub fn inputs(
    unit: &Unit,
    inv: &Invocation,
    depinfo: &DepInfo,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Inputs, InputsError> {
    let mut seen = BTreeSet::new();
    let files: Vec<PathBuf> = depinfo
        .files
        .iter()
        .map(|file| inv.absolute(Path::new(file)))
        .filter(|file| seen.insert(file.clone()))
        .collect();
    let root = inv.absolute(&unit.source);
    if !seen.contains(&root) {
        return Err(InputsError::OtherUnit(root));
    }
    if may_bundle(unit) {
        refuse_verbatim(&files, read)?;
    }
    refuse_assembler_input(&files, read)?;
    let absent = files
        .iter()
        .filter(|file| **file != root)
        .filter_map(|file| sibling(file))
        .filter(|sibling| !seen.contains(sibling) && is_absent(sibling, read))
        .collect();
    let env = variables(unit, inv, depinfo, &files, read)?;
    Ok(Inputs { files, absent, env })
}

fn variables(
    unit: &Unit,
    inv: &Invocation,
    depinfo: &DepInfo,
    files: &[PathBuf],
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Vec<EnvUse>, InputsError> {
    // A path, which binds an entry to this checkout if it stands in the key as it is.
    let wanted: Vec<&str> = depinfo
        .env
        .iter()
        .filter(|(_, value)| value.as_ref().is_some_and(|v| v.starts_with('/')))
        .map(|(name, _)| name.as_str())
        .collect();
    let symbolic = if wanted.is_empty() {
        Vec::new()
    } else {
        only_includes(&wanted, files, read)?
    };
    let one = |(name, value): &(String, Option<String>)| {
        if inv.var(name) != value.as_deref().map(OsStr::new) {
            return Err(InputsError::VariableDiffers(name.clone()));
        }
        // Of this one only the configuration found from there matters, which is in the key.
        let conf = unit.clippy.is_some() && name == "CLIPPY_CONF_DIR";
        let how = if conf || symbolic.contains(&name.as_str()) {
            How::Symbolic
        } else {
            How::Literal
        };
        Ok(EnvUse {
            name: name.clone(),
            value: value.clone(),
            how,
        })
    };
    depinfo.env.iter().map(one).collect()
}

/// Those of `names` that all files together use to name included files only.
fn only_includes<'n>(
    names: &[&'n str],
    files: &[PathBuf],
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Vec<&'n str>, InputsError> {
    let mut verdicts: Vec<(&str, VariableUse)> = names
        .iter()
        .map(|name| (*name, VariableUse::None))
        .collect();
    for path in files {
        let bytes = read_input(path, read)?;
        // What is not UTF-8 was included as bytes: no source to rustc.
        let Ok(text) = std::str::from_utf8(&bytes) else {
            continue;
        };
        let lexed = Lexed::of(text);
        for (name, verdict) in &mut verdicts {
            let here = match &lexed {
                Some(lexed) => lexed.uses(name),
                // An included text, most likely; but nothing is taken for granted.
                None if text.contains(*name) || text.contains("env") => VariableUse::Value,
                None => VariableUse::None,
            };
            *verdict = match (*verdict, here) {
                (VariableUse::Value, _) | (_, VariableUse::Value) => VariableUse::Value,
                (VariableUse::IncludesOnly, _) => VariableUse::IncludesOnly,
                (VariableUse::None, here) => here,
            };
        }
    }
    let only = |(_, verdict): &(&str, VariableUse)| *verdict == VariableUse::IncludesOnly;
    Ok(verdicts
        .into_iter()
        .filter(only)
        .map(|(name, _)| name)
        .collect())
}

/// Whether native libraries can be bundled from search directories: see [`super::native`].
fn may_bundle(unit: &Unit) -> bool {
    let native = |kind| matches!(kind, SearchKind::Native | SearchKind::All);
    unit.search.iter().any(|search| native(search.kind))
}

/// `#[link(…, modifiers = "+verbatim")]` bundles a file of any name; only archives are digested.
fn refuse_verbatim(
    files: &[PathBuf],
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<(), InputsError> {
    for path in files {
        if memchr::memmem::find(&read_input(path, read)?, b"+verbatim").is_some() {
            return Err(InputsError::Verbatim(path.clone()));
        }
    }
    Ok(())
}

/// `global_asm!(".incbin \"file\"")` reads a file when code is generated, and dep-info does not say
/// so. Looked for in the crate's own text, in any case, since the assembler does not mind; also
/// pieces that a `concat!` could make the word of. Macros of the usual name are known by it.
fn refuse_assembler_input(
    files: &[PathBuf],
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<(), InputsError> {
    let mut assembly = false;
    let mut reads = None;
    for path in files {
        let bytes = read_input(path, read)?.to_ascii_lowercase();
        let holds = |word: &[u8]| memchr::memmem::find(&bytes, word).is_some();
        if holds(b"incbin!") {
            return Err(InputsError::Assembler(path.clone()));
        }
        assembly |= holds(b"asm!");
        if DIRECTIVE_PARTS.iter().any(|part| holds(part)) {
            reads = Some(path);
        }
    }
    match reads {
        Some(path) if assembly => Err(InputsError::Assembler(path.clone())),
        _ => Ok(()),
    }
}

/// The directives that read files, and string literals that end where one of them may go on in
/// the next piece.
const DIRECTIVE_PARTS: &[&[u8]] = &[
    b"incbin",
    b".include\"",
    b".include\\",
    b".include ",
    b".include\t",
    b"\"include ",
    b"\"include\\",
    b".i\"",
    b".in\"",
    b".inc\"",
    b".incl\"",
    b".inclu\"",
    b".includ\"",
    b".incb\"",
    b".incbi\"",
];

fn read_input(
    path: &Path,
    read: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Vec<u8>, InputsError> {
    read(path).map_err(|source| InputsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Where else rustc looks for the module that was found here: `foo.rs` and `foo/mod.rs`.
fn sibling(file: &Path) -> Option<PathBuf> {
    if file.extension()? != "rs" {
        return None;
    }
    let (dir, stem) = (file.parent()?, file.file_stem()?);
    if stem == "mod" {
        return Some(
            dir.parent()?
                .join(dir.file_name()?)
                .with_added_extension("rs"),
        );
    }
    Some(dir.join(stem).join("mod.rs"))
}

/// Whether nothing is there. Where something is although the compile went well, the file beside
/// it was no module found by its name (`#[path]`, `include!`).
fn is_absent(path: &Path, read: &dyn Fn(&Path) -> io::Result<Vec<u8>>) -> bool {
    read(path).is_err_and(|e| {
        matches!(
            e.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
    })
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
