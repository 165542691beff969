//! Mallory: a member in good standing, whose node is not ours.
//!
//! She joins, builds and stops as an honest member with a real node; then the test takes her
//! keys, her entries and her objects, and speaks the members' protocols raw, as a script says.

use super::wire;
use crate::harness::{
    Dev, SOON, assert_same_files, files, libraries, projects, team, wait_connected, wait_for,
};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Stream, StreamProtocol, identity, ping};
use quarry_node::store::{RedbStore, Store};
use quarry_node::team::Team;
use quarry_trust::canon::Canonical;
use quarry_trust::entry::ENTRY_DOMAIN;
use quarry_trust::{Digest, Entry, SignedEntry};
use quarry_wrapper::home::Home;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Stands in everything that Mallory makes up: no file of Bob's may hold it.
pub const MARK: &[u8] = b"MALLORY WAS HERE";

/// What an honest build left: an entry, the prediction that leads to it, its signature.
#[derive(Clone)]
pub struct Honest {
    /// The entry.
    pub entry: Entry,
    /// The prediction's bytes.
    pub prediction: Vec<u8>,
    /// The entry as it was signed.
    pub signed: SignedEntry,
}

/// A member who goes bad.
pub struct Mallory {
    _dev: Dev,
    /// Her keys and her roster.
    pub team: Team,
    /// What she compiled.
    pub honest: Vec<Honest>,
    /// The objects of that, by digest.
    pub objects: BTreeMap<Digest, Vec<u8>>,
    libraries: Vec<(PathBuf, Vec<u8>)>,
}

/// What Mallory says to whom asks. What is missing here is met with silence.
#[derive(Clone, Default)]
pub struct Script {
    /// The frame that answers a roster.
    pub roster: Vec<u8>,
    /// The frame that answers a question for the filter.
    pub filter: Vec<u8>,
    /// Frames that answer a question, by the key's bytes.
    pub answers: BTreeMap<[u8; 32], Vec<u8>>,
    /// Replies to requests for an object, by its digest.
    pub objects: BTreeMap<Digest, Vec<u8>>,
    /// Whether noise without end follows each answer and reply.
    pub flood: bool,
    /// The pause before each nine bytes of a reply (its head, a chunk of one byte), where it is
    /// not given at once.
    pub trickle: Option<Duration>,
    /// Counts the objects that are given: every hundredth is garbage of the same length.
    pub spoiled: Option<Arc<AtomicUsize>>,
}

/// How often an object is spoiled, where that is asked for.
const SPOIL_EVERY: usize = 100;

/// Bob builds, and has all three crates from whom he is connected to.
#[track_caller]
pub fn bob_hits(bob: &Dev) {
    let checkout = bob.path("some/other/checkout");
    projects::small(&checkout);
    bob.build(&checkout, &["build"]).succeeded();
    assert_eq!(bob.count("hits.peer"), 3, "{}\n{}", bob.stats(), bob.log());
}

/// A founder who turns, and Bob, who joined her team.
pub fn mallory_and_bob() -> (Mallory, Dev) {
    let mut devs = team(&["mallory", "bob"]);
    let (bob, dev) = (devs.pop().unwrap(), devs.pop().unwrap());
    let checkout = dev.path("checkout");
    projects::small(&checkout);
    dev.build(&checkout, &["build"]).succeeded();
    dev.flush();
    dev.qnode(&["stop"]).succeeded();
    wait_for("Bob to be alone", || {
        (bob.json(&["status"])["peers"] == 0).then_some(())
    });
    let home = Home::at(dev.home()).unwrap();
    let store = wait_for("Mallory's store to be free", || {
        RedbStore::open(&home.store()).ok()
    });
    let (honest, objects) = holdings(&store.0);
    assert_eq!(honest.len(), 3, "two libraries and a program were built");
    let mallory = Mallory {
        team: Team::load(&home).unwrap(),
        honest,
        objects,
        libraries: libraries(&checkout.join("target"), "debug"),
        _dev: dev,
    };
    (mallory, bob)
}

/// What an honest store holds.
pub fn holdings(store: &dyn Store) -> (Vec<Honest>, BTreeMap<Digest, Vec<u8>>) {
    let (mut honest, mut objects) = (Vec::new(), BTreeMap::new());
    store
        .each_offer(&mut |offer| {
            honest.push(Honest {
                entry: Entry::from_canon(&offer.signed.bytes).unwrap(),
                prediction: offer.prediction,
                signed: offer.signed,
            });
        })
        .unwrap();
    for named in honest.iter().flat_map(|h| h.entry.objects()) {
        let Some(object) = store.object(&named).unwrap() else {
            continue;
        };
        let mut bytes = Vec::new();
        object.reader(named.size).read_to_end(&mut bytes).unwrap();
        objects.insert(named.digest, bytes);
    }
    (honest, objects)
}

impl Mallory {
    /// A script that plays by the rules, but for what she offers: each honest entry's keys are
    /// answered with what `offer` makes of it.
    pub fn offering(&self, offer: impl Fn(&Honest) -> (Vec<u8>, SignedEntry)) -> Script {
        let mut answers = BTreeMap::new();
        let mut keys = Vec::new();
        for honest in &self.honest {
            let answer = wire::offers(&[offer(honest)]);
            let (lookup, action) = (honest.entry.lookup.digest(), honest.entry.action.digest());
            for key in [lookup, action] {
                let tag = self.team.tag(&honest.entry.scope, &key).unwrap();
                keys.push(tag.short());
                answers.insert(*key.as_bytes(), answer.clone());
            }
        }
        Script {
            roster: wire::roster(&self.team.exchange(None).unwrap()),
            filter: wire::filter(&keys),
            answers,
            objects: self
                .objects
                .iter()
                .map(|(digest, bytes)| (*digest, wire::object(bytes)))
                .collect(),
            ..Script::default()
        }
    }

    /// A script that plays by the rules.
    pub fn honestly(&self) -> Script {
        self.offering(|honest| (honest.prediction.clone(), honest.signed.clone()))
    }

    /// A script that plays by the rules, but for the objects that the entries name.
    pub fn serving(&self, reply: impl Fn(&[u8]) -> Vec<u8>) -> Script {
        let objects = &self.objects;
        Script {
            objects: objects
                .iter()
                .map(|(d, bytes)| (*d, reply(bytes)))
                .collect(),
            ..self.honestly()
        }
    }

    /// Any bytes in place of an entry, under her own good signature.
    pub fn sign(&self, bytes: Vec<u8>) -> SignedEntry {
        let signature = self.team.builder_key().sign(ENTRY_DOMAIN, &bytes);
        SignedEntry { bytes, signature }
    }

    /// Her network identity.
    pub fn identity(&self) -> identity::Keypair {
        identity::Keypair::ed25519_from_bytes(*self.team.peer_seed()).unwrap()
    }

    /// Connects to Bob and plays the script, until what comes back is dropped.
    pub fn attack(&self, bob: &Dev, script: Script) -> Attack {
        let attack = Attack::begin(bob, self.identity(), script);
        wait_connected(bob, 1);
        wait_for("Bob to know what Mallory claims", || {
            let peers = bob.json(&["peers"]);
            let claims = |p: &serde_json::Value| p["keys"].as_u64() >= Some(4);
            peers.as_array()?.iter().any(claims).then_some(())
        });
        attack
    }

    /// Bob builds what Mallory offers; returns how long that took. The build must succeed, the
    /// program be right, everything be compiled here, and nothing of hers be left.
    #[track_caller]
    pub fn bob_compiles_instead(&self, bob: &Dev) -> Duration {
        let checkout = bob.path("some/other/checkout");
        projects::small(&checkout);
        let began = Instant::now();
        bob.build(&checkout, &["build"]).succeeded();
        let took = began.elapsed();
        assert_eq!(bob.count("hits.peer"), 0, "{}", bob.stats());
        assert_eq!(bob.count("misses"), 3, "{}", bob.stats());
        let ran = bob.run(&mut bob.command(checkout.join("target/debug/app")));
        assert_eq!(ran.out, "hello, desk\n");
        assert_same_files(
            &self.libraries,
            &libraries(&checkout.join("target"), "debug"),
        );
        assert_unmarked(&bob.path("some"));
        took
    }

    /// Fails unless the attack was counted under `name`, and one line of the log says who, what
    /// it is called, and why.
    #[track_caller]
    pub fn was_refused(&self, bob: &Dev, name: &str, why: &str) {
        let counted = format!("rejected.{name}");
        assert!(bob.count(&counted) > 0, "{counted}: {}", bob.stats());
        let log = bob.log();
        let said = log.lines().any(|line| {
            line.contains("refused")
                && line.contains("from mallory")
                && line.contains(&format!("({name})"))
                && line.contains(why)
        });
        assert!(said, "no line says ({name}) {why}:\n{log}");
    }
}

/// Fails if any file below `dir` holds the mark, or bears her name, or was left half written.
#[track_caller]
pub fn assert_unmarked(dir: &Path) {
    // A pipe would be read without an end.
    let regular = |path: &Path| path.symlink_metadata().is_ok_and(|m| m.is_file());
    for (path, bytes) in files(dir, &regular) {
        let marked = bytes.windows(MARK.len()).any(|w| w == MARK);
        let named = path.to_string_lossy().contains("mallory");
        assert!(!marked && !named, "{} is Mallory's", path.display());
        let half = path.to_string_lossy().contains(".quarry-");
        assert!(!half, "{} was begun and not ended", path.display());
    }
}

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct Raw {
    streams: libp2p_stream::Behaviour,
    ping: ping::Behaviour,
}

/// A raw libp2p node under way; it ends when this is dropped.
pub struct Attack {
    /// What it runs on.
    pub runtime: Runtime,
    /// Opens streams to Bob.
    pub control: libp2p_stream::Control,
    /// Bob's libp2p identity, once the connection has stood.
    pub bob: tokio::sync::watch::Receiver<Option<libp2p::PeerId>>,
    /// How often a connection to Bob has ended.
    pub closed: tokio::sync::watch::Receiver<u32>,
    /// Whether the dial has failed.
    pub failed: tokio::sync::watch::Receiver<bool>,
}

/// Where Bob listens.
pub fn address(bob: &Dev) -> String {
    let status = bob.json(&["status"]);
    status["listen"][0].as_str().unwrap().to_owned()
}

impl Attack {
    /// Dials Bob under an identity, and plays the script to whatever he asks.
    pub fn begin(bob: &Dev, pair: identity::Keypair, script: Script) -> Self {
        Self::at(address(bob), pair, script)
    }

    /// Dials an address under an identity, and plays the script to whatever is asked.
    pub fn at(address: String, pair: identity::Keypair, script: Script) -> Self {
        let runtime = Runtime::new().unwrap();
        let inside = runtime.enter();
        let mut swarm = libp2p::SwarmBuilder::with_existing_identity(pair)
            .with_tokio()
            .with_tcp(
                libp2p::tcp::Config::default(),
                libp2p::noise::Config::new,
                libp2p::yamux::Config::default,
            )
            .unwrap()
            .with_behaviour(|_| Raw {
                streams: libp2p_stream::Behaviour::new(),
                ping: ping::Behaviour::default(),
            })
            .unwrap()
            .with_swarm_config(|c| c.with_idle_connection_timeout(SOON * 100))
            .build();
        let mut control = swarm.behaviour().streams.new_control();
        let script = Arc::new(script);
        let mut asks = control.accept(StreamProtocol::new(wire::ASK)).unwrap();
        let mut objects = control.accept(StreamProtocol::new(wire::OBJECT)).unwrap();
        // Who does not speak gossip is not listened to either.
        let mut gossip = control.accept(StreamProtocol::new(wire::GOSSIP)).unwrap();
        runtime.spawn(async move {
            while let Some((_, mut stream)) = gossip.next().await {
                tokio::spawn(async move {
                    let mut heard = [0; 4096];
                    while stream.read(&mut heard).await.is_ok_and(|n| n > 0) {}
                });
            }
        });
        let shared = script.clone();
        runtime.spawn(async move {
            while let Some((_, stream)) = asks.next().await {
                tokio::spawn(answer(stream, shared.clone()));
            }
        });
        runtime.spawn(async move {
            while let Some((_, stream)) = objects.next().await {
                tokio::spawn(serve(stream, script.clone()));
            }
        });
        swarm.dial(address.parse::<Multiaddr>().unwrap()).unwrap();
        let (met, bob) = tokio::sync::watch::channel(None);
        let (ended, closed) = tokio::sync::watch::channel(0);
        let (refused, failed) = tokio::sync::watch::channel(false);
        runtime.spawn(async move {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                        met.send_replace(Some(peer_id));
                    }
                    SwarmEvent::ConnectionClosed { .. } => ended.send_modify(|n| *n += 1),
                    SwarmEvent::OutgoingConnectionError { .. } => {
                        refused.send_replace(true);
                    }
                    _ => {}
                }
            }
        });
        drop(inside);
        Self {
            runtime,
            control,
            bob,
            closed,
            failed,
        }
    }

    /// Opens a stream to Bob, says something, and reads what comes back until he ends it, at
    /// most for `within`.
    pub fn say(&self, protocol: &'static str, bytes: &[u8], within: Duration) -> Vec<u8> {
        let bob = wait_for("a connection", || *self.bob.borrow());
        let mut control = self.control.clone();
        self.runtime.block_on(async move {
            let mut back = Vec::new();
            let Ok(mut stream) = control
                .open_stream(bob, StreamProtocol::new(protocol))
                .await
            else {
                return back;
            };
            let exchange = async {
                stream.write_all(bytes).await?;
                stream.flush().await?;
                stream.read_to_end(&mut back).await
            };
            // What came by then is the answer, however the stream ends.
            let _ = tokio::time::timeout(within, exchange).await;
            back
        })
    }
}

/// Opening a stream is one round trip; Bob may leave it without an answer.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

impl Attack {
    /// Opens up to so many streams to Bob, says something on each, and leaves them open. Those
    /// that Bob does not take are missing in what comes back.
    pub fn hold(&self, protocol: &'static str, bytes: &[u8], count: usize) -> Vec<Stream> {
        self.hold_each(protocol, &vec![bytes; count])
    }

    /// The same, with words of its own on each.
    pub fn hold_each<B: AsRef<[u8]>>(&self, protocol: &'static str, all: &[B]) -> Vec<Stream> {
        let bob = wait_for("a connection", || *self.bob.borrow());
        let opening = all.iter().map(|bytes| {
            let bytes = bytes.as_ref();
            let mut control = self.control.clone();
            async move {
                let open = control.open_stream(bob, StreamProtocol::new(protocol));
                let mut stream = tokio::time::timeout(OPEN_WITHIN, open).await.ok()?.ok()?;
                let say = async {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                };
                tokio::time::timeout(OPEN_WITHIN, say).await.ok()?.ok()?;
                Some(stream)
            }
        });
        let all = futures::future::join_all(opening);
        self.runtime.block_on(all).into_iter().flatten().collect()
    }

    /// Says one thing after another on one stream, and keeps it; how many were said.
    pub fn pour(&self, stream: &mut Stream, all: impl Iterator<Item = Vec<u8>>) -> usize {
        self.runtime.block_on(async {
            let mut said = 0;
            for bytes in all {
                let writing = tokio::time::timeout(OPEN_WITHIN, stream.write_all(&bytes));
                if !matches!(writing.await, Ok(Ok(()))) {
                    break;
                }
                said += 1;
            }
            let _ = tokio::time::timeout(OPEN_WITHIN, stream.flush()).await;
            said
        })
    }
}

async fn answer(mut stream: Stream, script: Arc<Script>) {
    let mut header = [0; 5];
    if stream.read_exact(&mut header).await.is_err() {
        return;
    }
    let length = u32::from_le_bytes(header[1..].try_into().unwrap());
    let mut body = vec![0; length as usize];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let asked = |key: &[u8]| Some(script.answers.get(key)?.clone());
    let (said, flood) = match header[0] {
        1 => (script.roster.clone(), false),
        2 => (script.filter.clone(), false),
        _ => (asked(&body).unwrap_or_default(), script.flood),
    };
    utter(&mut stream, &said, flood).await;
    std::future::pending::<()>().await;
}

async fn serve(mut stream: Stream, script: Arc<Script>) {
    loop {
        let mut request = [0; 64];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let digest = Digest::from_canon(&request[32..]).unwrap();
        let Some(reply) = script.objects.get(&digest) else {
            return std::future::pending().await;
        };
        let count = script.spoiled.as_ref();
        let count = count.map(|c| c.fetch_add(1, Ordering::SeqCst));
        if count.is_some_and(|c| c % SPOIL_EVERY == 0) {
            let mut garbage = reply.clone();
            // The head stands, and the chunk's: the bytes of the object are Mallory's.
            garbage[17..].iter_mut().for_each(|b| *b ^= 0x5a);
            utter(&mut stream, &garbage, false).await;
            continue;
        }
        match script.trickle {
            None => utter(&mut stream, reply, script.flood).await,
            Some(every) => {
                for part in reply.chunks(9) {
                    tokio::time::sleep(every).await;
                    utter(&mut stream, part, false).await;
                }
            }
        }
    }
}

async fn utter(stream: &mut Stream, bytes: &[u8], flood: bool) {
    // Bob may hang up at any time: that is what is being tested.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    while flood && stream.write_all(&[0x5a; 64 * 1024]).await.is_ok() {}
}
