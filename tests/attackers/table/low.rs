//! Strangers below libp2p's usual manners: sockets that stall before, in and after the handshake.
//!
//! Enters: where an honest node listens. Leaves: what keeps the connections open. Must never
//! happen here: a connection to anywhere but loopback.

use crate::attackers::mallory::address;
use crate::attackers::strangers::socket_address;
use crate::harness::{Dev, SOON};
use futures::future::{BoxFuture, pending};
use futures::{AsyncWriteExt, FutureExt, StreamExt};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::upgrade::{OutboundConnectionUpgrade, Version};
use libp2p::core::{Endpoint, Transport, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::noise;
use rustix::net::{AddressFamily, SocketType};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The first words of every libp2p connection, and the choice of noise.
const NEGOTIATE_NOISE: &[u8] = b"\x13/multistream/1.0.0\n\x07/noise\n";
/// A header of yamux that is cut short.
const HALF_A_HEADER: &[u8] = &[0, 1, 0, 1, 0];

/// Where a node listens.
pub fn place(dev: &Dev) -> SocketAddr {
    socket_address(&address(dev))
}

/// A connection from another loopback address than everybody else's: another machine, as it were.
pub fn from_elsewhere(place: SocketAddr, host: u8) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let here = SocketAddr::new(Ipv4Addr::new(127, 0, 77, host).into(), 0);
    rustix::net::bind(&socket, &here).unwrap();
    rustix::net::connect(&socket, &place).unwrap();
    TcpStream::from(socket)
}

/// Connections that say `words` and nothing more.
pub fn silent(dev: &Dev, count: usize, words: &[u8]) -> Vec<TcpStream> {
    let place = place(dev);
    let open = |_| {
        let mut stream = from_elsewhere(place, 1);
        stream.set_write_timeout(Some(SOON)).unwrap();
        // The node may have hung up already.
        let _ = stream.write_all(words);
        stream
    };
    (0..count).map(open).collect()
}

/// The same, halfway into the noise handshake: a message that claims 200 bytes, and is cut short.
pub fn half_noise(dev: &Dev, count: usize) -> Vec<TcpStream> {
    silent(dev, count, &[NEGOTIATE_NOISE, &[0, 200, 7, 7, 7]].concat())
}

/// Where a connection falls silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silent {
    /// Noise is done, and not a word is said of what comes then.
    AfterNoise,
    /// yamux is chosen, and half a header of it stands on the line.
    InYamux,
}

/// Is silent for ever, from where it is told.
#[derive(Clone)]
struct Mute(Silent);

impl UpgradeInfo for Mute {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C> OutboundConnectionUpgrade<C> for Mute
where
    C: futures::AsyncWrite + Unpin + Send + 'static,
{
    type Output = StreamMuxerBox;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, mut io: C, _: Self::Info) -> Self::Future {
        async move {
            // What is chosen lazily is said with the first byte that is written.
            if self.0 == Silent::InYamux {
                io.write_all(HALF_A_HEADER).await?;
                io.flush().await?;
            }
            let _kept = io;
            pending().await
        }
        .boxed()
    }
}

impl<C> libp2p::core::upgrade::InboundConnectionUpgrade<C> for Mute
where
    C: Send + 'static,
{
    type Output = StreamMuxerBox;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, _: C, _: Self::Info) -> Self::Future {
        pending().boxed()
    }
}

/// Connections that finish the noise handshake under these identities, and then are silent. They
/// end with what comes back.
pub fn mute(dev: &Dev, pairs: Vec<Keypair>, from: Silent) -> Arc<Runtime> {
    let runtime = Arc::new(Runtime::new().unwrap());
    let to: libp2p::Multiaddr = address(dev).parse().unwrap();
    for pair in pairs {
        let (to, inside) = (to.clone(), runtime.enter());
        let mut transport = libp2p::tcp::tokio::Transport::default()
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&pair).unwrap())
            .multiplex(Mute(from));
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let dialing = transport.dial(to, options).unwrap();
        runtime.spawn(async move {
            let _transport = transport;
            let _ = dialing.await;
        });
        drop(inside);
    }
    runtime
}

/// Nodes with these identities that dial, and stay as long as they may. They end with what comes
/// back.
pub fn crowd(dev: &Dev, pairs: impl IntoIterator<Item = Keypair>) -> Runtime {
    let runtime = Runtime::new().unwrap();
    let to: libp2p::Multiaddr = address(dev).parse().unwrap();
    for pair in pairs {
        let inside = runtime.enter();
        let mut swarm = libp2p::SwarmBuilder::with_existing_identity(pair)
            .with_tokio()
            .with_tcp(
                libp2p::tcp::Config::default(),
                noise::Config::new,
                libp2p::yamux::Config::default,
            )
            .unwrap()
            .with_behaviour(|_| libp2p::ping::Behaviour::default())
            .unwrap()
            .with_swarm_config(|c| c.with_idle_connection_timeout(SOON * 100))
            .build();
        swarm.dial(to.clone()).unwrap();
        runtime.spawn(async move { while swarm.next().await.is_some() {} });
        drop(inside);
    }
    runtime
}
