//! Programs that macros start, in a compiler: each runs beside a witness, which reports what it said.
//!
//! Enters: the variable that names the witness, calls that start a program. Leaves: the same call
//! with the witness in front of the program, which it runs with the streams, variables and directory
//! that the macro gave; and a record with the number of its report. What cannot be led through it is
//! started as it is, and noted without a number.
//! Must never happen here: a program led through the witness that would not begin, since the macro
//! is to be told that; a program that is not started because the witness is not.

use super::calls::{may_be_run, open_real};
use super::{
    __errno_location, Kind, O_CLOEXEC, Outcome, Strings, TEXT_MAX, close, environ, note, read, run,
};
use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Programs of one compile that get a witness.
const PROGRAMS_MAX: usize = 64;
/// Arguments of one, with those of the witness and the null at the end.
const ARGUMENTS_MAX: usize = 1000;
/// The witness's own: itself, `--witness`, the report, the program.
const FIRST: usize = 4;
/// What a file begins with, and its program headers and their texts as a rule.
const HEAD: usize = 4096;
/// `e_machine` of what runs here, and `PT_INTERP`.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else {
    183
};
const INTERPRETER: u32 = 3;

/// The witness's path and the log's, strings that are never freed; 0 for none.
static WITNESS: AtomicUsize = AtomicUsize::new(0);
static LOG_PATH: AtomicUsize = AtomicUsize::new(0);
static STARTED: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn set(witness: *const c_char, log: *const c_char) {
    LOG_PATH.store(log as usize, Ordering::Release);
    WITNESS.store(witness as usize, Ordering::Release);
}

/// A call that starts a program.
pub(super) struct Call<'c> {
    /// A string, or null.
    pub program: usize,
    /// Strings up to null, or null.
    pub arguments: Strings,
    /// What the program is to find in its environment.
    pub environment: Strings,
    /// Whether a name without a slash is looked for along PATH.
    pub in_path: bool,
    pub caller: usize,
    /// Starts this program with these arguments; 0 where it did.
    pub start: &'c dyn Fn(usize, Strings) -> usize,
}

impl Call<'_> {
    /// Starts a program for a macro.
    ///
    /// # Safety
    /// The pointers are what they are said to be.
    pub(super) unsafe fn begin(&self) -> usize {
        // SAFETY: the caller's.
        let led = unsafe { self.led() };
        // An int, in the low half of the register.
        if let Some(answer) = led.filter(|answer| *answer as u32 == 0) {
            return answer;
        }
        note(Kind::Spawn, Outcome::Done, self.caller, b"");
        (self.start)(self.program, self.arguments)
    }

    /// # Safety
    /// As [`Self::begin`].
    unsafe fn led(&self) -> Option<usize> {
        let (witness, log) = (
            WITNESS.load(Ordering::Acquire),
            LOG_PATH.load(Ordering::Acquire),
        );
        // Another environment than the compiler's own could be any other one next time.
        // SAFETY: the C library's own variable.
        let own = unsafe { environ };
        if witness == 0
            || self.program == 0
            || self.arguments.is_null()
            || self.environment as usize != own as usize
        {
            return None;
        }
        // SAFETY: strings, the caller's and those of the environment that was there at the start.
        let (name, log) = unsafe {
            (
                CStr::from_ptr(self.program as *const c_char).to_bytes(),
                CStr::from_ptr(log as *const c_char).to_bytes(),
            )
        };
        let found = match name.contains(&b'/') {
            true => name.first() == Some(&b'/') && begins(self.program, true),
            false => {
                let path = run::found_in_path(name).filter(|_| self.in_path)?;
                begins(path.as_ptr() as usize, true)
            }
        };
        if !found {
            return None;
        }
        let number = STARTED.fetch_add(1, Ordering::AcqRel) + 1;
        if number > PROGRAMS_MAX {
            return None;
        }
        // Two digits, and a null at the end.
        let digits = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        let mut report = [0_u8; TEXT_MAX];
        report.get_mut(..log.len())?.copy_from_slice(log);
        let end = report.get_mut(log.len()..log.len() + 4)?;
        end.copy_from_slice(&[b'.', digits[0], digits[1], 0]);
        let mut list = [core::ptr::null::<c_char>(); ARGUMENTS_MAX];
        let own = [
            witness,
            c"--witness".as_ptr() as usize,
            report.as_ptr() as usize,
            self.program,
        ];
        for (place, text) in list.iter_mut().zip(own) {
            *place = text as *const c_char;
        }
        for at in 0.. {
            // SAFETY: up to the null at its end.
            let argument = unsafe { *self.arguments.add(at) };
            if argument.is_null() {
                break;
            }
            // One null is left.
            *list.get_mut(..ARGUMENTS_MAX - 1)?.get_mut(FIRST + at)? = argument;
        }
        note(Kind::Spawn, Outcome::Done, self.caller, &digits);
        Some((self.start)(witness, list.as_ptr()))
    }
}

/// Whether a program at this path would begin, as far as that can be told: a program for this
/// machine whose loader is there, or a text that names such a one (where `text` is fine).
fn begins(path: usize, text: bool) -> bool {
    if !may_be_run(path) {
        return false;
    }
    let mut head = [0_u8; HEAD];
    let length = read_head(path, &mut head);
    let head = head.get(..length).unwrap_or(b"");
    match head {
        [0x7f, b'E', b'L', b'F', 2, 1, ..] => elf_begins(head).unwrap_or(false),
        [b'#', b'!', rest @ ..] if text => {
            let line = rest.split(|b| *b == b'\n').next().unwrap_or(b"");
            let mut words = line
                .split(|b| *b == b' ' || *b == b'\t')
                .filter(|w| !w.is_empty());
            let name = words.next().unwrap_or(b"");
            let mut at = [0_u8; TEXT_MAX];
            match at.get_mut(..name.len()) {
                Some(place) if name.first() == Some(&b'/') && name.len() < TEXT_MAX => {
                    place.copy_from_slice(name);
                    begins(at.as_ptr() as usize, false)
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// Reads what a file begins with; errno stays as it is.
fn read_head(path: usize, to: &mut [u8; HEAD]) -> usize {
    // SAFETY: the C library's functions, with a string and a buffer as long as said.
    unsafe {
        let errno = *__errno_location();
        let open: extern "C" fn(usize, c_int, c_int) -> c_int = core::mem::transmute(open_real());
        let file = open(path, O_CLOEXEC, 0);
        let mut length = 0;
        if file >= 0 {
            length = usize::try_from(read(file, to.as_mut_ptr(), HEAD)).unwrap_or(0);
            close(file);
        }
        *__errno_location() = errno;
        length
    }
}

fn elf_begins(head: &[u8]) -> Option<bool> {
    let short = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| {
        let value = u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?);
        usize::try_from(value).ok().filter(|value| *value < HEAD)
    };
    if short(18)? != MACHINE {
        return Some(false);
    }
    let (first, size, count) = (long(32)?, short(54)?, short(56)?);
    for number in 0..usize::from(count) {
        let at = first + number * usize::from(size);
        let kind = u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?);
        if kind == INTERPRETER {
            let (from, length) = (long(at + 8)?, long(at + 32)?);
            let name = head.get(from..from + length)?;
            return Some(name.last() == Some(&0) && may_be_run(name.as_ptr() as usize));
        }
    }
    Some(true)
}
