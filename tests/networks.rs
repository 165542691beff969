//! Two hosts on one network: real interfaces, mDNS, addresses that change.
//!
//! Hosts are network namespaces joined by a bridge, made here and removed at the end. That takes
//! root and iproute2; where they are missing the tests say loudly that they were skipped.

use crate::harness::network::{Network, ip, on_host};
use crate::harness::{Dev, projects, qnode, wait_for};
use quarry_node::ticket::Ticket;
use std::sync::Mutex;

/// Namespaces have names that the whole machine shares: one network at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn connected(dev: &Dev) -> Option<()> {
    (dev.json(&["status"])["peers"].as_u64()? >= 1).then_some(())
}

#[test]
fn two_hosts_find_each_other_again_after_a_restart_and_a_new_address() {
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(network) = Network::of(&["a", "b"]) else {
        return;
    };
    let (alice, bob) = (on_host("alice", &network, 0), on_host("bob", &network, 1));
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
    let ticket = alice.qnode(&["invite"]).succeeded().out;
    bob.qnode(&["join", ticket.trim(), "--name", "bob"])
        .succeeded();
    wait_for("Bob to connect", || connected(&bob));

    let (here, there) = (alice.path("here"), bob.path("over/there"));
    projects::small(&here);
    projects::small(&there);
    alice.build(&here, &["build"]).succeeded();
    crate::harness::wait_keys(&bob, &alice);
    bob.build(&there, &["build"]).succeeded();
    assert_eq!(bob.count("hits.peer"), 3, "{}", bob.stats());

    bob.qnode(&["restart"]).succeeded();
    wait_for("Bob to find Alice after his restart", || connected(&bob));

    alice.qnode(&["stop"]).succeeded();
    network.renumber(0, "10.77.0.99");
    alice.qnode(&["start"]).succeeded();
    wait_for("Bob to find Alice at her new address", || {
        let peers = bob.json(&["peers"]);
        let alice = peers.as_array()?.first()?.clone();
        let there = alice["address"].as_str()?.contains("10.77.0.99");
        (alice["connected"] == true && there).then_some(())
    });
}

#[test]
fn a_ticket_names_every_address_of_its_host() {
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(network) = Network::of(&["e"]) else {
        return;
    };
    let more = (2..10).all(|at| {
        let host = &network.hosts[0];
        ip(&format!("-n {host} addr add 10.77.{at}.1/24 dev eth0"))
    });
    assert!(more);
    let alice = on_host("alice", &network, 0);
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
    // Interfaces are listed one after another: a ticket made at once must not miss the last.
    for _ in 0..10 {
        let ticket = alice.qnode(&["invite"]).succeeded().out;
        let ticket = Ticket::parse(ticket.trim()).unwrap();
        // Nine on the network, and the loopback, which only this machine reaches, last.
        assert_eq!(ticket.addresses.len(), 10, "{ticket:?}");
        assert!(!ticket.addresses[0].contains("127.0.0.1"), "{ticket:?}");
        alice.qnode(&["restart"]).succeeded();
    }
}

#[test]
fn bob_joins_by_the_bare_host_and_without_a_network_builds_go_on() {
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(network) = Network::of(&["c", "d"]) else {
        return;
    };
    let (alice, bob) = (on_host("alice", &network, 0), on_host("bob", &network, 1));
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
    bob.start();
    // Bob comes first: he keeps knocking until Alice opens.
    let mut join = bob
        .command(qnode())
        .args(["join", "10.77.0.1", "--name", "bob"])
        .spawn()
        .unwrap();
    alice.qnode(&["approve", "bob", "--yes"]).succeeded();
    assert!(join.wait().unwrap().success());
    wait_for("Bob to connect", || connected(&bob));

    let cable = format!("-n {} link set eth0 down", network.hosts[1]);
    assert!(ip(&cable));
    let checkout = bob.path("checkout");
    projects::small(&checkout);
    bob.build(&checkout, &["build"]).succeeded();
    assert_eq!(bob.count("misses"), 3, "{}", bob.stats());
}
