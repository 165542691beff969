//! The gate: connections are for members alone, and few.
//!
//! Enters: the set of members after each change of the roster. Leaves: who was let in and who
//! was shut out; libp2p drops a stranger right after the noise handshake, before any protocol of
//! ours is spoken, and refuses dials to strangers before a packet. Must never happen here: a
//! second opinion about membership. The roster's is the only one.

use super::identity::net_id;
use libp2p::allow_block_list::{self, AllowedPeers, NotAllowed};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::swarm::ListenError;
use quarry_trust::PeerId;
use std::collections::HashSet;

/// Members that are let in, at most: what tables and connections are sized for.
pub(super) const MAX_MEMBERS: usize = 1024;
/// Inbound handshakes under way, with those that were told to give way and are not gone yet: the
/// turnstile has far fewer seats, and this is only met by a burst within one turn of the loop.
const MAX_PENDING_IN: u32 = 8 * super::turnstile::SEATS as u32;
/// Outbound dials under way.
const MAX_PENDING_OUT: u32 = 32;
/// Connections in all.
const MAX_CONNECTIONS: u32 = 512;
/// Connections with one member: both ends may dial at once, and a lost one may linger.
const MAX_PER_PEER: u32 = 4;

/// The allow list as libp2p enforces it.
pub(super) type AllowList = allow_block_list::Behaviour<AllowedPeers>;

/// The limits as libp2p enforces them.
pub(super) fn limits() -> connection_limits::Behaviour {
    connection_limits::Behaviour::new(
        ConnectionLimits::default()
            .with_max_pending_incoming(Some(MAX_PENDING_IN))
            .with_max_pending_outgoing(Some(MAX_PENDING_OUT))
            .with_max_established(Some(MAX_CONNECTIONS))
            .with_max_established_per_peer(Some(MAX_PER_PEER)),
    )
}

/// What a change of the roster did to the gate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Let in now.
    pub(super) added: Vec<PeerId>,
    /// Shut out now; their connections are being closed.
    pub(super) removed: Vec<PeerId>,
}

/// Makes the allow list equal to `after`.
pub(super) fn apply(
    list: &mut AllowList,
    before: &HashSet<PeerId>,
    after: &HashSet<PeerId>,
) -> Change {
    let change = Change {
        added: after.difference(before).copied().collect(),
        removed: before.difference(after).copied().collect(),
    };
    for net in change.removed.iter().filter_map(net_id) {
        list.disallow_peer(net);
    }
    for net in change.added.iter().filter_map(net_id) {
        list.allow_peer(net);
    }
    change
}

/// Whether an inbound connection failed because a stranger was turned away.
pub(super) fn turned_away(error: &ListenError) -> bool {
    matches!(error, ListenError::Denied { cause } if cause.downcast_ref::<NotAllowed>().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::identity::{keypair, peer_id};

    fn peer(seed: u8) -> PeerId {
        let pair = keypair(&[seed; 32]).expect("a seed");
        peer_id(&pair.public().to_peer_id()).expect("an ed25519 id")
    }

    #[test]
    fn the_list_follows_the_roster_both_ways() {
        let mut list = AllowList::default();
        let (alice, bob, carol) = (peer(1), peer(2), peer(3));
        let first = HashSet::from([alice, bob]);
        apply(&mut list, &HashSet::new(), &first);
        assert_eq!(list.allowed_peers().len(), 2);
        let second = HashSet::from([bob, carol]);
        let change = apply(&mut list, &first, &second);
        assert_eq!(
            change,
            Change {
                added: vec![carol],
                removed: vec![alice]
            }
        );
        assert!(
            !list
                .allowed_peers()
                .contains(&net_id(&alice).expect("a key"))
        );
        assert!(
            list.allowed_peers()
                .contains(&net_id(&carol).expect("a key"))
        );
    }
}
