//! Digests of files, as the compiler's rooms ask for them.
//!
//! Enters: a path. Leaves: the BLAKE3 digest of the bytes that it names now. Must never happen
//! here: a digest of bytes that the file no longer has.

use quarry_trust::Digest;
use std::io;
use std::path::Path;

/// Digests of files as they are now.
pub trait FileDigests: Send + Sync {
    /// BLAKE3 of the file's bytes.
    ///
    /// # Errors
    /// What opening or reading said; `InvalidInput` for what is no regular file.
    fn digest(&self, path: &Path) -> io::Result<Digest>;
}
