//! What members exchange before anything else: a roster, and departures, merged by a real node.
//!
//! Enters: bytes of a member. Leaves: a panic where a refused exchange changes the team, or a
//! taken one takes something away. Must never happen here: a team but the one in a directory of
//! its own.

use super::roster::{NOW, key, member, team};
use super::roster_bytes::rich;
use super::{Feed, Probe};
use crate::departure;
use crate::team::Team;
use quarry_trust::canon::Writer;
use quarry_trust::roster::Op;
use quarry_trust::{Role, Roster};
use quarry_wrapper::home::Home;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Length of our own roster, which is merged with each that comes; with room for what it learns.
pub(super) const OURS: usize = 16 * 1024;

/// A directory that goes with its holder.
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    /// A new, empty one.
    pub(super) fn new(what: &str) -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("quarry-fuzz-{}-{what}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The node of member `who` in the first team, in a home of its own.
fn node(who: usize) -> (Place, Team) {
    let place = Place::new("team");
    let home = Home::at(place.0.clone()).expect("absolute");
    for path in [home.builder_key(), home.peer_key()] {
        let mut options = fs::File::options();
        let mut file = options.write(true).create(true).mode(0o600).open(path);
        let seed = key(who).seed();
        let file = file.as_mut().expect("a key file");
        std::io::Write::write_all(file, seed.as_ref()).expect("a seed");
    }
    let node = Team::load(&home).expect("a node");
    let mut roster = team();
    if roster.member_by_builder(&key(who).id()).is_none() {
        let add = Op::Add(member(who, who, Role::Builder));
        roster.propose(add, key(2), NOW).expect("an admin adds");
    }
    // Its peer is its own key here.
    let own = Roster::from_wire(&with_peer(&roster, who).to_wire(), None).expect("a roster");
    node.enter(&own.to_wire(), None, [7; 32]).expect("a member");
    (place, node)
}

/// The roster with a member whose peer is the key that its node has.
fn with_peer(roster: &Roster, who: usize) -> Roster {
    let mut roster = roster.clone();
    let told = "an admin's word";
    let retire = Op::Retire(key(who).id());
    roster.propose(retire, key(3), NOW).expect(told);
    let mut again = member(who, who, Role::Builder);
    again.peer = quarry_trust::PeerId(key(who).id().0);
    roster.propose(Op::Add(again), key(3), NOW).expect(told);
    roster
}

fn exchange_of(roster: &Roster, words: &[Vec<u8>]) -> Vec<u8> {
    let mut w = Writer::default();
    w.bytes(&roster.to_wire());
    w.count(words.len());
    words.iter().for_each(|word| w.bytes(word));
    // Secrets of projects: two.
    w.count(2);
    w.fixed(&[8; 32]);
    w.fixed(&[9; 32]);
    w.finish()
}

/// Exchanges with news, with departures, and with a bit of both.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let word = |who: usize| {
        let departure = departure::leave(&rich(), key(who), NOW).expect("a member");
        departure.to_wire()
    };
    vec![
        exchange_of(&team(), &[]),
        exchange_of(&rich(), &[word(6)]),
        exchange_of(&rich(), &[word(3), word(6), word(3)]),
    ]
}

/// A member's exchange, at a node that knows the first three admins.
pub(super) fn exchange(probe: &Probe, data: &[u8]) {
    thread_local! {
        static NODE: (Place, Team) = node(8);
    }
    NODE.with(|(_, node)| {
        let (before, members) = (node.exchange(None), node.roster(standing));
        match probe.decode(data.len(), || node.merge(data)) {
            Err(_) => assert_eq!(before, node.exchange(None), "refused, yet changed"),
            Ok(_) => {
                let (was, is) = (members.unwrap_or_default(), node.roster(standing));
                let is = is.unwrap_or_default();
                assert!(
                    was.iter().all(|r| is.contains(r)),
                    "a revocation is forgotten"
                );
            }
        }
        let again = node.exchange(None).expect("in a team");
        let mut feed = Feed::new(&again);
        assert!(!feed.rest().is_empty());
        node.merge(&again).expect("our own words are taken");
    });
}

/// Who is revoked.
fn standing(roster: &Roster) -> Vec<quarry_trust::BuilderId> {
    let gone = roster.former();
    let revoked = gone.filter(|(_, how)| *how == quarry_trust::roster::Gone::Revoked);
    revoked.map(|(m, _)| m.builder).collect()
}
