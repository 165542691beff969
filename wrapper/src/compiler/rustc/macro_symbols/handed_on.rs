//! Whether a program or a macro reaches the environment as a whole only to hand it on to programs
//! that it starts, as `std::process::Command` does.
//!
//! Enters: the bytes of either (ELF, x86_64, position independent, with its symbols). Leaves:
//! yes, where every instruction that could reach the C library's `environ` lies in those functions
//! of std that start programs, or in `std::env::vars_os` which only they call. Must never happen
//! here: a way to the variable that is passed over. So bytes are looked through at every offset,
//! as if an instruction began there, and what is not understood is a no.
//!
//! Formats: the System V ABI with its supplement for x86_64 (relocations), and rustc's symbols
//! in their second form (RFC 2603), in which std is compiled.

use super::{DYNAMIC_SYMBOLS, ENVIRONMENT, SYMBOL, SYMBOLS, bytes_of, name_at};
use super::{section, u16_at, u32_at, u64_at};

const EXECUTABLE_ANYWHERE: u16 = 3;
const X86_64: u16 = 62;
/// A section that takes no room in the file.
const NO_BITS: u32 = 8;
const PROGRAM_BITS: u32 = 1;
const RELOCATIONS: u32 = 4;
const RELOCATIONS_SHORT: u32 = 9;
const RELOCATION: usize = 24;
const ALLOCATED: u64 = 2;
const CODE: u64 = 4;
/// Relocations: a place that gets a symbol's address, one that gets an address of the program's.
const GLOB_DAT: u64 = 6;
const RELATIVE: u64 = 8;
const FUNCTION: u8 = 2;
/// Bytes that may stand behind an address which is relative to the instruction's end.
const OPERANDS: [u64; 4] = [0, 1, 2, 4];

/// Places that could use one of the searched addresses; std has some ten. With more it is said not
/// to be understood, so that a strange program costs no time.
const USES_MAX: usize = 256;

/// Whether the environment as a whole goes nowhere but to programs that are started.
pub(super) fn only_handed_on(program: &[u8]) -> bool {
    Program::of(program)
        .and_then(|p| p.hands_on())
        .unwrap_or(false)
}

/// Functions of std that start a program, or gather what its environment is to be.
fn starts_programs(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 4] = [
        b"7Command5spawn",
        b"7Command7do_exec",
        b"7Command4exec",
        b"7Command11capture_env",
    ];
    name.starts_with(b"_RNvM")
        && memchr::memmem::find(name, b"_3std3sys7process4unix").is_some()
        && NAMES.iter().any(|n| name.ends_with(n))
}

/// `std::env::vars_os`.
fn lists_variables(name: &[u8]) -> bool {
    name.starts_with(b"_RNvNtC") && name.ends_with(b"_3std3env7vars_os")
}

struct Part<'p> {
    flags: u64,
    address: u64,
    bytes: &'p [u8],
    /// Whether it is the table of addresses that instructions go through.
    table: bool,
}

struct Function<'p> {
    address: u64,
    size: u64,
    name: &'p [u8],
}

struct Relocation {
    place: u64,
    kind: u64,
    symbol: u64,
    addend: u64,
}

/// Whether four bytes could be the distance from an instruction's end to `target`: before them
/// stands the byte that says so of an operand in memory (Intel's manual, volume 2, table 2-7), or
/// a call or jump.
fn could_mean(target: u64, before: [u8; 2], here: u64, distance: [u8; 4]) -> bool {
    let distance = i64::from(i32::from_le_bytes(distance));
    let end = here.wrapping_add(4).wrapping_add_signed(distance);
    let behind = target.wrapping_sub(end);
    let in_memory = before[1] & 0xc7 == 0x05 && OPERANDS.contains(&behind);
    let jump = matches!(before, [_, 0xe8 | 0xe9] | [0x0f, 0x80..=0x8f]);
    in_memory || (jump && behind == 0)
}

/// What of a program is looked through.
struct Program<'p> {
    parts: Vec<Part<'p>>,
    functions: Vec<Function<'p>>,
    relocations: Vec<Relocation>,
    /// The number of `environ` among the symbols of others.
    environ: u64,
    /// What these symbols mean in the program itself.
    values: Vec<u64>,
}

impl<'p> Program<'p> {
    fn of(program: &'p [u8]) -> Option<Self> {
        let known = u16_at(program, 16)? == EXECUTABLE_ANYWHERE && u16_at(program, 18)? == X86_64;
        let table = usize::try_from(u64_at(program, 40)?).ok()?;
        let count = usize::from(u16_at(program, 60)?);
        let names = usize::from(u16_at(program, 62)?);
        let names = bytes_of(program, &section(program, table, names, count)?)?;
        let mut found = Self {
            parts: Vec::new(),
            functions: Vec::new(),
            relocations: Vec::new(),
            environ: 0,
            values: Vec::new(),
        };
        let mut told = 0_usize;
        for at in 0..count {
            let here = section(program, table, at, count)?;
            // Sections lie side by side: where together they are larger than the program, headers
            // mean the same bytes, which would be kept once for each.
            if here.kind != NO_BITS {
                told = told.saturating_add(here.size);
            }
            if told > program.len() {
                return None;
            }
            let header = program.get(table + at * super::SECTION_HEADER..)?;
            let flags = u64_at(header, 8)?;
            match here.kind {
                SYMBOLS => {
                    let texts = bytes_of(program, &section(program, table, here.link, count)?)?;
                    found.functions(bytes_of(program, &here)?, texts)?;
                }
                DYNAMIC_SYMBOLS => {
                    let texts = bytes_of(program, &section(program, table, here.link, count)?)?;
                    found.imports(bytes_of(program, &here)?, texts)?;
                }
                RELOCATIONS if flags & ALLOCATED != 0 => {
                    found.relocations(bytes_of(program, &here)?)?;
                }
                RELOCATIONS_SHORT if flags & ALLOCATED != 0 => return None,
                PROGRAM_BITS if flags & ALLOCATED != 0 => {
                    let name = name_at(names, u32_at(header, 0)?.into())?;
                    found.parts.push(Part {
                        flags,
                        address: u64_at(header, 16)?,
                        bytes: bytes_of(program, &here)?,
                        table: name == b".got",
                    });
                }
                // Constructors and the like: lists of addresses.
                14..=16 => found.parts.push(Part {
                    flags,
                    address: u64_at(header, 16)?,
                    bytes: bytes_of(program, &here)?,
                    table: false,
                }),
                _ => {}
            }
        }
        (known && found.environ != 0 && !found.functions.is_empty()).then_some(found)
    }

    fn functions(&mut self, symbols: &'p [u8], names: &'p [u8]) -> Option<()> {
        for symbol in symbols.chunks_exact(SYMBOL) {
            if symbol.get(4)? & 15 == FUNCTION {
                self.functions.push(Function {
                    address: u64_at(symbol, 8)?,
                    size: u64_at(symbol, 16)?,
                    name: name_at(names, u32_at(symbol, 0)?.into())?,
                });
            }
        }
        Some(())
    }

    /// `environ` under its one name; under another, or twice, it is not understood.
    fn imports(&mut self, symbols: &'p [u8], names: &'p [u8]) -> Option<()> {
        for (number, symbol) in symbols.chunks_exact(SYMBOL).enumerate() {
            let name = name_at(names, u32_at(symbol, 0)?.into())?;
            self.values.push(u64_at(symbol, 8)?);
            if !ENVIRONMENT.contains(&name) {
                continue;
            }
            let elsewhere = u16_at(symbol, 6)? == 0;
            if name != b"environ" || self.environ != 0 || !elsewhere {
                return None;
            }
            self.environ = number as u64;
        }
        Some(())
    }

    fn relocations(&mut self, entries: &[u8]) -> Option<()> {
        for entry in entries.chunks_exact(RELOCATION) {
            let info = u64_at(entry, 8)?;
            self.relocations.push(Relocation {
                place: u64_at(entry, 0)?,
                kind: info & u64::from(u32::MAX),
                symbol: info >> 32,
                addend: u64_at(entry, 16)?,
            });
        }
        Some(())
    }

    fn hands_on(&self) -> Option<bool> {
        let mut slots = Vec::new();
        for r in self.relocations.iter().filter(|r| r.symbol == self.environ) {
            if r.kind != GLOB_DAT {
                return None;
            }
            slots.push(r.place);
        }
        if slots.is_empty() {
            return None;
        }
        let mut listing = Vec::new();
        for function in self.uses(&slots)? {
            if lists_variables(function.name) {
                listing.push(function.address);
            } else if !starts_programs(function.name) {
                return Some(false);
            }
        }
        let mut ways = listing.clone();
        for address in listing {
            ways.extend(self.places_of(address)?);
        }
        let callers = self.uses(&ways)?;
        Some(callers.iter().all(|f| starts_programs(f.name)))
    }

    /// The places of the table that hold a function's address; `None` where one lies elsewhere:
    /// then nobody knows who goes through it.
    fn places_of(&self, function: u64) -> Option<Vec<u64>> {
        let mut places = Vec::new();
        for r in &self.relocations {
            let symbol = usize::try_from(r.symbol).ok();
            let value = symbol.filter(|s| *s != 0).and_then(|s| self.values.get(s));
            if value == Some(&function) {
                return None;
            }
            if r.addend == function {
                (r.kind == RELATIVE).then(|| places.push(r.place))?;
            }
        }
        for part in self.parts.iter().filter(|p| p.flags & CODE == 0) {
            let needle = function.to_le_bytes();
            let found = memchr::memmem::find_iter(part.bytes, &needle);
            places.extend(found.map(|at| part.address + at as u64));
        }
        let in_table = |place: &u64| {
            let mut tables = self.parts.iter().filter(|p| p.table);
            tables.any(|t| *place >= t.address && *place - t.address < t.bytes.len() as u64)
        };
        places.iter().all(in_table).then_some(places)
    }

    /// The functions in whose code an address relative to an instruction's end could mean one of
    /// these; `None` where that is in no function.
    fn uses(&self, targets: &[u64]) -> Option<Vec<&Function<'p>>> {
        let mut found = Vec::new();
        let code = self.parts.iter().filter(|p| p.flags & CODE != 0);
        for part in code.filter(|_| !targets.is_empty()) {
            let mut first = 0;
            for (at, window) in part.bytes.windows(5).enumerate() {
                let &[second, a, b, c, d] = window.first_chunk()?;
                let here = part.address.wrapping_add(at as u64 + 1);
                let hit = |t: &u64| could_mean(*t, [first, second], here, [a, b, c, d]);
                let used = targets.iter().any(hit);
                first = second;
                if !used {
                    continue;
                }
                let around = |f: &&Function<'_>| f.address <= here && here - f.address < f.size;
                let before = found.len();
                found.extend(self.functions.iter().filter(around));
                if found.len() == before || found.len() > USES_MAX {
                    return None;
                }
            }
        }
        Some(found)
    }
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
#[path = "handed_on_tests.rs"]
mod tests;
