//! The keys: what changes them, what does not, and that their bytes have one form.

use super::*;
use proptest::prelude::*;

fn known() -> Known {
    Known {
        compiler: Digest::of(b"rustc"),
        compiler_version: "rustc 1.95.0".into(),
        observer: Observer::Preload,
        pure: vec![],
        args: vec![b"--crate-name".to_vec(), b"a".to_vec()],
        root: FileInput {
            name: "/quarry/ws/src/lib.rs".into(),
            digest: Some(Digest::of(b"lib")),
        },
    }
}

fn description() -> Description {
    Description {
        known: known(),
        externs: vec![ExternInput {
            name: "b".into(),
            file: "libb.rmeta".into(),
            digest: Some(Digest::of(b"b")),
        }],
        macros: vec![FileInput {
            name: "libm.so".into(),
            digest: Some(Digest::of(b"m")),
        }],
        native: vec![],
        link: vec![FileInput {
            name: "libb.rlib".into(),
            digest: Some(Digest::of(b"b")),
        }],
        files: vec![
            FileInput {
                name: "/quarry/ws/src/a.rs".into(),
                digest: Some(Digest::of(b"a")),
            },
            FileInput {
                name: "/quarry/ws/src/a/mod.rs".into(),
                digest: None,
            },
        ],
        looked: vec![
            Looked {
                name: "/quarry/ws/templates".into(),
                sight: Sight::Listing(Digest::of(b"names")),
            },
            Looked {
                name: "/quarry/ws/templates".into(),
                sight: Sight::Directory,
            },
            Looked {
                name: "/quarry/ws/templates".into(),
                sight: Sight::Link(Digest::of(b"../others")),
            },
        ],
        variables: vec![
            Variable {
                name: "CARGO_PKG_VERSION".into(),
                value: Value::Public("1.0".into()),
            },
            Variable {
                name: "OUT_DIR".into(),
                value: Value::Symbolic("/quarry/target/x".into()),
            },
        ],
    }
}

/// The bytes of both keys are a promise: an entry made yesterday is found today. Whoever changes
/// the form changes `ACTION_SCHEMA` and these digests with it.
#[test]
fn the_keys_of_schema_3_stay_what_they_are() {
    assert_eq!(ACTION_SCHEMA, 3);
    assert_eq!(known().lookup().to_string(), GOLDEN_LOOKUP);
    assert_eq!(description().action().0.to_string(), GOLDEN_ACTION);
}

const GOLDEN_LOOKUP: &str = "54ee98dac8c2089187d94d65e8dc9a4a5133496b7e14ff151df6f7bb9c87a360";
const GOLDEN_ACTION: &str = "a0ac034d02820a706563e30c8cf9dc7e6bf881f678f218e99ae067ce97f65c2e";

#[test]
fn every_field_changes_the_action_key() {
    let base = description().action().0;
    type Change = Box<dyn Fn(&mut Description)>;
    let changed: Vec<Change> = vec![
        Box::new(|d| d.known.compiler = Digest::of(b"other")),
        Box::new(|d| d.known.args.swap(0, 1)),
        Box::new(|d| d.known.observer = Observer::None),
        Box::new(|d| d.known.pure.push(Digest::of(b"m"))),
        Box::new(|d| d.link[0].digest = Some(Digest::of(b"other"))),
        Box::new(|d| d.looked[0].sight = Sight::Listing(Digest::of(b"more names"))),
        Box::new(|d| d.looked[1].sight = Sight::File),
        Box::new(|d| d.looked[2].sight = Sight::Link(Digest::of(b"../else"))),
        Box::new(|d| d.known.root.digest = Some(Digest::of(b"edited"))),
        Box::new(|d| d.externs[0].digest = Some(Digest::of(b"c"))),
        Box::new(|d| d.externs[0].name = "c".into()),
        Box::new(|d| d.macros[0].digest = Some(Digest::of(b"n"))),
        Box::new(|d| {
            d.native.push(FileInput {
                name: "libz.a".into(),
                digest: Some(Digest::of(b"z")),
            })
        }),
        Box::new(|d| d.files[0].digest = Some(Digest::of(b"edited"))),
        Box::new(|d| d.files[0].name = "/quarry/ws/src/b.rs".into()),
        Box::new(|d| d.files[1].digest = Some(Digest::of(b""))),
        Box::new(|d| d.variables[0].value = Value::Unset),
        Box::new(|d| d.variables[0].value = Value::Public(String::new())),
        Box::new(|d| d.variables[1].value = Value::Public("/quarry/target/x".into())),
    ];
    for (at, change) in changed.iter().enumerate() {
        let mut other = description();
        change(&mut other);
        assert_ne!(other.action().0, base, "change {at} must change the key");
    }
}

#[test]
fn two_module_bodies_swapped_is_another_action() {
    let mut one = description();
    one.files = vec![
        FileInput {
            name: "a.rs".into(),
            digest: Some(Digest::of(b"1")),
        },
        FileInput {
            name: "b.rs".into(),
            digest: Some(Digest::of(b"2")),
        },
    ];
    let mut two = one.clone();
    two.files[0].digest = Some(Digest::of(b"2"));
    two.files[1].digest = Some(Digest::of(b"1"));
    assert_ne!(one.action().0, two.action().0);
}

#[test]
fn a_description_and_its_prediction_round_trip() {
    let d = description();
    assert_eq!(Description::from_canon(&d.to_canon()), Ok(d.clone()));
    let p = d.prediction();
    assert_eq!(p.files, ["/quarry/ws/src/a.rs"]);
    assert_eq!(p.absent, ["/quarry/ws/src/a/mod.rs"]);
    let templates = "/quarry/ws/templates".to_owned();
    assert_eq!(
        p.looks,
        [Look::List, Look::Kind, Look::Link].map(|look| (templates.clone(), look))
    );
    assert_eq!(Prediction::from_canon(&p.to_canon()), Ok(p));
}

#[test]
fn another_schema_is_refused_by_name() {
    let mut bytes = description().to_canon();
    // Schema 1 was the one before macros were observed and programs cached, schema 2 the one
    // before symbolic links stood in the keys of scripts' runs.
    for schema in [1, 2, 9] {
        bytes[0] = schema;
        let refused = Err(CanonError::Schema(schema.into()));
        assert_eq!(Description::from_canon(&bytes), refused);
    }
}

proptest! {
    #[test]
    fn bytes_that_decode_are_the_bytes_of_the_value(
        at in 0_usize..600, flip in 1_u8..=255, cut in 0_usize..600,
    ) {
        for mut bytes in [description().to_canon(), description().prediction().to_canon()] {
            if let Some(byte) = bytes.get_mut(at) { *byte ^= flip; }
            if let Ok(d) = Description::from_canon(&bytes) { prop_assert_eq!(d.to_canon(), bytes.clone()); }
            if let Ok(p) = Prediction::from_canon(&bytes) { prop_assert_eq!(p.to_canon(), bytes.clone()); }
            bytes.truncate(cut);
            if let Ok(d) = Description::from_canon(&bytes) { prop_assert_eq!(d.to_canon(), bytes); }
        }
    }
}
