//! What teammates hold of a crate: what a miss is compared with.
//!
//! Enters: a crate's name. Leaves: verified entries of connected teammates, each with its
//! description. Must never happen here: a fetch of anything else, a wait beyond the deadline.

use super::cache::NodeCache;
use crate::adopt::read_description;
use crate::service::policy;
use crate::swarm::{Ask, crate_digest};
use quarry_trust::canon::Canonical;
use quarry_trust::{Digest, Entry, PeerId, Scope, Verified};
use quarry_wrapper::action::Description;
use std::time::Instant;

/// A description that is fetched only to be looked at is at most this long, bytes.
const DESCRIPTION_FETCHED: usize = 4 << 20;

/// An entry at a teammate's node, with its description.
pub type Elsewhere = (PeerId, Verified<Entry>, Description);

impl NodeCache {
    /// Verified entries of a crate that connected teammates hold, each with its description. Of a
    /// crate that was compiled for a project (`scope`) the project's members alone are asked.
    pub fn elsewhere(&self, crate_name: &str, scope: Option<Scope>) -> Vec<Elsewhere> {
        let deadline = Instant::now() + policy::ELSEWHERE_WITHIN;
        let may = |peer: &PeerId| match scope {
            Some(project @ Scope::Project(..)) => self.team.peer_sees(peer, &project),
            _ => true,
        };
        let connected = self.swarm.peers().into_iter().filter(|p| p.connected);
        let asked = connected.map(|p| p.peer).filter(may);
        let mut found = Vec::new();
        for peer in asked.take(policy::ELSEWHERE_PEERS) {
            let ask = Ask::Crate(crate_digest(crate_name));
            let Ok(offers) = self.swarm.ask(&peer, ask, deadline) else {
                continue;
            };
            for candidate in self.believe(offers, Some(peer), None, None) {
                let entry = candidate.entry;
                if entry.crate_name == crate_name
                    && let Some(description) = self.description_from(&peer, &entry, deadline)
                {
                    found.push((peer, entry, description));
                }
            }
        }
        found
    }

    /// An entry's description, from here or from the peer that has the entry.
    fn description_from(
        &self,
        peer: &PeerId,
        entry: &Entry,
        deadline: Instant,
    ) -> Option<Description> {
        let here = read_description(self.store.as_ref(), entry);
        let bytes = here.or_else(|| {
            let object = &entry.description;
            let size = usize::try_from(object.size).ok();
            let mut bytes = Vec::with_capacity(size.filter(|n| *n <= DESCRIPTION_FETCHED)?);
            self.swarm
                .fetch(peer, &entry.action, object, &mut bytes, deadline)
                .ok()?;
            (Digest::of(&bytes) == object.digest).then_some(bytes)
        })?;
        Description::from_canon(&bytes).ok()
    }
}
