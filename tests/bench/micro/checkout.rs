//! A library of 55 files, compiled once by rustc as cargo would have it, and a node's side of that.

use quarry_node::service::counters::Counters;
use quarry_node::store::{RedbStore, Store};
use quarry_node::swarm::memory::MemoryNet;
use quarry_node::team::Team;
use quarry_node::worker::hearing::Hearing;
use quarry_node::worker::host::NodeHost;
use quarry_node::worker::{Answer, Worker};
use quarry_trust::Entry;
use quarry_trust::canon::Canonical;
use quarry_wrapper::home::Home;
use quarry_wrapper::invocation::Invocation;
use quarry_wrapper::ipc::protocol::Finished;
use quarry_wrapper::pipeline::Caller;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// As many as syn has, and as the names of the benches say.
const FILES: usize = 55;
/// Bytes of a file: syn's have 20 KB in the mean.
const BYTES: usize = 20_000;

pub struct Checkout {
    dir: TempDir,
    store: Arc<dyn Store>,
    worker: Worker,
    rustc: PathBuf,
}

/// A node's parts over a store on this disk, with nobody around.
fn worker(dir: &Path) -> (Worker, Arc<dyn Store>) {
    let home = Home::at(dir.join("home")).unwrap();
    home.create().unwrap();
    let team = Arc::new(Team::load(&home).unwrap());
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&dir.join("store")).unwrap().0);
    let counters = Arc::new(Counters::resume(None));
    let hearing = Arc::new(Hearing::new(false));
    let host = NodeHost::new(
        store.clone(),
        team.clone(),
        counters.clone(),
        hearing.clone(),
    );
    let swarm = Arc::new(MemoryNet::new().join(team.peer(), Arc::new(host)));
    let unobserved = (None, &[][..]);
    let worker = Worker::new(store.clone(), swarm, team, counters, hearing, unobserved);
    (worker, store)
}

impl Checkout {
    /// Written, compiled, and in the store.
    pub fn compiled() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (worker, store) = worker(dir.path());
        let checkout = Self {
            worker,
            store,
            rustc: rustc(),
            dir,
        };
        fs::create_dir_all(checkout.ws().join("target/debug/deps")).unwrap();
        checkout.change_all(0);
        checkout.compile();
        checkout
    }

    fn ws(&self) -> PathBuf {
        self.dir.path().join("ws")
    }

    /// The `n`th source.
    pub fn source(&self, n: usize) -> PathBuf {
        match n {
            0 => self.ws().join("l.rs"),
            n => self.ws().join(format!("m{n}.rs")),
        }
    }

    /// Writes all sources anew, but for the root, which a look-up begins with.
    pub fn change_all(&self, round: usize) {
        let modules: String = (1..FILES).map(|n| format!("pub mod m{n};\n")).collect();
        if round == 0 {
            fs::write(self.source(0), modules).unwrap();
        }
        for n in 1..FILES {
            let line = format!("pub fn f{n}() -> usize {{ {} }}\n", n + round);
            let weight = "// Weight.\n".repeat(BYTES / 11);
            fs::write(self.source(n), line + &weight).unwrap();
        }
    }

    /// Removes what was built.
    pub fn clean(&self) {
        let deps = self.ws().join("target/debug/deps");
        fs::remove_dir_all(&deps).unwrap();
        fs::create_dir(&deps).unwrap();
    }

    /// The canonical description of the compile that is in the store.
    pub fn description(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut read = |entry: Entry| {
            let object = self.store.object(&entry.description).unwrap();
            let mut reader = object.unwrap().reader(entry.description.size);
            reader.read_to_end(&mut bytes).unwrap();
        };
        let each = &mut |offer: quarry_node::store::Offer| {
            read(Entry::from_canon(&offer.signed.bytes).unwrap());
        };
        self.store.each_offer(each).unwrap();
        bytes
    }

    fn invocation(&self) -> Invocation {
        let words = "rustc --crate-name l --edition=2021 l.rs --error-format=json \
             --json=diagnostic-rendered-ansi,artifacts,future-incompat --crate-type lib \
             --emit=dep-info,metadata,link -C embed-bitcode=no -C metadata=12 \
             -C extra-filename=-34 --out-dir";
        let mut argv: Vec<OsString> = words.split_whitespace().map(Into::into).collect();
        argv.push(self.ws().join("target/debug/deps").into());
        argv[0] = self.rustc.clone().into();
        let env = std::env::vars_os().filter(|(name, _)| name != "LD_LIBRARY_PATH");
        Invocation {
            argv,
            env: env.collect(),
            cwd: self.ws(),
            started: Vec::new(),
        }
    }

    /// Looks up, and restores where there is something.
    pub fn begin(&self) -> Answer {
        let caller = Caller {
            queued: &|_| {},
            pid: None,
            above: None,
            umask: 0o022,
            waits: &|| true,
            wrapper: None,
            no_stdin: false,
            ask: &|_| None,
        };
        self.worker.begin(&Arc::new(self.invocation()), &caller)
    }

    fn compile(&self) {
        let Answer::Run(plan, started) = self.begin() else {
            panic!("there was something to compile")
        };
        let argv = plan.argv.iter().cloned().map(OsString::from_vec);
        let argv: Vec<OsString> = argv.collect();
        let ran = Command::new(&argv[0])
            .args(&argv[1..])
            .current_dir(self.ws())
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        assert!(ran.status.success());
        let finished = Finished {
            success: true,
            stdout: Some(ran.stdout),
            stderr: Some(ran.stderr),
            duration_ms: 1,
            stopped: false,
        };
        self.worker.record(*started, &finished);
        assert!(!self.description().is_empty(), "it was kept");
    }
}

/// The compiler itself, behind rustup's proxy, as cargo names it.
fn rustc() -> PathBuf {
    let asked = Command::new("rustc").arg("--print=sysroot").output();
    let sysroot = String::from_utf8(asked.unwrap().stdout).unwrap();
    Path::new(sysroot.trim()).join("bin/rustc")
}
