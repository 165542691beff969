//! What lies in a home, and what the command line asks: settings, team file, invitations, state.
//!
//! Enters: bytes of a file or of the socket. Leaves: a panic where one is read that would be
//! written otherwise, or where it takes more memory than stated. Must never happen here: a file.

use super::roster::NOW;
use super::roster_bytes::rich;
use super::{Feed, Probe, bounds};
use crate::control::{Reply, Request};
use crate::service::counters::Counters;
use crate::service::membership::Membership;
use quarry_trust::canon::Writer;
use quarry_trust::{Digest, PeerId};

/// Requests (0) and answers (1), in JSON.
pub(super) fn control_seeds() -> Vec<Vec<u8>> {
    let requests = [
        Request::Status,
        Request::Stats { reset: true },
        Request::Show {
            key: "0123abcd".into(),
        },
        Request::Invite {
            role: "builder".into(),
            expires_s: 3600,
        },
    ];
    let replies = [
        Reply::Failed("nobody is there".into()),
        Reply::Done(serde_json::json!({"pid": 1, "list": [1, null, {"a": "b"}]})),
    ];
    let mut seeds = Vec::new();
    for request in requests {
        let json = serde_json::to_vec(&request).expect("plain data");
        seeds.push([vec![0], json].concat());
    }
    for reply in replies {
        let json = serde_json::to_vec(&reply).expect("plain data");
        seeds.push([vec![1], json].concat());
    }
    seeds
}

/// A control frame's content.
pub(super) fn control(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    let (answer, bytes) = (feed.pick(2) == 1, feed.rest());
    if answer {
        // `qnode` reads it from its own user's node; a JSON value is as wide as its tree.
        let read = probe.within(bounds::state, bytes.len(), || {
            serde_json::from_slice::<Reply>(bytes)
        });
        drop(read);
        return;
    }
    let read = probe.decode(bytes.len(), || serde_json::from_slice::<Request>(bytes));
    if let Ok(request) = read {
        let json = serde_json::to_vec(&request).expect("plain data");
        let again = serde_json::from_slice::<Request>(&json).expect("our own");
        assert_eq!(again, request);
    }
}

/// Settings: whole files, and single variables behind a NUL.
pub(super) fn config_seeds() -> Vec<Vec<u8>> {
    let file = "listen = [\"/ip4/0.0.0.0/tcp/4746\"]\nmdns = \"off\"\nstore_limit = \"20GiB\"\n\
                peers = []\npure_macros = [\"a-b\"]\nverify = \"5%\"\n";
    let typed = "store_limit = 1000\nmdns = true\nverify = 0.25\ndoor_listen = []\n";
    vec![
        file.as_bytes().to_vec(),
        typed.as_bytes().to_vec(),
        b"mdns = true\n\0QUARRY_STORE_LIMIT=1.5 TB".to_vec(),
        b"\0QUARRY_LISTEN=/ip4/127.0.0.1/tcp/0, off".to_vec(),
        b"\0QUARRY_VERIFY=100%".to_vec(),
        b"nonsense = [[1,2],{a=1}]\n".to_vec(),
    ]
}

/// A settings file, and a variable that overrides it.
pub(super) fn config(probe: &Probe, data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let (file, variable) = text
        .split_once('\0')
        .map_or((text.as_str(), None), |(f, v)| (f, v.split_once('=')));
    let read = probe.decode(text.len(), || crate::config::parse(file, variable));
    if let Ok(config) = read {
        let again = crate::config::parse(file, variable).ok();
        assert_eq!(again, Some(config), "read twice, not the same");
    }
}

/// Team files without and with a roster (0), invitations (1).
pub(super) fn team_file_seeds() -> Vec<Vec<u8>> {
    let team = |roster: Option<Vec<u8>>| {
        let mut w = Writer::default();
        w.u8(0);
        w.u16(2);
        w.fixed(&[7; 32]);
        w.option(roster.as_ref(), |w, r| w.bytes(r));
        w.count(2);
        w.fixed(&[8; 32]);
        w.fixed(&[9; 32]);
        w.finish()
    };
    let mut before = Writer::default();
    before.u8(0);
    before.u16(1);
    before.fixed(&[7; 32]);
    before.u8(0);
    let mut invitations = Writer::default();
    invitations.u8(1);
    invitations.u16(1);
    invitations.count(2);
    for used in [None, Some(PeerId([3; 32]))] {
        invitations.fixed(Digest::of(b"secret").as_bytes());
        invitations.u8(1);
        invitations.u64(NOW);
        invitations.option(used.as_ref(), |w, p| w.fixed(&p.0));
    }
    vec![
        team(None),
        team(Some(rich().to_wire())),
        before.finish(),
        invitations.finish(),
    ]
}

/// `team.bin` or `invitations.bin`.
pub(super) fn team_file(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    let (invitations, bytes) = (feed.pick(2) == 1, feed.rest());
    if invitations {
        if let Ok(read) = probe.decode(bytes.len(), || Membership::from_bytes(bytes)) {
            assert_eq!(read.to_bytes(), bytes, "two files of the same invitations");
        }
        return;
    }
    // Read and written again: the bytes once more. Secrets are put in order.
    let read = probe.decode(2 * bytes.len(), || crate::team::team_file_again(bytes));
    if let Some(written) = read {
        let again = crate::team::team_file_again(&written);
        assert_eq!(again, Some(written), "written twice, not the same");
    }
}

/// What a repository carries: rules and a scope.
pub(super) fn project_seeds() -> Vec<Vec<u8>> {
    let rules = "[trust]\nbuilders = [\"ci\", \"0123456789abcdef\"]\nagree = 2\n\
                 [trust.executing]\nagree = 3\n";
    vec![
        rules.as_bytes().to_vec(),
        b"scope = \"secret project\"\n".to_vec(),
        b"trust = \"2 of ci\"\nscope = \"\"\n".to_vec(),
    ]
}

/// A repository's file, of somebody whose repository was cloned.
pub(super) fn project(probe: &Probe, data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let path = std::path::Path::new("quarry.toml");
    let read = probe.decode(text.len(), || crate::project::parse(path, &text));
    if let Ok(project) = read {
        assert_eq!(crate::project::parse(path, &text), Ok(project));
    }
}

/// Counters (0) and addresses (1), in JSON.
pub(super) fn state_seeds() -> Vec<Vec<u8>> {
    let counters = serde_json::to_vec(&Counters::default().stats()).expect("plain data");
    vec![
        [vec![0], counters].concat(),
        b"\0{\"requests\":3}".to_vec(),
        b"\x01{\"ab\":[\"/ip4/127.0.0.1/tcp/1\"]}".to_vec(),
    ]
}

/// The store's state files, inside their digest.
pub(super) fn state(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    let (addresses, bytes) = (feed.pick(2) == 1, feed.rest());
    if addresses {
        let read = probe.decode(bytes.len(), || crate::joining::addresses_again(bytes));
        if let Some(written) = read {
            assert_eq!(
                crate::joining::addresses_again(&written),
                Some(written.clone())
            );
        }
        return;
    }
    let counters = probe.decode(bytes.len(), || Counters::resume(Some(bytes)));
    let written = serde_json::to_vec(&counters.stats()).expect("plain data");
    assert_eq!(Counters::resume(Some(&written)).stats(), counters.stats());
}
