//! The system itself: calls by number, a new process as the kernel lays it out, bytes in fixed
//! places. Nothing here may end in a panic, for which there is nobody yet.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::mem::MaybeUninit;

const READ_WRITE: usize = 0x8_0001;
const AT_FDCWD: usize = -100_isize as usize;
const SYMLINK_NOFOLLOW: usize = 0x100;
const EINTR: isize = -4;
const EAGAIN: isize = -11;

mod number {
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const POLL: usize = 7;
    pub const RT_SIGACTION: usize = 13;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDTO: usize = 44;
    pub const RECVFROM: usize = 45;
    pub const GETSOCKOPT: usize = 55;
    pub const GETCWD: usize = 79;
    pub const READLINK: usize = 89;
    pub const UMASK: usize = 95;
    pub const GETEUID: usize = 107;
    pub const TIME: usize = 201;
    pub const EXIT_GROUP: usize = 231;
    pub const NEWFSTATAT: usize = 262;
}

/// A system call.
unsafe fn call(number: usize, a: [usize; 5]) -> isize {
    let answer: isize;
    // SAFETY: the callers below pass what the call of that number wants.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a[0],
            in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") 0_usize,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

unsafe fn copy(from: *const u8, to: *mut u8, n: usize) {
    // SAFETY: the callers below have both.
    unsafe {
        asm!("rep movsb", inout("rcx") n => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags));
    }
}

unsafe fn length(text: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: up to the null.
    while unsafe { text.add(n).read() } != 0 {
        n += 1;
    }
    n
}

/// Whether a string is this word, and nothing behind it.
pub unsafe fn equals(text: *const u8, word: &[u8]) -> bool {
    // SAFETY: where it begins so, there is one byte more.
    unsafe { begins(text, word) && text.add(word.len()).read() == 0 }
}

/// Whether a string begins with this word.
pub unsafe fn begins(text: *const u8, word: &[u8]) -> bool {
    let mut at = 0;
    for byte in word {
        // SAFETY: every byte before was one of `word`, so none was the null.
        if unsafe { text.add(at).read() } != *byte {
            return false;
        }
        at += 1;
    }
    true
}

/// Where a byte stands in a string that is not empty, from `at` on.
pub unsafe fn find(text: *const u8, byte: u8, mut at: usize) -> Option<usize> {
    // SAFETY: up to the null.
    unsafe {
        if text.read() == 0 {
            return None;
        }
        loop {
            match text.add(at).read() {
                0 => return None,
                is if is == byte => return Some(at),
                _ => at += 1,
            }
        }
    }
}

/// A new process.
pub struct Process {
    pub argc: usize,
    argv: *const *const u8,
    env: *const *const u8,
}

impl Process {
    pub unsafe fn of(stack: *const usize) -> Self {
        // SAFETY: argc, argv, null, environment, null.
        unsafe {
            let argc = stack.read();
            let argv: *const *const u8 = stack.add(1).cast();
            let env = argv.add(argc + 1);
            Self { argc, argv, env }
        }
    }

    pub unsafe fn argument(&self, at: usize) -> Option<*const u8> {
        // SAFETY: one of argc.
        (at < self.argc).then(|| unsafe { self.argv.add(at).read() })
    }

    /// One variable with its name, in the order in which they stand there.
    pub unsafe fn entry(&self, at: usize) -> Option<*const u8> {
        // SAFETY: asked for one after the other, up to the null.
        let entry = unsafe { self.env.add(at).read() };
        (!entry.is_null()).then_some(entry)
    }

    /// The value of the first variable of this name.
    pub unsafe fn var(&self, name: &[u8]) -> Option<*const u8> {
        let mut at = 0;
        // SAFETY: as above.
        unsafe {
            while let Some(entry) = self.entry(at) {
                if begins(entry, name) && entry.add(name.len()).read() == b'=' {
                    return Some(entry.add(name.len() + 1));
                }
                at += 1;
            }
        }
        None
    }
}

/// Bytes in a fixed place.
pub struct Buffer<const N: usize>(UnsafeCell<[u8; N]>);
// SAFETY: this process has one thread.
unsafe impl<const N: usize> Sync for Buffer<N> {}

impl<const N: usize> Buffer<N> {
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; N]))
    }

    pub const fn size(&self) -> usize {
        N
    }

    /// The place of one byte of it, which the caller knows to be there.
    pub unsafe fn at(&self, at: usize) -> *mut u8 {
        // SAFETY: as said.
        unsafe { self.0.get().cast::<u8>().add(at) }
    }

    /// The bytes from a place on, which the caller knows to be there.
    pub unsafe fn value_at<const M: usize>(&self, at: usize) -> [u8; M] {
        // SAFETY: as said; bytes need not be aligned.
        unsafe { self.at(at).cast::<[u8; M]>().read() }
    }

    /// Writes from the beginning.
    pub unsafe fn writer(&self) -> Writer {
        Writer {
            // SAFETY: the beginning is there.
            buffer: unsafe { self.at(0) },
            room: N,
            at: 0,
            over: false,
        }
    }
}

/// Writes one thing behind the other. What does not fit is left out, and then nothing fits.
pub struct Writer {
    buffer: *mut u8,
    room: usize,
    at: usize,
    over: bool,
}

impl Writer {
    pub const fn length(&self) -> usize {
        self.at
    }

    pub const fn fits(&self) -> bool {
        !self.over
    }

    /// Forgets what stands behind a place where the writer was.
    pub const fn back_to(&mut self, at: usize) {
        self.at = at;
    }

    unsafe fn bytes(&mut self, from: *const u8, n: usize) {
        self.over |= n > self.room - self.at;
        if !self.over {
            // SAFETY: there is room for it.
            unsafe { copy(from, self.buffer.add(self.at), n) };
            self.at += n;
        }
    }

    pub unsafe fn value(&mut self, value: &[u8]) {
        // SAFETY: a slice is its bytes.
        unsafe { self.bytes(value.as_ptr(), value.len()) }
    }

    /// A string without its null.
    pub unsafe fn string(&mut self, text: *const u8) {
        // SAFETY: as the caller's.
        unsafe { self.bytes(text, length(text)) }
    }

    /// A string with its length before it.
    pub unsafe fn text(&mut self, text: *const u8) {
        // SAFETY: as the caller's.
        unsafe { self.counted(text, length(text)) }
    }

    /// Some bytes with their number before them.
    pub unsafe fn counted(&mut self, from: *const u8, n: usize) {
        // SAFETY: as the caller's.
        unsafe {
            self.value(&(n as u64).to_le_bytes());
            self.bytes(from, n);
        }
    }

    /// What a call fills in, given a place and the room there, with its length before it.
    pub unsafe fn filled(&mut self, fill: impl Fn(*mut u8, usize) -> Option<usize>) -> Option<()> {
        // SAFETY: the call fills no more than it says, which is no more than the room.
        unsafe {
            let counted = self.at;
            self.value(&[0; 8]);
            let n = fill(self.buffer.add(self.at), self.room - self.at).filter(|_| self.fits())?;
            self.at += n;
            self.put_at(counted, &(n as u64).to_le_bytes());
        }
        Some(())
    }

    /// Writes in place of what was written before.
    pub unsafe fn put_at(&mut self, at: usize, value: &[u8]) {
        if !self.over && at + value.len() <= self.at {
            // SAFETY: it is there.
            unsafe { copy(value.as_ptr(), self.buffer.add(at), value.len()) };
        }
    }
}

/// What the kernel says of a file.
pub struct Stat {
    pub device: u64,
    pub inode: u64,
    pub mode: u32,
    pub owner: u32,
    /// Seconds since 1970.
    pub modified: i64,
    /// Which device it is itself.
    number: u64,
}

impl Stat {
    pub unsafe fn of(path: *const u8, followed: bool) -> Option<Self> {
        // SAFETY: the path ends with null.
        unsafe { Self::ask(AT_FDCWD, path, if followed { 0 } else { SYMLINK_NOFOLLOW }) }
    }

    pub unsafe fn of_stdin() -> Option<Self> {
        const EMPTY_PATH: usize = 0x1000;
        // SAFETY: as above.
        unsafe { Self::ask(0, c"".as_ptr().cast(), EMPTY_PATH) }
    }

    unsafe fn ask(dir: usize, path: *const u8, flags: usize) -> Option<Self> {
        let mut said = MaybeUninit::<[u64; 18]>::uninit();
        let words: *const u64 = said.as_mut_ptr().cast();
        // SAFETY: the kernel's structure has 144 bytes.
        unsafe {
            let to = words as usize;
            if call(number::NEWFSTATAT, [dir, path as usize, to, flags, 0]) != 0 {
                return None;
            }
            let mode_and_owner = words.add(3).read();
            Some(Self {
                device: words.read(),
                inode: words.add(1).read(),
                mode: mode_and_owner as u32,
                owner: (mode_and_owner >> 32) as u32,
                modified: words.add(11).cast::<i64>().read(),
                number: words.add(5).read(),
            })
        }
    }

    pub const fn is_link(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000
    }

    /// The null device: a character device by its two numbers.
    pub const fn is_null(&self) -> bool {
        self.mode & 0o170_000 == 0o020_000 && self.number == 0x103
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    // SAFETY: it takes nothing.
    unsafe { call(number::TIME, [0; 5]) as i64 }
}

pub fn user() -> u32 {
    // SAFETY: it takes nothing.
    unsafe { call(number::GETEUID, [0; 5]) as u32 }
}

/// It can only be read by setting it; this process has one thread, so nobody sees 0.
pub fn umask() -> u32 {
    // SAFETY: it takes a number.
    unsafe {
        let mask = call(number::UMASK, [0; 5]);
        call(number::UMASK, [mask as usize, 0, 0, 0, 0]);
        mask as u32
    }
}

/// What a link says, where there was room for more.
pub unsafe fn link(path: &CStr, to: *mut u8, room: usize) -> Option<usize> {
    // SAFETY: the caller's room.
    let n = unsafe {
        call(
            number::READLINK,
            [path.as_ptr() as usize, to as usize, room, 0, 0],
        )
    };
    usize::try_from(n).ok().filter(|n| (1..room).contains(n))
}

/// The working directory, where it has a path.
pub unsafe fn directory(to: *mut u8, room: usize) -> Option<usize> {
    // SAFETY: the caller's room; what is said ends with null.
    unsafe {
        let n = call(number::GETCWD, [to as usize, room, 0, 0, 0]);
        let n = usize::try_from(n).ok().filter(|n| *n > 1)?;
        (to.read() == b'/').then_some(n - 1)
    }
}

pub fn close(fd: i32) {
    // SAFETY: a descriptor of ours.
    unsafe { call(number::CLOSE, [fd as usize, 0, 0, 0, 0]) };
}

/// Ends well.
pub fn exit() -> ! {
    loop {
        // SAFETY: it takes a number.
        unsafe { call(number::EXIT_GROUP, [0; 5]) };
    }
}

/// A connection to a socket of this user's. `None` too where its number is one of the standard
/// streams', which were closed.
pub unsafe fn connect(address: *const u8, length: usize, user: u32) -> Option<i32> {
    const UNIX: usize = 1;
    const SOCKET: usize = 1;
    const PEERCRED: usize = 17;
    let mut peer = [u32::MAX; 3];
    let mut size = 12_u32;
    // SAFETY: the address is the caller's; what is said of the peer are three numbers.
    unsafe {
        let fd = call(number::SOCKET, [UNIX, READ_WRITE, 0, 0, 0]);
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        let to = [fd as usize, address as usize, length, 0, 0];
        let asked = [
            fd as usize,
            SOCKET,
            PEERCRED,
            (&raw mut peer) as usize,
            (&raw mut size) as usize,
        ];
        let own = fd > 2
            && call(number::CONNECT, to) == 0
            && call(number::GETSOCKOPT, asked) == 0
            && (&raw const peer[1]).read_volatile() == user;
        if own {
            return Some(fd);
        }
        close(fd);
    }
    None
}

/// Sends all of it, where the socket takes that at once.
pub unsafe fn send(fd: i32, from: *const u8, n: usize) -> bool {
    const NOW: usize = 0x40 | 0x4000;
    // SAFETY: the caller's bytes.
    unsafe { call(number::SENDTO, [fd as usize, from as usize, n, NOW, 0]) == n as isize }
}

/// Waits, so many milliseconds, until there is something to be read or somebody has gone.
pub fn readable(fd: i32, milliseconds: usize) -> bool {
    wait(fd, 1, milliseconds)
}

fn wait(fd: i32, events: u32, milliseconds: usize) -> bool {
    // The descriptor, and what is waited for.
    let mut asked = [fd as u32, events];
    // SAFETY: one such pair.
    unsafe {
        call(
            number::POLL,
            [(&raw mut asked) as usize, 1, milliseconds, 0, 0],
        ) == 1
    }
}

/// Looks at the first bytes of what came, where there are so many.
pub unsafe fn peek(fd: i32, to: *mut u8, n: usize) -> bool {
    const PEEK: usize = 2 | 0x40;
    // SAFETY: the caller's room.
    unsafe { call(number::RECVFROM, [fd as usize, to as usize, n, PEEK, 0]) == n as isize }
}

/// Takes what comes next, at most `n` bytes. `None` at the end, and where nothing comes in time.
pub unsafe fn receive(fd: i32, to: *mut u8, n: usize, milliseconds: usize) -> Option<usize> {
    const NOW: usize = 0x40;
    if !readable(fd, milliseconds) {
        return None;
    }
    // SAFETY: the caller's room.
    let came = unsafe { call(number::RECVFROM, [fd as usize, to as usize, n, NOW, 0]) };
    usize::try_from(came).ok().filter(|n| *n > 0)
}

/// As Rust's own library does: who reads no further is told by an error.
pub fn ignore_broken_pipes() {
    const SIGPIPE: usize = 13;
    const IGNORE: usize = 1;
    let action = [IGNORE, 0, 0, 0];
    // SAFETY: the kernel's structure: what to do, flags, nothing, a mask of eight bytes.
    unsafe {
        call(
            number::RT_SIGACTION,
            [SIGPIPE, (&raw const action) as usize, 0, 8, 0],
        )
    };
}

/// Writes all of it, for as long as somebody reads.
pub unsafe fn show(fd: i32, mut from: *const u8, mut n: usize) {
    const OUT: u32 = 4;
    while n > 0 {
        // SAFETY: the caller's bytes.
        unsafe {
            match call(number::WRITE, [fd as usize, from as usize, n, 0, 0]) {
                EINTR => {}
                // Somebody made the pipe so, and reads slowly.
                EAGAIN => {
                    wait(fd, OUT, usize::MAX);
                }
                written if written > 0 => {
                    from = from.add(written as usize);
                    n -= written as usize;
                }
                _ => return,
            }
        }
    }
}
