//! Objects: staged, placed, opened.
//!
//! Enters: bytes of compiles and of peers, up to the caller's limit. Leaves: small objects as
//! checked bytes, large ones as open files. Must never happen here: a row without its bytes, a
//! name given to bytes that do not have it.

use super::super::pins::Pin;
use super::super::{INLINE_MAX, Object, Pinned, Stage, StoreError};
use super::files::{Temporary, digest_of, is_inline};
use super::tables::{BODIES, OBJECTS, ObjectRow, Place, Totals, pack, unpack};
use super::{Inner, lock};
use crate::chunks::{self, CHUNK, Unpacked};
use quarry_trust::digest::Hasher;
use quarry_trust::{Digest, ObjectRef};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far longer than the largest object takes to be unpacked.
const UNPACKED_WITHIN: Duration = Duration::from_secs(60);

/// Bytes of an object on their way to their place.
enum Body<'a> {
    /// Small: for the database.
    Bytes(&'a [u8]),
    /// Large: written out already.
    File(Temporary),
}

/// Begins an object.
pub(super) fn stage(inner: &Arc<Inner>, limit: u64) -> Box<dyn Stage> {
    Box::new(RedbStage {
        inner: Arc::clone(inner),
        limit,
        len: 0,
        hasher: Hasher::new(),
        small: Vec::new(),
        large: None,
        failed: false,
    })
}

/// An object being written: in memory while it is small, then under `tmp/`.
struct RedbStage {
    inner: Arc<Inner>,
    limit: u64,
    len: u64,
    hasher: Hasher,
    small: Vec<u8>,
    large: Option<Temporary>,
    /// A write failed: what is here is not what the caller meant.
    failed: bool,
}

impl RedbStage {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let len = self.len.saturating_add(bytes.len() as u64);
        if len > self.limit {
            return Err(StoreError::Oversize { limit: self.limit });
        }
        if is_inline(len) {
            self.small.extend_from_slice(bytes);
        } else {
            if self.large.is_none() {
                let mut file = self.inner.files.temporary()?;
                file.append(&self.small)?;
                self.small = Vec::new();
                self.large = Some(file);
            }
            if let Some(file) = self.large.as_mut() {
                file.append(bytes)?;
            }
        }
        self.hasher.update(bytes);
        self.len = len;
        Ok(())
    }
}

impl Write for RedbStage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.append(bytes) {
            self.failed = true;
            self.large = None;
            return Err(error.into_io());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage for RedbStage {
    fn commit(self: Box<Self>) -> Result<Pinned, StoreError> {
        if self.failed {
            return Err(StoreError::Unfinished);
        }
        let object = ObjectRef {
            digest: self.hasher.finish(),
            size: self.len,
        };
        let body = match self.large {
            Some(file) => Body::File(file),
            None => Body::Bytes(&self.small),
        };
        self.inner.place(object, body)
    }
}

impl Inner {
    pub(super) fn stage_file(&self, file: &File, limit: u64) -> Result<Pinned, StoreError> {
        let path = Path::new("a compile's output");
        let failed = |e| StoreError::io("reading", path, e);
        let len = file.metadata().map_err(failed)?.len();
        if len > limit {
            return Err(StoreError::Oversize { limit });
        }
        if is_inline(len) {
            let mut bytes = Vec::new();
            let cap = limit.min(INLINE_MAX);
            let (digest, size) = digest_of(file, cap, &mut |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })
            .map_err(|e| e.into_error(path, "reading"))?;
            return self.place(ObjectRef { digest, size }, Body::Bytes(&bytes));
        }
        let mut copy = self.files.temporary()?;
        let (digest, size) = if copy.reflink(file) {
            copy.digest(limit)?
        } else {
            digest_of(file, limit, &mut |chunk| copy.append(chunk))
                .map_err(|e| e.into_error(path, "reading"))?
        };
        if is_inline(size) {
            // It was cut while it was read: not what a compile that has ended does.
            let what = io::Error::other("the file was cut while it was read");
            return Err(failed(what));
        }
        self.place(ObjectRef { digest, size }, Body::File(copy))
    }

    /// Gives an object its place and row, unless it has both, and pins it.
    fn place(&self, object: ObjectRef, body: Body<'_>) -> Result<Pinned, StoreError> {
        let ObjectRef { digest, size } = object;
        if size == 0 {
            return Ok(self.pinned(object));
        }
        let packed = match &body {
            Body::Bytes(bytes) => Some(pack(bytes)),
            Body::File(_) => None,
        };
        // From here until the row is there, gc takes nothing.
        let _placing = self.placing();
        let pinned = self.pinned(object);
        if let Some(row) = self.row(&digest)? {
            let whole = match row.place {
                Place::Inline => true,
                Place::File => self.files.open_object(&digest, row.stored)?.is_some(),
                Place::Settled => self.files.open_settled(&digest, row.stored)?.is_some(),
            };
            if whole && row.size == size {
                return Ok(pinned);
            }
        }
        let is_file = packed.is_none();
        if let Body::File(file) = body {
            file.become_object(&self.files, &digest)?;
        }
        let row = ObjectRow {
            place: if is_file { Place::File } else { Place::Inline },
            size,
            stored: packed.as_ref().map_or(size, |packed| packed.len() as u64),
        };
        let indexed = self.index(&digest, row, packed.as_deref());
        if let (Err(_), true) = (&indexed, is_file) {
            // Without a row it is a stray; gc would find it, but the disk may be full now.
            let _ = self.files.remove(&digest);
        }
        indexed.map(|()| Pinned {
            fresh: is_file,
            ..pinned
        })
    }

    fn index(
        &self,
        digest: &Digest,
        row: ObjectRow,
        packed: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        self.engine.write(|txn| {
            let old = {
                let mut objects = txn.open_table(OBJECTS)?;
                let old = objects.insert(digest.as_bytes(), &row.to_row())?;
                old.and_then(|old| ObjectRow::from_row(old.value()))
            };
            if let Some(packed) = packed {
                txn.open_table(BODIES)?.insert(digest.as_bytes(), packed)?;
            }
            Totals::change(txn, |totals| {
                let counts = &mut totals.counts;
                match old {
                    Some(old) => counts.bytes = counts.bytes.saturating_sub(old.stored),
                    None => counts.objects += 1,
                }
                counts.bytes += row.stored;
            })?;
            Ok(())
        })
    }

    fn pinned(&self, object: ObjectRef) -> Pinned {
        let pin: Pin = self.pins.pin(object.digest);
        Pinned {
            object,
            fresh: false,
            _pin: pin,
        }
    }

    pub(super) fn row(&self, digest: &Digest) -> Result<Option<ObjectRow>, StoreError> {
        self.engine.read(|txn| {
            let row = txn.open_table(OBJECTS)?.get(digest.as_bytes())?;
            Ok(row.and_then(|row| ObjectRow::from_row(row.value())))
        })
    }

    pub(super) fn pin(&self, object: &ObjectRef) -> Result<Option<Pinned>, StoreError> {
        let _placing = self.placing();
        let here = is_empty_object(object)
            || self
                .row(&object.digest)?
                .is_some_and(|row| row.size == object.size);
        Ok(here.then(|| self.pinned(*object)))
    }

    pub(super) fn object(&self, object: &ObjectRef) -> Result<Option<Object>, StoreError> {
        if object.size == 0 {
            return Ok(is_empty_object(object).then(|| Object::Bytes(Vec::new())));
        }
        let Some(row) = self.row(&object.digest)? else {
            return Ok(None);
        };
        let opened = self.open(object, row)?;
        if opened.is_some() {
            return Ok(opened);
        }
        // It may have settled, or come back, between the look at its row and the file's opening.
        match self.row(&object.digest)?.filter(|now| *now != row) {
            Some(now) => self.open(object, now),
            None => Ok(None),
        }
    }

    fn open(&self, object: &ObjectRef, row: ObjectRow) -> Result<Option<Object>, StoreError> {
        if row.size != object.size {
            return Ok(None);
        }
        match row.place {
            Place::File => {
                let file = self.files.open_object(&object.digest, row.stored)?;
                Ok(file.map(Object::File))
            }
            Place::Settled => {
                let file = self.files.open_settled(&object.digest, row.stored)?;
                Ok(file.map(Object::Settled))
            }
            Place::Inline => {
                let bytes = self.inline_bytes(&object.digest, row)?;
                if bytes.is_none() {
                    self.recheck(&object.digest)?;
                }
                Ok(bytes.map(Object::Bytes))
            }
        }
    }

    pub(super) fn thaw(&self, object: &ObjectRef) -> Result<Option<(File, bool)>, StoreError> {
        // Who wants what is being unpacked waits for that. Beyond the deadline it is done twice.
        let deadline = Instant::now() + UNPACKED_WITHIN;
        let _turn = self.thawing.take(object.digest, deadline);
        let row = self.row(&object.digest)?;
        let Some(row) = row.filter(|row| row.size == object.size) else {
            return Ok(None);
        };
        let opened = |row: ObjectRow| {
            let file = self.files.open_object(&object.digest, row.stored)?;
            Ok(file.map(|file| (file, false)))
        };
        match row.place {
            Place::Inline => return Ok(None),
            Place::File => return opened(row),
            Place::Settled => {}
        }
        let Some(packed) = self.files.open_settled(&object.digest, row.stored)? else {
            return Ok(None);
        };
        let mut raw = self.files.temporary()?;
        if !unpacked_into(packed, object, &mut raw)? {
            self.recheck(&object.digest)?;
            return Ok(None);
        }
        let _placing = self.placing();
        match self.row(&object.digest)? {
            Some(now) if now == row => {}
            Some(now) if now.place == Place::File => return opened(now),
            _ => return Ok(None),
        }
        // The packed file stays until the new row is durable: [`Inner::sweep_thawed`].
        lock(&self.thawed).insert(object.digest);
        raw.become_object(&self.files, &object.digest)?;
        let now = ObjectRow {
            place: Place::File,
            size: row.size,
            stored: row.size,
        };
        self.index(&object.digest, now, None)?;
        let file = self.files.open_object(&object.digest, now.stored)?;
        Ok(file.map(|file| (file, true)))
    }

    /// The checked bytes of a small object; `None` where they are not here or damaged.
    fn inline_bytes(&self, digest: &Digest, row: ObjectRow) -> Result<Option<Vec<u8>>, StoreError> {
        let max = usize::try_from(row.size.min(INLINE_MAX)).unwrap_or(0);
        let bytes = self.engine.read(|txn| {
            let packed = txn.open_table(BODIES)?.get(digest.as_bytes())?;
            Ok(packed.and_then(|packed| unpack(packed.value(), max)))
        })?;
        Ok(bytes.filter(|bytes| bytes.len() as u64 == row.size && Digest::of(bytes) == *digest))
    }

    /// Whether an object's bytes are what its digest and row say. `None`: they are not here.
    pub(super) fn is_sound(
        &self,
        digest: &Digest,
        row: ObjectRow,
    ) -> Result<Option<bool>, StoreError> {
        match row.place {
            Place::Inline => Ok(Some(self.inline_bytes(digest, row)?.is_some())),
            Place::File | Place::Settled => {
                let settled = row.place == Place::Settled;
                let path = match settled {
                    true => self.files.settled_path(digest),
                    false => self.files.path(digest),
                };
                match File::open(&path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(StoreError::io("opening", &path, e)),
                    Ok(file) if settled => Ok(Some(is_packed(&file, digest, row))),
                    Ok(file) => {
                        // More than the row says is damage; so is what the disk cannot read.
                        let read = digest_of(&file, row.size, &mut |_| Ok(()));
                        Ok(Some(read.is_ok_and(|found| found == (*digest, row.size))))
                    }
                }
            }
        }
    }

    pub(super) fn recheck(&self, digest: &Digest) -> Result<bool, StoreError> {
        let Some(row) = self.row(digest)? else {
            return Ok(false);
        };
        if self.is_sound(digest, row)? == Some(true) {
            return Ok(true);
        }
        let _placing = self.placing();
        // Somebody may have written it anew since: look again before it is taken.
        if let Some(row) = self.row(digest)?
            && self.is_sound(digest, row)? != Some(true)
        {
            tracing::warn!(%digest, "a stored object is damaged and was removed; it will be compiled or fetched again");
            self.unplace(&[*digest])?;
            return Ok(false);
        }
        Ok(self.row(digest)?.is_some())
    }

    /// Takes rows and bytes of objects away, durably before the files go: a crash in between
    /// leaves a stray file, never a row that promises one. The caller holds `placing`. Answers
    /// with the number and stored bytes taken.
    pub(super) fn unplace(&self, digests: &[Digest]) -> Result<(u64, u64), StoreError> {
        if digests.is_empty() {
            return Ok((0, 0));
        }
        let taken = match self.unindex(digests) {
            Err(StoreError::Full(_)) => {
                // Freeing space must not need space that is not there: the files go first. A
                // row without its file is a miss, and is written anew by the next stage.
                for digest in digests {
                    self.files.remove(digest)?;
                }
                self.unindex(digests)?
            }
            other => other?,
        };
        for digest in digests {
            self.files.remove(digest)?;
        }
        Ok(taken)
    }

    fn unindex(&self, digests: &[Digest]) -> Result<(u64, u64), StoreError> {
        self.engine.write_durably(|txn| {
            let mut taken = (0, 0);
            {
                let mut objects = txn.open_table(OBJECTS)?;
                let mut bodies = txn.open_table(BODIES)?;
                for digest in digests {
                    if let Some(row) = objects.remove(digest.as_bytes())? {
                        taken.0 += 1;
                        taken.1 += ObjectRow::from_row(row.value()).map_or(0, |row| row.stored);
                    }
                    bodies.remove(digest.as_bytes())?;
                }
            }
            Totals::change(txn, |totals| {
                totals.counts.objects = totals.counts.objects.saturating_sub(taken.0);
                totals.counts.bytes = totals.counts.bytes.saturating_sub(taken.1);
            })?;
            Ok(taken)
        })
    }
}

/// Writes what a settled file holds; whether that is the object.
fn unpacked_into(
    packed: File,
    object: &ObjectRef,
    raw: &mut Temporary,
) -> Result<bool, StoreError> {
    let mut hasher = Hasher::new();
    let mut unpacked = chunks::unpacked(packed, object.size);
    let mut chunk = vec![0; CHUNK];
    loop {
        match unpacked.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finish() == object.digest),
            Ok(n) => {
                hasher.update(&chunk[..n]);
                raw.append(&chunk[..n])?;
            }
            Err(_) => return Ok(false),
        }
    }
}

/// Whether a settled file holds the object, and nothing else.
fn is_packed(file: &File, digest: &Digest, row: ObjectRow) -> bool {
    let long = file.metadata().is_ok_and(|m| m.len() == row.stored);
    let mut hasher = Hasher::new();
    let mut unpacked = Unpacked::new(BufReader::new(file), row.size);
    let mut chunk = vec![0; CHUNK];
    loop {
        match unpacked.read(&mut chunk) {
            Ok(0) => return long && hasher.finish() == *digest,
            Ok(n) => hasher.update(&chunk[..n]),
            Err(_) => return false,
        }
    }
}

/// The empty object is everywhere and takes no place.
fn is_empty_object(object: &ObjectRef) -> bool {
    object.size == 0 && object.digest == Digest::of(b"")
}
