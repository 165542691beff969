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
        ran: vec![Ran {
            child: Child {
                program: b"git".to_vec(),
                argv: vec![b"git".to_vec(), b"describe".to_vec()],
                dir: Some(b"/w".to_vec()),
                hears: [true, false],
            },
            how: Use::Literal,
            said: Digest::of(b"v1"),
            placeless: true,
        }],
    }
}

/// The bytes of both keys are a promise: an entry made yesterday is found today. Whoever changes
/// the form changes `ACTION_SCHEMA` and these digests with it.
#[test]
fn the_keys_of_schema_4_stay_what_they_are() {
    assert_eq!(ACTION_SCHEMA, 4);
    assert_eq!(known().lookup().to_string(), GOLDEN_LOOKUP);
    assert_eq!(description().action().0.to_string(), GOLDEN_ACTION);
}

const GOLDEN_LOOKUP: &str = "0fd9b3667b9806441f4e1ee77cd40a95029a43960d416de6611f6c3ed4a8a25e";
const GOLDEN_ACTION: &str = "1504c292ae12decce857e35abff9fdf74c5d6a4d174a4adcf4b3cba471afbe77";

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
        Box::new(|d| d.ran[0].said = Digest::of(b"v2")),
        Box::new(|d| d.ran[0].how = Use::Symbolic),
        Box::new(|d| d.ran[0].placeless = false),
        Box::new(|d| d.ran[0].child.program = b"hg".to_vec()),
        Box::new(|d| d.ran[0].child.argv.swap(0, 1)),
        Box::new(|d| d.ran[0].child.dir = None),
        Box::new(|d| d.ran[0].child.hears[0] = false),
        Box::new(|d| d.ran.push(d.ran[0].clone())),
        Box::new(|d| d.ran.clear()),
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
    assert_eq!((&p.ran, p.rest), (&d.ran, Some(d.rest())));
    let bare = Description { ran: vec![], ..d };
    assert_eq!(Some(bare.rest()), p.rest, "all but the programs");
    assert_eq!(bare.prediction().rest, None);
    let unlike = Prediction {
        rest: None,
        ..p.clone()
    };
    assert!(
        Prediction::from_canon(&unlike.to_canon()).is_err(),
        "programs, and no word of the rest"
    );
    assert_eq!(Prediction::from_canon(&p.to_canon()), Ok(p));
}

#[test]
fn another_schema_is_refused_by_name() {
    let mut bytes = description().to_canon();
    // Schema 1 was the one before macros were observed and programs cached, schema 2 the one
    // before symbolic links stood in the keys of scripts' runs, schema 3 the one before programs
    // that macros run did.
    for schema in [1, 2, 3, 9] {
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
