//! Programs that macros start, in a compiler: each runs beside a witness, which reports what it said.
//!
//! Enters: the variable that names the witness, calls that start a program. Leaves: the same call
//! with the witness in front of the program, which it runs with the streams, variables and directory
//! that the macro gave; and a record with the number of its report. What cannot be led through it is
//! started as it is, and noted without a number.
//! Must never happen here: a program that is not found led through the witness, which would begin
//! where the macro is to be told that there is none.

use super::calls::may_be_run;
use super::{Kind, Outcome, Strings, TEXT_MAX, note, run};
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Programs of one compile that get a witness.
const PROGRAMS_MAX: usize = 64;
/// Arguments of one, with those of the witness and the null at the end.
const ARGUMENTS_MAX: usize = 1000;
/// The witness's own: itself, `--witness`, the report, the program.
const FIRST: usize = 4;

/// The witness's path and the log's, strings that are never freed; 0 for none.
static WITNESS: AtomicUsize = AtomicUsize::new(0);
static LOG_PATH: AtomicUsize = AtomicUsize::new(0);
static STARTED: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn set(witness: *const c_char, log: *const c_char) {
    LOG_PATH.store(log as usize, Ordering::Release);
    WITNESS.store(witness as usize, Ordering::Release);
}

/// Starts a program for a macro: `start` is given another program and other arguments, or those that
/// came.
///
/// # Safety
/// `program` is a string or null, `arguments` a list of strings up to null, or null.
pub(super) unsafe fn start(
    program: usize,
    arguments: Strings,
    in_path: bool,
    caller: usize,
    start: &dyn Fn(usize, Strings) -> usize,
) -> usize {
    // SAFETY: the caller's.
    match unsafe { led(program, arguments, in_path, caller, start) } {
        Some(answer) => answer,
        None => {
            note(Kind::Spawn, Outcome::Done, caller, b"");
            start(program, arguments)
        }
    }
}

/// # Safety
/// As [`start`].
unsafe fn led(
    program: usize,
    arguments: Strings,
    in_path: bool,
    caller: usize,
    start: &dyn Fn(usize, Strings) -> usize,
) -> Option<usize> {
    let (witness, log) = (WITNESS.load(Ordering::Acquire), LOG_PATH.load(Ordering::Acquire));
    if witness == 0 || program == 0 || arguments.is_null() {
        return None;
    }
    // SAFETY: strings, the caller's and those of the environment that was there at the start.
    let (name, log) = unsafe {
        (
            CStr::from_ptr(program as *const c_char).to_bytes(),
            CStr::from_ptr(log as *const c_char).to_bytes(),
        )
    };
    let found = match name.contains(&b'/') {
        true => name.first() == Some(&b'/') && may_be_run(program),
        false => in_path && run::is_in_path(name),
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
    let own = [witness, c"--witness".as_ptr() as usize, report.as_ptr() as usize, program];
    for (place, text) in list.iter_mut().zip(own) {
        *place = text as *const c_char;
    }
    for at in 0.. {
        // SAFETY: up to the null at its end.
        let argument = unsafe { *arguments.add(at) };
        if argument.is_null() {
            break;
        }
        // One null is left.
        *list.get_mut(..ARGUMENTS_MAX - 1)?.get_mut(FIRST + at)? = argument;
    }
    note(Kind::Spawn, Outcome::Done, caller, &digits);
    Some(start(witness, list.as_ptr()))
}
