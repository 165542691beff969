//! A library that claims more than it holds costs no more than it holds.

use super::*;

/// A library with sections of these kinds, which all mean the same bytes.
fn sections(kinds: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let symbols = vec![0; 48];
    let table = (bytes.len() + symbols.len()) as u64;
    bytes[40..48].copy_from_slice(&table.to_le_bytes());
    bytes[58..60].copy_from_slice(&64_u16.to_le_bytes());
    let count = u16::try_from(kinds.len()).unwrap();
    bytes[60..62].copy_from_slice(&count.to_le_bytes());
    bytes.extend(&symbols);
    for kind in kinds {
        let mut header = vec![0; 64];
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&64_u64.to_le_bytes());
        header[32..40].copy_from_slice(&(symbols.len() as u64).to_le_bytes());
        bytes.extend(header);
    }
    bytes
}

#[test]
fn one_table_of_symbols_counts_and_a_second_is_not_understood() {
    let one = sections(&[DYNAMIC_SYMBOLS, DYNAMIC]);
    assert_eq!(Dynamic::of(&one).unwrap().imports.len(), 2);
    // Each of 65,535 headers that mean the same bytes would have them kept once more.
    for kinds in [
        [DYNAMIC_SYMBOLS, DYNAMIC_SYMBOLS, DYNAMIC],
        [DYNAMIC_SYMBOLS, DYNAMIC, DYNAMIC],
    ] {
        let many = sections(&kinds);
        assert!(Dynamic::of(&many).is_none(), "{kinds:?}");
        assert_eq!(unseen(&many, &|| None), Some(Bypass::MacroLibrary));
    }
}
