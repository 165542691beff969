//! The observer: loaded into the compiler ahead of the C library, it notes what procedural macros
//! ask of the system.
//!
//! Enters: calls of the C library's functions, and who made them (the return address). Leaves:
//! the real function's answer, untouched (but see `originals.rs`), and one record per distinct question in the log whose
//! path stands in `QUARRY_OBSERVE`. The compiler's own objects are those that are mapped when the
//! process starts; a call from anywhere else is a macro's (or a library's that a macro brought).
//! Must never happen here: an allocation, a panic, a changed errno, a call that is not passed on,
//! a question that goes unnoted while the log still looks whole.
//!
//! In a build script's run (`run.rs`) every call counts, in each process that takes part; a
//! record's object is then `rustc` where the process is a compiler, `pwd` where it is one of those
//! that take PWD for nothing but their working directory's name, and else empty.
//!
//! A record: `Q`, kind, outcome, 0, length of the object's name and of the text (16 bit little
//! endian each), the object's name, the text. It is read by `wrapper/src/observer/log.rs`.

#![no_std]

#[macro_use]
mod entries;

mod calls;
mod drivers;
mod originals;
mod run;
mod witness;

use calls::{getcwd_real, open_real, readlink_real};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

/// What a path or a name may be long, Linux's PATH_MAX.
const TEXT_MAX: usize = 4096;
/// Objects that are mapped when a compiler starts: some ten.
const OBJECTS_MAX: usize = 64;
/// Distinct records of one compile: a macro that embeds a tree of some thousand files has as many.
/// A power of two, since hashes are cut to it; half of it is used, so that probes stay short.
const SEEN: usize = 1 << 16;
/// The log's descriptor lies above those that jobservers and callers use.
const DESCRIPTOR_MIN: c_int = 300;

const AT_FDCWD: c_int = -100;
const ENOENT: c_int = 2;
const ENOTDIR: c_int = 20;
const EEXIST: c_int = 17;
const EINVAL: c_int = 22;
const ENOSYS: c_int = 38;
const O_WRONLY_RDWR: usize = 3;
const O_CREAT: usize = 0o100;
const O_TRUNC: usize = 0o1000;
const O_APPEND: c_int = 0o2000;
const O_CLOEXEC: c_int = 0o2_000_000;
const F_DUPFD_CLOEXEC: c_int = 1030;
const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;

/// Strings up to null: arguments, an environment.
type Strings = *const *const c_char;

#[repr(C)]
struct DlInfo {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

/// The beginning of `struct dl_phdr_info`, of elf.h's 64-bit form.
#[repr(C)]
struct ObjectInfo {
    base: usize,
    name: *const c_char,
    headers: *const ProgramHeader,
    count: u16,
}

#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    in_file: u64,
    in_memory: u64,
    align: u64,
}

#[link(name = "c")]
#[link(name = "dl")]
unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dladdr(address: *const c_void, info: *mut DlInfo) -> c_int;
    fn dl_iterate_phdr(
        each: unsafe extern "C" fn(*const ObjectInfo, usize, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
    fn __errno_location() -> *mut c_int;
    fn write(fd: c_int, bytes: *const u8, length: usize) -> isize;
    fn read(fd: c_int, to: *mut u8, length: usize) -> isize;
    fn ftruncate(fd: c_int, length: i64) -> c_int;
    fn fcntl(fd: c_int, command: c_int, argument: c_int) -> c_int;
    fn close(fd: c_int) -> c_int;
    fn abort() -> !;
    static mut environ: *mut *mut c_char;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the process. Nothing here indexes or unwraps, so nothing leads here.
    unsafe { abort() }
}

static ACTIVE: AtomicBool = AtomicBool::new(false);
/// Whether a build script's run is observed, and not the macros of a compiler.
static RUN: AtomicBool = AtomicBool::new(false);
/// Whether this process of such a run is a compiler.
static COMPILER: AtomicBool = AtomicBool::new(false);
/// Whether this process of such a run takes PWD for nothing but its working directory's name.
static PLACED: AtomicBool = AtomicBool::new(false);
static LOG: AtomicI32 = AtomicI32::new(-1);
static USED: AtomicUsize = AtomicUsize::new(0);
static TABLE: [AtomicU64; SEEN] = [const { AtomicU64::new(0) }; SEEN];
static OBJECTS: AtomicUsize = AtomicUsize::new(0);
static LOW: [AtomicUsize; OBJECTS_MAX] = [const { AtomicUsize::new(0) }; OBJECTS_MAX];
static HIGH: [AtomicUsize; OBJECTS_MAX] = [const { AtomicUsize::new(0) }; OBJECTS_MAX];

/// What was asked.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Began = b'H',
    Incomplete = b'I',
    Read = b'R',
    Write = b'W',
    List = b'L',
    Look = b'K',
    Link = b'B',
    Resolve = b'P',
    Directory = b'D',
    Variable = b'V',
    Spawn = b'S',
    Socket = b'N',
    Loaded = b'O',
    Raw = b'C',
    Machine = b'M',
    Entered = b'E',
    Given = b'G',
    NotStarted = b'F',
    Tried = b'T',
    Told = b'A',
}

/// What the answer was.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Outcome {
    Done = 0,
    Absent = 1,
    Failed = 2,
}

#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn(c_int, Strings) = begin;

/// Looks who we are in. In a compiler it opens the log and takes its own variables out of the
/// environment, so that neither macros nor the linker see them; anywhere else (rustup's proxy,
/// which becomes the compiler) everything is left as it is.
extern "C" fn begin(_: c_int, arguments: Strings) {
    if run::begin(arguments) {
        return;
    }
    let found = look_around();
    if !found.compiler {
        return;
    }
    // SAFETY: the loader calls this before any thread but this one exists.
    let path = unsafe { take_variable(b"QUARRY_OBSERVE=") };
    // SAFETY: as above.
    unsafe { take_variable(b"LD_PRELOAD=") };
    // SAFETY: as above.
    if let Some(value) = unsafe { take_variable(b"QUARRY_OBSERVE_ORIGINALS=") } {
        originals::set(value);
    }
    // SAFETY: as above.
    let witness = unsafe { take_variable(b"QUARRY_OBSERVE_WITNESS=") };
    let Some(path) = path else { return };
    let log = open_log(path);
    if log < 0 {
        return;
    }
    if let Some(program) = witness {
        witness::set(program, path);
    }
    LOG.store(log, Ordering::SeqCst);
    ACTIVE.store(true, Ordering::SeqCst);
    note(Kind::Began, Outcome::Done, 0, b"1");
    // With a std of its own beside the compiler nobody can say whose call comes from there.
    if found.shared_std || found.too_many {
        note(Kind::Incomplete, Outcome::Done, 0, b"objects");
    }
}

/// Looks which objects are mapped; once, before any thread but this one exists.
fn look_around() -> Found {
    let mut found = Found::default();
    // SAFETY: the callback gets the pointer given here and uses it while this call lasts.
    unsafe { dl_iterate_phdr(one_object, (&raw mut found).cast()) };
    found
}

/// Opens the log, to be written to at its end; below zero where that fails.
fn open_log(path: *const c_char) -> c_int {
    let flags = 1 | O_APPEND | O_CLOEXEC;
    // SAFETY: a string of the environment, and numbers.
    unsafe {
        let real: extern "C" fn(*const c_char, c_int, c_int) -> c_int =
            core::mem::transmute(open_real());
        let first = real(path, flags, 0);
        let log = fcntl(first, F_DUPFD_CLOEXEC, DESCRIPTOR_MIN);
        if log >= 0 {
            close(first);
            log
        } else {
            first
        }
    }
}

#[derive(Default)]
struct Found {
    compiler: bool,
    shared_std: bool,
    too_many: bool,
}

/// Notes where one object lies.
unsafe extern "C" fn one_object(info: *const ObjectInfo, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: the loader's description, valid during the call; `data` is begin's.
    let (info, found) = unsafe { (&*info, &mut *data.cast::<Found>()) };
    if !info.name.is_null() {
        // SAFETY: the loader's string.
        let name = unsafe { CStr::from_ptr(info.name) }.to_bytes();
        found.compiler |= contains(name, b"/librustc_driver");
        found.shared_std |= contains(name, b"/libstd-");
    }
    for at in 0..usize::from(info.count) {
        // SAFETY: within the table of `count` headers.
        let header = unsafe { &*info.headers.add(at) };
        const LOAD: u32 = 1;
        const EXECUTABLE: u32 = 1;
        if header.kind != LOAD || header.flags & EXECUTABLE == 0 {
            continue;
        }
        let low = info.base.wrapping_add(header.address as usize);
        let at = OBJECTS.load(Ordering::Relaxed);
        let (Some(l), Some(h)) = (LOW.get(at), HIGH.get(at)) else {
            found.too_many = true;
            return 0;
        };
        l.store(low, Ordering::Relaxed);
        h.store(
            low.wrapping_add(header.in_memory as usize),
            Ordering::Relaxed,
        );
        OBJECTS.store(at + 1, Ordering::Release);
    }
    0
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|w| w == part)
}

/// Takes a variable out of the environment, and gives its value.
///
/// # Safety
/// No other thread may use the environment.
unsafe fn take_variable(prefix: &[u8]) -> Option<*const c_char> {
    // SAFETY: the environment is a list of strings that ends with null; entries move down by one.
    unsafe {
        let mut at = environ;
        if at.is_null() {
            return None;
        }
        while !(*at).is_null() {
            let entry = CStr::from_ptr(*at).to_bytes();
            if entry.starts_with(prefix) {
                let value = (*at).add(prefix.len());
                let mut to = at;
                while !(*to).is_null() {
                    *to = *to.add(1);
                    to = to.add(1);
                }
                return Some(value.cast_const());
            }
            at = at.add(1);
        }
    }
    None
}

/// Whether a call came from an object that was not there when the compiler started.
fn foreign(caller: usize) -> bool {
    if !ACTIVE.load(Ordering::Acquire) {
        return false;
    }
    if RUN.load(Ordering::Acquire) {
        return true;
    }
    let count = OBJECTS.load(Ordering::Acquire);
    let ranges = LOW.iter().zip(&HIGH).take(count);
    !ranges
        .map(|(l, h)| (l.load(Ordering::Relaxed), h.load(Ordering::Relaxed)))
        .any(|(l, h)| l <= caller && caller < h)
}

/// A buffer for one record.
struct Record {
    bytes: [u8; 8 + 2 * TEXT_MAX],
    length: usize,
    fits: bool,
}

impl Record {
    fn push(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.length..self.length + bytes.len()) {
            Some(to) => {
                to.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.fits = false,
        }
    }
}

/// Writes a record, unless the same one was written before. errno stays as it is.
fn note(kind: Kind, outcome: Outcome, caller: usize, text: &[u8]) {
    write_record(kind, outcome, caller, text, true);
}

/// Writes a record each time: how often counts.
fn say(kind: Kind, text: &[u8]) {
    write_record(kind, Outcome::Done, 0, text, false);
}

fn write_record(kind: Kind, outcome: Outcome, caller: usize, text: &[u8], once: bool) {
    // SAFETY: the C library's own place for this thread's errno.
    let errno = unsafe { *__errno_location() };
    let mut info = DlInfo {
        file: core::ptr::null(),
        base: core::ptr::null_mut(),
        symbol: core::ptr::null(),
        address: core::ptr::null_mut(),
    };
    let mut object: &[u8] = b"";
    // SAFETY: any address may be asked about; the name lives as long as its object is mapped,
    // and its code is what called us.
    unsafe {
        if caller != 0
            && !RUN.load(Ordering::Acquire)
            && dladdr(caller as *const c_void, &raw mut info) != 0
            && !info.file.is_null()
        {
            object = CStr::from_ptr(info.file).to_bytes();
        }
    }
    if RUN.load(Ordering::Acquire) {
        if COMPILER.load(Ordering::Acquire) {
            object = b"rustc";
        } else if PLACED.load(Ordering::Acquire) {
            object = b"pwd";
        }
    }
    let mut record = Record {
        bytes: [0; 8 + 2 * TEXT_MAX],
        length: 0,
        fits: object.len() <= TEXT_MAX && text.len() <= TEXT_MAX,
    };
    record.push(&[b'Q', kind as u8, outcome as u8, 0]);
    record.push(&(object.len() as u16).to_le_bytes());
    record.push(&(text.len() as u16).to_le_bytes());
    record.push(object);
    record.push(text);
    let whole = record.bytes.get(..record.length).unwrap_or(b"");
    if !record.fits {
        spoil();
    } else if !once || is_new(whole) {
        append(whole);
    }
    // SAFETY: as above.
    unsafe { *__errno_location() = errno };
}

/// Whether this record has not been seen. What does not fit into the table spoils the log.
fn is_new(record: &[u8]) -> bool {
    // FNV-1a, 64 bits; 0 marks a free place.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in record {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    let hash = hash.max(1);
    for step in 0..SEEN {
        let Some(place) = TABLE.get((hash as usize).wrapping_add(step) % SEEN) else {
            break;
        };
        match place.compare_exchange(0, hash, Ordering::AcqRel, Ordering::Acquire) {
            Err(there) if there == hash => return false,
            Err(_) => {}
            Ok(_) => {
                if USED.fetch_add(1, Ordering::Relaxed) < SEEN / 2 {
                    return true;
                }
                break;
            }
        }
    }
    spoil();
    false
}

fn append(record: &[u8]) {
    let log = LOG.load(Ordering::Acquire);
    // SAFETY: the bytes are there for their length.
    let written = unsafe { write(log, record.as_ptr(), record.len()) };
    if usize::try_from(written) != Ok(record.len()) {
        spoil();
    }
}

/// Empties the log for good: without its first record nobody takes it for whole.
fn spoil() {
    let log = LOG.load(Ordering::Acquire);
    // SAFETY: a descriptor of ours. A record that another thread appends now begins no log.
    unsafe { ftruncate(log, 0) };
}

fn outcome(failed: bool) -> Outcome {
    // SAFETY: this thread's errno, just set by the call.
    let errno = unsafe { *__errno_location() };
    match (failed, errno) {
        (false, _) => Outcome::Done,
        (true, ENOENT | ENOTDIR) => Outcome::Absent,
        (true, _) => Outcome::Failed,
    }
}

/// Notes a path, made absolute.
fn note_path(kind: Kind, failed: bool, caller: usize, dir: c_int, path: usize) {
    if path == 0 {
        return;
    }
    let outcome = outcome(failed);
    // SAFETY: the caller gave a string, and the real function has just read it.
    let path = unsafe { CStr::from_ptr(path as *const c_char) }.to_bytes();
    if path.is_empty() {
        // The descriptor itself is meant, or nothing at all.
        return;
    }
    let mut text = [0; TEXT_MAX];
    match absolute(&mut text, dir, path) {
        Some(text) => note(kind, outcome, caller, text),
        None => note(Kind::Incomplete, Outcome::Done, caller, b"path"),
    }
}

fn absolute<'t>(to: &'t mut [u8; TEXT_MAX], dir: c_int, path: &[u8]) -> Option<&'t [u8]> {
    let mut length = 0;
    if path.first() != Some(&b'/') {
        length = directory(to, dir)?;
        *to.get_mut(length)? = b'/';
        length += 1;
    }
    to.get_mut(length..length + path.len())?
        .copy_from_slice(path);
    to.get(..length + path.len())
}

/// The path of an open directory, or of the working directory; its length.
fn directory(to: &mut [u8; TEXT_MAX], dir: c_int) -> Option<usize> {
    // SAFETY: errno is this thread's; the buffer is as long as said.
    unsafe {
        let errno = *__errno_location();
        let length = if dir == AT_FDCWD {
            let real: extern "C" fn(*mut u8, usize) -> *mut u8 =
                core::mem::transmute(getcwd_real());
            let there = real(to.as_mut_ptr(), TEXT_MAX);
            (!there.is_null())
                .then(|| to.iter().position(|b| *b == 0))
                .flatten()
        } else {
            let mut name = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
            let digits = name.get_mut(14..25)?;
            if dir < 0 {
                return None;
            }
            let mut rest = dir;
            let count = {
                let mut n = 1;
                while rest >= 10 {
                    rest /= 10;
                    n += 1;
                }
                n
            };
            let mut rest = dir;
            for digit in digits.get_mut(..count)?.iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
            let real: extern "C" fn(*const u8, *mut u8, usize) -> isize =
                core::mem::transmute(readlink_real());
            usize::try_from(real(name.as_ptr(), to.as_mut_ptr(), TEXT_MAX))
                .ok()
                .filter(|n| *n < TEXT_MAX)
        };
        *__errno_location() = errno;
        length.filter(|_| to.first() == Some(&b'/'))
    }
}

/// Stands in where the C library has no such function.
extern "C" fn missing() -> isize {
    // SAFETY: this thread's errno.
    unsafe { *__errno_location() = ENOSYS };
    -1
}

fn real(slot: &AtomicUsize, name: &CStr) -> usize {
    let known = slot.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: a name that ends with null; errno is kept.
    let found = unsafe {
        let errno = *__errno_location();
        let found = dlsym(RTLD_NEXT, name.as_ptr()) as usize;
        *__errno_location() = errno;
        found
    };
    let found = if found == 0 {
        missing as *const () as usize
    } else {
        found
    };
    slot.store(found, Ordering::Relaxed);
    found
}
