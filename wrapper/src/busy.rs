//! Programs that were just written and are about to be run.
//!
//! A process that is forked while a program is open for writing holds it open, too, until it runs
//! something else; whoever runs the program in that moment is told "text file busy". A node forks
//! while it writes: it starts compilers. Enters: a program's path, once nobody here writes to it.
//! Leaves: the same when nobody else does, or after [`WAIT_MOST`].

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// Far longer than it takes to get from a fork to another program.
const WAIT_MOST: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_micros(100);

/// Waits until a program can be run. What cannot be opened, or asked, is not waited for.
pub fn wait(program: &Path) {
    let Ok(file) = File::open(program) else {
        return;
    };
    let until = Instant::now() + WAIT_MOST;
    while is_written_to(&file) && Instant::now() < until {
        std::thread::sleep(POLL);
    }
}

/// Whether anybody has a file open for writing: then nobody gets a lease to read it.
#[cfg(target_os = "linux")]
fn is_written_to(file: &File) -> bool {
    use std::os::fd::AsRawFd;
    const F_SETSIG: i32 = 10;
    let set = |what: i32, value: i32| {
        // SAFETY: two numbers about a descriptor that is open.
        #[expect(unsafe_code, reason = "rustix knows no leases")]
        unsafe {
            libc::fcntl(file.as_raw_fd(), what, value)
        }
    };
    // Who opens it for writing while the lease lasts has its holder told by a signal: by one that
    // ends nobody.
    if set(F_SETSIG, libc::SIGURG) != 0 {
        return false;
    }
    if set(libc::F_SETLEASE, libc::F_RDLCK) == 0 {
        set(libc::F_SETLEASE, libc::F_UNLCK);
        return false;
    }
    std::io::Error::last_os_error().kind() == std::io::ErrorKind::WouldBlock
}

/// Elsewhere it cannot be asked.
#[cfg(not(target_os = "linux"))]
fn is_written_to(_: &File) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_program_that_somebody_still_holds_open_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        std::fs::copy("/bin/true", &program).unwrap();
        wait(&program);
        let held = File::options().append(true).open(&program).unwrap();
        let busy = Command::new(&program).status().unwrap_err();
        assert_eq!(busy.kind(), std::io::ErrorKind::ExecutableFileBusy);
        let closes = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        wait(&program);
        assert!(Command::new(&program).status().unwrap().success());
        closes.join().unwrap();
        wait(&dir.path().join("nothing"));
    }
}
