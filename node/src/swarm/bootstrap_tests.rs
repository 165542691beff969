//! Who is dialed when: at once for news, rarer with each failure, never who is connected.

use super::*;

const ALICE: PeerId = PeerId([1; 32]);

fn address(text: &str) -> Multiaddr {
    text.parse().expect("a multiaddr")
}

fn members() -> HashSet<PeerId> {
    HashSet::from([ALICE])
}

#[test]
fn a_new_address_is_dialed_at_once_and_only_for_members() {
    let now = Instant::now();
    let mut book = Book::default();
    book.learn(ALICE, [address("/ip4/10.0.0.1/tcp/7")], now);
    assert!(book.due(&HashSet::new(), now).is_empty());
    assert_eq!(
        book.due(&members(), now),
        [(ALICE, vec![address("/ip4/10.0.0.1/tcp/7")])]
    );
    assert!(book.due(&members(), now).is_empty(), "one dial at a time");
}

#[test]
fn failures_make_dials_rarer_but_never_stop_them() {
    let mut now = Instant::now();
    let mut book = Book::default();
    book.learn(ALICE, [address("/ip4/10.0.0.1/tcp/7")], now);
    for _ in 0..20 {
        assert_eq!(book.due(&members(), now).len(), 1);
        book.failed(&ALICE, now);
        assert!(book.due(&members(), now + FIRST_WAIT / 2).is_empty());
        now += LONGEST_WAIT + Duration::from_secs(1);
    }
    book.failed(&ALICE, now);
    book.learn(ALICE, [address("/ip4/10.0.0.2/tcp/7")], now);
    assert_eq!(book.due(&members(), now).len(), 1, "a new address is news");
}

#[test]
fn the_address_that_worked_comes_first_after_a_loss() {
    let now = Instant::now();
    let mut book = Book::default();
    book.learn(
        ALICE,
        [
            address("/ip4/10.0.0.1/tcp/7"),
            address("/ip4/10.0.0.2/tcp/7"),
        ],
        now,
    );
    book.connected(ALICE, Some(&address("/ip4/10.0.0.1/tcp/7")), now);
    assert!(book.due(&members(), now).is_empty());
    book.settled(&ALICE);
    book.disconnected(&ALICE, now);
    let due = book.due(&members(), now + Duration::from_secs(2));
    assert_eq!(due[0].1[0], address("/ip4/10.0.0.1/tcp/7"));
}

#[test]
fn who_turns_us_away_is_not_dialed_in_a_loop() {
    let mut now = Instant::now();
    let mut book = Book::default();
    book.learn(ALICE, [address("/ip4/10.0.0.1/tcp/7")], now);
    for wait in [1, 2, 4, 8] {
        assert_eq!(book.due(&members(), now).len(), 1);
        book.connected(ALICE, Some(&address("/ip4/10.0.0.1/tcp/7")), now);
        book.disconnected(&ALICE, now);
        assert!(
            book.due(&members(), now + Duration::from_secs(wait) / 2)
                .is_empty()
        );
        now += Duration::from_secs(wait + 1);
    }
}

#[test]
fn only_ip_and_tcp_is_dialed() {
    for bad in [
        "/dns4/example.org/tcp/7",
        "/ip4/0.0.0.0/tcp/7",
        "/ip4/224.0.0.1/tcp/7",
        "/ip4/10.0.0.1/udp/7",
        "/ip4/10.0.0.1/tcp/0",
        "/ip4/10.0.0.1",
        "/ip4/10.0.0.1/tcp/7/ws",
    ] {
        assert_eq!(dialable(&address(bad)), None, "{bad}");
    }
    assert_eq!(
        dialable(&address("/ip6/fe80::1/tcp/7")),
        Some(address("/ip6/fe80::1/tcp/7"))
    );
}

#[test]
fn a_flood_of_addresses_is_bounded() {
    let now = Instant::now();
    let mut book = Book::default();
    for port in 1..1000 {
        book.learn(ALICE, [address(&format!("/ip4/10.0.0.1/tcp/{port}"))], now);
    }
    assert_eq!(book.due(&members(), now)[0].1.len(), MAX_ADDRESSES);
}

#[test]
fn a_member_without_an_address_is_lost_until_found() {
    let now = Instant::now();
    let mut book = Book::default();
    let members = members();
    assert_eq!(book.lost(&members), [&ALICE]);
    book.learn(ALICE, [address("/ip4/10.0.0.1/tcp/7")], now);
    assert!(book.lost(&members).is_empty());
    book.failed(&ALICE, now);
    assert_eq!(book.lost(&members), [&ALICE]);
}
