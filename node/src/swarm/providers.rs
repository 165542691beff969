//! Kademlia: finding members that we are not connected to, and who holds a key among them.
//!
//! Enters: keys that were expensive to build, keys that are sought, members that are lost, the
//! time. Leaves: addresses of members. Paced (a few queries at a time), bounded (a fixed number
//! of records, ours and others'), and off every critical path. Must never happen here: a record
//! that is believed; it only says whom to dial, and the gate decides whether.

use super::bootstrap::{is_loopback, usable};
use super::identity::{NetId, net_id, peer_id};
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig, RecordStore};
use libp2p::kad::{
    Behaviour, Config, Event, GetProvidersOk, InboundRequest, Mode, ProviderRecord, QueryId,
    QueryResult, RecordKey, StoreInserts,
};
use libp2p::{Multiaddr, StreamProtocol};
use quarry_trust::{Digest, PeerId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// The protocol's name and version.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/quarry/kad/1");
/// Nodes that keep a record. Lookups at 3 cost a third of those at 20, and providing a sixth.
const REPLICATION: NonZeroUsize = NonZeroUsize::new(3).expect("not zero");
/// Keys that we provide; the oldest give way. A republication is one burst of that many.
const MAX_OWN: usize = 1024;
/// Records that others may leave with us, in all.
const MAX_FOREIGN: usize = 8192;
/// Records that one member may leave with us.
const MAX_FOREIGN_EACH: usize = 1024;
/// Providers under one key.
const MAX_PER_KEY: usize = 20;
/// How long a record lives.
const RECORD_TTL: Duration = Duration::from_secs(48 * 3600);
/// How often ours are provided again.
const REPUBLISH: Duration = Duration::from_secs(12 * 3600);
/// A query that takes longer is given up.
const QUERY_WITHIN: Duration = Duration::from_secs(20);
/// Queries under way at once.
const MAX_QUERIES: usize = 8;
/// Keys that wait to be sought; more are forgotten, since a build will have gone on by then.
const MAX_SOUGHT: usize = 64;
/// Between searches for members without a connection.
const FIND_EVERY: Duration = Duration::from_secs(30);
/// Members looked for in one search.
const FIND_AT_ONCE: usize = 4;
/// Between sweeps of records that expired: libp2p only drops those that somebody asks for.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// The behaviour, with its limits.
pub(super) fn behaviour(own: NetId) -> Behaviour<MemoryStore> {
    let store = MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: MAX_PER_KEY,
        max_provided_keys: MAX_OWN + MAX_FOREIGN,
    };
    let mut config = Config::new(PROTOCOL);
    config
        .set_replication_factor(REPLICATION)
        .set_query_timeout(QUERY_WITHIN)
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_provider_record_ttl(Some(RECORD_TTL))
        .set_provider_publication_interval(Some(REPUBLISH))
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_periodic_bootstrap_interval(None);
    let store = MemoryStore::with_config(own, store);
    let mut kad = Behaviour::with_config(own, store, config);
    // On a LAN no address is ever confirmed from outside; every member serves all the same.
    kad.set_mode(Some(Mode::Server));
    kad
}

/// A member that was found, perhaps with addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Who.
    pub(super) peer: PeerId,
    /// Where; empty where only its holding a key is known.
    pub(super) addresses: Vec<Multiaddr>,
}

/// What is to be asked, and what is being asked.
#[derive(Debug, Default)]
pub(super) struct Providers {
    to_provide: VecDeque<Digest>,
    provided: VecDeque<Digest>,
    sought: VecDeque<Digest>,
    queries: HashSet<QueryId>,
    foreign: HashMap<(RecordKey, NetId), Instant>,
    next_find: Option<Instant>,
    next_sweep: Option<Instant>,
    find_from: usize,
}

impl Providers {
    /// Queues keys to provide.
    pub(super) fn provide(&mut self, keys: impl IntoIterator<Item = Digest>) {
        self.to_provide.extend(keys);
        let excess = self.to_provide.len().saturating_sub(MAX_OWN);
        self.to_provide.drain(..excess);
    }

    /// Queues keys to look for.
    pub(super) fn seek(&mut self, keys: impl IntoIterator<Item = Digest>) {
        self.sought.extend(keys);
        let excess = self.sought.len().saturating_sub(MAX_SOUGHT);
        self.sought.drain(..excess);
    }

    /// Has members without a connection looked for with the next tick: one of them is new.
    pub(super) const fn hurry(&mut self) {
        self.next_find = None;
    }

    /// Tells who looks for a newcomer where it says that it listens, though it should have left us
    /// before it said so here.
    pub(super) fn expect(kad: &mut Behaviour<MemoryStore>, peer: &PeerId, addresses: &[Multiaddr]) {
        let Some(net) = net_id(peer) else { return };
        // Where there is nothing else, it listens on this machine.
        let here = addresses.iter().all(is_loopback);
        for address in usable(addresses, here) {
            kad.add_address(&net, address);
        }
    }

    /// Starts what is due, within the bounds. `lost` are members without a connection; without
    /// any peer connected nothing is asked.
    pub(super) fn tick(
        &mut self,
        kad: &mut Behaviour<MemoryStore>,
        lost: &[&PeerId],
        now: Instant,
    ) {
        if self.next_sweep.is_none_or(|at| now >= at) {
            self.next_sweep = Some(now + SWEEP_EVERY);
            self.sweep(kad, now);
        }
        if !lost.is_empty() && self.next_find.is_none_or(|at| now >= at) {
            self.next_find = Some(now + FIND_EVERY);
            for step in 0..FIND_AT_ONCE.min(lost.len()) {
                let peer = lost[(self.find_from + step) % lost.len()];
                if let Some(net) = net_id(peer) {
                    self.queries.insert(kad.get_closest_peers(net));
                }
            }
            self.find_from = self.find_from.wrapping_add(FIND_AT_ONCE);
        }
        while self.queries.len() < MAX_QUERIES {
            if let Some(key) = self.sought.pop_front() {
                self.queries.insert(kad.get_providers(record_key(&key)));
            } else if let Some(key) = self.to_provide.pop_front() {
                self.start_providing(kad, key);
            } else {
                break;
            }
        }
    }

    fn start_providing(&mut self, kad: &mut Behaviour<MemoryStore>, key: Digest) {
        if self.provided.contains(&key) {
            return;
        }
        if self.provided.len() >= MAX_OWN
            && let Some(oldest) = self.provided.pop_front()
        {
            kad.stop_providing(&record_key(&oldest));
        }
        match kad.start_providing(record_key(&key)) {
            Ok(query) => {
                self.queries.insert(query);
                self.provided.push_back(key);
            }
            Err(error) => tracing::debug!(%error, "a key was not provided"),
        }
    }

    /// Takes an event, and returns members that it found.
    pub(super) fn event(
        &mut self,
        kad: &mut Behaviour<MemoryStore>,
        event: Event,
        members: &HashSet<PeerId>,
        now: Instant,
    ) -> Vec<Found> {
        match event {
            Event::InboundRequest {
                request:
                    InboundRequest::AddProvider {
                        record: Some(record),
                    },
            } => {
                self.keep(kad, record, members, now);
                Vec::new()
            }
            Event::OutboundQueryProgressed {
                id, result, step, ..
            } => {
                if step.last {
                    self.queries.remove(&id);
                }
                let mut found = found(result);
                found.retain(|found| members.contains(&found.peer));
                found
            }
            _ => Vec::new(),
        }
    }

    /// Keeps a member's record, within the bounds.
    fn keep(
        &mut self,
        kad: &mut Behaviour<MemoryStore>,
        mut record: ProviderRecord,
        members: &HashSet<PeerId>,
        now: Instant,
    ) {
        let known = peer_id(&record.provider).is_some_and(|peer| members.contains(&peer));
        let name = (record.key.clone(), record.provider);
        let each = self
            .foreign
            .keys()
            .filter(|(_, by)| *by == record.provider)
            .count();
        let room = self.foreign.contains_key(&name)
            || (self.foreign.len() < MAX_FOREIGN && each < MAX_FOREIGN_EACH);
        if !known || !room || record.key.as_ref().len() != quarry_trust::digest::DIGEST_LEN {
            return;
        }
        record.addresses.truncate(super::bootstrap::MAX_ADDRESSES);
        if kad.store_mut().add_provider(record).is_ok() {
            self.foreign.insert(name, now + RECORD_TTL);
        }
    }

    /// Drops records that expired.
    fn sweep(&mut self, kad: &mut Behaviour<MemoryStore>, now: Instant) {
        self.drop_where(kad, |_, until| until <= now);
    }

    /// A member left: its records go.
    pub(super) fn forget(&mut self, kad: &mut Behaviour<MemoryStore>, net: &NetId) {
        kad.remove_peer(net);
        self.drop_where(kad, |by, _| by == net);
    }

    fn drop_where(
        &mut self,
        kad: &mut Behaviour<MemoryStore>,
        gone: impl Fn(&NetId, Instant) -> bool,
    ) {
        self.foreign.retain(|(key, by), until| {
            let gone = gone(by, *until);
            if gone {
                kad.store_mut().remove_provider(key, by);
            }
            !gone
        });
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Providers {
    /// For `fuzzing`: what is kept is of members, and within the bounds.
    pub(super) fn check(&self, members: &HashSet<PeerId>) {
        assert!(self.foreign.len() <= MAX_FOREIGN);
        for (key, by) in self.foreign.keys() {
            assert!(peer_id(by).is_some_and(|peer| members.contains(&peer)));
            assert_eq!(key.as_ref().len(), quarry_trust::digest::DIGEST_LEN);
        }
    }
}

/// Who asks us to keep a value: no node of ours ever does, and none is kept.
pub(super) fn puts_a_value(event: &Event) -> Option<PeerId> {
    match event {
        Event::InboundRequest {
            request: InboundRequest::PutRecord { source, .. },
        } => peer_id(source),
        _ => None,
    }
}

fn record_key(key: &Digest) -> RecordKey {
    RecordKey::new(key.as_bytes())
}

fn found(result: QueryResult) -> Vec<Found> {
    let of = |net: &NetId, addresses| {
        Some(Found {
            peer: peer_id(net)?,
            addresses,
        })
    };
    match result {
        QueryResult::GetClosestPeers(Ok(ok)) => ok
            .peers
            .into_iter()
            .filter_map(|info| of(&info.peer_id, info.addrs))
            .collect(),
        QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
            providers
                .iter()
                .filter_map(|net| of(net, Vec::new()))
                .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "providers_tests.rs"]
mod tests;
