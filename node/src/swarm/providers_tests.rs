//! Records travel between two real nodes; what strangers and floods leave is not kept.

use super::*;
use crate::swarm::behaviour::{self, Net, NetEvent};
use crate::swarm::identity;
use futures::StreamExt;
use libp2p::swarm::SwarmEvent;

fn peer(seed: u8) -> (PeerId, NetId) {
    let net = identity::keypair(&[seed; 32])
        .expect("a seed")
        .public()
        .to_peer_id();
    (peer_id(&net).expect("an ed25519 id"), net)
}

fn node(seed: u8, friend: u8) -> libp2p::Swarm<Net> {
    let pair = identity::keypair(&[seed; 32]).expect("a seed");
    let mut swarm = behaviour::build(pair).expect("a swarm");
    swarm.behaviour_mut().gate.allow_peer(peer(friend).1);
    swarm
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("address"))
        .expect("listens");
    swarm
}

/// Takes events until one of them is a result, and returns what it found.
async fn turn(
    swarm: &mut libp2p::Swarm<Net>,
    providers: &mut Providers,
    friend: &HashSet<PeerId>,
) -> Vec<Found> {
    let event = swarm.select_next_some().await;
    let SwarmEvent::Behaviour(NetEvent::Kad(event)) = event else {
        return Vec::new();
    };
    providers.event(
        &mut swarm.behaviour_mut().kad,
        event,
        friend,
        Instant::now(),
    )
}

#[tokio::test]
async fn a_key_that_alice_provides_is_found_through_bob() {
    let (mut alice, mut bob) = (node(1, 2), node(2, 1));
    let (mut at_alice, mut at_bob) = (Providers::default(), Providers::default());
    let (alices, bobs) = (HashSet::from([peer(2).0]), HashSet::from([peer(1).0]));
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = alice.select_next_some().await {
            break address;
        }
    };
    bob.behaviour_mut()
        .kad
        .add_address(&peer(1).1, address.clone());
    bob.dial(address).expect("a dial");
    let key = Digest::of(b"expensive");
    let story = async {
        while at_bob.foreign.is_empty() {
            tokio::select! {
                _ = turn(&mut alice, &mut at_alice, &alices) => {}
                _ = turn(&mut bob, &mut at_bob, &bobs) => {}
            }
            let known = alice.behaviour_mut().kad.kbuckets().count() > 0;
            if known && at_alice.provided.is_empty() {
                at_alice.provide([key]);
                at_alice.tick(&mut alice.behaviour_mut().kad, &[], Instant::now());
            } else if let Some(address) = bob.listeners().next().filter(|_| !known) {
                alice
                    .behaviour_mut()
                    .kad
                    .add_address(&peer(2).1, address.clone());
            }
        }
        at_bob.seek([key]);
        at_bob.tick(&mut bob.behaviour_mut().kad, &[], Instant::now());
        loop {
            tokio::select! {
                _ = turn(&mut alice, &mut at_alice, &alices) => {}
                found = turn(&mut bob, &mut at_bob, &bobs) => if !found.is_empty() {
                    break found;
                },
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(10), story)
        .await
        .expect("in time");
    assert_eq!(found[0].peer, peer(1).0);
}

#[test]
fn records_of_strangers_and_floods_are_not_kept() {
    let mut kad = behaviour(peer(1).1);
    let mut providers = Providers::default();
    let members = HashSet::from([peer(2).0]);
    let now = Instant::now();
    let record = |by: u8, i: u32| {
        let key = record_key(&Digest::of(&i.to_le_bytes()));
        ProviderRecord::new(key, peer(by).1, vec![])
    };
    providers.keep(&mut kad, record(3, 0), &members, now);
    assert!(providers.foreign.is_empty(), "a stranger's");
    let short = ProviderRecord::new(RecordKey::new(b"short"), peer(2).1, vec![]);
    providers.keep(&mut kad, short, &members, now);
    assert!(providers.foreign.is_empty(), "no digest");
    for i in 0..MAX_FOREIGN_EACH as u32 + 10 {
        providers.keep(&mut kad, record(2, i), &members, now);
    }
    assert_eq!(providers.foreign.len(), MAX_FOREIGN_EACH);
    providers.sweep(&mut kad, now + RECORD_TTL);
    assert!(providers.foreign.is_empty());
    let key = record_key(&Digest::of(&0_u32.to_le_bytes()));
    assert!(
        kad.store_mut().providers(&key).is_empty(),
        "the store's records went, too"
    );
}

#[test]
fn keys_to_provide_and_to_seek_are_bounded() {
    let mut providers = Providers::default();
    let keys = |n: usize| (0..n).map(|i| Digest::of(&i.to_le_bytes()));
    providers.provide(keys(MAX_OWN * 3));
    providers.seek(keys(MAX_SOUGHT * 3));
    assert_eq!(providers.to_provide.len(), MAX_OWN);
    assert_eq!(providers.sought.len(), MAX_SOUGHT);
    let mut kad = behaviour(peer(1).1);
    providers.tick(&mut kad, &[], Instant::now());
    assert_eq!(providers.queries.len(), MAX_QUERIES);
}
