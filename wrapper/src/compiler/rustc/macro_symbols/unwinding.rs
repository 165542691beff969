//! Where functions begin and end, told by what unwinders read: that stays when symbols go.
//!
//! Format: the Linux Standard Base, chapter 10.6 (`.eh_frame`), read by `gimli`.

use super::elf::Elf;
use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};

/// Where the functions of a library or a program begin and end, as addresses; `None` where this is
/// not understood.
pub(super) fn functions(elf: &Elf<'_>) -> Option<Vec<(u64, u64)>> {
    let named = |s: &&super::elf::Section<'_>| elf.name(s) == Some(b".eh_frame");
    let section = elf.sections.iter().find(named)?;
    let frames = EhFrame::new(section.bytes, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address);
    let mut entries = frames.entries(&bases);
    let mut found = Vec::new();
    let mut read = 0_usize;
    while let Some(entry) = entries.next().ok()? {
        if let CieOrFde::Fde(partial) = entry {
            let whole = partial.parse(EhFrame::cie_from_offset).ok()?;
            // What functions have in common is read again for each: some twenty bytes.
            read = read.saturating_add(whole.cie().entry_len());
            if read / 16 > section.bytes.len() {
                return None;
            }
            let start = whole.initial_address();
            found.push((start, start.checked_add(whole.len())?));
        }
    }
    Some(found)
}
