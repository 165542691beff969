//! Restore: everything is here and checked before the first file of the target directory is
//! touched; files appear by rename.

use super::find::Trip;
use super::{Cache, Caller, Candidate, Hit, Object, bytes, editing, there};
use crate::busy;
use crate::compiler::depinfo::DepInfo;
use crate::compiler::rustc::args::Unit;
use crate::digests::{Identity, MemoDigests, nanos};
use crate::ipc::protocol::Replay;
use crate::stamps::{not_before, stamp, stamp_before_tick};
use quarry_trust::{Digest, ObjectRef, Output, OutputKind};
use rustix::fs::Mode;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// stdout and stderr of one compile, at most; what was captured is smaller.
pub(super) const MESSAGES_MAX: u64 = 64 << 20;
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A name in `dir` that nobody else uses, for what is renamed or removed soon.
pub(crate) fn temporary(dir: &Path, purpose: &str) -> PathBuf {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    dir.join(format!(".quarry-{purpose}-{}-{serial}", std::process::id()))
}

/// A file that is checked, and written where it was not there yet.
struct Ready {
    place: PathBuf,
    how: How,
    /// What is in it, where every later change of it will show.
    digest: Option<Digest>,
}

enum How {
    /// To be renamed to its place.
    Written(PathBuf),
    /// In its place since an earlier restore, and in this state.
    There(File, Identity),
}

impl Ready {
    /// Puts it in its place, with the time of now. `None` where the disk refuses, or somebody else
    /// is at it.
    fn put(&self, digests: &MemoDigests) -> Option<()> {
        let ours = match &self.how {
            How::Written(temporary) => {
                let ours = Identity::of(&temporary.metadata().ok()?);
                // In place of another file ext4 would write the new one to the disk first.
                let _ = fs::remove_file(&self.place);
                fs::rename(temporary, &self.place).ok()?;
                ours
            }
            How::There(file, before) => there::renew(file, *before, self.digest.is_some())?,
        };
        // Another compiler, whose cargo is gone, may put its own file there just now.
        let now = Identity::of(&self.place.symlink_metadata().ok()?);
        if !now.is_as_written(&ours) {
            return None;
        }
        if let Some(digest) = self.digest {
            digests.keep_stamped(now, digest);
        }
        Some(())
    }
}

/// Files that are not yet in place; dropped, they are gone.
struct Prepared(Vec<Ready>);

impl Drop for Prepared {
    fn drop(&mut self) {
        for ready in &self.0 {
            if let How::Written(temporary) = &ready.how {
                let _ = fs::remove_file(temporary);
            }
        }
    }
}

/// Restores one entry whose objects are here. `None` where one of them is missing or damaged, the
/// disk refuses, its builder was revoked meanwhile, or nobody waits for it any more; then no file
/// of the target directory was touched, or the compile that follows overwrites it.
pub(super) fn restore(trip: &Trip<'_>, candidate: &Candidate, caller: &Caller<'_>) -> Option<Hit> {
    let entry = &candidate.entry;
    let stdout = message(trip, &entry.stdout)?;
    let stderr = message(trip, &entry.stderr)?;
    let dir = trip.inv.cwd.join(&trip.unit.out_dir);
    let mut prepared = Prepared(Vec::with_capacity(entry.outputs.len()));
    let mut outputs: Vec<&Output> = entry.outputs.iter().collect();
    // In the order in which rustc writes them.
    outputs.sort_by_key(|o| match o.kind {
        OutputKind::DepInfo => 0,
        OutputKind::Metadata => 1,
        OutputKind::Plain => 2,
    });
    for output in outputs {
        let place = dir.join(output.name.as_str());
        // A `.d` file is this checkout's own text.
        let text = match output.kind {
            OutputKind::DepInfo => Some(dep_info(trip, output).ok()?),
            _ => None,
        };
        let there = there::is_there(trip, (output, text.as_deref()), &place, caller.umask);
        if let Some((file, state)) = there {
            prepared.0.push(Ready {
                place,
                how: How::There(file, state),
                digest: text.is_none().then_some(output.object.digest),
            });
            continue;
        }
        let at = temporary(&dir, "restore");
        prepared.0.push(Ready {
            place,
            how: How::Written(at.clone()),
            digest: None,
        });
        let digest = write_output(trip, (output, text.as_deref()), &at, caller.umask).ok()?;
        prepared.0.last_mut()?.digest = digest;
    }
    if !trip.cache.stands(entry) {
        return None;
    }
    for ready in &prepared.0 {
        if !(caller.waits)() {
            return None;
        }
        ready.put(&trip.pipeline.digests)?;
    }
    let runs = |output: &&Output| output.executable;
    for output in entry.outputs.iter().filter(runs) {
        busy::wait(&dir.join(output.name.as_str()));
    }
    let places: Vec<PathBuf> = prepared.0.drain(..).map(|ready| ready.place).collect();
    let behind = trip.base.behind_outputs(trip.unit);
    trip.pipeline.places.note(&places, &behind);
    editing::shared(trip.pipeline, trip.inv, trip.unit, trip.roots);
    Some(Hit {
        replay: Replay { stdout, stderr },
        entry: entry.clone(),
        kind: Some(trip.unit.kind),
        from: candidate.from,
        prediction: candidate.prediction.clone(),
    })
}

/// An entry may only write the files that this very command would have written.
pub(super) fn names_match(unit: &Unit, outputs: &[Output]) -> bool {
    let expected = unit.outputs();
    outputs.iter().all(|o| {
        expected
            .iter()
            .any(|e| e.name == o.name.as_str() && e.kind == o.kind)
    }) && expected
        .iter()
        .filter(|e| e.required)
        .all(|e| outputs.iter().any(|o| o.name.as_str() == e.name))
}

fn message(trip: &Trip<'_>, object: &ObjectRef) -> Option<Vec<u8>> {
    if object.size == 0 {
        return Some(Vec::new());
    }
    let bytes = read_checked(trip.cache, object, MESSAGES_MAX).ok()?;
    Some(trip.roots.localise(&bytes))
}

fn open(cache: &dyn Cache, object: &ObjectRef) -> io::Result<Object> {
    cache
        .open_object(object)
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

pub(super) fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "an object is not what its digest says",
    )
}

/// The list of inputs as it reads in this checkout.
fn dep_info(trip: &Trip<'_>, output: &Output) -> io::Result<Vec<u8>> {
    let bytes = read_checked(trip.cache, &output.object, MESSAGES_MAX)?;
    let var = |name: &str| trip.inv.var(name).map(ToOwned::to_owned);
    DepInfo::restore(&bytes, trip.roots, &var).map_err(io::Error::other)
}

/// Writes one output, or the text that it is here, to a temporary file, checked. What is there
/// then has the digest that is said, if one is.
fn write_output(
    trip: &Trip<'_>,
    (output, text): (&Output, Option<&[u8]>),
    at: &Path,
    umask: u32,
) -> io::Result<Option<Digest>> {
    let mode = mode(output, umask);
    if let Some(text) = text {
        rustix::fs::fchmod(&bytes::write(text, at)?, mode)?;
        return Ok(None);
    }
    let file = file_of(trip, output, at)?;
    rustix::fs::fchmod(&file, mode)?;
    // Of a macro or a program cargo compares the time with what it stamps itself, by the clock's
    // ticks: a time within one would be later. But none is older than what it was made of.
    let stamped = match bytes::is_library(output) {
        true => stamp(&file),
        false => {
            let newest = newest(trip);
            let stamped = stamp_before_tick(&file, newest);
            if !stamped {
                not_before(&file, newest)?;
            }
            stamped
        }
    };
    Ok(stamped.then_some(output.object.digest))
}

/// An output's bytes, checked, under a new name.
fn file_of(trip: &Trip<'_>, output: &Output, at: &Path) -> io::Result<File> {
    let (pipeline, object) = (trip.pipeline, &output.object);
    let may_be_lent = bytes::may_be_lent(trip, output);
    let placed = |file: File, copied: bool| {
        let device = || file.metadata().map(|m| m.dev());
        let on = copied.then(device).transpose()?;
        pipeline.ahead.placed(trip.inv, object, on);
        Ok(file)
    };
    if !may_be_lent && let Some(spare) = pipeline.spares.take(object, at) {
        return placed(spare, true);
    }
    match open(trip.cache, object)? {
        Object::Bytes(bytes) => bytes::write(&bytes, at),
        Object::Packed(packed) => bytes::unpack(packed, object, at),
        Object::File(from) => {
            match may_be_lent && bytes::lend(&pipeline.digests, &from, object, at)? {
                true => placed(from, false),
                false => placed(
                    bytes::copy(&pipeline.digests, &from, object, at)?,
                    !may_be_lent,
                ),
            }
        }
    }
}

/// What cargo keeps of a build script's run beside OUT_DIR, with the times of its beginning: the
/// unit must not be older.
const OF_THE_RUN: [&str; 2] = ["output", "invoked.timestamp"];

/// When the newest of what a unit is made of came to its place, nanoseconds since 1970: crates, and
/// its build script's run.
fn newest(trip: &Trip<'_>) -> i128 {
    let crates = trip.unit.externs.iter().filter_map(|e| e.path.as_ref());
    let crates = crates.map(|path| trip.inv.cwd.join(path));
    let run = trip
        .inv
        .var("OUT_DIR")
        .and_then(|out| Path::new(out).parent());
    let run = run
        .into_iter()
        .flat_map(|dir| OF_THE_RUN.map(|name| dir.join(name)));
    let times = crates.chain(run).filter_map(|path| {
        let state = fs::metadata(path).ok()?;
        Some(nanos(state.mtime(), state.mtime_nsec()))
    });
    times.max().unwrap_or_default()
}

/// The mode that a compile would have given an output.
pub(super) fn mode(output: &Output, umask: u32) -> Mode {
    Mode::from_raw_mode(if output.executable { 0o777 } else { 0o666 } & !umask)
}

fn whole(from: impl Read, object: &ObjectRef) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(object.size + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A whole object in memory, its digest checked.
pub(super) fn read_checked(cache: &dyn Cache, object: &ObjectRef, max: u64) -> io::Result<Vec<u8>> {
    if object.size > max {
        return Err(damaged());
    }
    let bytes = match open(cache, object)? {
        Object::Bytes(bytes) => bytes,
        Object::File(file) => whole(file, object)?,
        Object::Packed(packed) => whole(packed, object)?,
    };
    if bytes.len() as u64 == object.size && Digest::of(&bytes) == object.digest {
        Ok(bytes)
    } else {
        Err(damaged())
    }
}
