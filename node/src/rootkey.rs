//! The root's key as a file: plain or sealed with a passphrase, made, moved away, wiped.
//!
//! Enters: a path, a passphrase. Leaves: the key in memory, or a file of mode 0600. The root signs
//! charters alone, so no node in daily use needs this file: it may lie on a stick in a drawer.
//! Must never happen here: a key written where others read it, one removed before its copy was
//! read back, a passphrase or a seed that stays in memory.

use crate::keyfile::KeyError;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use quarry_trust::canon::{Canonical, Reader, Writer};
use quarry_trust::key::KEY_LEN;
use quarry_trust::{BuilderId, BuilderKey};
use quarry_wrapper::digests::open_regular;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// What a sealed file begins with; the version is part of it.
const MAGIC: &[u8] = b"quarry sealed key v1\n";
const SALT: usize = 16;
const NONCE: usize = 24;
/// The seed and the tag of the cipher.
const SEALED: usize = KEY_LEN + 16;
/// A sealed file's length, bytes.
const SEALED_FILE: usize = MAGIC.len() + KEY_LEN + 3 * 4 + SALT + NONCE + SEALED;
/// Cost of a guess, as RFC 9106 recommends where memory is not plentiful: 64 MiB, three passes.
const COST: Cost = Cost {
    memory_kib: 64 << 10,
    passes: 3,
    lanes: 1,
};
/// What a file may ask for at most: 1 GiB and 64 passes, so that a hostile file costs a minute.
const COST_MAX: Cost = Cost {
    memory_kib: 1 << 20,
    passes: 64,
    lanes: 16,
};
/// A passphrase's length, in bytes: shorter ones are guessed, longer ones are no passphrases.
pub const PASSPHRASE: std::ops::RangeInclusive<usize> = 8..=1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Why a root key file cannot be used.
#[derive(Debug, Error)]
pub enum RootKeyError {
    /// A plain key file's own fault.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file could not be read or written.
    #[error("root key {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is neither form.
    #[error("{0} is no root key (neither plain nor sealed): restore it from a backup")]
    Shape(PathBuf),
    /// It asks for more work than is done.
    #[error("{0} asks for more memory or time than a sealed key may: it was tampered with")]
    Cost(PathBuf),
    /// The passphrase opens nothing.
    #[error("the passphrase does not open {0}, or the file was changed: try again")]
    Passphrase(PathBuf),
    /// A new passphrase that protects nothing.
    #[error("a passphrase has {} to {} bytes: choose another", PASSPHRASE.start(), PASSPHRASE.end())]
    Weak,
    /// The file is there already.
    #[error("{0} is there already and was left alone: name another file")]
    Exists(PathBuf),
    /// The copy is not the key.
    #[error(
        "the copy {0} does not read back as the key, so the key stays where it is: try another place"
    )]
    Copy(PathBuf),
}

/// What gives a passphrase when a file turns out to be sealed.
pub type Ask<'a> = &'a mut dyn FnMut() -> io::Result<Zeroizing<Vec<u8>>>;

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RootKeyError + '_ {
    |source| RootKeyError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Loads the key in `path`, which is asked a passphrase for where it is sealed. A plain key that
/// others may read is refused; a sealed one may lie on a stick without modes.
///
/// # Errors
/// [`RootKeyError`].
pub fn load(path: &Path, ask: Ask<'_>) -> Result<BuilderKey, RootKeyError> {
    let file = open_regular(path).map_err(io_error(path))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(SEALED_FILE + 1));
    file.take(SEALED_FILE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error(path))?;
    if bytes.len() == KEY_LEN {
        return Ok(crate::keyfile::load(path)?);
    }
    if bytes.len() != SEALED_FILE || !bytes.starts_with(MAGIC) {
        return Err(RootKeyError::Shape(path.to_owned()));
    }
    let passphrase = ask().map_err(io_error(path))?;
    open(path, &bytes, &passphrase)
}

fn open(path: &Path, bytes: &[u8], passphrase: &[u8]) -> Result<BuilderKey, RootKeyError> {
    let shape = |_| RootKeyError::Shape(path.to_owned());
    let wrong = || RootKeyError::Passphrase(path.to_owned());
    let mut r = Reader::new(bytes.get(MAGIC.len()..).unwrap_or_default());
    let id = BuilderId::read(&mut r).map_err(shape)?;
    let cost = Cost {
        memory_kib: r.u32().map_err(shape)?,
        passes: r.u32().map_err(shape)?,
        lanes: r.u32().map_err(shape)?,
    };
    let salt: [u8; SALT] = r.array().map_err(shape)?;
    let nonce: [u8; NONCE] = r.array().map_err(shape)?;
    let sealed: [u8; SEALED] = r.array().map_err(shape)?;
    r.finish().map_err(shape)?;
    let within = cost.memory_kib <= COST_MAX.memory_kib
        && cost.passes <= COST_MAX.passes
        && cost.lanes <= COST_MAX.lanes;
    let key = within.then(|| stretch(passphrase, &salt, cost)).flatten();
    let key = key.ok_or_else(|| RootKeyError::Cost(path.to_owned()))?;
    let head = bytes.get(..SEALED_FILE - SEALED).unwrap_or_default();
    let payload = Payload {
        msg: &sealed,
        aad: head,
    };
    let cipher = XChaCha20Poly1305::new(key.as_ref().into());
    let seed = cipher.decrypt(XNonce::from_slice(&nonce), payload);
    let seed = Zeroizing::new(seed.map_err(|_| wrong())?);
    let mut fixed = Zeroizing::new([0; KEY_LEN]);
    fixed.copy_from_slice(seed.get(..KEY_LEN).ok_or_else(wrong)?);
    let key = BuilderKey::from_seed(&fixed);
    if key.id() == id {
        Ok(key)
    } else {
        Err(wrong())
    }
}

fn seal(key: &BuilderKey, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
    if !PASSPHRASE.contains(&passphrase.len()) {
        return Err(RootKeyError::Weak);
    }
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE]);
    getrandom::fill(&mut salt).map_err(KeyError::Random)?;
    getrandom::fill(&mut nonce).map_err(KeyError::Random)?;
    let mut w = Writer::default();
    w.fixed(MAGIC);
    key.id().write(&mut w);
    w.u32(COST.memory_kib);
    w.u32(COST.passes);
    w.u32(COST.lanes);
    w.fixed(&salt);
    w.fixed(&nonce);
    let mut bytes = Zeroizing::new(w.finish());
    let stretched = stretch(passphrase, &salt, COST).ok_or(RootKeyError::Weak)?;
    let cipher = XChaCha20Poly1305::new(stretched.as_ref().into());
    let seed = key.seed();
    let payload = Payload {
        msg: seed.as_ref(),
        aad: &bytes,
    };
    let sealed = cipher.encrypt(XNonce::from_slice(&nonce), payload);
    bytes.extend_from_slice(&sealed.map_err(|_| RootKeyError::Weak)?);
    Ok(bytes)
}

/// Argon2id of a passphrase. `None` for parameters that it does not take.
fn stretch(passphrase: &[u8], salt: &[u8], cost: Cost) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_LEN)).ok()?;
    let mut memory = vec![Block::default(); params.block_count()];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut key = Zeroizing::new([0; KEY_LEN]);
    let made = argon.hash_password_into_with_memory(passphrase, salt, key.as_mut(), &mut memory);
    memory.iter_mut().for_each(Zeroize::zeroize);
    made.ok().map(|()| key)
}

/// Writes a key to a new file, sealed where there is a passphrase, and reads it back. A file that
/// is there is left alone.
///
/// # Errors
/// [`RootKeyError`]; what was begun is removed.
pub fn save(path: &Path, key: &BuilderKey, passphrase: Option<&[u8]>) -> Result<(), RootKeyError> {
    let bytes = match passphrase {
        Some(passphrase) => seal(key, passphrase)?,
        None => Zeroizing::new(key.seed().to_vec()),
    };
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match file {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            return Err(RootKeyError::Exists(path.to_owned()));
        }
        other => other.map_err(io_error(path))?,
    };
    let written = write_through(&mut file, &bytes, path).map_err(io_error(path));
    let checked = written.and_then(|()| {
        let mut same = || Ok(Zeroizing::new(passphrase.unwrap_or_default().to_vec()));
        let back = load(path, &mut same)?;
        let equal = back.id() == key.id();
        equal
            .then_some(())
            .ok_or_else(|| RootKeyError::Copy(path.to_owned()))
    });
    if checked.is_err() {
        let _ = wipe(path);
    }
    checked
}

fn write_through(file: &mut File, bytes: &[u8], path: &Path) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()?;
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(dir) => File::open(dir)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

/// Moves the key in `from` to the new file `to`, sealed with `passphrase` where there is one:
/// writes the copy, reads it back, then wipes the first. Leaves whose key it is.
///
/// # Errors
/// [`RootKeyError`]; the key is then where it was.
pub fn move_to(
    from: &Path,
    to: &Path,
    ask: Ask<'_>,
    passphrase: Option<&[u8]>,
) -> Result<BuilderId, RootKeyError> {
    let key = load(from, ask)?;
    save(to, &key, passphrase)?;
    wipe(from).map_err(io_error(from))?;
    Ok(key.id())
}

/// Overwrites a file and removes it. On flash memory and on filesystems that copy on write the
/// old bytes may outlive that: whoever must be sure makes the key where it stays.
///
/// # Errors
/// What the system said.
pub fn wipe(path: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut noise = vec![0; length.min(SEALED_FILE)];
    getrandom::fill(&mut noise).map_err(io::Error::other)?;
    file.rewind()?;
    file.write_all(&noise)?;
    file.sync_all()?;
    fs::remove_file(path)
}

/// Whether others than its owner may read a file, by its mode.
#[must_use]
pub fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
#[path = "rootkey_tests.rs"]
mod tests;
