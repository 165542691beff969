//! One connection to a door, from outside: dials, asks, hangs up.
//!
//! Enters: addresses, a peer to insist on, requests. Leaves: the peer that answered, its answers,
//! bounded and not believed; or why there was none, in words for people. Must never happen here:
//! a request on another connection than the one that was dialled last, a wait without an end.

use super::wire::{Answer, Incoming, Request};
use super::{Limits, OneProtocol, OneProtocolEvent, swarm};
use crate::swarm::identity;
use futures::StreamExt;
use libp2p::request_response::{Event, Message, OutboundFailure, ProtocolSupport};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{Multiaddr, Swarm};
use quarry_trust::PeerId;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::time::{timeout, timeout_at};

/// How long the end of a connection may take: it is a local matter, mostly.
const HANG_UP_WITHIN: Duration = Duration::from_secs(1);
/// How long a dial may take: a far network answers in a second, a silent firewall never.
const DIAL_WITHIN: Duration = Duration::from_secs(10);
/// How long one address is alone in being dialled: the addresses of a ticket mostly lead to one
/// door, which need not see a crowd (compare RFC 8305, "connection attempt delay").
const NEXT_DIAL_AFTER: Duration = Duration::from_millis(250);

/// Why no address led to a door.
pub(super) struct Missed {
    tried: Vec<(Multiaddr, String)>,
    /// A peer that answered and was not the one insisted on.
    pub(super) wrong: Option<(Multiaddr, libp2p::PeerId)>,
}

impl Missed {
    /// Every address that was tried, and why it led nowhere.
    pub(super) fn describe(&self) -> String {
        if self.tried.is_empty() {
            return "no address".to_owned();
        }
        let each = |(address, why): &(Multiaddr, String)| format!("{address}: {why}");
        self.tried.iter().map(each).collect::<Vec<_>>().join("; ")
    }
}

/// A swarm that only dials, and one connection to a door.
pub(super) struct Caller {
    swarm: Swarm<OneProtocol>,
    door: Option<(libp2p::PeerId, ConnectionId)>,
}

impl Caller {
    pub(super) fn new(seed: &[u8; 32]) -> Result<Self, String> {
        let swarm = swarm(&Limits::REAL, seed, ProtocolSupport::Outbound)?;
        Ok(Self { swarm, door: None })
    }

    /// Our own peer.
    pub(super) fn own(&self) -> Option<PeerId> {
        identity::peer_id(self.swarm.local_peer_id())
    }

    /// Dials the addresses, the next one when one has failed or is slow, and keeps the first
    /// connection to the right peer.
    pub(super) async fn dial(
        &mut self,
        addresses: &[Multiaddr],
        pinned: Option<libp2p::PeerId>,
        deadline: Instant,
    ) -> Result<PeerId, Missed> {
        self.hang_up().await;
        let deadline = deadline.min(Instant::now() + DIAL_WITHIN);
        let mut missed = Missed {
            tried: Vec::new(),
            wrong: None,
        };
        let mut waiting = addresses.iter();
        let mut dialling = HashMap::new();
        let mut next = Instant::now();
        loop {
            if dialling.is_empty() || Instant::now() >= next {
                if let Some(address) = waiting.next() {
                    let options = dial_options(address, pinned);
                    let id = options.connection_id();
                    match self.swarm.dial(options) {
                        Ok(()) => drop(dialling.insert(id, address.clone())),
                        Err(error) => missed.tried.push((address.clone(), plainly(&error))),
                    }
                    next = Instant::now() + NEXT_DIAL_AFTER;
                    continue;
                }
                if dialling.is_empty() {
                    return Err(missed);
                }
                next = deadline;
            }
            let wake = next.min(deadline);
            let Ok(event) = timeout_at(wake.into(), self.swarm.select_next_some()).await else {
                if Instant::now() < deadline {
                    continue;
                }
                let unheard = dialling.into_values().chain(waiting.cloned());
                let silent = unheard.map(|address| (address, "no answer".to_owned()));
                missed.tried.extend(silent);
                return Err(missed);
            };
            if let Some(door) = self.on_dial_event(event, &mut dialling, &mut missed) {
                return Ok(door);
            }
        }
    }

    /// Takes note of what became of a dial; a door where one was reached.
    fn on_dial_event(
        &mut self,
        event: SwarmEvent<OneProtocolEvent>,
        dialling: &mut HashMap<ConnectionId, Multiaddr>,
        missed: &mut Missed,
    ) -> Option<PeerId> {
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            } => {
                let door =
                    identity::peer_id(&peer_id).filter(|_| dialling.contains_key(&connection_id));
                if door.is_none() {
                    dialling.remove(&connection_id);
                    self.swarm.close_connection(connection_id);
                    return None;
                }
                self.door = Some((peer_id, connection_id));
                door
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                let address = dialling.remove(&connection_id)?;
                if let DialError::WrongPeerId { obtained, .. } = &error {
                    missed.wrong = Some((address.clone(), *obtained));
                }
                missed.tried.push((address, plainly(&error)));
                None
            }
            _ => None,
        }
    }

    /// Ends the connection, so that the next request cannot go out on it.
    async fn hang_up(&mut self) {
        let Some((_, connection)) = self.door.take() else {
            return;
        };
        if !self.swarm.close_connection(connection) {
            return;
        }
        let closed = async {
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::ConnectionClosed { connection_id, .. }
                        if connection_id == connection =>
                    {
                        return;
                    }
                    _ => {}
                }
            }
        };
        let _ = timeout(HANG_UP_WITHIN, closed).await;
    }

    /// Sends one request to the door that was dialled, and hears the answer.
    pub(super) async fn ask(
        &mut self,
        request: Request,
        deadline: Instant,
    ) -> Result<Answer, String> {
        let (peer, connection) = self.door.ok_or("not connected")?;
        if !self.swarm.is_connected(&peer) {
            return Err("the connection ended".to_owned());
        }
        let exchange = &mut self.swarm.behaviour_mut().exchange;
        let asked = exchange.send_request(&peer, Incoming::Request(request));
        loop {
            let event = timeout_at(deadline.into(), self.swarm.select_next_some())
                .await
                .map_err(|_| "the time was over".to_owned())?;
            match event {
                SwarmEvent::Behaviour(OneProtocolEvent::Exchange(Event::Message {
                    message:
                        Message::Response {
                            request_id,
                            response,
                        },
                    ..
                })) if request_id == asked => return Ok(response),
                SwarmEvent::Behaviour(OneProtocolEvent::Exchange(Event::OutboundFailure {
                    request_id,
                    error,
                    ..
                })) if request_id == asked => return Err(failure(&error)),
                SwarmEvent::ConnectionClosed { connection_id, .. }
                    if connection_id == connection =>
                {
                    self.door = None;
                    return Err("the connection ended".to_owned());
                }
                // A slower dial to the same door, no longer needed.
                SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                    self.swarm.close_connection(connection_id);
                }
                _ => {}
            }
        }
    }
}

fn dial_options(address: &Multiaddr, pinned: Option<libp2p::PeerId>) -> DialOpts {
    match pinned {
        Some(peer) => DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(vec![address.clone()])
            .build(),
        None => DialOpts::unknown_peer_id().address(address.clone()).build(),
    }
}

fn failure(error: &OutboundFailure) -> String {
    match error {
        OutboundFailure::UnsupportedProtocols => "it lets nobody join on this port".to_owned(),
        OutboundFailure::Timeout => "no answer came in time".to_owned(),
        OutboundFailure::ConnectionClosed => "the connection ended".to_owned(),
        other => other.to_string(),
    }
}

/// A dial's failure without libp2p's own words around it.
fn plainly(error: &DialError) -> String {
    match error {
        DialError::WrongPeerId { .. } => "another node answers there".to_owned(),
        DialError::LocalPeerId { .. } => "that is this node itself".to_owned(),
        DialError::Transport(errors) => errors
            .first()
            .map_or_else(|| "no answer".to_owned(), |(_, error)| innermost(error)),
        other => other.to_string(),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
