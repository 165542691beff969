//! Whether code makes system calls by itself, past the C library and whoever watches that.
//!
//! Enters: the bytes of a library or a program. Leaves: yes, where an instruction in it is one, and
//! where this cannot be told. std leaves all system calls to the C library; rustix, by default,
//! and hand-written assembly do not. Names and messages say less: they can be stripped away.
//! Must never happen here: an instruction in code that the file tells of passed over.
//!
//! The bytes of such an instruction also stand inside of others (a distance, a number). So the
//! function around them is decoded from its beginning.
//!
//! Formats: Intel's manual, volume 2; Arm's, C6.2.

use super::elf::{CODE, Elf, SYMBOLS, Section};
use super::unwinding;
use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use std::collections::BTreeSet;

const X86_64: u16 = 62;
const AARCH64: u16 = 183;
/// `syscall`, `sysenter`, `int 0x80`.
const CALLS: [[u8; 2]; 3] = [[0x0f, 0x05], [0x0f, 0x34], [0xcd, 0x80]];
/// Functions that begin before an address and could hold it: some lie in others.
const NEAR: usize = 8;

/// Whether system calls are made by this library's or program's own code, or could be.
pub(super) fn made_by(file: &[u8]) -> bool {
    let Some(elf) = Elf::of(file) else {
        return true;
    };
    let code = || elf.sections.iter().filter(|s| s.flags & CODE != 0);
    match elf.machine {
        X86_64 => {
            let suspects: Vec<_> = code().flat_map(|s| suspects(s.address, s.bytes)).collect();
            !suspects.is_empty() && makes_one(&elf, &suspects).unwrap_or(true)
        }
        // Instructions are four bytes each.
        AARCH64 => code().any(|s| s.bytes.chunks_exact(4).any(supervisor_call)),
        _ => true,
    }
}

/// Addresses where the bytes of a system call stand.
fn suspects(address: u64, bytes: &[u8]) -> impl Iterator<Item = u64> {
    CALLS.iter().flat_map(move |call| {
        memchr::memmem::find_iter(bytes, call).map(move |at| address.wrapping_add(at as u64))
    })
}

/// `svc`, with any number.
fn supervisor_call(instruction: &[u8]) -> bool {
    matches!(*instruction, [a, _, c, 0xd4] if a & 0x1f == 1 && c & 0xe0 == 0)
}

/// Whether one of these addresses is a system call's; `None` where this cannot be told.
fn makes_one(elf: &Elf<'_>, suspects: &[u64]) -> Option<bool> {
    let functions = functions(elf)?;
    let mut around = BTreeSet::new();
    for suspect in suspects {
        around.insert(holding(elf, &functions, *suspect)?);
    }
    // Functions lie side by side; where they do not, the same code could be meant over and over.
    let all: usize = elf.sections.iter().map(|s| s.bytes.len()).sum();
    let decoded: u64 = around.iter().map(|(start, end)| end - start).sum();
    if decoded > 2 * all as u64 {
        return None;
    }
    for (start, end) in around {
        if calls(elf, start, end)? {
            return Some(true);
        }
    }
    Some(false)
}

/// The function that holds an address; or what lies there between functions, as the C library's
/// code does that is linked into everything.
fn holding(elf: &Elf<'_>, functions: &[(u64, u64)], address: u64) -> Option<(u64, u64)> {
    let until = functions.partition_point(|(start, _)| *start <= address);
    let near = functions.get(until.saturating_sub(NEAR)..until)?;
    if let Some(holds) = near.iter().rfind(|(_, end)| *end > address) {
        return Some(*holds);
    }
    let part = elf.sections.iter().filter(|s| s.flags & CODE != 0);
    let ends = |s: &Section<'_>| s.address.saturating_add(s.bytes.len() as u64);
    let part = part
        .into_iter()
        .find(|s| s.address <= address && address < ends(s))?;
    let before = near.iter().map(|(_, end)| *end).max();
    let behind = functions.get(until).map(|(start, _)| *start);
    Some((
        before.unwrap_or(0).max(part.address),
        behind.unwrap_or(u64::MAX).min(ends(part)),
    ))
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

/// Whether a function makes a system call; `None` where it is not understood.
fn calls(elf: &Elf<'_>, start: u64, end: u64) -> Option<bool> {
    let bytes = elf.sections.iter().find_map(|s| {
        let at = usize::try_from(start.checked_sub(s.address)?).ok()?;
        let size = usize::try_from(end - start).ok()?;
        let code = s.flags & CODE != 0;
        s.bytes.get(at..at.checked_add(size)?).filter(|_| code)
    })?;
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        match instruction.mnemonic() {
            Mnemonic::INVALID => return None,
            Mnemonic::Syscall | Mnemonic::Sysenter | Mnemonic::Int => return Some(true),
            _ => {}
        }
    }
    Some(false)
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
#[path = "raw_calls_tests.rs"]
mod tests;
