//! The node's own small state: counters, addresses, and what is compiled without teammates.
//!
//! It lies in one file per name, outside the database: the cache may be set aside or purged at any
//! moment, the membership may not.
//! Must never happen here: half a state, or state of which a byte changed, given out.

use super::super::{MAX_STATE_BYTES, StoreError, is_state_name};
use super::tables::{TOTALS, Totals};
use super::{Inner, lock};
use quarry_trust::Digest;
use quarry_trust::digest::DIGEST_LEN;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The first bytes of a state file: its form and version.
const MAGIC: &[u8; 8] = b"QSTATE1\n";

impl Inner {
    fn state_path(&self, name: &str) -> Result<PathBuf, StoreError> {
        if is_state_name(name) {
            Ok(self.state.join(name))
        } else {
            Err(StoreError::Name(name.to_owned()))
        }
    }

    pub(super) fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.state_path(name)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(StoreError::io("opening", &path, e)),
        };
        let mut bytes = Vec::new();
        let most = MAX_STATE_BYTES + (MAGIC.len() + DIGEST_LEN) as u64 + 1;
        file.take(most)
            .read_to_end(&mut bytes)
            .map_err(|e| StoreError::io("reading", &path, e))?;
        match state_in(&bytes) {
            Some(state) => Ok(Some(state.to_vec())),
            None => Err(StoreError::State(path)),
        }
    }

    pub(super) fn set_state(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.state_path(name)?;
        if bytes.len() as u64 > MAX_STATE_BYTES {
            return Err(StoreError::Oversize {
                limit: MAX_STATE_BYTES,
            });
        }
        // One writer at a time, so that the later of two calls is the one that stays.
        let _one = lock(&self.stating);
        let new = path.with_extension("new");
        let written = write_state(&new, bytes)
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| File::open(&self.state)?.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written.map_err(|e| StoreError::io("writing", &path, e))
    }

    pub(super) fn totals(&self) -> Result<Totals, StoreError> {
        self.engine
            .read(|txn| Ok(Totals::read(&txn.open_table(TOTALS)?)?))
    }
}

/// Magic (8) ‖ digest of the state (32) ‖ the state.
fn write_state(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(MAGIC)?;
    file.write_all(Digest::of(bytes).as_bytes())?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(super) fn state_in(file: &[u8]) -> Option<&[u8]> {
    let rest = file.strip_prefix(MAGIC)?;
    let (digest, state) = rest.split_first_chunk()?;
    let whole = state.len() as u64 <= MAX_STATE_BYTES;
    (whole && Digest::of(state) == Digest::from_bytes(*digest)).then_some(state)
}
