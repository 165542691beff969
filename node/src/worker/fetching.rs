//! Fetching entries' objects from teammates.
//!
//! Enters: a verified entry, and who offered it. Leaves: its objects in the store, digest-checked,
//! and, where a build asked for it, the entry. Must never happen here: an object fetched twice at
//! once; a wait beyond the deadline that its size gives it.

use super::cache::{NodeCache, keys_of};
use crate::service::policy;
use crate::store::{self, Offer, StoreError};
use crate::swarm::{Ask, SwarmError};
use crate::team::Audience;
use crate::turns::Turn;
use quarry_trust::{ActionKey, Entry, ObjectRef, PeerId, Refusal};
use quarry_wrapper::pipeline::Candidate;
use std::io;
use std::time::Instant;

impl NodeCache {
    /// Fetches what an entry names and is not here, digest-checked, and keeps the entry.
    pub(super) fn fetch(&self, candidate: &Candidate, first: PeerId) -> Result<(), StoreError> {
        let entry = &candidate.entry;
        let deadline = Instant::now() + policy::fetch_within(objects_of(entry));
        let _turn = self.turn(entry, deadline)?;
        let _pins = self.objects(entry, first, deadline)?;
        let offer = Offer {
            prediction: candidate.prediction.clone(),
            signed: candidate.signed.clone(),
        };
        // Revoked while its objects came: nothing of it is kept. They are named by nobody now.
        if !self.stands(entry) {
            return Err(StoreError::of_stage(io::ErrorKind::PermissionDenied.into()));
        }
        self.store.put(entry, &offer)?;
        self.gathered.used(entry);
        // What is here now can be had from here as well.
        self.announce(entry);
        Ok(())
    }

    /// Fetches an entry's objects alone, for who may ask for it soon; `None` where it lies here.
    pub(super) fn collect(
        &self,
        candidate: &Candidate,
        first: PeerId,
    ) -> Result<Option<Vec<store::Pinned>>, StoreError> {
        let entry = &candidate.entry;
        // Two at once, and what a build asks for itself, share the way.
        let deadline = Instant::now() + policy::fetch_within(objects_of(entry).saturating_mul(3));
        let _turn = self.turn(entry, deadline)?;
        if self.knows(&entry.action) {
            return Ok(None);
        }
        self.objects(entry, first, deadline).map(Some)
    }

    fn turn(&self, entry: &Entry, deadline: Instant) -> Result<Turn<'_, ActionKey>, StoreError> {
        let turn = self.turns.take(entry.action, deadline);
        turn.ok_or_else(|| StoreError::of_stage(io::ErrorKind::TimedOut.into()))
    }

    /// An entry's objects, kept from gc: those that are here, and the others, which are fetched.
    fn objects(
        &self,
        entry: &Entry,
        first: PeerId,
        deadline: Instant,
    ) -> Result<Vec<store::Pinned>, StoreError> {
        let mut peers = vec![first];
        let tags = self.team.sought(&entry.scope, &entry.action.digest());
        // A filter may say yes to everything: who may not see the entry is not told of it either.
        let others = tags.iter().flat_map(|tag| self.swarm.candidates(tag));
        let others = others.filter(|p| self.team.peer_sees(p, &entry.scope));
        peers.extend(others.filter(|p| *p != first));
        peers.truncate(policy::ASK_PEERS);
        let (mut pins, mut bytes) = (Vec::new(), 0);
        for object in entry.objects().filter(|o| o.size > 0) {
            if let Ok(Some(pin)) = self.store.pin(&object) {
                pins.push(pin);
                continue;
            }
            let mut all = peers.iter();
            let fetched =
                all.find_map(|peer| self.fetch_one(peer, &entry.action, &object, deadline));
            pins.push(fetched.ok_or(StoreError::of_stage(io::ErrorKind::NotFound.into()))?);
            bytes += object.size;
        }
        self.counters.fetched(bytes);
        Ok(pins)
    }

    /// Whether an entry of this action lies here.
    pub(super) fn knows(&self, action: &ActionKey) -> bool {
        self.store.entries(action).is_ok_and(|all| !all.is_empty())
    }

    /// What was fetched before anybody asked this, of members who may be asked it.
    pub(super) fn gathered(&self, ask: &Ask, audience: &Audience) -> Vec<Candidate> {
        let (action, lookup) = keys_of(ask);
        let within = audience.within.as_ref();
        let mut all = Vec::new();
        for (peer, scope, offer) in self.gathered.offers(ask) {
            if audience.asked.contains(&scope)
                && within.is_none_or(|s| self.team.peer_sees(&peer, s))
            {
                all.extend(self.believe(vec![offer], Some(peer), action, lookup));
            }
        }
        all
    }

    fn fetch_one(
        &self,
        peer: &PeerId,
        action: &ActionKey,
        object: &ObjectRef,
        deadline: Instant,
    ) -> Option<store::Pinned> {
        let fetch = || {
            let mut stage = self.store.stage(object.size).ok()?;
            let fetched = self.swarm.fetch(peer, action, object, &mut stage, deadline);
            Some(fetched.map(|()| stage))
        };
        let stage = match fetch()? {
            // The connection closed on the way: there may be another one by now.
            Err(SwarmError::Lost { .. }) => fetch()?,
            fetched => fetched,
        };
        let stage = match stage {
            Ok(stage) => stage,
            Err(error) => {
                self.failed(peer, &error, "an object");
                return None;
            }
        };
        match stage.commit() {
            Ok(pinned) if pinned.object == *object => {
                self.written(&pinned);
                Some(pinned)
            }
            Ok(_) => {
                let why = Refusal::Corrupt("an object is not what its digest says");
                self.refuse(Some(peer), why, "an object");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a fetched object was not kept");
                None
            }
        }
    }
}

/// Bytes of all objects of an entry.
pub(super) fn objects_of(entry: &Entry) -> u64 {
    entry.objects().map(|o| o.size).sum()
}
