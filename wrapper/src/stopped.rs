//! Notices that this process, or a child of it, was stopped and let go again (SIGSTOP, Ctrl-Z).
//!
//! Enters: signals. Leaves: whether there was a stop between two moments. While a compiler or who
//! waits for it is stopped, anybody who runs as the user has all the time to put other bytes in
//! place of its outputs. Must never happen here: a stop that is not noticed because a signal was
//! held up, or a change to what a child starts with: it takes neither handlers nor a mask along.

#![expect(
    unsafe_code,
    reason = "signals come with who was stopped, which no safe interface tells at once"
)]

use rustix::process::{WaitId, WaitIdOptions, waitid};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Stops that were noticed since this process began.
static STOPS: AtomicU64 = AtomicU64::new(0);

/// From now on stops are noticed: SIGCONT, without which nobody who was stopped goes on, and
/// SIGCHLD where it tells of anything but a child's end. A process that is stopped cannot run
/// before it has handled its SIGCONT, and of two SIGCHLD that wait the kernel keeps the first.
///
/// # Errors
/// What the kernel said.
pub fn notice() -> io::Result<()> {
    for signal in [libc::SIGCONT, libc::SIGCHLD] {
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = noted;
        // SAFETY: all zeros are a valid sigaction; the handler has the three arguments that
        // SA_SIGINFO promises, and does nothing but an atomic addition and a system call.
        let set = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn noted(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    const ENDED: [libc::c_int; 3] = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED];
    // SAFETY: with SA_SIGINFO the kernel gives a pointer to what it says of the signal.
    let code = unsafe { (*info).si_code };
    if signal == libc::SIGCONT || !ENDED.contains(&code) || one_more() {
        STOPS.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether a child was stopped whose signal was lost behind another child's.
fn one_more() -> bool {
    let stops = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::NOHANG;
    waitid(WaitId::All, stops).is_ok_and(|stop| stop.is_some())
}

/// A moment, to be asked later whether somebody was stopped since.
#[derive(Debug, Clone, Copy)]
pub struct Watch(u64);

impl Watch {
    /// This moment. Where [`notice`] was not called nothing is noticed.
    #[must_use]
    pub fn begin() -> Self {
        Self(STOPS.load(Ordering::SeqCst))
    }

    /// Whether this process or a child of it was stopped since.
    #[must_use]
    pub fn stopped(self) -> bool {
        STOPS.load(Ordering::SeqCst) != self.0
    }
}

#[cfg(test)]
#[path = "stopped_tests.rs"]
mod tests;
