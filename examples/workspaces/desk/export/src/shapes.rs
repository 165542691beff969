//! The shapes that other tools may send: every pair of plain types in a record.
//!
//! What enters: nothing. What leaves: how many shapes survive the round trip.

use super::{Wire, from_bytes, to_bytes};

/// A plain type, made from a small number.
trait Plain: Wire + Clone + PartialEq {
    fn plain(seed: u8) -> Self;
}

macro_rules! plain {
    ($($kind:ty)*) => { $(
        impl Plain for $kind {
            fn plain(seed: u8) -> Self {
                (seed % 100) as $kind
            }
        }
    )* };
}

plain!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 char);

impl<T: Plain> Plain for Option<T> {
    fn plain(seed: u8) -> Self {
        (!seed.is_multiple_of(2)).then(|| T::plain(seed))
    }
}

/// Writes a record of this shape, reads it back, and compares.
fn survives<A: Plain, B: Plain>() -> bool {
    let list: Vec<_> = (0..3).map(|n| (A::plain(n), B::plain(n + 1))).collect();
    let record = (A::plain(65), Some(B::plain(66)), list, None::<A>);
    let bytes = to_bytes(&record);
    let cut = bytes.len() - 1;
    from_bytes(&bytes).as_ref() == Ok(&record)
        && from_bytes::<(A, Option<B>, Vec<(A, B)>, Option<A>)>(&bytes[..cut]).is_err()
}

/// How many shapes made the round trip, and how many there are.
pub fn round_trips() -> (usize, usize) {
    macro_rules! shapes {
        ([$($first:ty)*] $second:tt) => {
            [$(shapes!(@row $first, $second)),*]
        };
        (@row $first:ty, [$($second:ty)*]) => {
            [$(survives::<$first, $second>()),*]
        };
    }
    let rows = shapes! {
        [u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 char Option<u8>]
        [u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 char Option<u8>]
    };
    let all = rows.iter().flatten();
    (all.clone().filter(|good| **good).count(), all.count())
}
