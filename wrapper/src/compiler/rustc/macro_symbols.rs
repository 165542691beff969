//! What a macro library could do that no observer sees, by what it imports.
//!
//! Enters: the bytes of a shared library (ELF, 64 bit, little endian). Leaves: a reason not to
//! keep what was compiled with it, or none. A macro brings its own std along, and the linker drops
//! what is not used, so an import is there because some code of the macro's needs it. Must never
//! happen here: a library that was not understood taken for harmless.
//!
//! Formats: the System V ABI, chapter 5 (the dynamic section).

mod elf;
mod handed_on;
mod raw_calls;
mod standard;
mod unwinding;

pub use standard::Standard;

use crate::compiler::Bypass;
use elf::{DYNAMIC, DYNAMIC_SYMBOLS, Elf, name_at, u64_at};
use std::sync::Arc;

/// Where the compiler's own standard library is had from, once it is needed.
pub type Standards<'s> = &'s dyn Fn() -> Option<Arc<Standard>>;

/// A macro library larger than this is not looked into; the largest known have 60 MiB.
pub const LIBRARY_MAX: u64 = 256 << 20;

/// The environment as a variable of the C library's: what is read there, nobody sees.
const ENVIRONMENT: &[&[u8]] = &[b"environ", b"__environ", b"_environ"];

/// Functions that read names, files or memory by ways of their own inside the C library, past
/// what the observer stands in for, or that lead around it.
const UNWATCHED: &[&[u8]] = &[
    b"scandir",
    b"scandir64",
    b"scandirat",
    b"glob",
    b"glob64",
    b"ftw",
    b"ftw64",
    b"nftw",
    b"nftw64",
    b"fts_open",
    b"fts64_open",
    b"wordexp",
    b"freopen",
    b"freopen64",
    b"shm_open",
    b"sem_open",
    b"mq_open",
    b"open_by_handle_at",
    b"name_to_handle_at",
    b"clone3",
    b"dlmopen",
    b"ptrace",
    b"inotify_init",
    b"inotify_init1",
    b"fanotify_init",
    b"__open_2",
    b"__open64_2",
    b"__openat_2",
    b"__openat64_2",
    b"__realpath_chk",
    b"__readlink_chk",
    b"__readlinkat_chk",
    b"__getcwd_chk",
    b"getwd",
    b"getpwent",
    b"getgrent",
    b"gethostbyname",
    b"gethostbyname_r",
    b"__libc_start_main",
    b"statvfs",
    b"statvfs64",
    b"getxattr",
    b"lgetxattr",
    b"listxattr",
    b"io_uring_setup",
    b"shmget",
    b"msgget",
    b"name_to_handle_at64",
];

/// Libraries that every macro may be linked with: the C library's parts and the unwinder.
const HARMLESS: &[&[u8]] = &[
    b"libc.so.6",
    b"libm.so.6",
    b"libdl.so.2",
    b"libpthread.so.0",
    b"librt.so.1",
    b"libgcc_s.so.1",
    b"ld-linux-x86-64.so.2",
    b"ld-linux-aarch64.so.1",
];

/// Names of code that makes system calls by itself, past the C library: the back end of rustix
/// that it takes by default. Its names stand in symbols, in panic messages, in debug information.
const RAW: &[u8] = b"linux_raw";

/// Why what was compiled with this macro library cannot be kept.
#[must_use]
pub fn unseen(library: &[u8], standard: Standards<'_>) -> Option<Bypass> {
    let Some(dynamic) = Dynamic::of(library) else {
        return Some(Bypass::MacroLibrary);
    };
    if dynamic.takes_environment(library, standard) {
        return Some(Bypass::MacroEnviron);
    }
    if dynamic.imports.iter().any(|i| UNWATCHED.contains(i))
        || memchr::memmem::find(library, RAW).is_some()
        || raw_calls::made_by(library) != Some(false)
    {
        return Some(Bypass::MacroRawCalls);
    }
    let foreign = |l: &&[u8]| !HARMLESS.contains(l);
    dynamic
        .needed
        .iter()
        .any(foreign)
        .then_some(Bypass::MacroLibrary)
}

/// All that a program could do that no observer sees. A program has an entry, and no other harm in
/// it.
#[must_use]
pub fn unseen_program(program: &[u8], standard: Standards<'_>) -> Vec<Bypass> {
    let raw = raw_calls::made_by(program);
    if has_raw_code(program) || raw == Some(true) {
        return vec![Bypass::ScriptRawCalls];
    }
    let Some(dynamic) = Dynamic::of(program) else {
        return vec![Bypass::ScriptUnobserved];
    };
    let environ = dynamic.takes_environment(program, standard);
    let unwatched = |i: &&[u8]| *i != b"__libc_start_main" && UNWATCHED.contains(i);
    let unwatched = dynamic.imports.iter().any(unwatched) || raw.is_none();
    let foreign = dynamic.needed.iter().any(|l| !HARMLESS.contains(l));
    let all = [
        (environ, Bypass::MacroEnviron),
        (unwatched, Bypass::MacroRawCalls),
        (foreign, Bypass::MacroLibrary),
    ];
    let all = all.into_iter().filter(|(is_so, _)| *is_so);
    all.map(|(_, why)| why).collect()
}

/// Whether code by these names is in a program: in a mangled symbol, in a source file's path. The
/// word alone proves nothing: rustix's own build script looks for a directory of that name.
fn has_raw_code(program: &[u8]) -> bool {
    memchr::memmem::find_iter(program, RAW).any(|at| {
        let rest = program.get(at + RAW.len()..).unwrap_or_default();
        let path = rest.iter().take_while(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'/' | b'.')
        });
        let path = rest.get(..path.count()).unwrap_or_default();
        let in_file = path.starts_with(b"/") && memchr::memmem::find(path, b".rs").is_some();
        let mangled = at.checked_sub(1).and_then(|before| program.get(before)) == Some(&b'9');
        in_file || mangled || rest.starts_with(b"::")
    })
}

/// What a shared library asks of others.
struct Dynamic<'l> {
    imports: Vec<&'l [u8]>,
    needed: Vec<&'l [u8]>,
}

const DYNAMIC_ENTRY: usize = 16;
const NEEDED: u64 = 1;

impl<'l> Dynamic<'l> {
    /// Whether the environment as a whole goes anywhere but to programs that are started.
    fn takes_environment(&self, object: &[u8], standard: Standards<'_>) -> bool {
        let imported = self.imports.iter().any(|i| ENVIRONMENT.contains(i));
        imported && !handed_on::only_handed_on(object, standard)
    }

    fn of(library: &'l [u8]) -> Option<Self> {
        let elf = Elf::of(library)?;
        let mut found = Self {
            imports: Vec::new(),
            needed: Vec::new(),
        };
        // The ABI has one of each. Headers are many, and all of them could mean the same bytes,
        // which would be kept once for each.
        let one = |kind| {
            let mut all = elf.sections.iter().filter(|s| s.kind == kind);
            all.next().filter(|_| all.next().is_none())
        };
        for symbol in elf.symbols(one(DYNAMIC_SYMBOLS)?) {
            let symbol = symbol?;
            if symbol.section == 0 {
                found.imports.push(symbol.name);
            }
        }
        let dynamic = one(DYNAMIC)?;
        for entry in dynamic.bytes.chunks_exact(DYNAMIC_ENTRY) {
            if u64_at(entry, 0)? == NEEDED {
                let name = name_at(elf.linked(dynamic)?, u64_at(entry, 8)?)?;
                found.needed.push(name);
            }
        }
        Some(found)
    }
}

#[cfg(test)]
#[path = "macro_symbols_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "macro_symbols_bounds_tests.rs"]
mod bounds_tests;
