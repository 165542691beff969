//! Rosters as any bytes, and as a good roster's bytes with some of them changed.
//!
//! Enters: bytes. Leaves: a panic where one is read that would be written otherwise, or where a
//! refused one leaves a trace. Must never happen here: a signature made for the fuzzer's bytes.

use super::roster::{NOW, key, member, team};
use super::{Feed, Probe, bounds};
use crate::departure::{self, Departure};
use quarry_trust::canon::Canonical;
use quarry_trust::roster::{Change, Charter, FreshMark, Op, Project};
use quarry_trust::{Digest, Role, Roster};

/// A roster with a bit of everything: changes, a fork, its merge, two marks.
pub(super) fn rich() -> Roster {
    let (mut left, mut right) = (team(), team());
    let add = |who| Op::Add(member(who, who, Role::Builder));
    let told = "an admin's word";
    left.propose(add(5), key(2), NOW).expect(told);
    right.propose(add(6), key(3), NOW).expect(told);
    left.merge(&right.to_wire()).expect(told);
    left.merge_fork(key(4), NOW).expect(told);
    left.propose(Op::Revoke(key(5).id()), key(2), NOW)
        .expect(told);
    // The verifier's own key, 9, sees the one and not the other.
    let add = Op::Add(member(9, 9, Role::Builder));
    left.propose(add, key(2), NOW).expect(told);
    for (name, who) in [("open", [2, 9]), ("closed", [2, 3])] {
        let project = Project {
            members: who.map(|who| key(who).id()).into(),
            secret: Some(Digest::of(name.as_bytes())),
            stale: false,
        };
        let op = Op::Project(name.to_owned(), project);
        left.propose(op, key(2), NOW).expect(told);
    }
    left.mark_fresh(key(2), NOW + 1).expect(told);
    left.mark_fresh(key(3), NOW + 2).expect(told);
    left
}

/// Whole rosters, and edits of one.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let whole = |roster: Roster| [vec![0], roster.to_wire()].concat();
    let word = departure::leave(&rich(), key(6), NOW).expect("a member leaves");
    let word = [vec![2], word.to_canon()].concat();
    vec![
        whole(team()),
        whole(rich()),
        vec![1, 9, 0, 1, 40, 1, 0xff],
        word,
    ]
}

/// The first byte says how the rest is meant.
pub(super) fn bytes(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.pick(3) {
        0 => wire(probe, feed.rest()),
        1 => wire(probe, &edited(&mut feed)),
        _ => statements(probe, feed.rest()),
    }
}

fn wire(probe: &Probe, bytes: &[u8]) {
    let read = probe.decode(bytes.len(), || Roster::from_wire(bytes, None));
    if let Ok(roster) = &read {
        assert_eq!(roster.to_wire(), bytes, "two forms of one roster");
    }
    let (mut ours, before) = (rich(), rich().to_wire());
    let len = bytes.len() + before.len();
    let merged = probe.within(bounds::roster, len, || ours.merge(bytes));
    if merged.is_err() {
        assert_eq!(ours.to_wire(), before, "refused, yet changed");
    } else {
        assert!(read.is_ok(), "merged, yet not to be read");
    }
}

/// A good roster's bytes, some of them changed, put in or taken out.
fn edited(feed: &mut Feed<'_>) -> Vec<u8> {
    let mut bytes = rich().to_wire();
    while !feed.is_over() && !bytes.is_empty() {
        let at = usize::from(feed.short()) % bytes.len();
        match feed.pick(4) {
            0 => bytes[at] ^= feed.byte(),
            1 => bytes.insert(at, feed.byte()),
            2 => {
                let until = (at + feed.pick(200)).min(bytes.len());
                bytes.drain(at..until);
            }
            _ => {
                let until = (at + feed.pick(255)).min(bytes.len());
                let copy = bytes[at..until].to_vec();
                let to = usize::from(feed.short()) % bytes.len();
                bytes.splice(to..to, copy);
            }
        }
    }
    bytes
}

fn statements(probe: &Probe, bytes: &[u8]) {
    fn one<T: Canonical>(probe: &Probe, bytes: &[u8]) {
        if let Ok(value) = probe.decode(bytes.len(), || T::from_canon(bytes)) {
            assert_eq!(value.to_canon(), bytes, "two forms of one statement");
        }
    }
    one::<Charter>(probe, bytes);
    one::<Change>(probe, bytes);
    one::<FreshMark>(probe, bytes);
    one::<Departure>(probe, bytes);
}
