//! A swarm without a network, for tests of other rooms: hosts in one process, connected.
//!
//! Enters: hosts that join a [`MemoryNet`]. Leaves: the same answers that the real swarm gives,
//! at once: members see each other if both admit the other, rosters are exchanged when one
//! joins or changes, keys are candidates when they are announced. Must never happen here: a
//! thread, a socket, a rule that the real swarm does not have.

use super::wire::fit_offers;
use super::{Ask, Host, PeerStatus, Restored, Swarm, SwarmError, Taken};
use crate::store::{Object, Offer};
use quarry_trust::{ActionKey, BuilderId, Digest, ObjectRef, PeerId, Refusal};
use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

/// The wire between hosts.
#[derive(Default)]
pub struct MemoryNet {
    nodes: Mutex<BTreeMap<PeerId, Node>>,
}

#[derive(Clone)]
struct Node {
    host: Weak<dyn Host>,
    keys: HashSet<u64>,
}

/// One host's end.
pub struct MemorySwarm {
    own: PeerId,
    host: Arc<dyn Host>,
    net: Arc<MemoryNet>,
    shunned: Mutex<HashSet<PeerId>>,
}

impl MemoryNet {
    /// A net without hosts.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Connects a host under a peer id, and exchanges rosters with everyone there.
    pub fn join(self: &Arc<Self>, own: PeerId, host: Arc<dyn Host>) -> MemorySwarm {
        let node = Node {
            host: Arc::downgrade(&host),
            keys: HashSet::new(),
        };
        self.lock().insert(own, node);
        let swarm = MemorySwarm {
            own,
            host,
            net: self.clone(),
            shunned: Mutex::default(),
        };
        swarm.roster_changed();
        swarm
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PeerId, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self, own: &PeerId) -> Vec<(PeerId, Arc<dyn Host>, HashSet<u64>)> {
        let alive =
            |(peer, node): (&PeerId, &Node)| Some((*peer, node.host.upgrade()?, node.keys.clone()));
        self.lock()
            .iter()
            .filter(|(peer, _)| *peer != own)
            .filter_map(alive)
            .collect()
    }
}

impl MemorySwarm {
    /// Who is there and admits us as we admit them.
    fn connected(&self) -> Vec<(PeerId, Arc<dyn Host>, HashSet<u64>)> {
        if !self.net.lock().contains_key(&self.own) {
            return Vec::new();
        }
        let mut others = self.net.others(&self.own);
        others.retain(|(peer, host, _)| {
            let both_in_teams = self.host.roster(None).is_some() && host.roster(None).is_some();
            both_in_teams && self.host.admits(peer) && host.admits(&self.own)
        });
        others
    }

    fn reach(&self, peer: &PeerId) -> Result<Arc<dyn Host>, SwarmError> {
        let found = self
            .connected()
            .into_iter()
            .find(|(other, _, _)| other == peer);
        found
            .map(|(_, host, _)| host)
            .ok_or(SwarmError::NotConnected(*peer))
    }

    fn refuse(&self, peer: &PeerId, why: Refusal, what: &str) -> SwarmError {
        self.misbehaved(peer);
        self.host.refused(peer, why, what);
        SwarmError::Refused { peer: *peer, why }
    }
}

impl Swarm for MemorySwarm {
    fn candidates(&self, key: &Digest) -> Vec<PeerId> {
        let shunned = self
            .shunned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.connected()
            .into_iter()
            .filter(|(peer, _, keys)| keys.contains(&key.short()) && !shunned.contains(peer))
            .map(|(peer, _, _)| peer)
            .collect()
    }

    fn ask(&self, peer: &PeerId, ask: Ask, deadline: Instant) -> Result<Vec<Offer>, SwarmError> {
        let host = self.reach(peer)?;
        if Instant::now() >= deadline {
            return Err(SwarmError::Deadline(*peer));
        }
        Ok(fit_offers(host.offers(&self.own, &ask)))
    }

    fn restored(
        &self,
        peer: &PeerId,
        builder: &BuilderId,
        deadline: Instant,
    ) -> Result<Restored, SwarmError> {
        let host = self.reach(peer)?;
        if Instant::now() >= deadline {
            return Err(SwarmError::Deadline(*peer));
        }
        Ok(host.restored(&self.own, builder))
    }

    fn fetch(
        &self,
        peer: &PeerId,
        action: &ActionKey,
        object: &ObjectRef,
        sink: &mut dyn Write,
        deadline: Instant,
    ) -> Result<(), SwarmError> {
        let host = self.reach(peer)?;
        if Instant::now() >= deadline {
            return Err(SwarmError::Deadline(*peer));
        }
        let opened = host.open(&self.own, action, &object.digest);
        let (body, size) = opened.ok_or(SwarmError::Absent(*peer))?;
        let size = match &body {
            Object::Bytes(bytes) => bytes.len() as u64,
            Object::File(_) | Object::Settled(_) => size,
        };
        let mut reader = body.reader(size);
        if size != object.size {
            let why = if size > object.size {
                Refusal::Oversize
            } else {
                Refusal::Corrupt("shorter than its entry says")
            };
            return Err(self.refuse(peer, why, "an object"));
        }
        let copied = io::copy(&mut reader, sink).map_err(SwarmError::Sink)?;
        if copied < size {
            return Err(SwarmError::Lost {
                peer: *peer,
                what: "the file ended early".to_owned(),
            });
        }
        Ok(())
    }

    fn announce(&self, keys: &[Digest]) {
        if let Some(node) = self.net.lock().get_mut(&self.own) {
            node.keys.extend(keys.iter().map(Digest::short));
        }
    }

    fn publish(&self) {}

    fn provide(&self, _: &[Digest]) {}

    fn seek(&self, _: &Digest) {}

    fn misbehaved(&self, peer: &PeerId) {
        self.shunned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(*peer);
    }

    fn roster_changed(&self) {
        let keys = self.host.keys().iter().map(Digest::short).collect();
        if let Some(node) = self.net.lock().get_mut(&self.own) {
            node.keys = keys;
        }
        // News travel on from who learnt them, as they do between real nodes.
        let mut news = vec![(self.own, self.host.clone())];
        while let Some((from, teller)) = news.pop() {
            for (peer, host, _) in self.net.others(&from) {
                let meet = teller.admits(&peer) && host.admits(&from);
                let (Some(told), Some(heard)) =
                    (teller.roster(Some(&peer)), host.roster(Some(&from)))
                else {
                    continue;
                };
                if !meet {
                    continue;
                }
                if host.merge_roster(&from, &told) == Taken::Grew {
                    news.push((peer, host));
                }
                if teller.merge_roster(&peer, &heard) == Taken::Grew {
                    news.push((from, teller.clone()));
                }
            }
        }
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let connected = self.connected();
        let mut members = self.host.members();
        members.sort_unstable();
        let status = |peer: PeerId| {
            let link = connected.iter().find(|(other, _, _)| *other == peer);
            PeerStatus {
                peer,
                connected: link.is_some(),
                address: String::new(),
                round_trip: None,
                bytes_in: 0,
                bytes_out: 0,
                keys: link.map_or(0, |(_, _, keys)| keys.len() as u64),
                bandwidth: None,
                offences: 0,
                in_vain: 0,
                turned_away: 0,
                left_out: None,
            }
        };
        members.into_iter().map(status).collect()
    }

    fn listening(&self) -> Vec<String> {
        Vec::new()
    }

    fn add_addresses(&self, _: &PeerId, _: &[String]) {}

    fn expect(&self, _: &PeerId, _: &[String]) {}

    fn shutdown(&self) {
        self.net.lock().remove(&self.own);
    }
}
