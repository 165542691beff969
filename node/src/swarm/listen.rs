//! Listen addresses: bound as asked, or on a port of the system's choice.
//!
//! Enters: multiaddrs from the settings. Leaves: a libp2p swarm that listens, and how many
//! listeners it has. Must never happen here: a port shared with another node.

use super::SwarmError;
use super::behaviour::Net;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::net::{IpAddr, SocketAddr, TcpListener};

/// Binds the addresses; one in use gives way to a port of the system's choice. Returns how many
/// listeners there are now.
///
/// # Errors
/// [`SwarmError::Listen`].
pub(super) fn listen(
    swarm: &mut libp2p::Swarm<Net>,
    addresses: &[String],
) -> Result<usize, SwarmError> {
    for text in addresses {
        let fail = |reason: String| SwarmError::Listen {
            address: text.clone(),
            reason,
        };
        let address: Multiaddr = text.parse().map_err(|e| fail(format!("{e}")))?;
        let first = free(&address)
            .map_err(|e| e.to_string())
            .and_then(|()| swarm.listen_on(address.clone()).map_err(|e| chain(&e)));
        if let Err(error) = first {
            let any = any_port(&address).ok_or_else(|| fail(error.clone()))?;
            tracing::warn!(%address, %error, "the listen address is taken: another port is used");
            swarm.listen_on(any).map_err(|e| fail(chain(&e)))?;
        }
    }
    Ok(addresses.len())
}

/// An error with what caused it; some of libp2p's say nothing by themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !text.is_empty() && words.last() != Some(&text) {
            words.push(text);
        }
        next = error.source();
    }
    words.join(": ")
}

/// Whether nobody listens there. libp2p binds with SO_REUSEPORT: a second node of the same user
/// would share the port without an error, and get every other connection of the first.
fn free(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => {
            TcpListener::bind(SocketAddr::new(ip, port)).map(drop)
        }
        _ => Ok(()),
    }
}

/// The same address with a port of the system's choice; `None` where it asked for that already.
fn any_port(address: &Multiaddr) -> Option<Multiaddr> {
    let mut parts = address.iter();
    let ip = parts.next()?;
    match parts.next()? {
        Protocol::Tcp(port) if port != 0 => {
            Some(Multiaddr::empty().with(ip).with(Protocol::Tcp(0)))
        }
        _ => None,
    }
}
