//! Stories of an entry whose builder is revoked between two looks at it.

use super::*;
use crate::store::{How, MemoryStore, Store};
use crate::swarm::memory::MemoryNet;
use crate::team::Whom;
use crate::worker::host::NodeHost;
use crate::worker::openings::tests::opened;
use crate::worker::placed;
use quarry_trust::roster::{Member, Op, Role};
use quarry_trust::{BuilderKey, Verified};
use quarry_wrapper::digests::MemoDigests;
use quarry_wrapper::home::Home;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Alice's node, which holds an entry of Bob's.
struct Desk {
    _dir: tempfile::TempDir,
    bob: BuilderKey,
    team: Arc<Team>,
    store: MemoryStore,
    cache: Arc<NodeCache>,
    hearing: Arc<Hearing>,
    entry: Verified<Entry>,
    offer: Offer,
}

impl Desk {
    fn new(has_mates: bool) -> Self {
        Self::on(&MemoryNet::new(), has_mates)
    }

    fn on(net: &Arc<MemoryNet>, has_mates: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home")).unwrap();
        home.create().unwrap();
        let team = Arc::new(Team::load(&home).unwrap());
        team.found("desk", "alice").unwrap();
        let bob = BuilderKey::generate().unwrap();
        team.propose(Op::Add(Member {
            name: "bob".into(),
            role: Role::Builder,
            peer: PeerId([9; 32]),
            builder: bob.id(),
            joined: 0,
        }))
        .unwrap();
        let store = MemoryStore::new();
        let counters = Arc::new(Counters::resume(None));
        let hearing = Arc::new(Hearing::new(has_mates));
        let parts = (Arc::new(store.clone()), team.clone(), counters.clone());
        let host = NodeHost::new(parts.0, parts.1, parts.2, hearing.clone());
        let swarm = Arc::new(net.join(team.peer(), Arc::new(host)));
        let all: Arc<dyn Store> = Arc::new(store.clone());
        let digests = Arc::new(MemoDigests::new(None));
        let cache = NodeCache::new(all, swarm, team.clone(), counters, hearing.clone(), digests);
        let (entry, offer) = signed(&team, &bob);
        let mut stage = store.stage(100).unwrap();
        stage.write_all(b"description").unwrap();
        let _pin = stage.commit().unwrap();
        store.put(&entry, &offer).unwrap();
        Self {
            _dir: dir,
            bob,
            team,
            store,
            cache: Arc::new(cache),
            hearing,
            entry,
            offer,
        }
    }

    fn revoke_bob(&self) {
        self.team.propose(Op::Revoke(self.bob.id())).unwrap();
    }
}

/// An entry of Bob's for the team.
fn signed(team: &Team, bob: &BuilderKey) -> (Verified<Entry>, Offer) {
    let object = |bytes: &[u8]| ObjectRef {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    };
    let entry = Entry {
        scope: team.scope(),
        builder: bob.id(),
        lookup: LookupKey::of(b"lookup"),
        action: ActionKey::of(b"action"),
        description: object(b"description"),
        crate_name: "words".into(),
        outputs: Vec::new(),
        stdout: object(b""),
        stderr: object(b""),
        width: None,
        duration_ms: 1,
        created: 1,
    };
    let signed = entry.sign(bob);
    let verified = team.verify(&signed, Source::Store, None, None).unwrap();
    let prediction = Vec::new();
    (verified, Offer { prediction, signed })
}

/// What lies here under a key.
fn local(cache: &NodeCache, action: &ActionKey) -> Vec<Candidate> {
    let audience = cache.team.audience(&Whom::Team);
    cache.get(action, Tier::Local, (&audience, &Reach::default()))
}

#[test]
fn a_node_that_was_away_believes_a_teammate_only_after_it_heard_the_roster() {
    let desk = Desk::new(true);
    let (cache, action) = (desk.cache.clone(), desk.entry.action);
    let (tell, told) = channel();
    let looking = std::thread::spawn(move || tell.send(local(&cache, &action)).unwrap());
    let early = told.recv_timeout(Duration::from_millis(300));
    assert!(matches!(early, Err(RecvTimeoutError::Timeout)), "it waits");
    desk.revoke_bob();
    desk.hearing.heard();
    let found = told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(found.is_empty(), "what it heard is that Bob was revoked");
    looking.join().unwrap();
}

#[test]
fn an_entry_that_was_verified_before_the_revocation_does_not_stand_after_it() {
    let desk = Desk::new(false);
    let mut found = local(&desk.cache, &desk.entry.action);
    let candidate = found.pop().unwrap();
    assert!(desk.cache.stands(&candidate.entry));
    desk.revoke_bob();
    assert!(!desk.cache.stands(&candidate.entry));
}

#[test]
fn members_hear_what_was_restored_and_others_and_private_things_are_not_told() {
    use crate::store::{How, Kind};
    use crate::swarm::Host;
    let desk = Desk::new(false);
    let placed = Placed {
        how: How::Restored,
        builder: desk.bob.id(),
        action: desk.entry.action,
        scope: desk.team.scope(),
        crate_name: "derive".into(),
        kind: Kind::Macro,
        dir: "/home/alice/ws/target/debug/deps".into(),
        files: Vec::new(),
        at: 1,
    };
    let secret = Placed {
        scope: Scope::Private,
        crate_name: "secret".into(),
        dir: "/elsewhere".into(),
        ..placed.clone()
    };
    let compiled = Placed {
        how: How::Compiled,
        dir: "/compiled".into(),
        ..placed.clone()
    };
    for row in [placed, secret, compiled] {
        desk.cache.note(row);
    }
    let counters = Arc::new(Counters::resume(None));
    let (store, team) = (Arc::new(desk.store.clone()), desk.team.clone());
    let host = NodeHost::new(store, team, counters, desk.hearing.clone());
    let told = host.restored(&PeerId([9; 32]), &desk.bob.id());
    let names: Vec<_> = told
        .crates
        .iter()
        .map(|c| (c.crate_name.as_str(), c.count))
        .collect();
    assert_eq!(names, [("derive", 1)]);
    let stranger = host.restored(&PeerId([8; 32]), &desk.bob.id());
    assert_eq!(stranger, crate::swarm::Restored::default());
}

#[test]
fn who_is_outside_of_a_project_gets_neither_entries_nor_objects_of_it() {
    use crate::swarm::Host;
    let desk = Desk::new(false);
    let carol = Member {
        name: "carol".into(),
        role: Role::Builder,
        peer: PeerId([8; 32]),
        builder: BuilderKey::generate().unwrap().id(),
        joined: 0,
    };
    desk.team.propose(Op::Add(carol)).unwrap();
    desk.team.set_project("pay", &["bob".into()], &[]).unwrap();
    let host = || {
        let (store, team) = (Arc::new(desk.store.clone()), desk.team.clone());
        let counters = Arc::new(Counters::resume(None));
        NodeHost::new(store, team, counters, desk.hearing.clone())
    };
    let entry = |scope, name: &str| Entry {
        scope,
        crate_name: name.into(),
        lookup: LookupKey::of(name.as_bytes()),
        action: ActionKey::of(name.as_bytes()),
        ..Entry::clone(&desk.entry)
    };
    let pay = desk.team.audience(&Whom::Project("pay".into())).publish;
    // Bob, who is in it, and Carol, who is not: what each gets of the five ways to ask.
    for (scope, name, carols) in [(desk.team.scope(), "open", [1; 5]), (pay, "closed", [0; 5])] {
        let entry = entry(scope, name);
        let signed = entry.sign(&desk.bob);
        let prediction = b"inputs".to_vec();
        let verified = desk
            .team
            .verify(&signed, Source::Store, None, None)
            .unwrap();
        desk.store
            .put(&verified, &Offer { prediction, signed })
            .unwrap();
        let dir = format!("/{name}");
        let placed = placed::of(How::Compiled, &entry, None, &dir);
        let opening = opened(scope, &placed, &desk.store);
        desk.store.note(placed);
        let host = host();
        for (peer, gets) in [(PeerId([9; 32]), [1; 5]), (PeerId([8; 32]), carols)] {
            let asks = [
                Ask::Lookup(entry.lookup),
                Ask::Action(entry.action),
                Ask::Crate(crate::swarm::crate_digest(name)),
                Ask::Next(ActionKey::from_digest(opening.key)),
            ];
            let offers = asks.iter().map(|ask| host.offers(&peer, ask).len());
            let object = host.open(&peer, &entry.action, &entry.description.digest);
            let mut found: Vec<usize> = offers.collect();
            found.push(usize::from(object.is_some()));
            assert_eq!(found, gets, "{name} for {peer:?}");
        }
    }
}

#[test]
fn how_a_build_for_a_project_began_is_the_projects_whatever_came_first() {
    use crate::swarm::Host;
    let desk = Desk::new(false);
    desk.team.set_project("pay", &[], &[]).unwrap();
    let pay = desk.team.audience(&Whom::Project("pay".into())).publish;
    // Its first unit is the team's.
    let placed = placed::of(How::Restored, &desk.entry, None, "/pay/target/debug/deps");
    let opening = opened(pay, &placed, &desk.store);
    desk.store.note(placed);
    let (store, team) = (Arc::new(desk.store.clone()), desk.team.clone());
    let counters = Arc::new(Counters::resume(None));
    let host = NodeHost::new(store, team, counters, desk.hearing.clone());
    let asked = Ask::Next(ActionKey::from_digest(opening.key));
    assert_eq!(
        host.offers(&PeerId([9; 32]), &asked),
        [],
        "Bob is not in it"
    );
    let tag = |scope| desk.team.tag(&scope, &opening.key).unwrap();
    assert!(host.keys().contains(&tag(pay)));
    assert!(!host.keys().contains(&tag(desk.team.scope())));
}

/// A member outside of a project, whose filter says yes to every key that it hears of, and who
/// notes what it is asked.
struct Curious {
    asked: std::sync::Mutex<Vec<ActionKey>>,
}

impl crate::swarm::Host for Curious {
    fn roster(&self, _: Option<&PeerId>) -> Option<Vec<u8>> {
        Some(Vec::new())
    }
    fn tags(&self) -> Digest {
        Digest::of(b"")
    }
    fn admits(&self, _: &PeerId) -> bool {
        true
    }
    fn members(&self) -> Vec<PeerId> {
        Vec::new()
    }
    fn merge_roster(&self, _: &PeerId, _: &[u8]) -> crate::swarm::Taken {
        crate::swarm::Taken::Known
    }
    fn offers(&self, _: &PeerId, ask: &Ask) -> Vec<Offer> {
        if let Ask::Action(action) = ask {
            self.asked.lock().unwrap().push(*action);
        }
        Vec::new()
    }
    fn restored(&self, _: &PeerId, _: &BuilderId) -> crate::swarm::Restored {
        crate::swarm::Restored::default()
    }
    fn open(&self, _: &PeerId, action: &ActionKey, _: &Digest) -> Option<(store::Object, u64)> {
        self.asked.lock().unwrap().push(*action);
        None
    }
    fn keys(&self) -> Vec<Digest> {
        Vec::new()
    }
    fn refused(&self, _: &PeerId, _: Refusal, _: &str) {}
    fn stranger(&self, _: &PeerId) {}
}

#[test]
fn who_is_outside_of_a_project_is_asked_for_nothing_of_it_whatever_it_says_it_holds() {
    let net = MemoryNet::new();
    let desk = Desk::on(&net, false);
    let carol = BuilderKey::generate().unwrap().id();
    let member = Member {
        name: "carol".into(),
        role: Role::Builder,
        peer: PeerId([8; 32]),
        builder: carol,
        joined: 0,
    };
    desk.team.propose(Op::Add(member)).unwrap();
    desk.team.set_project("pay", &["bob".into()], &[]).unwrap();
    let pay = desk.team.audience(&Whom::Project("pay".into())).publish;
    let curious = Arc::new(Curious {
        asked: std::sync::Mutex::default(),
    });
    let claims = net.join(PeerId([8; 32]), curious.clone());
    for (scope, asked) in [(desk.team.scope(), 1), (pay, 0)] {
        let entry = Entry {
            scope,
            // Nobody has it.
            stdout: ObjectRef {
                digest: Digest::of(b"a warning"),
                size: 9,
            },
            ..Entry::clone(&desk.entry)
        };
        claims.announce(&desk.team.sought(&scope, &entry.action.digest()));
        let signed = entry.sign(&desk.bob);
        let candidate = Candidate {
            prediction: Vec::new(),
            entry: desk.team.verify(&signed, Source::Peer, None, None).unwrap(),
            signed,
            from: Some(PeerId([9; 32])),
        };
        assert!(!desk.cache.bring(&candidate, &[]));
        // Now as one who looks for it.
        let whom = match scope {
            Scope::Project(..) => Whom::Project("pay".into()),
            _ => Whom::Team,
        };
        let audience = desk.team.audience(&whom);
        let key = ActionKey::of(b"nobody has it");
        for within in &audience.asked {
            claims.announce(&desk.team.sought(within, &key.digest()));
        }
        let found = (desk.cache).get(&key, Tier::Peers, (&audience, &Reach::default()));
        assert!(found.is_empty());
        let heard = std::mem::take(&mut *curious.asked.lock().unwrap());
        assert_eq!(heard.len(), 2 * asked, "{scope:?}");
    }
}

#[test]
fn what_a_fetch_brings_after_the_revocation_is_not_kept() {
    let desk = Desk::new(false);
    let (action, builder) = (desk.entry.action, desk.entry.builder);
    assert!(desk.store.remove(&action, &builder).unwrap());
    let candidate = Candidate {
        prediction: Vec::new(),
        signed: desk.offer.signed.clone(),
        entry: desk.entry.clone(),
        from: Some(PeerId([9; 32])),
    };
    assert!(
        desk.cache.bring(&candidate, &[]),
        "its objects are here already"
    );
    assert!(desk.store.remove(&action, &builder).unwrap());
    desk.revoke_bob();
    assert!(!desk.cache.bring(&candidate, &[]));
    assert_eq!(desk.store.counts().unwrap().entries, 0);
}

/// The announcing thread flushes by itself; who asks later hears of what went wrong then, once.
#[test]
fn what_could_not_be_made_durable_is_told_to_who_flushes() {
    let desk = Desk::new(false);
    let fails = std::sync::atomic::AtomicBool::new(true);
    let flush = move || match fails.swap(false, std::sync::atomic::Ordering::Relaxed) {
        true => Err(StoreError::Lost("store.redb".into())),
        false => Ok(()),
    };
    let announcer = Announcer::start(flush, desk.cache.swarm.clone());
    announcer.stored(vec![Digest::of(b"tag")], false);
    // Collected and tried, before anybody asks.
    std::thread::sleep(Duration::from_millis(400));
    assert!(matches!(announcer.flush(), Err(StoreError::Lost(_))));
    assert!(announcer.flush().is_ok());
}
