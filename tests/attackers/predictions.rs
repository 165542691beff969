//! A member's predictions name what is none of their business, under entries that she signed well.
//!
//! Each lie would be true of Bob's files if he followed it: only where he does not look is the
//! entry not his.

use super::mallory::{Mallory, Script, bob_hits, mallory_and_bob};
use super::wire;
use crate::harness::{Dev, projects};
use quarry_trust::canon::Canonical;
use quarry_trust::{Digest, ObjectRef};
use quarry_wrapper::action::{Description, FileInput};
use std::cell::RefCell;
use std::fs;
use std::process::Command;

/// More files than a peer's prediction may name.
const MANY: usize = 20_001;

/// Mallory's entries, with further inputs that her predictions name.
fn with_inputs(mallory: &Mallory, more: &[(String, &[u8])]) -> Script {
    let described = RefCell::new(Vec::new());
    let mut script = mallory.offering(|honest| {
        let bytes = &mallory.objects[&honest.entry.description.digest];
        let mut description = Description::from_canon(bytes).unwrap();
        let more = more.iter().map(|(name, bytes)| FileInput {
            name: name.clone(),
            digest: Some(Digest::of(bytes)),
        });
        description.files.extend(more);
        description.files.sort();
        let (action, bytes) = description.action();
        let mut entry = honest.entry.clone();
        entry.action = action;
        entry.description = ObjectRef {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        described.borrow_mut().push(bytes);
        let prediction = description.prediction().to_canon();
        (prediction, mallory.sign(entry.to_canon()))
    });
    let described = described.into_inner().into_iter();
    let objects = described.map(|bytes| (Digest::of(&bytes), wire::object(&bytes)));
    script.objects.extend(objects);
    script
}

/// Bob, in whose checkout lie a file, a pipe, and many files.
fn meet() -> (Mallory, Dev) {
    let (mallory, bob) = mallory_and_bob();
    let checkout = bob.path("some/other/checkout");
    projects::write(&checkout, &[("notes.txt", "mine"), ("many/0", "")]);
    for n in 1..MANY {
        let many = checkout.join("many");
        fs::hard_link(many.join("0"), many.join(n.to_string())).unwrap();
    }
    fs::write(bob.path("secret"), "mine").unwrap();
    let made = Command::new("mkfifo").arg(checkout.join("pipe")).status();
    assert!(made.unwrap().success());
    (mallory, bob)
}

/// What a lying prediction names in addition, and as what.
type Names<'a> = dyn Fn(&Dev) -> Vec<(String, &'static [u8])> + 'a;
/// One prediction turned into another.
type Rewrite<'a> = dyn Fn(&[u8]) -> Vec<u8> + 'a;

/// Without this the others could pass because nobody gets so far.
#[test]
fn what_lies_in_the_checkout_may_be_named() {
    let (mallory, bob) = meet();
    let script = with_inputs(&mallory, &[("/quarry/ws/notes.txt".into(), b"mine")]);
    let _attack = mallory.attack(&bob, script);
    bob_hits(&bob);
}

#[test]
fn a_file_outside_a_pipe_and_too_many_files_are_not_looked_at() {
    let outside = |bob: &Dev| vec![(bob.path("secret").display().to_string(), &b"mine"[..])];
    let pipe = |_: &Dev| vec![("/quarry/ws/pipe".to_owned(), &b""[..])];
    let many = |_: &Dev| {
        let names = (0..MANY).map(|n| format!("/quarry/ws/many/{n}"));
        names.map(|name| (name, &b""[..])).collect()
    };
    let lies: [&Names<'_>; 3] = [&outside, &pipe, &many];
    for lie in lies {
        let (mallory, bob) = meet();
        let _attack = mallory.attack(&bob, with_inputs(&mallory, &lie(&bob)));
        mallory.bob_compiles_instead(&bob);
    }
}

#[test]
fn a_prediction_of_another_schema_and_one_that_forgets_a_file_lead_nowhere() {
    let older = |bytes: &[u8]| {
        let mut older = bytes.to_vec();
        // The schema stands first.
        older[0] ^= 1;
        older
    };
    let forgets = |bytes: &[u8]| {
        let mut prediction = quarry_wrapper::action::Prediction::from_canon(bytes).unwrap();
        prediction.files.pop();
        prediction.to_canon()
    };
    let lies: [&Rewrite<'_>; 2] = [&older, &forgets];
    for lie in lies {
        let (mallory, bob) = mallory_and_bob();
        let script = mallory.offering(|honest| (lie(&honest.prediction), honest.signed.clone()));
        let _attack = mallory.attack(&bob, script);
        mallory.bob_compiles_instead(&bob);
    }
}
