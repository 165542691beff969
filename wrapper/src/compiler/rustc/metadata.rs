//! The crate's own hash in what rustc writes.
//!
//! rustc hashes a crate into its metadata, so that crates that were compiled against one another
//! find each other again. What goes into that hash goes beyond what stands in the file: the names
//! of all sources, and a source text that a macro had parsed is named by a hash of it. So two
//! compiles can agree in everything that anybody can take from a crate, and differ in its hash.
//!
//! Enters: the bytes of two outputs. Leaves: whether they are the same but for that hash. The form
//! is that of rustc's `rmeta` (`compiler/rustc_metadata/src/rmeta/mod.rs`: `METADATA_HEADER`, the
//! position of the root, in which the target's name, the hash and the crate's name come first).
//! Must never happen here: other bytes passed over than the sixteen of the hash, found by their
//! exact surroundings; where these are not as expected, two outputs differ.

use std::ops::Range;

/// `rust`, three zeros, the version of the form. The position of the root follows.
const MAGIC: &[u8] = b"rust\0\0\0\x0a";
const POSITION: usize = 8;
/// Ends each text.
const SENTINEL: u8 = 0xc1;
/// Stands before a name that is written out.
const WRITTEN_OUT: u8 = 0;
/// A target known by its name, not by a file.
const NAMED_TARGET: u8 = 0;
const HASH: usize = 16;
/// Longer texts have longer lengths, which no target and few crates need.
const TEXT_MAX: u8 = 0x7f;

/// Whether two outputs of one crate are the same but for the crate's own hash.
#[must_use]
pub fn same_but_for_own_hash(one: &[u8], other: &[u8], crate_name: &str) -> bool {
    let places = own_hashes(one, crate_name);
    if places.is_empty() || one.len() != other.len() || places != own_hashes(other, crate_name) {
        return false;
    }
    let mut from = 0;
    for place in places {
        if one.get(from..place.start) != other.get(from..place.start) {
            return false;
        }
        from = place.end;
    }
    one.get(from..) == other.get(from..)
}

/// Where the crate's own hash stands, in ascending order and apart: once in metadata, once in a
/// library that holds metadata.
fn own_hashes(bytes: &[u8], crate_name: &str) -> Vec<Range<usize>> {
    let mut all: Vec<Range<usize>> = memchr::memmem::find_iter(bytes, MAGIC)
        .filter_map(|at| own_hash(bytes, at, crate_name))
        .collect();
    all.sort_by_key(|place| place.start);
    all.dedup_by(|next, before| next.start < before.end);
    all
}

/// The place of the hash in the metadata that begin at `start`.
fn own_hash(bytes: &[u8], start: usize, crate_name: &str) -> Option<Range<usize>> {
    let position = start + MAGIC.len();
    let position = bytes.get(position..position + POSITION)?;
    let position = u64::from_le_bytes(position.try_into().ok()?);
    let root = start.checked_add(usize::try_from(position).ok()?)?;
    if *bytes.get(root)? != NAMED_TARGET {
        return None;
    }
    let (_, hash) = text(bytes, root + 1)?;
    let name = hash + HASH;
    if *bytes.get(name)? != WRITTEN_OUT {
        return None;
    }
    let (name, _) = text(bytes, name + 1)?;
    (name == crate_name.as_bytes()).then_some(hash..hash + HASH)
}

/// A text, and what comes after it.
fn text(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let length = *bytes.get(at)?;
    let end = at + 1 + usize::from(length);
    let ends = length <= TEXT_MAX && bytes.get(end) == Some(&SENTINEL);
    ends.then(|| bytes.get(at + 1..end))
        .flatten()
        .map(|text| (text, end + 1))
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
