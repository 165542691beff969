//! The task that owns libp2p: takes its events, the node's commands and the results of blocking
//! calls, one at a time, and never waits for any of them.
//!
//! Enters: connections that come and go, addresses, commands. Leaves: dials, listens, closed
//! connections; what members say to each other is in `dialogue`. Must never happen here: a call
//! of the host on this task (they block), an await inside a handler.

use super::announce::Announcer;
use super::behaviour::{self, Net, NetEvent};
use super::bootstrap::{Book, dialable, is_loopback, usable};
use super::fetch::Fetcher;
use super::gate::{self, MAX_MEMBERS};
use super::handoff::{Command, Done, RosterRead, Shared};
use super::identity::{NetId, net_id, peer_id};
use super::libp2p_swarm::parse;
use super::link::{Asked, FilterCache, Link, Pace};
use super::providers::Providers;
use super::{Host, SwarmError, listen};
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::request_response::OutboundRequestId;
use libp2p::swarm::behaviour::{FromSwarm, NewListenAddr};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, identify, mdns, ping};
use quarry_trust::{Digest, PeerId, Refusal};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Dials that are due and filters that are wanted are looked at this often.
const TICK: Duration = Duration::from_millis(500);
/// Closing connections politely takes at most this long, of the second that shutdown has.
const GOODBYE: Duration = Duration::from_millis(700);
/// Blocking calls under way while strangers and refusals are still counted; above, they go
/// uncounted: a flood of them is known by then.
pub(super) const MAX_JOBS: usize = 1024;

/// See the module.
pub(super) struct Driver {
    pub(super) swarm: libp2p::Swarm<Net>,
    pub(super) host: Arc<dyn Host>,
    pub(super) shared: Arc<Shared>,
    fetcher: Arc<Fetcher>,
    commands: mpsc::Receiver<Command>,
    pub(super) jobs: JoinSet<Done>,
    mdns: bool,
    pub(super) members: HashSet<PeerId>,
    pub(super) roster: Option<Vec<u8>>,
    tags: Option<Digest>,
    reading_roster: Option<tokio::task::Id>,
    read_again: bool,
    pub(super) links: HashMap<PeerId, Link>,
    pub(super) paces: HashMap<PeerId, Pace>,
    pub(super) asked: HashMap<OutboundRequestId, Asked>,
    pub(super) announcer: Announcer,
    pub(super) filter: FilterCache,
    pub(super) providers: Providers,
    pub(super) book: Book,
    listeners: Vec<(ListenerId, Multiaddr)>,
    to_bind: usize,
}

impl Driver {
    /// A driver that admits nobody yet.
    pub(super) fn new(
        swarm: libp2p::Swarm<Net>,
        host: Arc<dyn Host>,
        shared: Arc<Shared>,
        fetcher: Arc<Fetcher>,
        commands: mpsc::Receiver<Command>,
        mdns: bool,
    ) -> Self {
        // Generations of one node must grow over restarts; nanoseconds do.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let generation = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2);
        Self {
            swarm,
            host,
            shared,
            fetcher,
            commands,
            jobs: JoinSet::new(),
            mdns,
            members: HashSet::new(),
            roster: None,
            tags: None,
            reading_roster: None,
            read_again: false,
            links: HashMap::new(),
            paces: HashMap::new(),
            asked: HashMap::new(),
            announcer: Announcer::new(generation),
            filter: FilterCache::default(),
            providers: Providers::default(),
            book: Book::default(),
            listeners: Vec::new(),
            to_bind: 0,
        }
    }

    /// Binds the listen addresses.
    pub(super) fn listen(&mut self, addresses: &[String]) -> Result<(), SwarmError> {
        self.to_bind = listen::listen(&mut self.swarm, addresses)?;
        Ok(())
    }

    /// Learns addresses from earlier runs.
    pub(super) fn remember(&mut self, remembered: Vec<(PeerId, Vec<String>)>) {
        for (peer, addresses) in remembered {
            self.book.learn(peer, parse(&addresses), Instant::now());
        }
    }

    /// Reads the roster on the caller's thread, before the loop runs.
    pub(super) fn read_roster_now(&mut self) {
        let read = read_roster(&*self.host);
        self.tags = Some(read.tags);
        self.apply_roster(read);
    }

    /// The loop. `started` hears once every address is bound, `ended` when all is over.
    pub(super) async fn run(mut self, started: SyncSender<()>, ended: SyncSender<()>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = self.shared.clone();
        let mut started = Some(started);
        loop {
            if self.listeners.len() >= self.to_bind
                && let Some(started) = started.take()
            {
                // Nobody listens any more only where the start was given up.
                let _ = started.try_send(());
            }
            let due = self
                .announcer
                .due(Instant::now())
                .map(tokio::time::Instant::from_std);
            let batch = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(command) = self.commands.recv() => self.on_command(command),
                Some(done) = self.jobs.join_next() => self.on_done(done),
                () = shared.wake.notified() => self.take_queued(),
                () = shared.roster.notified() => self.read_roster(),
                () = batch => {}
                _ = tick.tick() => self.on_tick(),
                () = shared.stop.notified() => break,
            }
            self.publish();
        }
        self.goodbye().await;
        let _ = ended.try_send(());
    }

    /// Closes every connection, and waits until the peers were told.
    async fn goodbye(&mut self) {
        let connected: Vec<NetId> = self.swarm.connected_peers().copied().collect();
        for net in connected {
            // An error means that it is gone already.
            let _ = self.swarm.disconnect_peer_id(net);
        }
        let closing = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        if tokio::time::timeout(GOODBYE, closing).await.is_err() {
            tracing::debug!("some peers were left without a goodbye");
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Ask { peer, ask, reply } => self.question(peer, ask, reply),
            Command::Restored {
                peer,
                builder,
                reply,
            } => self.question_restored(peer, builder, reply),
            Command::Addresses { peer, addresses } => {
                self.book.learn(peer, addresses, Instant::now());
                self.dial_due();
            }
            Command::Expect { peer, addresses } => {
                Providers::expect(&mut self.swarm.behaviour_mut().kad, &peer, &addresses);
            }
            Command::Publish { done } => {
                self.take_queued();
                self.announcer.hurry();
                self.publish();
                // Who asked may have given up.
                let _ = done.try_send(());
            }
        }
    }

    fn take_queued(&mut self) {
        let queued = self.shared.take();
        let now = Instant::now();
        if queued.overflow {
            self.announcer.restart(now);
        }
        self.announcer.queue(queued.announce, now);
        self.providers.provide(queued.provide);
        self.providers.seek(queued.seek);
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        self.dial_due();
        self.ask_wanted(now);
        if self.reading_roster.is_none() && std::mem::take(&mut self.read_again) {
            self.read_roster();
        }
        if self.links.is_empty() {
            return;
        }
        let lost = self.book.lost(&self.members);
        self.providers
            .tick(&mut self.swarm.behaviour_mut().kad, &lost, now);
    }

    fn on_event(&mut self, event: SwarmEvent<NetEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished {
                peer_id: net,
                connection_id,
                endpoint,
                ..
            } => {
                let dialed = endpoint
                    .is_dialer()
                    .then(|| endpoint.get_remote_address().clone());
                let remote = endpoint.get_remote_address().clone();
                self.on_connected(&net, connection_id, &remote, dialed.as_ref());
            }
            SwarmEvent::ConnectionClosed {
                peer_id: net,
                connection_id,
                num_established,
                cause,
                ..
            } => {
                tracing::debug!(%net, ?cause, "a connection closed");
                self.on_closed(&net, connection_id, num_established);
            }
            SwarmEvent::IncomingConnectionError {
                peer_id: Some(net),
                error,
                ..
            } if gate::turned_away(&error) => {
                self.turned_away(&net);
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(net),
                error,
                ..
            } => {
                self.on_dial_failed(&net, &error);
            }
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => {
                self.listeners.push((listener_id, address));
                self.tell_listening();
            }
            SwarmEvent::ExpiredListenAddr {
                listener_id,
                address,
            } => {
                self.listeners
                    .retain(|(id, a)| (*id, a) != (listener_id, &address));
                self.tell_listening();
            }
            SwarmEvent::ListenerClosed {
                listener_id,
                reason,
                ..
            } => {
                tracing::warn!(
                    ?reason,
                    "a listener closed; restart the node to listen there again"
                );
                self.listeners.retain(|(id, _)| *id != listener_id);
                self.tell_listening();
            }
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: NetEvent) {
        match event {
            NetEvent::Ask(event) => self.on_ask_event(event),
            NetEvent::Gossip(event) => self.on_gossip(event),
            NetEvent::Kad(event) => self.on_kad(event),
            NetEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                connection_id,
            }) => {
                self.on_identified(&peer_id, connection_id, info.listen_addrs);
            }
            NetEvent::Ping(ping::Event {
                peer: net,
                connection,
                result,
            }) => match result {
                Ok(time) => {
                    if let Some(peer) = peer_id(&net) {
                        self.shared.index.round_trip(&peer, time);
                    }
                }
                Err(ping::Failure::Timeout) => {
                    tracing::info!(%net, "no pong: the connection is given up");
                    self.swarm.close_connection(connection);
                }
                Err(_) => {}
            },
            NetEvent::Mdns(mdns::Event::Discovered(seen)) => {
                let now = Instant::now();
                for (net, address) in seen {
                    if let Some(peer) = peer_id(&net).filter(|p| self.members.contains(p)) {
                        self.book.learn(peer, [address], now);
                    }
                }
                self.dial_due();
            }
            _ => {}
        }
    }

    fn on_connected(
        &mut self,
        net: &NetId,
        connection: ConnectionId,
        remote: &Multiaddr,
        dialed: Option<&Multiaddr>,
    ) {
        let Some(peer) = peer_id(net).filter(|peer| self.members.contains(peer)) else {
            return;
        };
        self.book.connected(peer, dialed, Instant::now());
        let link = self.links.entry(peer).or_default();
        link.connections.insert(connection, remote.clone());
        if link.connections.len() == 1 {
            let address = dialed.and_then(dialable).unwrap_or_else(|| remote.clone());
            self.shared.index.connected(&peer, address.to_string());
        } else if link.accepted {
            // Another of a member that took our roster. It may be one for a moment only: whoever
            // dials an address that was somebody else's sees too late whose it is.
            return;
        }
        self.send_roster(&peer);
    }

    fn on_closed(&mut self, net: &NetId, connection: ConnectionId, left: u32) {
        let Some(peer) = peer_id(net) else { return };
        if let Some(link) = self.links.get_mut(&peer) {
            link.connections.remove(&connection);
        }
        if left > 0 {
            return;
        }
        // Also for who was revoked: it may be let in again, and is then to be dialed.
        if self.book.disconnected(&peer, Instant::now()) {
            self.shared.index.turned_away(&peer);
        }
        if self.links.remove(&peer).is_some() {
            self.shared.index.disconnected(&peer);
            self.fetcher.forget(&peer);
        }
    }

    fn on_dial_failed(&mut self, net: &NetId, error: &DialError) {
        if matches!(error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        let Some(peer) = peer_id(net) else { return };
        tracing::debug!(?peer, %error, "a dial failed");
        self.book.failed(&peer, Instant::now());
        // Otherwise each search dials it again. It is back with its next connection.
        if !self.links.contains_key(&peer) {
            self.swarm.behaviour_mut().kad.remove_peer(net);
        }
    }

    fn turned_away(&mut self, net: &NetId) {
        let Some(peer) = peer_id(net) else { return };
        if self.jobs.len() >= MAX_JOBS {
            return;
        }
        let host = self.host.clone();
        self.jobs.spawn_blocking(move || {
            host.stranger(&peer);
            Done::Told
        });
    }

    /// A member said where it listens.
    fn on_identified(&mut self, net: &NetId, connection: ConnectionId, addresses: Vec<Multiaddr>) {
        let Some(peer) = peer_id(net) else { return };
        let Some(remote) = self
            .links
            .get(&peer)
            .and_then(|l| l.connections.get(&connection))
        else {
            return;
        };
        let usable = usable(&addresses, is_loopback(remote));
        if let Some(best) = usable
            .iter()
            .find(|a| a.iter().next() == remote.iter().next())
        {
            self.shared.index.address(&peer, best.to_string());
        }
        let kad = &mut self.swarm.behaviour_mut().kad;
        // What it said before is forgotten: Kademlia keeps whatever it is given, and a member may
        // say something else every millisecond.
        kad.remove_peer(net);
        for address in &usable {
            kad.add_address(net, address.clone());
        }
        self.book.learn(peer, usable, Instant::now());
    }

    pub(super) fn dial_due(&mut self) {
        let now = Instant::now();
        for (peer, addresses) in self.book.due(&self.members, now) {
            let Some(net) = net_id(&peer) else { continue };
            let options = DialOpts::peer_id(net)
                .addresses(addresses)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .allocate_new_port()
                .build();
            if self.swarm.dial(options).is_err() {
                self.book.failed(&peer, now);
            }
        }
    }

    fn on_kad(&mut self, event: libp2p::kad::Event) {
        let now = Instant::now();
        if let Some(peer) = super::providers::puts_a_value(&event) {
            let why = Refusal::Corrupt("value records are not kept");
            self.refuse(peer, why, "a value record");
        }
        let kad = &mut self.swarm.behaviour_mut().kad;
        for found in self.providers.event(kad, event, &self.members, now) {
            self.book.retry(&found.peer, now);
            self.book.learn(found.peer, found.addresses, now);
        }
        self.dial_due();
    }

    /// Reads roster and members from the host, on a blocking thread; a change meanwhile makes
    /// it read again.
    pub(super) fn read_roster(&mut self) {
        if self.reading_roster.is_some() {
            self.read_again = true;
            return;
        }
        let host = self.host.clone();
        let job = move || Done::Roster(read_roster(&*host));
        self.reading_roster = Some(self.jobs.spawn_blocking(job).id());
    }

    fn on_done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Roster(read)) => {
                self.reading_roster = None;
                let tags = self.tags.replace(read.tags);
                let other_tags = tags != self.tags;
                let news = self.apply_roster(read);
                if news || other_tags {
                    self.greet();
                }
                if other_tags || !news {
                    // Other tags, or other keys: peers are to ask for the filter again.
                    self.announcer.restart(Instant::now());
                }
                if std::mem::take(&mut self.read_again) {
                    self.read_roster();
                }
            }
            Ok(done) => self.on_answered(done),
            Err(error) => {
                tracing::error!(%error, "a call of the node failed");
                // Which call it was is known of the roster's alone, which the next tick repeats.
                self.filter.building = false;
                let links = self.links.values_mut();
                links.for_each(|l| l.filter_wanted |= std::mem::take(&mut l.filter_asked));
                if self.reading_roster == Some(error.id()) {
                    (self.reading_roster, self.read_again) = (None, true);
                }
            }
        }
    }

    /// Makes gate, index and dials follow the roster. True where it changed.
    fn apply_roster(&mut self, read: RosterRead) -> bool {
        let behaviour = self.swarm.behaviour_mut();
        let change = gate::apply(&mut behaviour.gate, &self.members, &read.members);
        for peer in &change.removed {
            tracing::info!(?peer, "no member any more: its connections are closed");
            if let Some(net) = net_id(peer) {
                self.providers.forget(&mut behaviour.kad, &net);
            }
            self.paces.remove(peer);
            self.links.remove(peer);
            self.fetcher.forget(peer);
        }
        self.members = read.members;
        self.shared.index.keep(&self.members);
        for peer in &change.added {
            self.book.retry(peer, Instant::now());
            self.providers.hurry();
        }
        let news = self.roster != read.wire;
        self.roster = read.wire;
        self.set_mdns(self.mdns && self.roster.is_some());
        self.dial_due();
        news
    }

    /// Gives everybody our roster again.
    fn greet(&mut self) {
        let connected: Vec<PeerId> = self.links.keys().copied().collect();
        for peer in connected {
            self.send_roster(&peer);
        }
    }

    /// mDNS speaks only for a node in a team. One that starts late is told where we listen.
    fn set_mdns(&mut self, on: bool) {
        let own = *self.swarm.local_peer_id();
        let slot = &mut self.swarm.behaviour_mut().mdns;
        if slot.is_enabled() == on {
            return;
        }
        let mut started = None;
        if on {
            match behaviour::mdns(own) {
                Ok(mdns) => started = Some(mdns),
                Err(error) => {
                    tracing::warn!(%error, "mDNS does not start: teammates are found by address only");
                }
            }
        }
        if let Some(mdns) = &mut started {
            for (listener_id, addr) in &self.listeners {
                let listening = NewListenAddr {
                    listener_id: *listener_id,
                    addr,
                };
                mdns.on_swarm_event(FromSwarm::NewListenAddr(listening));
            }
        }
        *slot = started.into();
    }

    fn tell_listening(&self) {
        let all = self
            .listeners
            .iter()
            .map(|(_, address)| address.to_string())
            .collect();
        self.shared.set_listening(all);
    }
}

fn read_roster(host: &dyn Host) -> RosterRead {
    let tags = host.tags();
    let Some(wire) = host.roster(None) else {
        return RosterRead {
            wire: None,
            members: HashSet::new(),
            tags,
        };
    };
    let members = host.members().into_iter().filter(|peer| host.admits(peer));
    RosterRead {
        wire: Some(wire),
        members: members.take(MAX_MEMBERS).collect(),
        tags,
    }
}
