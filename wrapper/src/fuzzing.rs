//! The door for fuzzers to decoders that are nobody else's business.
//!
//! Enters: any bytes. Leaves: what the decoder made of them. The targets are in the node's
//! `fuzzing`, which calls this crate's other decoders by their own names. Must never happen here:
//! a decoder written anew, a caller that is no test.

use std::io::{self, Read};
use std::path::Path;

/// Fills an empty directory with a packed OUT_DIR.
///
/// # Errors
/// `InvalidData` for what is none, `UnexpectedEof` for what is cut, or what the system said.
pub fn unpack_out_dir(from: &mut dyn Read, dir: &Path) -> io::Result<()> {
    crate::pipeline::script::unpack_for_fuzzing(from, dir)
}

/// Reads what is remembered of a file in a target directory, and writes it again.
#[must_use]
pub fn place(bytes: &[u8]) -> Option<Vec<u8>> {
    crate::pipeline::places::again_for_fuzzing(bytes)
}
