//! What every canonical form is held to, and the bounds of the reader.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::fmt::Debug;

/// One way to bend bytes. Positions are taken modulo the length.
#[derive(Debug, Clone)]
pub enum Bend {
    /// Flip the bits of a mask.
    Flip(usize, u8),
    /// Keep the first so many bytes.
    Cut(usize),
    /// Put a byte in.
    Insert(usize, u8),
    /// Take a byte out.
    Remove(usize),
    /// Add bytes at the end.
    Extend(Vec<u8>),
}

impl Bend {
    /// The bent bytes; `bytes` must not be empty.
    pub fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bent = bytes.to_vec();
        match self {
            Self::Flip(at, mask) => bent[at % bytes.len()] ^= mask,
            Self::Cut(at) => bent.truncate(at % bytes.len()),
            Self::Insert(at, byte) => bent.insert(at % bytes.len(), *byte),
            Self::Remove(at) => {
                bent.remove(at % bytes.len());
            }
            Self::Extend(more) => bent.extend(more),
        }
        bent
    }
}

/// Several ways to bend one value's bytes.
pub fn bends() -> impl Strategy<Value = Vec<Bend>> {
    let bend = prop_oneof![
        4 => (any::<usize>(), 1..=u8::MAX).prop_map(|(at, mask)| Bend::Flip(at, mask)),
        1 => any::<usize>().prop_map(Bend::Cut),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Bend::Insert(at, byte)),
        1 => any::<usize>().prop_map(Bend::Remove),
        1 => vec(any::<u8>(), 1..9).prop_map(Bend::Extend),
    ];
    vec(bend, 1..16)
}

/// Decoding undoes encoding, and bent bytes are refused or are the form of another value.
pub fn holds_canonical<T: Canonical + PartialEq + Debug>(value: &T, bends: &[Bend]) {
    let bytes = value.to_canon();
    assert_eq!(T::from_canon(&bytes).as_ref(), Ok(value));
    for bend in bends {
        let bent = bend.apply(&bytes);
        if let Ok(other) = T::from_canon(&bent) {
            assert_eq!(other.to_canon(), bent, "two encodings of {other:?}");
            assert_eq!(other == *value, bent == bytes, "{bend:?}");
        }
    }
}

#[test]
fn a_count_is_checked_before_anything_is_allocated() {
    let huge = u32::MAX.to_le_bytes();
    assert_eq!(Reader::new(&huge).count(10), Err(CanonError::Limit));
    assert_eq!(Reader::new(&huge).bytes(usize::MAX), Err(CanonError::Short));
    assert_eq!(Reader::new(&huge[..3]).u32(), Err(CanonError::Short));
    let list: Result<Vec<crate::Digest>, _> = Reader::new(&[2, 0, 0, 0, 9]).list(4);
    assert_eq!(list, Err(CanonError::Short));
}

#[test]
fn flags_text_order_and_the_end_are_strict() {
    assert!(matches!(Reader::new(&[2]).option(Reader::u8), Err(CanonError::Value(_))));
    assert_eq!(Reader::new(&[0]).option(Reader::u8), Ok(None));
    assert!(matches!(Reader::new(&[1, 0, 0, 0, 0xff]).text(4), Err(CanonError::Value(_))));
    assert_eq!(Reader::new(&[0]).finish(), Err(CanonError::Trailing));
    assert!(strictly_ascending([1, 2, 3]).is_ok());
    assert!(strictly_ascending([1, 1]).is_err() && strictly_ascending([2, 1]).is_err());
}
