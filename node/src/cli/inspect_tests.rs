//! What a node has and did, as text.

use super::*;
use crate::control::{Bytes, Hits};

#[test]
fn peers_stand_in_a_table() {
    let bob = PeerReport {
        name: "bob".into(),
        peer_id: "12D3".into(),
        connected: true,
        address: "/ip4/10.0.0.7/tcp/4746".into(),
        round_trip_ms: Some(0.25),
        bandwidth: None,
        bytes_in: 2048,
        bytes_out: 0,
        keys: 7,
        ..PeerReport::default()
    };
    assert_eq!(
        peers_text(&[bob]),
        "NAME  NOW        ROUND TRIP  BANDWIDTH       IN  OUT  KEYS  ADDRESS\n\
         bob   connected      0.2 ms          -  2.0 KiB  0 B     7  /ip4/10.0.0.7/tcp/4746"
    );
}

#[test]
fn who_is_left_out_stands_there_with_the_reason() {
    let mallory = PeerReport {
        connected: true,
        offences: 3,
        left_out_s: 119,
        ..PeerReport::default()
    };
    assert_eq!(now(&mallory), "left out for 119 s: 3 refused");
    let slow = PeerReport {
        connected: true,
        left_out_s: 5,
        ..PeerReport::default()
    };
    assert_eq!(now(&slow), "left out for 5 s: silent");
}

#[test]
fn stats_tell_the_share_and_the_reasons() {
    let stats = Stats {
        requests: 12,
        queries: 2,
        queries_answered: 1,
        hits: Hits { local: 1, peer: 5 },
        misses: 2,
        bypasses: 3,
        bypass_reasons: [("link".to_owned(), 2), ("stdin".to_owned(), 1)].into(),
        rejected: [("corrupt".to_owned(), 1), ("revoked".to_owned(), 0)].into(),
        bytes: Bytes {
            stored: 1024,
            fetched: 0,
            served: 0,
        },
        time_saved_ms: 1500,
        strangers: 0,
        ..Stats::default()
    };
    let text = stats_text(&stats);
    assert!(
        text.contains("6 (1 local, 5 from peers): 75 % of what can be cached"),
        "{text}"
    );
    assert!(
        text.contains("1 corrupt") && !text.contains("revoked"),
        "{text}"
    );
    assert!(
        text.ends_with("COUNT  REASON\n    2  link\n    1  stdin"),
        "{text}"
    );
    assert!(stats_text(&Stats::default()).contains("nothing was asked for yet"));
}

#[test]
fn an_entry_shows_its_provenance_and_not_every_file() {
    let entry = EntryReport {
        crate_name: "serde".into(),
        builder: "ab".into(),
        builder_name: Some("alice".into()),
        outputs: vec![("libserde.rlib".into(), "cd".into(), 4096)],
        files: (0..50)
            .map(|n| (format!("src/{n}.rs"), "ef".into()))
            .collect(),
        ..EntryReport::default()
    };
    let text = entry_text(&entry);
    assert!(
        text.contains("alice (ab)") && text.contains("libserde.rlib  4.0 KiB  cd"),
        "{text}"
    );
    assert!(
        text.contains("src/39.rs") && !text.contains("src/40.rs"),
        "{text}"
    );
    assert!(
        text.ends_with("10 more files: --format json lists them all"),
        "{text}"
    );
}

#[test]
fn the_last_lines_of_a_log_are_its_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.log");
    fs::write(&path, "one\ntwo\nthree\n").unwrap();
    let mut file = File::open(&path).unwrap();
    assert_eq!(last_lines(&mut file, 2).unwrap(), ["two", "three"]);
    assert_eq!(file.stream_position().unwrap(), 14);
    assert_eq!(last_lines(&mut file, 0).unwrap(), [""; 0]);
    assert_eq!(last_lines(&mut file, 9).unwrap(), ["one", "two", "three"]);
}
