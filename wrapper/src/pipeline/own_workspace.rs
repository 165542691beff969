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
    // Where this word stands the manifest may be a workspace's, or name one.
    let alone = !text.contains("workspace") && stands_alone(inv)?;
    (is_own && alone).then_some([manifest, own])
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
