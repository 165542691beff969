//! What clippy reads beyond what the compiler in it does.
//!
//! Enters: a command of the form `clippy-driver rustc …`, as `cargo clippy` has it run. Leaves:
//! the driver's identity, its configuration by content, the variables that its lints look at.
//! Must never happen here: a driver that is not the toolchain's own; a configuration that is
//! found upwards and not in the key; lints that read the lock file, as those of the group
//! `clippy::cargo` do.
//!
//! Sources: `clippy_config::lookup_conf_file`, clippy's `src/driver.rs`.

use crate::action::FileInput;
use crate::compiler::Bypass;
use crate::compiler::probe::Compiler;
use crate::compiler::rustc::args::Unit;
use crate::digests::FileDigests;
use crate::invocation::Invocation;
use crate::paths::Roots;
use quarry_trust::Digest;
use quarry_trust::canon::{Canonical, Writer};
use quarry_trust::digest::Domain;
use std::fs;
use std::path::{Path, PathBuf};

/// The tag under which a driver's identity is hashed.
pub const DRIVER: Domain = Domain("quarry 2026-11 clippy v1");
/// Names of a configuration; where both are in one directory, clippy warns and takes the first.
const CONFIGURATIONS: [&str; 2] = [".clippy.toml", "clippy.toml"];
/// Directories upwards in which it is looked for.
const DEPTH_MAX: usize = 128;
/// Variables that lints look at, or that decide whether there are any, and that no dep-info names.
const VARIABLES: [&str; 5] = [
    "CARGO_CRATE_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "CLIPPY_ARGS",
    "CLIPPY_DISABLE_DOCS_LINKS",
    "__CLIPPY_INTERNAL_TESTS",
];
/// Lints that run `cargo metadata`, and their group.
const WHOLE_WORKSPACE: [&str; 6] = [
    "clippy::cargo",
    "cargo_common_metadata",
    "multiple_crate_versions",
    "negative_feature_names",
    "redundant_feature_names",
    "wildcard_dependencies",
];

/// What makes a clippy that one: its driver and the compiler that it loads.
///
/// # Errors
/// [`Bypass::CompilerUnidentified`] where the driver is not the one of the compiler's sysroot.
pub fn identity(
    inv: &Invocation,
    unit: &Unit,
    compiler: &Compiler,
    files: &dyn FileDigests,
) -> Result<Digest, Bypass> {
    let Some(driver) = &unit.clippy else {
        return Ok(compiler.identity);
    };
    let unidentified = Bypass::CompilerUnidentified;
    let own = fs::canonicalize(compiler.sysroot.join("bin/clippy-driver"));
    let own = own.map_err(|_| unidentified)?;
    // `cargo clippy` names it by its path.
    let given = fs::canonicalize(inv.absolute(Path::new(driver)));
    if given.map_err(|_| unidentified)? != own {
        return Err(unidentified);
    }
    let digest = files.digest(&own).map_err(|_| unidentified)?;
    let both = [compiler.identity.as_bytes().as_slice(), digest.as_bytes()].concat();
    Ok(Digest::tagged(DRIVER, &both))
}

/// The reason that a command gives by itself not to keep what clippy says.
#[must_use]
pub fn refused(inv: &Invocation, unit: &Unit) -> Option<Bypass> {
    unit.clippy.as_ref()?;
    if inv.nonempty_var("SYSROOT").is_some() {
        return Some(Bypass::EnvCompiler);
    }
    let arguments = inv.argv.iter().map(|a| a.as_encoded_bytes());
    let told = inv
        .var("CLIPPY_ARGS")
        .map(std::ffi::OsStr::as_encoded_bytes);
    let mut all = arguments.chain(told);
    all.any(asks_for_cargo).then_some(Bypass::ClippyCargo)
}

/// Whether a text asks for lints that look at the whole workspace.
#[must_use]
pub fn asks_for_cargo(text: &[u8]) -> bool {
    WHOLE_WORKSPACE
        .iter()
        .any(|lint| memchr::memmem::find(text, lint.as_bytes()).is_some())
}

/// The variables that always count.
pub fn variables(inv: &Invocation) -> impl Iterator<Item = &str> {
    let told = inv.env.iter().filter_map(|(name, _)| name.to_str());
    told.filter(|name| name.starts_with("CARGO_PKG_"))
        .chain(VARIABLES)
}

/// The configuration as clippy finds it, in words of the key: where it is, and what it says.
///
/// # Errors
/// [`Bypass::UnreadableInput`].
pub fn configuration(
    inv: &Invocation,
    roots: &Roots,
    files: &dyn FileDigests,
) -> Result<Vec<u8>, Bypass> {
    let begins = inv
        .var("CLIPPY_CONF_DIR")
        .or_else(|| inv.var("CARGO_MANIFEST_DIR"));
    let begins = inv.absolute(begins.map_or(Path::new("."), Path::new));
    let begins: PathBuf = fs::canonicalize(begins).map_err(|_| Bypass::UnreadableInput)?;
    let mut found = Vec::new();
    for dir in begins.ancestors().take(DEPTH_MAX) {
        for path in CONFIGURATIONS.map(|name| dir.join(name)) {
            if !path.is_file() {
                continue;
            }
            let digest = files.digest(&path).map_err(|_| Bypass::UnreadableInput)?;
            let name = roots.name(&path).text().map(str::to_owned);
            found.push(FileInput {
                name: name.ok_or(Bypass::NotUtf8)?,
                digest: Some(digest),
            });
        }
        if !found.is_empty() {
            break;
        }
    }
    let mut w = Writer::default();
    w.count(found.len());
    for file in &found {
        file.write(&mut w);
    }
    Ok([b"clippy configuration ".as_slice(), &w.finish()].concat())
}
