//! Words of members about themselves (that they leave, that they change their keys), which travel
//! beside the roster until an admin's node has made them part of the chain.
//!
//! Enters: our own words, and those that peers pass on. Leaves: the same, bounded; changes of the
//! chain where we are an admin. Must never happen here: a word without a signature that holds, or
//! one that reaches further than its speaker.

use super::{Team, TeamError, now};
use crate::departure::{self, DEPARTURE_SCHEMA, Departure};
use crate::rotation::{ROTATION_SCHEMA, Rotation};
use quarry_trust::BuilderId;
use quarry_trust::roster::{Role, Roster, RosterError, Signed};
use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

/// Members whose word waits for an admin, at most.
pub(super) const WORDS_MAX: usize = 64;
/// The size of one such word, bytes.
pub(super) const WORD_BYTES_MAX: usize = 512;

/// A member's word about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// It leaves.
    Leaves(Signed<Departure>),
    /// It changes its keys.
    Rotates(Box<Rotation>),
}

/// Words that wait for an admin, by speaker.
pub(super) type Words = BTreeMap<BuilderId, Word>;

impl Word {
    pub(super) fn to_wire(&self) -> Vec<u8> {
        match self {
            Self::Leaves(departure) => departure.to_wire(),
            Self::Rotates(rotation) => rotation.to_wire(),
        }
    }

    /// Reads and verifies; `None` for a kind that a newer node speaks.
    pub(super) fn from_wire(wire: &[u8]) -> Result<Option<Self>, RosterError> {
        let kind = wire.first_chunk().map(|kind| u16::from_le_bytes(*kind));
        Ok(match kind {
            None | Some(DEPARTURE_SCHEMA) => Some(Self::Leaves(Signed::from_wire(wire)?)),
            Some(ROTATION_SCHEMA) => Some(Self::Rotates(Box::new(Rotation::from_wire(wire)?))),
            Some(_) => None,
        })
    }

    /// Whose word it is.
    fn speaker(&self) -> BuilderId {
        match self {
            Self::Leaves(departure) => departure.builder,
            Self::Rotates(rotation) => rotation.old(),
        }
    }

    /// Whether it says more than `other` of the same speaker: who goes for good, goes.
    fn outdoes(&self, other: &Self) -> bool {
        let rank = |word: &Self| match word {
            Self::Rotates(rotation) => u8::from(rotation.is_last()),
            Self::Leaves(_) => 2,
        };
        rank(self) > rank(other)
    }

    /// Whether the chain has all of it.
    fn is_done(&self, roster: &Roster) -> bool {
        let stands = |builder: &BuilderId| roster.member_by_builder(builder).is_some();
        match self {
            Self::Leaves(departure) => !stands(&departure.builder),
            Self::Rotates(r) if r.is_last() => !stands(&r.old()),
            Self::Rotates(r) => !stands(&r.old()) || stands(&r.new_builder()),
        }
    }
}

/// Ticks of upkeep that each admin has to itself.
const TURN: u32 = 3;

impl Team {
    pub(super) fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Our own word that we leave, passed on with the next exchange.
    ///
    /// # Errors
    /// [`TeamError`].
    pub fn announce_departure(&self) -> Result<(), TeamError> {
        let departure = self
            .roster(|r| departure::leave(r, &self.builder, now()))
            .ok_or(TeamError::None)??;
        self.note(Word::Leaves(departure))?;
        Ok(())
    }

    /// Keeps a word, or, where we are an admin, makes it part of the chain. True where that is
    /// news to pass on.
    pub(super) fn note(&self, word: Word) -> Result<bool, TeamError> {
        let speaker = word.speaker();
        let done = self.roster(|r| word.is_done(r)).unwrap_or(true);
        if done {
            return Ok(false);
        }
        let admin = self
            .roster(|r| r.is_admin(&self.builder()))
            .unwrap_or(false);
        // An admin can add its own next key, but nobody signs its own going.
        let own_going =
            speaker == self.builder() && !matches!(&word, Word::Rotates(r) if !r.is_last());
        if admin && !own_going && self.admins_before(&speaker) == 0 {
            self.make_part(&word)?;
            return Ok(true);
        }
        let mut words = self.words();
        let news = match words.get(&speaker) {
            Some(known) => word.outdoes(known),
            None => words.len() < WORDS_MAX,
        };
        if news {
            words.insert(speaker, word);
        }
        Ok(news)
    }

    fn make_part(&self, word: &Word) -> Result<(), TeamError> {
        self.change(|roster| match word {
            Word::Leaves(word) => departure::retire(roster, word, &self.builder, now()),
            Word::Rotates(rotation) => rotation.apply(roster, &self.builder, now()),
        })
    }

    /// Admins whose turn comes before ours: did all act at once, the chain would fork.
    fn admins_before(&self, speaker: &BuilderId) -> u32 {
        let own = self.builder();
        let before = |r: &Roster| {
            let admins = r.members().filter(|m| m.role == Role::Admin);
            let others = admins.filter(|m| m.builder != *speaker && m.builder < own);
            u32::try_from(others.count()).unwrap_or(u32::MAX)
        };
        // Our own next key: nobody else waits for it either.
        let own_word = *speaker == own;
        if own_word {
            0
        } else {
            self.roster(before).unwrap_or(0)
        }
    }

    /// Makes those words part of the chain that the admins before us did not, each in its turn.
    /// Called at every tick of upkeep; true where the roster changed.
    pub fn settle_words(&self) -> bool {
        self.forget_done();
        let admin = self.roster(|r| r.is_admin(&self.builder()));
        if admin != Some(true) {
            return false;
        }
        let due: Vec<Word> = {
            let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner);
            let words = self.words();
            waited.retain(|speaker, _| words.contains_key(speaker));
            let mut due = Vec::new();
            for (speaker, word) in words.iter().filter(|(s, _)| **s != self.builder()) {
                let ticks = waited.entry(*speaker).or_insert(0);
                *ticks += 1;
                if *ticks > self.admins_before(speaker).saturating_mul(TURN) {
                    due.push(word.clone());
                }
            }
            due
        };
        let mut changed = false;
        for word in due {
            match self.make_part(&word) {
                Ok(()) => changed = true,
                Err(error) => {
                    tracing::debug!(%error, "a member's word was not made part of the chain")
                }
            }
        }
        self.forget_done();
        changed
    }

    /// Forgets words that have become part of the chain.
    pub(super) fn forget_done(&self) {
        let mut words = self.words();
        words.retain(|_, word| !self.roster(|r| word.is_done(r)).unwrap_or(true));
    }
}
