//! The stage on which every row of the table is played: an honest team, and members gone bad.
//!
//! Alice (who founded the team) and Bob are honest nodes with real builds; a scribe built what
//! Mallory's kind later offers, and left. The others joined with keys that the test holds: one for
//! each row, since who offends is left out for a while. Enters: nothing. Leaves: what honest builds
//! left, and the means to compare. Must never happen here: an attack.

use crate::attackers::mallory::{Attack, Honest, Script, assert_unmarked, holdings};
use crate::attackers::wire;
use crate::harness::{
    Dev, Said, assert_same_files, libraries, projects, wait_connected, wait_for, wait_keys,
};
use libp2p::identity::Keypair;
use quarry_node::store::RedbStore;
use quarry_node::team::Team;
use quarry_trust::canon::Canonical;
use quarry_trust::entry::ENTRY_DOMAIN;
use quarry_trust::roster::Op;
use quarry_trust::{BuilderKey, Digest, Entry, Member, PeerId, Role, SignedEntry};
use quarry_wrapper::home::Home;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Units that Alice built, and Bob is to have from her, whatever happens.
pub const LEFT: u64 = 2;
/// Units that the scribe built: Mallory's kind offers them to Bob.
pub const RIGHT: u64 = 2;
/// Members gone bad: one for each row that needs one, with room.
const BUILDERS: usize = 110;
/// The same who may only read.
const READERS: usize = 4;

/// A member of the team whose keys the test holds.
pub struct Foe {
    /// Its name in the team.
    pub name: String,
    /// Its signing key.
    pub key: BuilderKey,
    /// Its network identity.
    pub pair: Keypair,
}

/// See the module.
pub struct Stage {
    /// The honest node under attack.
    pub bob: Dev,
    /// His honest teammate, who founded the team and may admit.
    pub alice: Dev,
    /// What the scribe's build left.
    pub honest: Vec<Honest>,
    /// The objects of that.
    pub objects: BTreeMap<Digest, Vec<u8>>,
    /// The roster as members exchange it.
    pub exchange: Vec<u8>,
    /// The roster as it was before anybody but Alice was in the team.
    pub first_exchange: Vec<u8>,
    _scribe: Dev,
    keys: Vec<Digest>,
    /// The row that is being played.
    pub number: Cell<usize>,
    reference: Vec<(PathBuf, Vec<u8>)>,
    builders: RefCell<Vec<Foe>>,
    readers: RefCell<Vec<Foe>>,
    admins: RefCell<Vec<Foe>>,
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

/// Two packages that know nothing of each other, each a library and a program.
fn project(dir: &Path) {
    let manifest = |name: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
    };
    let main = |name: &str| format!("fn main() {{ println!(\"{{}}\", {name}::WHO); }}\n");
    let lib = |name: &str| format!("pub const WHO: &str = \"the {name} hand\";\n");
    projects::write(
        dir,
        &[(
            "Cargo.toml",
            "[workspace]\nmembers = [\"left\", \"right\"]\nresolver = \"2\"\n",
        )],
    );
    for name in ["left", "right"] {
        let files = [
            ("Cargo.toml", manifest(name)),
            ("src/lib.rs", lib(name)),
            ("src/main.rs", main(name)),
        ];
        for (path, text) in files {
            projects::write(&dir.join(name), &[(path, &text)]);
        }
    }
}

impl Stage {
    /// Sets it: takes some seconds.
    pub fn set() -> Self {
        let [alice, scribe, bob] = ["alice", "scribe", "bob"].map(Dev::new);
        alice
            .qnode(&["team", "create", "desk", "--name", "alice"])
            .succeeded();
        alice.qnode(&["stop"]).succeeded();
        let team = Team::load(&Home::at(alice.home()).unwrap()).unwrap();
        let first_exchange = team.exchange(None).unwrap();
        let builders = enroll(&team, "mallory", Role::Builder, BUILDERS);
        let readers = enroll(&team, "reader", Role::Reader, READERS);
        let admins = enroll(&team, "admin", Role::Admin, 1);
        drop(team);
        alice.start();
        for (dev, name) in [(&scribe, "scribe"), (&bob, "bob")] {
            let ticket = alice.qnode(&["invite"]).succeeded().out;
            dev.qnode(&["join", ticket.trim(), "--name", name])
                .succeeded();
        }
        let mut reference = Vec::new();
        for (dev, package) in [(&alice, "left"), (&scribe, "right")] {
            let checkout = dev.path("desk");
            project(&checkout);
            dev.build(&checkout, &["build", "-p", package]).succeeded();
            dev.flush();
            reference.extend(libraries(&checkout.join("target"), "debug"));
        }
        reference.sort();
        scribe.qnode(&["stop"]).succeeded();
        let home = Home::at(scribe.home()).unwrap();
        let store = wait_for("the scribe's store", || RedbStore::open(&home.store()).ok());
        let (honest, objects) = holdings(&store.0);
        assert_eq!(honest.len() as u64, RIGHT);
        let left = looked_into(&alice);
        assert_eq!(left.len() as u64, LEFT);
        let both = honest.iter().chain(&left);
        let keys = both.flat_map(|h| [h.entry.lookup.digest(), h.entry.action.digest()]);
        let keys = keys.collect();
        let exchange = Team::load(&home).unwrap().exchange(None).unwrap();
        wait_connected(&bob, 1);
        wait_keys(&bob, &alice);
        Self {
            bob,
            alice,
            honest,
            objects,
            exchange,
            first_exchange,
            _scribe: scribe,
            keys,
            number: Cell::new(0),
            reference,
            builders: RefCell::new(builders),
            readers: RefCell::new(readers),
            admins: RefCell::new(admins),
        }
    }

    /// What members put into filters for a key, by the secret that holds now.
    pub fn tag(&self, key: &Digest) -> Digest {
        let team = Team::load(&Home::at(self.alice.home()).unwrap()).unwrap();
        team.tag(&team.scope(), key).unwrap()
    }

    /// A builder gone bad that was in no row yet.
    pub fn foe(&self) -> Foe {
        self.builders.borrow_mut().pop().expect("enough foes")
    }

    /// A reader gone bad that was in no row yet.
    pub fn reader(&self) -> Foe {
        self.readers.borrow_mut().pop().expect("enough readers")
    }

    /// An admin gone bad: there is one.
    pub fn admin(&self) -> Foe {
        self.admins.borrow_mut().pop().expect("one admin")
    }

    /// Where Bob's next build of a row will be.
    pub fn upcoming(&self) -> PathBuf {
        self.bob.path("rows").join(self.number.get().to_string())
    }

    /// Bob builds both packages in a fresh checkout.
    pub fn build(&self, name: &str) -> (PathBuf, Said) {
        let checkout = self.bob.path("rows").join(name);
        project(&checkout);
        let said = self.bob.build(&checkout, &["build"]);
        (checkout, said)
    }

    /// Fails unless what was built there is what honest builds give, and nothing else.
    #[track_caller]
    pub fn is_right(&self, checkout: &Path) {
        for name in ["left", "right"] {
            let program = checkout.join("target/debug").join(name);
            let ran = self.bob.run(&mut self.bob.command(program)).succeeded();
            assert_eq!(ran.out, format!("the {name} hand\n"));
        }
        let built = libraries(&checkout.join("target"), "debug");
        assert_same_files(&self.reference, &built);
        assert_unmarked(checkout);
    }

    /// Every key that the team's builds have led to.
    pub fn every_key(&self) -> &[Digest] {
        &self.keys
    }

    /// Everything that Bob has stored is removed: what he builds next he has to ask for.
    pub fn clear(&self) {
        let _ = fs::remove_dir_all(self.bob.path("rows"));
        self.forget();
    }

    /// The same, and what lies in checkouts stays.
    pub fn forget(&self) {
        self.bob.qnode(&["purge", "--all", "--yes"]).succeeded();
    }
}

/// What a running node holds, from a copy of its store.
fn looked_into(dev: &Dev) -> Vec<Honest> {
    let copy = dev.path("copy");
    projects::copy(&dev.home().join("store"), &copy);
    holdings(&RedbStore::open(&copy).unwrap().0).0
}

/// Members with keys of the test's own, signed into the chain by the founder.
fn enroll(team: &Team, name: &str, role: Role, count: usize) -> Vec<Foe> {
    let new = |number: usize| {
        let name = format!("{name}-{number}");
        let key = BuilderKey::generate().unwrap();
        let pair = Keypair::generate_ed25519();
        let public = pair.public().try_into_ed25519().unwrap();
        let member = Member {
            name: name.clone(),
            role,
            peer: PeerId(public.to_bytes()),
            builder: key.id(),
            joined: now(),
        };
        team.propose(Op::Add(member)).unwrap();
        Foe { name, key, pair }
    };
    // The last is taken first.
    (1..=count).rev().map(new).collect()
}

impl Foe {
    /// Any bytes in place of an entry, under its own good signature.
    pub fn sign(&self, bytes: Vec<u8>) -> SignedEntry {
        let signature = self.key.sign(ENTRY_DOMAIN, &bytes);
        SignedEntry { bytes, signature }
    }

    /// An entry in its own name.
    pub fn own(&self, entry: &Entry) -> Entry {
        Entry {
            builder: self.key.id(),
            ..entry.clone()
        }
    }

    /// A script that plays by the rules, but for what it offers.
    pub fn offering(
        &self,
        stage: &Stage,
        offer: impl Fn(&Honest) -> (Vec<u8>, SignedEntry),
    ) -> Script {
        let mut answers = BTreeMap::new();
        let mut keys = Vec::new();
        for honest in &stage.honest {
            let answer = wire::offers(&[offer(honest)]);
            let (lookup, action) = (honest.entry.lookup.digest(), honest.entry.action.digest());
            for key in [lookup, action] {
                keys.push(stage.tag(&key).short());
                answers.insert(*key.as_bytes(), answer.clone());
            }
        }
        let whole = |(digest, bytes): (&Digest, &Vec<u8>)| (*digest, wire::object(bytes));
        Script {
            roster: wire::roster(&stage.exchange),
            filter: wire::filter(&keys),
            answers,
            objects: stage.objects.iter().map(whole).collect(),
            ..Script::default()
        }
    }

    /// A script that plays by the rules: true entries, in its own name.
    pub fn honestly(&self, stage: &Stage) -> Script {
        self.offering(stage, |honest| {
            let entry = self.own(&honest.entry);
            (honest.prediction.clone(), self.sign(entry.to_canon()))
        })
    }

    /// A script that plays by the rules, but for one thing in its own entries.
    pub fn changed(&self, stage: &Stage, change: impl Fn(&mut Entry)) -> Script {
        self.offering(stage, |honest| {
            let mut entry = self.own(&honest.entry);
            change(&mut entry);
            (honest.prediction.clone(), self.sign(entry.to_canon()))
        })
    }

    /// A script that plays by the rules, but for the objects that its entries name.
    pub fn serving(&self, stage: &Stage, reply: impl Fn(&[u8]) -> Vec<u8>) -> Script {
        let reply = |(digest, bytes): (&Digest, &Vec<u8>)| (*digest, reply(bytes));
        Script {
            objects: stage.objects.iter().map(reply).collect(),
            ..self.honestly(stage)
        }
    }

    /// Connects to Bob and plays the script; returns once Bob has exchanged rosters with it, and
    /// knows what it claims.
    pub fn attack(&self, stage: &Stage, script: Script) -> Attack {
        let claims = !script.filter.is_empty();
        let attack = self.begin(stage, script);
        wait_for("Bob to know what the member claims", || {
            self.is_known(stage, claims).then_some(())
        });
        attack
    }

    /// Connects to Bob and plays the script; returns at once.
    pub fn begin(&self, stage: &Stage, script: Script) -> Attack {
        Attack::begin(&stage.bob, self.pair.clone(), script)
    }

    /// Whether Bob has exchanged rosters with it, and knows what it claims.
    pub fn is_known(&self, stage: &Stage, claims: bool) -> bool {
        let peers = stage.bob.json(&["peers"]);
        peers.as_array().unwrap().iter().any(|p| {
            p["name"] == self.name.as_str()
                && p["connected"] == true
                && (!claims || p["keys"].as_u64() > Some(0))
        })
    }

    /// Connects to Bob, exchanges rosters, and claims nothing.
    pub fn idle(&self, stage: &Stage) -> Attack {
        let script = Script {
            roster: wire::roster(&stage.exchange),
            ..Script::default()
        };
        self.attack(stage, script)
    }
}
