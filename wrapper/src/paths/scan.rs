//! Looking for paths of a checkout in outputs: the second defence of path independence.
//!
//! Enters: the roots, and the values that the key holds anyway. Leaves: whether a piece of an
//! output holds a root's real path. Strings in LLVM bitcode (outputs under linker-plugin LTO) are
//! not aligned to bytes: there each path is looked for at every bit offset, in eight and in seven
//! bits a character. Blind to what is compressed or derived from a path.

use super::{Roots, stands_in};
use std::ffi::OsStr;

/// A bit-packed form shorter than this, bytes, would be found by chance.
const PACKED_MIN: usize = 8;

/// What to look for in one compile's outputs.
pub struct Scanner {
    plain: Vec<Vec<u8>>,
    packed: Vec<Vec<u8>>,
}

impl Scanner {
    /// Looks for every root but those that stand in one of `known`. `bitcode` says that outputs
    /// may be LLVM bitcode alone.
    #[must_use]
    pub fn new(roots: &Roots, known: &[&OsStr], bitcode: bool) -> Self {
        let is_known = |needle: &[u8]| {
            known
                .iter()
                .any(|k| memchr::memmem::find(k.as_encoded_bytes(), needle).is_some())
        };
        let plain: Vec<Vec<u8>> = roots
            .raw_needles()
            .map(|(_, needle)| needle.to_vec())
            .filter(|needle| !is_known(needle))
            .collect();
        let packed = if bitcode {
            plain
                .iter()
                .flat_map(|needle| packed_forms(needle))
                .collect()
        } else {
            Vec::new()
        };
        Self { plain, packed }
    }

    /// Looks for these paths.
    #[cfg(test)]
    pub(crate) fn of_paths(paths: &[&str]) -> Self {
        Self {
            plain: paths.iter().map(|p| p.as_bytes().to_vec()).collect(),
            packed: Vec::new(),
        }
    }

    /// Length of the longest form, bytes: what pieces of an output must overlap by.
    #[must_use]
    pub fn longest(&self) -> usize {
        let all = self.plain.iter().chain(&self.packed);
        all.map(|needle| needle.len() + 1).max().unwrap_or(0)
    }

    /// Whether a root's real path stands in the bytes.
    #[must_use]
    pub fn found_in(&self, bytes: &[u8]) -> bool {
        self.plain.iter().any(|needle| stands_in(bytes, needle))
            || self
                .packed
                .iter()
                .any(|needle| memchr::memmem::find(bytes, needle).is_some())
    }
}

/// The whole bytes that a text leaves in a bit stream (least significant bit first, as LLVM
/// writes it), for each width and offset but the plain one.
fn packed_forms(text: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for (width, offsets) in [(8, 1..8), (7, 0..8)] {
        if width == 7 && !text.is_ascii() {
            continue;
        }
        for offset in offsets {
            let form = pack(text, width, offset);
            if form.len() >= PACKED_MIN {
                forms.push(form);
            }
        }
    }
    forms
}

fn pack(text: &[u8], width: usize, offset: usize) -> Vec<u8> {
    let bits = offset + text.len() * width;
    let mut bytes = vec![0_u8; bits.div_ceil(8)];
    for (at, byte) in text.iter().enumerate() {
        for bit in 0..width {
            let place = offset + at * width + bit;
            bytes[place / 8] |= ((byte >> bit) & 1) << (place % 8);
        }
    }
    // The first and the last byte are shared with what stands beside the text.
    let from = usize::from(offset > 0);
    let to = bits / 8;
    bytes[from.min(to)..to].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_at_every_bit_offset() {
        let text = b"/home/alice/checkout";
        for (width, offset) in [(8, 3), (8, 7), (7, 0), (7, 5)] {
            let whole = pack(&[b"xy", text.as_slice(), b"z"].concat(), width, offset);
            let found = packed_forms(text)
                .iter()
                .any(|form| memchr::memmem::find(&whole, form).is_some());
            assert!(found, "{width} bits at {offset}");
        }
        let other = pack(b"xy/home/alice/elsewherez", 7, 4);
        assert!(
            !packed_forms(text)
                .iter()
                .any(|f| memchr::memmem::find(&other, f).is_some())
        );
    }

    #[test]
    fn rustc_s_own_bitcode_is_seen_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = "/home/alice/some/checkout/of/hers";
        let source = format!("pub fn f() -> &'static str {{ \"{path}/x\" }}\n");
        std::fs::write(dir.path().join("a.rs"), source).unwrap();
        let built = std::process::Command::new("rustc")
            .args([
                "--crate-type=lib",
                "--crate-name=a",
                "-Clinker-plugin-lto",
                "-O",
                "a.rs",
            ])
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(built.success());
        let rlib = std::fs::read(dir.path().join("liba.rlib")).unwrap();
        let scanner = |bitcode| {
            let plain = vec![path.as_bytes().to_vec()];
            let packed = if bitcode {
                packed_forms(&plain[0])
            } else {
                Vec::new()
            };
            Scanner { plain, packed }
        };
        assert!(
            scanner(true).found_in(&rlib),
            "a string constant in bitcode is found"
        );
        let innocent = std::fs::read(dir.path().join("a.rs")).unwrap();
        assert!(!scanner(true).found_in(&innocent[..20]));
    }
}
