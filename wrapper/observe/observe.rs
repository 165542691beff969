//! The observer: loaded into the compiler ahead of the C library, it notes what procedural macros
//! ask of the system.
//!
//! Enters: calls of the C library's functions, and who made them (the return address). Leaves:
//! the real function's answer, untouched, and one record per distinct question in the log whose
//! path stands in `QUARRY_OBSERVE`. The compiler's own objects are those that are mapped when the
//! process starts; a call from anywhere else is a macro's (or a library's that a macro brought).
//! Must never happen here: an allocation, a panic, a changed errno, a call that is not passed on,
//! a question that goes unnoted while the log still looks whole.
//!
//! A record: `Q`, kind, outcome, 0, length of the object's name and of the text (16 bit little
//! endian each), the object's name, the text. It is read by `wrapper/src/observer/log.rs`.

#![no_std]

use core::arch::naked_asm;
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
const EINVAL: c_int = 22;
const ENOSYS: c_int = 38;
const O_WRONLY_RDWR: usize = 3;
const O_CREAT: usize = 0o100;
const O_TRUNC: usize = 0o1000;
const O_APPEND: c_int = 0o2000;
const O_CLOEXEC: c_int = 0o2_000_000;
const F_DUPFD_CLOEXEC: c_int = 1030;
const RTLD_NEXT: *mut c_void = -1_isize as *mut c_void;

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
static BEGIN: extern "C" fn() = begin;

/// Looks who we are in. In a compiler it opens the log and takes its own two variables out of the
/// environment, so that neither macros nor the linker see them; anywhere else (rustup's proxy,
/// which becomes the compiler) everything is left as it is.
extern "C" fn begin() {
    let mut found = Found::default();
    // SAFETY: the callback gets the pointer given here and uses it while this call lasts.
    unsafe { dl_iterate_phdr(one_object, (&raw mut found).cast()) };
    if !found.compiler {
        return;
    }
    // SAFETY: the loader calls this before any thread but this one exists.
    let path = unsafe { take_variable(b"QUARRY_OBSERVE=") };
    // SAFETY: as above.
    unsafe { take_variable(b"LD_PRELOAD=") };
    let Some(path) = path else { return };
    let flags = 1 | O_APPEND | O_CLOEXEC;
    // SAFETY: a string of the environment, and numbers.
    let log = unsafe {
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
    };
    if log < 0 {
        return;
    }
    LOG.store(log, Ordering::SeqCst);
    ACTIVE.store(true, Ordering::SeqCst);
    note(Kind::Began, Outcome::Done, 0, b"1");
    // With a std of its own beside the compiler nobody can say whose call comes from there.
    if found.shared_std || found.too_many {
        note(Kind::Incomplete, Outcome::Done, 0, b"objects");
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
        h.store(low.wrapping_add(header.in_memory as usize), Ordering::Relaxed);
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
        if caller != 0 && dladdr(caller as *const c_void, &raw mut info) != 0 && !info.file.is_null()
        {
            object = CStr::from_ptr(info.file).to_bytes();
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
    } else if is_new(whole) {
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
    to.get_mut(length..length + path.len())?.copy_from_slice(path);
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
            (!there.is_null()).then(|| to.iter().position(|b| *b == 0)).flatten()
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
    let found = if found == 0 { missing as *const () as usize } else { found };
    slot.store(found, Ordering::Relaxed);
    found
}

type Five = extern "C" fn(usize, usize, usize, usize, usize) -> usize;

/// Functions of at most five arguments: the return address is handed on as the sixth, the real
/// function is called, and the handler sees arguments and answer.
macro_rules! watched {
    ($($name:ident, $real:ident, $entry:ident => $handler:expr;)*) => {$(
        fn $real() -> usize {
            static REAL: AtomicUsize = AtomicUsize::new(0);
            // The name is a literal with a null at its end.
            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => real(&REAL, name),
                Err(_) => missing as *const () as usize,
            }
        }

        extern "C" fn $entry(
            a: usize, b: usize, c: usize, d: usize, e: usize, caller: usize,
        ) -> usize {
            // SAFETY: a function of the C library, called with the caller's own arguments.
            let real: Five = unsafe { core::mem::transmute($real()) };
            let answer = real(a, b, c, d, e);
            if foreign(caller) {
                let handler: fn([usize; 5], usize, usize) = $handler;
                handler([a, b, c, d, e], answer, caller);
            }
            answer
        }

        /// # Safety
        /// As the C library's function of this name.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            naked_asm!("mov r9, [rsp]", "jmp {}", sym $entry);
            #[cfg(target_arch = "aarch64")]
            naked_asm!("mov x5, x30", "b {}", sym $entry);
        }
    )*};
}

/// Functions that must be entered with registers and stack as the caller left them: noted before,
/// then jumped to.
macro_rules! passed {
    ($($name:ident, $real:ident, $entry:ident => $handler:expr;)*) => {$(
        fn $real() -> usize {
            static REAL: AtomicUsize = AtomicUsize::new(0);
            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => real(&REAL, name),
                Err(_) => missing as *const () as usize,
            }
        }

        extern "C" fn $entry(a: usize, caller: usize) -> usize {
            if ACTIVE.load(Ordering::Acquire) {
                let handler: fn(usize, usize) = $handler;
                handler(a, caller);
            }
            $real()
        }

        /// # Safety
        /// As the C library's function of this name.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax",
                "mov rsi, [rsp + 56]",
                "call {}",
                "mov r11, rax",
                "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
                "jmp r11",
                sym $entry,
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                "stp x0, x1, [sp, #-80]!", "stp x2, x3, [sp, #16]", "stp x4, x5, [sp, #32]",
                "stp x6, x7, [sp, #48]", "stp x8, x30, [sp, #64]",
                "mov x1, x30",
                "bl {}",
                "mov x16, x0",
                "ldp x8, x30, [sp, #64]", "ldp x6, x7, [sp, #48]", "ldp x4, x5, [sp, #32]",
                "ldp x2, x3, [sp, #16]", "ldp x0, x1, [sp], #80",
                "br x16",
                sym $entry,
            );
        }
    )*};
}

/// A C `int` answer below zero, in the low half of the register.
fn negative(answer: usize) -> bool {
    (answer as u32).cast_signed() < 0
}

fn fd(argument: usize) -> c_int {
    (argument as u32).cast_signed()
}

fn opened(flags: usize) -> Kind {
    if flags & (O_WRONLY_RDWR | O_CREAT | O_TRUNC) != 0 {
        Kind::Write
    } else {
        Kind::Read
    }
}

fn on_open(a: [usize; 5], answer: usize, caller: usize) {
    note_path(opened(a[1]), negative(answer), caller, AT_FDCWD, a[0]);
}

fn on_openat(a: [usize; 5], answer: usize, caller: usize) {
    note_path(opened(a[2]), negative(answer), caller, fd(a[0]), a[1]);
}

fn on_fopen(a: [usize; 5], answer: usize, caller: usize) {
    // SAFETY: the mode is a string that the real function has read.
    let mode = unsafe { CStr::from_ptr(a[1] as *const c_char) }.to_bytes();
    let reads = mode.first() == Some(&b'r') && !mode.contains(&b'+');
    let kind = if reads { Kind::Read } else { Kind::Write };
    note_path(kind, answer == 0, caller, AT_FDCWD, a[0]);
}

fn on_opendir(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::List, answer == 0, caller, AT_FDCWD, a[0]);
}

fn on_fdopendir(a: [usize; 5], answer: usize, caller: usize) {
    let dot = c".".as_ptr() as usize;
    note_path(Kind::List, answer == 0, caller, fd(a[0]), dot);
}

fn on_look(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Look, negative(answer), caller, AT_FDCWD, a[0]);
}

fn on_look_at(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Look, negative(answer), caller, fd(a[0]), a[1]);
}

/// `__xstat` and its like have a version first.
fn on_look_versioned(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Look, negative(answer), caller, AT_FDCWD, a[1]);
}

fn on_look_at_versioned(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Look, negative(answer), caller, fd(a[1]), a[2]);
}

fn on_readlink(a: [usize; 5], answer: usize, caller: usize) {
    read_link(answer, caller, AT_FDCWD, a[0]);
}

fn on_readlinkat(a: [usize; 5], answer: usize, caller: usize) {
    read_link(answer, caller, fd(a[0]), a[1]);
}

fn read_link(answer: usize, caller: usize, dir: c_int, path: usize) {
    // SAFETY: this thread's errno.
    let no_link = negative(answer) && unsafe { *__errno_location() } == EINVAL;
    match (negative(answer), no_link) {
        // Something is there, and is no link.
        (true, true) => note_path(Kind::Look, false, caller, dir, path),
        (true, false) => note_path(Kind::Look, true, caller, dir, path),
        (false, _) => note_path(Kind::Link, false, caller, dir, path),
    }
}

fn on_realpath(a: [usize; 5], answer: usize, caller: usize) {
    if a[0] == 0 {
        return;
    }
    // SAFETY: a string that the real function has just read.
    let asked = unsafe { CStr::from_ptr(a[0] as *const c_char) }.to_bytes();
    if asked.first() != Some(&b'/') {
        note(Kind::Directory, Outcome::Done, caller, b"realpath");
    }
    note_path(Kind::Resolve, answer == 0, caller, AT_FDCWD, a[0]);
}

fn on_getcwd(_: [usize; 5], _: usize, caller: usize) {
    note(Kind::Directory, Outcome::Done, caller, b"getcwd");
}

fn on_getenv(a: [usize; 5], _: usize, caller: usize) {
    if a[0] != 0 {
        // SAFETY: a name that the real function has read.
        let name = unsafe { CStr::from_ptr(a[0] as *const c_char) }.to_bytes();
        note(Kind::Variable, Outcome::Done, caller, name);
    }
}

fn on_write(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Write, negative(answer), caller, AT_FDCWD, a[0]);
}

fn on_write_at(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Write, negative(answer), caller, fd(a[0]), a[1]);
}

fn on_setting(_: [usize; 5], _: usize, caller: usize) {
    note(Kind::Write, Outcome::Done, caller, b"environment");
}

fn on_spawn(_: [usize; 5], _: usize, caller: usize) {
    note(Kind::Spawn, Outcome::Done, caller, b"");
}

fn on_socket(_: [usize; 5], _: usize, caller: usize) {
    note(Kind::Socket, Outcome::Done, caller, b"");
}

fn on_machine(_: [usize; 5], _: usize, caller: usize) {
    note(Kind::Machine, Outcome::Done, caller, b"");
}

watched! {
    open, open_real, open_entry => on_open;
    open64, open64_real, open64_entry => on_open;
    openat, openat_real, openat_entry => on_openat;
    openat64, openat64_real, openat64_entry => on_openat;
    fopen, fopen_real, fopen_entry => on_fopen;
    fopen64, fopen64_real, fopen64_entry => on_fopen;
    opendir, opendir_real, opendir_entry => on_opendir;
    fdopendir, fdopendir_real, fdopendir_entry => on_fdopendir;
    stat, stat_real, stat_entry => on_look;
    stat64, stat64_real, stat64_entry => on_look;
    lstat, lstat_real, lstat_entry => on_look;
    lstat64, lstat64_real, lstat64_entry => on_look;
    fstatat, fstatat_real, fstatat_entry => on_look_at;
    fstatat64, fstatat64_real, fstatat64_entry => on_look_at;
    statx, statx_real, statx_entry => on_look_at;
    __xstat, xstat_real, xstat_entry => on_look_versioned;
    __xstat64, xstat64_real, xstat64_entry => on_look_versioned;
    __lxstat, lxstat_real, lxstat_entry => on_look_versioned;
    __lxstat64, lxstat64_real, lxstat64_entry => on_look_versioned;
    __fxstatat, fxstatat_real, fxstatat_entry => on_look_at_versioned;
    __fxstatat64, fxstatat64_real, fxstatat64_entry => on_look_at_versioned;
    access, access_real, access_entry => on_look;
    eaccess, eaccess_real, eaccess_entry => on_look;
    euidaccess, euidaccess_real, euidaccess_entry => on_look;
    faccessat, faccessat_real, faccessat_entry => on_look_at;
    statfs, statfs_real, statfs_entry => on_look;
    statfs64, statfs64_real, statfs64_entry => on_look;
    readlink, readlink_real, readlink_entry => on_readlink;
    readlinkat, readlinkat_real, readlinkat_entry => on_readlinkat;
    realpath, realpath_real, realpath_entry => on_realpath;
    canonicalize_file_name, canonicalize_real, canonicalize_entry => on_realpath;
    getcwd, getcwd_real, getcwd_entry => on_getcwd;
    get_current_dir_name, cwd_name_real, cwd_name_entry => on_getcwd;
    getenv, getenv_real, getenv_entry => on_getenv;
    secure_getenv, secure_getenv_real, secure_getenv_entry => on_getenv;
    creat, creat_real, creat_entry => on_write;
    creat64, creat64_real, creat64_entry => on_write;
    mkdir, mkdir_real, mkdir_entry => on_write;
    rmdir, rmdir_real, rmdir_entry => on_write;
    unlink, unlink_real, unlink_entry => on_write;
    remove, remove_real, remove_entry => on_write;
    rename, rename_real, rename_entry => on_write;
    link, link_real, link_entry => on_write;
    symlink, symlink_real, symlink_entry => on_write;
    chmod, chmod_real, chmod_entry => on_write;
    truncate, truncate_real, truncate_entry => on_write;
    truncate64, truncate64_real, truncate64_entry => on_write;
    utimes, utimes_real, utimes_entry => on_write;
    chdir, chdir_real, chdir_entry => on_write;
    mkdirat, mkdirat_real, mkdirat_entry => on_write_at;
    unlinkat, unlinkat_real, unlinkat_entry => on_write_at;
    renameat, renameat_real, renameat_entry => on_write_at;
    linkat, linkat_real, linkat_entry => on_write_at;
    setenv, setenv_real, setenv_entry => on_setting;
    unsetenv, unsetenv_real, unsetenv_entry => on_setting;
    putenv, putenv_real, putenv_entry => on_setting;
    fork, fork_real, fork_entry => on_spawn;
    system, system_real, system_entry => on_spawn;
    popen, popen_real, popen_entry => on_spawn;
    socket, socket_real, socket_entry => on_socket;
    connect, connect_real, connect_entry => on_socket;
    getaddrinfo, getaddrinfo_real, getaddrinfo_entry => on_socket;
    gethostname, gethostname_real, gethostname_entry => on_machine;
    uname, uname_real, uname_entry => on_machine;
    getpwuid_r, getpwuid_r_real, getpwuid_r_entry => on_machine;
    getpwnam_r, getpwnam_r_real, getpwnam_r_entry => on_machine;
    getpwuid, getpwuid_real, getpwuid_entry => on_machine;
    getpwnam, getpwnam_real, getpwnam_entry => on_machine;
}

fn before_spawn(_: usize, caller: usize) {
    if foreign(caller) {
        note(Kind::Spawn, Outcome::Done, caller, b"");
    }
}

/// What a process does to itself alone: locks, its own number, randomness, fences, yielding,
/// signals to its own threads, the clock.
#[cfg(target_arch = "x86_64")]
const OWN_CALLS: &[usize] = &[24, 39, 186, 202, 228, 230, 234, 318, 324, 334, 449];
#[cfg(target_arch = "aarch64")]
const OWN_CALLS: &[usize] = &[98, 113, 115, 124, 131, 172, 178, 278, 283, 293, 449];

fn before_syscall(number: usize, caller: usize) {
    if !OWN_CALLS.contains(&number) && foreign(caller) {
        note(Kind::Raw, Outcome::Done, caller, b"");
    }
}

/// A library that is loaded, by whomever: which macros a compile runs is seen here.
fn before_dlopen(path: usize, caller: usize) {
    if path == 0 {
        return;
    }
    // SAFETY: the caller's string.
    let name = unsafe { CStr::from_ptr(path as *const c_char) }.to_bytes();
    let by_macro = foreign(caller);
    if by_macro && !name.contains(&b'/') {
        // Which file that is the loader alone knows.
        note(Kind::Raw, Outcome::Done, caller, b"dlopen");
        return;
    }
    let kind = if by_macro { Kind::Read } else { Kind::Loaded };
    let mut text = [0; TEXT_MAX];
    match absolute(&mut text, AT_FDCWD, name) {
        Some(text) if name.contains(&b'/') => note(kind, Outcome::Done, caller, text),
        _ => note(kind, Outcome::Done, caller, name),
    }
}

passed! {
    vfork, vfork_real, vfork_entry => before_spawn;
    clone, clone_real, clone_entry => before_spawn;
    execve, execve_real, execve_entry => before_spawn;
    execv, execv_real, execv_entry => before_spawn;
    execvp, execvp_real, execvp_entry => before_spawn;
    execvpe, execvpe_real, execvpe_entry => before_spawn;
    execl, execl_real, execl_entry => before_spawn;
    execle, execle_real, execle_entry => before_spawn;
    execlp, execlp_real, execlp_entry => before_spawn;
    fexecve, fexecve_real, fexecve_entry => before_spawn;
    posix_spawn, posix_spawn_real, posix_spawn_entry => before_spawn;
    posix_spawnp, posix_spawnp_real, posix_spawnp_entry => before_spawn;
    syscall, syscall_real, syscall_entry => before_syscall;
    dlopen, dlopen_real, dlopen_entry => before_dlopen;
}
