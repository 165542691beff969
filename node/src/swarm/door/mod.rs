//! The door: the small swarm through which newcomers join, open only while somebody is awaited.
//!
//! Enters: connections of strangers, few, slow ones cut off, and on them the frames of one
//! protocol. Leaves: questions to a [`DoorHost`] from peers that noise has authenticated and
//! whose builder key is proven, and its answers. Must never happen here: a decision about who
//! is let in, a reach into the team's swarm or the store, a connection that outlives the door.
//!
//! The door's noise identity is the node's own peer key, so that a ticket can pin it. While no
//! door is open, nothing listens. `join` is the newcomer's side, on one connection that `caller` holds; `claim` is what both say.

mod caller;
mod claim;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod join;
mod listen;
mod room;
pub(super) mod wire;

pub use claim::{
    CODE_LEN, Candidate, JoinRefusal, MAX_MEMBER_NAME, NONCE_LEN, Nonce, Proof, TeamClaim, Welcome,
    code, commitment,
};
pub use join::{Approved, JoinError, JoinNews, join_by_address, join_with_ticket};
pub use wire::{MAX_REQUEST, MAX_ROSTER};

use crate::config::DOOR_PORT;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{connection_limits, identity, noise, request_response, tcp, yamux};
use quarry_trust::{Digest, PeerId};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How long a door may take to open: binding is immediate, interfaces are listed in between.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// How long a door may take to close: answers under way are finished first.
const CLOSE_WITHIN: Duration = Duration::from_secs(4);
/// Streams on one connection: a newcomer uses one at a time.
const MAX_STREAMS: usize = 4;

/// What the door asks of the node. Called on blocking threads, except [`DoorHost::refused`].
/// No method may close the door that calls it and wait for that.
pub trait DoorHost: Send + Sync + 'static {
    /// Redeems a ticket for a candidate whose peer and builder are proven: admits it, once.
    ///
    /// # Errors
    /// Why not.
    fn redeem(
        &self,
        peer: PeerId,
        secret: [u8; 32],
        candidate: Candidate,
    ) -> Result<Welcome, JoinRefusal>;
    /// Takes a request for approval from a candidate whose peer and builder are proven. Leaves
    /// what the node says of itself, and a fresh random nonce.
    ///
    /// # Errors
    /// Why not.
    fn knock(
        &self,
        peer: PeerId,
        candidate: Candidate,
        commitment: Digest,
    ) -> Result<(TeamClaim, Nonce), JoinRefusal>;
    /// Opens the commitment; from now on the short string is shown to the admin.
    ///
    /// # Errors
    /// Why not.
    fn reveal(&self, peer: PeerId, nonce: Nonce) -> Result<(), JoinRefusal>;
    /// How the approval stands. A welcome may be asked for more than once; give it only while
    /// the candidate stands in the roster.
    ///
    /// # Errors
    /// Why not.
    fn poll(&self, peer: PeerId) -> Result<Verdict, JoinRefusal>;
    /// Something was turned away at the door: count it, with a line in the log. `peer` where it
    /// got as far as the handshake. Called on the door's own task: must not block.
    fn refused(&self, peer: Option<PeerId>, what: &str);
}

/// How an approval stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody has decided yet.
    Pending,
    /// Let in.
    Welcome(Welcome),
    /// An admin said no.
    Denied,
}

/// Why a door does not open.
#[derive(Debug, Error)]
pub enum DoorError {
    /// An address to listen on that cannot be one.
    #[error(
        "cannot listen for newcomers on {0:?}: it is no multiaddr like /ip4/0.0.0.0/tcp/{DOOR_PORT}"
    )]
    Address(String),
    /// No address to listen on at all.
    #[error("cannot listen for newcomers: no address to listen on is set")]
    NoAddress,
    /// The system refused.
    #[error("cannot listen for newcomers on {0}: {1}")]
    Listen(String, String),
    /// The swarm could not be put together.
    #[error("cannot open the door for newcomers: {0}")]
    Swarm(String),
}

/// What a stranger may cost, in time and number.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// From the first packet to the end of the handshake.
    handshake: Duration,
    /// Without a stream in use.
    idle: Duration,
    /// One request, to come in.
    request: Duration,
    /// One request with its answer.
    exchange: Duration,
    /// Of one connection, whatever it does.
    connection: Duration,
    /// Connections at a time, shaken hands or not.
    connections: u32,
    /// Connections of one peer: the second is there while the first dies.
    per_peer: u32,
    /// Requests on one connection.
    requests: u32,
}

impl Limits {
    /// A newcomer on a slow network is through in a second, and polls twice a second; its
    /// connection may end at any time, it comes back. A welcome of 4 MiB gets 20 seconds.
    const REAL: Self = Self {
        handshake: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        request: Duration::from_secs(5),
        exchange: Duration::from_secs(20),
        connection: Duration::from_secs(60),
        connections: 16,
        per_peer: 2,
        requests: 200,
    };
}

/// An open door. Dropped, it closes.
pub struct Door {
    addresses: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    ended: Receiver<()>,
}

impl Door {
    /// Opens a door under the peer key of `seed`, on each of the multiaddrs in `listen`, or on
    /// a port that the system chooses where the given one is taken. Blocks until it is open.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn open(
        seed: &[u8; 32],
        listen: &[String],
        host: Arc<dyn DoorHost>,
        runtime: &Handle,
    ) -> Result<Self, DoorError> {
        Self::open_within(Limits::REAL, seed, listen, host, runtime)
    }

    fn open_within(
        limits: Limits,
        seed: &[u8; 32],
        listen: &[String],
        host: Arc<dyn DoorHost>,
        runtime: &Handle,
    ) -> Result<Self, DoorError> {
        let wanted = listen::wanted(listen)?;
        let seed = zeroize::Zeroizing::new(*seed);
        let addresses = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let (tell_open, opened) = sync_channel(1);
        let (tell_end, ended) = sync_channel(1);
        let shared = Arc::clone(&addresses);
        runtime.spawn(async move {
            match room::Room::enter(limits, &seed, &wanted, host, shared).await {
                Ok(room) => {
                    let _ = tell_open.send(Ok(()));
                    room.run(stopped).await;
                }
                Err(error) => {
                    let _ = tell_open.send(Err(error));
                }
            }
            let _ = tell_end.send(());
        });
        match opened.recv_timeout(OPEN_WITHIN) {
            Ok(Ok(())) => Ok(Self {
                addresses,
                stop: Some(stop),
                ended,
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(DoorError::Swarm(format!(
                "it did not listen within {} s",
                OPEN_WITHIN.as_secs()
            ))),
        }
    }

    /// Where newcomers find the door, as multiaddrs without the peer id; those that only this
    /// machine reaches come last. At most as many as a ticket takes.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Closes the door: no further request is heard, answers under way are finished, every
    /// connection ends and nothing listens. Blocks until then, at most a few seconds.
    pub fn close(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
            let _ = self.ended.recv_timeout(CLOSE_WITHIN);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// One protocol, and limits; nothing else answers here.
#[derive(NetworkBehaviour)]
struct OneProtocol {
    limits: connection_limits::Behaviour,
    exchange: request_response::Behaviour<wire::DoorCodec>,
}

/// Puts the small swarm together: TCP, noise, yamux, one protocol.
fn swarm(
    limits: &Limits,
    seed: &[u8; 32],
    side: request_response::ProtocolSupport,
) -> Result<libp2p::Swarm<OneProtocol>, String> {
    let mut seed = zeroize::Zeroizing::new(*seed);
    let identity = identity::Keypair::ed25519_from_bytes(seed.as_mut())
        .map_err(|error| format!("the peer key cannot be used: {error}"))?;
    let counts = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.connections))
        .with_max_established_incoming(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.per_peer));
    let exchange = request_response::Config::default()
        .with_request_timeout(limits.exchange)
        .with_max_concurrent_streams(MAX_STREAMS);
    let codec = wire::DoorCodec {
        read_within: limits.request,
    };
    let streams = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(MAX_STREAMS);
        config
    };
    let behaviour = OneProtocol {
        limits: connection_limits::Behaviour::new(counts),
        exchange: request_response::Behaviour::with_codec(
            codec,
            [(wire::PROTOCOL, side)],
            exchange,
        ),
    };
    Ok(libp2p::SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, streams)
        .map_err(|error| error.to_string())?
        .with_behaviour(|_| behaviour)
        .map_err(|error| error.to_string())?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(limits.idle)
                .with_max_negotiating_inbound_streams(MAX_STREAMS)
        })
        .with_connection_timeout(limits.handshake)
        .build())
}

#[cfg(test)]
mod tests;
