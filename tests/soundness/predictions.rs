//! What a lookup believes of those who predict (15, 35, 36, 39, 44, 46): the pipeline over a cache
//! that offers what a peer might. The compiles are rustc's own.

use crate::harness::projects;
use quarry_trust::canon::Canonical;
use quarry_trust::verify::{Source, Verifier};
use quarry_trust::{
    ActionKey, BuilderKey, Digest, Entry, LookupKey, ObjectRef, Output, OutputName, Scope, Verified,
};
use quarry_wrapper::action::{Description, FileInput, Prediction};
use quarry_wrapper::child::Said;
use quarry_wrapper::invocation::Invocation;
use quarry_wrapper::ipc::protocol::{Ended, Finished};
use quarry_wrapper::pipeline::recheck::Rechecked;
use quarry_wrapper::pipeline::{
    Begin, Cache, Caller, Candidate, Object, Pipeline, Recorded, Staged, Tier, UnsignedEntry,
};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A cache in memory. What it took in it offers in the name of a tier, once told so.
pub struct Peer {
    key: BuilderKey,
    objects: Mutex<HashMap<Digest, Vec<u8>>>,
    taken: Mutex<Option<(Entry, Vec<u8>)>>,
    offered: Mutex<Vec<(Tier, Candidate)>>,
    /// How many more objects are there for who asks; all are where that is not said.
    left: Mutex<Option<usize>>,
    /// Whether who signed what is offered was revoked since.
    revoked: Mutex<bool>,
    /// Whether what is offered was signed by the node that asks.
    pub own: Mutex<bool>,
    /// Programs that were to be run, and what each of them says.
    pub asked: Mutex<usize>,
    pub says: Said,
}

impl Peer {
    fn new() -> Self {
        Self {
            key: BuilderKey::generate().unwrap(),
            objects: Mutex::default(),
            taken: Mutex::default(),
            offered: Mutex::default(),
            left: Mutex::default(),
            revoked: Mutex::default(),
            own: Mutex::default(),
            asked: Mutex::default(),
            says: Said {
                ended: Ended::Code(0),
                heard: [b"v1".to_vec(), Vec::new()],
            },
        }
    }

    /// What was taken last: the entry, its description, its prediction.
    pub fn taken(&self) -> (Entry, Description, Prediction) {
        let (entry, prediction) = self
            .taken
            .lock()
            .unwrap()
            .clone()
            .expect("something was kept");
        let description = self.objects.lock().unwrap()[&entry.description.digest].clone();
        (
            entry,
            Description::from_canon(&description).unwrap(),
            Prediction::from_canon(&prediction).unwrap(),
        )
    }

    fn verified(&self, entry: &Entry) -> (quarry_trust::SignedEntry, Verified<Entry>) {
        let signed = entry.sign(&self.key);
        let verifier = Verifier {
            own: self.key.id(),
            roster: None,
            now: 0,
        };
        let entry = verifier.entry(&signed, Source::Peer, None, None).unwrap();
        (signed, entry)
    }

    /// Offers an entry, signed and all, under a prediction.
    pub fn offer(&self, tier: Tier, entry: &Entry, prediction: Vec<u8>) {
        let (signed, entry) = self.verified(entry);
        let candidate = Candidate {
            prediction,
            signed,
            entry,
            from: None,
        };
        *self.offered.lock().unwrap() = vec![(tier, candidate)];
    }

    fn of(&self, tier: Tier) -> Vec<Candidate> {
        let all = self.offered.lock().unwrap();
        all.iter()
            .filter(|(t, _)| *t == tier)
            .map(|(_, c)| c.clone())
            .collect()
    }
}

impl Cache for Peer {
    fn predict(&self, lookup: &LookupKey, tier: Tier) -> Vec<Candidate> {
        let mut all = self.of(tier);
        all.retain(|c| c.entry.lookup == *lookup);
        all
    }

    fn get(&self, action: &ActionKey, tier: Tier) -> Vec<Candidate> {
        let mut all = self.of(tier);
        all.retain(|c| tier == Tier::Local && c.entry.action == *action);
        all
    }

    fn judge(&self, fit: &[&Candidate], _: bool) -> Vec<usize> {
        (0..fit.len()).collect()
    }

    fn bring(&self, _: &Candidate, _: &[&Candidate]) -> bool {
        true
    }

    fn open_object(&self, object: &ObjectRef) -> Option<Object> {
        if let Some(left) = self.left.lock().unwrap().as_mut() {
            *left = left.checked_sub(1)?;
        }
        let all = self.objects.lock().unwrap();
        all.get(&object.digest).cloned().map(Object::Bytes)
    }

    fn refused(&self, _: &Candidate, _: &'static str) {}

    fn stands(&self, _: &Verified<Entry>) -> bool {
        !*self.revoked.lock().unwrap()
    }

    fn damaged(&self, _: &Verified<Entry>) {}

    fn stage_bytes(&self, bytes: &[u8]) -> io::Result<Staged> {
        let object = ObjectRef {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        self.objects
            .lock()
            .unwrap()
            .insert(object.digest, bytes.to_vec());
        Ok(Staged {
            object,
            pin: Box::new(()),
        })
    }

    fn stage_file(&self, mut file: &File) -> io::Result<Staged> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.stage_bytes(&bytes)
    }

    fn put(&self, entry: UnsignedEntry) -> io::Result<Verified<Entry>> {
        let output = |o: &quarry_wrapper::pipeline::StagedOutput| Output {
            name: OutputName::new(o.name.clone()).unwrap(),
            kind: o.kind,
            executable: o.executable,
            object: o.staged.object,
        };
        let kept = Entry {
            scope: Scope::Private,
            builder: self.key.id(),
            lookup: entry.lookup,
            action: entry.action,
            description: entry.description.object,
            crate_name: entry.crate_name,
            outputs: entry.outputs.iter().map(output).collect(),
            stdout: entry.stdout.object,
            stderr: entry.stderr.object,
            width: entry.width,
            duration_ms: entry.duration_ms,
            created: 0,
        };
        *self.taken.lock().unwrap() = Some((kept.clone(), entry.prediction));
        Ok(self.verified(&kept).1)
    }

    fn is_own(&self, _: &Entry) -> bool {
        *self.own.lock().unwrap()
    }

    fn value_secret(&self) -> [u8; 32] {
        [7; 32]
    }
}

fn rustc_says(args: &[&str]) -> String {
    let asked = Command::new("rustc").args(args).output();
    String::from_utf8(asked.unwrap().stdout).unwrap()
}

/// A checkout, and a compile of its library as cargo would ask for it.
pub struct Bench {
    dir: TempDir,
    pipeline: Pipeline,
    pub peer: Peer,
    more: Vec<&'static str>,
}

impl Bench {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        projects::write(&dir.path().join("ws"), files);
        fs::create_dir_all(dir.path().join("ws/target/debug/deps")).unwrap();
        Self {
            dir,
            pipeline: Pipeline::new(None),
            peer: Peer::new(),
            more: Vec::new(),
        }
    }

    fn ws(&self) -> &Path {
        // Leaked for the length of a test: simpler than a field for each path.
        Box::leak(self.dir.path().join("ws").into_boxed_path())
    }

    /// The toolchain's own cargo.
    pub fn cargo(&self) -> String {
        format!("{}/bin/cargo", rustc_says(&["--print=sysroot"]).trim())
    }

    fn invocation(&self) -> Invocation {
        let words = "rustc --crate-name l --edition=2021 l.rs --error-format=json \
             --json=diagnostic-rendered-ansi,artifacts,future-incompat --crate-type lib \
             --emit=dep-info,metadata,link -C embed-bitcode=no -C metadata=12 -C extra-filename=-34 \
             --out-dir";
        let mut argv: Vec<OsString> = words.split_whitespace().map(Into::into).collect();
        argv.push(self.ws().join("target/debug/deps").into());
        argv.extend(self.more.iter().map(Into::into));
        let env = ["PATH", "HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"]
            .iter()
            .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        let home = self.dir.path().join("cargo");
        let home = (OsString::from("CARGO_HOME"), home.into());
        let cargo = (OsString::from("CARGO"), self.cargo().into());
        let package = (OsString::from("CARGO_MANIFEST_DIR"), self.ws().into());
        Invocation {
            argv,
            env: env.chain([home, cargo, package]).collect(),
            cwd: self.ws().to_owned(),
            started: Vec::new(),
        }
    }

    fn begin(&self) -> Begin {
        self.begin_while(&|| true)
    }

    /// Begins for a caller that waits as long as `waits` says so.
    fn begin_while(&self, waits: &dyn Fn() -> bool) -> Begin {
        let caller = Caller {
            queued: &|_| {},
            pid: None,
            above: None,
            umask: 0o022,
            waits,
            wrapper: None,
            no_stdin: false,
            ask: &|_| {
                *self.peer.asked.lock().unwrap() += 1;
                Some(self.peer.says.clone())
            },
        };
        let inv = self.invocation().into();
        self.pipeline.begin(&inv, &caller, &self.peer)
    }

    #[track_caller]
    pub fn hits(&self) -> bool {
        match self.begin() {
            Begin::Hit(_) => true,
            Begin::Run(_) => false,
            Begin::Query(_) | Begin::Untouched(_) => panic!("the compile can be cached"),
        }
    }

    /// Compiles and keeps.
    #[track_caller]
    pub fn compiled(&self) {
        let Begin::Run(job) = self.begin() else {
            panic!("there was something to compile")
        };
        let inv = self.invocation();
        use std::os::unix::ffi::OsStringExt;
        let argv: Vec<OsString> = job
            .plan
            .argv
            .iter()
            .cloned()
            .map(OsString::from_vec)
            .collect();
        let ran = Command::new(&argv[0])
            .args(&argv[1..])
            .current_dir(&inv.cwd)
            .env_clear()
            .envs(inv.env)
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        let finished = Finished {
            success: true,
            stdout: Some(ran.stdout),
            stderr: Some(ran.stderr),
            duration_ms: 1,
            stopped: false,
        };
        match self.pipeline.record(*job, &finished, &self.peer) {
            Recorded::Stored(..) => {}
            Recorded::NotStored(reason) => panic!("not kept: {reason}"),
        }
    }

    /// Compiles what was kept once more, and compares.
    pub fn recheck(&self, (entry, prediction): (&Entry, &[u8]), scratch: &Path) -> Rechecked {
        let inv = self.invocation();
        let within = Duration::from_secs(60);
        let kept = (entry, prediction, false);
        self.pipeline
            .recheck(&inv, kept, scratch, within, &self.peer)
    }

    /// The kept entry as a liar signs it: its inputs, and the names that predict them, changed.
    fn lie(&self, tier: Tier, change: impl FnOnce(&mut Vec<FileInput>)) {
        let (mut entry, mut description, _) = self.peer.taken();
        change(&mut description.files);
        description.files.sort();
        let (action, bytes) = description.action();
        entry.action = action;
        entry.description = ObjectRef {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        self.peer
            .offer(tier, &entry, description.prediction().to_canon());
    }
}

pub const WORDS: &[(&str, &str)] = &[
    (
        "l.rs",
        "mod word; pub fn said() -> &'static str { word::IT }",
    ),
    ("word.rs", "pub const IT: &str = \"one\";"),
];

fn input(name: &str, bytes: &[u8]) -> FileInput {
    FileInput {
        name: name.into(),
        digest: Some(Digest::of(bytes)),
    }
}

#[test]
fn a_true_prediction_is_used_and_one_that_lies_about_the_sources_is_not() {
    let bench = Bench::new(WORDS);
    bench.compiled();
    for tier in [Tier::Local, Tier::Peers] {
        bench.lie(tier, |_| {});
        assert!(bench.hits(), "{tier:?}");
    }
    // It forgets the module; the key that it leads to is not the entry's.
    let (entry, _, mut prediction) = bench.peer.taken();
    prediction.files.retain(|name| !name.ends_with("word.rs"));
    for tier in [Tier::Local, Tier::Peers] {
        bench.peer.offer(tier, &entry, prediction.to_canon());
        assert!(!bench.hits(), "{tier:?}");
    }
    // It tells the truth, and the module is another.
    bench.lie(Tier::Peers, |_| {});
    projects::write(bench.ws(), &[("word.rs", "pub const IT: &str = \"two\";")]);
    assert!(!bench.hits());
}

#[test]
fn who_gave_up_waiting_finds_no_file_restored_after_that() {
    let bench = Bench::new(WORDS);
    bench.compiled();
    bench.lie(Tier::Local, |_| {});
    let deps = bench.ws().join("target/debug/deps");
    fs::remove_dir_all(&deps).unwrap();
    fs::create_dir(&deps).unwrap();
    assert!(matches!(bench.begin_while(&|| false), Begin::Run(_)));
    assert_eq!(fs::read_dir(&deps).unwrap().count(), 0);
    assert!(bench.hits(), "and the entry was not blamed for it");
}

#[test]
fn objects_that_go_in_the_middle_of_a_restore_leave_no_file_behind() {
    let bench = Bench::new(WORDS);
    bench.compiled();
    bench.lie(Tier::Local, |_| {});
    let deps = bench.ws().join("target/debug/deps");
    let begin = |left: Option<usize>| {
        fs::remove_dir_all(&deps).unwrap();
        fs::create_dir(&deps).unwrap();
        *bench.peer.left.lock().unwrap() = left;
        (bench.hits(), fs::read_dir(&deps).unwrap().count())
    };
    // What the compiler said, the list of inputs, the metadata, the library.
    for left in 0..4 {
        assert_eq!(begin(Some(left)), (false, 0), "{left} objects came");
    }
    assert_eq!(begin(Some(4)), (true, 3));
    assert_eq!(begin(None), (true, 3));
    // All of it came, and meanwhile its builder was revoked.
    *bench.peer.revoked.lock().unwrap() = true;
    assert_eq!(begin(None), (false, 0));
}

#[test]
fn a_peers_prediction_names_nothing_outside_the_roots() {
    let bench = Bench::new(WORDS);
    bench.compiled();
    let secret = bench.dir.path().join("secret");
    fs::write(&secret, "mine").unwrap();
    let secret = secret.to_str().unwrap();
    projects::write(
        &bench.dir.path().join("cargo"),
        &[
            ("credentials.toml", "mine"),
            ("registry/src/x/y-1.0.0/y.rs", "mine"),
        ],
    );
    // Where it lies here, such a name is right: what we compiled ourselves may have read it.
    bench.lie(Tier::Local, |files| files.push(input(secret, b"mine")));
    assert!(bench.hits(), "our own prediction may");
    bench.lie(Tier::Peers, |files| files.push(input(secret, b"mine")));
    assert!(!bench.hits(), "a peer's may not");
    let source = "/quarry/cargo/registry/src/x/y-1.0.0/y.rs";
    bench.lie(Tier::Peers, |files| files.push(input(source, b"mine")));
    assert!(bench.hits(), "unpacked sources it may name");
    for name in [
        "/quarry/ws/../secret",
        "/quarry/cargo/credentials.toml",
        "/quarry/ws/a/../../secret",
    ] {
        bench.lie(Tier::Peers, |files| files.push(input(name, b"mine")));
        assert!(!bench.hits(), "{name}");
    }
}

#[test]
fn a_peers_prediction_of_a_pipe_or_a_device_is_refused_without_waiting() {
    let bench = Bench::new(WORDS);
    bench.compiled();
    let made = Command::new("mkfifo")
        .arg(bench.ws().join("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("/dev/zero", bench.ws().join("zero")).unwrap();
    for (name, tier) in [
        ("pipe", Tier::Peers),
        ("zero", Tier::Peers),
        ("pipe", Tier::Local),
        ("zero", Tier::Local),
    ] {
        bench.lie(tier, |files| {
            files.push(input(&format!("/quarry/ws/{name}"), b""))
        });
        let began = Instant::now();
        assert!(!bench.hits(), "{name}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{name} was waited for"
        );
    }
}

#[test]
fn a_peers_prediction_of_too_many_files_or_bytes_is_refused() {
    let bench = Bench::new(WORDS);
    bench.compiled();
    // More than is looked at, each of them there and as it says.
    let many = 20_001;
    let dir = bench.ws().join("many");
    fs::create_dir(&dir).unwrap();
    let seed = dir.join("0");
    fs::write(&seed, "").unwrap();
    for n in 1..many {
        fs::hard_link(&seed, dir.join(n.to_string())).unwrap();
    }
    let all = |files: &mut Vec<FileInput>, count: u32| {
        files.extend((0..count).map(|n| input(&format!("/quarry/ws/many/{n}"), b"")));
    };
    bench.lie(Tier::Peers, |files| all(files, 1_000));
    assert!(bench.hits(), "a thousand are");
    bench.lie(Tier::Peers, |files| all(files, many));
    assert!(!bench.hits());
    // A million do not even decode.
    let (entry, _, mut prediction) = bench.peer.taken();
    prediction.files = (0..1_000_000)
        .map(|n| format!("/quarry/ws/{n:07}"))
        .collect();
    bench.peer.offer(Tier::Peers, &entry, prediction.to_canon());
    let began = Instant::now();
    assert!(!bench.hits());
    assert!(began.elapsed() < Duration::from_secs(5));
    let sparse = File::create(bench.ws().join("sparse")).unwrap();
    sparse.set_len(2 << 30).unwrap();
    bench.lie(Tier::Peers, |files| {
        files.push(input("/quarry/ws/sparse", b""))
    });
    let began = Instant::now();
    assert!(!bench.hits());
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "two gigabytes were read"
    );
}

#[test]
fn an_entry_of_another_schema_cannot_be_reached() {
    let bench = Bench::new(WORDS);
    bench.compiled();
    let (mut entry, description, prediction) = bench.peer.taken();
    let (mut older, mut names) = (description.to_canon(), prediction.to_canon());
    bench.peer.offer(Tier::Peers, &entry, names.clone());
    assert!(bench.hits());
    // The schema stands first in both.
    assert_eq!(older[..2], names[..2]);
    older[0] ^= 1;
    names[0] ^= 1;
    bench.peer.offer(Tier::Peers, &entry, names);
    assert!(!bench.hits(), "a prediction of another schema");
    entry.action = ActionKey::of(&older);
    entry.lookup = LookupKey::of(&[&[older[0]], &description.known.to_canon()[1..]].concat());
    bench.peer.offer(Tier::Peers, &entry, prediction.to_canon());
    assert!(!bench.hits(), "an entry of another schema");
}

#[test]
fn messages_for_another_width_are_not_shown_and_none_fit_every_width() {
    for (source, fits) in [
        ("pub fn f() {}", true),
        ("pub fn f() { let unused = 1; }", false),
    ] {
        let mut bench = Bench::new(&[("l.rs", source)]);
        bench.more = vec!["--diagnostic-width=80"];
        bench.compiled();
        bench.lie(Tier::Local, |_| {});
        assert!(bench.hits());
        for width in [&["--diagnostic-width=120"][..], &[]] {
            bench.more = width.to_vec();
            assert_eq!(bench.hits(), fits, "{width:?}: {source}");
        }
    }
}

#[test]
fn the_native_cpu_stands_in_the_key_by_its_features() {
    let mut bench = Bench::new(WORDS);
    bench.more = vec!["-Ctarget-cpu=native"];
    bench.compiled();
    let cfg = rustc_says(&["--print=cfg", "-Ctarget-cpu=native"]);
    let features = cfg.lines().filter(|l| l.starts_with("target_feature"));
    let features: Vec<&str> = features.collect();
    assert!(!features.is_empty());
    let (_, description, _) = bench.peer.taken();
    let args = &description.known.args;
    let told = args.iter().find(|a| a.starts_with(b"target-cpu=native:"));
    let told = String::from_utf8_lossy(told.unwrap());
    for feature in features {
        assert!(told.contains(feature), "{feature} is not in {told}");
    }
    bench.lie(Tier::Local, |_| {});
    assert!(bench.hits());
    // The same words on a machine with other features form another key.
    let (mut entry, mut elsewhere, prediction) = bench.peer.taken();
    for arg in &mut elsewhere.known.args {
        if arg.starts_with(b"target-cpu=native:") {
            arg.extend_from_slice(b"\ntarget_feature=\"other\"");
        }
    }
    entry.lookup = elsewhere.known.lookup();
    entry.action = elsewhere.action().0;
    bench.peer.offer(Tier::Local, &entry, prediction.to_canon());
    assert!(!bench.hits());
}
