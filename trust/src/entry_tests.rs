//! Entries have one form, and no name in them leads out of a directory.

use super::*;
use crate::canon::tests::{bends, holds_canonical};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

fn objects() -> impl Strategy<Value = ObjectRef> {
    (any::<[u8; 32]>(), 0..=MAX_OBJECT)
        .prop_map(|(digest, size)| ObjectRef { digest: Digest::from_bytes(digest), size })
}

fn output_lists() -> impl Strategy<Value = Vec<Output>> {
    let kinds =
        prop_oneof![Just(OutputKind::Plain), Just(OutputKind::Metadata), Just(OutputKind::DepInfo)];
    let rest = vec((kinds, any::<bool>(), objects()), 4);
    (btree_set("[a-z0-9_.ä-]{0,20}\\.rlib", 0..4), rest).prop_map(|(names, rest)| {
        let outputs = names.into_iter().zip(rest);
        let output = |(name, (kind, executable, object)): (String, _)| {
            let name = OutputName::new(name).unwrap();
            Output { name, kind, executable, object }
        };
        outputs.map(output).collect()
    })
}

fn entries() -> impl Strategy<Value = Entry> {
    let scopes = prop_oneof![
        Just(Scope::Private),
        any::<[u8; 32]>().prop_map(|id| Scope::Team(TeamId(Digest::from_bytes(id)))),
    ];
    let keys = (any::<[u8; 32]>(), any::<[u8; 32]>(), any::<[u8; 32]>());
    let objects = (objects(), objects(), objects());
    let numbers = (proptest::option::of(any::<u16>()), any::<u64>(), any::<u64>());
    (scopes, keys, "[a-z_]{0,20}", output_lists(), objects, numbers).prop_map(
        |(scope, keys, crate_name, outputs, objects, (width, duration_ms, created))| Entry {
            scope,
            builder: BuilderId(keys.0),
            lookup: LookupKey::from_digest(Digest::from_bytes(keys.1)),
            action: ActionKey::from_digest(Digest::from_bytes(keys.2)),
            description: objects.0,
            crate_name,
            outputs,
            stdout: objects.1,
            stderr: objects.2,
            width,
            duration_ms,
            created,
        },
    )
}

proptest! {
    #[test]
    fn an_entry_has_one_form(entry in entries(), bends in bends()) {
        holds_canonical(&entry, &bends);
    }

    #[test]
    fn a_signed_entry_travels_as_it_is(mut entry in entries(), more in any::<u8>()) {
        let key = BuilderKey::from_seed(&[3; 32]);
        entry.builder = key.id();
        let signed = entry.sign(&key);
        let wire = signed.to_wire();
        prop_assert_eq!(SignedEntry::from_wire(&wire), Ok(signed.clone()));
        // What lies behind the entry is part of what must be signed: it is never cut off.
        let longer = [wire, vec![more]].concat();
        prop_assert_ne!(SignedEntry::from_wire(&longer), Ok(signed));
    }
}

#[test]
fn a_name_that_climbs_out_is_no_name() {
    for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "a\0b"] {
        assert!(matches!(OutputName::new(name), Err(CanonError::Value(_))), "{name:?}");
    }
    assert_eq!(OutputName::new("x".repeat(MAX_NAME + 1)), Err(CanonError::Limit));
    assert_eq!(OutputName::new("..rlib").unwrap().as_str(), "..rlib");
}

#[test]
fn a_wire_that_is_too_short_or_too_long_is_refused_unread() {
    assert_eq!(SignedEntry::from_wire(&[0; SIGNATURE_LEN - 1]), Err(CanonError::Short));
    let long = vec![0; SIGNATURE_LEN + MAX_ENTRY_BYTES + 1];
    assert_eq!(SignedEntry::from_wire(&long), Err(CanonError::Limit));
}

#[test]
fn the_longest_entry_fits_its_limit() {
    let object = ObjectRef { digest: Digest::of(b""), size: MAX_OBJECT };
    let output = |i: usize| Output {
        name: OutputName::new(format!("{i:02}{}", "x".repeat(MAX_NAME - 2))).unwrap(),
        kind: OutputKind::Plain,
        executable: true,
        object,
    };
    let entry = Entry {
        scope: Scope::Team(TeamId(Digest::of(b"team"))),
        builder: BuilderId([1; 32]),
        lookup: LookupKey::of(b""),
        action: ActionKey::of(b""),
        description: object,
        crate_name: "c".repeat(MAX_CRATE_NAME),
        outputs: (0..MAX_OUTPUTS).map(output).collect(),
        stdout: object,
        stderr: object,
        width: Some(1),
        duration_ms: 1,
        created: 1,
    };
    let bytes = entry.to_canon();
    assert!(bytes.len() <= MAX_ENTRY_BYTES);
    assert_eq!(Entry::from_canon(&bytes), Ok(entry.clone()));
    let mut unsorted = entry;
    unsorted.outputs.swap(0, 1);
    assert!(Entry::from_canon(&unsorted.to_canon()).is_err(), "outputs are a set");
}
