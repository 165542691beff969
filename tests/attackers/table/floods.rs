//! Rows: floods of everything that a stranger or a member can send without end.
//!
//! Enters: the stage. Leaves: what was poured, and what goes on. Where the whole suite runs, the
//! floods are shorter, by the first number of [`times`]. Must never happen here: a packet to
//! anywhere but loopback.

use super::stage::{Foe, Stage};
use super::{Noticed, Played, Row, Who, foundry, low, times};
use crate::attackers::mallory::{Attack, Script};
use crate::attackers::wire;
use crate::harness::wait_for;
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use quarry_trust::Digest;
use std::time::Duration;

/// What a flood of small things may cost in memory.
const SMALL: u64 = 32;
/// What frames of 4 MiB, as many as are read at once, may cost, with what waits to be judged.
const LARGE: u64 = 160;
/// How long an answer is waited for that may never come.
const SHORTLY: Duration = Duration::from_secs(2);

fn connections(stage: &Stage) -> Played {
    let place = low::place(&stage.bob);
    for _ in 0..times(1_000, 20_000) {
        drop(low::from_elsewhere(place, 2));
    }
    Played::default()
}

fn identities(stage: &Stage) -> Played {
    let many = times(60, 600);
    let before = stage.bob.count("strangers");
    let crowd = low::crowd(&stage.bob, (0..many).map(|_| Keypair::generate_ed25519()));
    wait_for("most of them to be turned away", || {
        let turned = stage.bob.count("strangers") - before;
        (turned >= many as u64 / 2).then_some(())
    });
    let peers = stage.bob.json(&["status"])["peers"].as_u64();
    assert_eq!(peers, Some(1), "Alice alone is a peer");
    Played::default().holding(crowd)
}

fn one_member_often(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let crowd = low::crowd(&stage.bob, vec![foe.pair.clone(); times(60, 300)]);
    Played::by(&foe, attack).holding(crowd)
}

fn streams(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let mut played = Played::by(&foe, attack);
    for protocol in [wire::ASK, wire::OBJECT, foundry::KAD, "/no/such/protocol"] {
        let attack = foe.begin(stage, Script::default());
        let held = attack.hold(protocol, b"", times(300, 3_000));
        played = played.holding(held).holding(attack);
    }
    played
}

/// Says the same on many streams, at once, as often as is told; what is answered is not read.
fn asks(stage: &Stage, words: &[u8], count: usize) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    for _ in 0..count / 100 {
        drop(attack.hold(wire::ASK, words, 100));
    }
    Played::by(&foe, attack)
}

fn questions(stage: &Stage) -> Played {
    let question = wire::frame(3, &[7; 32]);
    asks(stage, &question, times(2_000, 50_000))
}

fn walks(stage: &Stage) -> Played {
    let question = wire::frame(5, &[7; 32]);
    asks(stage, &question, times(1_000, 20_000))
}

fn filters(stage: &Stage) -> Played {
    asks(stage, &wire::frame(2, &[]), times(1_000, 20_000))
}

/// Rosters of 4 MiB that lack their last byte, on every stream that is taken.
fn rosters(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let length = 4 << 20;
    let mut frame = wire::claimed(1, length, &[]);
    frame.resize(frame.len() + length as usize - 1, 0x5a);
    let held = attack.hold(wire::ASK, &frame, 100);
    Played::by(&foe, attack).holding(held)
}

fn batches(foe: &Foe, count: usize, keys: &[u64]) -> impl Iterator<Item = Vec<u8>> {
    (1..=count as u64).map(move |n| {
        let batch = foundry::batch(u64::MAX - 1, n, keys);
        foundry::gossip(&foe.pair, &foe.pair, n, &batch)
    })
}

/// A stream of gossip to Bob, subscribed.
fn gossiping(attack: &Attack) -> libp2p::Stream {
    let mut streams = attack.hold(wire::GOSSIP, &foundry::subscribe(), 1);
    streams.pop().expect("gossip is spoken")
}

fn announcements(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let mut stream = gossiping(&attack);
    attack.pour(&mut stream, batches(&foe, times(5_000, 200_000), &[7]));
    wait_for("some of it to be heard", || {
        foe.is_known(stage, true).then_some(())
    });
    Played::by(&foe, attack).holding(stream)
}

fn millions_of_keys(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let mut stream = gossiping(&attack);
    let count = times(2_000, 20_000) as u64;
    let all = (1..=count).map(|n| {
        let keys: Vec<u64> = (n * 500..(n + 1) * 500)
            .map(|k| k.rotate_left(40))
            .collect();
        let batch = foundry::batch(u64::MAX - 1, n, &keys);
        foundry::gossip(&foe.pair, &foe.pair, n, &batch)
    });
    attack.pour(&mut stream, all);
    Played::by(&foe, attack).holding(stream)
}

fn provider_records(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let own = foundry::kad_peer(&foe.pair.public().to_peer_id(), &[]);
    let add = |n: usize| {
        let key = Digest::of(&n.to_le_bytes());
        foundry::kad(
            foundry::Kad::AddProvider,
            key.as_bytes(),
            9,
            std::slice::from_ref(&own),
        )
    };
    pour_each(&attack, foundry::KAD, (0..times(4_000, 40_000)).map(add));
    Played::by(&foe, attack)
}

fn provider_records_of_others(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let add = |n: usize| {
        let key = Digest::of(&n.to_le_bytes());
        let other = foundry::kad_peer(&PeerId::random(), &[place(n)]);
        foundry::kad(foundry::Kad::AddProvider, key.as_bytes(), 9, &[other])
    };
    pour_each(&attack, foundry::KAD, (0..times(2_000, 20_000)).map(add));
    Played::by(&foe, attack)
}

fn searches(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let find = |n: usize| {
        let key = Digest::of(&n.to_le_bytes());
        let near: Vec<_> = (0..20)
            .map(|m| foundry::kad_peer(&PeerId::random(), &[place(m)]))
            .collect();
        foundry::kad(foundry::Kad::Find, key.as_bytes(), 8, &near)
    };
    pour_each(&attack, foundry::KAD, (0..times(2_000, 20_000)).map(find));
    Played::by(&foe, attack)
}

fn values(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let put = |n: usize| {
        let key = Digest::of(&n.to_le_bytes());
        foundry::kad_put(key.as_bytes(), &[0x5a; 4096])
    };
    pour_each(&attack, foundry::KAD, (0..times(1_000, 20_000)).map(put));
    Played::by(&foe, attack)
}

/// Some address on this machine at which nobody listens.
fn place(n: usize) -> Multiaddr {
    let (high, low) = (1 + n / 60_000, 1 + n % 60_000);
    format!("/ip4/127.66.0.{high}/tcp/{low}").parse().unwrap()
}

fn addresses(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let push = |n: usize| {
        let all: Vec<Multiaddr> = (8 * n..8 * (n + 1)).map(place).collect();
        foundry::identify(&foe.pair, &all)
    };
    let count = times(1_500, 20_000);
    pour_each(&attack, foundry::PUSH, (0..count).map(push));
    Played::by(&foe, attack).then(|stage| {
        let back = stage.bob.json(&["peers"]);
        assert!(back.to_string().len() < 100_000, "what is kept is bounded");
    })
}

/// Each message on a stream of its own: protocols that take one message to a stream.
fn pour_each(attack: &Attack, protocol: &'static str, all: impl Iterator<Item = Vec<u8>>) {
    let all: Vec<Vec<u8>> = all.collect();
    for some in all.chunks(20) {
        drop(attack.hold_each(protocol, some));
    }
    // The last of them is heard before an answer to this is.
    attack.say(wire::ASK, &wire::frame(2, &[]), SHORTLY);
}

macro_rules! row {
    ($name:literal, $who:ident, $holds:literal, $mib:expr, $noticed:expr, $play:ident) => {
        Row {
            name: $name,
            who: Who::$who,
            holds: $holds,
            mib: $mib,
            noticed: $noticed,
            play: $play,
        }
    };
}

const BOUNDED: Noticed = Noticed::Not("what is beyond the bound is not taken");

/// See the module.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row!("flood: connections that come and go", Stranger, "64 handshakes at once, at most", SMALL, Noticed::Not("nobody is known by name yet"), connections),
    row!("flood: an eclipse by many identities", Stranger, "none of them is a peer", SMALL, Noticed::Counted("strangers"), identities),
    row!("flood: connections of one member", Builder, "four are kept", SMALL, BOUNDED, one_member_often),
    row!("flood: streams of every protocol, and of none", Builder, "128 on a connection, 16 for objects", SMALL, BOUNDED, streams),
    row!("flood: questions", Builder, "eight at once, the others are answered busy", SMALL, BOUNDED, questions),
    row!("flood: questions that walk through the store", Builder, "one walk at a time", SMALL, BOUNDED, walks),
    row!("flood: questions for the filter", Builder, "four in a second", SMALL, BOUNDED, filters),
    row!("flood: rosters of 4 MiB, each but its last byte", Builder, "64 MiB of large frames are read at once", LARGE, BOUNDED, rosters),
    row!("flood: announcements", Builder, "50 of one member in a second", SMALL, BOUNDED, announcements),
    row!("flood: announcements of a million keys", Builder, "100,000 keys beside its filter", SMALL, BOUNDED, millions_of_keys),
    row!("flood: provider records", Builder, "1,024 records of one member", SMALL, BOUNDED, provider_records),
    row!("flood: provider records in others' names", Builder, "none is kept", SMALL, BOUNDED, provider_records_of_others),
    row!("flood: searches that tell of thousands of peers", Builder, "nobody but members is dialed", SMALL, BOUNDED, searches),
    row!("flood: value records", Builder, "none is kept", SMALL, Noticed::Refused("corrupt", "value records are not kept"), values),
    row!("flood: addresses of one member", Builder, "16 of each member", SMALL, BOUNDED, addresses),
];
