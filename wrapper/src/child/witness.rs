//! The witness: stands between a macro and a program that it started.
//!
//! Enters: where a report is wanted, the program and its arguments; all else as the macro gave it.
//! Leaves: the program's streams and end, as its own; a report, where all that it was told and all
//! that it said is in there. Must never happen here: anything of ours in what the macro hears.

use super::{Child, Report, Said, environment, streams};
use crate::ipc::frame;
use crate::surroundings;
use rustix::fs::{FileType, fstat};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::process::{ExitStatus, Stdio};

pub(super) fn witness(mut argv: Vec<OsString>) -> Option<io::Result<ExitStatus>> {
    if argv.len() < 3 {
        return None;
    }
    let arguments = argv.split_off(2);
    let [report, program]: [OsString; 2] = argv.try_into().ok()?;
    let child = Child {
        program: program.into_vec(),
        argv: arguments.into_iter().map(OsString::into_vec).collect(),
        dir: None,
        hears: [false; 2],
    };
    Some(beside(child, &report))
}

fn beside(mut child: Child, report: &OsStr) -> io::Result<ExitStatus> {
    let mut command = child.command();
    let Some(hears) = streams_that_count() else {
        return Err(command.exec());
    };
    let (out, err) = (io::stdout(), io::stderr());
    let [to_out, to_err] = hears.map(|heard| match heard {
        true => Stdio::piped(),
        false => Stdio::inherit(),
    });
    command.stdout(to_out).stderr(to_err);
    let mut program = crate::run::dies_with_us(&mut command).spawn()?;
    let to = [Some(out.as_fd()), Some(err.as_fd())];
    let heard = streams::hear(&mut program, to, None)?;
    if let Some(said) = heard.said {
        child.hears = hears;
        child.dir = std::env::current_dir()
            .ok()
            .map(|dir| dir.into_os_string().into_vec());
        let env: Vec<_> = std::env::vars_os().collect();
        let whole = Report {
            child,
            env: *environment(&env).as_bytes(),
            said: Said {
                ended: heard.ended,
                heard: said,
            },
        };
        // Without a report the compile is not kept; with somebody else's it must not be.
        if leave(report, &whole).is_err() {
            let _ = fs::remove_file(report);
        }
    }
    heard.open.into_iter().for_each(hand_on_alone);
    Ok(heard.status)
}

/// Somebody whom the program left behind holds this stream: it is handed on as long as that lives,
/// and the macro hears now that the program has ended.
fn hand_on_alone(stream: streams::Stream<'_>) {
    // SAFETY: this process has one thread, so the copy may go on as it is.
    #[expect(unsafe_code, reason = "a process that goes on where this one ends")]
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        stream.hand_on_rest();
        std::process::exit(0);
    }
}

fn leave(path: &OsStr, report: &Report) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let bytes = frame::encode(report).map_err(io::Error::other)?;
    options.open(path)?.write_all(&bytes)
}

/// Whether stdout, and stderr, is a pipe, and not the null device; `None` where not all that
/// reaches this process, or not all that it says, would be in a report: stdin is empty, the other
/// two are two pipes (or nothing), and no further pipe or socket is open but such as the compiler's
/// own caller holds, and a jobserver's.
fn streams_that_count() -> Option<[bool; 2]> {
    let kind = |fd: i32| {
        // SAFETY: it is looked at and not kept; one that is closed is an error.
        #[expect(unsafe_code, reason = "a descriptor by its number")]
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let stat = fstat(fd).ok()?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        Some((kind, (stat.st_dev, stat.st_ino)))
    };
    let null = [
        crate::shim::is_null(io::stdin()),
        crate::shim::is_null(io::stdout()),
        crate::shim::is_null(io::stderr()),
    ];
    let pipe = |fd: i32| kind(fd).is_some_and(|(kind, _)| kind == FileType::Fifo);
    let [true, out_null, err_null] = null else {
        return None;
    };
    let hears = [!out_null, !err_null];
    // Of what two write into one, nobody could say in which order.
    let one = hears == [true, true] && kind(1) == kind(2);
    if one || (hears[0] && !pipe(1)) || (hears[1] && !pipe(2)) {
        return None;
    }
    // Our parent is the compiler.
    let caller = surroundings::parent(std::os::unix::process::parent_id()).unwrap_or(0);
    let from_outside = |fd: i32, id: (u64, u64)| {
        let there = fs::metadata(format!("/proc/{caller}/fd/{fd}"));
        there.is_ok_and(|m| (m.dev(), m.ino()) == id)
    };
    let jobserver = surroundings::jobserver();
    let of_jobserver = |fd: i32| jobserver.is_some_and(|(read, write)| fd == read || fd == write);
    let open = fs::read_dir("/proc/self/fd").ok()?;
    let numbers = open.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let mut others = numbers.filter(|fd| *fd > 2 && !of_jobserver(*fd));
    let fine = others.all(|fd| match kind(fd) {
        Some((FileType::Fifo | FileType::Socket, id)) => from_outside(fd, id),
        _ => true,
    });
    fine.then_some(hears)
}
