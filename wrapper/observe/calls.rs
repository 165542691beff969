//! The functions of the C library that the observer stands in front of, and what it makes of each.
//!
//! Enters: a call, with the address that it returns to. Leaves: the real function's answer, and a
//! note of the question where a macro asked. Must never happen here: a call that is not passed on.

use super::{
    __errno_location, ACTIVE, AT_FDCWD, EEXIST, EINVAL, Kind, O_CREAT, O_TRUNC, O_WRONLY_RDWR,
    Outcome, RUN, TEXT_MAX, absolute, foreign, missing, note, note_path, originals, real, run, say,
};
use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::{AtomicUsize, Ordering};

type Five = extern "C" fn(usize, usize, usize, usize, usize) -> usize;

/// A C `int` answer below zero, in the low half of the register.
fn negative(answer: usize) -> bool {
    (answer as u32).cast_signed() < 0
}

fn fd(argument: usize) -> c_int {
    (argument as u32).cast_signed()
}

fn opened(flags: usize) -> Kind {
    if flags & (O_WRONLY_RDWR | O_CREAT | O_TRUNC) != 0 {
        Kind::Write
    } else {
        Kind::Read
    }
}

fn on_open(a: [usize; 5], answer: usize, caller: usize) {
    note_path(opened(a[1]), negative(answer), caller, AT_FDCWD, a[0]);
}

fn on_openat(a: [usize; 5], answer: usize, caller: usize) {
    note_path(opened(a[2]), negative(answer), caller, fd(a[0]), a[1]);
}

fn on_fopen(a: [usize; 5], answer: usize, caller: usize) {
    // SAFETY: the mode is a string that the real function has read.
    let mode = unsafe { CStr::from_ptr(a[1] as *const c_char) }.to_bytes();
    let reads = mode.first() == Some(&b'r') && !mode.contains(&b'+');
    let kind = if reads { Kind::Read } else { Kind::Write };
    note_path(kind, answer == 0, caller, AT_FDCWD, a[0]);
}

fn on_opendir(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::List, answer == 0, caller, AT_FDCWD, a[0]);
}

fn on_opendir_answered(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::List, negative(answer), caller, AT_FDCWD, a[0]);
}

fn on_fdopendir(a: [usize; 5], answer: usize, caller: usize) {
    let dot = c".".as_ptr() as usize;
    note_path(Kind::List, answer == 0, caller, fd(a[0]), dot);
}

fn on_look(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Look, negative(answer), caller, AT_FDCWD, a[0]);
}

fn on_look_at(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Look, negative(answer), caller, fd(a[0]), a[1]);
}

fn on_statx(a: [usize; 5], answer: usize, caller: usize) {
    on_look_at(a, answer, caller);
    if !negative(answer) {
        originals::correct(fd(a[0]), a[1], a[2], a[4]);
    }
}

/// `__xstat` and its like have a version first.
fn on_look_versioned(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Look, negative(answer), caller, AT_FDCWD, a[1]);
}

fn on_look_at_versioned(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Look, negative(answer), caller, fd(a[1]), a[2]);
}

fn on_readlink(a: [usize; 5], answer: usize, caller: usize) {
    read_link(answer, caller, AT_FDCWD, a[0]);
}

fn on_readlinkat(a: [usize; 5], answer: usize, caller: usize) {
    read_link(answer, caller, fd(a[0]), a[1]);
}

fn read_link(answer: usize, caller: usize, dir: c_int, path: usize) {
    // SAFETY: this thread's errno.
    let no_link = negative(answer) && unsafe { *__errno_location() } == EINVAL;
    match (negative(answer), no_link) {
        // Something is there, and is no link.
        (true, true) => note_path(Kind::Look, false, caller, dir, path),
        (true, false) => note_path(Kind::Look, true, caller, dir, path),
        (false, _) => note_path(Kind::Link, false, caller, dir, path),
    }
}

fn on_realpath(a: [usize; 5], answer: usize, caller: usize) {
    if a[0] == 0 {
        return;
    }
    // SAFETY: a string that the real function has just read.
    let asked = unsafe { CStr::from_ptr(a[0] as *const c_char) }.to_bytes();
    if asked.first() != Some(&b'/') {
        note(Kind::Directory, Outcome::Done, caller, b"realpath");
    }
    note_path(Kind::Resolve, answer == 0, caller, AT_FDCWD, a[0]);
}

fn on_getcwd(_: [usize; 5], _: usize, caller: usize) {
    note(Kind::Directory, Outcome::Done, caller, b"getcwd");
}

fn on_getenv(a: [usize; 5], _: usize, caller: usize) {
    if a[0] != 0 {
        // SAFETY: a name that the real function has read.
        let name = unsafe { CStr::from_ptr(a[0] as *const c_char) }.to_bytes();
        note(Kind::Variable, Outcome::Done, caller, name);
    }
}

fn on_write(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Write, negative(answer), caller, AT_FDCWD, a[0]);
}

fn on_write_at(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Write, negative(answer), caller, fd(a[0]), a[1]);
}

fn on_mkdir(a: [usize; 5], answer: usize, caller: usize) {
    made(answer, caller, AT_FDCWD, a[0]);
}

fn on_mkdirat(a: [usize; 5], answer: usize, caller: usize) {
    made(answer, caller, fd(a[0]), a[1]);
}

/// Where something is already, nothing is made: one learns that it is there, as if one had looked.
fn made(answer: usize, caller: usize, dir: c_int, path: usize) {
    // SAFETY: this thread's errno.
    let is_there = negative(answer) && unsafe { *__errno_location() } == EEXIST;
    match is_there {
        true => note_path(Kind::Look, false, caller, dir, path),
        false => note_path(Kind::Write, negative(answer), caller, dir, path),
    }
}

/// Both names change.
fn on_rename(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Write, negative(answer), caller, AT_FDCWD, a[0]);
    note_path(Kind::Write, negative(answer), caller, AT_FDCWD, a[1]);
}

fn on_rename_at(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Write, negative(answer), caller, fd(a[0]), a[1]);
    note_path(Kind::Write, negative(answer), caller, fd(a[2]), a[3]);
}

/// A link has what is behind the first name.
fn on_link(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Read, negative(answer), caller, AT_FDCWD, a[0]);
    note_path(Kind::Write, negative(answer), caller, AT_FDCWD, a[1]);
}

fn on_link_at(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Read, negative(answer), caller, fd(a[0]), a[1]);
    note_path(Kind::Write, negative(answer), caller, fd(a[2]), a[3]);
}

fn on_symlink(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Write, negative(answer), caller, AT_FDCWD, a[1]);
    leads_away(a[0], answer, caller);
}

fn on_symlink_at(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::Write, negative(answer), caller, fd(a[1]), a[2]);
    leads_away(a[0], answer, caller);
}

/// What is read behind a link is noted by the link's name, and OUT_DIR's own files are no inputs.
fn leads_away(target: usize, answer: usize, caller: usize) {
    if negative(answer) || target == 0 {
        return;
    }
    // SAFETY: a text that the real function has read.
    let target = unsafe { CStr::from_ptr(target as *const c_char) }.to_bytes();
    // A link to its own place leads out as soon as somebody steps back from it.
    let to_itself = target.iter().all(|b| b"./".contains(b));
    if to_itself || target.first() == Some(&b'/') || target.windows(2).any(|w| w == b"..") {
        note(Kind::Raw, Outcome::Done, caller, b"symlink");
    }
}

/// Lists directories on its own.
fn on_walk(_: [usize; 5], _: usize, caller: usize) {
    note(Kind::Raw, Outcome::Done, caller, b"walk");
}

/// Asks what is there, as whoever called us is about to. Must be asked before: a name may mean
/// something else afterwards.
pub(super) fn look_now(kind: Kind, path: usize, mode: usize, caller: usize) -> bool {
    if path == 0 {
        return false;
    }
    // SAFETY: this thread's errno; the C library's function, called with a string.
    unsafe {
        let errno = *__errno_location();
        let access: Five = core::mem::transmute(access_real());
        let failed = negative(access(path, mode, 0, 0, 0));
        note_path(kind, failed, caller, AT_FDCWD, path);
        *__errno_location() = errno;
        !failed
    }
}

/// Whether something is at a path; nobody else asked.
pub(super) fn is_there(path: usize) -> bool {
    // SAFETY: the C library's function, called with a string.
    let access: Five = unsafe { core::mem::transmute(access_real()) };
    !negative(access(path, 0, 0, 0, 0))
}

/// Whether the file at a path may be run, and is no directory; nobody else asked.
pub(super) fn may_be_run(path: usize) -> bool {
    // SAFETY: the C library's function, called with a string; this thread's errno.
    unsafe {
        let errno = *__errno_location();
        let access: Five = core::mem::transmute(access_real());
        let runs = !negative(access(path, 1, 0, 0, 0));
        let mut below = [0; TEXT_MAX];
        let name = CStr::from_ptr(path as *const c_char).to_bytes();
        let parts = name.iter().chain(b"/.");
        let mut length = 0;
        for (place, byte) in below.iter_mut().zip(parts) {
            *place = *byte;
            length += 1;
        }
        let fits = length == name.len() + 2 && length < TEXT_MAX;
        let plain = fits && !is_there(below.as_ptr() as usize);
        *__errno_location() = errno;
        runs && plain
    }
}

/// By a link one comes to where that leads, and is told so.
fn before_chdir(path: usize, caller: usize) {
    if RUN.load(Ordering::Acquire) {
        look_now(Kind::Look, path, 0, caller);
    } else if foreign(caller) {
        note_path(Kind::Write, false, caller, AT_FDCWD, path);
    }
}

/// That there is no limit looks like a failure.
fn on_limits(a: [usize; 5], _: usize, caller: usize) {
    look_now(Kind::Look, a[0], 0, caller);
}

fn on_chdir_of_another(a: [usize; 5], _: usize, caller: usize) {
    look_now(Kind::Look, a[1], 0, caller);
}

fn on_scandirat(a: [usize; 5], answer: usize, caller: usize) {
    note_path(Kind::List, negative(answer), caller, fd(a[0]), a[1]);
}

/// What a program that is started later will have open. Where that is looked for from is not known
/// yet, so a name that does not say it is as good as unseen.
fn on_open_of_another(a: [usize; 5], _: usize, caller: usize) {
    if a[2] == 0 {
        return;
    }
    // SAFETY: a string that the real function has copied.
    let name = unsafe { CStr::from_ptr(a[2] as *const c_char) }.to_bytes();
    match (name.first() == Some(&b'/'), opened(a[3])) {
        (true, Kind::Write) => note_path(Kind::Write, false, caller, AT_FDCWD, a[2]),
        (true, kind) => drop(look_now(kind, a[2], 0, caller)),
        (false, _) => note(Kind::Raw, Outcome::Done, caller, b"addopen"),
    }
}

/// By a number that stands for a file: its name is not known.
fn on_handle(_: [usize; 5], _: usize, caller: usize) {
    note(Kind::Raw, Outcome::Done, caller, b"handle");
}

/// A build script may change its own environment; what it then starts is seen to begin.
fn on_setting(_: [usize; 5], _: usize, caller: usize) {
    if !RUN.load(Ordering::Acquire) {
        note(Kind::Write, Outcome::Done, caller, b"environment");
    }
}

/// What a fork is for is seen when it starts a program.
fn on_fork(_: [usize; 5], _: usize, caller: usize) {
    if !RUN.load(Ordering::Acquire) {
        note(Kind::Spawn, Outcome::Done, caller, b"");
    }
}

/// The C library starts it by this name.
fn shell(caller: usize) {
    say(Kind::Spawn, b"sh");
    look_now(Kind::Tried, c"/bin/sh".as_ptr() as usize, 1, caller);
}

fn on_system(a: [usize; 5], _: usize, caller: usize) {
    match RUN.load(Ordering::Acquire) {
        true if a[0] != 0 => shell(caller),
        true => {}
        false => note(Kind::Spawn, Outcome::Done, caller, b""),
    }
}

fn on_popen(_: [usize; 5], answer: usize, caller: usize) {
    match RUN.load(Ordering::Acquire) {
        true if answer != 0 => shell(caller),
        true => {}
        false => note(Kind::Spawn, Outcome::Done, caller, b""),
    }
}

fn on_socket(_: [usize; 5], _: usize, caller: usize) {
    note(Kind::Socket, Outcome::Done, caller, b"");
}

fn on_machine(_: [usize; 5], _: usize, caller: usize) {
    note(Kind::Machine, Outcome::Done, caller, b"");
}

watched! {
    open, open_real, open_entry => on_open;
    open64, open64_real, open64_entry => on_open;
    openat, openat_real, openat_entry => on_openat;
    openat64, openat64_real, openat64_entry => on_openat;
    fopen, fopen_real, fopen_entry => on_fopen;
    fopen64, fopen64_real, fopen64_entry => on_fopen;
    opendir, opendir_real, opendir_entry => on_opendir;
    fdopendir, fdopendir_real, fdopendir_entry => on_fdopendir;
    stat, stat_real, stat_entry => on_look;
    stat64, stat64_real, stat64_entry => on_look;
    lstat, lstat_real, lstat_entry => on_look;
    lstat64, lstat64_real, lstat64_entry => on_look;
    fstatat, fstatat_real, fstatat_entry => on_look_at;
    fstatat64, fstatat64_real, fstatat64_entry => on_look_at;
    statx, statx_real, statx_entry => on_statx;
    __xstat, xstat_real, xstat_entry => on_look_versioned;
    __xstat64, xstat64_real, xstat64_entry => on_look_versioned;
    __lxstat, lxstat_real, lxstat_entry => on_look_versioned;
    __lxstat64, lxstat64_real, lxstat64_entry => on_look_versioned;
    __fxstatat, fxstatat_real, fxstatat_entry => on_look_at_versioned;
    __fxstatat64, fxstatat64_real, fxstatat64_entry => on_look_at_versioned;
    access, access_real, access_entry => on_look;
    eaccess, eaccess_real, eaccess_entry => on_look;
    euidaccess, euidaccess_real, euidaccess_entry => on_look;
    faccessat, faccessat_real, faccessat_entry => on_look_at;
    statfs, statfs_real, statfs_entry => on_look;
    statfs64, statfs64_real, statfs64_entry => on_look;
    statvfs, statvfs_real, statvfs_entry => on_look;
    statvfs64, statvfs64_real, statvfs64_entry => on_look;
    pathconf, pathconf_real, pathconf_entry => on_limits;
    readlink, readlink_real, readlink_entry => on_readlink;
    readlinkat, readlinkat_real, readlinkat_entry => on_readlinkat;
    realpath, realpath_real, realpath_entry => on_realpath;
    canonicalize_file_name, canonicalize_real, canonicalize_entry => on_realpath;
    getcwd, getcwd_real, getcwd_entry => on_getcwd;
    get_current_dir_name, cwd_name_real, cwd_name_entry => on_getcwd;
    getenv, getenv_real, getenv_entry => on_getenv;
    secure_getenv, secure_getenv_real, secure_getenv_entry => on_getenv;
    creat, creat_real, creat_entry => on_write;
    creat64, creat64_real, creat64_entry => on_write;
    mkdir, mkdir_real, mkdir_entry => on_mkdir;
    rmdir, rmdir_real, rmdir_entry => on_write;
    unlink, unlink_real, unlink_entry => on_write;
    remove, remove_real, remove_entry => on_write;
    rename, rename_real, rename_entry => on_rename;
    link, link_real, link_entry => on_link;
    symlink, symlink_real, symlink_entry => on_symlink;
    symlinkat, symlinkat_real, symlinkat_entry => on_symlink_at;
    chmod, chmod_real, chmod_entry => on_write;
    fchmodat, fchmodat_real, fchmodat_entry => on_write_at;
    chown, chown_real, chown_entry => on_write;
    lchown, lchown_real, lchown_entry => on_write;
    fchownat, fchownat_real, fchownat_entry => on_write_at;
    utimensat, utimensat_real, utimensat_entry => on_write_at;
    mkfifo, mkfifo_real, mkfifo_entry => on_write;
    mkfifoat, mkfifoat_real, mkfifoat_entry => on_write_at;
    mknod, mknod_real, mknod_entry => on_write;
    mknodat, mknodat_real, mknodat_entry => on_write_at;
    mkstemp, mkstemp_real, mkstemp_entry => on_write;
    mkstemp64, mkstemp64_real, mkstemp64_entry => on_write;
    mkostemp, mkostemp_real, mkostemp_entry => on_write;
    mkostemp64, mkostemp64_real, mkostemp64_entry => on_write;
    mkstemps, mkstemps_real, mkstemps_entry => on_write;
    mkstemps64, mkstemps64_real, mkstemps64_entry => on_write;
    mkostemps, mkostemps_real, mkostemps_entry => on_write;
    mkostemps64, mkostemps64_real, mkostemps64_entry => on_write;
    mkdtemp, mkdtemp_real, mkdtemp_entry => on_write;
    freopen, freopen_real, freopen_entry => on_fopen;
    freopen64, freopen64_real, freopen64_entry => on_fopen;
    __open_2, open_2_real, open_2_entry => on_open;
    __open64_2, open64_2_real, open64_2_entry => on_open;
    __openat_2, openat_2_real, openat_2_entry => on_openat;
    __openat64_2, openat64_2_real, openat64_2_entry => on_openat;
    __readlink_chk, readlink_chk_real, readlink_chk_entry => on_readlink;
    __readlinkat_chk, readlinkat_chk_real, readlinkat_chk_entry => on_readlinkat;
    __realpath_chk, realpath_chk_real, realpath_chk_entry => on_realpath;
    scandir, scandir_real, scandir_entry => on_opendir_answered;
    scandir64, scandir64_real, scandir64_entry => on_opendir_answered;
    scandirat, scandirat_real, scandirat_entry => on_scandirat;
    scandirat64, scandirat64_real, scandirat64_entry => on_scandirat;
    posix_spawn_file_actions_addchdir_np, addchdir_np_real, addchdir_np_entry => on_chdir_of_another;
    posix_spawn_file_actions_addchdir, addchdir_real, addchdir_entry => on_chdir_of_another;
    posix_spawn_file_actions_addopen, addopen_real, addopen_entry => on_open_of_another;
    setmntent, setmntent_real, setmntent_entry => on_fopen;
    open_by_handle_at, open_handle_real, open_handle_entry => on_handle;
    glob, glob_real, glob_entry => on_walk;
    glob64, glob64_real, glob64_entry => on_walk;
    wordexp, wordexp_real, wordexp_entry => on_walk;
    ftw, ftw_real, ftw_entry => on_walk;
    ftw64, ftw64_real, ftw64_entry => on_walk;
    nftw, nftw_real, nftw_entry => on_walk;
    nftw64, nftw64_real, nftw64_entry => on_walk;
    fts_open, fts_open_real, fts_open_entry => on_walk;
    fts64_open, fts64_open_real, fts64_open_entry => on_walk;
    truncate, truncate_real, truncate_entry => on_write;
    truncate64, truncate64_real, truncate64_entry => on_write;
    utimes, utimes_real, utimes_entry => on_write;
    lutimes, lutimes_real, lutimes_entry => on_write;
    futimesat, futimesat_real, futimesat_entry => on_write_at;
    setxattr, setxattr_real, setxattr_entry => on_write;
    lsetxattr, lsetxattr_real, lsetxattr_entry => on_write;
    removexattr, removexattr_real, removexattr_entry => on_write;
    lremovexattr, lremovexattr_real, lremovexattr_entry => on_write;
    mkdirat, mkdirat_real, mkdirat_entry => on_mkdirat;
    unlinkat, unlinkat_real, unlinkat_entry => on_write_at;
    renameat, renameat_real, renameat_entry => on_rename_at;
    renameat2, renameat2_real, renameat2_entry => on_rename_at;
    linkat, linkat_real, linkat_entry => on_link_at;
    setenv, setenv_real, setenv_entry => on_setting;
    unsetenv, unsetenv_real, unsetenv_entry => on_setting;
    putenv, putenv_real, putenv_entry => on_setting;
    fork, fork_real, fork_entry => on_fork;
    system, system_real, system_entry => on_system;
    popen, popen_real, popen_entry => on_popen;
    socket, socket_real, socket_entry => on_socket;
    connect, connect_real, connect_entry => on_socket;
    getaddrinfo, getaddrinfo_real, getaddrinfo_entry => on_socket;
    gethostname, gethostname_real, gethostname_entry => on_machine;
    uname, uname_real, uname_entry => on_machine;
    getpwuid_r, getpwuid_r_real, getpwuid_r_entry => on_machine;
    getpwnam_r, getpwnam_r_real, getpwnam_r_entry => on_machine;
    getpwuid, getpwuid_real, getpwuid_entry => on_machine;
    getpwnam, getpwnam_real, getpwnam_entry => on_machine;
}

fn before_fork(_: usize, caller: usize) {
    if !RUN.load(Ordering::Acquire) && foreign(caller) {
        note(Kind::Spawn, Outcome::Done, caller, b"");
    }
}

/// With arguments one by one: it cannot be told whether it comes back, so a failed one shows as a
/// program that nobody saw begin.
fn before_listed(program: usize, caller: usize) {
    if RUN.load(Ordering::Acquire) {
        say(Kind::Spawn, b"");
        run::sought(program);
    } else if foreign(caller) {
        note(Kind::Spawn, Outcome::Done, caller, b"");
    }
}

/// What a process does to itself alone: locks, its own number, randomness, fences, yielding,
/// signals to its own threads, the clock; and a descriptor by which it waits for a process, as
/// crates do that start compilers side by side.
#[cfg(target_arch = "x86_64")]
const OWN_CALLS: &[usize] = &[24, 39, 186, 202, 228, 230, 234, 318, 324, 334, 434, 449];
#[cfg(target_arch = "aarch64")]
const OWN_CALLS: &[usize] = &[98, 113, 115, 124, 131, 172, 178, 278, 283, 293, 434, 449];

fn before_syscall(number: usize, caller: usize) {
    if !OWN_CALLS.contains(&number) && foreign(caller) {
        note(Kind::Raw, Outcome::Done, caller, b"");
    }
}

/// A library that is loaded, by whomever: which macros a compile runs is seen here.
fn before_dlopen(path: usize, caller: usize) {
    if path == 0 {
        return;
    }
    // SAFETY: the caller's string.
    let name = unsafe { CStr::from_ptr(path as *const c_char) }.to_bytes();
    if foreign(caller) {
        // What such a library can do has not been looked into.
        note(Kind::Raw, Outcome::Done, caller, b"dlopen");
        return;
    }
    let mut text = [0; TEXT_MAX];
    match absolute(&mut text, AT_FDCWD, name) {
        Some(text) if name.contains(&b'/') => note(Kind::Loaded, Outcome::Done, caller, text),
        _ => note(Kind::Loaded, Outcome::Done, caller, name),
    }
}

passed! {
    chdir, chdir_real, chdir_entry => before_chdir;
    vfork, vfork_real, vfork_entry => before_fork;
    clone, clone_real, clone_entry => before_fork;
    execl, execl_real, execl_entry => before_listed;
    execle, execle_real, execle_entry => before_listed;
    execlp, execlp_real, execlp_entry => before_listed;
    syscall, syscall_real, syscall_entry => before_syscall;
    dlopen, dlopen_real, dlopen_entry => before_dlopen;
}
