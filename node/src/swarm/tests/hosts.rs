//! A small node behind a real swarm: a roster that is a version and a list, a few offers and
//! objects, and a note of everything that was refused.

use crate::store::{Object, Offer};
use crate::swarm::{Ask, Host, Libp2pSwarm, Restored, Swarm, SwarmConfig, Taken, identity};
use quarry_trust::{
    ActionKey, BuilderId, Digest, ObjectRef, PeerId, Refusal, Signature, SignedEntry,
};
use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

/// Generous: these machines also compile.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// The peer id of a seed.
pub(super) fn peer(seed: u8) -> PeerId {
    let pair = identity::keypair(&[seed; 32]).expect("a seed");
    identity::peer_id(&pair.public().to_peer_id()).expect("an ed25519 id")
}

/// Waits for something to become true; panics at the deadline.
#[track_caller]
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    start.elapsed()
}

/// A runtime like the node's.
pub(super) fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A roster: version and members.
pub(super) fn roster(version: u64, members: &[PeerId]) -> Vec<u8> {
    let mut wire = version.to_le_bytes().to_vec();
    members
        .iter()
        .for_each(|peer| wire.extend_from_slice(&peer.0));
    wire
}

fn members_of(wire: &[u8]) -> Vec<PeerId> {
    let rest = wire.get(8..).unwrap_or_default();
    rest.chunks_exact(32)
        .filter_map(|c| Some(PeerId(c.try_into().ok()?)))
        .collect()
}

/// The test's node.
pub(super) struct TestHost {
    own: PeerId,
    roster: Mutex<Option<Vec<u8>>>,
    /// Offers by the digest that is asked for.
    pub(super) offers: Mutex<HashMap<Digest, Vec<Offer>>>,
    /// Objects by digest.
    pub(super) objects: Mutex<HashMap<Digest, Vec<u8>>>,
    /// What was restored, by builder.
    pub(super) restored: Mutex<HashMap<BuilderId, Restored>>,
    /// What may be announced.
    pub(super) keys: Mutex<Vec<Digest>>,
    /// Everything refused.
    pub(super) refusals: Mutex<Vec<(PeerId, Refusal)>>,
    /// Strangers turned away.
    pub(super) strangers: AtomicUsize,
}

impl TestHost {
    pub(super) fn new(seed: u8) -> Arc<Self> {
        Arc::new(Self {
            own: peer(seed),
            roster: Mutex::default(),
            offers: Mutex::default(),
            objects: Mutex::default(),
            restored: Mutex::default(),
            keys: Mutex::default(),
            refusals: Mutex::default(),
            strangers: AtomicUsize::new(0),
        })
    }

    pub(super) fn set_roster(&self, wire: Vec<u8>) {
        *self.roster.lock().unwrap() = Some(wire);
    }

    pub(super) fn store(&self, bytes: &[u8]) -> ObjectRef {
        let digest = Digest::of(bytes);
        self.objects.lock().unwrap().insert(digest, bytes.to_vec());
        ObjectRef {
            digest,
            size: bytes.len() as u64,
        }
    }

    pub(super) fn refused(&self) -> Vec<(PeerId, Refusal)> {
        self.refusals.lock().unwrap().clone()
    }
}

impl Host for TestHost {
    fn roster(&self, _: Option<&PeerId>) -> Option<Vec<u8>> {
        self.roster.lock().unwrap().clone()
    }

    fn tags(&self) -> Digest {
        Digest::of(b"tags of one kind")
    }

    fn admits(&self, peer: &PeerId) -> bool {
        self.members().contains(peer)
    }

    fn members(&self) -> Vec<PeerId> {
        let wire = self.roster(None).unwrap_or_default();
        members_of(&wire)
            .into_iter()
            .filter(|peer| *peer != self.own)
            .collect()
    }

    fn merge_roster(&self, _: &PeerId, wire: &[u8]) -> Taken {
        let mut ours = self.roster.lock().unwrap();
        let version = |wire: &[u8]| {
            wire.get(..8)
                .map(|v| u64::from_le_bytes(v.try_into().unwrap()))
        };
        let grew = version(wire) > ours.as_deref().and_then(version);
        if grew {
            *ours = Some(wire.to_vec());
            Taken::Grew
        } else {
            Taken::Known
        }
    }

    fn offers(&self, _: &PeerId, ask: &Ask) -> Vec<Offer> {
        let key = match ask {
            Ask::Lookup(key) => key.digest(),
            Ask::Action(key) => key.digest(),
            Ask::Crate(name) => *name,
            Ask::Next(key) => key.digest(),
        };
        self.offers
            .lock()
            .unwrap()
            .get(&key)
            .cloned()
            .unwrap_or_default()
    }

    fn restored(&self, _: &PeerId, builder: &BuilderId) -> Restored {
        self.restored
            .lock()
            .unwrap()
            .get(builder)
            .cloned()
            .unwrap_or_default()
    }

    fn open(&self, _: &PeerId, _: &ActionKey, digest: &Digest) -> Option<(Object, u64)> {
        let bytes = self.objects.lock().unwrap().get(digest)?.clone();
        let size = bytes.len() as u64;
        if bytes.len() <= 64 * 1024 {
            return Some((Object::Bytes(bytes), size));
        }
        let mut file = tempfile::tempfile().ok()?;
        file.write_all(&bytes).ok()?;
        std::io::Seek::rewind(&mut file).ok()?;
        Some((Object::File(file), size))
    }

    fn keys(&self) -> Vec<Digest> {
        self.keys.lock().unwrap().clone()
    }

    fn refused(&self, from: &PeerId, why: Refusal, _: &str) {
        self.refusals.lock().unwrap().push((*from, why));
    }

    fn stranger(&self, _: &PeerId) {
        self.strangers.fetch_add(1, Ordering::SeqCst);
    }
}

/// An offer with a prediction of `size` bytes.
pub(super) fn offer(size: usize) -> Offer {
    let signed = SignedEntry {
        bytes: vec![3; 200],
        signature: Signature([9; 64]),
    };
    Offer {
        prediction: vec![1; size],
        signed,
    }
}

/// A host with its swarm.
pub(super) struct Desk {
    pub(super) peer: PeerId,
    pub(super) host: Arc<TestHost>,
    pub(super) swarm: Libp2pSwarm,
}

/// Starts a desk on a port of the system's choice; it knows the addresses of `others`.
pub(super) fn desk(runtime: &Runtime, seed: u8, roster: Option<Vec<u8>>, others: &[&Desk]) -> Desk {
    let remembered = others
        .iter()
        .map(|d| (d.peer, d.swarm.listening()))
        .collect();
    desk_at(runtime, seed, roster, "/ip4/127.0.0.1/tcp/0", remembered)
}

/// Starts a desk.
pub(super) fn desk_at(
    runtime: &Runtime,
    seed: u8,
    roster: Option<Vec<u8>>,
    listen: &str,
    remembered: Vec<(PeerId, Vec<String>)>,
) -> Desk {
    let host = TestHost::new(seed);
    if let Some(wire) = roster {
        host.set_roster(wire);
    }
    let config = SwarmConfig {
        seed: Zeroizing::new([seed; 32]),
        listen: vec![listen.to_owned()],
        mdns: false,
        remembered,
        scratch: None,
    };
    let swarm =
        Libp2pSwarm::start(config, host.clone(), runtime.handle().clone()).expect("it starts");
    Desk {
        peer: peer(seed),
        host,
        swarm,
    }
}

impl Desk {
    pub(super) fn sees(&self, other: PeerId) -> bool {
        self.swarm
            .peers()
            .iter()
            .any(|status| status.peer == other && status.connected)
    }

    /// Fetches an object whole.
    pub(super) fn fetch(
        &self,
        from: PeerId,
        object: &ObjectRef,
    ) -> Result<Vec<u8>, crate::swarm::SwarmError> {
        let mut sink = Vec::new();
        let action = ActionKey::of(b"action");
        self.swarm
            .fetch(&from, &action, object, &mut sink, Instant::now() + SOON)?;
        Ok(sink)
    }
}
