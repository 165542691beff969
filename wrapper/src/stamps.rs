//! Times of modification that tell one state of a file from every later one.
//!
//! The kernel stamps what is written with the beginning of a tick of its clock (1 to 10 ms), or
//! with a later time, so that two writes in one tick may look alike. A time that it gives to no
//! write is set instead, to what a restore has just written. Enters: an open file. Leaves: the
//! same with such a time. Must never happen here: a file called stamped whose filesystem kept
//! another time than it was given.

use crate::digests::{local_clock, nanos, now_nanos};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// Several ticks of the kernel's coarse clock.
const TICKS: Duration = Duration::from_millis(25);
const POLL: Duration = Duration::from_micros(250);

/// Waits until something is so that the kernel's next tick may bring, and no longer than a few
/// ticks: a clock that went back, and what lies in the future, stays there. Whether it is so.
///
/// # Errors
/// Those of `is`.
pub(crate) fn within_ticks(mut is: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    let until = Instant::now() + TICKS;
    while !is()? {
        if Instant::now() >= until {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
    Ok(true)
}

/// Gives a file a time of modification by which every later change of it shows, however soon it
/// comes: now, to the nanosecond, where the kernel stamps what is written with the beginning of a
/// tick, or with a later time. `false` where that is not so.
#[must_use]
pub fn stamp(file: &File) -> bool {
    let Some(tick) = tick_of(file) else {
        return false;
    };
    let now = now_nanos();
    set_modified(file, if now == tick { now + 1 } else { now })
}

/// The same for what cargo compares with the times that it gives its own files, which are the
/// beginnings of ticks: the last nanoseconds before the tick that is now. Waits for one after
/// `newest` (nanoseconds since 1970), where that is a few ticks at the most.
#[must_use]
pub fn stamp_before_tick(file: &File, newest: i128) -> bool {
    let mut before = 0;
    let found = within_ticks(|| {
        let tick = tick_of(file).ok_or(io::ErrorKind::Unsupported)?;
        if newest - tick > TICKS.as_nanos().cast_signed() {
            return Ok(true);
        }
        // What keeps tens of nanoseconds only would keep this time, and round the next write to it.
        before = tick - if (tick - 1) % 10 == 0 { 2 } else { 1 };
        Ok(before >= newest)
    });
    found.is_ok() && before >= newest && set_modified(file, before)
}

/// The tick with which the kernel stamps what is written into a file now, nanoseconds since 1970;
/// `None` where its filesystem keeps time of its own.
#[cfg(target_os = "linux")]
fn tick_of(file: &File) -> Option<i128> {
    use rustix::time::{ClockId, clock_gettime};
    let tick = clock_gettime(ClockId::RealtimeCoarse);
    local_clock(file).then(|| nanos(tick.tv_sec, tick.tv_nsec))
}

/// Elsewhere nothing is known of how times are stamped.
#[cfg(not(target_os = "linux"))]
fn tick_of(_file: &File) -> Option<i128> {
    None
}

/// Sets a time of modification that no other state of the file has. `false` where the filesystem
/// keeps less of it than nanoseconds; then the file's time is now.
fn set_modified(file: &File, time: i128) -> bool {
    let (Ok(tv_sec), Ok(tv_nsec)) = (
        (time.div_euclid(1_000_000_000)).try_into(),
        time.rem_euclid(1_000_000_000).try_into(),
    ) else {
        return false;
    };
    let wanted = Timespec { tv_sec, tv_nsec };
    if set_times(file, wanted).is_ok() && modified(file).is_ok_and(|is| is == time) {
        return true;
    }
    let _ = touch(file);
    false
}

/// Gives a file the time of now, as the kernel would.
///
/// # Errors
/// What the system said.
pub fn touch(file: &File) -> io::Result<()> {
    let (tv_sec, tv_nsec) = (0, UTIME_NOW);
    set_times(file, Timespec { tv_sec, tv_nsec })
}

fn set_times(file: &File, last_modification: Timespec) -> io::Result<()> {
    let last_access = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    let times = Timestamps {
        last_access,
        last_modification,
    };
    Ok(futimens(file, &times)?)
}

fn modified(file: &File) -> io::Result<i128> {
    let m = file.metadata()?;
    Ok(nanos(m.mtime(), m.mtime_nsec()))
}

/// Gives a file that was just written, and is older than `newest` (nanoseconds since 1970), the
/// time of the clock's next tick. Waits for that, as far as ticks go.
///
/// # Errors
/// What the system said.
pub fn not_before(file: &File, newest: i128) -> io::Result<()> {
    if modified(file)? < newest {
        within_ticks(|| {
            touch(file)?;
            Ok(modified(file)? >= newest)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digests::{FileDigests, Identity, MemoDigests};
    use quarry_trust::Digest;
    use std::fs;
    use std::os::unix::fs::FileExt;

    #[test]
    fn whoever_writes_to_a_stamped_file_shows_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let digests = MemoDigests::new(None);
        let stamps: [fn(&File) -> bool; 2] = [stamp, |file| stamp_before_tick(file, 0)];
        for round in 0..200 {
            let path = dir.path().join(round.to_string());
            fs::write(&path, "one").unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            assert!(stamps[round % 2](&file));
            let state = Identity::of(&file.metadata().unwrap());
            digests.keep_stamped(state, Digest::of(b"one"));
            assert_eq!(digests.digest(&path).unwrap(), Digest::of(b"one"));
            file.write_at(b"two", 0).unwrap();
            assert_eq!(digests.digest(&path).unwrap(), Digest::of(b"two"));
        }
    }

    #[test]
    fn a_program_is_older_than_this_tick_and_newer_than_what_it_was_made_of() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(dir.path().join(name)).unwrap();
        let (library, program) = (file("library"), file("program"));
        assert!(stamp(&library));
        let made_of = modified(&library).unwrap();
        assert!(stamp_before_tick(&program, made_of));
        let made = modified(&program).unwrap();
        let later = modified(&file("later")).unwrap();
        assert!(made_of <= made && made < later, "{made_of} {made} {later}");
        // A clock that went back is not waited for.
        assert!(!stamp_before_tick(&program, later + 3_600_000_000_000));
    }

    #[test]
    fn what_gets_another_name_is_known_and_what_is_written_to_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "one").unwrap();
        assert!(stamp(&File::options().write(true).open(&path).unwrap()));
        let state = || Identity::of(&fs::metadata(&path).unwrap());
        let (digests, digest) = (MemoDigests::new(None), Digest::of(b"one"));
        let before = state();
        digests.keep_stamped(before, digest);
        fs::hard_link(&path, dir.path().join("b")).unwrap();
        digests.renamed(&before, state());
        assert!(digests.is_known(&state(), &digest));
        fs::write(&path, "two").unwrap();
        digests.renamed(&before, state());
        assert!(!digests.is_known(&state(), &digest));
    }

    #[test]
    fn a_file_waits_for_the_tick_in_which_it_is_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(dir.path().join(name)).unwrap();
        let time = |file: &File| modified(file).unwrap();
        let (first, second) = (file("first"), file("second"));
        assert!(stamp(&first));
        let ahead = time(&first) + 3_000_000;
        not_before(&second, ahead).unwrap();
        assert!(time(&second) >= ahead);
        let as_it_is = time(&second);
        not_before(&second, ahead).unwrap();
        assert_eq!(time(&second), as_it_is);
        // A clock that went back is not waited for.
        not_before(&second, ahead + 3_600_000_000_000).unwrap();
    }
}
