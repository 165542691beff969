//! The swarm: who is near, what they hold, and the bytes between us.
//!
//! Enters: the roster (who may connect), keys to announce, questions, objects to serve. Leaves:
//! candidates, offers and bytes, bounded and of the right length, and not yet believed by anyone:
//! verification is the caller's. Must never happen here: writing to a target directory, a verdict
//! about an entry, a wait without a deadline.
//!
//! [`Swarm`] is what the node calls, from blocking threads; [`Host`] is what the swarm calls of
//! the node. libp2p stands behind the one, the node behind the other; `memory` is a twin for
//! tests of other rooms.

mod announce;
mod ask;
mod behaviour;
mod bootstrap;
mod dialogue;
pub mod door;
mod driver;
mod fetch;
mod filter;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod gate;
mod handoff;
pub mod identity;
mod index;
mod libp2p_swarm;
mod link;
mod listen;
pub mod memory;
mod objects;
mod packed;
mod providers;
mod restored;
mod serve;
mod turnstile;
mod wire;

#[cfg(test)]
mod forms_tests;
#[cfg(test)]
mod tests;

pub use libp2p_swarm::{Libp2pSwarm, SwarmConfig};
pub use restored::{MAX_RESTORED, Restored, RestoredCrate};

use crate::store::{Object, Offer};
use quarry_trust::digest::Domain;
use quarry_trust::{ActionKey, BuilderId, Digest, LookupKey, ObjectRef, PeerId, Refusal};
use std::io::{self, Write};
use std::time::{Duration, Instant};
use thiserror::Error;

/// A question to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Predictions under a lookup key, with their entries.
    Lookup(LookupKey),
    /// Entries under an action key.
    Action(ActionKey),
    /// The newest entries of a crate, by the [`crate_digest`] of its name: what `why` compares
    /// with. Costs the peer a walk through its store; never asked on a compile's way.
    Crate(Digest),
    /// The entries that a build there put in place after this action, in that order: what a build
    /// that was given this one will ask for next.
    Next(ActionKey),
}

/// What stands for a crate's name in [`Ask::Crate`].
#[must_use]
pub fn crate_digest(name: &str) -> Digest {
    Digest::tagged(Domain("quarry 2026-11 crate v1"), name.as_bytes())
}

/// Offers in one answer, at most.
pub const MAX_OFFERS: usize = 8;

/// Why the swarm could not do what it was asked.
#[derive(Debug, Error)]
pub enum SwarmError {
    /// The secret of the peer identity makes no key.
    #[error(
        "the peer identity's secret makes no ed25519 key: restore the key file or make a new identity"
    )]
    Identity,
    /// The swarm's own parts could not be put together.
    #[error(
        "the network could not be set up: {0}; check the open-file limit and that the system has networking"
    )]
    Setup(String),
    /// No listen address could be bound.
    #[error("cannot listen on {address}: {reason}; set `listen` to an address of this machine")]
    Listen {
        /// The multiaddr that was asked for.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The peer is not connected, or has not exchanged rosters yet.
    #[error("member {0:?} is not connected; `qnode peers` shows who is")]
    NotConnected(PeerId),
    /// The deadline passed, or a read made no progress for too long.
    #[error("member {0:?} did not answer in time; the build goes on without it")]
    Deadline(PeerId),
    /// The peer, or our own queue to it, is full.
    #[error("member {0:?} is busy; try another or later")]
    Busy(PeerId),
    /// The peer does not hold the object, or does not show it to us.
    #[error("member {0:?} does not hold it (any more)")]
    Absent(PeerId),
    /// What came was refused; it was counted through [`Host::refused`] already.
    #[error("what member {peer:?} sent was refused: {why}")]
    Refused {
        /// Who sent it.
        peer: PeerId,
        /// Why it is not used.
        why: Refusal,
    },
    /// The connection or the stream broke.
    #[error("the connection to member {peer:?} broke: {what}")]
    Lost {
        /// Who was at the other end.
        peer: PeerId,
        /// What the network said.
        what: String,
    },
    /// The caller's own sink failed.
    #[error("a fetched object could not be written: {0}; check the disk")]
    Sink(#[source] io::Error),
    /// The swarm was shut down.
    #[error("the network was shut down")]
    Closed,
}

/// What the node asks of the swarm. Calls block up to their deadline; none is made on the
/// swarm's own threads. The keys of [`Swarm::candidates`], [`Swarm::announce`],
/// [`Swarm::provide`] and [`Swarm::seek`] are tags: digests under a secret that only those know
/// who may see what is meant. Nothing else is ever put into a filter, gossip or Kademlia.
pub trait Swarm: Send + Sync + 'static {
    /// Connected members whose filter says that they may hold the key, nearest (lowest round
    /// trip) first. Reads a local index; costs no packet.
    fn candidates(&self, key: &Digest) -> Vec<PeerId>;
    /// Asks one member. At most [`MAX_OFFERS`] offers come back, each bounded in bytes.
    ///
    /// # Errors
    /// Any [`SwarmError`] about a peer; a [`SwarmError::Refused`] was counted already.
    fn ask(&self, peer: &PeerId, ask: Ask, deadline: Instant) -> Result<Vec<Offer>, SwarmError>;
    /// Asks one member what it restored of a builder's entries. At most [`MAX_RESTORED`] crates
    /// come back.
    ///
    /// # Errors
    /// Any [`SwarmError`] about a peer; a [`SwarmError::Refused`] was counted already.
    fn restored(
        &self,
        peer: &PeerId,
        builder: &BuilderId,
        deadline: Instant,
    ) -> Result<Restored, SwarmError>;
    /// Fetches one object under the entry that names it, and writes exactly `object.size` bytes
    /// to `sink`, in order. More, fewer, or a body that does not decompress is an error; the
    /// digest is the caller's to check, and [`Swarm::misbehaved`] its way to tell.
    ///
    /// # Errors
    /// Any [`SwarmError`] about a peer; a [`SwarmError::Refused`] was counted already. Part of
    /// the object may have been written to `sink` by then.
    fn fetch(
        &self,
        peer: &PeerId,
        action: &ActionKey,
        object: &ObjectRef,
        sink: &mut dyn Write,
        deadline: Instant,
    ) -> Result<(), SwarmError>;
    /// Tells the members that keys are held here now. Queued and batched; never blocks.
    fn announce(&self, keys: &[Digest]);
    /// Waits until all that was announced has been published to whoever is connected; at most a
    /// few seconds.
    fn publish(&self);
    /// Offers keys that were expensive to build to Kademlia: queued, paced, bounded; the oldest
    /// go first. Never blocks.
    fn provide(&self, keys: &[Digest]);
    /// Looks, off the critical path, for members that hold a key and are not connected, and
    /// dials them, so that they are candidates later. Never blocks.
    fn seek(&self, key: &Digest);
    /// The caller refused what this peer sent (a signature, a digest): it is no candidate for a
    /// while. What the swarm refused itself is seen to already.
    fn misbehaved(&self, peer: &PeerId);
    /// The roster, or the store's keys at large, changed: read them from the host again, close
    /// connections to who is no member any more, and tell the peers.
    fn roster_changed(&self);
    /// Who is connected, and who is a member but is not.
    fn peers(&self) -> Vec<PeerStatus>;
    /// Where we listen, as multiaddrs without the peer id.
    fn listening(&self) -> Vec<String>;
    /// Remembers addresses (multiaddrs) of a member and dials them.
    fn add_addresses(&self, peer: &PeerId, addresses: &[String]);
    /// Where a newcomer says that it listens, for the members that will look for it. It dials us once
    /// it has the roster; a search for it may dial it before, and be turned away.
    fn expect(&self, peer: &PeerId, addresses: &[String]);
    /// Says goodbye and ends; bounded by a second.
    fn shutdown(&self);
}

/// What became of a peer's roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Ours grew by it.
    Grew,
    /// Nothing of it was news.
    Known,
    /// It was not believed: nothing else that the peer says may be.
    Refused,
}

/// What the swarm asks of the node. Called on blocking threads.
pub trait Host: Send + Sync + 'static {
    /// Our roster in its wire form, with what `to` alone may know beside it; `None` where we are
    /// in no team (then the swarm stays quiet).
    fn roster(&self, to: Option<&PeerId>) -> Option<Vec<u8>>;
    /// Differs whenever the tags do under which keys are announced.
    fn tags(&self) -> Digest;
    /// Whether a peer is a member in good standing: the gate.
    fn admits(&self, peer: &PeerId) -> bool;
    /// Every member's peer id but our own.
    fn members(&self) -> Vec<PeerId>;
    /// Takes a peer's roster. A bad one is refused and counted.
    fn merge_roster(&self, from: &PeerId, wire: &[u8]) -> Taken;
    /// Offers under a key for one member: only entries within a scope that it may see.
    fn offers(&self, to: &PeerId, ask: &Ask) -> Vec<Offer>;
    /// What this node restored of a builder's entries, for one member: only what it may see.
    fn restored(&self, to: &PeerId, builder: &BuilderId) -> Restored;
    /// Opens an object that the entry under `action` names, if that member may see the entry.
    fn open(&self, to: &PeerId, action: &ActionKey, digest: &Digest) -> Option<(Object, u64)>;
    /// Tags of every lookup key, action key and opening that may be announced.
    fn keys(&self) -> Vec<Digest>;
    /// Something from a peer was refused: count it under its name, with one line in the log.
    fn refused(&self, from: &PeerId, why: Refusal, what: &str);
    /// A stranger was turned away at the gate.
    fn stranger(&self, peer: &PeerId);
}

/// One member as the swarm sees it.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Who.
    pub peer: PeerId,
    /// Whether a connection is up.
    pub connected: bool,
    /// Last address, as a multiaddr; empty where none is known.
    pub address: String,
    /// Last measured round trip.
    pub round_trip: Option<Duration>,
    /// Bytes of objects and answers received from it, on the wire.
    pub bytes_in: u64,
    /// Bytes of objects and answers sent to it, on the wire.
    pub bytes_out: u64,
    /// Keys that it says it holds.
    pub keys: u64,
    /// Bytes per second of the last fetch of at least 1 MiB, where there was one.
    pub bandwidth: Option<u64>,
    /// How often something that it sent was refused, since the node started.
    pub offences: u32,
    /// Questions in a row, for keys that it says it holds, that it answered with nothing.
    pub in_vain: u32,
    /// Connections in a row that it ended before rosters were exchanged: what a member's node does
    /// with one that it does not know as a member.
    pub turned_away: u32,
    /// How long it is still left out of questions, where it is.
    pub left_out: Option<Duration>,
}
