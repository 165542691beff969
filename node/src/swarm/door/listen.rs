//! Addresses as people write them and as the door needs them.
//!
//! Text enters; multiaddrs with an IP address and a TCP port leave. Names are resolved by the
//! system's own resolver. Must never happen here: a connection.

use super::DoorError;
use crate::config::DOOR_PORT;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

/// Length of an address that a person types, in bytes: a host name takes at most 253.
const MAX_TYPED: usize = 512;
/// Addresses that one name may resolve to and that are tried.
const MAX_RESOLVED: usize = 8;

/// A place to look for a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// A host name or an IP address.
    pub host: String,
    /// The TCP port that was given, if one was.
    pub port: Option<u16>,
    /// The peer that must answer, if one was given.
    pub peer: Option<libp2p::PeerId>,
}

/// Parses the multiaddrs to listen on.
pub(super) fn wanted(listen: &[String]) -> Result<Vec<Multiaddr>, DoorError> {
    if listen.is_empty() {
        return Err(DoorError::NoAddress);
    }
    let parse = |text: &String| {
        let address: Multiaddr = text.parse().ok()?;
        socket(&address).map(|_| address)
    };
    listen
        .iter()
        .map(|text| parse(text).ok_or_else(|| DoorError::Address(text.clone())))
        .collect()
}

/// The socket address of a multiaddr that starts with an IP address and a TCP port.
pub(super) fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// The multiaddr of a socket address.
pub(super) fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

/// The address to listen on: as wanted, or on a port of the system's choice where another
/// program has it. libp2p listens with SO_REUSEPORT, under which two nodes of one user share a
/// port and each gets half of the other's connections; so we ask without it first.
pub(super) fn free_port(wanted: &Multiaddr) -> Multiaddr {
    let Some(mut address) = socket(wanted) else {
        return wanted.clone();
    };
    match TcpListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            address.set_port(0);
            multiaddr(address)
        }
        _ => wanted.clone(),
    }
}

/// Reads `host`, `host:port`, an IP address of either family with or without a port, or a
/// multiaddr (with a host name too, and with `/p2p/…`, which is then pinned).
pub(super) fn place(text: &str) -> Option<Place> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_TYPED {
        return None;
    }
    if text.starts_with('/') {
        return multiaddr_place(&text.parse().ok()?);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(Place {
            host: ip.to_string(),
            port: None,
            peer: None,
        });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Place {
            host: address.ip().to_string(),
            port: Some(address.port()),
            peer: None,
        });
    }
    let (host, port) = match text.rsplit_once(':') {
        _ if text.starts_with('[') => (text, None),
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    let named = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    let bracketed = host.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let host = match bracketed {
        Some(ip) => ip.parse::<IpAddr>().ok()?.to_string(),
        None if !host.is_empty() && host.chars().all(named) => host.to_owned(),
        None => return None,
    };
    Some(Place {
        host,
        port,
        peer: None,
    })
}

fn multiaddr_place(address: &Multiaddr) -> Option<Place> {
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) => ip.to_string(),
        Protocol::Ip6(ip) => ip.to_string(),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => name.into_owned(),
        _ => return None,
    };
    let mut place = Place {
        host,
        port: None,
        peer: None,
    };
    for part in parts {
        match part {
            Protocol::Tcp(port) if place.port.is_none() && place.peer.is_none() => {
                place.port = Some(port);
            }
            Protocol::P2p(peer) if place.peer.is_none() => place.peer = Some(peer),
            _ => return None,
        }
    }
    Some(place)
}

impl Place {
    /// The ports to try: the one that was given and the one above it, since people copy the
    /// main port from `status`; or the door's own.
    pub(super) fn ports(&self) -> Vec<u16> {
        match self.port {
            None => vec![DOOR_PORT],
            Some(port) => std::iter::once(port).chain(port.checked_add(1)).collect(),
        }
    }

    /// Every address to dial, through the system's resolver: blocks, as long as that takes.
    pub(super) fn resolve(&self) -> io::Result<Vec<Multiaddr>> {
        let mut found = Vec::new();
        for port in self.ports() {
            let addresses = (self.host.as_str(), port).to_socket_addrs()?;
            found.extend(addresses.take(MAX_RESOLVED).map(multiaddr));
        }
        Ok(found)
    }
}
