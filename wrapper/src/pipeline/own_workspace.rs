//! The one question that macros start a program for and that is understood: of what workspace
//! their package is (`cargo locate-project`, as the crate proc-macro-crate asks it).
//!
//! Enters: what a macro started, word for word. Leaves: what the answer depends on, where the
//! package has no workspace above it: the manifest, cargo, and that there is no manifest in any
//! directory above, which stands among the variables. Must never happen here: another question, or
//! another cargo, taken for this one.

use crate::invocation::Invocation;
use crate::paths::{RootKind, Roots, cargo_home};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Stands among the variables for whether there is a manifest above the package's own. No variable
/// has an equals sign in its name.
pub(super) const STANDS_ALONE: &str = "=stands alone";
/// Behind each word of what was started.
const SEPARATOR: u8 = 0x1f;
/// The question, but for its last word.
const ASKED: [&[u8]; 3] = [b"locate-project", b"--workspace", b"--message-format=plain"];
const MANIFEST: &[u8] = b"--manifest-path=";
/// Where one of these stands the manifest may be a workspace's, or name one: the word, and the
/// ways in which TOML spells a letter otherwise.
const MAY_NAME_A_WORKSPACE: [&str; 4] = ["workspace", "\\u", "\\U", "\\x"];
/// Bytes of a manifest.
const MANIFEST_MAX: u64 = 1 << 20;

/// The files that the answer is made of; `None` where it is made of more, or something else was
/// started.
pub(super) fn asked(words: &OsStr, inv: &Invocation, roots: &Roots) -> Option<[PathBuf; 2]> {
    let mut words = words.as_bytes().split(|b| *b == SEPARATOR);
    let cargo = Path::new(OsStr::from_bytes(words.next()?));
    let is_asked = ASKED.iter().all(|asked| words.next() == Some(asked));
    let named = words.next()?.strip_prefix(MANIFEST)?;
    let manifest = package(inv)?.join("Cargo.toml");
    let that_is_all = words.next() == Some(b"") && words.next().is_none();
    if !is_asked || !that_is_all || manifest.as_os_str().as_bytes() != named {
        return None;
    }
    let own = roots.root(RootKind::Sysroot)?.join("bin/cargo");
    let real = |path: &Path| fs::canonicalize(path).ok();
    let is_own = cargo.is_absolute() && real(cargo).is_some_and(|c| Some(c) == real(&own));
    let length = fs::metadata(&manifest).ok()?.len();
    let text = (length <= MANIFEST_MAX).then(|| fs::read_to_string(&manifest).ok())??;
    let alone = !may_name_a_workspace(&text) && stands_alone(inv)?;
    (is_own && alone).then_some([manifest, own])
}

fn may_name_a_workspace(manifest: &str) -> bool {
    let mut parts = MAY_NAME_A_WORKSPACE.iter();
    parts.any(|part| manifest.contains(part))
}

/// Whether cargo finds no manifest in any directory above the package's, up to its own home as it
/// does; `None` where the command names no package.
pub(super) fn stands_alone(inv: &Invocation) -> Option<bool> {
    let package = package(inv)?;
    let home = cargo_home(inv);
    for above in package.ancestors().skip(1) {
        if above.join("Cargo.toml").symlink_metadata().is_ok() {
            return Some(false);
        }
        if home.as_deref() == Some(above) {
            break;
        }
    }
    Some(true)
}

fn package(inv: &Invocation) -> Option<&Path> {
    let package = inv.nonempty_var("CARGO_MANIFEST_DIR").map(Path::new);
    package.filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_could_name_a_workspace_is_told_by_every_spelling() {
        assert!(!may_name_a_workspace("[package]\nname = \"w\"\n"));
        for spelled in [
            "[workspace]",
            "package.workspace = \"..\"",
            "[\"\\u0077orkspace\"]",
            "[\"\\U00000077orkspace\"]",
            "[\"\\x77orkspace\"]",
        ] {
            assert!(may_name_a_workspace(spelled), "{spelled}");
        }
    }

    #[test]
    fn the_nearest_manifest_above_counts_up_to_cargos_home() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("home/registry/src/i/w");
        fs::create_dir_all(&package).unwrap();
        let inv = Invocation {
            argv: Vec::new(),
            env: vec![
                ("CARGO_MANIFEST_DIR".into(), package.clone().into()),
                ("CARGO_HOME".into(), dir.path().join("home").into()),
            ],
            cwd: package,
            started: Vec::new(),
        };
        for (above, alone) in [
            ("Cargo.toml", true),
            ("home/registry/src/i/w/Cargo.toml", true),
            ("home/registry/src/i/Cargo.toml", false),
            ("home/registry/Cargo.toml", false),
            ("home/Cargo.toml", false),
        ] {
            let above = dir.path().join(above);
            fs::write(&above, "").unwrap();
            assert_eq!(stands_alone(&inv), Some(alone), "{}", above.display());
            fs::remove_file(above).unwrap();
        }
    }
}
