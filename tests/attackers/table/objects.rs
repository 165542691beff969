//! Rows: a member offers good entries, and objects that are something else.
//!
//! Enters: the stage. Leaves: an attack under way. Must never happen here: a reply that is right,
//! but where the row says so.

use super::stage::{Foe, Stage};
use super::{Noticed, Played, Row, Who};
use crate::attackers::mallory::{MARK, Script};
use crate::attackers::wire::{self, CHUNK};
use std::io::Read;
use std::time::Duration;

/// What a row may cost in memory: one build, its caches, a few chunks.
const LITTLE: u64 = 24;

fn met(stage: &Stage, script: impl FnOnce(&Foe) -> Script) -> Played {
    let foe = stage.foe();
    let attack = foe.attack(stage, script(&foe));
    Played::by(&foe, attack)
}

fn serving(stage: &Stage, reply: impl Fn(&[u8]) -> Vec<u8>) -> Played {
    met(stage, |foe| foe.serving(stage, reply))
}

/// As many bytes, all of them Mallory's.
fn marked(size: usize) -> Vec<u8> {
    MARK.iter().copied().cycle().take(size).collect()
}

fn something_else(stage: &Stage) -> Played {
    serving(stage, |bytes| wire::object(&marked(bytes.len())))
}

fn one_bit(stage: &Stage) -> Played {
    serving(stage, |bytes| {
        let mut bytes = bytes.to_vec();
        bytes[0] ^= 1;
        wire::object(&bytes)
    })
}

fn longer(stage: &Stage) -> Played {
    serving(stage, |bytes| wire::object(&[bytes, MARK].concat()))
}

fn shorter(stage: &Stage) -> Played {
    serving(stage, |bytes| wire::object(&bytes[1..]))
}

fn beyond_its_end(stage: &Stage) -> Played {
    serving(stage, |bytes| {
        let more = marked(bytes.len() + 1);
        let chunk = wire::chunk(more.len(), &more);
        [wire::head(bytes.len() as u64), chunk].concat()
    })
}

fn without_end(stage: &Stage) -> Played {
    met(stage, |foe| Script {
        flood: true,
        ..foe.serving(stage, |bytes| wire::head(bytes.len() as u64))
    })
}

/// One chunk is promised of every output, and this is its body.
fn one_chunk(stage: &Stage, body: &[u8]) -> Played {
    let reply = [wire::head(CHUNK as u64), wire::chunk(CHUNK, body)].concat();
    met(stage, |foe| {
        let offers = foe.changed(stage, |entry| {
            let outputs = entry.outputs.iter_mut();
            outputs.for_each(|o| o.object.size = CHUNK as u64);
        });
        let objects = offers.objects.into_keys().map(|d| (d, reply.clone()));
        Script {
            objects: objects.collect(),
            ..offers
        }
    })
}

fn bomb(stage: &Stage) -> Played {
    let mut bomb = Vec::new();
    zstd::stream::copy_encode(std::io::repeat(0).take(1 << 30), &mut bomb, 3).unwrap();
    assert!(bomb.len() < CHUNK, "a GiB in {} bytes", bomb.len());
    one_chunk(stage, &bomb)
}

/// A frame that states no size and asks for a window of 2 GiB (RFC 8878, 3.1.1.1: magic, frame
/// header descriptor 0, window descriptor: exponent 21 above 10).
fn window(stage: &Stage) -> Played {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3];
    // A block of 128 KiB, all one byte, not the last.
    let block = (128 << 10) << 3 | 1 << 1;
    for _ in 0..100 {
        frame.extend(&u32::to_le_bytes(block)[..3]);
        frame.push(0x5a);
    }
    one_chunk(stage, &frame)
}

/// As many frames as fit, each of which gives a little, or nothing and is to be skipped.
fn many_frames(stage: &Stage) -> Played {
    let empty = zstd::bulk::compress(b"", 1).unwrap();
    // RFC 8878, 3.1.2: a frame to be skipped, of no bytes.
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    let both = [&empty[..], &skipped].concat();
    let mut frames: Vec<u8> = both.repeat((CHUNK - 64) / both.len());
    frames.extend(zstd::bulk::compress(&marked(16), 1).unwrap());
    one_chunk(stage, &frames)
}

fn no_zstd(stage: &Stage) -> Played {
    one_chunk(stage, &marked(CHUNK / 2))
}

fn trickle(stage: &Stage) -> Played {
    let size = 500 << 20;
    let mut reply = wire::head(size);
    for byte in MARK.iter().cycle().take(10_000) {
        reply.extend(wire::chunk(1, &[*byte]));
    }
    met(stage, |foe| {
        let offers = foe.changed(stage, |entry| {
            entry.outputs.iter_mut().for_each(|o| o.object.size = size);
        });
        let objects = offers.objects.into_keys().map(|d| (d, reply.clone()));
        Script {
            objects: objects.collect(),
            trickle: Some(Duration::from_millis(100)),
            ..offers
        }
    })
}

fn silence(stage: &Stage) -> Played {
    met(stage, |foe| Script {
        objects: Default::default(),
        ..foe.honestly(stage)
    })
}

macro_rules! row {
    ($name:literal, $counted:literal, $why:literal, $play:ident) => {
        Row {
            name: $name,
            who: Who::Builder,
            holds: "compiled instead",
            mib: LITTLE,
            noticed: Noticed::Refused($counted, $why),
            play: $play,
        }
    };
}

/// See the module.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row!("an object that is something else", "corrupt", "not what its digest says", something_else),
    row!("an object with one bit flipped", "corrupt", "not what its digest says", one_bit),
    row!("an object longer than its entry says", "oversize", "larger than its limit", longer),
    row!("an object shorter than its entry says", "corrupt", "shorter than its entry says", shorter),
    row!("a chunk beyond the end of its object", "oversize", "larger than its limit", beyond_its_end),
    row!("an object without end", "oversize", "larger than its limit", without_end),
    row!("a zstd bomb: a GiB in a quarter of a MiB", "oversize", "larger than its limit", bomb),
    row!("a zstd frame that asks for a window of 2 GiB", "corrupt", "does not decompress", window),
    row!("zstd frames without number", "corrupt", "", many_frames),
    row!("garbage in place of zstd", "corrupt", "does not decompress", no_zstd),
    row!("an object byte by byte", "silent", "no answer in time", trickle),
    row!("a member that offers and never gives", "silent", "no answer in time", silence),
];
