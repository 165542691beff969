//! What a macro library could do that no observer sees, by what it imports.
//!
//! Enters: the bytes of a shared library (ELF, 64 bit, little endian). Leaves: a reason not to
//! keep what was compiled with it, or none. A macro brings its own std along, and the linker drops
//! what is not used, so an import is there because some code of the macro's needs it. Must never
//! happen here: a library that was not understood taken for harmless.
//!
//! Formats: the System V ABI, chapters 4 and 5 (section headers, symbol table, dynamic section).

mod handed_on;

use crate::compiler::Bypass;

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
pub fn unseen(library: &[u8]) -> Option<Bypass> {
    let Some(dynamic) = Dynamic::of(library) else {
        return Some(Bypass::MacroLibrary);
    };
    if dynamic.takes_environment(library) {
        return Some(Bypass::MacroEnviron);
    }
    if dynamic.imports.iter().any(|i| UNWATCHED.contains(i))
        || memchr::memmem::find(library, RAW).is_some()
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

/// What a program could do that no observer sees. A program has an entry, and no other harm in it.
#[must_use]
pub fn unseen_program(program: &[u8]) -> Option<Bypass> {
    if has_raw_code(program) {
        return Some(Bypass::ScriptRawCalls);
    }
    let Some(dynamic) = Dynamic::of(program) else {
        return Some(Bypass::ScriptUnobserved);
    };
    if dynamic.takes_environment(program) {
        return Some(Bypass::MacroEnviron);
    }
    // Without its own symbols nobody knows what code is in it.
    let unwatched = |i: &&[u8]| *i != b"__libc_start_main" && UNWATCHED.contains(i);
    if !dynamic.named || dynamic.imports.iter().any(unwatched) {
        return Some(Bypass::MacroRawCalls);
    }
    let foreign = |l: &&[u8]| !HARMLESS.contains(l);
    dynamic
        .needed
        .iter()
        .any(foreign)
        .then_some(Bypass::MacroLibrary)
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
    /// Whether its own symbols are told.
    named: bool,
}

/// A section's header.
struct Section {
    kind: u32,
    offset: usize,
    size: usize,
    link: usize,
}

const SYMBOLS: u32 = 2;
const DYNAMIC: u32 = 6;
const DYNAMIC_SYMBOLS: u32 = 11;
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;
const DYNAMIC_ENTRY: usize = 16;
const NEEDED: u64 = 1;

impl<'l> Dynamic<'l> {
    /// Whether the environment as a whole goes anywhere but to programs that are started.
    fn takes_environment(&self, object: &[u8]) -> bool {
        let imported = self.imports.iter().any(|i| ENVIRONMENT.contains(i));
        imported && !handed_on::only_handed_on(object)
    }

    fn of(library: &'l [u8]) -> Option<Self> {
        // Magic, 64 bit, little endian.
        if library.get(..6)? != b"\x7fELF\x02\x01" {
            return None;
        }
        let table = usize::try_from(u64_at(library, 40)?).ok()?;
        if usize::from(u16_at(library, 58)?) != SECTION_HEADER {
            return None;
        }
        let count = usize::from(u16_at(library, 60)?);
        let section = |at: usize| section(library, table, at, count);
        let mut found = Self {
            imports: Vec::new(),
            needed: Vec::new(),
            named: false,
        };
        let (mut symbols, mut dynamic) = (false, false);
        for at in 0..count {
            let here = section(at)?;
            found.named |= here.kind == SYMBOLS && here.size > 0;
            if here.kind != DYNAMIC && here.kind != DYNAMIC_SYMBOLS {
                continue;
            }
            let bytes = bytes_of(library, &here)?;
            let names = bytes_of(library, &section(here.link)?)?;
            // The ABI has one of each. Headers are many, and all of them could mean the same
            // bytes, which would be kept once for each.
            let again = if here.kind == DYNAMIC {
                dynamic
            } else {
                symbols
            };
            if again {
                return None;
            }
            if here.kind == DYNAMIC_SYMBOLS {
                symbols = true;
                for symbol in bytes.chunks_exact(SYMBOL) {
                    // An index of 0: defined elsewhere.
                    if u16_at(symbol, 6)? == 0 {
                        found
                            .imports
                            .push(name_at(names, u32_at(symbol, 0)?.into())?);
                    }
                }
            } else {
                dynamic = true;
                for entry in bytes.chunks_exact(DYNAMIC_ENTRY) {
                    if u64_at(entry, 0)? == NEEDED {
                        found.needed.push(name_at(names, u64_at(entry, 8)?)?);
                    }
                }
            }
        }
        (symbols && dynamic).then_some(found)
    }
}

fn section(library: &[u8], table: usize, at: usize, count: usize) -> Option<Section> {
    if at >= count {
        return None;
    }
    let start = table.checked_add(at.checked_mul(SECTION_HEADER)?)?;
    let header = library.get(start..start.checked_add(SECTION_HEADER)?)?;
    Some(Section {
        kind: u32_at(header, 4)?,
        offset: usize::try_from(u64_at(header, 24)?).ok()?,
        size: usize::try_from(u64_at(header, 32)?).ok()?,
        link: usize::try_from(u32_at(header, 40)?).ok()?,
    })
}

fn bytes_of<'l>(library: &'l [u8], section: &Section) -> Option<&'l [u8]> {
    library.get(section.offset..section.offset.checked_add(section.size)?)
}

/// A string of a table, up to its null; the version that follows an `@` stands elsewhere.
fn name_at(names: &[u8], at: u64) -> Option<&[u8]> {
    let rest = names.get(usize::try_from(at).ok()?..)?;
    rest.get(..memchr::memchr(0, rest)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

#[cfg(test)]
#[path = "macro_symbols_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "macro_symbols_bounds_tests.rs"]
mod bounds_tests;
