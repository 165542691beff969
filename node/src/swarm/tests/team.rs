//! Members find each other, exchange rosters, know what the others hold, and fetch it.

use super::hosts::{Desk, SOON, desk, desk_at, offer, peer, roster, runtime, until};
use crate::swarm::memory::MemoryNet;
use crate::swarm::{Ask, Host, Restored, RestoredCrate, Swarm, SwarmError, identity};
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::{Endpoint, Transport, upgrade};
use libp2p::{Multiaddr, noise, tcp, yamux};
use quarry_trust::{ActionKey, BuilderId, Digest, LookupKey, ObjectRef};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

fn two_desks(runtime: &Runtime) -> (Desk, Desk) {
    let team = roster(1, &[peer(1), peer(2)]);
    let alice = desk(runtime, 1, Some(team.clone()), &[]);
    let bob = desk(runtime, 2, Some(team), &[&alice]);
    until("they see each other", || {
        bob.sees(alice.peer) && alice.sees(bob.peer)
    });
    (alice, bob)
}

fn noise(size: usize) -> Vec<u8> {
    let block = |i: usize| *Digest::of(&i.to_le_bytes()).as_bytes();
    (0..size.div_ceil(32)).flat_map(block).take(size).collect()
}

#[test]
fn bob_asks_alice_what_she_restored_of_mallorys() {
    let runtime = runtime();
    let (alice, bob) = two_desks(&runtime);
    let mallory = BuilderId([9; 32]);
    let hers = Restored::fitting(vec![RestoredCrate {
        crate_name: "derive".into(),
        executes: true,
        count: 2,
    }]);
    let restored = &alice.host.restored;
    restored.lock().unwrap().insert(mallory, hers.clone());
    let deadline = Instant::now() + SOON;
    let ask = |builder: &BuilderId| bob.swarm.restored(&alice.peer, builder, deadline);
    assert_eq!(ask(&mallory).expect("an answer"), hers);
    let nothing = ask(&BuilderId([8; 32])).expect("an answer");
    assert_eq!(nothing, Restored::default());
    let stranger = bob.swarm.restored(&peer(7), &mallory, deadline);
    assert!(matches!(stranger, Err(SwarmError::NotConnected(_))));
}

#[test]
fn bob_asks_alice_and_fetches_objects_of_every_size() {
    let runtime = runtime();
    let (alice, bob) = two_desks(&runtime);
    let lookup = LookupKey::of(b"crate");
    let offers = vec![offer(0), offer(100_000)];
    alice
        .host
        .offers
        .lock()
        .unwrap()
        .insert(lookup.digest(), offers.clone());
    let deadline = Instant::now() + SOON;
    let got = bob
        .swarm
        .ask(&alice.peer, Ask::Lookup(lookup), deadline)
        .expect("an answer");
    assert_eq!(got, offers);
    let absent = Ask::Action(ActionKey::of(b"absent"));
    assert!(
        bob.swarm
            .ask(&alice.peer, absent, deadline)
            .expect("an answer")
            .is_empty()
    );

    for size in [0, 1, 64 * 1024, 256 * 1024, 256 * 1024 + 1, 8 << 20] {
        for bytes in [noise(size), vec![7; size]] {
            let object = alice.host.store(&bytes);
            assert!(
                bob.fetch(alice.peer, &object).expect("the object") == bytes,
                "{size}"
            );
        }
    }
    let status = &bob.swarm.peers()[0];
    assert!(status.bytes_in > 8 << 20 && status.bandwidth.is_some());
    until("Alice counted what she sent", || {
        alice.swarm.peers()[0].bytes_out > 8 << 20
    });
    until("a round trip was measured", || {
        bob.swarm.peers()[0].round_trip.is_some()
    });
    assert!(bob.host.refused().is_empty() && alice.host.refused().is_empty());
}

#[test]
fn an_object_that_is_not_there_leaves_the_stream_usable() {
    let runtime = runtime();
    let (alice, bob) = two_desks(&runtime);
    let absent = ObjectRef {
        digest: Digest::of(b"absent"),
        size: 6,
    };
    for _ in 0..10 {
        let result = bob.fetch(alice.peer, &absent);
        assert!(
            matches!(result, Err(SwarmError::Absent(p)) if p == alice.peer),
            "{result:?}"
        );
    }
    let object = alice.host.store(b"here");
    assert_eq!(bob.fetch(alice.peer, &object).expect("the object"), b"here");
}

#[test]
fn many_threads_share_a_few_streams() {
    let runtime = runtime();
    let (alice, bob) = two_desks(&runtime);
    let objects: Vec<_> = (0..64_u8).map(|i| alice.host.store(&[i; 5000])).collect();
    std::thread::scope(|scope| {
        for chunk in objects.chunks(4) {
            let (bob, alice) = (&bob, &alice);
            scope.spawn(move || {
                for object in chunk {
                    let bytes = bob.fetch(alice.peer, object).expect("the object");
                    assert_eq!(Digest::of(&bytes), object.digest);
                }
            });
        }
    });
}

#[test]
fn what_alice_holds_and_builds_becomes_a_candidate() {
    let runtime = runtime();
    let (alice, bob) = two_desks(&runtime);
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    alice.host.keys.lock().unwrap().push(old);
    alice.swarm.roster_changed();
    until("the filter is exchanged", || {
        bob.swarm.candidates(&old) == [alice.peer]
    });
    assert!(bob.swarm.candidates(&new).is_empty());
    alice.swarm.announce(&[new]);
    let took = until("the announcement arrives", || {
        bob.swarm.candidates(&new) == [alice.peer]
    });
    assert!(took < Duration::from_millis(300), "{took:?}");
    for i in 0..2000_u32 {
        alice.swarm.announce(&[Digest::of(&i.to_le_bytes())]);
    }
    until("a burst arrives whole", || {
        (0..2000_u32).all(|i| bob.swarm.candidates(&Digest::of(&i.to_le_bytes())) == [alice.peer])
    });
}

#[test]
fn what_was_published_has_left_before_the_next_batch_is_due() {
    let runtime = runtime();
    let (alice, bob) = two_desks(&runtime);
    until("a connection that announces", || {
        let key = Digest::of(b"first");
        alice.swarm.announce(&[key]);
        bob.swarm.candidates(&key) == [alice.peer]
    });
    let told = |n: u32| bob.swarm.candidates(&Digest::of(&n.to_le_bytes())) == [alice.peer];
    let start = Instant::now();
    for n in 0..40_u32 {
        alice.swarm.announce(&[Digest::of(&n.to_le_bytes())]);
        alice.swarm.publish();
        until("the announcement arrives", || told(n));
    }
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "20 pauses are 2 s"
    );
}

#[test]
fn keys_that_alice_held_before_bob_came_are_in_her_filter() {
    let runtime = runtime();
    let team = roster(1, &[peer(1), peer(2)]);
    let alice = desk(&runtime, 1, Some(team.clone()), &[]);
    let keys: Vec<_> = (0..5000_u32)
        .map(|i| Digest::of(&i.to_le_bytes()))
        .collect();
    alice.host.keys.lock().unwrap().clone_from(&keys);
    let bob = desk(&runtime, 2, Some(team), &[&alice]);
    until("all are candidates", || {
        keys.iter()
            .all(|key| bob.swarm.candidates(key) == [alice.peer])
    });
    assert_eq!(bob.swarm.peers()[0].keys, 5000);
}

#[test]
fn a_stranger_is_dropped_and_counted() {
    let runtime = runtime();
    let alice = desk(&runtime, 1, Some(roster(1, &[peer(1), peer(2)])), &[]);
    let mallory = desk(&runtime, 9, Some(roster(7, &[peer(1), peer(9)])), &[&alice]);
    until("she is turned away", || {
        alice.host.strangers.load(Ordering::SeqCst) > 0
    });
    assert!(!mallory.sees(alice.peer) && !alice.sees(mallory.peer));
    assert_eq!(
        alice.host.roster(None),
        Some(roster(1, &[peer(1), peer(2)])),
        "nothing was merged"
    );
    let ask = Ask::Lookup(LookupKey::of(b"x"));
    let result = mallory.swarm.ask(&alice.peer, ask, Instant::now() + SOON);
    assert!(
        matches!(result, Err(SwarmError::NotConnected(_))),
        "{result:?}"
    );
}

#[test]
fn a_node_in_no_team_admits_nobody_until_it_joins_one() {
    let runtime = runtime();
    let team = roster(1, &[peer(1), peer(2)]);
    let alice = desk(&runtime, 1, None, &[]);
    let bob = desk(&runtime, 2, Some(team.clone()), &[&alice]);
    until("Bob is turned away", || {
        alice.host.strangers.load(Ordering::SeqCst) > 0
    });
    assert!(alice.swarm.peers().is_empty());
    alice.host.set_roster(team);
    alice.swarm.roster_changed();
    alice.swarm.add_addresses(&bob.peer, &bob.swarm.listening());
    until("they see each other", || {
        bob.sees(alice.peer) && alice.sees(bob.peer)
    });
}

#[test]
fn a_member_added_later_is_learnt_through_a_third_and_found() {
    let runtime = runtime();
    let (alice, bob) = two_desks(&runtime);
    let grown = roster(2, &[peer(1), peer(2), peer(3)]);
    let carol = desk(&runtime, 3, Some(grown.clone()), &[]);
    alice.host.set_roster(grown.clone());
    alice.swarm.roster_changed();
    until("the roster travels to Bob", || {
        bob.host.roster(None) == Some(grown.clone())
    });
    carol
        .swarm
        .add_addresses(&alice.peer, &alice.swarm.listening());
    until("Carol meets Alice", || {
        carol.sees(alice.peer) && alice.sees(carol.peer)
    });
    // Nobody told Bob and Carol of each other's address: Kademlia does.
    until("Carol meets Bob", || {
        carol.sees(bob.peer) && bob.sees(carol.peer)
    });
}

/// As who joins on a new machine and retires the old one from there, which alone it knows.
#[test]
fn a_newcomer_that_cuts_off_who_let_it_in_is_found_by_the_others() {
    let runtime = runtime();
    let (alice, bob) = two_desks(&runtime);
    let without_alice = roster(3, &[peer(2), peer(3)]);
    let carol = desk(&runtime, 3, Some(without_alice), &[]);
    alice.swarm.expect(&carol.peer, &carol.swarm.listening());
    alice
        .host
        .set_roster(roster(2, &[peer(1), peer(2), peer(3)]));
    alice.swarm.roster_changed();
    until("Bob meets Carol", || {
        carol.sees(bob.peer) && bob.sees(carol.peer)
    });
    assert!(!carol.sees(alice.peer));
}

#[test]
fn a_revoked_member_is_cut_off_within_a_second() {
    let runtime = runtime();
    let team = roster(1, &[peer(1), peer(2), peer(3)]);
    let alice = desk(&runtime, 1, Some(team.clone()), &[]);
    let bob = desk(&runtime, 2, Some(team.clone()), &[&alice]);
    let carol = desk(&runtime, 3, Some(team), &[&alice, &bob]);
    until("all see each other", || {
        [&alice, &bob, &carol]
            .iter()
            .all(|d| d.swarm.peers().iter().all(|p| p.connected))
    });
    alice.host.set_roster(roster(2, &[peer(1), peer(3)]));
    alice.swarm.roster_changed();
    let took = until("Bob is cut off by Alice and by Carol", || {
        !bob.sees(alice.peer) && !bob.sees(carol.peer)
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(carol.sees(alice.peer) && alice.sees(carol.peer));
    until("and stays out", || {
        alice.host.strangers.load(Ordering::SeqCst) > 0
    });
    assert_eq!(alice.swarm.peers().len(), 1);
    alice
        .host
        .set_roster(roster(3, &[peer(1), peer(2), peer(3)]));
    alice.swarm.roster_changed();
    until("let in again, she finds him", || {
        alice.sees(bob.peer) && bob.sees(alice.peer)
    });
}

#[test]
fn goodbye_is_heard_at_once_and_bob_comes_back() {
    let runtime = runtime();
    let (alice, bob) = two_desks(&runtime);
    let start = Instant::now();
    bob.swarm.shutdown();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let took = until("Alice hears it", || !alice.sees(bob.peer));
    assert!(took < Duration::from_secs(1), "{took:?}");
    let ask = Ask::Lookup(LookupKey::of(b"x"));
    assert!(
        bob.swarm
            .ask(&alice.peer, ask, Instant::now() + SOON)
            .is_err()
    );
    let bob = desk(&runtime, 2, Some(roster(1, &[peer(1), peer(2)])), &[&alice]);
    until("Bob is back", || {
        alice.sees(bob.peer) && bob.sees(alice.peer)
    });
}

/// Whoever dials an address that was somebody else's sees too late whose it is now: to who is
/// reached it is one more connection of a teammate's, which is gone before anything came of it.
#[test]
fn connections_that_come_and_go_disturb_nobody() {
    let runtime = runtime();
    let (alice, bob) = two_desks(&runtime);
    let over = Arc::new(AtomicBool::new(false));
    let going = runtime.spawn(come_and_go(
        1,
        bob.swarm.listening()[0].clone(),
        over.clone(),
    ));
    let object = alice.host.store(&noise(1 << 20));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let (nothing, deadline) = (Ask::Action(ActionKey::of(b"a")), Instant::now() + SOON);
        let asked = bob.swarm.ask(&alice.peer, nothing, deadline);
        assert!(asked.is_ok(), "{asked:?}");
        let fetched = bob.fetch(alice.peer, &object);
        assert!(fetched.is_ok(), "{fetched:?}");
    }
    over.store(true, Ordering::Relaxed);
    let times = runtime.block_on(going).expect("it ended");
    assert!(times > 5, "{times}");
}

/// Connects as the member of a seed, does nothing for a moment and is gone, until it is over; how
/// often.
async fn come_and_go(seed: u8, address: String, over: Arc<AtomicBool>) -> u32 {
    let pair = identity::keypair(&[seed; 32]).expect("a seed");
    let mut transport = tcp::tokio::Transport::default()
        .upgrade(upgrade::Version::V1)
        .authenticate(noise::Config::new(&pair).expect("a key"))
        .multiplex(yamux::Config::default());
    let address: Multiaddr = address.parse().expect("an address");
    let mut times = 0;
    while !over.load(Ordering::Relaxed) {
        let how = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let dialed = transport.dial(address.clone(), how).expect("it is dialed");
        if let Ok(connection) = dialed.await {
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(connection);
            times += 1;
        }
        // What is lost with one is not lost with the next as well.
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    times
}

#[test]
fn a_listen_address_in_use_gives_way_to_another_port() {
    let runtime = runtime();
    let team = roster(1, &[peer(1), peer(2)]);
    let alice = desk(&runtime, 1, Some(team.clone()), &[]);
    let taken = alice.swarm.listening()[0].clone();
    let bob = desk_at(
        &runtime,
        2,
        Some(team),
        &taken,
        vec![(alice.peer, vec![taken.clone()])],
    );
    assert_ne!(bob.swarm.listening(), [taken]);
    until("they see each other", || {
        bob.sees(alice.peer) && alice.sees(bob.peer)
    });
}

#[test]
fn the_memory_twin_behaves_as_the_real_swarm() {
    let net = MemoryNet::new();
    let team = roster(1, &[peer(1), peer(2)]);
    let (alice, bob) = (
        super::hosts::TestHost::new(1),
        super::hosts::TestHost::new(2),
    );
    alice.set_roster(roster(2, &[peer(1), peer(2)]));
    bob.set_roster(team);
    let at_alice = net.join(peer(1), alice.clone());
    let at_bob = net.join(peer(2), bob.clone());
    assert_eq!(
        bob.roster(None),
        alice.roster(None),
        "rosters were exchanged"
    );
    let key = Digest::of(b"key");
    assert!(at_bob.candidates(&key).is_empty());
    at_alice.announce(&[key]);
    assert_eq!(at_bob.candidates(&key), [peer(1)]);
    let object = alice.store(b"bytes");
    let mut sink = Vec::new();
    let (action, deadline) = (ActionKey::of(b"a"), Instant::now() + SOON);
    at_bob
        .fetch(&peer(1), &action, &object, &mut sink, deadline)
        .expect("the object");
    assert_eq!(sink, b"bytes");
    let lying = ObjectRef { size: 4, ..object };
    let result = at_bob.fetch(&peer(1), &action, &lying, &mut sink, deadline);
    assert!(matches!(result, Err(SwarmError::Refused { .. })));
    assert!(
        at_bob.candidates(&key).is_empty(),
        "an offender is no candidate"
    );
    alice.set_roster(roster(3, &[peer(1)]));
    at_alice.roster_changed();
    assert!(at_bob.peers().iter().all(|p| !p.connected), "revoked");
}
