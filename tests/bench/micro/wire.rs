//! Two swarms over loopback, one of which has an object.

use quarry_node::store::{Object, Offer};
use quarry_node::swarm::{Ask, Host, Libp2pSwarm, Restored, Swarm, SwarmConfig, Taken};
use quarry_trust::{ActionKey, BuilderId, BuilderKey, Digest, ObjectRef, PeerId, Refusal};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A member of a team of two.
struct Desk {
    mate: PeerId,
    file: Option<std::path::PathBuf>,
}

impl Host for Desk {
    fn roster(&self, _: Option<&PeerId>) -> Option<Vec<u8>> {
        Some(b"both".to_vec())
    }

    fn tags(&self) -> Digest {
        Digest::of(b"tags")
    }

    fn admits(&self, peer: &PeerId) -> bool {
        *peer == self.mate
    }

    fn members(&self) -> Vec<PeerId> {
        vec![self.mate]
    }

    fn merge_roster(&self, _: &PeerId, _: &[u8]) -> Taken {
        Taken::Known
    }

    fn offers(&self, _: &PeerId, _: &Ask) -> Vec<Offer> {
        Vec::new()
    }

    fn restored(&self, _: &PeerId, _: &BuilderId) -> Restored {
        Restored::default()
    }

    fn open(&self, _: &PeerId, _: &ActionKey, _: &Digest) -> Option<(Object, u64)> {
        let file = File::open(self.file.as_ref()?).ok()?;
        let size = file.metadata().ok()?.len();
        Some((Object::File(file), size))
    }

    fn keys(&self) -> Vec<Digest> {
        Vec::new()
    }

    fn refused(&self, _: &PeerId, why: Refusal, what: &str) {
        panic!("refused {what}: {why}");
    }

    fn stranger(&self, _: &PeerId) {}
}

pub struct Wire {
    object: ObjectRef,
    alice: PeerId,
    swarms: [Libp2pSwarm; 2],
    _runtime: Runtime,
    _dir: tempfile::TempDir,
}

impl Wire {
    /// With an object of so many bytes, which pack as a library's do.
    pub fn new(size: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("object");
        let bytes = like_a_library(size);
        std::fs::write(&path, &bytes).unwrap();
        let peers = [1, 2].map(|n| PeerId(BuilderKey::from_seed(&[n; 32]).id().0));
        let start = |n: u8, mate: PeerId, file| {
            let config = SwarmConfig {
                seed: zeroize(n),
                listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
                mdns: false,
                remembered: Vec::new(),
                // Packed each time.
                scratch: None,
            };
            let host = Arc::new(Desk { mate, file });
            Libp2pSwarm::start(config, host, runtime.handle().clone()).unwrap()
        };
        let swarms = [start(1, peers[1], Some(path)), start(2, peers[0], None)];
        swarms[1].add_addresses(&peers[0], &swarms[0].listening());
        let end = Instant::now() + Duration::from_secs(20);
        while !swarms[1].peers().iter().any(|p| p.connected) {
            assert!(Instant::now() < end, "the two find each other");
            std::thread::sleep(Duration::from_millis(5));
        }
        let wire = Self {
            object: ObjectRef {
                digest: Digest::of(&bytes),
                size: size as u64,
            },
            alice: peers[0],
            swarms,
            _runtime: runtime,
            _dir: dir,
        };
        wire.fetch();
        wire
    }

    /// Fetches the object, and digests it as the node does.
    pub fn fetch(&self) {
        let mut sink = Digesting::default();
        let deadline = Instant::now() + Duration::from_secs(20);
        let action = ActionKey::of(b"any");
        self.swarms[1]
            .fetch(&self.alice, &action, &self.object, &mut sink, deadline)
            .unwrap();
        assert_eq!(sink.0.finish(), self.object.digest);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.swarms.iter().for_each(Swarm::shutdown);
    }
}

#[derive(Default)]
struct Digesting(quarry_trust::digest::Hasher);

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn zeroize(n: u8) -> zeroize::Zeroizing<[u8; 32]> {
    zeroize::Zeroizing::new([n; 32])
}

/// Every fourth piece of 64 bytes is noise, the others repeat: a quarter remains when packed.
fn like_a_library(size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size);
    let mut noise = Digest::of(b"noise");
    while out.len() < size {
        noise = Digest::of(noise.as_bytes());
        out.extend_from_slice(noise.as_bytes());
        out.extend_from_slice(Digest::of(noise.as_bytes()).as_bytes());
        out.extend_from_slice(&[7; 192]);
    }
    out.truncate(size);
    out
}
