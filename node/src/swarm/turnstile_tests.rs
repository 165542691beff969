//! Who gives way at the turnstile, and who does not.

use super::*;
use futures::AsyncReadExt;
use futures::io::Cursor;
use libp2p::core::Endpoint;

fn from(ip: &str, port: usize) -> ConnectedPoint {
    let family = if ip.contains(':') { "ip6" } else { "ip4" };
    ConnectedPoint::Listener {
        local_addr: "/ip4/10.0.0.1/tcp/1".parse().expect("an address"),
        send_back_addr: format!("/{family}/{ip}/tcp/{port}")
            .parse()
            .expect("an address"),
    }
}

fn enter(turnstile: &Turnstile, point: &ConnectedPoint) -> Seated<Cursor<Vec<u8>>> {
    turnstile.enter(Cursor::new(vec![7; 8]), point)
}

fn stays(seated: &mut Seated<Cursor<Vec<u8>>>) -> bool {
    futures::executor::block_on(seated.read(&mut [0])).is_ok()
}

#[test]
fn a_flood_from_one_machine_pushes_itself_out_and_nobody_else() {
    let turnstile = Turnstile::default();
    let mut teammate = enter(&turnstile, &from("10.0.0.2", 1));
    let flood = (1..=3 * SEATS).map(|port| enter(&turnstile, &from("10.0.0.66", port)));
    let mut flood: Vec<_> = flood.collect();
    assert!(
        stays(&mut teammate),
        "the oldest of all, and of the machine that holds least"
    );
    assert!(!stays(&mut flood[0]));
    let last = flood.last_mut().expect("a flood");
    assert!(stays(last));
    let staying = flood
        .iter_mut()
        .filter_map(|f| stays(f).then_some(()))
        .count();
    assert_eq!(staying, SEATS - 1);
}

#[test]
fn addresses_of_one_ipv6_network_are_one_machine() {
    let turnstile = Turnstile::default();
    let mut teammate = enter(&turnstile, &from("fd00:1::2", 1));
    let flood = (1..=2 * SEATS).map(|n| enter(&turnstile, &from(&format!("fd00:66::{n:x}"), n)));
    let mut flood: Vec<_> = flood.collect();
    assert!(stays(&mut teammate));
    assert!(!stays(&mut flood[0]));
}

#[test]
fn who_is_through_never_gives_way() {
    let turnstile = Turnstile::default();
    let point = from("10.0.0.66", 1);
    let mut through = enter(&turnstile, &point);
    turnstile.through(&point);
    let flood = (2..=2 * SEATS).map(|port| enter(&turnstile, &from("10.0.0.66", port)));
    let _flood: Vec<_> = flood.collect();
    assert!(stays(&mut through));
}

#[test]
fn a_dial_of_our_own_takes_no_seat() {
    let dialed = ConnectedPoint::Dialer {
        address: "/ip4/10.0.0.2/tcp/1".parse().expect("an address"),
        role_override: Endpoint::Dialer,
        port_use: libp2p::core::transport::PortUse::New,
    };
    assert!(enter(&Turnstile::default(), &dialed).seat.is_none());
}
