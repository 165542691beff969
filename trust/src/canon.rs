//! The only bytes that are ever hashed or signed: fixed-width, little-endian, hand-written.
//!
//! Each value has exactly one encoding, and every other byte string is refused: lengths are
//! `u32`, options are one byte 0 or 1, sets come sorted and without repetition, text is UTF-8,
//! and nothing may follow the last field. Decoding is bounded before it allocates: a count is
//! checked against its limit and against the bytes that are left.

use std::collections::BTreeSet;
use thiserror::Error;

/// Why bytes are not the canonical form of what they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CanonError {
    /// The bytes end inside a field.
    #[error("the bytes end inside a field")]
    Short,
    /// Bytes follow the last field.
    #[error("bytes follow the last field")]
    Trailing,
    /// A count or length exceeds its limit.
    #[error("a count or length exceeds its limit")]
    Limit,
    /// A tag, flag, order or character that the form does not allow.
    #[error("a value that the form does not allow: {0}")]
    Value(&'static str),
    /// Written under a schema that this version does not read.
    #[error("written under schema {0}, which this version does not read")]
    Schema(u16),
}

/// A value with one canonical encoding.
pub trait Canonical: Sized {
    /// Appends the canonical bytes.
    fn write(&self, w: &mut Writer);

    /// Reads the value; refuses everything that [`Canonical::write`] would not have written.
    ///
    /// # Errors
    /// Any [`CanonError`].
    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError>;

    /// The canonical bytes of the whole value.
    #[must_use]
    fn to_canon(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write(&mut w);
        w.finish()
    }

    /// Reads a whole value and refuses trailing bytes.
    ///
    /// # Errors
    /// Any [`CanonError`].
    fn from_canon(bytes: &[u8]) -> Result<Self, CanonError> {
        let mut r = Reader::new(bytes);
        let value = Self::read(&mut r)?;
        r.finish()?;
        Ok(value)
    }
}

/// Implements [`Canonical`] for a struct: the schema where one is named, then the fields in the
/// order given, each in its own form or in the two that are named (how to write it, how to read
/// it); then what `check` refuses.
#[macro_export]
macro_rules! canonical {
    (@write $w:ident, $value:expr) => { $crate::canon::Canonical::write($value, $w) };
    (@write $w:ident, $value:expr, $write:expr) => { $write($w, $value) };
    (@read $reader:ident) => { $crate::canon::Canonical::read($reader)? };
    (@read $reader:ident, $r:ident, $read:expr) => {{ let $r = &mut *$reader; $read? }};
    ($type:ty $(, $schema:expr =>)? {
        $($field:tt $(: ($write:expr, $r:ident => $read:expr))?),* $(,)?
    } $(check $check:path)?) => {
        impl $crate::canon::Canonical for $type {
            fn write(&self, w: &mut $crate::canon::Writer) {
                $(w.u16($schema);)?
                $($crate::canonical!(@write w, &self.$field $(, $write)?);)*
            }

            fn read(r: &mut $crate::canon::Reader<'_>) -> Result<Self, $crate::canon::CanonError> {
                $(r.schema($schema)?;)?
                let value = Self {
                    $($field: $crate::canonical!(@read r $(, $r, $read)?)),*
                };
                $($check(&value)?;)?
                Ok(value)
            }
        }
    };
}

/// Implements [`Canonical`] for an enum: one byte that stands for the variant, then its values,
/// each in its own form or in the two that are named.
#[macro_export]
macro_rules! canonical_enum {
    ($type:ty {
        $($tag:literal => $variant:ident $((
            $($value:ident $(: ($write:expr, $r:ident => $read:expr))?),+
        ))?),* $(,)?
    } $what:literal) => {
        impl $crate::canon::Canonical for $type {
            fn write(&self, w: &mut $crate::canon::Writer) {
                match self {
                    $(Self::$variant $(($($value),+))? => {
                        w.u8($tag);
                        $($($crate::canonical!(@write w, $value $(, $write)?);)+)?
                    })*
                }
            }

            fn read(r: &mut $crate::canon::Reader<'_>) -> Result<Self, $crate::canon::CanonError> {
                match r.u8()? {
                    $($tag => {
                        $($(let $value = $crate::canonical!(@read r $(, $r, $read)?);)+)?
                        Ok(Self::$variant $(($($value),+))?)
                    })*
                    _ => Err($crate::canon::CanonError::Value($what)),
                }
            }
        }
    };
}

/// Builds canonical bytes.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Bytes of a length that the form fixes: no length is written.
    pub fn fixed(&mut self, v: &[u8]) {
        self.0.extend_from_slice(v);
    }

    /// A `u32` length, then the bytes.
    pub fn bytes(&mut self, v: &[u8]) {
        self.count(v.len());
        self.0.extend_from_slice(v);
    }

    /// A `u32` length, then UTF-8.
    pub fn text(&mut self, v: &str) {
        self.bytes(v.as_bytes());
    }

    /// The number of elements that follow, as `u32`.
    pub fn count(&mut self, n: usize) {
        // Every list in the canonical types is bounded far below 2^32; saturating keeps this
        // total, and the reader's limit refuses what saturated.
        self.u32(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// 0, or 1 and the value.
    pub fn option<T>(&mut self, v: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        match v {
            None => self.u8(0),
            Some(v) => {
                self.u8(1);
                write(self, v);
            }
        }
    }

    /// A list of canonical values: count, then each.
    pub fn list<T: Canonical>(&mut self, items: &[T]) {
        self.each(items.iter());
    }

    /// A set of canonical values: count, then each, in ascending order.
    pub fn set<T: Canonical + Ord>(&mut self, items: &BTreeSet<T>) {
        self.each(items.iter());
    }

    fn each<'t, T: Canonical + 't>(&mut self, items: impl ExactSizeIterator<Item = &'t T>) {
        self.count(items.len());
        items.for_each(|item| item.write(self));
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes canonical bytes apart, bounded.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Exactly `n` bytes.
    ///
    /// # Errors
    /// [`CanonError::Short`].
    pub fn fixed(&mut self, n: usize) -> Result<&'a [u8], CanonError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(CanonError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    /// Exactly `N` bytes, as an array.
    ///
    /// # Errors
    /// [`CanonError::Short`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CanonError> {
        let mut out = [0; N];
        out.copy_from_slice(self.fixed(N)?);
        Ok(out)
    }

    /// A length of at most `max`, then that many bytes.
    ///
    /// # Errors
    /// [`CanonError::Limit`], [`CanonError::Short`].
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], CanonError> {
        let n = self.count(max)?;
        self.fixed(n)
    }

    /// A length of at most `max` bytes, then UTF-8.
    ///
    /// # Errors
    /// As [`Reader::bytes`], and [`CanonError::Value`] for what is not UTF-8.
    pub fn text(&mut self, max: usize) -> Result<String, CanonError> {
        let bytes = self.bytes(max)?;
        let text = std::str::from_utf8(bytes).map_err(|_| CanonError::Value("not UTF-8"))?;
        Ok(text.to_owned())
    }

    /// A count of at most `max` elements, each of which takes at least one byte.
    ///
    /// # Errors
    /// [`CanonError::Limit`] above `max`, [`CanonError::Short`] where fewer bytes are left.
    pub fn count(&mut self, max: usize) -> Result<usize, CanonError> {
        let n = usize::try_from(self.u32()?).map_err(|_| CanonError::Limit)?;
        if n > max {
            return Err(CanonError::Limit);
        }
        if n > self.0.len() {
            return Err(CanonError::Short);
        }
        Ok(n)
    }

    /// 0, or 1 and a value.
    ///
    /// # Errors
    /// [`CanonError::Value`] for any other flag, and whatever `read` refuses.
    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, CanonError>,
    ) -> Result<Option<T>, CanonError> {
        bool::read(self)?.then(|| read(self)).transpose()
    }

    /// A list of at most `max` canonical values.
    ///
    /// # Errors
    /// As [`Reader::count`], and whatever an element refuses.
    pub fn list<T: Canonical>(&mut self, max: usize) -> Result<Vec<T>, CanonError> {
        let n = self.count(max)?;
        (0..n).map(|_| T::read(self)).collect()
    }

    /// A set of at most `max` canonical values.
    ///
    /// # Errors
    /// As [`Reader::list`], and [`CanonError::Value`] where they do not strictly ascend.
    pub fn set<T: Canonical + Ord>(&mut self, max: usize) -> Result<BTreeSet<T>, CanonError> {
        let items = self.list(max)?;
        strictly_ascending(items.iter())?;
        Ok(items.into_iter().collect())
    }

    /// The schema of what follows.
    ///
    /// # Errors
    /// [`CanonError::Schema`] for another than `expected`.
    pub fn schema(&mut self, expected: u16) -> Result<(), CanonError> {
        match self.u16()? {
            found if found == expected => Ok(()),
            found => Err(CanonError::Schema(found)),
        }
    }

    /// Refuses bytes after the last field.
    ///
    /// # Errors
    /// [`CanonError::Trailing`].
    pub fn finish(self) -> Result<(), CanonError> {
        self.0.is_empty().then_some(()).ok_or(CanonError::Trailing)
    }
}

macro_rules! integers {
    ($($int:ident)*) => {
        impl Writer {
            $(/// An integer of this width, little-endian.
            pub fn $int(&mut self, v: $int) {
                self.fixed(&v.to_le_bytes());
            })*
        }

        impl Reader<'_> {
            $(/// An integer of this width, little-endian.
            ///
            /// # Errors
            /// [`CanonError::Short`].
            pub fn $int(&mut self) -> Result<$int, CanonError> {
                Ok($int::from_le_bytes(self.array()?))
            })*
        }
    };
}

integers!(u8 u16 u32 u64);

/// Refuses a sequence that is not strictly ascending: the canonical form of a set.
///
/// # Errors
/// [`CanonError::Value`].
pub fn strictly_ascending<T: Ord>(items: impl IntoIterator<Item = T>) -> Result<(), CanonError> {
    let mut last: Option<T> = None;
    for item in items {
        if last.as_ref().is_some_and(|l| *l >= item) {
            return Err(CanonError::Value("a set is not in ascending order"));
        }
        last = Some(item);
    }
    Ok(())
}

/// Eight bytes.
impl Canonical for u64 {
    fn write(&self, w: &mut Writer) {
        w.u64(*self);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        r.u64()
    }
}

/// One byte, 0 or 1.
impl Canonical for bool {
    fn write(&self, w: &mut Writer) {
        w.u8(u8::from(*self));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        match r.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CanonError::Value("a flag is neither 0 nor 1")),
        }
    }
}

#[cfg(test)]
#[path = "canon_tests.rs"]
pub(crate) mod tests;

#[cfg(test)]
#[path = "forms_tests.rs"]
mod forms_tests;
