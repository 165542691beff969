//! The pipeline's cache: the store behind the roster's verdict, and the peers behind both.
//!
//! Enters: keys, staged outputs. Leaves: verified entries, objects that are here. Nothing leaves
//! that the team does not vouch for; nothing is fetched before its entry was verified. Which of
//! the verified entries are believed is said in [`super::believing`], the only way to here.

use crate::chunks;
use crate::service::counters::Counters;
use crate::service::policy::{self, Reach};
use crate::store::{self, Offer, Placed, Store, StoreError};
use crate::swarm::{Ask, Swarm, SwarmError};
use crate::team::{self, Audience, Team};
use crate::turns::Turns;
use crate::worker::announcer::Announcer;
use crate::worker::disputes::Disputes;
use crate::worker::fetching::objects_of;
use crate::worker::gather::Gathered;
use crate::worker::hearing::Hearing;
use crate::worker::signatures::Signatures;
use quarry_trust::roster::Standing;
use quarry_trust::verify::Source;
use quarry_trust::{
    ActionKey, BuilderId, Digest, Entry, LookupKey, ObjectRef, Output, OutputName, PeerId, Refusal,
    Scope, SignedEntry, Verified,
};
use quarry_wrapper::digests::MemoDigests;
use quarry_wrapper::pipeline::{Candidate, Object, Staged, Tier, UnsignedEntry};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Predictions that one local lookup tries.
const LOCAL_OFFERS: usize = 16;
/// Entries that are remembered as set aside, at most: each was an alarm.
const ASIDE_MAX: usize = 10_000;
/// Name of the list of what was set aside, in the store's state.
const ASIDE: &str = "aside-v1";

/// What was set aside in earlier runs; rubbish is nothing.
fn read_aside(store: &dyn Store) -> HashSet<(Digest, BuilderId)> {
    let bytes = store.state(ASIDE).ok().flatten().unwrap_or_default();
    let list: Vec<(String, String)> = serde_json::from_slice(&bytes).unwrap_or_default();
    list.iter()
        .take(ASIDE_MAX)
        .filter_map(|(action, builder)| {
            Some((Digest::from_hex(action)?, BuilderId::from_hex(builder)?))
        })
        .collect()
}

/// The node's cache.
pub struct NodeCache {
    pub(super) store: Arc<dyn Store>,
    pub(super) swarm: Arc<dyn Swarm>,
    pub(super) team: Arc<Team>,
    pub(super) counters: Arc<Counters>,
    pub(super) disputes: Disputes,
    pub(super) gathered: Gathered,
    pub(super) turns: Turns<ActionKey>,
    signatures: Signatures,
    announcer: Announcer,
    hearing: Arc<Hearing>,
    digests: Arc<MemoDigests>,
    /// Entries that compiling again has shown to be wrong, by action and builder.
    aside: Mutex<HashSet<(Digest, BuilderId)>>,
}

impl NodeCache {
    /// A cache over the node's parts.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        swarm: Arc<dyn Swarm>,
        team: Arc<Team>,
        counters: Arc<Counters>,
        hearing: Arc<Hearing>,
        digests: Arc<MemoDigests>,
    ) -> Self {
        let kept = store.clone();
        let announcer = Announcer::start(move || kept.flush(), swarm.clone());
        let aside = Mutex::new(read_aside(store.as_ref()));
        Self {
            aside,
            store,
            swarm,
            team,
            counters,
            announcer,
            disputes: Disputes::default(),
            gathered: Gathered::default(),
            turns: Turns::default(),
            signatures: Signatures::default(),
            hearing,
            digests,
        }
    }

    /// What was just written is not read again to know what it is.
    pub(super) fn written(&self, pinned: &store::Pinned) {
        if pinned.fresh
            && let Ok(Some(store::Object::File(file))) = self.store.object(&pinned.object)
        {
            self.digests.was_written(&file, pinned.object.digest);
        }
    }

    /// Offers that hold for the keys that were asked; the rest is counted and, where it lay in
    /// our own store and can never be right, removed.
    pub(super) fn believe(
        &self,
        offers: Vec<Offer>,
        from: Option<PeerId>,
        action: Option<&ActionKey>,
        lookup: Option<&LookupKey>,
    ) -> Vec<Candidate> {
        let source = if from.is_some() {
            Source::Peer
        } else {
            Source::Store
        };
        let mut believed = Vec::with_capacity(offers.len());
        for Offer { prediction, signed } in offers {
            match self.verified(&signed, source, action, lookup) {
                Ok(entry) if self.is_aside(&entry) => {
                    tracing::debug!(action = %entry.action, "an entry stays set aside");
                }
                Ok(entry) => believed.push(Candidate {
                    prediction,
                    signed,
                    entry,
                    from,
                }),
                Err(why) => self.refuse(from.as_ref(), why, "an entry"),
            }
        }
        believed
    }

    /// The verdict over an entry. A teammate's counts only once the newest roster was heard, or
    /// was waited for: a node that was away does not know yet who was revoked meanwhile.
    fn verified(
        &self,
        signed: &SignedEntry,
        source: Source,
        action: Option<&ActionKey>,
        lookup: Option<&LookupKey>,
    ) -> Result<Verified<Entry>, Refusal> {
        let (team, signatures) = (&self.team, &self.signatures);
        let entry = signatures.verify(team, signed, source, action, lookup)?;
        if entry.builder != self.team.builder() && !self.hearing.is_over() {
            self.hearing.wait();
            self.team.verify_again(&entry, source, action, lookup)?;
        }
        Ok(entry)
    }

    /// Notes in the journal what was put into a target directory.
    pub fn note(&self, placed: Placed) {
        self.store.note(placed);
    }

    pub(super) fn refuse(&self, from: Option<&PeerId>, why: Refusal, what: &str) {
        self.counters.refused(why);
        match from {
            Some(peer) => {
                let name = self.name(peer);
                tracing::warn!("refused {what} from {name} ({}): {why}", why.name());
                self.swarm.misbehaved(peer);
            }
            None => tracing::debug!("{what} in the store is not used ({}): {why}", why.name()),
        }
    }

    /// A peer did not do what it was asked. What was refused is counted already.
    pub(super) fn failed(&self, peer: &PeerId, error: &SwarmError, what: &str) {
        if matches!(error, SwarmError::Deadline(_)) {
            self.counters.refused_as("silent");
            let name = self.name(peer);
            tracing::warn!(
                "refused to wait longer for {what} from {name} (silent): no answer in time"
            );
        } else {
            tracing::debug!(%error, peer = %peer, "{what} did not come");
        }
    }

    fn name(&self, peer: &PeerId) -> String {
        self.team.peer_name(peer).unwrap_or_else(|| peer.to_hex())
    }

    /// Asks who may hold the key, as many as `reach` says, and all of them together no longer than
    /// the usual few.
    fn ask(&self, key: &Digest, ask: Ask, whom: (&Audience, &Reach)) -> Vec<Candidate> {
        let (audience, reach) = whom;
        let (action, lookup) = keys_of(&ask);
        let mut all = match ask {
            Ask::Action(_) => self.gathered(&ask, audience),
            _ => Vec::new(),
        };
        // Where one builder's word is enough nobody else needs to be asked.
        if !all.is_empty() && !reach.far {
            return all;
        }
        let candidates = self.candidates(audience, key);
        if candidates.is_empty() {
            // Perhaps a member holds it whom we are not connected to: found behind this
            // compile's back, if at all.
            let tag = audience.asked.first().and_then(|s| self.team.tag(s, key));
            tag.iter().for_each(|tag| self.swarm.seek(tag));
        }
        let last = Instant::now() + policy::ASK_ALL_WITHIN;
        for peer in reach.order(candidates) {
            let deadline = last.min(Instant::now() + policy::ASK_WITHIN);
            match self.swarm.ask(&peer, ask, deadline) {
                Ok(offers) => all.extend(self.believe(offers, Some(peer), action, lookup)),
                Err(error) => self.failed(&peer, &error, "an answer"),
            }
            if Instant::now() >= last {
                break;
            }
        }
        all
    }

    /// Members that may hold a key within one of the scopes asked, and that may be asked.
    pub(super) fn candidates(&self, audience: &Audience, key: &Digest) -> Vec<PeerId> {
        let tags = audience.asked.iter().flat_map(|s| self.team.sought(s, key));
        let mut found = Vec::new();
        for peer in tags.flat_map(|tag| self.swarm.candidates(&tag)) {
            let asked = audience.within.as_ref();
            if asked.is_none_or(|s| self.team.peer_sees(&peer, s)) && !found.contains(&peer) {
                found.push(peer);
            }
        }
        found
    }

    /// Removes an entry that was found to be wrong, and never believes it again.
    pub fn set_aside(&self, entry: &Entry) {
        let known = (entry.action.digest(), entry.builder);
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        if aside.len() < ASIDE_MAX && aside.insert(known) {
            let list: Vec<(String, String)> = aside
                .iter()
                .map(|(action, builder)| (action.to_hex(), builder.to_hex()))
                .collect();
            let kept = serde_json::to_vec(&list)
                .map_err(io::Error::other)
                .and_then(|bytes| {
                    self.store
                        .set_state(ASIDE, &bytes)
                        .map_err(io::Error::other)
                });
            if let Err(error) = kept {
                tracing::warn!(%error, "what was set aside is forgotten when the node ends");
            }
        }
        drop(aside);
        let _ = self.store.remove(&entry.action, &entry.builder);
    }

    fn is_aside(&self, entry: &Entry) -> bool {
        let aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        aside.contains(&(entry.action.digest(), entry.builder))
    }

    /// Tells the team once the entry is durable.
    pub(super) fn announce(&self, entry: &Entry) {
        let keys = [entry.lookup.digest(), entry.action.digest()];
        let provide = entry.duration_ms >= policy::PROVIDE_FROM_MS;
        self.announce_keys(&entry.scope, &keys, provide);
    }

    /// Tells the team of keys once what was stored before is durable.
    pub(super) fn announce_keys(&self, scope: &Scope, keys: &[Digest], provide: bool) {
        // Without the scope's secret nothing can be said of it; the filter is built anew when it
        // is known.
        let tags: Option<Vec<Digest>> = keys.iter().map(|key| self.team.tag(scope, key)).collect();
        if let Some(tags) = tags {
            self.announcer.stored(tags, provide);
        }
    }

    /// Returns when everything that was put is durable and announced.
    ///
    /// # Errors
    /// Why something is not.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.announcer.flush()
    }

    /// Signs an unsigned entry as ours.
    fn sign(&self, unsigned: &UnsignedEntry, scope: Scope) -> io::Result<Entry> {
        let mut outputs = Vec::with_capacity(unsigned.outputs.len());
        for o in &unsigned.outputs {
            let name = OutputName::new(o.name.clone()).map_err(io::Error::other)?;
            outputs.push(Output {
                name,
                kind: o.kind,
                executable: o.executable,
                object: o.staged.object,
            });
        }
        Ok(Entry {
            scope: if unsigned.private {
                Scope::Private
            } else {
                scope
            },
            builder: self.team.builder(),
            lookup: unsigned.lookup,
            action: unsigned.action,
            description: unsigned.description.object,
            crate_name: unsigned.crate_name.clone(),
            outputs,
            stdout: unsigned.stdout.object,
            stderr: unsigned.stderr.object,
            width: unsigned.width,
            duration_ms: unsigned.duration_ms,
            created: team::now(),
        })
    }
}

/// What the pipeline asks of a cache, but for what is believed ([`super::believing`]).
impl NodeCache {
    pub(super) fn predict(
        &self,
        lookup: &LookupKey,
        tier: Tier,
        whom: (&Audience, &Reach),
    ) -> Vec<Candidate> {
        match tier {
            Tier::Local => {
                let offers = self.store.offers(lookup, LOCAL_OFFERS).unwrap_or_default();
                self.believe(offers, None, None, Some(lookup))
            }
            Tier::Peers => self.ask(&lookup.digest(), Ask::Lookup(*lookup), whom),
        }
    }

    pub(super) fn get(
        &self,
        action: &ActionKey,
        tier: Tier,
        whom: (&Audience, &Reach),
    ) -> Vec<Candidate> {
        match tier {
            Tier::Local => {
                let offers = self.store.entries(action).unwrap_or_default();
                self.believe(offers, None, Some(action), None)
            }
            Tier::Peers => self.ask(&action.digest(), Ask::Action(*action), whom),
        }
    }

    pub(super) fn bring(&self, candidate: &Candidate, believed: &[&Candidate]) -> bool {
        if let Some(peer) = candidate.from
            && let Err(error) = self.fetch(candidate, peer)
        {
            tracing::debug!(%error, crate_name = candidate.entry.crate_name, "compiled instead");
            return false;
        }
        self.keep_evidence(candidate, believed);
        true
    }

    /// Keeps the other members' entries that made one believed: they name the same objects, and
    /// the next hit needs nobody.
    fn keep_evidence(&self, candidate: &Candidate, believed: &[&Candidate]) {
        let mut kept = vec![candidate.entry.builder];
        let theirs = believed.iter().filter(|c| c.from.is_some());
        for other in theirs {
            if kept.contains(&other.entry.builder) {
                continue;
            }
            kept.push(other.entry.builder);
            let offer = Offer {
                prediction: other.prediction.clone(),
                signed: other.signed.clone(),
            };
            match self.store.put(&other.entry, &offer) {
                Ok(()) => self.announce(&other.entry),
                Err(error) => tracing::debug!(%error, "a second entry was not kept"),
            }
        }
    }

    pub(super) fn open_as_it_lies(&self, object: &ObjectRef) -> Option<Object> {
        Some(match self.store.object(object).ok()?? {
            store::Object::Bytes(bytes) => Object::Bytes(bytes),
            store::Object::File(file) => Object::File(file),
            store::Object::Settled(packed) => {
                Object::Packed(Box::new(chunks::unpacked(packed, object.size)))
            }
        })
    }

    pub(super) fn open_object(&self, object: &ObjectRef) -> Option<Object> {
        let opened = self.open_as_it_lies(object)?;
        if !matches!(opened, Object::Packed(_)) {
            return Some(opened);
        }
        match self.store.thaw(object) {
            Ok(Some((file, checked))) => {
                if checked {
                    self.digests.was_written(&file, object.digest);
                }
                Some(Object::File(file))
            }
            // The disk may be full: it is read out of where it lies.
            _ => Some(opened),
        }
    }

    pub(super) fn refused(&self, candidate: &Candidate, why: &'static str) {
        self.refuse(candidate.from.as_ref(), Refusal::Corrupt(why), "an entry");
        if candidate.from.is_none() {
            let _ = self
                .store
                .remove(&candidate.entry.action, &candidate.entry.builder);
        }
    }

    fn is_revoked(&self, builder: &BuilderId) -> bool {
        let standing = self.team.roster(|r| r.standing(builder));
        standing == Some(Standing::Revoked)
    }

    /// Lets go what was fetched ahead and that nobody will use any more.
    pub(super) fn let_go(&self) {
        let revoked = |builder: &BuilderId| self.is_revoked(builder);
        self.gathered.let_go(Instant::now(), revoked);
    }

    pub(super) fn stands(&self, entry: &Verified<Entry>) -> bool {
        let revoked = self.is_revoked(&entry.builder);
        if revoked {
            self.refuse(None, Refusal::Revoked, "an entry that was on its way");
        }
        !revoked
    }

    pub(super) fn damaged(&self, entry: &Verified<Entry>) {
        // All of them are looked at: what is damaged goes.
        let sound = |o: ObjectRef| self.store.recheck(&o.digest).unwrap_or(false);
        let objects: Vec<bool> = entry.restore_objects().map(sound).collect();
        if objects.into_iter().all(|sound| sound) {
            tracing::warn!(
                crate_name = entry.crate_name,
                "a stored entry could not be restored: the target directory's disk may be full"
            );
            return;
        }
        self.counters
            .refused(Refusal::Corrupt("an object of a stored entry"));
        tracing::warn!(
            crate_name = entry.crate_name,
            action = %entry.action,
            "a stored entry could not be restored and was removed; `qnode fsck` checks the rest"
        );
        let _ = self.store.remove(&entry.action, &entry.builder);
    }

    pub(super) fn stage_bytes(&self, bytes: &[u8]) -> io::Result<Staged> {
        let mut stage = self
            .store
            .stage(bytes.len() as u64)
            .map_err(io::Error::other)?;
        stage.write_all(bytes)?;
        Ok(staged(stage.commit().map_err(io::Error::other)?))
    }

    pub(super) fn stage_file(&self, file: &File) -> io::Result<Staged> {
        let pinned = self.store.stage_file(file, quarry_trust::entry::MAX_OBJECT);
        let pinned = pinned.map_err(io::Error::other)?;
        self.written(&pinned);
        Ok(staged(pinned))
    }

    pub(super) fn put(&self, unsigned: UnsignedEntry, scope: Scope) -> io::Result<Verified<Entry>> {
        let signed = self.team.sign(&self.sign(&unsigned, scope)?);
        let entry = self
            .team
            .verify(
                &signed,
                Source::Store,
                Some(&unsigned.action),
                Some(&unsigned.lookup),
            )
            .map_err(io::Error::other)?;
        let offer = Offer {
            prediction: unsigned.prediction.clone(),
            signed,
        };
        self.store.put(&entry, &offer).map_err(io::Error::other)?;
        self.counters.stored(objects_of(&entry));
        self.announce(&entry);
        Ok(entry)
    }

    pub(super) fn is_own(&self, entry: &Entry) -> bool {
        entry.builder == self.team.builder()
    }

    pub(super) fn value_secret(&self) -> [u8; 32] {
        self.team.secret()
    }
}

/// The keys that an answer must be for.
pub(super) const fn keys_of(ask: &Ask) -> (Option<&ActionKey>, Option<&LookupKey>) {
    match ask {
        Ask::Action(key) => (Some(key), None),
        Ask::Lookup(key) => (None, Some(key)),
        Ask::Crate(_) | Ask::Next(_) => (None, None),
    }
}

fn staged(pinned: store::Pinned) -> Staged {
    Staged {
        object: pinned.object,
        pin: Box::new(pinned),
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
