//! Entries, with and without a signature that holds, and tickets.
//!
//! Enters: bytes. Leaves: a panic where an entry is believed that should not be, or a form is not
//! the only one. Must never happen here: a verdict of its own beside `trust`'s.

use super::roster::{NOW, key};
use super::roster_bytes::rich;
use super::{Feed, Probe};
use crate::ticket::Ticket;
use quarry_trust::canon::Canonical;
use quarry_trust::entry::{ENTRY_DOMAIN, MAX_ENTRY_BYTES};
use quarry_trust::verify::{Source, Verifier};
use quarry_trust::{
    ActionKey, Digest, Entry, LookupKey, ObjectRef, Output, OutputKind, OutputName, PeerId, Role,
    Roster, Scope, SignedEntry, Standing,
};
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// The team in whose eyes entries are judged.
fn judge() -> &'static Roster {
    static TEAM: OnceLock<Roster> = OnceLock::new();
    TEAM.get_or_init(rich)
}

fn object(of: &[u8]) -> ObjectRef {
    ObjectRef {
        digest: Digest::of(of),
        size: of.len() as u64,
    }
}

/// An entry of somebody's, with two outputs.
fn entry(by: usize) -> Entry {
    let output = |name: &str, kind, executable| Output {
        name: OutputName::new(name).expect("a plain name"),
        kind,
        executable,
        object: object(name.as_bytes()),
    };
    Entry {
        scope: Scope::Team(judge().team()),
        builder: key(by).id(),
        lookup: LookupKey::of(b"lookup"),
        action: ActionKey::of(b"action"),
        description: object(b"description"),
        crate_name: "serde".into(),
        outputs: vec![
            output("libserde.rmeta", OutputKind::Metadata, false),
            output("serde", OutputKind::Plain, true),
        ],
        stdout: object(b""),
        stderr: object(b"warning"),
        width: Some(80),
        duration_ms: 12,
        created: NOW,
    }
}

/// A good signed entry, for frames that carry one.
pub(crate) fn signed_entry() -> SignedEntry {
    entry(2).sign(key(2))
}

/// Signed bytes (0), and bytes that are signed here by who is named next (1).
pub(super) fn entry_seeds() -> Vec<Vec<u8>> {
    let private = Entry {
        scope: Scope::Private,
        ..entry(9)
    };
    let signed = |by| [vec![0], entry(by).sign(key(by)).to_wire()].concat();
    let project = |name| Entry {
        scope: Scope::project(judge().team(), name),
        ..entry(2)
    };
    let plain = |e: Entry, by| [vec![1, by], e.to_canon()].concat();
    vec![
        signed(2),
        signed(5),
        signed(6),
        plain(entry(2), 2),
        plain(entry(5), 5),
        plain(entry(9), 9),
        plain(private, 9),
        plain(project("open"), 2),
        plain(project("closed"), 2),
    ]
}

/// What a peer offers as an entry, and what the store holds.
pub(super) fn entries(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    if feed.pick(2) == 0 {
        let wire = feed.rest();
        if let Ok(signed) = probe.decode(wire.len(), || SignedEntry::from_wire(wire)) {
            assert_eq!(signed.to_wire(), wire, "two wires of one entry");
            judged(probe, &signed);
        }
        return;
    }
    let by = key(1 + feed.pick(9));
    let bytes = feed.rest().to_vec();
    let signature = by.sign(ENTRY_DOMAIN, &bytes);
    judged(probe, &SignedEntry { bytes, signature });
}

/// What is believed is what all conditions hold of, and nothing else.
fn judged(probe: &Probe, signed: &SignedEntry) {
    let len = signed.bytes.len();
    let decoded = probe.decode(len, || Entry::from_canon(&signed.bytes));
    if let Ok(entry) = &decoded {
        assert_eq!(entry.to_canon(), signed.bytes, "two forms of one entry");
        for output in &entry.outputs {
            let name = output.name.as_str();
            assert!(
                std::path::Path::new("/d").join(name).parent() == Some(std::path::Path::new("/d")),
                "{name:?} is no plain name"
            );
        }
    }
    let verifier = Verifier {
        own: key(9).id(),
        roster: Some(judge()),
        now: NOW + 10,
    };
    for source in [Source::Peer, Source::Store] {
        let verdict = probe.decode(len, || verifier.entry(signed, source, None, None));
        let Ok(believed) = verdict else { continue };
        let entry = decoded.as_ref().expect("believed, so decoded");
        assert_eq!(&*believed, entry, "believed is what was signed");
        assert!(len <= MAX_ENTRY_BYTES);
        assert!(
            entry
                .builder
                .verifies(ENTRY_DOMAIN, &signed.bytes, &signed.signature),
            "believed without a signature"
        );
        let standing = judge().standing(&entry.builder);
        let ours = entry.builder == verifier.own && source == Source::Store;
        let sees = |who| judge().sees(who, &entry.scope);
        match entry.scope {
            Scope::Private => assert!(ours, "somebody's private entry"),
            Scope::Project(..) if ours => {}
            Scope::Team(_) | Scope::Project(..) => {
                assert!(sees(&verifier.own), "not for us");
                let stands = standing == Standing::Stands && sees(&entry.builder);
                let stood = standing == Standing::Retired || standing == Standing::Stands;
                assert!(
                    stands || (stood && source == Source::Store),
                    "believed though {standing:?}"
                );
            }
        }
        let elsewhere = ActionKey::of(b"elsewhere");
        let misplaced = verifier.entry(signed, source, Some(&elsewhere), None);
        assert!(misplaced.is_err() || entry.action == elsewhere);
    }
}

/// A ticket's text, canonical bytes of one, and rubbish.
pub(super) fn ticket_seeds() -> Vec<Vec<u8>> {
    let ticket = Ticket {
        team_name: "desk".into(),
        team: judge().team(),
        root: judge().root(),
        issuer: PeerId([4; 32]),
        addresses: vec!["/ip4/192.0.2.1/tcp/4747".into(), "/dns4/desk/tcp/1".into()],
        secret: Zeroizing::new([9; 32]),
        expires: NOW + 3600,
        role: Role::Builder,
    };
    let text = ticket.encode().expect("a ticket");
    let spaced = format!("  {} ", text.to_ascii_uppercase());
    vec![
        [b"\0", text.as_bytes()].concat(),
        [b"\0", spaced.as_bytes()].concat(),
        [vec![1], ticket.to_canon()].concat(),
        b"\0quarry2abc".to_vec(),
    ]
}

/// What a person pastes; and the bytes inside, without the checksum that mistyping fails.
pub(super) fn tickets(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    if feed.pick(2) == 0 {
        let text = String::from_utf8_lossy(feed.rest()).into_owned();
        let _ = Ticket::looks_like(&text);
        if let Ok(ticket) = probe.decode(text.len(), || Ticket::parse(&text)) {
            let plain: String = text.split_whitespace().collect();
            let again = ticket.encode().expect("what was read can be written");
            assert_eq!(again, plain.to_lowercase(), "two texts of one ticket");
        }
        return;
    }
    let bytes = feed.rest();
    if let Ok(ticket) = probe.decode(bytes.len(), || Ticket::from_canon(bytes)) {
        assert_eq!(ticket.to_canon(), bytes, "two forms of one ticket");
        if let Ok(text) = ticket.encode() {
            assert_eq!(Ticket::parse(&text).as_ref(), Ok(&ticket));
        }
    }
}
