//! What qwrap does before its C library starts: it asks the node, and where the answer is a hit,
//! shows that and ends.
//!
//! When it starts, glibc asks the processor some seventy times what it can do. In a virtual machine
//! each of these questions goes to the host, and together they take three quarters of qwrap's time.
//! A hit needs nothing of a C library. Enters: a new process, as the kernel laid it out. Leaves:
//! the hit's messages and exit code 0; or everything as it was and the C library's own start, with
//! the socket on which the answer to what was asked waits unread. Must never happen here: anything
//! but a hit decided; a function of the C library called, which has not started (so that what
//! copies and compares is written out); a byte shown before the whole answer is here.
//!
//! What is asked, and when it is not, is what `wrapper/src/shim.rs` asks; a test compares them.
//! x86-64 Linux alone.

#![no_std]
#![no_builtins]

mod kernel;
#[path = "../src/ipc/version.rs"]
mod version;

use core::arch::global_asm;
use kernel::{Buffer, Process, Stat, equals};
use version::PROTOCOL;

/// A whole request, and then a whole answer. What is longer is left to the other way.
static FRAME: Buffer<{ 512 * 1024 }> = Buffer::new();
/// The socket's address: its family, then its path.
static ADDRESS: Buffer<{ 2 + PATH }> = Buffer::new();
/// A socket's path with its null.
const PATH: usize = 108;

/// Where the answer waits; -1 where nobody was asked. Not itself a name for others: what has one is
/// reached through a table that is filled in later.
static mut SOCKET: i32 = -1;

/// For qwrap's `main`.
#[unsafe(no_mangle)]
extern "C" fn quarry_early_socket() -> i32 {
    // SAFETY: written before there was a `main`.
    unsafe { SOCKET }
}

/// In a frame: what kind of message the body is, and where its first text's length stands.
const HEADER: usize = 10;
const KIND: usize = HEADER;
const STDOUT: usize = HEADER + 4;
const COMPILE: u32 = 0;
const REPLAY: u32 = 4;
/// Lengths of two empty texts, behind the kind.
const EMPTY: usize = STDOUT + 16;

/// How long a node that was found stuck is left alone, in seconds.
const START_PAUSE: i64 = 30;
/// How long an answer is waited for here, in milliseconds, and the rest of one that has begun.
const ANSWER: usize = 1000;
const REST: usize = 5000;

// The stack's end is where the kernel put argc; `rdx` is for whoever starts.
global_asm!(
    ".globl quarry_early", "quarry_early:", "mov rbx, rsp", "mov r12, rdx", "xor ebp, ebp",
    "mov rdi, rsp", "and rsp, -16", "call {}", "mov rsp, rbx", "mov rdx, r12", "xor ebp, ebp",
    "jmp _start",
    sym early,
);

extern "C" fn early(stack: *const usize) {
    // SAFETY: the kernel's layout of a new process, which has one thread.
    unsafe {
        let process = Process::of(stack);
        let Some(script) = asks(&process) else { return };
        let Some(socket) = connect(&process) else {
            return;
        };
        if send(&process, script, socket).is_none() {
            kernel::close(socket);
            return;
        }
        match answer(socket) {
            Answer::Hit => kernel::exit(),
            Answer::Other => SOCKET = socket,
            Answer::Lost => kernel::close(socket),
        }
    }
}

/// Whether this is a compile, or the run of a build script (`true`), that the node is asked about
/// in the usual way.
unsafe fn asks(process: &Process) -> Option<bool> {
    // SAFETY: arguments and values are strings that end with null.
    unsafe {
        let first = process.argument(1)?;
        let script = equals(first, b"--script");
        if (script && process.argc < 4) || (!script && matches!(first.read(), b'-' | 0)) {
            return None;
        }
        let is = |name, value| process.var(name).is_some_and(|is| equals(is, value));
        let otherwise = is(b"QUARRY", b"off")
            || is(b"QUARRY_COMPILE", b"node")
            || process.var(b"QUARRY_OBSERVE_RUN").is_some();
        (!otherwise).then_some(script)
    }
}

/// Connects to this user's own node. `None` where there is anything to be said of it.
unsafe fn connect(process: &Process) -> Option<i32> {
    // SAFETY: what is appended stays within the buffer or is refused; the path ends with null.
    unsafe {
        let mut address = ADDRESS.writer();
        address.value(&1_u16.to_ne_bytes());
        let set = |name| process.var(name).filter(|value| value.read() != 0);
        match set(b"QUARRY_HOME") {
            Some(home) => address.string(home),
            None => match set(b"XDG_DATA_HOME").filter(|data| data.read() == b'/') {
                Some(data) => {
                    address.string(data);
                    address.value(b"/quarry");
                }
                None => {
                    address.string(set(b"HOME")?);
                    address.value(b"/.local/share/quarry");
                }
            },
        }
        let end = address.length();
        let path = ADDRESS.at(2);
        address.value(&[0]);
        if !address.fits() || path.read() != b'/' {
            return None;
        }
        let user = kernel::user();
        let (home, link) = (Stat::of(path, true)?, Stat::of(path, false)?);
        let foreign = link.is_link() && link.owner != user && link.owner != 0;
        if home.owner != user || home.mode & 0o77 != 0 || foreign {
            return None;
        }
        address.back_to(end);
        address.value(b"/node.stuck\0");
        let lately = |stuck: Stat| (0..START_PAUSE).contains(&(kernel::now() - stuck.modified));
        if !address.fits() || Stat::of(path, true).is_some_and(lately) {
            return None;
        }
        address.back_to(end);
        address.value(b"/node.sock\0");
        if !address.fits() {
            return None;
        }
        kernel::connect(ADDRESS.at(0), address.length(), user)
    }
}

/// Sends the request: at once, or not at all.
unsafe fn send(process: &Process, script: bool, socket: i32) -> Option<()> {
    // SAFETY: as in `connect`.
    unsafe {
        let mut frame = FRAME.writer();
        frame.value(b"QRY\0");
        frame.value(&PROTOCOL.to_le_bytes());
        frame.value(&[0; 4]);
        frame.value(&COMPILE.to_le_bytes());
        let reads = arguments(process, script, &mut frame);
        frame.value(&[u8::from(script), 1]);
        frame.filled(|to, room| kernel::link(c"/proc/self/exe", to, room))?;
        variables(process, &mut frame);
        frame.filled(|to, room| kernel::directory(to, room))?;
        for directory in [c".", c"/"] {
            let is = Stat::of(directory.as_ptr().cast(), true)?;
            frame.value(&is.device.to_le_bytes());
            frame.value(&is.inode.to_le_bytes());
        }
        frame.value(&kernel::umask().to_le_bytes());
        let nothing = !script && reads && Stat::of_stdin().is_some_and(|stdin| stdin.is_null());
        // And no surroundings.
        frame.value(&[u8::from(nothing), 0]);
        let length = u32::try_from(frame.length() - HEADER).ok()?;
        frame.put_at(6, &length.to_le_bytes());
        let sent = frame.fits() && kernel::send(socket, FRAME.at(0), frame.length());
        sent.then_some(())
    }
}

/// The compiler and its arguments; or a script's program, and what stands behind its name. Whether
/// one of them stands for the standard input.
unsafe fn arguments(process: &Process, script: bool, frame: &mut kernel::Writer) -> bool {
    // SAFETY: as in `connect`.
    unsafe {
        let counted = frame.length();
        frame.value(&[0; 8]);
        let (mut at, mut count, mut reads) = (1, 0_u64, false);
        while let Some(word) = process.argument(at) {
            reads |= equals(word, b"-");
            if !script || (at != 1 && at != 3) {
                frame.text(word);
                count += 1;
            }
            at += 1;
        }
        frame.put_at(counted, &count.to_le_bytes());
        reads
    }
}

/// The environment, as Rust's own library reads it.
unsafe fn variables(process: &Process, frame: &mut kernel::Writer) {
    // SAFETY: as in `connect`.
    unsafe {
        let counted = frame.length();
        frame.value(&[0; 8]);
        let (mut at, mut count) = (0, 0_u64);
        while let Some(entry) = process.entry(at) {
            at += 1;
            // A name may begin with the sign that ends it.
            let Some(sign) = kernel::find(entry, b'=', 1) else {
                continue;
            };
            if kernel::begins(entry, b"QUARRY_TICKET=") {
                continue;
            }
            frame.counted(entry, sign);
            frame.text(entry.add(sign + 1));
            count += 1;
        }
        frame.put_at(counted, &count.to_le_bytes());
    }
}

/// What came of it.
enum Answer {
    /// A hit, which was shown.
    Hit,
    /// Something else, or nothing yet: it is still to be read.
    Other,
    /// The connection broke within a hit: nothing was shown.
    Lost,
}

unsafe fn answer(socket: i32) -> Answer {
    // SAFETY: what is received stays within the buffer; what is shown, within what was received.
    unsafe {
        if !kernel::readable(socket, ANSWER) || !kernel::peek(socket, FRAME.at(0), EMPTY) {
            return Answer::Other;
        }
        let version = u16::from_le_bytes(FRAME.value_at(4));
        let total = HEADER + u32::from_le_bytes(FRAME.value_at(6)) as usize;
        let hit = kernel::begins(FRAME.at(0), b"QRY")
            && version == PROTOCOL
            && u32::from_le_bytes(FRAME.value_at(KIND)) == REPLAY;
        if !hit || total < EMPTY || total > FRAME.size() {
            return Answer::Other;
        }
        let mut have = 0;
        while have < total {
            match kernel::receive(socket, FRAME.at(have), total - have, REST) {
                Some(n) => have += n,
                None => return Answer::Lost,
            }
        }
        let texts = (total - EMPTY) as u64;
        let stdout = u64::from_le_bytes(FRAME.value_at(STDOUT));
        if stdout > texts {
            return Answer::Lost;
        }
        let behind = STDOUT + 8 + stdout as usize;
        if u64::from_le_bytes(FRAME.value_at(behind)) != texts - stdout {
            return Answer::Lost;
        }
        kernel::ignore_broken_pipes();
        kernel::show(1, FRAME.at(STDOUT + 8), stdout as usize);
        kernel::show(2, FRAME.at(behind + 8), (texts - stdout) as usize);
        Answer::Hit
    }
}
