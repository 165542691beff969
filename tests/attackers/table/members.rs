//! Rows: what members say of the membership, what they announce, and members that are bad now and
//! then, or were thrown out. The last rows change the team for good.
//!
//! Enters: the stage. Leaves: an attack under way. Must never happen here: a roster that the node
//! made for the attacker.

use super::stage::{Foe, Stage, now};
use super::{Noticed, Played, Row, Who, foundry};
use crate::attackers::mallory::{Attack, MARK, Script};
use crate::attackers::wire;
use crate::harness::wait_for;
use libp2p::identity::Keypair;
use quarry_node::team::Team;
use quarry_trust::canon::{Canonical, Reader};
use quarry_trust::roster::Op;
use quarry_trust::{BuilderKey, Member, PeerId, Role, Roster};
use quarry_wrapper::home::Home;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// What a row may cost in memory.
const LITTLE: u64 = 24;
/// How long what was said is given to be heard, where nothing comes back.
const SHORTLY: Duration = Duration::from_secs(2);
/// Builds within which a member that serves garbage one time in a hundred must have done so.
const BUILDS: usize = 60;

/// A member whose roster is this.
fn rosters(stage: &Stage, roster: Vec<u8>) -> Played {
    let foe = stage.foe();
    let script = Script {
        roster: wire::roster(&roster),
        ..foe.honestly(stage)
    };
    let attack = foe.begin(stage, script);
    wait_for("a connection", || *attack.bob.borrow());
    // And unasked, too.
    attack.say(wire::ASK, &wire::roster(&roster), SHORTLY);
    Played::by(&foe, attack)
}

fn no_roster(stage: &Stage) -> Played {
    rosters(stage, MARK.repeat(100))
}

fn bent_roster(stage: &Stage) -> Played {
    let mut roster = stage.exchange.clone();
    let middle = roster.len() / 2;
    roster[middle] ^= 1;
    rosters(stage, roster)
}

fn roster_of_another_team(stage: &Stage) -> Played {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let team = Team::load(&Home::at(dir.path().to_owned()).unwrap()).unwrap();
    team.found("desk", "alice").unwrap();
    rosters(stage, team.exchange(None).unwrap())
}

fn old_roster(stage: &Stage) -> Played {
    let before = stage.bob.json(&["members"]);
    let foe = stage.foe();
    let script = Script {
        roster: wire::roster(&stage.first_exchange),
        ..foe.honestly(stage)
    };
    let attack = foe.attack(stage, script);
    attack.say(wire::ASK, &wire::roster(&stage.first_exchange), SHORTLY);
    let count = |members: &Value| members.as_array().unwrap().len();
    assert_eq!(count(&stage.bob.json(&["members"])), count(&before));
    Played::by(&foe, attack).believed()
}

/// How many keys Bob thinks the member has.
fn keys(stage: &Stage, name: &str) -> u64 {
    let peers = stage.bob.json(&["peers"]);
    let mut peers = peers.as_array().unwrap().iter();
    let peer = peers.find(|p| p["name"] == name);
    peer.and_then(|p| p["keys"].as_u64()).unwrap_or(0)
}

/// A member that gossips this, after which Bob is asked something, so that it was heard.
fn gossips(stage: &Stage, foe: &Foe, script: Script, said: &[Vec<u8>]) -> Attack {
    let attack = foe.attack(stage, script);
    let mut stream = attack.hold(wire::GOSSIP, &foundry::subscribe(), 1);
    let mut stream = stream.pop().expect("gossip is spoken");
    attack.pour(&mut stream, said.iter().cloned());
    attack.say(wire::ASK, &wire::frame(2, &[]), SHORTLY);
    drop(stream);
    attack
}

fn plain(stage: &Stage) -> Script {
    Script {
        roster: wire::roster(&stage.exchange),
        ..Script::default()
    }
}

/// Gossip under a bent signature, and in a teammate's name; then some that is in order, which
/// shows that the others could have been heard.
fn bent_gossip(stage: &Stage) -> Played {
    let (foe, other) = (stage.foe(), Keypair::generate_ed25519());
    let teammate = stage.foe();
    let batch = |sequence| foundry::batch(7, sequence, &[sequence]);
    let said = [
        foundry::gossip(&foe.pair, &other, 1, &batch(1)),
        foundry::gossip(&teammate.pair, &foe.pair, 2, &batch(2)),
        foundry::gossip(&other, &other, 3, &batch(3)),
        foundry::gossip(&foe.pair, &foe.pair, 4, &batch(4)),
    ];
    let attack = gossips(stage, &foe, plain(stage), &said);
    wait_for("what is in order to be heard", || {
        (keys(stage, &foe.name) > 0).then_some(())
    });
    assert_eq!(
        keys(stage, &foe.name),
        1,
        "one key, by the one good message"
    );
    assert_eq!(keys(stage, &teammate.name), 0);
    Played::by(&foe, attack)
}

fn garbage_gossip(stage: &Stage) -> Played {
    let foe = stage.foe();
    let said = [foundry::gossip(&foe.pair, &foe.pair, 1, MARK)];
    let attack = gossips(stage, &foe, plain(stage), &said);
    Played::by(&foe, attack)
}

/// Its filter is of the newest run there can be: what it announced in older ones is past.
fn old_announcement(stage: &Stage) -> Played {
    let foe = stage.foe();
    let script = foe.honestly(stage);
    let said = [(5, 1), (5, 900), (0, u64::MAX)].map(|(generation, sequence)| {
        let batch = foundry::batch(generation, sequence, &[1, 2, 3]);
        foundry::gossip(&foe.pair, &foe.pair, sequence ^ generation, &batch)
    });
    let attack = gossips(stage, &foe, script, &said);
    assert_eq!(keys(stage, &foe.name), 4, "those of the filter");
    Played::by(&foe, attack).believed()
}

/// Serves what it should, but for every hundredth object.
fn now_and_then(stage: &Stage) -> Played {
    let foe = stage.foe();
    let script = Script {
        spoiled: Some(Arc::new(AtomicUsize::new(1))),
        ..foe.honestly(stage)
    };
    let attack = foe.attack(stage, script);
    let before = stage.bob.count("rejected.corrupt");
    let mut builds = 0;
    while stage.bob.count("rejected.corrupt") == before {
        builds += 1;
        assert!(builds < BUILDS, "nothing was noticed");
        stage.clear();
        let (checkout, said) = stage.build(&format!("again-{builds}"));
        said.succeeded();
        stage.is_right(&checkout);
    }
    assert!(builds > 5, "it served well before: {builds}");
    stage.clear();
    let peers = stage.bob.json(&["peers"]);
    let mut all = peers.as_array().unwrap().iter();
    let peer = all.find(|p| p["name"] == foe.name.as_str()).unwrap();
    assert!(peer["offences"].as_u64() > Some(0), "it is scored: {peer}");
    assert!(
        peer["left_out_s"].as_u64() > Some(0),
        "and left out: {peer}"
    );
    Played::by(&foe, attack)
}

fn revoke(stage: &Stage, foe: &Foe) {
    stage.alice.qnode(&["revoke", &foe.name]).succeeded();
}

fn revoked(stage: &Stage) -> Played {
    let foe = stage.foe();
    let attack = foe.attack(stage, foe.honestly(stage));
    revoke(stage, &foe);
    wait_for("its connection to be closed", || {
        (*attack.closed.borrow() > 0).then_some(())
    });
    // It goes on: dials again, would answer, serve and announce.
    let again: Vec<Attack> = (0..5)
        .map(|_| foe.begin(stage, foe.honestly(stage)))
        .collect();
    Played::by(&foe, attack).holding(again)
}

fn entries_of_the_revoked(stage: &Stage) -> Played {
    let (gone, foe) = (stage.foe(), stage.foe());
    revoke(stage, &gone);
    wait_for("Bob to know", || {
        let known = stage.bob.json(&["members"]);
        let mut members = known.as_array()?.iter();
        let member = members.find(|m| m["name"] == gone.name.as_str());
        member
            .is_none_or(|m| m["standing"] == "revoked")
            .then_some(())
    });
    let script = foe.offering(stage, |honest| {
        let entry = gone.own(&honest.entry);
        (honest.prediction.clone(), gone.sign(entry.to_canon()))
    });
    let attack = foe.attack(stage, script);
    Played::by(&foe, attack)
}

/// An admin that was thrown out, or will be, signs a branch of its own on which a friend joins.
fn fork(stage: &Stage) -> Played {
    let (admin, victim) = (stage.admin(), stage.foe());
    // Alice's branch goes on, from the same link.
    revoke(stage, &victim);
    let wire_of = |exchange: &[u8]| {
        Reader::new(exchange)
            .bytes(exchange.len())
            .unwrap()
            .to_vec()
    };
    let mut roster = Roster::from_wire(&wire_of(&stage.exchange), None).unwrap();
    let friend = Keypair::generate_ed25519();
    let peer = PeerId(friend.public().try_into_ed25519().unwrap().to_bytes());
    let member = Member {
        name: "friend".to_owned(),
        role: Role::Admin,
        peer,
        builder: BuilderKey::generate().unwrap().id(),
        joined: now(),
    };
    roster.propose(Op::Add(member), &admin.key, now()).unwrap();
    let wire = roster.to_wire();
    let length = u32::try_from(wire.len()).unwrap().to_le_bytes();
    // No words of members, no secrets.
    let exchange = [&length[..], &wire, &[0; 8]].concat();
    let script = Script {
        roster: crate::attackers::wire::roster(&exchange),
        ..Script::default()
    };
    let attack = admin.begin(stage, script);
    wait_for("the branch to be taken", || {
        stage.bob.log().contains("has forked").then_some(())
    });
    let before = stage.bob.count("strangers");
    let friend = Attack::begin(&stage.bob, friend, plain(stage));
    wait_for("the friend to be turned away", || {
        (stage.bob.count("strangers") > before).then_some(())
    });
    Played::by(&admin, attack).holding(friend)
}

macro_rules! row {
    ($name:literal, $who:ident, $holds:literal, $noticed:expr, $play:ident) => {
        Row {
            name: $name,
            who: Who::$who,
            holds: $holds,
            mib: LITTLE,
            noticed: $noticed,
            play: $play,
        }
    };
}

/// See the module.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row!("a roster that is none", Builder, "neither asked nor answered", Noticed::Refused("roster", ""), no_roster),
    row!("a roster with one bit flipped", Builder, "neither asked nor answered", Noticed::Refused("roster", ""), bent_roster),
    row!("a roster of another team of the same name", Builder, "neither asked nor answered", Noticed::Refused("roster", ""), roster_of_another_team),
    row!("an old roster", Builder, "nothing that was learnt is unlearnt", Noticed::Not("who was away has an old one"), old_roster),
    row!("gossip with bad signatures, and in others' names", Builder, "not heard; the next good message is", Noticed::Not("libp2p drops it before it reaches us"), bent_gossip),
    row!("gossip that is no announcement", Builder, "refused, and not passed on", Noticed::Refused("corrupt", "an unknown form of announcement"), garbage_gossip),
    row!("old announcements, replayed", Builder, "ignored", Noticed::Not("gossip may arrive late"), old_announcement),
    row!("garbage one time in a hundred", Builder, "scored, and left out", Noticed::Refused("corrupt", "not what its digest says"), now_and_then),
    row!("a revoked member that goes on", Revoked, "cut off, and a stranger from then on", Noticed::Counted("strangers"), revoked),
    row!("a revoked member's entries, by another member", Builder, "compiled instead", Noticed::Refused("revoked", ""), entries_of_the_revoked),
    row!("a fork of the roster by a bad admin", Admin, "its additions do not hold, and it is shown", Noticed::Logged("has forked"), fork),
];
