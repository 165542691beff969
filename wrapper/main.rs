//! `qwrap`: what cargo calls as `RUSTC_WRAPPER`. Everything lives in `quarry-wrapper`;
//! this file only starts it, with what was done before the C library started, and exits as the
//! compiler did.

fn main() -> std::process::ExitCode {
    quarry_wrapper::shim::main(asked())
}

/// The socket on which the node's answer waits, where it was asked already (`early/early.rs`).
#[cfg(quarry_early)]
fn asked() -> Option<std::os::fd::OwnedFd> {
    use std::os::fd::{FromRawFd, OwnedFd};
    unsafe extern "C" {
        safe fn quarry_early_socket() -> i32;
    }
    let socket = quarry_early_socket();
    // SAFETY: where it is a descriptor, nobody else knows of it, and this is asked for once.
    #[expect(
        unsafe_code,
        reason = "what was done before the start is known by a number"
    )]
    (socket >= 0).then(|| unsafe { OwnedFd::from_raw_fd(socket) })
}

#[cfg(not(quarry_early))]
fn asked() -> Option<std::os::fd::OwnedFd> {
    None
}
