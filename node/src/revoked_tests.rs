//! Stories of a store whose team revoked a builder.

use super::*;
use crate::store::{MemoryStore, Offer};
use crate::swarm::memory::{MemoryNet, MemorySwarm};
use crate::worker::hearing::Hearing;
use crate::worker::host::NodeHost;
use quarry_trust::roster::{Member, Op, Role};
use quarry_trust::verify::{Source, Verifier};
use quarry_trust::{
    ActionKey, BuilderKey, Digest, Entry, LookupKey, ObjectRef, PeerId, Scope, Verified,
};
use quarry_wrapper::home::Home;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Alice, who founded the team, and Bob's key, which she revoked or not.
fn team(dir: &Path, bob: &BuilderKey, revoked: bool) -> Arc<Team> {
    let home = Home::at(dir.join("home")).unwrap();
    home.create().unwrap();
    let team = Arc::new(Team::load(&home).unwrap());
    team.found("desk", "alice").unwrap();
    team.propose(Op::Add(Member {
        name: "bob".into(),
        role: Role::Builder,
        peer: PeerId([9; 32]),
        builder: bob.id(),
        joined: 0,
    }))
    .unwrap();
    if revoked {
        team.propose(Op::Revoke(bob.id())).unwrap();
    }
    team
}

/// An entry that a builder signed, over a description of its own.
fn entry(key: &BuilderKey, description: &[u8]) -> (Verified<Entry>, Offer) {
    let empty = ObjectRef {
        digest: Digest::of(b""),
        size: 0,
    };
    let entry = Entry {
        scope: Scope::Private,
        builder: key.id(),
        lookup: LookupKey::of(description),
        action: ActionKey::of(description),
        description: ObjectRef {
            digest: Digest::of(description),
            size: description.len() as u64,
        },
        crate_name: "words".into(),
        outputs: Vec::new(),
        stdout: empty,
        stderr: empty,
        width: None,
        duration_ms: 1,
        created: 1,
    };
    let signed = entry.sign(key);
    let verifier = Verifier {
        own: key.id(),
        roster: None,
        now: 1,
    };
    let verified = verifier.entry(&signed, Source::Store, None, None);
    let prediction = Vec::new();
    (verified.unwrap(), Offer { prediction, signed })
}

fn put(store: &MemoryStore, key: &BuilderKey, description: &[u8]) {
    let (entry, offer) = entry(key, description);
    let mut stage = store.stage(1000).unwrap();
    stage.write_all(description).unwrap();
    let _pin = stage.commit().unwrap();
    store.put(&entry, &offer).unwrap();
}

fn swarm(team: &Arc<Team>, store: &MemoryStore) -> MemorySwarm {
    let counters = Arc::new(crate::service::counters::Counters::resume(None));
    let hearing = Arc::new(Hearing::new(false));
    let host = NodeHost::new(Arc::new(store.clone()), team.clone(), counters, hearing);
    MemoryNet::new().join(team.peer(), Arc::new(host))
}

#[test]
fn what_a_revoked_builder_signed_goes_with_its_objects_and_the_rest_stays() {
    let (dir, bob) = (
        tempfile::tempdir().unwrap(),
        BuilderKey::generate().unwrap(),
    );
    let team = team(dir.path(), &bob, true);
    let store = MemoryStore::new();
    let carol = BuilderKey::generate().unwrap();
    put(&store, &bob, b"his alone");
    put(&store, &bob, b"of both");
    put(&store, &carol, b"of both");
    Sweep::default().tick(&team, &store, &swarm(&team, &store));
    assert_eq!(store.counts().unwrap().entries, 1);
    assert!(!store.has(&Digest::of(b"his alone")).unwrap());
    assert!(
        store.has(&Digest::of(b"of both")).unwrap(),
        "Carol names it, too"
    );
}

#[test]
fn who_stands_loses_nothing() {
    let (dir, bob) = (
        tempfile::tempdir().unwrap(),
        BuilderKey::generate().unwrap(),
    );
    let team = team(dir.path(), &bob, false);
    let store = MemoryStore::new();
    put(&store, &bob, b"his");
    Sweep::default().tick(&team, &store, &swarm(&team, &store));
    assert_eq!(store.counts().unwrap().entries, 1);
}

#[test]
fn what_a_late_fetch_puts_after_the_first_look_goes_with_the_next() {
    let (dir, bob) = (
        tempfile::tempdir().unwrap(),
        BuilderKey::generate().unwrap(),
    );
    let team = team(dir.path(), &bob, true);
    let (store, sweep) = (MemoryStore::new(), Sweep::default());
    let swarm = swarm(&team, &store);
    sweep.tick(&team, &store, &swarm);
    put(&store, &bob, b"late");
    sweep.tick(&team, &store, &swarm);
    assert_eq!(store.counts().unwrap().entries, 0);
    assert!(!store.has(&Digest::of(b"late")).unwrap());
}
