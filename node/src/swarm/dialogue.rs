//! What members say to each other: rosters first, then filters, questions and announcements.
//!
//! Enters: messages that were decoded within their bounds. Leaves: answers, and what the index
//! learns. Before a peer's roster was taken nothing that it asks is answered and nothing that it
//! says is believed. Must never happen here: an answer that the host did not give, work for one
//! peer without a bound on how much of it is under way.

use super::announce::Batch;
use super::behaviour::KEYS_TOPIC;
use super::driver::{Driver, MAX_JOBS};
use super::filter::KeyFilter;
use super::handoff::Done;
use super::identity::{NetId, net_id, peer_id};
use super::link::{Asked, Exchange};
use super::wire::{Answer, MAX_ROSTER_BYTES, Request, WireError, fit_offers};
use super::{Ask, SwarmError, Taken};
use crate::store::Offer;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance};
use libp2p::request_response::{Event, Message, OutboundFailure, ResponseChannel};
use quarry_trust::{PeerId, Refusal};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// Between two requests for one peer's filter.
const FILTER_EVERY: Duration = Duration::from_secs(1);
/// Filters served to one peer within one second.
const MAX_FILTERS: u32 = 4;
/// Announcements taken of one peer within one second: 25,000 keys a second.
const MAX_BATCHES: u32 = 50;

impl Driver {
    pub(super) fn request(&mut self, peer: &PeerId, request: Request, asked: Asked) {
        let Some(net) = net_id(peer) else { return };
        let id = self.swarm.behaviour_mut().ask.send_request(&net, request);
        self.asked.insert(id, asked);
    }

    /// Gives a peer our roster and asks for its own.
    pub(super) fn send_roster(&mut self, peer: &PeerId) {
        if self.roster.is_none() || !self.links.contains_key(peer) {
            return;
        }
        let (host, peer) = (self.host.clone(), *peer);
        self.jobs.spawn_blocking(move || {
            let wire = host.roster(Some(&peer));
            Done::Introduction { peer, wire }
        });
    }

    /// Sends what was made for the peer.
    fn introduce(&mut self, peer: &PeerId, wire: Option<Vec<u8>>) {
        let wire = wire.filter(|wire| wire.len() <= MAX_ROSTER_BYTES);
        if let Some(wire) = wire.filter(|_| self.links.contains_key(peer)) {
            self.request(peer, Request::Roster(wire), Asked::Roster);
        }
    }

    /// A caller's question.
    pub(super) fn question(
        &mut self,
        peer: PeerId,
        ask: Ask,
        reply: SyncSender<Result<Vec<Offer>, SwarmError>>,
    ) {
        if self.has_accepted(&peer) {
            self.request(&peer, Request::Ask(ask), Asked::Question(reply));
        } else {
            // The caller may have given up; that is no error.
            let _ = reply.try_send(Err(SwarmError::NotConnected(peer)));
        }
    }

    fn ask_filter(&mut self, peer: &PeerId, now: Instant) {
        let Some(link) = self.links.get_mut(peer).filter(|link| link.accepted) else {
            return;
        };
        if link.filter_asked || now < link.filter_next {
            link.filter_wanted = true;
            return;
        }
        link.filter_wanted = false;
        link.filter_asked = true;
        link.filter_next = now + FILTER_EVERY;
        self.request(peer, Request::Filter, Asked::Filter);
    }

    /// What had to wait: filters to ask for, roster exchanges to try again.
    pub(super) fn ask_wanted(&mut self, now: Instant) {
        let wanted: Vec<_> = self
            .links
            .iter()
            .filter(|(_, l)| l.filter_wanted)
            .map(|(p, _)| *p)
            .collect();
        for peer in wanted {
            self.ask_filter(&peer, now);
        }
        let links = self.links.iter_mut();
        let again = links.filter_map(|(peer, link)| link.rosters.take_wanted().then_some(*peer));
        for peer in again.collect::<Vec<_>>() {
            self.send_roster(&peer);
        }
    }

    /// Events of the ask protocol.
    pub(super) fn on_ask_event(&mut self, event: Event<Request, Answer>) {
        match event {
            Event::Message {
                peer,
                message:
                    Message::Request {
                        request, channel, ..
                    },
                ..
            } => {
                if let Some(peer) = peer_id(&peer) {
                    self.on_request(peer, request, channel);
                }
            }
            Event::Message {
                peer,
                message:
                    Message::Response {
                        request_id,
                        response,
                    },
                ..
            } => {
                let asked = self.asked.remove(&request_id);
                if let (Some(peer), Some(asked)) = (peer_id(&peer), asked) {
                    self.on_answer(peer, asked, response);
                }
            }
            Event::OutboundFailure {
                peer,
                request_id,
                error,
                ..
            } => {
                let asked = self.asked.remove(&request_id);
                if let (Some(peer), Some(asked)) = (peer_id(&peer), asked) {
                    self.on_failure(peer, asked, &error);
                }
            }
            Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a question was not answered");
            }
            Event::ResponseSent { .. } => {}
        }
    }

    fn on_request(&mut self, peer: PeerId, request: Request, channel: ResponseChannel<Answer>) {
        let now = Instant::now();
        let introduced = self.shared.index.is_introduced(&peer);
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        match request {
            Request::Roster(wire) => match link.jobs.clone().try_acquire_owned() {
                Ok(permit) => self.merge(peer, wire, Some(channel), Some(permit)),
                Err(_) => self.answer(peer, channel, Answer::Busy),
            },
            Request::Refused(error) => self.refuse(peer, error.refusal(), "a question"),
            _ if !introduced => self.answer(peer, channel, Answer::Busy),
            Request::Filter if link.filters.allows(MAX_FILTERS, now) => {
                self.serve_filter(peer, channel);
            }
            Request::Filter => self.answer(peer, channel, Answer::Busy),
            Request::Ask(ask) => match link.jobs.clone().try_acquire_owned() {
                Ok(permit) => self.serve_offers(peer, ask, channel, permit),
                Err(_) => self.answer(peer, channel, Answer::Busy),
            },
            Request::Restored(builder) => match link.jobs.clone().try_acquire_owned() {
                Ok(permit) => self.serve_restored(peer, builder, channel, permit),
                Err(_) => self.answer(peer, channel, Answer::Busy),
            },
        }
    }

    fn answer(&mut self, peer: PeerId, channel: ResponseChannel<Answer>, answer: Answer) {
        let bytes = answer.wire_len();
        if self
            .swarm
            .behaviour_mut()
            .ask
            .send_response(channel, answer)
            .is_ok()
            && let Some(traffic) = self.shared.index.served(&peer)
        {
            traffic.send(bytes);
        }
    }

    fn merge(
        &mut self,
        peer: PeerId,
        wire: Vec<u8>,
        channel: Option<ResponseChannel<Answer>>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let host = self.host.clone();
        self.jobs.spawn_blocking(move || {
            let taken = host.merge_roster(&peer, &wire);
            Done::Merged {
                peer,
                taken,
                ours: host.roster(Some(&peer)),
                channel,
                permit,
            }
        });
    }

    fn serve_offers(
        &mut self,
        peer: PeerId,
        ask: Ask,
        channel: ResponseChannel<Answer>,
        permit: OwnedSemaphorePermit,
    ) {
        let host = self.host.clone();
        self.jobs.spawn_blocking(move || {
            let offers = fit_offers(host.offers(&peer, &ask));
            Done::Offers {
                peer,
                offers,
                channel,
                permit,
            }
        });
    }

    /// Answers with the filter of now; builds it first where keys came since the last.
    fn serve_filter(&mut self, peer: PeerId, channel: ResponseChannel<Answer>) {
        let position = self.announcer.position();
        match &self.filter.built {
            Some((at, bytes)) if *at == position => {
                let answer = Answer::Filter(bytes.clone());
                self.answer(peer, channel, answer);
            }
            _ => {
                self.filter.waiting.push((peer, channel));
                self.build_filter();
            }
        }
    }

    fn build_filter(&mut self) {
        if std::mem::replace(&mut self.filter.building, true) {
            return;
        }
        let (generation, sequence) = self.announcer.position();
        let host = self.host.clone();
        self.jobs.spawn_blocking(move || {
            let keys = host
                .keys()
                .iter()
                .map(quarry_trust::Digest::short)
                .collect();
            let bytes = KeyFilter::build(generation, sequence, keys).encode();
            Done::Built {
                position: (generation, sequence),
                bytes,
            }
        });
    }

    /// Results of blocking calls, other than the roster's.
    pub(super) fn on_answered(&mut self, done: Done) {
        match done {
            Done::Merged {
                peer,
                taken,
                ours,
                channel,
                permit,
            } => {
                drop(permit);
                self.on_merged(peer, taken, ours, channel);
            }
            Done::Offers {
                peer,
                offers,
                channel,
                permit,
            } => {
                drop(permit);
                self.answer(peer, channel, Answer::Offers(offers));
            }
            Done::Restored {
                peer,
                restored,
                channel,
                permit,
            } => {
                drop(permit);
                self.answer(peer, channel, Answer::Restored(restored));
            }
            Done::Built { position, bytes } => {
                self.filter.building = false;
                for (peer, channel) in std::mem::take(&mut self.filter.waiting) {
                    self.answer(peer, channel, Answer::Filter(bytes.clone()));
                }
                self.filter.built = Some((position, bytes));
            }
            Done::Decoded { peer, filter } => {
                if let Some(link) = self.links.get_mut(&peer) {
                    link.filter_asked = false;
                }
                match filter {
                    Ok(filter) => self.shared.index.filter(&peer, filter),
                    Err(error) => self.refuse(peer, error.refusal(), "a filter"),
                }
            }
            Done::Introduction { peer, wire } => self.introduce(&peer, wire),
            Done::Roster(_) | Done::Told => {}
        }
    }

    fn on_merged(
        &mut self,
        peer: PeerId,
        taken: Taken,
        ours: Option<Vec<u8>>,
        channel: Option<ResponseChannel<Answer>>,
    ) {
        if taken == Taken::Grew {
            self.shared.roster_changed();
        }
        if !self.links.contains_key(&peer) {
            return;
        }
        let Some(channel) = channel else {
            if taken == Taken::Refused {
                return self.without_roster(peer, Exchange::failed);
            }
            // The answer to our own roster: the peer took it before it gave its own.
            self.shared.index.accepted(&peer);
            self.book.settled(&peer);
            if let Some(link) = self.links.get_mut(&peer) {
                let first = !std::mem::replace(&mut link.accepted, true);
                link.rosters.done();
                if first {
                    self.ask_filter(&peer, Instant::now());
                }
            }
            return;
        };
        if taken != Taken::Refused {
            self.shared.index.introduced(&peer);
        }
        // Also after a refusal: who is behind learns from ours.
        let fits = ours.filter(|wire| wire.len() <= MAX_ROSTER_BYTES);
        self.answer(peer, channel, fits.map_or(Answer::Busy, Answer::Roster));
    }

    fn on_answer(&mut self, peer: PeerId, asked: Asked, answer: Answer) {
        if let Ok(traffic) = self.shared.index.traffic(&peer) {
            traffic.receive(answer.wire_len());
        }
        match (asked, answer) {
            (Asked::Roster, Answer::Roster(wire)) => self.merge(peer, wire, None, None),
            (Asked::Roster, Answer::Busy) if self.has_accepted(&peer) => {
                self.without_roster(peer, Exchange::lost)
            }
            (Asked::Roster, Answer::Busy) => self.without_roster(peer, Exchange::failed),
            (Asked::Filter, Answer::Filter(bytes)) => {
                self.jobs.spawn_blocking(move || Done::Decoded {
                    peer,
                    filter: KeyFilter::decode(&bytes),
                });
            }
            (Asked::Filter, Answer::Busy) => self.filter_failed(&peer),
            // The caller may have given up meanwhile; that is no error.
            (Asked::Question(reply), Answer::Offers(offers)) => drop(reply.try_send(Ok(offers))),
            (Asked::Question(reply), Answer::Busy) => {
                drop(reply.try_send(Err(SwarmError::Busy(peer))));
            }
            (Asked::Restored(reply), Answer::Restored(all)) => drop(reply.try_send(Ok(all))),
            (Asked::Restored(reply), Answer::Busy) => {
                drop(reply.try_send(Err(SwarmError::Busy(peer))));
            }
            (asked, _) => {
                let why = Refusal::Corrupt("an answer to another question");
                self.refuse(peer, why, "an answer");
                self.failed(peer, asked, SwarmError::Refused { peer, why });
            }
        }
    }

    fn on_failure(&mut self, peer: PeerId, asked: Asked, error: &OutboundFailure) {
        tracing::debug!(?peer, %error, "a question failed");
        // One of several connections, most likely: who is alone would not be linked any more.
        if let (Asked::Roster, OutboundFailure::ConnectionClosed) = (&asked, error) {
            return self.without_roster(peer, Exchange::lost);
        }
        let error = match error {
            OutboundFailure::Timeout => {
                self.shared.index.slow(&peer);
                SwarmError::Deadline(peer)
            }
            OutboundFailure::DialFailure => SwarmError::NotConnected(peer),
            OutboundFailure::Io(io) => match WireError::within(io) {
                Some(wire) => {
                    self.refuse(peer, wire.refusal(), "an answer");
                    SwarmError::Refused {
                        peer,
                        why: wire.refusal(),
                    }
                }
                None => SwarmError::Lost {
                    peer,
                    what: io.to_string(),
                },
            },
            other => SwarmError::Lost {
                peer,
                what: other.to_string(),
            },
        };
        self.failed(peer, asked, error);
    }

    fn failed(&mut self, peer: PeerId, asked: Asked, error: SwarmError) {
        match asked {
            Asked::Roster => self.without_roster(peer, Exchange::failed),
            Asked::Filter => self.filter_failed(&peer),
            Asked::Question(reply) => drop(reply.try_send(Err(error))),
            Asked::Restored(reply) => drop(reply.try_send(Err(error))),
        }
    }

    fn filter_failed(&mut self, peer: &PeerId) {
        if let Some(link) = self.links.get_mut(peer) {
            link.filter_asked = false;
            link.filter_wanted = true;
        }
    }

    fn has_accepted(&self, peer: &PeerId) -> bool {
        self.links.get(peer).is_some_and(|link| link.accepted)
    }

    /// An exchange of rosters did not come about; `tried` says whether it is tried again.
    fn without_roster(&mut self, peer: PeerId, tried: impl FnOnce(&mut Exchange) -> bool) {
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if !tried(&mut link.rosters)
            && let Some(net) = net_id(&peer)
        {
            tracing::info!(
                ?peer,
                "rosters could not be exchanged: the connection is closed"
            );
            // An error means that it is gone already.
            let _ = self.swarm.disconnect_peer_id(net);
        }
    }

    /// Counts a refusal with the host, and keeps the peer from being asked for a while.
    pub(super) fn refuse(&mut self, peer: PeerId, why: Refusal, what: &'static str) {
        self.shared.index.offence(&peer);
        if self.jobs.len() >= MAX_JOBS {
            return;
        }
        let host = self.host.clone();
        self.jobs.spawn_blocking(move || {
            host.refused(&peer, why, what);
            Done::Told
        });
    }

    /// Publishes what is due.
    pub(super) fn publish(&mut self) {
        while let Some(batch) = self.announcer.next(Instant::now()) {
            let topic = IdentTopic::new(KEYS_TOPIC);
            let gossip = &mut self.swarm.behaviour_mut().gossip;
            if let Err(error) = gossip.publish(topic, batch.encode()) {
                // With nobody there, nothing is lost: who connects gets the filter. A full queue
                // makes a gap, and a gap makes the peer ask.
                tracing::trace!(%error, "an announcement went to nobody");
            }
        }
    }

    /// Announcements of others.
    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message {
            propagation_source,
            message_id,
            message,
        } = event
        else {
            return;
        };
        let acceptance = self.judge(&propagation_source, message.source, &message.data);
        self.swarm
            .behaviour_mut()
            .gossip
            .report_message_validation_result(&message_id, &propagation_source, acceptance);
    }

    fn judge(&mut self, from: &NetId, author: Option<NetId>, data: &[u8]) -> MessageAcceptance {
        let now = Instant::now();
        let introduced = peer_id(from).is_some_and(|p| self.shared.index.is_introduced(&p));
        let author = author
            .and_then(|net| peer_id(&net))
            .filter(|p| self.members.contains(p));
        let Some(author) = author.filter(|_| introduced) else {
            return MessageAcceptance::Ignore;
        };
        if !self
            .paces
            .entry(author)
            .or_default()
            .allows(MAX_BATCHES, now)
        {
            return MessageAcceptance::Ignore;
        }
        match Batch::decode(data) {
            Ok(batch) => {
                if self.shared.index.batch(&author, &batch) {
                    self.ask_filter(&author, now);
                }
                MessageAcceptance::Accept
            }
            Err(error) => {
                self.refuse(author, error.refusal(), "an announcement");
                MessageAcceptance::Reject
            }
        }
    }
}
