//! What happens to a ticket between two people.

use super::*;
use proptest::prelude::*;

fn ticket() -> Ticket {
    Ticket {
        team_name: "desk".to_owned(),
        team: TeamId(Digest::of(b"desk")),
        root: BuilderId([1; 32]),
        issuer: PeerId([2; 32]),
        addresses: vec![
            "/ip4/192.168.7.20/tcp/4747".to_owned(),
            "/ip6/fe80::1/tcp/4747".to_owned(),
        ],
        secret: Zeroizing::new([0xa5; SECRET_LEN]),
        expires: 1_000,
        role: Role::Builder,
    }
}

/// A ticket of other canonical bytes, with a checksum that holds.
fn sealed(canonical: &[u8]) -> String {
    let mut bytes = canonical.to_vec();
    bytes.extend_from_slice(&checksum(canonical));
    format!(
        "{TICKET_PREFIX}{}",
        data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase()
    )
}

#[test]
fn a_ticket_is_copied_and_read() {
    let text = ticket().encode().unwrap();
    assert!(text.starts_with("quarry1"), "{text}");
    assert!(Ticket::looks_like(&text));
    assert_eq!(Ticket::parse(&text), Ok(ticket()));
}

#[test]
fn a_chat_wraps_the_line_and_a_person_shouts() {
    let text = ticket().encode().unwrap().to_uppercase();
    let (head, tail) = text.split_at(60);
    assert_eq!(
        Ticket::parse(&format!("  {head}\r\n   {tail}\n")),
        Ok(ticket())
    );
}

#[test]
fn every_ticket_that_is_cut_short_says_so() {
    let text = ticket().encode().unwrap();
    for end in TICKET_PREFIX.len()..text.len() {
        assert_eq!(
            Ticket::parse(&text[..end]),
            Err(TicketError::Damaged),
            "cut at {end}"
        );
    }
    assert_eq!(Ticket::parse(""), Err(TicketError::Damaged));
    assert_eq!(Ticket::parse("quarry"), Err(TicketError::Damaged));
}

#[test]
fn another_version_is_told_from_a_typing_error() {
    let text = ticket().encode().unwrap();
    let later = text.replacen("quarry1", "quarry2", 1);
    assert_eq!(Ticket::parse(&later), Err(TicketError::Version));
    assert!(Ticket::looks_like(&later));
    // The text's version stays, the canonical bytes' moves on.
    let mut canonical = ticket().to_canon();
    canonical[0] = 2;
    assert_eq!(
        Ticket::parse(&sealed(&canonical)),
        Err(TicketError::Version)
    );
    assert_eq!(
        Ticket::parse(&text.replacen("quarry1", "quarri1", 1)),
        Err(TicketError::Damaged)
    );
}

#[test]
fn a_ticket_expires_at_its_second() {
    assert!(!ticket().is_expired(999));
    assert!(ticket().is_expired(1_000));
}

#[test]
fn a_debug_line_keeps_the_secret() {
    let line = format!("{:?}", ticket());
    assert!(
        line.contains("desk") && !line.contains("165") && !line.contains("a5a5"),
        "{line}"
    );
    assert!(!line.contains("secret"), "{line}");
}

#[test]
fn the_issuer_keeps_a_digest_that_only_the_secret_gives() {
    let mut other = ticket();
    other.secret[31] ^= 1;
    assert_ne!(ticket().secret_digest(), other.secret_digest());
    assert_ne!(
        ticket().secret_digest(),
        Digest::of(ticket().secret.as_ref())
    );
}

#[test]
fn what_does_not_fit_is_not_written() {
    let mut many = ticket();
    many.addresses = vec!["/ip4/10.0.0.1/tcp/1".to_owned(); MAX_ADDRESSES + 1];
    assert!(matches!(many.encode(), Err(TicketError::Form(_))));
    let mut long = ticket();
    long.addresses = vec![format!("/dns4/{}/tcp/1", "a".repeat(240)); MAX_ADDRESSES];
    assert!(matches!(long.encode(), Err(TicketError::Form(_))));
    let mut odd = ticket();
    odd.addresses = vec!["/ip4/10.0.0.1/tcp/1\u{1b}[2J".to_owned()];
    assert!(matches!(odd.encode(), Err(TicketError::Form(_))));
    let mut named = ticket();
    named.team_name = "desk\u{202e}".to_owned();
    assert!(matches!(named.encode(), Err(TicketError::Form(_))));
}

#[test]
fn a_forged_ticket_cannot_pass_what_could_not_be_written() {
    let mut canonical = ticket().to_canon();
    canonical.push(0);
    assert_eq!(
        Ticket::parse(&sealed(&canonical)),
        Err(TicketError::Damaged)
    );
    let mut named = ticket();
    named.team_name = "de\u{7}sk".to_owned();
    assert_eq!(
        Ticket::parse(&sealed(&named.to_canon())),
        Err(TicketError::Damaged)
    );
    let mut many = ticket();
    many.addresses = vec!["/ip4/10.0.0.1/tcp/1".to_owned(); MAX_ADDRESSES + 1];
    assert_eq!(
        Ticket::parse(&sealed(&many.to_canon())),
        Err(TicketError::Damaged)
    );
}

#[test]
fn an_endless_text_is_refused_unread() {
    let endless = format!("quarry1{}", "a".repeat(10 << 20));
    assert_eq!(Ticket::parse(&endless), Err(TicketError::Damaged));
    let airy = " ".repeat(10 << 20);
    assert_eq!(Ticket::parse(&airy), Err(TicketError::Damaged));
}

#[test]
fn addresses_do_not_look_like_tickets() {
    for address in [
        "alice.lan",
        "quarry",
        "quarry1.lan:4747",
        "/ip4/127.0.0.1/tcp/1",
        "[::1]:2",
    ] {
        assert!(!Ticket::looks_like(address), "{address}");
    }
}

prop_compose! {
    fn any_ticket()(
        team_name in "[a-z0-9äö -]{1,30}",
        team: [u8; 32],
        root: [u8; 32],
        issuer: [u8; 32],
        hosts in prop::collection::vec((any::<[u8; 4]>(), any::<u16>()), 0..=MAX_ADDRESSES),
        secret: [u8; 32],
        expires: u64,
        role in prop::sample::select(vec![Role::Admin, Role::Builder, Role::Reader]),
    ) -> Ticket {
        let addresses = hosts
            .iter()
            .map(|([a, b, c, d], port)| format!("/ip4/{a}.{b}.{c}.{d}/tcp/{port}"))
            .collect();
        Ticket {
            team_name,
            team: TeamId(Digest::from_bytes(team)),
            root: BuilderId(root),
            issuer: PeerId(issuer),
            addresses,
            secret: Zeroizing::new(secret),
            expires,
            role,
        }
    }
}

proptest! {
    #[test]
    fn every_ticket_survives_its_text(ticket in any_ticket()) {
        let text = ticket.encode().unwrap();
        prop_assert!(text.len() <= MAX_TICKET_TEXT);
        prop_assert_eq!(Ticket::parse(&text), Ok(ticket));
    }

    #[test]
    fn one_wrong_letter_is_noticed(
        ticket in any_ticket(),
        at in any::<prop::sample::Index>(),
        letter in prop::sample::select("abcdefghijklmnopqrstuvwxyz234567".chars().collect::<Vec<_>>()),
    ) {
        let mut text: Vec<char> = ticket.encode().unwrap().chars().collect();
        let at = TICKET_PREFIX.len() + at.index(text.len() - TICKET_PREFIX.len());
        prop_assume!(text[at] != letter);
        text[at] = letter;
        let typed: String = text.into_iter().collect();
        prop_assert_eq!(Ticket::parse(&typed), Err(TicketError::Damaged));
    }

    #[test]
    fn no_text_makes_it_fall_over(text in "(quarry1)?[ -~]{0,200}") {
        prop_assert!(Ticket::parse(&text).is_err());
    }
}
