//! Every form that is written here by hand has one encoding: what is written is read back, and
//! whatever else is read is written as exactly the bytes that it was read from.

use crate::action::{
    Description, ExternInput, FileInput, Known, Look, Looked, Observer, Prediction, Ran, Sight,
    Use, Value, Variable,
};
use crate::child::{Child, Said};
use crate::fuzzing::place;
use crate::ipc::frame::{self, HEADER_LEN};
use crate::ipc::protocol::{
    CompileRequest, Ended, FileId, Finished, FromNode, Replay, RunPlan, Surroundings, ToNode,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use quarry_trust::Digest;
use quarry_trust::canon::{Canonical, Writer};
use std::fmt::Debug;

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn names() -> impl Strategy<Value = String> {
    "[a-zä /._-]{0,12}"
}

fn files() -> impl Strategy<Value = Vec<FileInput>> {
    let files = btree_map(names(), option::of(digests()), 0..4);
    let file = |(name, digest)| FileInput { name, digest };
    files.prop_map(move |files| files.into_iter().map(file).collect())
}

fn externs() -> impl Strategy<Value = Vec<ExternInput>> {
    let one = (names(), names(), option::of(digests()));
    vec(
        one.prop_map(|(name, file, digest)| ExternInput { name, file, digest }),
        0..4,
    )
}

fn looked() -> impl Strategy<Value = Vec<Looked>> {
    // One sight of each kind for a name: names listed, and what is there.
    let link = option::of(digests());
    let sights = (option::of(digests()), option::of(any::<bool>()), link);
    btree_map(names(), sights, 0..4).prop_map(|all| {
        let mut looked = Vec::new();
        for (name, (listing, kind, link)) in all {
            let kind = kind.map(|dir| if dir { Sight::Directory } else { Sight::File });
            let sights = [listing.map(Sight::Listing), kind, link.map(Sight::Link)];
            for sight in sights.into_iter().flatten() {
                let name = name.clone();
                looked.push(Looked { name, sight });
            }
        }
        looked
    })
}

fn variables() -> impl Strategy<Value = Vec<Variable>> {
    let values = prop_oneof![
        Just(Value::Unset),
        names().prop_map(Value::Public),
        digests().prop_map(Value::Keyed),
        names().prop_map(Value::Symbolic),
    ];
    let variable = |(name, value)| Variable { name, value };
    btree_map(names(), values, 0..4).prop_map(move |all| all.into_iter().map(variable).collect())
}

fn children() -> impl Strategy<Value = Child> {
    let rest = (option::of(texts()), any::<[bool; 2]>());
    (texts(), vec(texts(), 0..3), rest).prop_map(|(program, argv, (dir, hears))| Child {
        program,
        argv,
        dir,
        hears,
    })
}

fn ran() -> impl Strategy<Value = Vec<Ran>> {
    let one = (children(), any::<[bool; 2]>(), digests());
    let one = one.prop_map(|(child, [symbolic, placeless], said)| Ran {
        child,
        how: if symbolic {
            Use::Symbolic
        } else {
            Use::Literal
        },
        said,
        placeless,
    });
    vec(one, 0..3)
}

fn known() -> impl Strategy<Value = Known> {
    let observers = prop_oneof![Just(Observer::None), Just(Observer::Preload)];
    let root = (names(), option::of(digests()));
    (
        digests(),
        names(),
        observers,
        btree_set(digests(), 0..3),
        vec(vec(any::<u8>(), 0..5), 0..4),
        root,
    )
        .prop_map(|(compiler, version, observer, pure, args, root)| Known {
            compiler,
            compiler_version: version,
            observer,
            pure: pure.into_iter().collect(),
            args,
            root: FileInput {
                name: root.0,
                digest: root.1,
            },
        })
}

fn descriptions() -> impl Strategy<Value = Description> {
    let inputs = (files(), files(), files(), files());
    (known(), externs(), inputs, looked(), variables(), ran()).prop_map(
        |(known, externs, (macros, native, link, files), looked, variables, ran)| Description {
            known,
            externs,
            macros,
            native,
            link,
            files,
            looked,
            variables,
            ran,
        },
    )
}

fn predictions() -> impl Strategy<Value = Prediction> {
    let sets = (btree_set(names(), 0..4), btree_set(names(), 0..4));
    let looks = btree_set((names(), 0..3_usize), 0..4);
    let variables = btree_map(names(), any::<bool>(), 0..4);
    let ran = (ran(), digests());
    (sets, looks, variables, ran).prop_map(|((files, absent), looks, variables, (ran, rest))| {
        let look = |kind| [Look::List, Look::Kind, Look::Link][kind];
        let how = |symbolic| {
            if symbolic {
                Use::Symbolic
            } else {
                Use::Literal
            }
        };
        let looks = looks.into_iter().map(|(n, k)| (n, look(k)));
        let variables = variables.into_iter().map(|(n, s)| (n, how(s)));
        Prediction {
            files: files.into_iter().collect(),
            absent: absent.into_iter().collect(),
            looks: looks.collect(),
            variables: variables.collect(),
            rest: (!ran.is_empty()).then_some(rest),
            ran,
        }
    })
}

/// Ways to bend bytes: where, how, and with what. Positions are taken modulo the length.
type Bends = Vec<(usize, u8, u8)>;

fn bends() -> impl Strategy<Value = Bends> {
    vec((any::<usize>(), 0..4_u8, 1..=u8::MAX), 1..16)
}

fn bent(bytes: &[u8], (at, how, byte): (usize, u8, u8)) -> Vec<u8> {
    let (mut bent, at) = (bytes.to_vec(), at % bytes.len());
    match how {
        0 => bent[at] ^= byte,
        1 => bent.insert(at, byte),
        2 => drop(bent.remove(at)),
        _ => bent.truncate(at),
    }
    bent
}

fn one_form<T: Canonical + PartialEq + Debug>(value: &T, bends: &Bends) {
    let bytes = value.to_canon();
    assert_eq!(T::from_canon(&bytes).as_ref(), Ok(value));
    for bend in bends {
        let bent = bent(&bytes, *bend);
        if let Ok(other) = T::from_canon(&bent) {
            assert_eq!(other.to_canon(), bent, "two encodings of {other:?}");
        }
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(
        T::from_canon(&longer).is_err(),
        "bytes behind the last field"
    );
}

proptest! {
    #[test]
    fn a_description_has_one_form(description in descriptions(), bends in bends()) {
        one_form(&description, &bends);
        one_form(&description.known, &bends);
        one_form(&description.prediction(), &bends);
    }

    #[test]
    fn a_prediction_has_one_form(prediction in predictions(), bends in bends()) {
        one_form(&prediction, &bends);
    }

    #[test]
    fn what_is_known_of_a_place_has_one_form(
        numbers: [u64; 3], times: (i128, Option<i128>), macros in files(),
        crates in vec(names(), 0..3_usize), private: bool, bends in bends(),
    ) {
        let mut w = Writer::default();
        numbers.iter().for_each(|n| w.u64(*n));
        w.fixed(&times.0.to_le_bytes());
        w.option(times.1.as_ref(), |w, born| w.fixed(&born.to_le_bytes()));
        w.list(&macros);
        w.count(crates.len());
        crates.iter().for_each(|name| w.text(name));
        w.u8(u8::from(private));
        let bytes = w.finish();
        prop_assert_eq!(place(&bytes), Some(bytes.clone()));
        let last = bytes.len() - 1;
        for bend in bends.iter().copied().chain([(last, 0, 2), (last, 0, 0xfe)]) {
            let bent = bent(&bytes, bend);
            prop_assert!(place(&bent).is_none_or(|again| again == bent));
        }
    }

    #[test]
    fn a_frame_has_one_form(message in to_node(), answer in from_node(), bends in bends()) {
        framed(&message, &bends);
        framed(&answer, &bends);
    }
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..6)
}

fn surroundings() -> impl Strategy<Value = Surroundings> {
    let limit = (any::<u8>(), any::<Option<u64>>(), any::<Option<u64>>());
    let numbers = (any::<i32>(), any::<Option<(i32, i32)>>());
    (numbers, vec(limit, 0..3), texts()).prop_map(|((nice, jobserver), limits, confinement)| {
        Surroundings {
            nice,
            limits,
            confinement,
            jobserver,
        }
    })
}

fn ended() -> impl Strategy<Value = Ended> {
    prop_oneof![
        any::<i32>().prop_map(Ended::Code),
        any::<i32>().prop_map(Ended::Signal)
    ]
}

fn to_node() -> impl Strategy<Value = ToNode> {
    let ids = any::<[u64; 4]>();
    let file = |device, inode| FileId { device, inode };
    let argv = vec(texts(), 0..4);
    let env = vec((texts(), texts()), 0..4);
    let rest = (
        any::<bool>(),
        option::of(texts()),
        any::<u32>(),
        any::<bool>(),
        option::of(surroundings()),
    );
    let compile = (argv, env, texts(), ids, rest).prop_map(
        move |(argv, env, cwd, ids, (script, wrapper, umask, no_stdin, surroundings))| {
            ToNode::Compile(Box::new(CompileRequest {
                argv,
                script,
                wrapper,
                env,
                cwd,
                cwd_id: file(ids[0], ids[1]),
                root_id: file(ids[2], ids[3]),
                umask,
                no_stdin,
                surroundings,
            }))
        },
    );
    let streams = (option::of(texts()), option::of(texts()));
    let finished = (any::<(bool, u64, bool)>(), streams).prop_map(
        |((success, duration_ms, stopped), (stdout, stderr))| {
            ToNode::Finished(Finished {
                success,
                stdout,
                stderr,
                duration_ms,
                stopped,
            })
        },
    );
    let said = (ended(), [texts(), texts()]).prop_map(|(ended, heard)| Said { ended, heard });
    let said = option::of(said).prop_map(ToNode::Said);
    prop_oneof![compile, finished, said, texts().prop_map(ToNode::Control)]
}

fn from_node() -> impl Strategy<Value = FromNode> {
    let pairs = || vec((texts(), texts()), 0..3);
    let plan = (vec(texts(), 0..3), pairs(), pairs(), any::<bool>());
    let plan = plan.prop_map(|(argv, env, rewrites, record)| {
        FromNode::Run(RunPlan {
            argv,
            env,
            rewrites,
            record,
        })
    });
    let replay =
        (texts(), texts()).prop_map(|(stdout, stderr)| FromNode::Replay(Replay { stdout, stderr }));
    prop_oneof![
        Just(FromNode::Working),
        Just(FromNode::Descriptors),
        Just(FromNode::Untouched),
        Just(FromNode::Recorded),
        Just(FromNode::Busy),
        children().prop_map(|child| FromNode::Ask(Box::new(child))),
        replay,
        plan,
        ended().prop_map(FromNode::Compiled),
        texts().prop_map(FromNode::Control),
    ]
}

fn framed<T>(message: &T, bends: &Bends)
where
    T: bincode::Encode + bincode::Decode<()> + PartialEq + Debug,
{
    let wire = frame::encode(message).unwrap();
    assert_eq!(&frame::read::<T>(&mut wire.as_slice()).unwrap(), message);
    let body = &wire[HEADER_LEN..];
    for bend in bends {
        let bent = bent(body, *bend);
        if let Ok(other) = frame::decode::<T>(&bent) {
            let again = frame::encode(&other).unwrap();
            assert_eq!(again[HEADER_LEN..], bent, "two frames of {other:?}");
        }
    }
}
