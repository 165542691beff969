//! Functions of std by their code, for libraries and programs whose symbols were stripped.
//!
//! Enters: the archive of the standard library that the compiler links into what it makes. Leaves:
//! for the code of a function, whether it is one that starts programs. std comes compiled: what
//! is linked into a program is the archive's code, byte for byte, but for what the linker writes
//! into it. Must never happen here: other code taken for std's.
//!
//! Formats: `ar` archives as GNU's `ar` and rustc write them; the System V ABI's supplement for
//! x86_64 (relocations, and what linkers may make of them, B.2 and 11.1).

use super::elf::{self, Elf, RELOCATIONS, SYMBOLS, Section, Symbol};
use super::handed_on::Called;
use std::ops::Range;

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;
const OBJECT: u16 = 1;

/// The functions of a standard library that start programs.
#[derive(Debug)]
pub struct Standard {
    functions: Vec<Pattern>,
}

/// A function's code.
#[derive(Debug)]
struct Pattern {
    name: Vec<u8>,
    code: Vec<u8>,
    /// What the linker writes, ascending.
    open: Vec<Range<usize>>,
}

impl Standard {
    /// Of the archive `libstd-*.rlib`; `None` where it is not understood.
    #[must_use]
    pub fn of(archive: &[u8]) -> Option<Self> {
        let mut functions = Vec::new();
        for member in members(archive)? {
            if let Some(object) = Elf::of(member).filter(|o| o.kind == OBJECT) {
                of_object(&object, &mut functions)?;
            }
        }
        Some(Self { functions })
    }

    /// The function that has this code.
    pub(super) fn name_of(&self, code: &[u8]) -> Option<&[u8]> {
        let found = self.functions.iter().find(|f| f.is(code))?;
        Some(&found.name)
    }
}

impl Pattern {
    fn is(&self, code: &[u8]) -> bool {
        let mut at = 0;
        let fixed = self.open.iter().all(|open| {
            let same = self.code.get(at..open.start) == code.get(at..open.start);
            at = open.end;
            same
        });
        fixed && self.code.len() == code.len() && self.code.get(at..) == code.get(at..)
    }
}

/// The files in an archive.
fn members(archive: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = archive.strip_prefix(MAGIC)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let size = str::from_utf8(rest.get(48..58)?).ok()?;
        let end = HEADER.checked_add(size.trim_end().parse().ok()?)?;
        found.push(rest.get(HEADER..end)?);
        // Each begins at an even place.
        rest = rest.get(end + end % 2..).unwrap_or_default();
    }
    Some(found)
}

fn of_object(object: &Elf<'_>, functions: &mut Vec<Pattern>) -> Option<()> {
    for table in object.sections.iter().filter(|s| s.kind == SYMBOLS) {
        for symbol in object.symbols(table) {
            let symbol = symbol?;
            if symbol.function && Called::by(symbol.name) != Called::Other {
                functions.push(pattern(object, &symbol)?);
            }
        }
    }
    Some(())
}

fn pattern(object: &Elf<'_>, symbol: &Symbol<'_>) -> Option<Pattern> {
    let number = usize::from(symbol.section);
    let start = usize::try_from(symbol.value).ok()?;
    let end = start.checked_add(usize::try_from(symbol.size).ok()?)?;
    let code = object.sections.get(number)?.bytes.get(start..end)?;
    let mut open = Vec::new();
    let changes = |s: &&Section<'_>| s.kind == RELOCATIONS && s.info == number;
    for table in object.sections.iter().filter(changes) {
        for relocation in elf::relocations(table) {
            let relocation = relocation?;
            let place = usize::try_from(relocation.place).ok()?;
            if (start..end).contains(&place) {
                let (before, behind) = written(relocation.kind)?;
                let first = (place - start).checked_sub(before)?;
                open.push(first..place - start + behind);
            }
        }
    }
    open.sort_by_key(|o| (o.start, o.end));
    // Of those that overlap, the later begins where the earlier ends.
    let mut at = 0;
    for range in &mut open {
        range.start = range.start.max(at);
        range.end = range.end.max(range.start);
        at = range.end;
    }
    (at <= code.len()).then(|| Pattern {
        name: symbol.name.to_vec(),
        code: code.to_vec(),
        open,
    })
}

/// How many bytes before a relocation's place and from it on the linker writes: the address, and
/// the instruction where a shorter way leads to it.
const fn written(kind: u64) -> Option<(usize, usize)> {
    Some(match kind {
        // 64, PC64.
        1 | 24 => (0, 8),
        // PC32, GOT32, PLT32, GOTPCREL, 32, 32S, TPOFF32, GOTPC32.
        2 | 3 | 4 | 9 | 10 | 11 | 23 | 26 => (0, 4),
        // GOTPCRELX: opcode and operand; REX_GOTPCRELX: a prefix as well.
        41 => (2, 4),
        42 | 22 => (3, 4),
        // TLSGD: two instructions of 16 bytes; TLSLD: of 12.
        19 => (4, 12),
        20 => (3, 9),
        // DTPOFF32.
        21 => (0, 4),
        _ => return None,
    })
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
#[path = "standard_tests.rs"]
pub(super) mod tests;
