//! Times that a copy cannot be given: when a file came to be, and when its inode last changed.
//!
//! Enters: the variable that says of which directory another is a copy, answers of `statx`.
//! Leaves: answers about files of the copy with these two times as the originals have them. Only
//! where a package is compiled once more under another name, so that nothing but the name differs.
//! Must never happen here: an answer touched in any other compile.

use super::{__errno_location, AT_FDCWD, TEXT_MAX, absolute};
use crate::calls::statx_real;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Stands between the copy's path and the original's.
const SEPARATOR: u8 = 0x1f;
/// `AT_SYMLINK_NOFOLLOW`; `STATX_CTIME | STATX_BTIME`.
const NOFOLLOW: usize = 0x100;
const TIMES_ASKED: usize = 0x80 | 0x800;
/// Bytes of `struct statx`, and of its `stx_btime` and `stx_ctime`, which lie side by side.
const STATX: usize = 256;
const TIMES: core::ops::Range<usize> = 80..112;

/// The variable's value, a string that is never freed; 0 for none.
static VALUE: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn set(value: *const c_char) {
    VALUE.store(value as usize, Ordering::Release);
}

/// Corrects the answer to `statx(dir, path, flags, _, answer)`.
pub(crate) fn correct(dir: i32, path: usize, flags: usize, answer: usize) {
    let value = VALUE.load(Ordering::Acquire);
    if value == 0 || path == 0 || answer == 0 {
        return;
    }
    // SAFETY: strings of the environment and of the caller, which the real function has read.
    let (value, path) = unsafe {
        (
            CStr::from_ptr(value as *const c_char).to_bytes(),
            CStr::from_ptr(path as *const c_char).to_bytes(),
        )
    };
    let mut text = [0; TEXT_MAX];
    let mut original = [0; TEXT_MAX];
    let there =
        absolute(&mut text, dir, path).and_then(|path| translated(&mut original, value, path));
    if there.is_none() {
        return;
    }
    let mut of_it = [0_u64; STATX / 8];
    // SAFETY: the C library's function with a path that ends with null and a place for its
    // answer; the caller's own place is as large, and the real function has just filled it.
    unsafe {
        let errno = *__errno_location();
        let statx: extern "C" fn(i32, *const u8, usize, usize, *mut u64) -> i32 =
            core::mem::transmute(statx_real());
        let failed = statx(
            AT_FDCWD,
            original.as_ptr(),
            flags & NOFOLLOW,
            TIMES_ASKED,
            of_it.as_mut_ptr(),
        );
        if failed == 0 {
            let from = of_it.as_ptr().cast::<u8>().add(TIMES.start);
            let to = (answer as *mut u8).add(TIMES.start);
            core::ptr::copy_nonoverlapping(from, to, TIMES.len());
        }
        *__errno_location() = errno;
    }
}

/// The original of a path below the copy, with a null at its end.
fn translated(to: &mut [u8; TEXT_MAX], value: &[u8], path: &[u8]) -> Option<()> {
    let at = value.iter().position(|b| *b == SEPARATOR)?;
    let (copy, original) = (value.get(..at)?, value.get(at + 1..)?);
    let below = path.strip_prefix(copy)?;
    if !matches!(below.first(), None | Some(b'/')) {
        return None;
    }
    let length = original.len() + below.len();
    to.get_mut(..original.len())?.copy_from_slice(original);
    to.get_mut(original.len()..length)?.copy_from_slice(below);
    // The rest is zeros; one of them must be left.
    to.get(length).map(|_| ())
}
