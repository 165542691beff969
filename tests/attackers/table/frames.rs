//! Rows: a member's frames that claim, lie about, or lack something; predictions and filters that
//! lead astray.
//!
//! Enters: the stage. Leaves: an attack under way. Must never happen here: a frame that the node's
//! own encoders made.

use super::stage::{Foe, Stage};
use super::{Noticed, Played, Row, Who};
use crate::attackers::mallory::{Attack, MARK, Script};
use crate::attackers::wire;
use crate::harness::wait_for;
use quarry_trust::canon::Canonical;
use quarry_trust::{Digest, ObjectRef};
use quarry_wrapper::action::{Description, FileInput};
use std::fs;
use std::time::Duration;

/// What a row may cost in memory where nothing large is sent.
const LITTLE: u64 = 8;
/// Frames of a few MiB are read before they are refused.
const FRAMES: u64 = 48;
/// How long Bob may take to hang up on a frame that he refuses: no deadline of his passes.
const AT_ONCE: Duration = Duration::from_secs(5);

fn met(stage: &Stage, script: impl FnOnce(&Foe) -> Script) -> Played {
    let foe = stage.foe();
    let attack = foe.attack(stage, script(&foe));
    Played::by(&foe, attack)
}

/// A member that plays by the rules but for one answer, which Bob asks for at once.
fn at_once(stage: &Stage, change: impl FnOnce(&mut Script)) -> Played {
    let foe = stage.foe();
    let mut script = foe.honestly(stage);
    change(&mut script);
    let attack = Attack::begin(&stage.bob, foe.pair.clone(), script);
    wait_for("a connection", || *attack.bob.borrow());
    Played::by(&foe, attack)
}

fn oversize_requests(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let before = stage.bob.count("rejected.oversize");
    for tag in 1..=6 {
        let back = attack.say(wire::ASK, &wire::claimed(tag, u32::MAX, MARK), AT_ONCE);
        assert!(back.is_empty(), "nothing is said to it: {back:?}");
    }
    wait_for("every kind of frame to be refused", || {
        (stage.bob.count("rejected.oversize") >= before + 6).then_some(())
    });
    Played::by(&foe, attack)
}

fn unknown_requests(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    let before = stage.bob.count("rejected.corrupt");
    for tag in [0, 7, 77, 255] {
        attack.say(wire::ASK, &wire::claimed(tag, 32, &[7; 32]), AT_ONCE);
    }
    // Too short, and too long, for a key.
    attack.say(wire::ASK, &wire::frame(3, &[7; 31]), AT_ONCE);
    wait_for("every one to be refused", || {
        (stage.bob.count("rejected.corrupt") >= before + 5).then_some(())
    });
    Played::by(&foe, attack)
}

fn truncated_requests(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.idle(stage);
    for (tag, claimed) in [(1, 4 << 20), (3, 32), (4, 32), (5, 32), (6, 32)] {
        drop(attack.hold(wire::ASK, &wire::claimed(tag, claimed, &[7; 9]), 8));
    }
    drop(attack.hold(wire::ASK, &[3, 32], 8));
    drop(attack.hold(wire::OBJECT, &[7; 63], 8));
    Played::by(&foe, attack)
}

fn oversize_roster(stage: &Stage) -> Played {
    at_once(stage, |s| s.roster = wire::claimed(1, u32::MAX, MARK))
}

fn oversize_filter(stage: &Stage) -> Played {
    at_once(stage, |s| s.filter = wire::claimed(2, u32::MAX, MARK))
}

fn answers(script: &mut Script, answer: &[u8]) {
    script
        .answers
        .values_mut()
        .for_each(|a| *a = answer.to_vec());
}

fn oversize_answers(stage: &Stage) -> Played {
    met(stage, |foe| {
        let mut script = foe.honestly(stage);
        answers(&mut script, &wire::claimed(3, u32::MAX, MARK));
        Script {
            flood: true,
            ..script
        }
    })
}

fn another_answer(stage: &Stage) -> Played {
    met(stage, |foe| {
        let mut script = foe.honestly(stage);
        answers(&mut script, &wire::roster(&stage.exchange));
        script
    })
}

fn truncated_answers(stage: &Stage) -> Played {
    met(stage, |foe| {
        let mut script = foe.honestly(stage);
        script.answers.values_mut().for_each(|a| {
            // The frame is whole, and what it holds is not.
            let half = a[5..a.len() / 2].to_vec();
            *a = wire::frame(3, &half);
        });
        script
    })
}

fn filter_out_of_bounds(stage: &Stage) -> Played {
    at_once(stage, |s| {
        // The length of a segment, behind the frame's head, form, positions, keys and seed.
        s.filter[5 + 29..5 + 33].copy_from_slice(&(1_u32 << 18).to_le_bytes());
    })
}

fn filter_cut_short(stage: &Stage) -> Played {
    at_once(stage, |s| {
        let half = s.filter[5..s.filter.len() / 2].to_vec();
        s.filter = wire::frame(2, &half);
    })
}

fn prediction_that_is_none(stage: &Stage) -> Played {
    met(stage, |foe| {
        foe.offering(stage, |honest| {
            let prediction = MARK.iter().copied().cycle().take(1 << 20).collect();
            (prediction, foe.sign(foe.own(&honest.entry).to_canon()))
        })
    })
}

/// What lies outside the roots, and what has no end.
fn prediction_outside(stage: &Stage) -> Played {
    fs::write(stage.bob.path("secret"), "mine").unwrap();
    let secret = stage.bob.path("secret").display().to_string();
    let named = [
        (secret.as_str(), Digest::of(b"mine")),
        ("/dev/zero", Digest::of(b"")),
        ("/proc/self/environ", Digest::of(b"")),
        ("/quarry/ws/../../../../etc/passwd", Digest::of(b"")),
    ];
    let foe = stage.foe();
    let mut described = Vec::new();
    let mut entries = Vec::new();
    for honest in &stage.honest {
        let bytes = &stage.objects[&honest.entry.description.digest];
        let mut description = Description::from_canon(bytes).unwrap();
        description
            .files
            .extend(named.iter().map(|(name, digest)| FileInput {
                name: (*name).to_owned(),
                digest: Some(*digest),
            }));
        description.files.sort();
        let (action, bytes) = description.action();
        let mut entry = foe.own(&honest.entry);
        entry.action = action;
        entry.description = ObjectRef {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        described.push((Digest::of(&bytes), wire::object(&bytes)));
        entries.push((
            description.prediction().to_canon(),
            foe.sign(entry.to_canon()),
        ));
    }
    let all = stage.honest.iter().zip(entries);
    let of = |wanted: &crate::attackers::mallory::Honest| {
        let mut all = all.clone();
        all.find(|(h, _)| h.entry == wanted.entry).unwrap().1
    };
    let mut script = foe.offering(stage, of);
    script.objects.extend(described);
    let attack = foe.attack(stage, script);
    Played::by(&foe, attack)
}

/// Eight members, as near as Alice, that say they have what she has and what nobody has.
fn everything(stage: &Stage) -> Played {
    let mut played = Played::default();
    for _ in 0..8 {
        let foe = stage.foe();
        let mut script = foe.honestly(stage);
        let keys = stage.every_key();
        script.filter = wire::filter(
            &keys
                .iter()
                .map(|key| stage.tag(key).short())
                .collect::<Vec<_>>(),
        );
        let nothing = |key: &Digest| (*key.as_bytes(), wire::offers(&[]));
        script.answers = keys.iter().map(nothing).collect();
        played = played.holding(foe.attack(stage, script));
    }
    // A first build asks them in vain; then it is known who has something, and who says so.
    let (checkout, said) = stage.build("asked-in-vain");
    said.succeeded();
    stage.is_right(&checkout);
    stage.clear();
    played
}

macro_rules! row {
    ($name:literal, $holds:literal, $mib:expr, $counted:literal, $why:literal, $play:ident) => {
        Row {
            name: $name,
            who: Who::Builder,
            holds: $holds,
            mib: $mib,
            noticed: Noticed::Refused($counted, $why),
            play: $play,
        }
    };
}

/// See the module.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row!("requests that claim 4 GiB, of each kind", "refused by the length alone", LITTLE, "oversize", "larger than its limit", oversize_requests),
    row!("requests of an unknown kind, and keys of another length", "refused", LITTLE, "corrupt", "", unknown_requests),
    Row {
        name: "requests cut short", who: Who::Builder, mib: LITTLE,
        holds: "given up",
        noticed: Noticed::Not("a connection that breaks looks like this"),
        play: truncated_requests,
    },
    row!("a roster that claims 4 GiB", "refused by the length alone", LITTLE, "oversize", "larger than its limit", oversize_roster),
    row!("a filter that claims 4 GiB", "refused by the length alone", LITTLE, "oversize", "larger than its limit", oversize_filter),
    row!("answers that claim 4 GiB, and go on for ever", "refused by the length alone", LITTLE, "oversize", "larger than its limit", oversize_answers),
    row!("an answer to another question", "refused", FRAMES, "corrupt", "an answer to another question", another_answer),
    row!("offers cut short inside a whole frame", "refused", LITTLE, "corrupt", "", truncated_answers),
    row!("a filter that would index out of bounds", "refused on the way in", LITTLE, "corrupt", "impossible shape", filter_out_of_bounds),
    row!("a filter cut short", "refused", LITTLE, "corrupt", "", filter_cut_short),
    Row {
        name: "a prediction of a MiB that is none", who: Who::Builder, mib: FRAMES,
        holds: "compiled instead",
        noticed: Noticed::Not("predictions are hints; one of a newer schema looks like this"),
        play: prediction_that_is_none,
    },
    Row {
        name: "predictions that name what lies outside, and what has no end", who: Who::Builder, mib: LITTLE,
        holds: "nothing outside the roots is opened; compiled instead",
        noticed: Noticed::Not("another checkout's prediction may name what is not here"),
        play: prediction_outside,
    },
    Row {
        name: "eight members that say they have everything, and have nothing", who: Who::Builder, mib: LITTLE,
        holds: "after a first build asked them in vain, the one who gives is asked first",
        noticed: Noticed::Not("`qnode peers` shows how often each was asked in vain"),
        play: everything,
    },
];
