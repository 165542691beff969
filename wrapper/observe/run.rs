//! The other way to observe: all that a build script and the programs that it starts ask.
//!
//! Enters: `QUARRY_OBSERVE_RUN` in the environment, the functions that start programs. Leaves: a
//! record of each program that began and of each that was to begin, so that one that nobody
//! observed shows; of what a program was given that leads to what nobody sees; and both variables in the environment of each, whatever the caller put there.
//! Must never happen here: a program that runs with less than its caller gave it.
//!
//! Unlike in a compiler everybody counts here, and the variables stay in the environment: what
//! the C library starts by itself (`system`) inherits them.

use super::calls::{is_there, look_now, may_be_run, readlink_real};
use super::drivers::{self, Arguments};
use super::{
    ACTIVE, COMPILER, Kind, LOG, Outcome, PLACED, RUN, Strings, TEXT_MAX, contains, environ,
    foreign, look_around, missing, note, open_log, real, say, witness,
};
use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicUsize, Ordering};

const LOG_VARIABLE: &[u8] = b"QUARRY_OBSERVE_RUN=";
const LOAD_VARIABLE: &[u8] = b"LD_PRELOAD=";
/// Variables of a program that is started; one with more is started as it is, and shows.
const VARIABLES_MAX: usize = 4096;
/// As `access` is asked for it.
const MAY_BE_RUN: usize = 1;

type Environment = Strings;

/// A string of ours that outlives the environment that it was found in.
struct Text(UnsafeCell<[u8; TEXT_MAX]>);
// SAFETY: written by `begin` alone, before there is a second thread.
unsafe impl Sync for Text {}
static LOG_ENTRY: Text = Text(UnsafeCell::new([0; TEXT_MAX]));
static LOAD_ENTRY: Text = Text(UnsafeCell::new([0; TEXT_MAX]));

impl Text {
    fn keep(&self, text: &[u8]) -> bool {
        // SAFETY: as said above.
        let to = unsafe { &mut *self.0.get() };
        match to.get_mut(..text.len()) {
            Some(place) if text.len() < TEXT_MAX => {
                place.copy_from_slice(text);
                true
            }
            _ => false,
        }
    }

    fn pointer(&self) -> *const c_char {
        self.0.get().cast()
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: it ends with null, and nobody writes any more.
        unsafe { CStr::from_ptr(self.pointer()) }.to_bytes()
    }
}

/// The entry of an environment that begins so.
///
/// # Safety
/// `env` is an environment, or null.
unsafe fn entry(env: Environment, prefix: &[u8]) -> Option<&'static [u8]> {
    // SAFETY: strings up to null.
    unsafe {
        let mut at = env;
        while !at.is_null() && !(*at).is_null() {
            let text = CStr::from_ptr(*at).to_bytes();
            if text.starts_with(prefix) {
                return Some(text);
            }
            at = at.add(1);
        }
    }
    None
}

/// Notes what decides which libraries and programs are found, and it is not seen how: the
/// variables of the loader (but for our own) and PATH.
///
/// # Safety
/// `env` is an environment, or null.
unsafe fn given(env: Environment) {
    let ours = LOAD_ENTRY.bytes();
    // SAFETY: strings up to null.
    unsafe {
        let mut at = env;
        while !at.is_null() && !(*at).is_null() {
            let text = CStr::from_ptr(*at).to_bytes();
            if (text.starts_with(b"LD_") && text != ours) || text.starts_with(b"PATH=") {
                // One that is cut is not what anybody gave.
                let most = text.len().min(TEXT_MAX);
                note(
                    Kind::Given,
                    Outcome::Done,
                    0,
                    text.get(..most).unwrap_or(b""),
                );
            }
            at = at.add(1);
        }
    }
}

/// The directories of PATH, by this process's own environment.
fn path_directories() -> impl Iterator<Item = &'static [u8]> {
    // SAFETY: the environment is the C library's own.
    let path = unsafe { entry(own_environment(), b"PATH=") };
    let path = path.and_then(|p| p.strip_prefix(b"PATH="));
    path.unwrap_or(b"/bin:/usr/bin").split(|b| *b == b':')
}

/// A path of parts with a null at its end, where it fits.
fn joined(parts: [&[u8]; 4]) -> Option<[u8; TEXT_MAX]> {
    let mut text = [0; TEXT_MAX];
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let bytes = parts.iter().flat_map(|part| part.iter());
    for (place, byte) in text.iter_mut().zip(bytes) {
        *place = *byte;
    }
    // Two nulls are left at the end.
    (length + 2 < TEXT_MAX).then_some(text)
}

/// Where a program of this name is found along PATH, where that says so without doubt; nothing is
/// noted.
pub(super) fn found_in_path(name: &[u8]) -> Option<[u8; TEXT_MAX]> {
    for dir in path_directories() {
        if dir.first() != Some(&b'/') {
            return None;
        }
        let there = joined([dir, b"/", name, b""])?;
        if may_be_run(there.as_ptr() as usize) {
            return Some(there);
        }
    }
    None
}

/// Notes where the C library looks for a program along PATH, up to where it finds one.
fn looked_for(name: &[u8]) {
    for dir in path_directories() {
        let dir = if dir.is_empty() { b"." } else { dir };
        let at = |end| joined([dir, b"/", name, end]);
        let (Some(there), Some(below)) = (at(b""), at(b"/.")) else {
            note(Kind::Incomplete, Outcome::Done, 0, b"path");
            return;
        };
        let found = look_now(Kind::Tried, there.as_ptr() as usize, MAY_BE_RUN, 0);
        if found && !is_there(below.as_ptr() as usize) {
            return;
        }
    }
}

/// Notes where a program is looked for that is to be started by this name, a string or null.
pub(super) fn sought(program: usize) {
    if program == 0 {
        return;
    }
    // SAFETY: the caller's string, and the C library's list.
    unsafe {
        let name = CStr::from_ptr(program as *const c_char).to_bytes();
        if name.contains(&b'/') {
            look_now(Kind::Tried, program, MAY_BE_RUN, 0);
        } else {
            // Where this process's own environment says.
            given(own_environment());
            looked_for(name);
        }
    }
}

/// Notes arguments that ask a compiler for this machine's processor, and such as stand elsewhere.
///
/// # Safety
/// `arguments` is a list of strings up to null, or null.
unsafe fn told(arguments: Strings) {
    // SAFETY: strings up to null.
    unsafe {
        let mut at = arguments;
        while !at.is_null() && !(*at).is_null() {
            let text = CStr::from_ptr(*at).to_bytes();
            let asking = [&b"cpu=native"[..], b"cpu=help", b"target-cpus"];
            if asking.iter().any(|part| contains(text, part)) {
                note(Kind::Machine, Outcome::Done, 0, b"processor");
            }
            if text.first() == Some(&b'@') {
                note(Kind::Raw, Outcome::Done, 0, b"arguments");
            }
            at = at.add(1);
        }
    }
}

/// Whether a build script's run is observed, in which case this process is from now on.
pub(super) fn begin(arguments: Strings) -> bool {
    // SAFETY: the loader calls this before any thread but this one exists.
    let (log, load) = unsafe {
        let env: Environment = environ.cast_const().cast();
        (entry(env, LOG_VARIABLE), entry(env, LOAD_VARIABLE))
    };
    let (Some(log), Some(load)) = (log, load) else {
        return false;
    };
    // Our library comes first, and no path of ours has a colon in it.
    let ours = load
        .split(|b| *b == b':' || *b == b' ')
        .next()
        .unwrap_or(load);
    if !LOG_ENTRY.keep(log) || !LOAD_ENTRY.keep(ours) {
        return true;
    }
    let value = log.get(LOG_VARIABLE.len()..).unwrap_or(b"");
    let Some(path) = drivers::keep(value) else {
        return true;
    };
    let log = open_log(path);
    if log < 0 {
        return true;
    }
    LOG.store(log, Ordering::SeqCst);
    COMPILER.store(look_around().compiler, Ordering::SeqCst);
    RUN.store(true, Ordering::SeqCst);
    ACTIVE.store(true, Ordering::SeqCst);
    let mut itself = [0; TEXT_MAX];
    // SAFETY: the buffer is as long as said.
    let length = unsafe {
        let real: extern "C" fn(*const c_char, *mut u8, usize) -> isize =
            core::mem::transmute(readlink_real());
        real(c"/proc/self/exe".as_ptr(), itself.as_mut_ptr(), TEXT_MAX)
    };
    let length = usize::try_from(length).unwrap_or(0);
    let itself = itself.get(..length).unwrap_or(b"");
    PLACED.store(drivers::is_placed(itself), Ordering::SeqCst);
    say(Kind::Entered, itself);
    // SAFETY: what the loader gave, before any thread but this one exists.
    unsafe {
        given(own_environment());
        told(arguments);
        // By this name it was started; that of what runs a script stands in its first line.
        let name = if arguments.is_null() {
            core::ptr::null()
        } else {
            *arguments
        };
        if !name.is_null() && CStr::from_ptr(name).to_bytes().contains(&b'/') {
            sought(name as usize);
        }
    }
    true
}

/// Whether an environment leads into the same log.
///
/// # Safety
/// `env` is an environment, or null.
unsafe fn leads_here(env: Environment) -> bool {
    // SAFETY: the caller's.
    let (log, load) = unsafe { (entry(env, LOG_VARIABLE), entry(env, LOAD_VARIABLE)) };
    let ours = LOAD_ENTRY.bytes();
    let first = load.is_some_and(|l| {
        l.starts_with(ours) && matches!(l.get(ours.len()), None | Some(b':' | b' '))
    });
    first && log == Some(LOG_ENTRY.bytes())
}

/// Calls with an environment that leads into our log and else is the caller's.
///
/// # Safety
/// `env` is an environment, or null.
unsafe fn led(env: Environment, then: &dyn Fn(Environment) -> usize) -> usize {
    // SAFETY: the caller's; every index below is checked.
    unsafe {
        if leads_here(env) {
            return then(env);
        }
        let mut list = [core::ptr::null::<c_char>(); VARIABLES_MAX];
        let mut load = [0_u8; 2 * TEXT_MAX];
        let ours = LOAD_ENTRY.bytes();
        let mut length = ours.len();
        let Some(place) = load.get_mut(..length) else {
            return then(env);
        };
        place.copy_from_slice(ours);
        let mut count = 2;
        let mut at = env;
        while !at.is_null() && !(*at).is_null() {
            let text = CStr::from_ptr(*at).to_bytes();
            if let Some(theirs) = text.strip_prefix(LOAD_VARIABLE) {
                // Behind ours, with a null left at the end.
                let end = length + 1 + theirs.len();
                if !theirs.is_empty() && end < load.len() {
                    if let Some([colon, rest @ ..]) = load.get_mut(length..end) {
                        *colon = b':';
                        rest.copy_from_slice(theirs);
                    }
                    length = end;
                }
            } else if !text.starts_with(LOG_VARIABLE) {
                let Some(place) = list.get_mut(count).filter(|_| count < VARIABLES_MAX - 1) else {
                    return then(env);
                };
                *place = *at;
                count += 1;
            }
            at = at.add(1);
        }
        let [first, second, ..] = &mut list;
        *first = LOG_ENTRY.pointer();
        *second = load.as_ptr().cast();
        then(list.as_ptr())
    }
}

/// Notes that a program is to begin, and that it did not where `start` comes back and `failed`.
///
/// # Safety
/// `program` is a string or null, `env` an environment or null.
unsafe fn started(
    program: usize,
    env: Environment,
    start: &dyn Fn(Environment) -> usize,
    failed: fn(usize) -> bool,
) -> usize {
    if program != 0 {
        // SAFETY: the caller's string.
        let name = unsafe { CStr::from_ptr(program as *const c_char) }.to_bytes();
        say(Kind::Spawn, name);
        sought(program);
    } else {
        say(Kind::Spawn, b"");
    }
    // SAFETY: the caller's.
    let answer = unsafe { led(env, start) };
    if failed(answer) {
        say(Kind::NotStarted, b"");
    }
    answer
}

fn own_environment() -> Environment {
    // SAFETY: the C library's own variable.
    unsafe { environ.cast_const().cast() }
}

/// Functions that become another program: they come back only where they failed. The return
/// address is handed on as the sixth argument.
macro_rules! becoming {
    ($($name:ident, $by:ident, $real:ident, $entry:ident, $program:expr, $env:expr;)*) => {$(
        fn $real() -> usize {
            static REAL: AtomicUsize = AtomicUsize::new(0);
            // The name is a literal with a null at its end.
            match CStr::from_bytes_with_nul(concat!(stringify!($by), "\0").as_bytes()) {
                Ok(name) => real(&REAL, name),
                Err(_) => missing as *const () as usize,
            }
        }

        extern "C" fn $entry(a: usize, b: usize, c: usize, _: usize, _: usize, caller: usize) -> usize {
            // SAFETY: a function of the C library, called with the caller's own arguments.
            let real: extern "C" fn(usize, usize, Environment) -> usize =
                unsafe { core::mem::transmute($real()) };
            let env: fn(usize) -> Environment = $env;
            let program: fn(usize) -> usize = $program;
            if !RUN.load(Ordering::Acquire) {
                if foreign(caller) {
                    note(Kind::Spawn, Outcome::Done, caller, b"");
                }
                return real(a, b, env(c));
            }
            // SAFETY: the caller's own arguments.
            unsafe {
                let start = |env| {
                    drivers::told(program(a), b as Arguments, &|b| real(a, b as usize, env))
                };
                started(program(a), env(c), &start, |_| true)
            }
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

becoming! {
    execve, execve, execve_real, execve_entry, |a| a, |c| c as Environment;
    execvpe, execvpe, execvpe_real, execvpe_entry, |a| a, |c| c as Environment;
    execv, execve, execv_real, execv_entry, |a| a, |_| own_environment();
    execvp, execvpe, execvp_real, execvp_entry, |a| a, |_| own_environment();
    fexecve, fexecve, fexecve_real, fexecve_entry, |_| 0, |c| c as Environment;
}

/// Functions that start another program beside this one, of six arguments, the last of which is
/// the environment; they answer 0 where they succeeded. The return address is the seventh.
macro_rules! starting {
    ($($name:ident, $real:ident, $entry:ident, $in_path:expr;)*) => {$(
        fn $real() -> usize {
            static REAL: AtomicUsize = AtomicUsize::new(0);
            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => real(&REAL, name),
                Err(_) => missing as *const () as usize,
            }
        }

        extern "C" fn $entry(
            a: usize, b: usize, c: usize, d: usize, e: usize, f: usize, caller: usize,
        ) -> usize {
            type Six = extern "C" fn(usize, usize, usize, usize, usize, Environment) -> usize;
            // SAFETY: a function of the C library, called with the caller's own arguments.
            let real: Six = unsafe { core::mem::transmute($real()) };
            if !RUN.load(Ordering::Acquire) {
                let start = |b, e| real(a, b, c, d, e as usize, f as Environment);
                if !foreign(caller) {
                    return start(b, e as Arguments);
                }
                let call = witness::Call {
                    program: b,
                    arguments: e as Arguments,
                    environment: f as Environment,
                    in_path: $in_path,
                    caller,
                    start: &start,
                };
                // SAFETY: the caller's own arguments.
                return unsafe { call.begin() };
            }
            // SAFETY: the caller's own arguments. An int, in the low half of the register.
            unsafe {
                let start = |env| {
                    drivers::told(b, e as Arguments, &|e| real(a, b, c, d, e as usize, env))
                };
                started(b, f as Environment, &start, |answer| answer as u32 != 0)
            }
        }

        /// # Safety
        /// As the C library's function of this name.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            naked_asm!("push qword ptr [rsp]", "call {}", "add rsp, 8", "ret", sym $entry);
            #[cfg(target_arch = "aarch64")]
            naked_asm!("mov x6, x30", "b {}", sym $entry);
        }
    )*};
}

starting! {
    posix_spawn, posix_spawn_real, posix_spawn_entry, false;
    posix_spawnp, posix_spawnp_real, posix_spawnp_entry, true;
}
