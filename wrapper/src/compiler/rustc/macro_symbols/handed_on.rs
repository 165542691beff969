//! Whether a program or a macro reaches the environment as a whole only to hand it on to programs
//! that it starts, as `std::process::Command` does.
//!
//! Enters: the bytes of either (ELF, x86_64, position independent). Leaves: yes, where every instruction that could reach the C library's `environ` lies in those functions
//! of std that start programs, or in `std::env::vars_os` which only they call. Must never happen
//! here: a way to the variable that is passed over. So bytes are looked through at every offset,
//! as if an instruction began there, and what is not understood is a no.
//!
//! Formats: the System V ABI with its supplement for x86_64 (relocations), and rustc's symbols
//! in their second form (RFC 2603), in which std is compiled.

use super::elf::{self, ALLOCATED, CODE, DYNAMIC_SYMBOLS, Elf, RELOCATIONS, Relocation};
use super::elf::{SYMBOLS, Section};
use super::{ENVIRONMENT, Standards, unwinding};

const EXECUTABLE_ANYWHERE: u16 = 3;
const X86_64: u16 = 62;
const PROGRAM_BITS: u32 = 1;
const RELOCATIONS_SHORT: u32 = 9;
/// Relocations: a place that gets a symbol's address, one that gets an address of the program's.
const GLOB_DAT: u64 = 6;
const RELATIVE: u64 = 8;
/// Bytes that may stand behind an address which is relative to the instruction's end.
const OPERANDS: [u64; 4] = [0, 1, 2, 4];

/// Places that could use one of the searched addresses; std has some ten. With more it is said not
/// to be understood, so that a strange program costs no time.
const USES_MAX: usize = 256;

/// Whether the environment as a whole goes nowhere but to programs that are started.
pub(super) fn only_handed_on(program: &[u8], standard: Standards<'_>) -> bool {
    Program::of(program)
        .and_then(|p| p.hands_on(standard))
        .unwrap_or(false)
}

/// What a function is to std.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    /// Starts a program, or gathers what its environment is to be.
    Starting,
    /// `std::env::vars_os`.
    Listing,
    Other,
}

impl Called {
    pub fn by(name: &[u8]) -> Self {
        const STARTING: [&[u8]; 4] = [
            b"7Command5spawn",
            b"7Command7do_exec",
            b"7Command4exec",
            b"7Command11capture_env",
        ];
        let of_programs = name.starts_with(b"_RNvM")
            && memchr::memmem::find(name, b"_3std3sys7process4unix").is_some();
        if of_programs && STARTING.iter().any(|n| name.ends_with(n)) {
            Self::Starting
        } else if name.starts_with(b"_RNvNtC") && name.ends_with(b"_3std3env7vars_os") {
            Self::Listing
        } else {
            Self::Other
        }
    }
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

/// A function whose name is gone.
const fn unnamed((address, end): (u64, u64)) -> Function<'static> {
    Function {
        address,
        size: end - address,
        name: b"",
    }
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
        let elf = Elf::of(program)?;
        if elf.kind != EXECUTABLE_ANYWHERE || elf.machine != X86_64 {
            return None;
        }
        let mut found = Self {
            parts: Vec::new(),
            functions: Vec::new(),
            relocations: Vec::new(),
            environ: 0,
            values: Vec::new(),
        };
        for here in &elf.sections {
            let allocated = here.flags & ALLOCATED != 0;
            match here.kind {
                SYMBOLS => found.functions(&elf, here)?,
                DYNAMIC_SYMBOLS => found.imports(&elf, here)?,
                RELOCATIONS if allocated => {
                    for relocation in elf::relocations(here) {
                        found.relocations.push(relocation?);
                    }
                }
                RELOCATIONS_SHORT if allocated => return None,
                PROGRAM_BITS if allocated => found.parts.push(Part {
                    flags: here.flags,
                    address: here.address,
                    bytes: here.bytes,
                    table: elf.name(here)? == b".got",
                }),
                // Constructors and the like: lists of addresses.
                14..=16 => found.parts.push(Part {
                    flags: here.flags,
                    address: here.address,
                    bytes: here.bytes,
                    table: false,
                }),
                _ => {}
            }
        }
        if found.functions.is_empty() {
            found.functions = unwinding::functions(&elf)?
                .into_iter()
                .map(unnamed)
                .collect();
        }
        (found.environ != 0 && !found.functions.is_empty()).then_some(found)
    }

    fn functions(&mut self, elf: &Elf<'p>, table: &Section<'p>) -> Option<()> {
        for symbol in elf.symbols(table) {
            let symbol = symbol?;
            if symbol.function {
                self.functions.push(Function {
                    address: symbol.value,
                    size: symbol.size,
                    name: symbol.name,
                });
            }
        }
        Some(())
    }

    /// `environ` under its one name; under another, or twice, it is not understood.
    fn imports(&mut self, elf: &Elf<'p>, table: &Section<'p>) -> Option<()> {
        for (number, symbol) in elf.symbols(table).enumerate() {
            let symbol = symbol?;
            self.values.push(symbol.value);
            if !ENVIRONMENT.contains(&symbol.name) {
                continue;
            }
            let elsewhere = symbol.section == 0;
            if symbol.name != b"environ" || self.environ != 0 || !elsewhere {
                return None;
            }
            self.environ = number as u64;
        }
        Some(())
    }

    /// Finds out which functions are those of std, where a program's own symbols are gone.
    fn called(&self, function: &Function<'p>, standard: Standards<'_>) -> Called {
        if !function.name.is_empty() {
            return Called::by(function.name);
        }
        let code = self.parts.iter().find_map(|part| {
            let at = function.address.checked_sub(part.address)?;
            let at = usize::try_from(at).ok()?;
            let size = usize::try_from(function.size).ok()?;
            part.bytes.get(at..at.checked_add(size)?)
        });
        let standard = standard();
        let name = standard
            .as_ref()
            .zip(code)
            .and_then(|(s, code)| s.name_of(code));
        name.map_or(Called::Other, Called::by)
    }

    fn hands_on(&self, standard: Standards<'_>) -> Option<bool> {
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
            match self.called(function, standard) {
                Called::Listing => listing.push(function.address),
                Called::Starting => {}
                Called::Other => return Some(false),
            }
        }
        let mut ways = listing.clone();
        for address in listing {
            ways.extend(self.places_of(address)?);
        }
        let callers = self.uses(&ways)?;
        let starts = |f: &&Function<'p>| self.called(f, standard) == Called::Starting;
        Some(callers.iter().all(starts))
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
