//! Files in target directories: whose they are, and whether they hold certain bytes still.
//!
//! Enters: a directory that cargo laid, a name, a digest. Leaves: the places where cargo keeps the
//! same file, and what is there now. Only looks. Must never happen here: a link followed out of
//! the target directory, a file that is no regular one opened.

use quarry_trust::Digest;
use quarry_trust::digest::Hasher;
use quarry_wrapper::digests::open_regular;
use quarry_wrapper::launcher;
use quarry_wrapper::paths::target_root;
use quarry_wrapper::pipeline::script::digest_of_out;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file that holds the bytes that were put there.
pub const HOLDS: &str = "holds";
/// One that holds others.
const CHANGED: &str = "changed";
/// None any more.
const GONE: &str = "gone";
/// How target directories are called in descriptions.
pub(super) const PLACEHOLDER: &str = "/quarry/target";
/// Length of the hash that cargo appends to names in `deps`.
const HASH: usize = 16;
/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// BLAKE3 of a regular file that is no link.
///
/// # Errors
/// What the system said; `InvalidInput` for what is no regular file.
pub fn digest_of(path: &Path) -> io::Result<Digest> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = open_regular(path)?;
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// The project that an output directory belongs to: its workspace where that lies right above the
/// target directory, else the target directory itself.
pub(super) fn project(dir: &Path) -> PathBuf {
    let Some(target) = root(dir) else {
        return dir.to_owned();
    };
    match target.parent() {
        Some(above) if above.join("Cargo.toml").is_file() => above.to_owned(),
        _ => target,
    }
}

/// The target directory above an output directory, or above an OUT_DIR.
fn root(dir: &Path) -> Option<PathBuf> {
    let laid = if dir.file_name()? == "out" {
        dir.parent()?
    } else {
        dir
    };
    let found = target_root(laid, None)?;
    // Below it stands a triple where cargo was told one: `T/TRIPLE/debug`.
    let marked = |dir: &Path| dir.join("CACHEDIR.TAG").is_file();
    match found.parent() {
        Some(above) if !marked(&found) && marked(above) => Some(above.to_owned()),
        _ => Some(found),
    }
}

/// How an OUT_DIR is called in descriptions. (A triple stays part of the name, as there.)
pub(super) fn named(out_dir: &Path) -> String {
    let below = root(out_dir).and_then(|root| {
        let below = out_dir.strip_prefix(root).ok()?;
        Some(format!("{PLACEHOLDER}/{}", below.display()))
    });
    below.unwrap_or_else(|| out_dir.display().to_string())
}

/// Where an output lies, and what is there now: its own place first, then the copies that cargo
/// keeps under the plain name, if they hold these bytes. `is_out`: the directory is an OUT_DIR,
/// and the digest stands for all of it.
pub(super) fn states(
    dir: &Path,
    name: &str,
    digest: &Digest,
    is_out: bool,
) -> Vec<(PathBuf, &'static str)> {
    if is_out {
        let state = match digest_of_out(dir) {
            Some(now) if now == *digest => HOLDS,
            _ if dir.exists() => CHANGED,
            _ => GONE,
        };
        return vec![(dir.to_owned(), state)];
    }
    let place = dir.join(name);
    let holds = |path: &Path| digest_of(path).is_ok_and(|now| now == *digest);
    let state = match fs::symlink_metadata(&place) {
        _ if holds(&place) => HOLDS,
        Ok(_) => CHANGED,
        Err(_) => GONE,
    };
    let copies = copies(dir, name).into_iter().filter(|path| holds(path));
    let copies: Vec<_> = copies.map(|path| (path, HOLDS)).collect();
    // A launcher stands in a build script's place, and the script beside it.
    if state == CHANGED
        && copies
            .iter()
            .any(|(path, _)| *path == launcher::beside(&place))
    {
        return copies;
    }
    std::iter::once((place, state)).chain(copies).collect()
}

/// Where cargo may have put the same file: `deps/app-HASH` is `app`, `deps/libapp-HASH.rlib` is
/// `libapp.rlib`; of a build script's program what stands beside its launcher.
fn copies(dir: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = vec![launcher::beside(&dir.join(name))];
    let (stem, extension) = match name.rfind('.') {
        Some(at) => name.split_at(at),
        None => (name, ""),
    };
    if let Some((plain, hash)) = stem.rsplit_once('-')
        && hash.len() == HASH
        && hash.bytes().all(|b| b.is_ascii_hexdigit())
    {
        for dir in std::iter::once(dir).chain(dir.parent()) {
            found.push(dir.join(format!("{plain}{extension}")));
            if plain.contains('_') {
                found.push(dir.join(format!("{}{extension}", plain.replace('_', "-"))));
            }
        }
    }
    found
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
