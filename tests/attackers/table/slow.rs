//! Rows: slow-loris on every protocol, from the socket upwards.
//!
//! Enters: the stage. Leaves: what is held open. In each row of strangers a teammate connects
//! meanwhile, and Bob hits from it. Must never happen here: a wait in place of an event.

use super::low::Silent;
use super::stage::Stage;
use super::{Noticed, Played, Row, Who, foundry, low};
use crate::attackers::mallory::{Attack, Script};
use crate::attackers::wire;
use crate::harness::{SOON, wait_for};
use libp2p::identity::Keypair;
use quarry_trust::canon::Canonical;
use std::time::{Duration, Instant};

/// What connections and streams that stall may cost in memory.
const HELD: u64 = 24;
/// What one chunk each for all streams may cost in addition.
const REPLIES: u64 = 48;
/// Connections that strangers hold: several times what a node has room for.
const MANY: usize = 400;
/// Streams that a member holds of one protocol: more than a node takes on a connection.
const STREAMS: usize = 200;
/// What connecting may take for an honest teammate meanwhile: some retries, no whole deadline of
/// the strangers (five seconds).
const PROMPTLY: Duration = Duration::from_secs(4);

/// An honest teammate connects while something is held.
fn meanwhile(stage: &Stage, held: impl std::any::Any) -> Played {
    let (friend, began) = (stage.foe(), Instant::now());
    let script = friend.honestly(stage);
    let mut attack = friend.begin(stage, script.clone());
    // As a node does: what is turned away is tried again.
    let connected = loop {
        if friend.is_known(stage, true) {
            break began.elapsed();
        }
        if *attack.failed.borrow() {
            drop(attack);
            attack = friend.begin(stage, script.clone());
        }
        assert!(began.elapsed() < SOON, "nobody gets in");
    };
    assert!(connected < PROMPTLY, "connecting took {connected:?}");
    Played::default().holding(held).holding(attack).believed()
}

fn before_noise(stage: &Stage) -> Played {
    let held = low::silent(&stage.bob, MANY, b"");
    meanwhile(stage, held)
}

fn in_multistream(stage: &Stage) -> Played {
    let held = low::silent(&stage.bob, MANY, b"\x13/multistream");
    meanwhile(stage, held)
}

fn in_noise(stage: &Stage) -> Played {
    let held = low::half_noise(&stage.bob, MANY);
    meanwhile(stage, held)
}

fn before_yamux(stage: &Stage) -> Played {
    let pairs = (0..MANY / 4).map(|_| Keypair::generate_ed25519()).collect();
    let held = low::mute(&stage.bob, pairs, Silent::AfterNoise);
    meanwhile(stage, held)
}

fn in_yamux(stage: &Stage) -> Played {
    let foe = stage.foe();
    let held = low::mute(&stage.bob, vec![foe.pair.clone(); 50], Silent::InYamux);
    meanwhile(stage, held)
}

/// A member holds streams on which these bytes stand.
fn streams(stage: &Stage, protocol: &'static str, bytes: &[u8]) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let held = attack.hold(protocol, bytes, STREAMS);
    assert!(!held.is_empty(), "{protocol} is spoken");
    Played::by(&foe, attack).holding(held)
}

fn requests(stage: &Stage) -> Played {
    streams(stage, wire::ASK, &wire::claimed(3, 32, &[7; 9]))
}

fn object_requests(stage: &Stage) -> Played {
    streams(stage, wire::OBJECT, &[7; 63])
}

fn gossip(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    // libp2p takes five streams of gossip from a peer, and then no more.
    let held = attack.hold(wire::GOSSIP, &[0xff, 0x7f, 1, 2, 3], 4);
    assert!(!held.is_empty(), "gossip is spoken");
    Played::by(&foe, attack).holding(held)
}

fn kademlia(stage: &Stage) -> Played {
    streams(stage, foundry::KAD, &[0xff, 0x7f, 1, 2, 3])
}

fn identify(stage: &Stage) -> Played {
    streams(stage, foundry::PUSH, &[0xff, 0x1f, 1, 2, 3])
}

fn pings(stage: &Stage) -> Played {
    streams(stage, "/ipfs/ping/1.0.0", &[7; 31])
}

fn answers(stage: &Stage) -> Played {
    let foe = stage.foe();
    let script = Script {
        answers: Default::default(),
        ..foe.honestly(stage)
    };
    let attack = foe.attack(stage, script);
    Played::by(&foe, attack)
}

fn half_answers(stage: &Stage) -> Played {
    let foe = stage.foe();
    let mut script = foe.honestly(stage);
    for answer in script.answers.values_mut() {
        answer.truncate(answer.len() / 2);
    }
    let attack = foe.attack(stage, script);
    Played::by(&foe, attack)
}

fn roster_never(stage: &Stage) -> Played {
    let foe = stage.foe();
    let script = Script {
        roster: Vec::new(),
        ..foe.honestly(stage)
    };
    let attack = Attack::begin(&stage.bob, foe.pair.clone(), script);
    wait_for("a connection", || *attack.bob.borrow());
    let key = stage.honest[0].entry.lookup;
    let question = wire::frame(3, key.as_bytes());
    let back = attack.say(wire::ASK, &question, Duration::from_secs(2));
    assert_eq!(back, wire::frame(4, &[]), "busy, and nothing else");
    Played::by(&foe, attack)
}

/// Asks for the largest object that Bob has, on many streams, and reads none of it.
fn never_reads(stage: &Stage) -> Played {
    let (_, said) = stage.build("to-be-asked-for");
    said.succeeded();
    let objects = stage.honest.iter().flat_map(|h| {
        let action = h.entry.action;
        h.entry.objects().map(move |object| (action, object))
    });
    let (action, object) = objects.max_by_key(|(_, o)| o.size).unwrap();
    let request = [action.digest().to_canon(), object.digest.to_canon()].concat();
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let held = attack.hold(wire::OBJECT, &request.repeat(100), STREAMS);
    let played = Played::by(&foe, attack).holding(held);
    stage.clear();
    played
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

const ROOM: Noticed = Noticed::Not("who holds most gives way; nobody is known by name yet");
const BROKEN: Noticed = Noticed::Not("a slow line looks like this; streams have a deadline");

/// See the module.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row!("slow: TCP before a word is said", Stranger, "a teammate connects within four seconds", HELD, ROOM, before_noise),
    row!("slow: half a word of multistream", Stranger, "a teammate connects within four seconds", HELD, ROOM, in_multistream),
    row!("slow: half a noise handshake", Stranger, "a teammate connects within four seconds", HELD, ROOM, in_noise),
    row!("slow: noise, and then no yamux", Stranger, "a teammate connects within four seconds", HELD, ROOM, before_yamux),
    row!("slow: half a header of yamux, fifty times", Builder, "a teammate connects within four seconds", HELD, ROOM, in_yamux),
    row!("slow: half a question, on 200 streams", Builder, "the others are answered", HELD, BROKEN, requests),
    row!("slow: questions are never answered", Builder, "one deadline, then left out", HELD, Noticed::Refused("silent", "no answer in time"), answers),
    row!("slow: half an answer", Builder, "one deadline, then left out", HELD, Noticed::Refused("silent", "no answer in time"), half_answers),
    row!("slow: a roster is never given", Builder, "neither asked nor answered", HELD, Noticed::Not("three tries, then the connection is closed"), roster_never),
    row!("slow: half a request for an object, on 200 streams", Builder, "16 streams are taken of one member", HELD, BROKEN, object_requests),
    row!("slow: objects are asked for and never read", Builder, "a reply ends after 5 s without progress", REPLIES, BROKEN, never_reads),
    row!("slow: half a gossip frame", Builder, "the others are heard", HELD, BROKEN, gossip),
    row!("slow: half a Kademlia frame, on 200 streams", Builder, "the others are answered", HELD, BROKEN, kademlia),
    row!("slow: half of what a node says of itself, on 200 streams", Builder, "the others are heard", HELD, BROKEN, identify),
    row!("slow: half a ping, on 200 streams", Builder, "the others are answered", HELD, BROKEN, pings),
];
