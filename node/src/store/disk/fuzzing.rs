//! Fuzz target of what the disk gives back: rows of the database, packed bytes, state files.
//!
//! Enters: bytes that may be damaged in any way. Leaves: a panic where a row has two forms, or
//! unpacks to more than its limit. See `crate::fuzzing`. Must never happen here: a database.

use super::state::state_in;
use super::tables::{EntryRow, ObjectRow, Place, pack, unpack};
use crate::fuzzing::{Feed, Probe};
use crate::store::{INLINE_MAX, MAX_PREDICTION_BYTES};
use quarry_trust::{Digest, LookupKey};

/// Entry rows (0), object rows (1), packed bytes (2, 3), state files (4).
pub(crate) fn row_seeds() -> Vec<Vec<u8>> {
    let signed = crate::fuzzing::signed_entry().to_wire();
    let entry = EntryRow {
        put: 7,
        lookup: LookupKey::of(b"lookup"),
        prediction: Digest::of(b"prediction"),
        wire: &signed,
    };
    let object = ObjectRow {
        place: Place::File,
        size: 100_000,
        stored: 100_000,
    };
    let state = b"the state of something";
    let file = [b"QSTATE1\n".as_slice(), Digest::of(state).as_bytes(), state].concat();
    let of = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    vec![
        of(0, &entry.to_row()),
        of(1, &object.to_row()),
        of(2, &pack(&b"again and ".repeat(100))),
        of(3, &pack(b"short")),
        of(3, &pack(&vec![0; INLINE_MAX as usize + 1])),
        of(4, &file),
    ]
}

/// One row or file.
pub(crate) fn rows(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    let kind = feed.pick(5);
    let bytes = feed.rest();
    match kind {
        0 => {
            if let Some(row) = probe.decode(bytes.len(), || EntryRow::from_row(bytes)) {
                assert_eq!(row.to_row(), bytes, "two rows of one entry");
                if let Some(signed) = probe.decode(bytes.len(), || row.signed()) {
                    assert_eq!(signed.to_wire(), row.wire);
                }
            }
        }
        1 => {
            let row = bytes.try_into().ok().and_then(ObjectRow::from_row);
            if let Some(row) = row {
                assert_eq!(row.to_row(), bytes, "two rows of one object");
            }
        }
        2 => unpacked(probe, bytes, MAX_PREDICTION_BYTES),
        3 => unpacked(probe, bytes, INLINE_MAX as usize),
        _ => {
            if let Some(state) = probe.decode(bytes.len(), || state_in(bytes)) {
                assert_eq!(bytes.len(), state.len() + 40);
            }
        }
    }
}

fn unpacked(probe: &Probe, packed: &[u8], max: usize) {
    if let Some(bytes) = probe.decode(packed.len(), || unpack(packed, max)) {
        assert!(bytes.len() <= max, "unpacked to more than the limit");
        assert_eq!(unpack(&pack(&bytes), max), Some(bytes));
    }
}
