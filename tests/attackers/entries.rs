//! A member offers entries that must not be believed.

use super::mallory::{Attack, Honest, MARK, Mallory, Script, bob_hits, mallory_and_bob};
use super::wire;
use crate::harness::wait_for;
use quarry_trust::canon::Canonical;
use quarry_trust::{BuilderKey, Digest, Entry, OutputName, Scope, SignedEntry, TeamId};

/// Bob meets a script; the attack must be refused under its name, and his build not mind.
fn bob_refuses(name: &str, why: &str, script: impl FnOnce(&Mallory) -> Script) {
    let (mallory, bob) = mallory_and_bob();
    let _attack = mallory.attack(&bob, script(&mallory));
    mallory.bob_compiles_instead(&bob);
    mallory.was_refused(&bob, name, why);
}

/// An offer of the honest prediction, with something else in place of the entry.
fn instead(mallory: &Mallory, entry: impl Fn(&Mallory, &Honest) -> SignedEntry) -> Script {
    mallory.offering(|honest| (honest.prediction.clone(), entry(mallory, honest)))
}

/// The same, signed well by Mallory, who is a builder of the team.
fn changed(mallory: &Mallory, change: impl Fn(&mut Entry)) -> Script {
    instead(mallory, |mallory, honest| {
        let mut entry = honest.entry.clone();
        change(&mut entry);
        mallory.sign(entry.to_canon())
    })
}

/// The bytes of an honest entry, with something that no [`Entry`] can hold in place of `from`.
fn patched(honest: &Honest, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "lengths stand before what they count");
    let mut bytes = honest.signed.bytes.clone();
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

/// Without this, every other test here could pass because nothing is ever asked of Mallory.
#[test]
fn mallory_is_believed_while_she_plays_by_the_rules() {
    let (mallory, bob) = mallory_and_bob();
    let _attack = mallory.attack(&bob, mallory.honestly());
    bob_hits(&bob);
}

#[test]
fn an_entry_with_a_wrong_signature() {
    bob_refuses("unsigned", "the signature does not hold", |mallory| {
        instead(mallory, |_, honest| {
            let mut signed = honest.signed.clone();
            signed.signature.0[7] ^= 1;
            signed
        })
    });
}

#[test]
fn an_entry_that_was_changed_after_it_was_signed() {
    bob_refuses("unsigned", "the signature does not hold", |mallory| {
        instead(mallory, |_, honest| {
            let mut entry = honest.entry.clone();
            entry.outputs[0].object.digest = Digest::of(MARK);
            SignedEntry {
                bytes: entry.to_canon(),
                ..honest.signed.clone()
            }
        })
    });
}

#[test]
fn an_entry_by_a_builder_outside_the_roster() {
    let stranger = BuilderKey::generate().unwrap();
    bob_refuses("untrusted", "no builder of the roster", |mallory| {
        instead(mallory, |_, honest| {
            let mut entry = honest.entry.clone();
            entry.builder = stranger.id();
            entry.sign(&stranger)
        })
    });
}

#[test]
fn an_entry_of_another_team() {
    bob_refuses("untrusted", "another team", |mallory| {
        changed(mallory, |entry| {
            entry.scope = Scope::Team(TeamId(Digest::of(MARK)))
        })
    });
}

#[test]
fn a_private_entry_of_somebody_else() {
    bob_refuses("untrusted", "a private entry", |mallory| {
        changed(mallory, |entry| entry.scope = Scope::Private)
    });
}

#[test]
fn an_entry_for_another_key() {
    bob_refuses("misplaced", "another key", |mallory| {
        let other = |honest: &Honest| {
            let differs = |h: &&Honest| h.entry.action != honest.entry.action;
            mallory.honest.iter().find(differs).unwrap().signed.clone()
        };
        instead(mallory, |_, honest| other(honest))
    });
}

#[test]
fn a_path_that_climbs_out() {
    bob_refuses("corrupt", "not a plain file name", |mallory| {
        instead(mallory, |mallory, honest| {
            let name = honest.entry.outputs[0].name.as_str();
            let mut climbs = format!("../../../mallory{name}");
            climbs.truncate(name.len());
            mallory.sign(patched(honest, name.as_bytes(), climbs.as_bytes()))
        })
    });
}

#[test]
fn a_path_from_the_root() {
    bob_refuses("corrupt", "not a plain file name", |mallory| {
        instead(mallory, |mallory, honest| {
            let name = honest.entry.outputs[0].name.as_str();
            let mut absolute = format!("/tmp/mallory{name}");
            absolute.truncate(name.len());
            mallory.sign(patched(honest, name.as_bytes(), absolute.as_bytes()))
        })
    });
}

#[test]
fn a_file_that_the_command_does_not_write() {
    bob_refuses("corrupt", "names other files than", |mallory| {
        changed(mallory, |entry| {
            let name = format!("zmallory-{}", entry.crate_name);
            entry.outputs.last_mut().unwrap().name = OutputName::new(name).unwrap();
        })
    });
}

#[test]
fn a_description_of_something_else() {
    bob_refuses("corrupt", "description is not of this action", |mallory| {
        changed(mallory, |entry| entry.description = entry.outputs[0].object)
    });
}

#[test]
fn a_size_above_every_limit() {
    bob_refuses("oversize", "larger than its limit", |mallory| {
        instead(mallory, |mallory, honest| {
            let object = honest.entry.outputs[0].object;
            let lie = [&object.digest.as_bytes()[..], &u64::MAX.to_le_bytes()].concat();
            mallory.sign(patched(honest, &object.to_canon(), &lie))
        })
    });
}

#[test]
fn an_entry_of_the_past_and_garbage_in_place_of_an_entry() {
    bob_refuses("corrupt", "unknown schema", |mallory| {
        instead(mallory, |mallory, honest| {
            let mut bytes = honest.signed.bytes.clone();
            bytes[0] ^= 0xff;
            mallory.sign(bytes)
        })
    });
}

#[test]
fn predictions_that_name_what_is_none_of_their_business() {
    let (mallory, bob) = mallory_and_bob();
    let script = mallory.offering(|honest| {
        let mut prediction = MARK.to_vec();
        prediction.extend(&honest.prediction);
        (prediction, honest.signed.clone())
    });
    let _attack = mallory.attack(&bob, script);
    mallory.bob_compiles_instead(&bob);
}

#[test]
fn an_endless_frame() {
    bob_refuses("oversize", "larger than its limit", |mallory| {
        let mut script = mallory.honestly();
        for answer in script.answers.values_mut() {
            *answer = wire::claimed(3, u32::MAX, MARK);
        }
        Script {
            flood: true,
            ..script
        }
    });
}

#[test]
fn a_roster_that_is_none() {
    let (mallory, bob) = mallory_and_bob();
    let script = Script {
        roster: wire::roster(&MARK.repeat(100)),
        ..mallory.honestly()
    };
    let _attack = Attack::begin(&bob, mallory.identity(), script);
    wait_for("the roster to be refused", || {
        (bob.count("rejected.roster") > 0).then_some(())
    });
    mallory.bob_compiles_instead(&bob);
    mallory.was_refused(&bob, "roster", "exceeds its limit");
}
