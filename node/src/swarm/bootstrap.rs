//! Finding members again: addresses that were learnt, and when to dial whom.
//!
//! Enters: addresses (remembered, from tickets, mDNS, identify, Kademlia), successes, failures,
//! the time. Leaves: who is to be dialed now, and where. Must never happen here: a dial (the
//! driver's), a clock, a list that grows without bound because somebody sends addresses.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use quarry_trust::PeerId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Addresses kept of one member; the longest unused goes first.
pub(super) const MAX_ADDRESSES: usize = 16;
/// Peers whose addresses are kept, members or members to be.
const MAX_PEERS: usize = 1024;
/// First wait after a failed dial; doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait between dials: a colleague who opens the laptop dials us anyway.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Wait after a connection was lost: both ends redial, and need not collide.
const LOST_WAIT: Duration = Duration::from_millis(300);

/// Whether an address is one that we dial: IP and TCP, nothing that needs a resolver or relay.
/// Returns it without the peer id.
pub(super) fn dialable(address: &Multiaddr) -> Option<Multiaddr> {
    let mut parts = address.iter();
    let ip = parts.next()?;
    let ip_fits = match &ip {
        Protocol::Ip4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        Protocol::Ip6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        _ => false,
    };
    let tcp = parts
        .next()
        .filter(|p| matches!(p, Protocol::Tcp(port) if *port != 0))?;
    let rest = (parts.next(), parts.next());
    let rest_fits = matches!(rest, (None, _) | (Some(Protocol::P2p(_)), None));
    (ip_fits && rest_fits).then(|| Multiaddr::empty().with(ip).with(tcp))
}

/// Whether an address begins with a loopback IP.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

/// Those of the addresses that a member says it listens at which may be of use to others. Loopback
/// means something only on this machine: to who is `here` as well.
pub(super) fn usable(addresses: &[Multiaddr], here: bool) -> Vec<Multiaddr> {
    let dialed = addresses.iter().filter_map(dialable);
    let some = dialed.filter(|address| here || !is_loopback(address));
    some.take(MAX_ADDRESSES / 2).collect()
}

#[derive(Debug)]
struct Known {
    addresses: VecDeque<Multiaddr>,
    failures: u32,
    next: Instant,
    dialing: bool,
    connected: bool,
    settled: bool,
}

/// Who is where.
#[derive(Debug, Default)]
pub(super) struct Book {
    known: HashMap<PeerId, Known>,
}

impl Book {
    /// Learns addresses; a new one is worth a dial at once.
    pub(super) fn learn(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
        now: Instant,
    ) {
        if self.known.len() >= MAX_PEERS && !self.known.contains_key(&peer) {
            return;
        }
        let known = self.known.entry(peer).or_insert_with(|| Known::new(now));
        for address in addresses
            .into_iter()
            .filter_map(|a| dialable(&a))
            .take(MAX_ADDRESSES)
        {
            if known.addresses.contains(&address) {
                continue;
            }
            known.addresses.push_front(address);
            known.addresses.truncate(MAX_ADDRESSES);
            known.next = now;
            known.failures = 0;
        }
    }

    /// Members to dial now, with their addresses, best first. Each is marked as being dialed.
    pub(super) fn due(
        &mut self,
        members: &HashSet<PeerId>,
        now: Instant,
    ) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut due = Vec::new();
        for (peer, known) in &mut self.known {
            let idle = !known.connected && !known.dialing && !known.addresses.is_empty();
            if idle && known.next <= now && members.contains(peer) {
                known.dialing = true;
                due.push((*peer, known.addresses.iter().cloned().collect()));
            }
        }
        due
    }

    /// Members that are neither connected nor at an address that answers.
    pub(super) fn lost<'a>(&self, members: &'a HashSet<PeerId>) -> Vec<&'a PeerId> {
        let found = |peer: &&PeerId| {
            self.known
                .get(peer)
                .is_some_and(|k| k.connected || (!k.addresses.is_empty() && k.failures == 0))
        };
        members.iter().filter(|peer| !found(peer)).collect()
    }

    /// A connection came up; where we dialed, the address moves to the front.
    pub(super) fn connected(&mut self, peer: PeerId, dialed: Option<&Multiaddr>, now: Instant) {
        self.learn(peer, dialed.cloned(), now);
        let Some(known) = self.known.get_mut(&peer) else {
            return;
        };
        known.connected = true;
        known.dialing = false;
        let dialed = dialed.and_then(dialable);
        if let Some(at) = known
            .addresses
            .iter()
            .position(|a| Some(a) == dialed.as_ref())
            && let Some(address) = known.addresses.remove(at)
        {
            known.addresses.push_front(address);
        }
    }

    /// Rosters were exchanged: the peer takes us for a member, failures are over.
    pub(super) fn settled(&mut self, peer: &PeerId) {
        if let Some(known) = self.known.get_mut(peer) {
            known.settled = true;
            known.failures = 0;
        }
    }

    /// The last connection went down. Before rosters were exchanged that is a failed dial: the
    /// other end turned us away, and will again. True then.
    pub(super) fn disconnected(&mut self, peer: &PeerId, now: Instant) -> bool {
        let Some(known) = self.known.get_mut(peer) else {
            return false;
        };
        known.connected = false;
        if std::mem::take(&mut known.settled) {
            known.next = now + LOST_WAIT + jitter(peer, 0);
            return false;
        }
        self.failed(peer, now);
        true
    }

    /// A dial failed.
    pub(super) fn failed(&mut self, peer: &PeerId, now: Instant) {
        if let Some(known) = self.known.get_mut(peer) {
            known.dialing = false;
            let wait = FIRST_WAIT * 2_u32.saturating_pow(known.failures.min(10));
            known.failures = known.failures.saturating_add(1);
            known.next = now + wait.min(LONGEST_WAIT) + jitter(peer, known.failures);
        }
    }

    /// A peer is worth a dial now, whatever failed before.
    pub(super) fn retry(&mut self, peer: &PeerId, now: Instant) {
        if let Some(known) = self.known.get_mut(peer) {
            known.next = now;
        }
    }
}

impl Known {
    const fn new(next: Instant) -> Self {
        Self {
            addresses: VecDeque::new(),
            failures: 0,
            next,
            dialing: false,
            connected: false,
            settled: false,
        }
    }
}

/// Up to half a second, different for each peer and try, so that a team that comes back after a
/// power cut does not dial in step.
fn jitter(peer: &PeerId, try_number: u32) -> Duration {
    let byte = peer.0[try_number as usize % peer.0.len()];
    Duration::from_millis(2 * u64::from(byte))
}

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;
