//! A compile by the real rustc, once more elsewhere: what makes it the same, and what does not.

use super::*;
use crate::compiler::rustc::testing::Checkout;
use crate::digests::MemoDigests;
use crate::pipeline::recheck::{elsewhere, run};
use quarry_trust::{ActionKey, BuilderId, LookupKey, Output, OutputName, Scope};
use std::path::PathBuf;
use std::time::Duration;

/// What a first compile in the checkout left, as a teammate would have signed it.
fn first(checkout: &Checkout) -> Entry {
    let (unit, inv) = checkout.unit();
    let roots = checkout.roots();
    let said = checkout.compile(&unit.run_argv(&inv, &roots));
    let digests = MemoDigests::new(None);
    let output = |o: crate::compiler::rustc::outputs::Expected| {
        let path = checkout.out_dir().join(&o.name);
        let stored = |path: &Path| {
            let read = fs::read(path).unwrap();
            object(&DepInfo::parse(&read).unwrap().to_stored(&roots).unwrap())
        };
        Output {
            name: OutputName::new(o.name.clone()).unwrap(),
            kind: o.kind,
            executable: false,
            object: match o.kind {
                OutputKind::DepInfo => stored(&path),
                _ => object_of(&path, &digests).unwrap(),
            },
        }
    };
    let mut outputs: Vec<Output> = unit.outputs().into_iter().map(output).collect();
    outputs.sort_by(|a, b| a.name.cmp(&b.name));
    Entry {
        scope: Scope::Private,
        builder: BuilderId([7; 32]),
        lookup: LookupKey::of(b"lookup"),
        action: ActionKey::of(b"action"),
        description: object(b"description"),
        crate_name: "odd".into(),
        outputs,
        stdout: object(&said.stdout),
        stderr: object(&roots.normalise(&said.stderr)),
        width: Some(0),
        duration_ms: 7,
        created: 7,
    }
}

/// Compiles once more in `scratch`, and says what came out the same as the entry says.
fn again_in(checkout: &Checkout, scratch: &Path, entry: &Entry) -> Option<UnsignedEntry> {
    let (unit, inv) = checkout.unit();
    let roots = checkout.roots();
    if !scratch.join(STDERR).exists() {
        let argv = elsewhere(unit.run_argv(&inv, &roots), scratch);
        let streams = streams(scratch).unwrap();
        let ended = run(&inv, &argv, Duration::from_secs(60), streams);
        assert!(ended.unwrap().unwrap().success());
    }
    let compiled = Compiled {
        unit: &unit,
        roots: &roots,
        scratch,
        duration_ms: 9,
    };
    compiled.same_as(entry, &MemoDigests::new(None))
}

#[test]
fn what_comes_out_the_same_elsewhere_is_ours_to_sign_and_nothing_else_is() {
    // Two warnings, an include with blanks in its name, variables in the dep-info.
    let checkout = Checkout::odd("odd");
    let entry = first(&checkout);
    assert!(entry.stderr.size > 0, "there is something to compare");
    let scratch = tempfile::tempdir().unwrap();
    let scratch: PathBuf = fs::canonicalize(scratch.path()).unwrap().join("s");
    fs::create_dir_all(&scratch).unwrap();
    let ours = again_in(&checkout, &scratch, &entry).expect("the same compile");
    assert_eq!((ours.action, ours.duration_ms), (entry.action, 9));
    assert_eq!(ours.outputs.len(), entry.outputs.len());

    let changes: [fn(&mut Entry); 6] = [
        |e| e.stdout = object(b"something"),
        |e| e.stderr.digest = Digest::of(b"something"),
        |e| e.outputs[0].executable = true,
        |e| e.outputs[1].object.digest = Digest::of(b"something"),
        |e| drop(e.outputs.pop()),
        |e| {
            let dep_info = |o: &&mut Output| o.kind == OutputKind::DepInfo;
            e.outputs.iter_mut().find(dep_info).unwrap().object.size += 1;
        },
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut other = entry.clone();
        change(&mut other);
        let found = again_in(&checkout, &scratch, &other);
        assert!(found.is_none(), "change {at}");
    }
    assert!(again_in(&checkout, &scratch, &entry).is_some());
    fs::write(scratch.join(STDERR), "cut short").unwrap();
    assert!(again_in(&checkout, &scratch, &entry).is_none());
}
