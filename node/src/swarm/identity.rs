//! The two names of one peer: Quarry's raw ed25519 key, and libp2p's peer id over the same key.
//!
//! Enters: 32 bytes of a key or secret, or a libp2p id. Leaves: the other form. Must never
//! happen here: a secret that is printed or kept after the key was made.

use super::SwarmError;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use quarry_trust::PeerId;

/// libp2p's name for a peer.
pub(super) type NetId = libp2p::PeerId;

/// The key pair of a peer identity.
pub(super) fn keypair(seed: &[u8; 32]) -> Result<Keypair, SwarmError> {
    let mut secret = zeroize::Zeroizing::new(*seed);
    Keypair::ed25519_from_bytes(secret.as_mut()).map_err(|_| SwarmError::Identity)
}

/// libp2p's name for a peer; `None` where the bytes are no point on the curve.
pub(super) fn net_id(peer: &PeerId) -> Option<NetId> {
    let key = ed25519::PublicKey::try_from_bytes(&peer.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// Quarry's name for a libp2p peer; `None` for keys of another kind than ed25519. A key of at most
/// 42 bytes stands in the id itself ("libp2p/specs/peer-ids"), and in one way only.
pub(super) fn peer_id(net: &NetId) -> Option<PeerId> {
    let key = PublicKey::try_decode_protobuf(net.as_ref().digest()).ok()?;
    let peer = PeerId(key.try_into_ed25519().ok()?.to_bytes());
    (net_id(&peer).as_ref() == Some(net)).then_some(peer)
}

/// A peer as libp2p prints it; hexadecimal where the key is no point on the curve.
#[must_use]
pub fn display(peer: &PeerId) -> String {
    net_id(peer).map_or_else(|| peer.to_hex(), |id| id.to_base58())
}

/// Takes a multiaddr that ends in `/p2p/PEER` apart. `None` for any other text.
#[must_use]
pub fn split(text: &str) -> Option<(String, PeerId)> {
    let mut address: libp2p::Multiaddr = text.parse().ok()?;
    let Some(libp2p::multiaddr::Protocol::P2p(id)) = address.pop() else {
        return None;
    };
    Some((address.to_string(), peer_id(&id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_convert_both_ways() {
        let pair = keypair(&[7; 32]).expect("a seed");
        let net = pair.public().to_peer_id();
        let peer = peer_id(&net).expect("an ed25519 id");
        assert_eq!(net_id(&peer), Some(net));
    }

    #[test]
    fn a_hashed_id_has_no_key() {
        assert_eq!(peer_id(&NetId::random()), None);
    }
}
