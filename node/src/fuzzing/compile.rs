//! What a compile is made of: descriptions, predictions, dep-info, the observer's log, OUT_DIR,
//! and the local socket's frames.
//!
//! Enters: bytes of a peer's offer, of a stored object, of a process on this machine. Leaves: a
//! panic where a form is not the only one, or where something is made outside its directory.
//! Must never happen here: a compile.

use super::exchange::Place;
use super::{Feed, Probe};
use quarry_trust::Digest;
use quarry_trust::canon::{CanonError, Canonical, Writer};
use quarry_wrapper::action::{
    Description, FileInput, Known, Look, Looked, Observer, Prediction, Ran, Sight, Use, Value,
    Variable,
};
use quarry_wrapper::child::Child;
use quarry_wrapper::compiler::depinfo::{DepInfo, MAX_BYTES};
use quarry_wrapper::invocation::Invocation;
use quarry_wrapper::ipc::frame;
use quarry_wrapper::ipc::protocol::{
    CompileRequest, Ended, FileId, Finished, FromNode, Replay, RunPlan, Surroundings, ToNode,
};
use quarry_wrapper::observer::log;
use quarry_wrapper::paths::Roots;
use std::path::Path;

fn description() -> Description {
    let file = |name: &str, here: bool| FileInput {
        name: name.into(),
        digest: here.then(|| Digest::of(name.as_bytes())),
    };
    let looked = |name: &str, sight| Looked {
        name: name.into(),
        sight,
    };
    let variable = |name: &str, value| Variable {
        name: name.into(),
        value,
    };
    Description {
        known: Known {
            compiler: Digest::of(b"rustc"),
            compiler_version: "rustc 1.95.0".into(),
            observer: Observer::Preload,
            pure: vec![],
            args: vec![b"--crate-name".to_vec(), b"a".to_vec()],
            root: file("/quarry/ws/src/lib.rs", true),
        },
        externs: vec![],
        macros: vec![file("libm.so", true)],
        native: vec![],
        link: vec![file("libb.rlib", true)],
        files: vec![
            file("/quarry/ws/src/a.rs", true),
            file("/quarry/ws/src/b.rs", false),
        ],
        looked: vec![
            looked("/quarry/ws/t", Sight::Listing(Digest::of(b"names"))),
            looked("/quarry/ws/t", Sight::Directory),
        ],
        variables: vec![
            variable("A", Value::Public("1".into())),
            variable("B", Value::Keyed(Digest::of(b"b"))),
            variable("C", Value::Unset),
            variable("OUT_DIR", Value::Symbolic("/quarry/target/x".into())),
        ],
        ran: vec![Ran {
            child: Child {
                program: b"git".to_vec(),
                argv: vec![b"git".to_vec()],
                dir: None,
                hears: [true, false],
            },
            how: Use::Literal,
            said: Digest::of(b"v1"),
            placeless: true,
        }],
    }
}

/// A prediction's bytes, for frames that carry one.
pub(crate) fn prediction() -> Vec<u8> {
    description().prediction().to_canon()
}

/// A prediction inside an offer: read as the pipeline reads it.
pub(crate) fn prediction_of(bytes: &[u8]) {
    if let Ok(prediction) = Prediction::from_canon(bytes) {
        assert_eq!(prediction.to_canon(), bytes, "two forms of one prediction");
    }
}

/// Descriptions (0), predictions (1) and what is known before (2).
pub(super) fn action_seeds() -> Vec<Vec<u8>> {
    let mut bare = Prediction::default();
    bare.looks.push(("/quarry/ws".into(), Look::Kind));
    bare.variables.push(("A".into(), Use::Symbolic));
    vec![
        [vec![0], description().to_canon()].concat(),
        [vec![1], prediction()].concat(),
        [vec![1], bare.to_canon()].concat(),
        [vec![2], description().known.to_canon()].concat(),
    ]
}

/// What a peer or the store gives for a description or prediction.
pub(super) fn actions(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.pick(3) {
        0 => one::<Description>(probe, feed.rest()),
        1 => one::<Prediction>(probe, feed.rest()),
        _ => one::<Known>(probe, feed.rest()),
    }
}

fn one<T: Canonical>(probe: &Probe, bytes: &[u8]) {
    let read: Result<T, CanonError> = probe.decode(bytes.len(), || T::from_canon(bytes));
    if let Ok(value) = read {
        assert_eq!(value.to_canon(), bytes, "two forms of one value");
    }
}

/// Frames to the node (0) and from it (1).
pub(super) fn ipc_seeds() -> Vec<Vec<u8>> {
    let id = FileId {
        device: 1,
        inode: 2,
    };
    let surroundings = Surroundings {
        nice: 5,
        limits: vec![(7, Some(1024), None)],
        confinement: b"confined".to_vec(),
        jobserver: Some((3, 4)),
    };
    let compile = CompileRequest {
        argv: vec![b"rustc".to_vec(), b"a.rs".to_vec()],
        script: false,
        wrapper: Some(b"/bin/qwrap".to_vec()),
        env: vec![(b"A".to_vec(), b"1".to_vec())],
        cwd: b"/ws".to_vec(),
        cwd_id: id,
        root_id: id,
        umask: 0o022,
        no_stdin: false,
        surroundings: Some(surroundings),
    };
    let finished = Finished {
        success: true,
        stdout: Some(vec![]),
        stderr: None,
        duration_ms: 12,
        stopped: false,
    };
    let replay = Replay {
        stdout: b"{}".to_vec(),
        stderr: b"warning".to_vec(),
    };
    let plan = RunPlan {
        argv: vec![b"rustc".to_vec()],
        env: vec![],
        rewrites: vec![(b"/quarry/ws".to_vec(), b"/ws".to_vec())],
        record: true,
    };
    let to = [
        ToNode::Compile(Box::new(compile)),
        ToNode::Finished(finished),
        ToNode::Control(b"{}".to_vec()),
    ];
    let from = [
        FromNode::Working,
        FromNode::Replay(replay),
        FromNode::Run(plan),
        FromNode::Compiled(Ended::Signal(9)),
    ];
    let framed = |kind: u8, frame: Result<Vec<u8>, _>| {
        let frame: Result<_, frame::FrameError> = frame;
        [vec![kind], frame.expect("it fits")].concat()
    };
    let to = to.iter().map(|m| framed(0, frame::encode(m)));
    let from = from.iter().map(|m| framed(1, frame::encode(m)));
    to.chain(from).collect()
}

/// A frame of the local socket.
pub(super) fn ipc(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    let (answer, bytes) = (feed.pick(2) == 1, feed.rest());
    let (mut at, len) = (bytes, bytes.len());
    let again = if answer {
        let read = probe.decode(len, || frame::read::<FromNode>(&mut at));
        read.ok().map(|m| frame::encode(&m))
    } else {
        let read = probe.decode(len, || frame::read::<ToNode>(&mut at));
        read.ok().map(|m| frame::encode(&m))
    };
    if let Some(again) = again {
        let again = again.expect("what was read fits");
        assert_eq!(again, bytes[..len - at.len()], "two frames of one message");
    }
}

/// What rustc writes, and what a store holds.
pub(super) fn depinfo_seeds() -> Vec<Vec<u8>> {
    let plain = "/t/liba.rlib: src/lib.rs src/with\\ space.rs\n\nsrc/lib.rs:\n\
                 src/with\\ space.rs:\n\n# env-dep:A=1\\n2\n# env-dep:B\n";
    let stored = "/quarry/target/liba.rmeta: /quarry/ws/src/lib.rs /quarry/literal/etc/x\n\n\
                  /quarry/ws/src/lib.rs:\n\n# env-dep:OUT_DIR\n";
    vec![
        plain.as_bytes().to_vec(),
        stored.as_bytes().to_vec(),
        b"a: b\nc: b\n".to_vec(),
    ]
}

/// A dep-info file of a compiler, and a stored one on its way into a target directory.
pub(super) fn depinfo(probe: &Probe, data: &[u8]) {
    assert!(data.len() <= MAX_BYTES || DepInfo::parse(data).is_err());
    let read = probe.decode(data.len(), || DepInfo::parse(data));
    let Ok(read) = read else { return };
    let written = read.render();
    if let Ok(again) = DepInfo::parse(&written) {
        assert_eq!(again.render(), written, "written twice, not the same");
    }
    let roots = checkout();
    let restored = DepInfo::restore(data, &roots, &|_| Some("value".into()));
    drop(restored);
    let stored = read.to_stored(&roots);
    if let Ok(stored) = stored.as_deref().map(String::from_utf8_lossy) {
        let variables = stored.lines().filter(|l| l.starts_with("# env-dep:"));
        for variable in variables {
            assert!(!variable.contains('='), "a value in the stored form");
        }
    }
}

/// A checkout of nothing.
pub(super) fn checkout() -> Roots {
    let inv = Invocation {
        argv: vec!["rustc".into()],
        env: vec![("CARGO_HOME".into(), "/nowhere/cargo".into())],
        cwd: "/nowhere/ws".into(),
        started: Vec::new(),
    };
    let out = Path::new("/nowhere/ws/target/debug/build/p-1");
    Roots::of_script(&inv, out, None, Path::new("/nowhere/at/all"), "")
}

/// A log's beginning, with some records.
pub(super) fn observer_seeds() -> Vec<Vec<u8>> {
    let record = |kind: u8, outcome: u8, object: &str, text: &str| {
        let mut bytes = vec![b'Q', kind, outcome, 0];
        for part in [object, text] {
            bytes.extend(u16::try_from(part.len()).unwrap_or(0).to_le_bytes());
        }
        [bytes.as_slice(), object.as_bytes(), text.as_bytes()].concat()
    };
    let log = [
        log::beginning(),
        record(b'R', 0, "/lib/libm.so", "/ws/a.txt"),
        record(b'K', 1, "", "/ws/b.txt"),
        record(b'W', 2, "rustc", "/tmp/x"),
    ];
    vec![log::beginning(), log.concat()]
}

/// What a process that ran a macro or a build script left behind.
pub(super) fn observer(probe: &Probe, data: &[u8]) {
    if let Some(records) = probe.decode(data.len(), || log::parse(data)) {
        let texts: usize = records.iter().map(|r| r.text.len()).sum();
        assert!(8 * (records.len() + 1) + texts <= data.len());
    }
}

/// Packed directories: empty, with files, links and directories.
pub(super) fn outdir_seeds() -> Vec<Vec<u8>> {
    let entry = |kind: u8, name: &str, rest: &[u8]| {
        let length = u16::try_from(name.len()).unwrap_or(0).to_le_bytes();
        [&[kind], length.as_slice(), name.as_bytes(), rest].concat()
    };
    let file = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    let target = |to: &str| {
        let length = u16::try_from(to.len()).unwrap_or(0).to_le_bytes();
        [length.as_slice(), to.as_bytes()].concat()
    };
    let object =
        |entries: &[Vec<u8>]| [b"quarry out 1\n", entries.concat().as_slice(), &[255]].concat();
    vec![
        object(&[]),
        object(&[entry(1, "a.rs", &file(b"fn a() {}"))]),
        object(&[
            entry(0, "d", &[]),
            entry(2, "d/p", &file(b"#!")),
            entry(3, "d/l", &target("../d/p")),
            entry(3, "up", &target("d/l")),
        ]),
        object(&[entry(3, "out", &target("../../etc/passwd"))]),
        object(&[entry(1, "../out", &file(b"x"))]),
    ]
}

/// The OUT_DIR of a teammate's build script, unpacked.
pub(super) fn outdir(probe: &Probe, data: &[u8]) {
    let place = Place::new("out");
    let (dir, mut from) = (place.0.join("within/out"), data);
    std::fs::create_dir_all(&dir).expect("a directory for the test");
    let _ = probe.decode(data.len(), || {
        quarry_wrapper::fuzzing::unpack_out_dir(&mut from, &dir)
    });
    for only in [place.0.clone(), place.0.join("within")] {
        let names = std::fs::read_dir(only).expect("ours").count();
        assert_eq!(names, 1, "something lies outside of OUT_DIR");
    }
    inside(&dir, &dir);
}

/// Every link leads into the directory, and no file is anything but what its owner may use.
fn inside(dir: &Path, root: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for entry in std::fs::read_dir(dir).expect("ours") {
        let path = entry.expect("ours").path();
        let m = std::fs::symlink_metadata(&path).expect("ours");
        if m.is_symlink() {
            if let Ok(end) = std::fs::canonicalize(&path) {
                let root = std::fs::canonicalize(root).expect("ours");
                assert!(end.starts_with(root), "{} leads out", path.display());
            }
        } else if m.is_dir() {
            inside(&path, root);
        } else {
            assert!(m.is_file(), "{} is no file", path.display());
            assert_eq!(m.permissions().mode() & 0o7022, 0, "{}", path.display());
        }
    }
}

/// What a target directory's files were seen to be.
pub(super) fn place_seeds() -> Vec<Vec<u8>> {
    let mut w = Writer::default();
    (1..=3).for_each(|n| w.u64(n));
    w.fixed(&5_i128.to_le_bytes());
    w.option(Some(&6_i128), |w, born| w.fixed(&born.to_le_bytes()));
    w.list(&description().macros);
    w.count(1);
    w.text("serde-0123");
    w.u8(1);
    vec![w.finish()]
}

/// A memo of the store about a file in a target directory.
pub(super) fn places(probe: &Probe, data: &[u8]) {
    // Read and written again: the bytes once more.
    let again = probe.decode(2 * data.len(), || quarry_wrapper::fuzzing::place(data));
    if let Some(again) = again {
        assert_eq!(again, data, "two forms of one memo");
    }
}
