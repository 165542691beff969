//! Lookup of a run, and its restore.
//!
//! Enters: what a run is, and the cache. Leaves: OUT_DIR in place and what to say; or nothing, and
//! then nothing was touched. Must never happen here: a run of this node alone asked of others; an
//! OUT_DIR of which a part is old and a part new.

use super::Facts;
use super::key::{ALONE, Keying};
use super::programs::Programs;
use super::{is_run, out};
use crate::action::Known;
use crate::invocation::Invocation;
use crate::ipc::protocol::Replay;
use crate::paths::Roots;
use crate::pipeline::believed::{Want, executes};
use crate::pipeline::find::offers;
use crate::pipeline::restore::{MESSAGES_MAX, damaged, read_checked};
use crate::pipeline::{
    Cache, Caller, Candidate, Hit, Object, Pipeline, Tier, read_prediction, temporary,
};
use quarry_trust::digest::Hasher;
use quarry_trust::{ActionKey, Digest, ObjectRef};
use std::collections::HashSet;
use std::fs;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

/// One lookup.
pub(super) struct Trip<'a> {
    pub pipeline: &'a Pipeline,
    pub inv: &'a Invocation,
    pub facts: &'a Facts,
    pub roots: &'a Roots,
    pub known: &'a Known,
    pub cache: &'a dyn Cache,
    /// Where qwrap lies.
    pub wrapper: Option<&'a Path>,
}

/// A run that things as they are lead to.
struct Wanted {
    key: ActionKey,
    description: Digest,
    /// Whether only this node can have it.
    alone: bool,
}

impl Wanted {
    /// What makes a signed entry unfit for this very run.
    fn misfit(&self, candidate: &Candidate) -> Option<&'static str> {
        if candidate.entry.description.digest != self.description {
            return Some("its description is not of this action");
        }
        let run = is_run(&candidate.entry);
        (!run).then_some("it names other files than a build script's run has")
    }
}

impl Trip<'_> {
    /// Finds an entry that matches and restores it.
    pub(super) fn find(&self, caller: &Caller<'_>) -> Option<Hit> {
        let lookup = self.known.lookup();
        let local = self.cache.predict(&lookup, Tier::Local);
        let keys = self.keys(&local, Tier::Local);
        let mut held = Vec::with_capacity(keys.len());
        for key in &keys {
            let mut here = self.cache.get(&key.key, Tier::Local);
            if let Some(hit) = self.restore_one(&mut here, key, caller) {
                return Some(hit);
            }
            held.push(here);
        }
        // What lies here counts beside what peers hold: several may have to agree.
        for (key, mut all) in keys.iter().zip(held).filter(|(key, _)| !key.alone) {
            let theirs = self.cache.get(&key.key, Tier::Peers);
            if theirs.is_empty() {
                continue;
            }
            all.extend(theirs);
            if let Some(hit) = self.restore_one(&mut all, key, caller) {
                return Some(hit);
            }
        }
        // A key formed from a peer's prediction goes no further than the entries it came with.
        offers(self.cache, &lookup).find_map(|mut offered| {
            let keys = self.keys(&offered, Tier::Peers);
            let mut keys = keys.iter().filter(|key| !key.alone);
            keys.find_map(|key| self.restore_one(&mut offered, key, caller))
        })
    }

    fn keys(&self, candidates: &[Candidate], tier: Tier) -> Vec<Wanted> {
        let keying = Keying {
            pipeline: self.pipeline,
            inv: self.inv,
            roots: self.roots,
            known: self.known,
            programs: Programs::new(self.inv, self.roots, self.wrapper),
            secret: self.cache.value_secret(),
        };
        let mut tried = HashSet::new();
        let mut wanted: Vec<Wanted> = Vec::new();
        for candidate in candidates {
            if !tried.insert(&candidate.prediction) {
                continue;
            }
            let described = read_prediction(&candidate.prediction);
            let described = described.and_then(|p| keying.describe(&p, tier));
            let Some(description) = described else {
                continue;
            };
            let (key, bytes) = description.action();
            if wanted.iter().all(|w| w.key != key) {
                let variables = description.variables.iter();
                wanted.push(Wanted {
                    key,
                    description: Digest::of(&bytes),
                    alone: variables.map(|v| &v.name).any(|n| n.starts_with(ALONE)),
                });
            }
        }
        wanted
    }

    fn restore_one(
        &self,
        candidates: &mut Vec<Candidate>,
        wanted: &Wanted,
        caller: &Caller<'_>,
    ) -> Option<Hit> {
        let want = Want {
            cache: self.cache,
            caller,
            fits: &|c| c.entry.action == wanted.key,
            misfit: &|c| wanted.misfit(c),
            executes: executes(None),
            restore: &|c| self.restore(c, caller).ok(),
        };
        want.first(candidates)
    }

    fn restore(&self, candidate: &Candidate, caller: &Caller<'_>) -> io::Result<Hit> {
        let entry = &candidate.entry;
        let stdout = self.message(&entry.stdout)?;
        let stderr = self.message(&entry.stderr)?;
        let place = &self.facts.out_dir;
        let above = place.parent().ok_or(io::ErrorKind::NotFound)?;
        let fresh = Beside(temporary(above, "out"));
        out::directory(&fresh.0, caller.umask)?;
        self.unpack(&entry.outputs[0].object, &fresh.0, caller.umask)?;
        if !(caller.waits)() || !self.cache.stands(entry) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        exchange(&fresh, place, above)?;
        self.pipeline.filled.now();
        Ok(Hit {
            replay: Replay { stdout, stderr },
            entry: entry.clone(),
            kind: None,
            from: candidate.from,
            prediction: candidate.prediction.clone(),
        })
    }

    fn message(&self, object: &ObjectRef) -> io::Result<Vec<u8>> {
        if object.size == 0 {
            return Ok(Vec::new());
        }
        let bytes = read_checked(self.cache, object, MESSAGES_MAX)?;
        Ok(self.roots.localise(&bytes))
    }

    fn unpack(&self, object: &ObjectRef, dir: &Path, umask: u32) -> io::Result<()> {
        let mut from = self.open(object)?;
        out::unpack(&mut from, dir, umask)?;
        from.checked(object)
    }

    fn open(&self, object: &ObjectRef) -> io::Result<Checking> {
        let opened = self.cache.open_object(object);
        let from: Box<dyn Read> = match opened.ok_or(io::ErrorKind::NotFound)? {
            Object::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Object::File(file) => Box::new(BufReader::new(file.take(object.size + 1))),
            Object::Packed(packed) => Box::new(BufReader::new(packed.take(object.size + 1))),
        };
        Ok(Checking {
            from,
            hasher: Hasher::new(),
            read: 0,
        })
    }
}

/// Bytes that are digested as they are read.
struct Checking {
    from: Box<dyn Read>,
    hasher: Hasher,
    read: u64,
}

impl Checking {
    /// Whether what was read, to its end, is the object.
    fn checked(self, object: &ObjectRef) -> io::Result<()> {
        if self.read == object.size && self.hasher.finish() == object.digest {
            Ok(())
        } else {
            Err(damaged())
        }
    }
}

impl Read for Checking {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(to)?;
        self.hasher.update(&to[..n]);
        self.read += n as u64;
        Ok(n)
    }
}

/// A directory beside OUT_DIR; gone with this.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts a filled directory in the place of OUT_DIR, whatever that holds.
fn exchange(fresh: &Beside, place: &Path, above: &Path) -> io::Result<()> {
    let old = Beside(temporary(above, "out-old"));
    let had = match fs::rename(place, &old.0) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(e),
    };
    fs::rename(&fresh.0, place).inspect_err(|_| {
        if had {
            // Back to what it was: the script is going to run.
            let _ = fs::rename(&old.0, place);
        }
    })
}
