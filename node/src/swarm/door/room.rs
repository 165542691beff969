//! The task behind an open door: takes connections, hears requests, asks the host, answers.
//!
//! Enters: the small swarm's events. Leaves: questions to the host, on blocking threads, and
//! answers on the wire. A connection ends when its time is over, when it has asked often
//! enough, or when it sends what is no request. Must never happen here: an answer to a peer
//! that is not the one noise vouched for.

use super::claim::JoinRefusal;
use super::wire::{Answer, Incoming, MAX_ROSTER, Request};
use super::{DoorError, DoorHost, Limits, OneProtocol, OneProtocolEvent, Verdict, listen, swarm};
use crate::swarm::identity;
use crate::ticket::{MAX_ADDRESSES, is_address, secret_digest};
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::request_response::{
    Event, InboundRequestId, Message, ProtocolSupport, ResponseChannel,
};
use libp2p::swarm::{ConnectionId, ListenError, SwarmEvent};
use libp2p::{Multiaddr, Swarm};
use quarry_trust::PeerId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// How long answers under way may take once the door is closing.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
/// How long newcomers may take to hang up after their last answer: one that hangs up itself has
/// read it.
const HANG_UP_WITHIN: Duration = Duration::from_millis(500);
/// How long interfaces may take to be listed.
const LISTEN_WITHIN: Duration = Duration::from_secs(3);
/// Interfaces are listed one after another, and nothing says which is the last: this long after
/// one, no other comes.
const LISTED_AFTER: Duration = Duration::from_millis(100);

type Reply = (ConnectionId, ResponseChannel<Answer>, Answer);

/// A connection's budget.
struct Budget {
    until: Instant,
    requests: u32,
}

pub(super) struct Room {
    limits: Limits,
    swarm: Swarm<OneProtocol>,
    own: PeerId,
    host: Arc<dyn DoorHost>,
    addresses: Arc<Mutex<Vec<String>>>,
    budgets: HashMap<ConnectionId, Budget>,
    /// Questions at the host; bounded by connections times streams.
    asked: JoinSet<Reply>,
    /// Answers that are not on the wire yet.
    unsent: HashSet<InboundRequestId>,
    closing: bool,
}

impl Room {
    /// Listens, and waits until each listener has said where.
    pub(super) async fn enter(
        limits: Limits,
        seed: &[u8; 32],
        wanted: &[Multiaddr],
        host: Arc<dyn DoorHost>,
        addresses: Arc<Mutex<Vec<String>>>,
    ) -> Result<Self, DoorError> {
        let mut swarm = swarm(&limits, seed, ProtocolSupport::Inbound).map_err(DoorError::Swarm)?;
        let own = identity::peer_id(swarm.local_peer_id())
            .ok_or_else(|| DoorError::Swarm("the peer key is not ed25519".to_owned()))?;
        let mut silent = HashSet::new();
        // All are looked at before one is taken: our own IPv4 listener must not make its IPv6
        // twin look taken.
        let free: Vec<Multiaddr> = wanted.iter().map(listen::free_port).collect();
        for address in free {
            let listener = swarm
                .listen_on(address.clone())
                .map_err(|error| DoorError::Listen(address.to_string(), error.to_string()))?;
            silent.insert(listener);
        }
        let mut room = Self {
            limits,
            swarm,
            own,
            host,
            addresses,
            budgets: HashMap::new(),
            asked: JoinSet::new(),
            unsent: HashSet::new(),
            closing: false,
        };
        room.hear_where(silent).await;
        Ok(room)
    }

    /// Waits until each of the `silent` listeners has said where, and all of its addresses: a
    /// ticket is written at once.
    async fn hear_where(&mut self, mut silent: HashSet<ListenerId>) {
        let mut deadline = Instant::now() + LISTEN_WITHIN;
        while let Ok(event) = timeout_at(deadline, self.swarm.select_next_some()).await {
            if let SwarmEvent::NewListenAddr { listener_id, .. } = &event {
                silent.remove(listener_id);
                if silent.is_empty() {
                    deadline = Instant::now() + LISTED_AFTER;
                }
            }
            self.on_event(event);
        }
    }

    /// Serves until told to stop, then finishes what is under way.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            let next_end = self.next_end();
            tokio::select! {
                // A dropped door is a closed door.
                _ = &mut stopped => break,
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(reply) = self.asked.join_next() => self.on_reply(reply.ok()),
                () = sleep_until(next_end) => self.close_overdue(),
            }
        }
        self.finish().await;
    }

    async fn finish(mut self) {
        self.closing = true;
        let under_way = async {
            while !(self.asked.is_empty() && self.unsent.is_empty()) {
                tokio::select! {
                    event = self.swarm.select_next_some() => self.on_event(event),
                    Some(reply) = self.asked.join_next() => self.on_reply(reply.ok()),
                }
            }
        };
        let _ = timeout(FINISH_WITHIN, under_way).await;
        let hanging_up = async {
            while !self.budgets.is_empty() {
                let event = self.swarm.select_next_some().await;
                self.on_event(event);
            }
        };
        let _ = timeout(HANG_UP_WITHIN, hanging_up).await;
    }

    fn on_event(&mut self, event: SwarmEvent<OneProtocolEvent>) {
        match event {
            SwarmEvent::NewListenAddr { .. }
            | SwarmEvent::ExpiredListenAddr { .. }
            | SwarmEvent::ListenerClosed { .. } => self.note_addresses(),
            SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                let budget = Budget {
                    until: Instant::now() + self.limits.connection,
                    requests: self.limits.requests,
                };
                self.budgets.insert(connection_id, budget);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                ..
            } => {
                let budget = self.budgets.remove(&connection_id);
                if budget.is_some_and(|b| b.requests == self.limits.requests) && !self.closing {
                    self.host
                        .refused(identity::peer_id(&peer_id), "a peer that asked nothing");
                }
            }
            SwarmEvent::IncomingConnectionError { peer_id, error, .. } => {
                let what = match error {
                    ListenError::Denied { .. } => "too many connections at once".to_owned(),
                    other => format!("no handshake: {other}"),
                };
                self.host
                    .refused(peer_id.as_ref().and_then(identity::peer_id), &what);
            }
            SwarmEvent::Behaviour(OneProtocolEvent::Exchange(event)) => self.on_exchange(event),
            _ => {}
        }
    }

    fn on_exchange(&mut self, event: Event<Incoming, Answer>) {
        match event {
            Event::Message {
                peer,
                connection_id,
                message:
                    Message::Request {
                        request_id,
                        request,
                        channel,
                    },
            } => {
                let Some(peer) = identity::peer_id(&peer).filter(|_| !self.closing) else {
                    self.swarm.close_connection(connection_id);
                    return;
                };
                let refused = match request {
                    _ if !self.may_ask(connection_id) => "too many requests".to_owned(),
                    Incoming::Malformed(what) => what,
                    Incoming::Request(request) => {
                        self.unsent.insert(request_id);
                        self.on_request(peer, connection_id, request, channel);
                        return;
                    }
                };
                self.host.refused(Some(peer), &refused);
                self.swarm.close_connection(connection_id);
            }
            // The host was too slow or failed, or the newcomer left: no attack.
            Event::InboundFailure { request_id, .. } | Event::ResponseSent { request_id, .. } => {
                self.unsent.remove(&request_id);
            }
            _ => {}
        }
    }

    fn may_ask(&mut self, connection: ConnectionId) -> bool {
        let Some(budget) = self.budgets.get_mut(&connection) else {
            return false;
        };
        let left = budget.requests.checked_sub(1);
        budget.requests = left.unwrap_or(0);
        left.is_some()
    }

    /// Checks what keys can prove, and leaves the rest to the host.
    fn on_request(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        request: Request,
        channel: ResponseChannel<Answer>,
    ) {
        if let Some(claimed) = self.false_claim(&peer, &request) {
            self.host.refused(Some(peer), claimed);
            self.answer(channel, Answer::Refused(JoinRefusal::Identity));
            return;
        }
        let host = Arc::clone(&self.host);
        self.asked.spawn_blocking(move || {
            let answer = ask(host.as_ref(), peer, request);
            (connection, channel, answer)
        });
    }

    fn false_claim(&self, peer: &PeerId, request: &Request) -> Option<&'static str> {
        let (candidate, proof, bind) = match request {
            Request::Redeem {
                secret,
                candidate,
                proof,
            } => (candidate, proof, secret_digest(secret)),
            Request::Knock {
                candidate,
                commitment,
                proof,
            } => (candidate, proof, *commitment),
            Request::Reveal(_) | Request::Poll => return None,
        };
        if candidate.peer != *peer {
            return Some("a newcomer that claims another's peer id");
        }
        if !proof.holds(&self.own, candidate, &bind) {
            return Some("a newcomer that claims a builder key without holding it");
        }
        None
    }

    fn on_reply(&mut self, reply: Option<Reply>) {
        // A host that panicked leaves no reply; its channel is dropped, the newcomer told.
        if let Some((connection, channel, answer)) = reply
            && self.budgets.contains_key(&connection)
        {
            self.answer(channel, answer);
        }
    }

    fn answer(&mut self, channel: ResponseChannel<Answer>, answer: Answer) {
        // An error means that the newcomer has left, which an event reports too.
        let _ = self
            .swarm
            .behaviour_mut()
            .exchange
            .send_response(channel, answer);
    }

    fn next_end(&self) -> Instant {
        let ends = self.budgets.values().map(|budget| budget.until);
        // Without connections there is nothing to wake up for; any time will do.
        ends.min()
            .unwrap_or_else(|| Instant::now() + self.limits.connection)
    }

    fn close_overdue(&mut self) {
        let now = Instant::now();
        let overdue = self.budgets.iter().filter(|(_, b)| b.until <= now);
        let overdue: Vec<ConnectionId> = overdue.map(|(id, _)| *id).collect();
        for connection in overdue {
            self.swarm.close_connection(connection);
            // Closing takes a moment; look at this one no more until it is done.
            if let Some(budget) = self.budgets.get_mut(&connection) {
                budget.until = now + self.limits.connection;
            }
        }
    }

    fn note_addresses(&mut self) {
        let mut found: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
        found.sort_by_key(|address| {
            let here = listen::socket(address).is_some_and(|s| s.ip().is_loopback());
            (here, address.to_string())
        });
        let texts = found.iter().map(ToString::to_string);
        let texts = texts.filter(|text| is_address(text)).take(MAX_ADDRESSES);
        let mut shared = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *shared = texts.collect();
    }
}

/// One question to the host, on a blocking thread.
fn ask(host: &dyn DoorHost, peer: PeerId, request: Request) -> Answer {
    let answer = match request {
        Request::Redeem {
            secret, candidate, ..
        } => host.redeem(peer, *secret, candidate).map(Answer::Welcome),
        Request::Knock {
            candidate,
            commitment,
            ..
        } => host
            .knock(peer, candidate, commitment)
            .map(|(claim, nonce)| Answer::Greeting(claim, nonce)),
        Request::Reveal(nonce) => host.reveal(peer, nonce).map(|()| Answer::Shown),
        Request::Poll => host.poll(peer).map(|verdict| match verdict {
            Verdict::Pending => Answer::Pending,
            Verdict::Welcome(welcome) => Answer::Welcome(welcome),
            Verdict::Denied => Answer::Denied,
        }),
    };
    match answer {
        Ok(Answer::Welcome(welcome)) if welcome.roster.len() > MAX_ROSTER => {
            Answer::Refused(JoinRefusal::Failed)
        }
        Ok(answer) => answer,
        Err(why) => Answer::Refused(why),
    }
}
