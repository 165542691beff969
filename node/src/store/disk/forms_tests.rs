//! Rows have one form, whatever the disk gives back.

use super::tables::{
    EntryRow, LOOKUP_ROW_LEN, OBJECT_ROW_LEN, ObjectRow, Place, entry_of_lookup_row, lookup_row,
    pack, unpack,
};
use crate::store::entry_key::EntryKey;
use proptest::collection::vec;
use proptest::prelude::*;
use quarry_trust::{Digest, LookupKey};

proptest! {
    #[test]
    fn an_entrys_row_has_one_form(put: u64, ids: [[u8; 32]; 2], wire in vec(any::<u8>(), 0..99)) {
        let [lookup, prediction] = ids.map(Digest::from_bytes);
        let row = EntryRow { put, lookup: LookupKey::from_digest(lookup), prediction, wire: &wire };
        let bytes = row.to_row();
        let read = EntryRow::from_row(&bytes).expect("our own");
        prop_assert_eq!((read.put, read.lookup.digest()), (put, lookup));
        prop_assert_eq!((read.prediction, read.wire), (prediction, &wire[..]));
        prop_assert_eq!(read.to_row(), &bytes[..]);
        for cut in 0..72 {
            prop_assert!(EntryRow::from_row(&bytes[..cut]).is_none());
        }
    }

    #[test]
    fn an_objects_row_has_one_form(size: u64, stored: u64, bytes: [u8; OBJECT_ROW_LEN]) {
        for place in [Place::Inline, Place::File, Place::Settled] {
            let row = ObjectRow { place, size, stored };
            prop_assert_eq!(ObjectRow::from_row(&row.to_row()), Some(row));
        }
        let mut near = bytes;
        near[0] %= 3;
        for bytes in [bytes, near] {
            prop_assert!(ObjectRow::from_row(&bytes).is_none_or(|row| row.to_row() == bytes));
        }
    }

    #[test]
    fn a_lookups_row_has_one_form(bytes: [[u8; 32]; 4]) {
        let mut row = [0; LOOKUP_ROW_LEN];
        row.copy_from_slice(&bytes.concat()[..LOOKUP_ROW_LEN]);
        let key: EntryKey = entry_of_lookup_row(&row);
        let lookup = LookupKey::from_digest(Digest::from_bytes(bytes[0]));
        prop_assert_eq!(lookup_row(&lookup, &key), row);
    }

    #[test]
    fn what_was_packed_unpacks_within_its_limit(
        piece in vec(any::<u8>(), 0..40), times in 0_usize..200, at: usize, bit in 0..8_u8
    ) {
        let bytes = piece.repeat(times);
        let mut packed = pack(&bytes);
        prop_assert_eq!(unpack(&packed, bytes.len()), Some(bytes.clone()));
        if let Some(less) = bytes.len().checked_sub(1) {
            prop_assert_eq!(unpack(&packed, less), None);
        }
        let at = at % packed.len();
        packed[at] ^= 1 << bit;
        prop_assert!(unpack(&packed, 500).is_none_or(|bytes| bytes.len() <= 500));
    }
}
