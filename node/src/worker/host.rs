//! What the swarm may ask of this node: the roster, the gate, offers and objects for members.

use crate::service::counters::Counters;
use crate::store::{How, Object, Offer, Store, StoreError};
use crate::swarm::{Ask, Host, MAX_OFFERS, Restored, RestoredCrate, Taken, crate_digest};
use crate::team::Team;
use crate::worker::hearing::Hearing;
use crate::worker::neighbours::Neighbours;
use crate::worker::openings;
use crate::worker::signatures::Signatures;
use crate::worker::voice::Voice;
use quarry_trust::canon::Canonical;
use quarry_trust::verify::Source;
use quarry_trust::{ActionKey, BuilderId, Digest, Entry, PeerId, Refusal, Scope, Verified};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The node as the swarm sees it.
pub struct NodeHost {
    /// Where entries and objects lie.
    pub store: Arc<dyn Store>,
    /// Who may have them.
    pub team: Arc<Team>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Whether the newest roster was heard since the node started.
    hearing: Arc<Hearing>,
    /// How often what members send wrongly is said, and how often that strangers came.
    voices: (Voice, Voice),
    /// Held during a walk through the store for a member: one at a time.
    walk: Mutex<()>,
    /// What builds here put in place after what.
    neighbours: Neighbours,
    /// Entries that were asked for, and held.
    signatures: Signatures,
}

impl NodeHost {
    /// The node's parts as the swarm sees them.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        team: Arc<Team>,
        counters: Arc<Counters>,
        hearing: Arc<Hearing>,
    ) -> Self {
        Self {
            store,
            team,
            counters,
            hearing,
            voices: <(Voice, Voice)>::default(),
            walk: Mutex::new(()),
            neighbours: Neighbours::default(),
            signatures: Signatures::default(),
        }
    }

    /// An entry that we believe ourselves, and that is for others, too.
    fn shared(&self, offer: &Offer) -> Option<Verified<Entry>> {
        let (team, signed) = (&self.team, &offer.signed);
        let entry = self
            .signatures
            .verify(team, signed, Source::Store, None, None);
        entry.ok().filter(|entry| entry.scope != Scope::Private)
    }

    /// An entry that `to` may see: it is in the entry's scope, and the builder stands.
    fn visible(&self, to: &PeerId, offer: &Offer) -> Option<Verified<Entry>> {
        self.shared(offer)
            .filter(|entry| self.team.peer_sees(to, &entry.scope))
    }

    /// The newest entries of a crate. While one walk is under way, others find nothing.
    fn of_crate(&self, to: &PeerId, name: &Digest) -> Result<Vec<Offer>, StoreError> {
        let Ok(_walk) = self.walk.try_lock() else {
            return Ok(Vec::new());
        };
        let mut found: Vec<(u64, Offer)> = Vec::new();
        self.store.each_offer(&mut |offer| {
            let entry = Entry::from_canon(&offer.signed.bytes).ok();
            let Some(entry) = entry.filter(|e| crate_digest(&e.crate_name) == *name) else {
                return;
            };
            if self.visible(to, &offer).is_some() {
                let at = found.partition_point(|(created, _)| *created > entry.created);
                found.insert(at, (entry.created, offer));
                found.truncate(MAX_OFFERS);
            }
        })?;
        Ok(found.into_iter().map(|(_, offer)| offer).collect())
    }

    /// Entries that a build here put in place after an action, or as it opened, in that order.
    fn next(&self, to: &PeerId, action: &ActionKey) -> Result<Vec<Offer>, StoreError> {
        let sees = |scope: &Scope| self.team.peer_sees(to, scope);
        let store = self.store.as_ref();
        // Nobody learns by this which actions were built that are not for them.
        let from = self.store.entries(action)?;
        let next = if from.is_empty() {
            let mut openings = openings::known(store).into_iter();
            let opening = openings.find(|o| o.key == action.digest() && sees(&o.scope));
            opening.map(|o| self.neighbours.since((o.place, o.at), &sees, store))
        } else {
            let visible = from.iter().any(|offer| self.visible(to, offer).is_some());
            visible.then(|| self.neighbours.after(action, &sees, store))
        };
        let mut found = Vec::new();
        for action in next.unwrap_or_default() {
            let offers = self.store.entries(&action)?;
            found.extend(offers.into_iter().find(|o| self.visible(to, o).is_some()));
            if found.len() == MAX_OFFERS {
                break;
            }
        }
        Ok(found)
    }

    fn name(&self, peer: &PeerId) -> String {
        self.team.peer_name(peer).unwrap_or_else(|| peer.to_hex())
    }
}

impl Host for NodeHost {
    fn roster(&self, to: Option<&PeerId>) -> Option<Vec<u8>> {
        self.team.exchange(to)
    }

    fn tags(&self) -> Digest {
        self.team.tags_fingerprint()
    }

    fn admits(&self, peer: &PeerId) -> bool {
        self.team
            .roster(|r| r.member_by_peer(peer).is_some())
            .unwrap_or(false)
    }

    fn members(&self) -> Vec<PeerId> {
        let own = self.team.peer();
        self.team
            .roster(|r| r.members().map(|m| m.peer).filter(|p| *p != own).collect())
            .unwrap_or_default()
    }

    fn merge_roster(&self, from: &PeerId, wire: &[u8]) -> Taken {
        match self.team.merge(wire) {
            Ok(outcome) => {
                self.hearing.heard();
                for builder in &outcome.revoked {
                    tracing::warn!(
                        "builder {builder} was revoked: what it signed is not used any more"
                    );
                }
                if outcome.forked {
                    tracing::warn!(
                        "the membership chain has forked: revocations of both branches hold, \
                         additions of neither, until an admin merges"
                    );
                }
                if outcome.changed {
                    Taken::Grew
                } else {
                    Taken::Known
                }
            }
            Err(error) => {
                self.counters.refused_as("roster");
                let name = self.name(from);
                let line = || format!("refused a roster from {name} (roster): {error}");
                self.voices.0.warn(line);
                Taken::Refused
            }
        }
    }

    fn offers(&self, to: &PeerId, ask: &Ask) -> Vec<Offer> {
        if !self.admits(to) {
            return Vec::new();
        }
        let found = match ask {
            Ask::Lookup(key) => self.store.offers(key, MAX_OFFERS),
            Ask::Action(key) => self.store.entries(key),
            Ask::Crate(name) => self.of_crate(to, name),
            // Each of these was looked at already.
            Ask::Next(action) => return self.next(to, action).unwrap_or_default(),
        };
        let mut offers = found.unwrap_or_default();
        offers.retain(|offer| self.visible(to, offer).is_some());
        offers.truncate(MAX_OFFERS);
        offers
    }

    fn restored(&self, to: &PeerId, builder: &BuilderId) -> Restored {
        if !self.admits(to) {
            return Restored::default();
        }
        let mut crates: BTreeMap<(String, bool), u64> = BTreeMap::new();
        let told = self.store.each_placed(Some(builder), &mut |placed| {
            if placed.how == How::Restored && self.team.peer_sees(to, &placed.scope) {
                let key = (placed.crate_name, placed.kind.executes());
                *crates.entry(key).or_default() += 1;
            }
        });
        if let Err(error) = told {
            tracing::warn!(%error, "the journal of restores could not be read for a member");
        }
        let crates = crates.into_iter();
        let all = crates.map(|((crate_name, executes), count)| RestoredCrate {
            crate_name,
            executes,
            count,
        });
        Restored::fitting(all.collect())
    }

    fn open(&self, to: &PeerId, action: &ActionKey, digest: &Digest) -> Option<(Object, u64)> {
        if !self.admits(to) {
            return None;
        }
        let entries = self.store.entries(action).ok()?;
        let object = entries.iter().find_map(|offer| {
            self.visible(to, offer)?
                .objects()
                .find(|object| object.digest == *digest)
        })?;
        let opened = self.store.object(&object).ok()??;
        // Who is sent other bytes than were promised thinks ill of us, not of who changed them.
        if opened.was_lent() && !self.store.recheck(digest).ok()? {
            return None;
        }
        self.counters.served(object.size);
        Some((opened, object.size))
    }

    fn keys(&self) -> Vec<Digest> {
        let mut keys = Vec::new();
        let walked = self.store.each_signed(&mut |signed| {
            let Ok(entry) = Entry::from_canon(&signed.bytes) else {
                return;
            };
            // Whoever asks for what a filter names is given what is verified then.
            let again = self.team.verify_again(&entry, Source::Store, None, None);
            if again.is_ok() && entry.scope != Scope::Private {
                let both = [entry.lookup.digest(), entry.action.digest()];
                let tags = both
                    .iter()
                    .filter_map(|key| self.team.tag(&entry.scope, key));
                keys.extend(tags);
            }
        });
        let openings = openings::known(self.store.as_ref()).into_iter();
        keys.extend(openings.filter_map(|o| self.team.tag(&o.scope, &o.key)));
        if let Err(error) = walked {
            tracing::warn!(%error, "the store's keys could not be read for the filter");
        }
        keys
    }

    fn refused(&self, from: &PeerId, why: Refusal, what: &str) {
        self.counters.refused(why);
        let name = self.name(from);
        let line = || format!("refused {what} from {name} ({}): {why}", why.name());
        self.voices.0.warn(line);
    }

    fn stranger(&self, peer: &PeerId) {
        self.counters.stranger();
        let line = || format!("turned away {peer}: not a member of the team");
        self.voices.1.warn(line);
    }
}
