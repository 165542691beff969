//! Changing our own keys: the next ones beside the old, until the chain has them.
//!
//! Enters: the wish, later the roster. Leaves: key files. The next keys lie in `builder.key.next`
//! and `peer.key.next`, our signed words in `rotation.bin`; all are there before anybody hears of
//! them, and each takes its place by rename, so that a crash anywhere loses no key. Must never
//! happen here: the old key given up before the chain has the new one, or the old peer before a
//! teammate knows the new one.

use super::files::{read_bounded, write_private};
use super::words::{WORD_BYTES_MAX, Word};
use super::{Team, TeamError, now};
use crate::rotation::{Keys, Rotation};
use quarry_trust::canon::{CanonError, Reader, Writer};
use quarry_trust::roster::{Role, Roster};
use quarry_trust::{PeerId, RosterError};
use quarry_wrapper::home::Home;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

/// The schema of the file of words.
const ROTATION_FILE_SCHEMA: u16 = 1;
/// Our words of one rotation: one, or two where the peer changes too.
const WORDS_OF_ONE: usize = 2;
/// Size of that file, bytes.
const ROTATION_FILE_MAX: u64 = 2048;

fn rotation_file(home: &Home) -> PathBuf {
    home.path().join("rotation.bin")
}

/// Where the key that will replace the one in `path` waits.
fn next_of(path: &Path) -> PathBuf {
    path.with_extension("key.next")
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> TeamError + '_ {
    |source| TeamError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Our words of a rotation that is under way, in the order in which they are said.
fn pending(home: &Home) -> Result<Vec<Rotation>, TeamError> {
    let path = rotation_file(home);
    let Some(bytes) = read_bounded(&path, ROTATION_FILE_MAX)? else {
        return Ok(Vec::new());
    };
    let read = || -> Result<Vec<Rotation>, RosterError> {
        let mut r = Reader::new(&bytes);
        match r.u16()? {
            ROTATION_FILE_SCHEMA => {}
            other => return Err(CanonError::Schema(other).into()),
        }
        let mut words = Vec::new();
        for _ in 0..r.count(WORDS_OF_ONE)? {
            words.push(Rotation::from_wire(r.bytes(WORD_BYTES_MAX)?)?);
        }
        r.finish()?;
        Ok(words)
    };
    read().map_err(|why| TeamError::Damaged {
        path,
        why: why.to_string(),
    })
}

pub(super) fn forget(home: &Home) -> Result<(), TeamError> {
    let path = rotation_file(home);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(&path)(e)),
        _ => Ok(()),
    }
}

/// Puts the next key in the place of the old one, whose bytes are overwritten.
fn promote(path: &Path) -> io::Result<()> {
    let mut old = File::options().write(true).open(path)?;
    fs::rename(next_of(path), path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    old.write_all(&[0; quarry_trust::key::KEY_LEN])?;
    old.sync_all()
}

/// Takes up a rotation where a crash left it, before keys are loaded: a builder key that took its
/// place takes its peer key along.
pub(super) fn resume(home: &Home) -> Result<(), TeamError> {
    let Some(last) = pending(home)?.pop() else {
        return Ok(());
    };
    let here = crate::keyfile::load_or_create(&home.builder_key())?.id();
    if here == last.new_builder() {
        promote_peer(home, &last.peer())?;
    }
    Ok(())
}

/// Whether the chain has the keys that `last` is for.
fn has_next(roster: &Roster, last: &Rotation) -> bool {
    let next = roster.member_by_builder(&last.new_builder());
    next.is_some_and(|m| m.peer == last.peer())
}

fn promote_peer(home: &Home, wanted: &PeerId) -> Result<(), TeamError> {
    let path = home.peer_key();
    let next = next_of(&path);
    if next.exists() && crate::keyfile::load(&next)?.id().0 == wanted.0 {
        promote(&path).map_err(io_error(&path))?;
    }
    Ok(())
}

impl Team {
    /// Makes our next keys, and says so to the team: a new builder key, with `new_peer` a new
    /// peer key as well. Begun again, it goes on with the same keys. With `compromised` nothing
    /// that the old key signed shall count. True where the new keys can take their place now.
    ///
    /// # Errors
    /// [`TeamError`]; [`TeamError::SoleAdmin`] where nobody could sign for us.
    pub fn rotate(&self, new_peer: bool, compromised: bool) -> Result<bool, TeamError> {
        let begun = pending(&self.home)?.pop();
        let begun = begun.filter(|last| last.old() == self.builder());
        // The chain may have that peer already.
        let new_peer = new_peer || begun.is_some_and(|last| last.peer() != self.peer());
        let facts = self.roster(|r| {
            let own = r.member_by_builder(&self.builder()).cloned();
            let admins = r.members().filter(|m| m.role == Role::Admin).count();
            own.map(|own| (r.team(), own, admins))
        });
        let sole = |(_, own, admins): &(_, quarry_trust::Member, usize)| {
            own.role == Role::Admin && *admins == 1
        };
        let facts = facts.map(|own| own.ok_or(RosterError::NotMember(self.builder())));
        let facts = facts.transpose()?;
        if !new_peer && facts.as_ref().is_some_and(sole) {
            return Err(TeamError::SoleAdmin);
        }
        let next = crate::keyfile::load_or_create(&next_of(&self.home.builder_key()))?;
        let next_peer = match new_peer {
            true => Some(crate::keyfile::load_or_create(&next_of(
                &self.home.peer_key(),
            ))?),
            false => None,
        };
        let peer = next_peer.as_ref().unwrap_or(&self.peer);
        let Some((team, own, _)) = facts else {
            self.take_next(&PeerId(peer.id().0))?;
            return Ok(true);
        };
        let keys = Keys {
            old: &self.builder,
            new: &next,
            peer,
        };
        let at = now().max(own.joined);
        let word = |last| Rotation::new(team, &keys, at, compromised, last);
        let words = match new_peer {
            true => vec![word(false), word(true)],
            false => vec![word(true)],
        };
        let mut w = Writer::default();
        w.u16(ROTATION_FILE_SCHEMA);
        w.count(words.len());
        words.iter().for_each(|word| w.bytes(&word.to_wire()));
        write_private(&rotation_file(&self.home), &w.finish())?;
        for word in words.into_iter().take(1) {
            self.note(Word::Rotates(Box::new(word)))?;
        }
        self.rotated()
    }

    /// Whether a rotation of ours waits for the chain.
    ///
    /// # Errors
    /// [`TeamError`].
    pub fn rotating(&self) -> Result<bool, TeamError> {
        let words = pending(&self.home)?;
        Ok(words.iter().any(|word| word.old() == self.builder()))
    }

    /// Whether the keys in the home are others than those that this node runs with.
    #[must_use]
    pub fn took_new_keys(&self) -> bool {
        let here = crate::keyfile::load(&self.home.builder_key());
        here.is_ok_and(|key| key.id() != self.builder())
    }

    /// Puts the next keys in their place where the chain has them. True where it did: the node
    /// must then start again to be who it is.
    ///
    /// # Errors
    /// [`TeamError`]; asked again, it goes on.
    pub fn rotated(&self) -> Result<bool, TeamError> {
        let Some(last) = pending(&self.home)?.pop() else {
            return Ok(false);
        };
        if last.old() != self.builder() {
            return Ok(false);
        }
        if self.roster(|r| has_next(r, &last)) != Some(true) {
            // A fork, or a charter, may have taken it back: it must be heard of anew.
            *self.heard() = None;
            return Ok(false);
        }
        if !self.is_known(&last) {
            return Ok(false);
        }
        self.take_next(&last.peer())?;
        Ok(true)
    }

    /// Whether the chain has the keys of a rotation of ours.
    ///
    /// # Errors
    /// [`TeamError`].
    pub fn is_signed_in(&self) -> Result<bool, TeamError> {
        let last = pending(&self.home)?.pop();
        let there = last.and_then(|last| self.roster(|r| has_next(r, &last)));
        Ok(there.unwrap_or(false))
    }

    fn heard(&self) -> MutexGuard<'_, Option<PeerId>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a teammate will let in whom we speak as after `last`: a peer that no one has heard
    /// of is a stranger at every door, and stays one. What is signed in, and not by us, came from
    /// a teammate.
    fn is_known(&self, last: &Rotation) -> bool {
        let ours = [last.old(), last.new_builder()];
        let facts = self.roster(|r| {
            let alone = r.members().all(|m| ours.contains(&m.builder));
            alone || !r.is_admin(&last.old())
        });
        last.peer() == self.peer() || *self.heard() == Some(last.peer()) || facts == Some(true)
    }

    /// Notes whether a teammate's roster, `wire`, has the peer that we will be.
    pub(super) fn hear(&self, wire: &[u8]) {
        let last = pending(&self.home).ok().and_then(|mut words| words.pop());
        let waits = |last: &Rotation| {
            last.old() == self.builder()
                && last.peer() != self.peer()
                && *self.heard() != Some(last.peer())
        };
        let Some(last) = last.filter(waits) else {
            return;
        };
        match Roster::from_wire(wire, None) {
            Ok(theirs) if has_next(&theirs, &last) => *self.heard() = Some(last.peer()),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a roster that was merged could not be read"),
        }
    }

    fn take_next(&self, peer: &PeerId) -> Result<(), TeamError> {
        let path = self.home.builder_key();
        if next_of(&path).exists() {
            promote(&path).map_err(io_error(&path))?;
        }
        promote_peer(&self.home, peer)
    }

    /// What is left to say of a rotation once we are the new key: that the old one may go.
    pub(super) fn say_last_word(&self) -> Result<(), TeamError> {
        let Some(last) = pending(&self.home)?.pop() else {
            return Ok(());
        };
        if last.new_builder() != self.builder() {
            // Not in the chain yet: said again, in case nobody heard.
            for word in pending(&self.home)?.into_iter().take(1) {
                self.note(Word::Rotates(Box::new(word)))?;
            }
            return Ok(());
        }
        let old = last.old();
        self.note(Word::Rotates(Box::new(last)))?;
        let gone = self.roster(|r| r.member_by_builder(&old).is_none());
        if gone.unwrap_or(true) {
            forget(&self.home)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "rotating_tests.rs"]
mod tests;
