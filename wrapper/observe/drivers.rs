//! What is told to C compilers that a build script starts: the placeholders of this checkout's
//! roots, so that debug information and `__FILE__` name no directory of this machine.
//!
//! Enters: behind the log's path in `QUARRY_OBSERVE_RUN`, arguments, each after a separator; a
//! program that is to be started, and its arguments. Leaves: the same, with those arguments in
//! front where the program is the driver of a C compiler: what the caller says later wins. Must
//! never happen here: a program that is started with less than its caller gave it.

use super::{Kind, Outcome, TEXT_MAX, note};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};

/// Stands before each argument.
pub(super) const SEPARATOR: u8 = 0x1f;
/// Arguments of a program that is started; one with more is started as it is.
const ARGUMENTS_MAX: usize = 4096;
const NAMES: [&[u8]; 6] = [b"cc", b"gcc", b"c++", b"g++", b"clang", b"clang++"];

pub(super) type Arguments = *const *const c_char;

/// The log's path and the arguments, each with a null behind it.
struct Texts(UnsafeCell<[u8; TEXT_MAX]>);
// SAFETY: written by `keep` alone, before there is a second thread.
unsafe impl Sync for Texts {}
static TEXTS: Texts = Texts(UnsafeCell::new([0; TEXT_MAX]));

/// Keeps what stands in the variable. Gives the log's path, with a null behind it; `None` where
/// it is too long.
pub(super) fn keep(value: &[u8]) -> Option<*const c_char> {
    // SAFETY: as said above.
    let texts = unsafe { &mut *TEXTS.0.get() };
    // Two nulls are left at the end.
    if value.len() + 2 > TEXT_MAX {
        return None;
    }
    for (place, byte) in texts.iter_mut().zip(value) {
        *place = if *byte == SEPARATOR { 0 } else { *byte };
    }
    Some(TEXTS.0.get().cast())
}

/// Whether this is the name or the path of a driver: `cc`, `/usr/bin/g++`. One of another version
/// or for another target (`gcc-7`, `avr-gcc`) may not know the arguments: only `cc` was asked.
fn is_driver(program: &[u8]) -> bool {
    let name = program.rsplit(|b| *b == b'/').next().unwrap_or(program);
    NAMES.contains(&name)
}

/// Whether a program is one of the system's own C compilers or of their tools. They take PWD for
/// their working directory's name where it is absolute and leads there (`getpwd` of GCC and
/// binutils, `current_path` of LLVM), or do not look at it, and hand it on as it is.
pub(super) fn is_placed(program: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] = [
        b"cc1",
        b"cc1plus",
        b"collect2",
        b"lto-wrapper",
        b"pkg-config",
        b"pkgconf",
    ];
    const TOOLS: [&[u8]; 10] = [
        b"ar", b"as", b"clang", b"g++", b"gcc", b"ld", b"ld.bfd", b"nm", b"ranlib", b"strip",
    ];
    let system = [&b"/usr/"[..], b"/bin/", b"/lib/"];
    if !system.iter().any(|dir| program.starts_with(dir)) || program.starts_with(b"/usr/local/") {
        return false;
    }
    let name = program.rsplit(|b| *b == b'/').next().unwrap_or(program);
    // `x86_64-linux-gnu-gcc-14`, `x86_64-linux-gnu-as`: the machine in front, a version behind.
    let mut parts = name.rsplit(|b| *b == b'-');
    let mut last = parts.next().unwrap_or(name);
    if last.iter().all(|b| b.is_ascii_digit() || *b == b'.') {
        last = parts.next().unwrap_or(last);
    }
    NAMES.contains(&name) || TOOLS.contains(&last)
}

/// Calls with the arguments for this program.
///
/// # Safety
/// `program` is a string or null, `arguments` a list of strings up to null, or null.
pub(super) unsafe fn told(
    program: usize,
    arguments: Arguments,
    then: &dyn Fn(Arguments) -> usize,
) -> usize {
    // SAFETY: the caller's; every index below is checked.
    unsafe {
        if program == 0 || arguments.is_null() || (*arguments).is_null() {
            return then(arguments);
        }
        if !is_driver(CStr::from_ptr(program as *const c_char).to_bytes()) {
            return then(arguments);
        }
        // clang starts itself so, and takes this in the first place alone.
        let first = *arguments.add(1);
        if !first.is_null() && CStr::from_ptr(first).to_bytes().starts_with(b"-cc1") {
            return then(arguments);
        }
        let mut list = [core::ptr::null::<c_char>(); ARGUMENTS_MAX];
        let mut count = 0;
        let mut put = |text: *const c_char| {
            // A null is left at the end.
            let place = list.get_mut(count).filter(|_| count < ARGUMENTS_MAX - 1);
            count += 1;
            place.map(|place| *place = text).is_some()
        };
        let mut all = put(*arguments);
        let mut text: *const c_char = TEXTS.0.get().cast_const().cast();
        // The path comes first; behind the last argument is an empty one.
        text = text.add(CStr::from_ptr(text).count_bytes() + 1);
        while !CStr::from_ptr(text).is_empty() {
            all &= put(text);
            text = text.add(CStr::from_ptr(text).count_bytes() + 1);
        }
        let mut at = arguments.add(1);
        while all && !(*at).is_null() {
            all &= put(*at);
            at = at.add(1);
        }
        if !all {
            return then(arguments);
        }
        note(Kind::Told, Outcome::Done, 0, b"");
        then(list.as_ptr())
    }
}
