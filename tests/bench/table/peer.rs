//! Bob restores what Alice built, over a network of 1 Gbit/s, and then from his own store.
//!
//! Two hosts in network namespaces on a bridge, each host's way out limited by a token bucket.
//! Alice's objects are first as compiles left them, then settled.

use super::figures;
use super::harness::network::{Network, on_host};
use super::harness::{Dev, qwrap, tell, wait_connected, wait_keys};
use super::options::{Options, Project};
use super::processes::cpu_seconds;
use super::seats::Seat;
use super::tools::Kind;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What TCP carries of 1 Gbit/s, bytes a second.
const GIGABIT: f64 = 117e6;

/// Measures one project; skipped, and said so, where there are no namespaces.
pub fn measure(
    options: &Options,
    (project, profile): (&Project, &str),
    figures: &mut figures::Project,
) {
    let Some(network) = Network::of(&["a", "b"]) else {
        return;
    };
    network.hosts.iter().for_each(|host| limit(host));
    let alice = on_host("alice", &network, 0);
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
    let desk = Seat::new(project, "alices");
    build(&alice, (project, profile), &desk);
    alice.flush();
    for (shape, own, words) in [
        ("peer", "own", "fresh"),
        ("peer settled", "own of settled", "settled"),
    ] {
        if words == "settled" {
            alice.qnode(&["settle"]).succeeded();
        }
        let mut wire = Vec::new();
        let mut cores = Vec::new();
        let mut first = None;
        for round in 0..options.rounds {
            let (took, bytes, cpu) = bob(
                &alice,
                &network,
                (project, profile),
                (shape, own),
                figures,
                &format!("{words}-{round}"),
            );
            wire.push(bytes);
            cores.push(cpu / bytes * GIGABIT);
            first.get_or_insert((took.as_secs_f64(), cpu / bytes * GIGABIT));
            eprintln!("{} {profile} peer {words} round {round} done", project.name);
        }
        let own = figures.median(own, Kind::Quarry).unwrap_or_default();
        let median = |of: &[f64]| figures::spread(of).unwrap_or_default().1;
        let bound = (1.25 * own).max(median(&wire) / GIGABIT + 0.25 * own);
        // For the first of them what has not settled is packed; the others get it as it was sent.
        let (took, core) = first.unwrap_or_default();
        figures.notes.push(format!(
            "from a peer, {words}: {:.0} MB on the wire; the larger of 1.25 of the own store, and \
             the wire and a quarter of it: {bound:.2} s; serving 1 Gbit/s takes {:.2} of a core; \
             the first of them: {took:.2} s, {core:.2} of a core",
            median(&wire) / 1e6,
            median(&cores),
        ));
    }
}

/// A new teammate's build from nothing, and then from what is in the own store. Gives what the first
/// took, the bytes that Alice sent for it, and the processor's seconds that her node took meanwhile.
fn bob(
    alice: &Dev,
    network: &Network,
    built: (&Project, &str),
    (shape, own): (&'static str, &'static str),
    figures: &mut figures::Project,
    name: &str,
) -> (Duration, f64, f64) {
    let bob = on_host("bob", network, 1);
    let ticket = alice.qnode(&["invite"]).succeeded().out;
    bob.qnode(&["join", ticket.trim(), "--name", &format!("bob-{name}")])
        .succeeded();
    wait_connected(&bob, 1);
    wait_keys(&bob, alice);
    wait_idle(bob.pid());
    let seat = Seat::new(built.0, &format!("bobs-own-{name}"));
    let (sent, cpu) = (sent(&network.hosts[0]), cpu_seconds(alice.pid()));
    let took = build(&bob, built, &seat);
    figures.push(shape, Kind::Quarry, took);
    let sent = self::sent(&network.hosts[0]) - sent;
    let cpu = cpu_seconds(alice.pid()) - cpu;
    let hits = bob.count("hits.peer") + bob.count("scripts.hits.peer");
    let misses = bob.count("misses") + bob.count("scripts.misses");
    assert!(hits > 0, "Bob restored something: {}", bob.stats());
    if misses > 0 {
        tell(&bob.qnode(&["why", "--all"]).out);
        tell(&format!("--- log of Bob's node:\n{}", bob.log()));
    }
    seat.clean();
    bob.flush();
    figures.push(own, Kind::Quarry, build(&bob, built, &seat));
    let note = format!("{shape}: {hits} hits, {misses} misses");
    if !figures.notes.contains(&note) {
        figures.notes.push(note);
    }
    // Who stays a member is looked for at this address, which is the next one's.
    bob.qnode(&["leave"]).succeeded();
    (took, sent as f64, cpu)
}

/// Waits until a node has nothing to do: it digests the compiler when it starts, which for its
/// user is in the morning, and not in the second before a build.
fn wait_idle(pid: u32) {
    let mut before = cpu_seconds(pid);
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(200));
        let now = cpu_seconds(pid);
        if now <= before {
            return;
        }
        before = now;
    }
    panic!("a node that nobody uses has been busy for ten seconds");
}

/// Makes a host's way out no faster than 1 Gbit/s.
fn limit(host: &str) {
    let tbf = "qdisc add dev eth0 root tbf rate 1gbit burst 256kb latency 50ms";
    let limited = Command::new("tc")
        .args(["-n", host])
        .args(tbf.split_whitespace())
        .status();
    assert!(limited.unwrap().success(), "tc limits what a host sends");
}

/// Bytes that went out at a host's interface.
fn sent(host: &str) -> u64 {
    let read = Command::new("ip")
        .args(["netns", "exec", host, "cat"])
        .arg("/sys/class/net/eth0/statistics/tx_bytes")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&read.stdout).into_owned();
    text.trim().parse().unwrap()
}

fn build(dev: &Dev, (project, profile): (&Project, &str), seat: &Seat) -> Duration {
    let mut command = dev.command("cargo");
    command
        .args(["build", "--offline", "--profile", profile])
        .args(&project.args)
        .current_dir(&seat.checkout)
        .env("CARGO_HOME", &seat.cargo_home)
        .env("RUSTC_WRAPPER", qwrap())
        .stdin(Stdio::null());
    let began = Instant::now();
    let said = dev.run(&mut command);
    let took = began.elapsed();
    said.succeeded();
    took
}
