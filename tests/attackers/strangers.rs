//! Whoever is no member: turned away, counted, and of no consequence.

use super::mallory::{Attack, MARK, Script, address, mallory_and_bob};
use super::wire;
use crate::harness::{SOON, wait_for};
use libp2p::identity::Keypair;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The socket address in a multiaddr `/ip4/A/tcp/P`.
pub fn socket_address(multiaddr: &str) -> SocketAddr {
    let parts: Vec<&str> = multiaddr.split('/').collect();
    format!("{}:{}", parts[2], parts[4]).parse().unwrap()
}

#[test]
fn a_stranger_who_connects_is_turned_away_and_counted() {
    let (mallory, bob) = mallory_and_bob();
    assert_eq!(bob.count("strangers"), 0);
    let eve = Keypair::generate_ed25519();
    let id = eve.public().to_peer_id();
    // She knows everything that a member knows, but her key is in no roster.
    let attack = Attack::begin(&bob, eve, mallory.honestly());
    wait_for("the stranger to be counted", || {
        (bob.count("strangers") > 0).then_some(())
    });
    wait_for("the connection to be closed", || {
        (*attack.closed.borrow() > 0).then_some(())
    });
    let log = bob.log();
    let turned = log.lines().filter(|l| l.contains("turned away"));
    let named = turned.filter(|l| l.contains("not a member")).count();
    assert_eq!(named as u64, bob.count("strangers"), "{id}: {log}");
    assert_eq!(bob.json(&["status"])["peers"], 0);
    mallory.bob_compiles_instead(&bob);
}

#[test]
fn garbage_on_the_main_port_does_nothing() {
    let (mallory, bob) = mallory_and_bob();
    let place = socket_address(&address(&bob));
    let pid = bob.pid();
    let endless: Vec<u8> = MARK.repeat(64 * 1024);
    let handshake = b"\x13/multistream/1.0.0\n".to_vec();
    let request = b"GET / HTTP/1.1\r\nHost: bob\r\n\r\n".to_vec();
    let lying = [&handshake[..], &[0xff; 9], MARK].concat();
    let said = [&endless, &handshake, &request, &lying, &vec![0; 4096]].map(|garbage| {
        let mut stream = TcpStream::connect(place).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        // Bob may hang up in the middle of it.
        let _ = stream.write_all(garbage);
        stream
    });
    for mut stream in said {
        let mut back = Vec::new();
        let ended = stream.read_to_end(&mut back);
        let waits = ended.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!waits, "garbage is not hung up on");
        assert!(
            back.len() < 1024,
            "little is said to garbage: {}",
            back.len()
        );
    }
    mallory.bob_compiles_instead(&bob);
    assert_eq!(bob.pid(), pid, "it is the same node");
    let _attack = mallory.attack(&bob, mallory.honestly());
}

#[test]
fn a_flood_of_refusals_is_counted_and_does_not_fill_the_log() {
    const TIMES: u64 = 200;
    let (mallory, bob) = mallory_and_bob();
    let attack = mallory.attack(&bob, mallory.honestly());
    for _ in 0..TIMES {
        attack.say(wire::ASK, &wire::claimed(1, u32::MAX, MARK), SOON);
    }
    wait_for("all of them to be counted", || {
        (bob.count("rejected.oversize") >= TIMES).then_some(())
    });
    mallory.was_refused(&bob, "oversize", "larger than its limit");
    let log = bob.log();
    let lines = log.lines().filter(|l| l.contains("refused")).count();
    assert!(lines < 50, "{lines} lines:\n{log}");
    assert!(log.contains("is only counted"), "{log}");
}

#[test]
fn a_member_of_another_team_is_a_stranger() {
    // Keys, roster and entries are all in order, elsewhere.
    let (mallory, bob) = mallory_and_bob();
    let (other, _carol) = mallory_and_bob();
    let attack = Attack::begin(&bob, other.identity(), Script::default());
    wait_for("the other team's member to be counted", || {
        (bob.count("strangers") > 0).then_some(())
    });
    drop(attack);
    mallory.bob_compiles_instead(&bob);
}
