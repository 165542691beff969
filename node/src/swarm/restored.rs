//! What a member restored of one builder's entries: asked by members, when that builder is no
//! longer believed, so that keys can be changed where its code ran.
//!
//! Enters: a builder. Leaves: names of crates, how often, and whether they run: nothing else of a
//! member's disk. Bounded on both ends; what runs comes first where not all fits. Must never
//! happen here: a path, an answer to who is no member.

use super::SwarmError;
use super::driver::Driver;
use super::handoff::Done;
use super::link::Asked;
use super::wire::{Answer, Request, WireError};
use libp2p::request_response::ResponseChannel;
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::entry::MAX_CRATE_NAME;
use quarry_trust::{BuilderId, PeerId};
use std::sync::mpsc::SyncSender;
use tokio::sync::OwnedSemaphorePermit;

/// Crates in one answer: what one project depends on, twice over.
pub const MAX_RESTORED: usize = 1_000;
/// An answer at its limit: crates with the longest names, and the count of those left out.
pub(super) const MAX_RESTORED_BYTES: usize = 8 + 4 + MAX_RESTORED * (4 + MAX_CRATE_NAME + 1 + 8);

/// One crate that was restored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RestoredCrate {
    /// Its name.
    pub crate_name: String,
    /// Whether it runs while building, or is a program.
    pub executes: bool,
    /// In how many places, of how many entries.
    pub count: u64,
}

/// What a member restored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// Crates, in ascending order; those that run and those that do not apart.
    pub crates: Vec<RestoredCrate>,
    /// How many more there are.
    pub more: u64,
}

impl Restored {
    /// As much of a list as an answer holds: what runs before what does not.
    #[must_use]
    pub fn fitting(mut all: Vec<RestoredCrate>) -> Self {
        all.retain(|c| c.crate_name.len() <= MAX_CRATE_NAME);
        all.sort_by(|a, b| (!a.executes, &a.crate_name).cmp(&(!b.executes, &b.crate_name)));
        let more = all.len().saturating_sub(MAX_RESTORED) as u64;
        all.truncate(MAX_RESTORED);
        Self { crates: all, more }
    }
}

impl Canonical for RestoredCrate {
    fn write(&self, w: &mut Writer) {
        w.text(&self.crate_name);
        w.u8(u8::from(self.executes));
        w.u64(self.count);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(Self {
            crate_name: r.text(MAX_CRATE_NAME)?,
            executes: match r.u8()? {
                0 => false,
                1 => true,
                _ => return Err(CanonError::Value("a flag is neither 0 nor 1")),
            },
            count: r.u64()?,
        })
    }
}

impl Canonical for Restored {
    fn write(&self, w: &mut Writer) {
        w.u64(self.more);
        w.list(&self.crates);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(Self {
            more: r.u64()?,
            crates: r.list(MAX_RESTORED)?,
        })
    }
}

/// Takes an answer's body apart.
pub(super) fn decode(body: &[u8]) -> Result<Restored, WireError> {
    Ok(Restored::from_canon(body)?)
}

impl Driver {
    /// A caller's question.
    pub(super) fn question_restored(
        &mut self,
        peer: PeerId,
        builder: BuilderId,
        reply: SyncSender<Result<Restored, SwarmError>>,
    ) {
        if self.links.get(&peer).is_some_and(|link| link.accepted) {
            self.request(&peer, Request::Restored(builder), Asked::Restored(reply));
        } else {
            // The caller may have given up; that is no error.
            let _ = reply.try_send(Err(SwarmError::NotConnected(peer)));
        }
    }

    /// A member's question.
    pub(super) fn serve_restored(
        &mut self,
        peer: PeerId,
        builder: BuilderId,
        channel: ResponseChannel<Answer>,
        permit: OwnedSemaphorePermit,
    ) {
        let host = self.host.clone();
        self.jobs.spawn_blocking(move || Done::Restored {
            peer,
            restored: host.restored(&peer, &builder),
            channel,
            permit,
        });
    }
}

#[cfg(test)]
#[path = "restored_tests.rs"]
mod tests;
