//! Rows: strangers at Alice's door, which she opens with an invitation.
//!
//! Enters: the stage. Leaves: what is held open. Must never happen here: a stranger that is let in.

use super::stage::{Stage, now};
use super::{Noticed, Played, Row, Who, low, times};
use crate::attackers::mallory::{Attack, MARK, Script};
use crate::harness::{Dev, Said, team, wait_for};
use libp2p::identity::Keypair;
use quarry_node::ticket::Ticket;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// What a row may cost in memory.
const LITTLE: u64 = 24;
/// The door's protocol.
const DOOR: &str = "/quarry/door/1";
/// How long the door may take to hang up.
const AT_ONCE: Duration = Duration::from_secs(5);

fn invited(stage: &Stage) -> Ticket {
    let said = stage.alice.qnode(&["invite"]).succeeded();
    Ticket::parse(said.out.trim()).unwrap()
}

fn joining(dev: &Dev, ticket: &str, name: &str) -> Said {
    dev.qnode(&["join", ticket, "--name", name])
}

/// Tries a ticket, which must not let anybody in.
fn refused(stage: &Stage, ticket: &str, why: &str) {
    let eve = Dev::new("eve");
    let members = stage.alice.json(&["members"]);
    let said = joining(&eve, ticket, "eve");
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.err.contains(why), "{}", said.err);
    let after = stage.alice.json(&["members"]);
    assert_eq!(
        members.as_array().unwrap().len(),
        after.as_array().unwrap().len(),
        "nobody was let in"
    );
}

fn guessed(stage: &Stage) -> Played {
    let mut ticket = invited(stage);
    ticket.secret[0] ^= 1;
    refused(stage, &ticket.encode().unwrap(), "knows no such invitation");
    Played::default()
}

fn replayed(stage: &Stage) -> Played {
    let ticket = invited(stage).encode().unwrap();
    let carol = Dev::new("carol");
    joining(&carol, &ticket, &format!("carol-{}", now())).succeeded();
    carol.qnode(&["leave"]);
    refused(stage, &ticket, "used already");
    Played::default()
}

fn expired(stage: &Stage) -> Played {
    let mut ticket = invited(stage);
    ticket.expires = now() - 1;
    refused(stage, &ticket.encode().unwrap(), "expired");
    Played::default()
}

fn for_another_team(stage: &Stage) -> Played {
    // Good where it was issued; redeemed at Alice's door, whose identity stands in it instead.
    let others = team(&["dora"]);
    let said = others[0].qnode(&["invite"]).succeeded();
    let mut ticket = Ticket::parse(said.out.trim()).unwrap();
    let ours = invited(stage);
    ticket.issuer = ours.issuer;
    ticket.addresses = ours.addresses;
    refused(stage, &ticket.encode().unwrap(), "knows no such invitation");
    Played::default()
}

fn mistyped(stage: &Stage) -> Played {
    let mut text = invited(stage).encode().unwrap();
    text.truncate(text.len() - 3);
    refused(stage, &text, "cut short or mistyped");
    Played::default()
}

fn place(ticket: &Ticket) -> std::net::SocketAddr {
    crate::attackers::strangers::socket_address(&ticket.addresses[0])
}

fn slow(stage: &Stage) -> Played {
    let place = place(&invited(stage));
    let open = |_| {
        let mut stream = low::from_elsewhere(place, 3);
        let _ = stream.write_all(b"\x13/multistream/1.0.0\n\x07/noi");
        stream
    };
    let held: Vec<TcpStream> = (0..64).map(open).collect();
    Played::default().holding(held)
}

fn flood(stage: &Stage) -> Played {
    let place = place(&invited(stage));
    for _ in 0..times(400, 10_000) {
        drop(low::from_elsewhere(place, 4));
    }
    Played::default().then(|stage| {
        let log = stage.alice.log();
        let lines = log.lines().filter(|l| l.contains("at the door")).count();
        assert!(lines < 120, "{lines} lines of a flood");
    })
}

fn frames(stage: &Stage) -> Played {
    let ticket = invited(stage);
    let mut played = Played::default();
    let oversize = u32::MAX.to_le_bytes().to_vec();
    let garbage = [&16_u32.to_le_bytes()[..], MARK].concat();
    for words in [oversize, garbage] {
        let address = ticket.addresses[0].clone();
        let attack = Attack::at(address, Keypair::generate_ed25519(), Script::default());
        wait_for("a connection", || *attack.bob.borrow());
        let back = attack.say(DOOR, &words, AT_ONCE);
        assert!(back.is_empty(), "nothing is said to it: {back:?}");
        played = played.holding(attack);
    }
    played
}

macro_rules! row {
    ($name:literal, $holds:literal, $noticed:expr, $play:ident) => {
        Row {
            name: $name,
            who: Who::Stranger,
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
    row!("door: a ticket that is guessed", "nobody is let in", Noticed::Told, guessed),
    row!("door: a ticket that was used", "nobody is let in, and who tries is told to tell the team", Noticed::Told, replayed),
    row!("door: a ticket that has expired", "nobody is let in", Noticed::Told, expired),
    row!("door: a ticket of another team", "nobody is let in", Noticed::Told, for_another_team),
    row!("door: a ticket cut short", "nobody is let in", Noticed::Told, mistyped),
    row!("door: frames that claim 4 GiB, and garbage", "hung up on", Noticed::Counted("rejected.door"), frames),
    row!("door: slow, half a word before noise", "the team goes on; joining may have to wait", Noticed::Not("sixteen at once, for a minute at most"), slow),
    row!("door: a flood of connections", "the log does not grow with it", Noticed::Counted("rejected.door"), flood),
];
