//! Whether there is a node, and what is said of it.

use super::*;
use crate::control::{StoreStatus, TrustRule};

#[test]
fn a_home_is_free_until_a_node_locks_it() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().to_owned()).unwrap();
    assert!(is_free(&home));
    let node = File::create(home.node_lock()).unwrap();
    assert!(is_free(&home));
    rustix::fs::flock(&node, FlockOperation::LockExclusive).unwrap();
    assert!(!is_free(&home));
    let error = end(&home).unwrap_err().to_string();
    assert!(error.contains("does not answer"), "{error}");
    // Closing alone would leave the lock with a child that another test is about to start.
    rustix::fs::flock(&node, FlockOperation::Unlock).unwrap();
    assert!(!end(&home).unwrap());
}

#[test]
fn status_reads_as_a_page() {
    let status = Status {
        pid: 7,
        version: "0.1.0".into(),
        home: "/h".into(),
        peer_id: "12D3".into(),
        builder: "ab".into(),
        team: Some("desk\u{1b}".into()),
        role: Some("admin".into()),
        listen: vec!["/ip4/127.0.0.1/tcp/1".into()],
        peers: 1,
        store: StoreStatus {
            entries: 1,
            objects: 2,
            bytes: 2048,
            limit: 1 << 30,
        },
        uptime_s: 61,
        ..Status::default()
    };
    let rule = |rule: &str, from: &str| TrustRule {
        rule: rule.into(),
        from: from.into(),
    };
    let trust = TrustReport {
        rules: vec![
            rule("every builder", "[trust] of config.toml"),
            rule("ci", "/w/quarry.toml"),
        ],
        problems: Vec::new(),
        shared_with: "the team".into(),
    };
    assert_eq!(
        status_text(&status, &trust),
        "node     version 0.1.0, pid 7, for 1 min 1 s\n\
         home     /h\n\
         team     desk\u{fffd} (you are admin)\n\
         peer     12D3\n\
         builder  ab\n\
         trusts   every builder · narrowed to ci (/w/quarry.toml)\n\
         shares   what is built here with the team\n\
         listens  /ip4/127.0.0.1/tcp/1\n\
         peers    1 connected\n\
         store    1 entry, 2 objects, 2.0 KiB of 1.0 GiB\n\
         busy     0 compiles"
    );
}
