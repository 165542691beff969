//! Whether code makes system calls by itself, past the C library and whoever watches that.
//!
//! Enters: the bytes of a library or a program. Leaves: yes, where an instruction in it is one; no;
//! or that this cannot be told. std leaves all system calls to the C library; rustix, by default,
//! and hand-written assembly do not. Names and messages say less: they can be stripped away.
//! Must never happen here: an instruction in code that the file tells of passed over.
//!
//! The bytes of such an instruction also stand inside of others (a distance, a number). So the
//! function around them is decoded from its beginning.
//!
//! Formats: Intel's manual, volume 2; Arm's, C6.2.

use super::elf::{ALLOCATED, CODE, Elf, SYMBOLS, Section};
use super::unwinding;
use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind};
use std::collections::BTreeSet;

const X86_64: u16 = 62;
const AARCH64: u16 = 183;
/// `syscall`, `sysenter`, `int 0x80`.
const CALLS: [[u8; 2]; 3] = [[0x0f, 0x05], [0x0f, 0x34], [0xcd, 0x80]];
/// Functions that begin before an address and could hold it: some lie in others.
const NEAR: usize = 8;

/// Whether system calls are made by this library's or program's own code; `None` where that cannot
/// be told.
pub(super) fn made_by(file: &[u8]) -> Option<bool> {
    let elf = Elf::of(file)?;
    let mut code = elf.sections.iter().filter(|s| s.flags & CODE != 0);
    match elf.machine {
        X86_64 => makes_one(&elf),
        // Instructions are four bytes each.
        AARCH64 => Some(code.any(|s| s.bytes.chunks_exact(4).any(supervisor_call))),
        _ => None,
    }
}

/// Where the bytes of a system call stand in these.
fn suspects(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let all = CALLS.iter();
    all.flat_map(move |call| memchr::memmem::find_iter(bytes, call))
}

/// `svc`, with any number.
fn supervisor_call(instruction: &[u8]) -> bool {
    matches!(*instruction, [a, _, c, 0xd4] if a & 0x1f == 1 && c & 0xe0 == 0)
}

/// A function, or what lies between two, as the C library's code does that is linked into
/// everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    start: u64,
    end: u64,
    between: bool,
}

fn makes_one(elf: &Elf<'_>) -> Option<bool> {
    let functions = functions(elf)?;
    let mut left = 2 * elf
        .sections
        .iter()
        .map(|s| s.bytes.len() as u64)
        .sum::<u64>();
    for part in elf.sections.iter().filter(|s| s.flags & CODE != 0) {
        let mut around = BTreeSet::new();
        for suspect in suspects(part.bytes) {
            let address = part.address.checked_add(suspect as u64)?;
            around.insert(holding(part, &functions, address)?);
        }
        for piece in around {
            // Functions lie side by side; where they do not, the same code could be meant over
            // and over.
            left = left.checked_sub(piece.end - piece.start)?;
            if calls(elf, part, piece)? {
                return Some(true);
            }
        }
    }
    Some(false)
}

/// The function that holds an address, or the gap that does.
fn holding(part: &Section<'_>, functions: &[(u64, u64)], address: u64) -> Option<Piece> {
    let until = functions.partition_point(|(start, _)| *start <= address);
    let near = functions.get(until.saturating_sub(NEAR)..until)?;
    if let Some((start, end)) = near.iter().rfind(|(_, end)| *end > address) {
        let (start, end, between) = (*start, *end, false);
        return Some(Piece {
            start,
            end,
            between,
        });
    }
    let before = near.iter().map(|(_, end)| *end).max();
    let behind = functions.get(until).map(|(start, _)| *start);
    let end = part.address.checked_add(part.bytes.len() as u64)?;
    Some(Piece {
        start: before.unwrap_or(0).max(part.address),
        end: behind.unwrap_or(u64::MAX).min(end),
        between: true,
    })
}

/// Where all functions begin and end that the file tells of, by its symbols or to those who
/// unwind, ascending.
fn functions(elf: &Elf<'_>) -> Option<Vec<(u64, u64)>> {
    let mut found: Vec<_> = unwinding::functions(elf).unwrap_or_default();
    for table in elf.sections.iter().filter(|s| s.kind == SYMBOLS) {
        for symbol in elf.symbols(table) {
            let symbol = symbol?;
            if symbol.function {
                found.push((symbol.value, symbol.value.checked_add(symbol.size)?));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}

/// Whether a piece of code makes a system call; `None` where it is not understood: it jumps between
/// what was taken for instructions, or lies in no function and holds such bytes otherwise than as
/// the way to something in this file. There may be data in it.
fn calls(elf: &Elf<'_>, part: &Section<'_>, piece: Piece) -> Option<bool> {
    let at = usize::try_from(piece.start.checked_sub(part.address)?).ok()?;
    let size = usize::try_from(piece.end - piece.start).ok()?;
    let bytes = part.bytes.get(at..at.checked_add(size)?)?;
    let mut decoder = Decoder::with_ip(64, bytes, piece.start, DecoderOptions::NONE);
    let (mut begun, mut targets) = (Vec::new(), Vec::new());
    while decoder.can_decode() {
        let from = decoder.position();
        let instruction = decoder.decode();
        match instruction.mnemonic() {
            Mnemonic::INVALID => return None,
            Mnemonic::Syscall | Mnemonic::Sysenter | Mnemonic::Int => return Some(true),
            _ => {}
        }
        begun.push(instruction.ip());
        let jumps =
            instruction.op_count() == 1 && matches!(instruction.op0_kind(), OpKind::NearBranch64);
        let target = instruction.near_branch_target();
        if jumps && (piece.start..piece.end).contains(&target) {
            targets.push(target);
        }
        let suspect = suspects(bytes.get(from..decoder.position())?)
            .next()
            .is_some();
        if suspect && piece.between {
            let leads_to = match jumps {
                true => target,
                false if instruction.is_ip_rel_memory_operand() => {
                    instruction.ip_rel_memory_address()
                }
                false => return None,
            };
            let holds = |s: &Section<'_>| s.address <= leads_to && leads_to < s.end();
            elf.sections
                .iter()
                .find(|s| s.flags & ALLOCATED != 0 && holds(s))?;
        }
    }
    // Ascending, since they were decoded one after the other.
    let known = |target: &u64| begun.binary_search(target).is_ok();
    targets.iter().all(known).then_some(false)
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
#[path = "raw_calls_tests.rs"]
mod tests;
