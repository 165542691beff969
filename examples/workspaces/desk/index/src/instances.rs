//! The table for every key and value type, as concrete code in this crate.
//!
//! What enters: nothing. What leaves: a checksum that depends on every instance.
//! Listing the types here is what makes the code generator work for seconds.

use super::Table;

/// Something that can stand in a table and be made from a small number.
trait Cell: Ord + Clone {
    fn cell(seed: u8) -> Self;
    fn number(&self) -> u64;
}

macro_rules! number_cells {
    ($($number:ty)*) => { $(
        impl Cell for $number {
            fn cell(seed: u8) -> Self {
                <$number>::from(seed)
            }
            fn number(&self) -> u64 {
                *self as u64
            }
        }
    )* };
}

number_cells!(u8 u16 u32 u64 u128 i16 i32 i64 char);

impl Cell for String {
    fn cell(seed: u8) -> Self {
        format!("desk-{seed:03}")
    }
    fn number(&self) -> u64 {
        self.bytes().map(u64::from).sum()
    }
}

impl<T: Cell> Cell for Option<T> {
    fn cell(seed: u8) -> Self {
        (!seed.is_multiple_of(3)).then(|| T::cell(seed))
    }
    fn number(&self) -> u64 {
        self.as_ref().map_or(1, T::number)
    }
}

/// Fills, queries and sorts one instance, and sums up what it saw.
fn check<K: Cell, V: Cell>() -> u64 {
    let rows = (0..12).map(|n| (K::cell(n * 7 % 12), V::cell(n)));
    let mut table = Table::from_rows(rows.collect());
    let mut sum = 0_u64;
    for seed in 5..15 {
        let replaced = table.insert(K::cell(seed), V::cell(seed + 1));
        sum += replaced.map_or(0, |value| value.number());
        sum += table.get(&K::cell(seed / 2)).map_or(0, V::number);
    }
    sum += table.remove(&K::cell(3)).map_or(0, |value| value.number());
    for (place, (key, value)) in (1_u64..).zip(table.by_value()) {
        sum += place * (key.number() + value.number());
    }
    sum
}

macro_rules! instances {
    ([$($key:ty)*] $values:tt) => {
        0_u64 $(+ instances!(@row $key, $values))*
    };
    (@row $key:ty, [$($value:ty)*]) => {
        0_u64 $(+ check::<$key, $value>())*
    };
}

/// Runs every instance; the sum is the same on every machine.
pub fn self_check() -> u64 {
    instances! {
        [u8 u16 u32 u64 u128 i32 i64 char String Option<String>]
        [u8 u32 u64 i16 char String Option<u32> Option<char>]
    }
}
