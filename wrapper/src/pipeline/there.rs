//! Outputs that are in their place already: an earlier restore put them there, and nobody has
//! touched them since.
//!
//! That is so where cargo asks again for what it has: a file was saved without a change, a branch
//! changed and changed back. Enters: an output and its place. Leaves: the file, which needs a new
//! time and nothing else. Must never happen here: a file kept whose bytes are not known, that has
//! another mode or owner than a compile would have given it, or a name elsewhere.

use super::Object;
use super::bytes::{is_library, may_be_lent};
use super::find::Trip;
use super::restore::mode;
use crate::digests::Identity;
use crate::stamps::{stamp, touch};
use quarry_trust::{ObjectRef, Output};
use rustix::fs::{Mode, OFlags, open};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The file, and the state in which it is known, where it is the output, or the text that it is
/// here, and can stay.
pub(super) fn is_there(
    trip: &Trip<'_>,
    (output, text): (&Output, Option<&[u8]>),
    place: &Path,
    umask: u32,
) -> Option<(File, Identity)> {
    if text.is_none() && !is_library(output) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(place, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    let ours = rustix::process::geteuid().as_raw() == metadata.uid();
    let fits = metadata.mode() & 0o7777 == mode(output, umask).as_raw_mode();
    let state = Identity::of(&metadata);
    let known = metadata.is_file()
        && match text {
            Some(text) => says(&file, text),
            None => {
                let ObjectRef { digest, size } = output.object;
                state.size == size && trip.pipeline.digests.is_known(&state, &digest)
            }
        };
    (known && ours && fits && is_its_own(trip, output, &metadata)).then_some((file, state))
}

fn says(file: &File, text: &[u8]) -> bool {
    let mut said = Vec::with_capacity(text.len() + 1);
    let read = file.take(text.len() as u64 + 1).read_to_end(&mut said);
    read.is_ok() && said == text
}

/// Whether a file has no other name, or, where it was lent, the object's alone.
fn is_its_own(trip: &Trip<'_>, output: &Output, metadata: &Metadata) -> bool {
    match metadata.nlink() {
        1 => true,
        2 if may_be_lent(trip, output) => match trip.cache.open_object(&output.object) {
            Some(Object::File(object)) => object.metadata().is_ok_and(|object| {
                (object.dev(), object.ino()) == (metadata.dev(), metadata.ino())
            }),
            _ => false,
        },
        _ => false,
    }
}

/// Gives a file the time of a compile that ends now, and says what it is then. `None` where it has
/// changed since it was looked at, or where it is to be known by a time that its filesystem does not
/// keep.
pub(super) fn renew(file: &File, before: Identity, known: bool) -> Option<Identity> {
    let now = Identity::of(&file.metadata().ok()?);
    (now == before).then_some(())?;
    if !stamp(file) {
        (!known && touch(file).is_ok()).then_some(())?;
    }
    Some(Identity::of(&file.metadata().ok()?))
}
