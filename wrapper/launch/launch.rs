//! The launcher: stands where cargo expects a build script's program, and hands over to qwrap, or
//! to the script itself.
//!
//! Enters: what cargo gives the script, and two names that whoever put the launcher there wrote
//! into [`SLOT`]: the script's file beside the launcher, and qwrap's path. Leaves: nothing, since
//! it becomes one of the two: qwrap where that is there, cargo has a wrapper (it tells scripts by
//! `RUSTC_WRAPPER`) and `QUARRY` is not `off`, else the script with the same arguments, environment
//! and directory. Must never happen here: a build that fails
//! because Quarry is gone. It uses no library and no memory but its own, so that nothing can be
//! missing.
//!
//! The form of the slot is that of `wrapper/src/launcher.rs`.

#![no_std]
#![no_main]
#![no_builtins]

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;

/// Where the names stand behind the mark, and how long they may be with their null.
const NAME_AT: usize = 16;
const QWRAP_AT: usize = 16 + 256;
const SLOT: usize = 16 + 256 + 4096;
/// A path with its null, Linux's PATH_MAX, and the script's name behind it.
const PATH: usize = 4096 + 256;
/// Arguments that are handed to qwrap; cargo gives a script none.
const ARGUMENTS: usize = 60;

const AT_FDCWD: usize = -100_isize as usize;
const X_OK: usize = 1;
const AT_EXECFN: usize = 31;
const CANNOT_RUN: usize = 127;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const EXECVE: usize = 59;
    pub const EXIT_GROUP: usize = 231;
    pub const READLINKAT: usize = 267;
    pub const FACCESSAT: usize = 269;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const WRITE: usize = 64;
    pub const EXECVE: usize = 221;
    pub const EXIT_GROUP: usize = 94;
    pub const READLINKAT: usize = 78;
    pub const FACCESSAT: usize = 48;
}

#[repr(C, align(16))]
struct Bytes<const N: usize>(UnsafeCell<[u8; N]>);
// SAFETY: this process has one thread.
unsafe impl<const N: usize> Sync for Bytes<N> {}

const fn marked() -> [u8; SLOT] {
    let mark = b"QUARRY-LAUNCH-1\0";
    let mut all = [0; SLOT];
    let mut at = 0;
    while at < NAME_AT {
        all[at] = mark[at];
        at += 1;
    }
    all
}

#[used]
#[unsafe(link_section = ".data")]
static NAMES: Bytes<SLOT> = Bytes(UnsafeCell::new(marked()));
static REAL: Bytes<PATH> = Bytes(UnsafeCell::new([0; PATH]));
// Not on the stack: clearing them there would ask for the C library's `memset`.
static ITSELF: Bytes<4096> = Bytes(UnsafeCell::new([0; 4096]));
static HANDED: Bytes<{ (ARGUMENTS + 4) * size_of::<usize>() }> =
    Bytes(UnsafeCell::new([0; (ARGUMENTS + 4) * size_of::<usize>()]));

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit()
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start", "_start:", "xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {}", "ud2",
    sym launch,
);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x0, sp", "bl {}", "udf #0", sym launch);

/// A system call of at most four arguments.
fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let answer: isize;
    // SAFETY: the callers below pass what the call of that number wants.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a, in("rsi") b,
            in("rdx") c, in("r10") d, lateout("rcx") _, lateout("r11") _, options(nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("svc 0", in("x8") number, inlateout("x0") a => answer, in("x1") b, in("x2") c,
            in("x3") d, options(nostack));
    }
    answer
}

fn exit() -> ! {
    loop {
        call(number::EXIT_GROUP, CANNOT_RUN, 0, 0, 0);
    }
}

/// The length of a string that ends with null.
///
/// # Safety
/// `text` is such a string.
unsafe fn length(text: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: up to the null.
    while unsafe { text.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}

/// What follows this word at the beginning of a string: its next byte, null at its end. `None`
/// where it begins otherwise.
///
/// # Safety
/// `text` is a string that ends with null.
unsafe fn after(text: *const u8, word: &[u8]) -> Option<u8> {
    let mut at = 0;
    while at < word.len() {
        // SAFETY: every byte before was one of `word`, so none was the null.
        if unsafe { text.add(at).read_volatile() } != word[at] {
            return None;
        }
        at += 1;
    }
    // SAFETY: as above.
    Some(unsafe { text.add(at).read_volatile() })
}

/// Puts the script's path together: the directory of `beside`, and the name of the slot. `false`
/// where it is too long, or nothing that can be run lies there.
///
/// # Safety
/// `beside` has `length` bytes.
unsafe fn find(beside: *const u8, length: usize) -> bool {
    let real: *mut u8 = REAL.0.get().cast();
    // SAFETY: every write is below PATH; the name in the slot ends with null before QWRAP_AT.
    unsafe {
        let mut dir = length;
        while dir > 0 && beside.add(dir - 1).read_volatile() != b'/' {
            dir -= 1;
        }
        if dir > 4095 {
            return false;
        }
        let mut at = 0;
        while at < dir {
            real.add(at).write_volatile(beside.add(at).read_volatile());
            at += 1;
        }
        let name: *const u8 = NAMES.0.get().cast::<u8>().add(NAME_AT);
        let mut n = 0;
        while n < QWRAP_AT - NAME_AT {
            let byte = name.add(n).read_volatile();
            real.add(dir + n).write_volatile(byte);
            if byte == 0 {
                break;
            }
            n += 1;
        }
        n > 0 && call(number::FACCESSAT, AT_FDCWD, real as usize, X_OK, 0) == 0
    }
}

/// Finds the script beside the path by which this program was run, or else beside what the kernel
/// says that it is.
///
/// # Safety
/// `auxiliary` is the kernel's list, which ends with a type of 0.
unsafe fn find_script(mut auxiliary: *const usize) -> bool {
    // SAFETY: pairs up to the last.
    unsafe {
        while auxiliary.read() != 0 {
            if auxiliary.read() == AT_EXECFN {
                let path = auxiliary.add(1).read() as *const u8;
                if find(path, length(path)) {
                    return true;
                }
            }
            auxiliary = auxiliary.add(2);
        }
        let itself = c"/proc/self/exe".as_ptr() as usize;
        let path = ITSELF.0.get() as usize;
        let n = call(number::READLINKAT, AT_FDCWD, itself, path, 4096);
        n > 0 && find(path as *const u8, n as usize)
    }
}

extern "C" fn launch(stack: *const usize) -> ! {
    // SAFETY: the kernel's layout of a new process: argc, argv, null, environment, null, auxv.
    unsafe {
        let argc = stack.read();
        let argv = stack.add(1);
        let env = argv.add(argc + 1);
        let mut at = env;
        let (mut off, mut wrapped) = (false, false);
        while at.read() != 0 {
            let text = at.read() as *const u8;
            off |= matches!(after(text, b"QUARRY=off"), Some(0));
            wrapped |= matches!(after(text, b"RUSTC_WRAPPER="), Some(1..));
            at = at.add(1);
        }
        if !find_script(at.add(1)) {
            let text = b"the build script's own program is not beside its launcher: \
                `cargo clean` and build again\n";
            call(number::WRITE, 2, text.as_ptr() as usize, text.len(), 0);
            exit();
        }
        let real = REAL.0.get() as usize;
        let qwrap = NAMES.0.get().cast::<u8>().add(QWRAP_AT);
        if wrapped && !off && argc <= ARGUMENTS && qwrap.read_volatile() != 0 {
            let handed: *mut usize = HANDED.0.get().cast();
            handed.write_volatile(qwrap as usize);
            handed.add(1).write_volatile(c"--script".as_ptr() as usize);
            handed.add(2).write_volatile(real);
            let mut n = 0;
            while n < argc {
                handed.add(3 + n).write_volatile(argv.add(n).read());
                n += 1;
            }
            call(number::EXECVE, qwrap as usize, handed as usize, env as usize, 0);
        }
        call(number::EXECVE, real, argv as usize, env as usize, 0);
        let text = b"the build script's own program cannot be run\n";
        call(number::WRITE, 2, text.as_ptr() as usize, text.len(), 0);
        exit()
    }
}
