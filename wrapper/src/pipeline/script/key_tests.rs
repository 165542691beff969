//! How much a prediction has looked at.

use super::*;
use crate::action::Observer;

/// More than half of what a peer's prediction may have looked at.
const MANY: usize = FILES_MAX / 2 + 1;

#[test]
fn all_that_a_peers_prediction_names_counts_together() {
    let dir = tempfile::tempdir().unwrap();
    let ws = dir.path().join("ws");
    let (many, out) = (ws.join("many"), ws.join("target/debug/build/p-1"));
    fs::create_dir_all(&many).unwrap();
    fs::create_dir_all(&out).unwrap();
    fs::write(ws.join("Cargo.lock"), "").unwrap();
    fs::write(many.join("0"), "").unwrap();
    for n in 1..MANY {
        fs::hard_link(many.join("0"), many.join(n.to_string())).unwrap();
    }
    let inv = Invocation {
        argv: vec!["build-script-build".into()],
        env: Vec::new(),
        cwd: ws,
        started: Vec::new(),
    };
    let roots = Roots::of_script(&inv, &out, None, Path::new("/usr"), "");
    let nothing = Digest::of(b"");
    let known = Known {
        compiler: nothing,
        compiler_version: String::new(),
        observer: Observer::None,
        pure: Vec::new(),
        args: Vec::new(),
        root: FileInput {
            name: "script".into(),
            digest: Some(nothing),
        },
    };
    let keying = Keying {
        pipeline: &Pipeline::new(None),
        inv: &inv,
        roots: &roots,
        known: &known,
        programs: Programs::new(&inv, &roots, None),
        secret: [0; 32],
    };
    let described = |prediction: &Prediction, tier| keying.describe(prediction, tier).is_some();
    let trees = |directories: &[&str]| Prediction {
        files: directories.iter().map(|d| [TREE, d].concat()).collect(),
        ..Prediction::default()
    };
    let lists = |count: usize| Prediction {
        looks: vec![("/quarry/ws/many".into(), Look::List); count],
        ..Prediction::default()
    };
    for (few, more) in [
        (
            trees(&["/quarry/ws/many"]),
            trees(&["/quarry/ws", "/quarry/ws/many"]),
        ),
        (lists(1), lists(2)),
    ] {
        assert!(described(&few, Tier::Peers));
        assert!(!described(&more, Tier::Peers));
        assert!(described(&more, Tier::Local), "each is within bounds");
    }
    let mut spent = Spent::default();
    assert!(spent.bytes(BYTES_MAX).is_some() && spent.bytes(1).is_none());
}
