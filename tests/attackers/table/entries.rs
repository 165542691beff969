//! Rows: a member offers entries that must not be believed, or that are true and odd.
//!
//! Enters: the stage. Leaves: an attack under way, which Bob meets when he builds. Must never
//! happen here: an entry that would be right by accident.

use super::stage::{Foe, Stage};
use super::{Noticed, Played, Row, Who};
use crate::attackers::mallory::{Honest, MARK, Script};
use crate::attackers::wire;
use quarry_trust::canon::Canonical;
use quarry_trust::{BuilderKey, Digest, Entry, OutputName, Scope, SignedEntry, TeamId};

/// What a row may cost in memory where nothing large is sent: one build and its caches.
const LITTLE: u64 = 24;

fn met(stage: &Stage, script: impl FnOnce(&Foe) -> Script) -> Played {
    let foe = stage.foe();
    let attack = foe.attack(stage, script(&foe));
    Played::by(&foe, attack)
}

fn instead(stage: &Stage, entry: impl Fn(&Foe, &Honest) -> SignedEntry) -> Played {
    met(stage, |foe| {
        foe.offering(stage, |honest| {
            (honest.prediction.clone(), entry(foe, honest))
        })
    })
}

fn changed(stage: &Stage, change: impl Fn(&mut Entry)) -> Played {
    met(stage, |foe| foe.changed(stage, change))
}

/// The bytes of its own entry with something that no [`Entry`] can hold in place of `from`.
fn patched(foe: &Foe, honest: &Honest, from: &[u8], to: &[u8]) -> SignedEntry {
    assert_eq!(from.len(), to.len(), "lengths stand before what they count");
    let mut bytes = foe.own(&honest.entry).to_canon();
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    foe.sign(bytes)
}

/// The same with another name for its first output.
fn named(foe: &Foe, honest: &Honest, name: impl Fn(&str) -> String) -> SignedEntry {
    let old = honest.entry.outputs[0].name.as_str();
    let mut new = name(old);
    new.truncate(old.len());
    patched(foe, honest, old.as_bytes(), new.as_bytes())
}

/// The kind and the flag of the first output, with their object, as they stand in the bytes.
fn flagged(foe: &Foe, honest: &Honest, flag: u8) -> SignedEntry {
    let output = &honest.entry.outputs[0];
    let object = output.object.to_canon();
    let with = |flag: u8| [&[output.kind as u8, flag][..], &object].concat();
    patched(foe, honest, &with(u8::from(output.executable)), &with(flag))
}

fn bent_signature(stage: &Stage) -> Played {
    instead(stage, |foe, honest| {
        let mut signed = foe.sign(foe.own(&honest.entry).to_canon());
        signed.signature.0[7] ^= 1;
        signed
    })
}

fn changed_after_signing(stage: &Stage) -> Played {
    instead(stage, |foe, honest| {
        let mut entry = foe.own(&honest.entry);
        let signed = foe.sign(entry.to_canon());
        entry.outputs[0].object.digest = Digest::of(MARK);
        SignedEntry {
            bytes: entry.to_canon(),
            ..signed
        }
    })
}

fn in_anothers_name(stage: &Stage) -> Played {
    // The scribe's name, and not the scribe's key.
    instead(stage, |foe, honest| foe.sign(honest.entry.to_canon()))
}

fn by_a_stranger(stage: &Stage) -> Played {
    let stranger = BuilderKey::generate().unwrap();
    instead(stage, |_, honest| {
        let mut entry = honest.entry.clone();
        entry.builder = stranger.id();
        entry.sign(&stranger)
    })
}

fn by_a_reader(stage: &Stage) -> Played {
    let foe = stage.reader();
    let attack = foe.attack(stage, foe.honestly(stage));
    Played::by(&foe, attack)
}

fn for_another_key(stage: &Stage) -> Played {
    let own = |foe: &Foe, honest: &Honest| {
        let differs = |h: &&Honest| h.entry.action != honest.entry.action;
        let other = stage.honest.iter().find(differs).unwrap();
        foe.sign(foe.own(&other.entry).to_canon())
    };
    instead(stage, own)
}

fn moved_to_another_key(stage: &Stage) -> Played {
    // Signed anew for the key that is asked for: it then names what another command wrote.
    let own = |foe: &Foe, honest: &Honest| {
        let differs = |h: &&Honest| h.entry.action != honest.entry.action;
        let other = stage.honest.iter().find(differs).unwrap();
        let mut entry = foe.own(&other.entry);
        entry.action = honest.entry.action;
        entry.lookup = honest.entry.lookup;
        foe.sign(entry.to_canon())
    };
    instead(stage, own)
}

fn of_another_team(stage: &Stage) -> Played {
    changed(stage, |e| e.scope = Scope::Team(TeamId(Digest::of(MARK))))
}

fn private(stage: &Stage) -> Played {
    changed(stage, |e| e.scope = Scope::Private)
}

fn of_another_width(stage: &Stage) -> Played {
    changed(stage, |e| e.width = Some(7))
}

fn truncated(stage: &Stage) -> Played {
    instead(stage, |foe, honest| {
        let mut bytes = foe.own(&honest.entry).to_canon();
        bytes.truncate(bytes.len() / 2);
        foe.sign(bytes)
    })
}

fn with_more_behind_it(stage: &Stage) -> Played {
    instead(stage, |foe, honest| {
        let mut bytes = foe.own(&honest.entry).to_canon();
        bytes.extend(MARK);
        foe.sign(bytes)
    })
}

fn another_schema(stage: &Stage) -> Played {
    instead(stage, |foe, honest| {
        let mut bytes = foe.own(&honest.entry).to_canon();
        bytes[0] ^= 0xff;
        foe.sign(bytes)
    })
}

fn climbing(stage: &Stage) -> Played {
    instead(stage, |foe, honest| {
        named(foe, honest, |name| format!("../../../mallory{name}"))
    })
}

fn from_the_root(stage: &Stage) -> Played {
    instead(stage, |foe, honest| {
        named(foe, honest, |name| format!("/tmp/mallory{name}"))
    })
}

fn with_a_separator(stage: &Stage) -> Played {
    instead(stage, |foe, honest| {
        named(foe, honest, |name| format!("a\\b\0{name}"))
    })
}

fn not_of_this_command(stage: &Stage) -> Played {
    changed(stage, |entry| {
        let name = format!("zmallory-{}", entry.crate_name);
        entry.outputs.last_mut().unwrap().name = OutputName::new(name).unwrap();
    })
}

fn setuid(stage: &Stage) -> Played {
    // The flag has room for nothing but yes and no: 4 would be the setuid bit of 04755.
    instead(stage, |foe, honest| flagged(foe, honest, 4))
}

fn description_of_something_else(stage: &Stage) -> Played {
    changed(stage, |entry| entry.description = entry.outputs[0].object)
}

fn above_every_limit(stage: &Stage) -> Played {
    instead(stage, |foe, honest| {
        let object = honest.entry.outputs[0].object;
        let lie = [&object.digest.as_bytes()[..], &u64::MAX.to_le_bytes()].concat();
        patched(foe, honest, &object.to_canon(), &lie)
    })
}

fn lying_sizes(stage: &Stage) -> Played {
    changed(stage, |entry| {
        entry.outputs.iter_mut().for_each(|o| o.object.size += 1000);
    })
}

fn far_future(stage: &Stage) -> Played {
    clock(stage, u64::MAX)
}

fn the_year_1970(stage: &Stage) -> Played {
    clock(stage, 0)
}

/// A builder's clock is information, never evidence: what it built is as good as ever, and what
/// looks at times goes on.
fn clock(stage: &Stage, created: u64) -> Played {
    changed(stage, |entry| entry.created = created)
        .believed()
        .then(|stage| {
            stage.bob.qnode(&["why", "--all"]).succeeded();
            stage.bob.qnode(&["gc"]).succeeded();
            let why = stage.bob.qnode(&["why", "right"]).succeeded();
            assert!(!why.err.contains("panicked"), "{}", why.err);
        })
}

fn too_many_offers(stage: &Stage) -> Played {
    met(stage, |foe| {
        let mut script = foe.honestly(stage);
        for honest in &stage.honest {
            let signed = foe.sign(foe.own(&honest.entry).to_canon());
            let offers = vec![(honest.prediction.clone(), signed); 9];
            for key in [honest.entry.lookup.digest(), honest.entry.action.digest()] {
                script
                    .answers
                    .insert(*key.as_bytes(), wire::offers(&offers));
            }
        }
        script
    })
}

macro_rules! row {
    ($name:literal, $who:ident, $holds:literal, $counted:literal, $why:literal, $play:ident) => {
        Row {
            name: $name,
            who: Who::$who,
            holds: $holds,
            mib: LITTLE,
            noticed: Noticed::Refused($counted, $why),
            play: $play,
        }
    };
}

/// See the module.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row!("an entry with a bent signature", Builder, "compiled instead", "unsigned", "the signature does not hold", bent_signature),
    row!("an entry changed after it was signed", Builder, "compiled instead", "unsigned", "the signature does not hold", changed_after_signing),
    row!("an entry in a teammate's name", Builder, "compiled instead", "unsigned", "the signature does not hold", in_anothers_name),
    row!("an entry signed by a builder outside the roster", Builder, "compiled instead", "untrusted", "no builder of the roster", by_a_stranger),
    row!("a reader that publishes", Reader, "compiled instead", "untrusted", "no builder of the roster", by_a_reader),
    row!("a true entry replayed for another key", Builder, "compiled instead", "misplaced", "another key", for_another_key),
    row!("a true entry signed anew for another key", Builder, "compiled instead", "corrupt", "description is not of this action", moved_to_another_key),
    row!("an entry signed for another team", Builder, "compiled instead", "untrusted", "another team", of_another_team),
    row!("a private entry of somebody else", Builder, "compiled instead", "untrusted", "a private entry", private),
    Row {
        name: "an entry for a terminal of another width", who: Who::Builder, mib: LITTLE,
        holds: "its messages would be broken elsewhere: compiled instead",
        noticed: Noticed::Not("it may be true, for somebody else's terminal"),
        play: of_another_width,
    },
    row!("an entry cut short", Builder, "compiled instead", "corrupt", "", truncated),
    row!("an entry with more behind it", Builder, "compiled instead", "corrupt", "", with_more_behind_it),
    row!("an entry of a schema that is none", Builder, "compiled instead", "corrupt", "unknown schema", another_schema),
    row!("an output's name that climbs out", Builder, "nothing outside the target directory", "corrupt", "not a plain file name", climbing),
    row!("an output's name from the root", Builder, "nothing outside the target directory", "corrupt", "not a plain file name", from_the_root),
    row!("an output's name with a separator and a zero byte", Builder, "nothing outside the target directory", "corrupt", "not a plain file name", with_a_separator),
    row!("an output that the command does not write", Builder, "no file more than the command's", "corrupt", "names other files than", not_of_this_command),
    row!("a setuid mode", Builder, "modes are the caller's umask and one flag", "corrupt", "a flag is neither 0 nor 1", setuid),
    row!("a description of something else", Builder, "compiled instead", "corrupt", "description is not of this action", description_of_something_else),
    row!("a size above every limit", Builder, "nothing is reserved for it", "oversize", "larger than its limit", above_every_limit),
    row!("sizes that lie under a good signature", Builder, "compiled instead", "corrupt", "shorter than its entry says", lying_sizes),
    row!("nine offers where eight are the limit", Builder, "compiled instead", "oversize", "larger than its limit", too_many_offers),
    Row {
        name: "a builder whose clock is in the far future", who: Who::Builder, mib: LITTLE,
        holds: "true entries hit; lists and gc go on",
        noticed: Noticed::Not("times are information, never evidence"),
        play: far_future,
    },
    Row {
        name: "a builder whose clock is in 1970", who: Who::Builder, mib: LITTLE,
        holds: "true entries hit; lists and gc go on",
        noticed: Noticed::Not("times are information, never evidence"),
        play: the_year_1970,
    },
];
