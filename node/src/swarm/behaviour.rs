//! What our libp2p node is made of: transport, protocols, and their limits.
//!
//! Enters: the identity. Leaves: a libp2p swarm that listens nowhere and admits nobody yet. The
//! gate stands first among the behaviours: who it turns away meets no other. Must never happen
//! here: an event (they are the driver's).

use super::ask::{self, AskCodec};
use super::gate::{self, AllowList};
use super::providers;
use super::turnstile::Turnstile;
use super::{SwarmError, announce::MAX_BATCH_BYTES};
use libp2p::core::Transport;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    connection_limits, gossipsub, identify, kad, mdns, noise, ping, request_response, tcp, yamux,
};
use std::time::Duration;

/// The topic of announcements. Members alone connect, and a node is in one team: one topic.
pub(super) const KEYS_TOPIC: &str = "/quarry/keys/1";
/// What identify says first: nodes of another family are no peers.
pub(super) const FAMILY: &str = "/quarry/1";
/// A dial or handshake that takes longer is given up. Noise and yamux take three round trips.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Between pings: how soon a peer that vanished without a word is noticed.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A pong later than this ends the connection. Machines that build are slow to answer.
const PONG_WITHIN: Duration = Duration::from_secs(15);
/// Members stay connected; libp2p would hang up after ten seconds without a stream.
const IDLE_FOR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Streams under negotiation on one connection.
const MAX_NEGOTIATING: usize = 64;
/// How often mDNS asks into the network, beside at the start and when an interface comes up.
const MDNS_EVERY: Duration = Duration::from_secs(60);
/// A gossip frame: one batch with its signature, or control messages, with room.
const GOSSIP_FRAME: usize = 16 * 1024;

const _: () = assert!(
    MAX_BATCH_BYTES + 1024 < GOSSIP_FRAME,
    "a batch must fit a frame"
);

/// The composed behaviour. Fields are asked in this order: the gate is first.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(super) struct Net {
    pub(super) gate: AllowList,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) ask: request_response::Behaviour<AskCodec>,
    pub(super) gossip: gossipsub::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) objects: libp2p_stream::Behaviour,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// Builds the libp2p swarm. Must run inside the tokio runtime.
pub(super) fn build(keypair: Keypair) -> Result<libp2p::Swarm<Net>, SwarmError> {
    let setup = |error: &dyn std::fmt::Display| SwarmError::Setup(error.to_string());
    let builder = libp2p::SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(transport)
        .map_err(|e| setup(&e))?
        .with_behaviour(net)
        .map_err(|e| setup(&e))?;
    Ok(builder
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(IDLE_FOR)
                .with_max_negotiating_inbound_streams(MAX_NEGOTIATING)
        })
        .with_connection_timeout(CONNECT_WITHIN)
        .build())
}

/// TCP behind the turnstile, then noise, then yamux.
fn transport(
    keypair: &Keypair,
) -> Result<Boxed<(libp2p::PeerId, StreamMuxerBox)>, Box<dyn std::error::Error + Send + Sync>> {
    let entrance = Turnstile::default();
    let exit = entrance.clone();
    Ok(
        tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .map(move |stream, point| entrance.enter(stream, &point))
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(keypair)?)
            .multiplex(yamux::Config::default())
            .map(move |(peer, muxer), point| {
                exit.through(&point);
                (peer, StreamMuxerBox::new(muxer))
            })
            .boxed(),
    )
}

fn net(keypair: &Keypair) -> Result<Net, Box<dyn std::error::Error + Send + Sync>> {
    let public = keypair.public();
    let identify = identify::Config::new(FAMILY.to_owned(), public.clone())
        .with_agent_version(concat!("quarry/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_push_listen_addr_updates(true);
    let ping = ping::Config::new()
        .with_interval(PING_EVERY)
        .with_timeout(PONG_WITHIN);
    Ok(Net {
        gate: AllowList::default(),
        limits: gate::limits(),
        ask: ask::behaviour(),
        gossip: gossip(keypair)?,
        kad: providers::behaviour(public.to_peer_id()),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        objects: libp2p_stream::Behaviour::new(),
        mdns: Toggle::from(None),
    })
}

/// Signed by the author, refused without a signature, and passed on only after we looked.
fn gossip(keypair: &Keypair) -> Result<gossipsub::Behaviour, String> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(GOSSIP_FRAME)
        .build()
        .map_err(|e| e.to_string())?;
    let authenticity = gossipsub::MessageAuthenticity::Signed(keypair.clone());
    let mut gossip = gossipsub::Behaviour::new(authenticity, config)?;
    gossip
        .subscribe(&gossipsub::IdentTopic::new(KEYS_TOPIC))
        .map_err(|e| e.to_string())?;
    Ok(gossip)
}

/// mDNS, for a node in a team. Must run inside the tokio runtime.
pub(super) fn mdns(own: libp2p::PeerId) -> std::io::Result<mdns::tokio::Behaviour> {
    let config = mdns::Config {
        query_interval: MDNS_EVERY,
        ..mdns::Config::default()
    };
    mdns::tokio::Behaviour::new(config, own)
}
