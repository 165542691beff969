//! Where members were reached last: kept over restarts, so that a node finds its team again
//! without mDNS.

use crate::config::Config;
use crate::store::{Store, StoreError};
use crate::swarm::Swarm;
use quarry_trust::PeerId;
use std::collections::BTreeMap;

/// Name of the remembered addresses in the store's state.
const ADDRESSES: &str = "addresses-v1";

/// For `fuzzing`: what was remembered, read and written again.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn again(stored: &[u8]) -> Option<Vec<u8>> {
    let all: Addresses = serde_json::from_slice(stored).ok()?;
    serde_json::to_vec(&all).ok()
}

type Addresses = BTreeMap<String, Vec<String>>;

/// Addresses of members from earlier runs, and those in the settings.
#[must_use]
pub fn remembered(store: &dyn Store, config: &Config) -> Vec<(PeerId, Vec<String>)> {
    let stored = store.state(ADDRESSES).ok().flatten().unwrap_or_default();
    let stored: Addresses = serde_json::from_slice(&stored).unwrap_or_default();
    let mut all: Vec<(PeerId, Vec<String>)> = stored
        .into_iter()
        .filter_map(|(peer, addresses)| Some((PeerId::from_hex(&peer)?, addresses)))
        .collect();
    all.extend(config.peers.iter().filter_map(|text| {
        let (address, peer) = crate::swarm::identity::split(text)?;
        Some((peer, vec![address]))
    }));
    all
}

/// Keeps where members were reached last.
pub(super) fn remember(store: &dyn Store, swarm: &dyn Swarm) -> Result<(), StoreError> {
    let before = store.state(ADDRESSES)?.unwrap_or_default();
    let mut all: Addresses = serde_json::from_slice(&before).unwrap_or_default();
    let peers = swarm.peers();
    all.retain(|peer, _| peers.iter().any(|p| p.peer.to_hex() == *peer));
    for peer in peers
        .iter()
        .filter(|p| p.connected && !p.address.is_empty())
    {
        all.insert(peer.peer.to_hex(), vec![peer.address.clone()]);
    }
    let after = serde_json::to_vec(&all).unwrap_or_default();
    if after != before {
        store.set_state(ADDRESSES, &after)?;
    }
    Ok(())
}
