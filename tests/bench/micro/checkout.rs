//! A library of 55 files, compiled once by rustc as cargo would have it.

use super::cache::StoreCache;
use quarry_node::store::Store;
use quarry_trust::LookupKey;
use quarry_wrapper::invocation::Invocation;
use quarry_wrapper::ipc::protocol::Finished;
use quarry_wrapper::pipeline::{Begin, Caller, Pipeline, Recorded};
use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// As many as syn has, and as the names of the benches say.
const FILES: usize = 55;
/// Bytes of a file: syn's have 20 KB in the mean.
const BYTES: usize = 20_000;

pub struct Checkout {
    dir: TempDir,
    pipeline: Pipeline,
    cache: StoreCache,
    kept: RefCell<Vec<u8>>,
    rustc: PathBuf,
}

impl Checkout {
    /// Written, compiled, and in the store.
    pub fn compiled() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let checkout = Self {
            cache: StoreCache::new(&dir.path().join("store")),
            pipeline: Pipeline::new(None),
            kept: RefCell::default(),
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
        self.kept.borrow().clone()
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
    pub fn begin(&self) -> Begin {
        let caller = Caller {
            queued: &|_| {},
            pid: None,
            umask: 0o022,
            waits: &|| true,
            wrapper: None,
            no_stdin: false,
        };
        self.pipeline
            .begin(&self.invocation(), &caller, &self.cache)
    }

    fn compile(&self) {
        let Begin::Run(job) = self.begin() else {
            panic!("there was something to compile")
        };
        let argv: Vec<OsString> = job
            .plan
            .argv
            .iter()
            .cloned()
            .map(OsString::from_vec)
            .collect();
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
        match self.pipeline.record(*job, &finished, &self.cache) {
            Recorded::Stored(entry, _) => {
                let lookup: LookupKey = entry.lookup;
                assert_eq!(self.cache.store.offers(&lookup, 16).unwrap().len(), 1);
                let object = self.cache.store.object(&entry.description).unwrap();
                let size = entry.description.size;
                let mut bytes = Vec::new();
                let mut reader = object.unwrap().reader(size);
                reader.read_to_end(&mut bytes).unwrap();
                *self.kept.borrow_mut() = bytes;
            }
            Recorded::NotStored(reason) => panic!("not kept: {reason}"),
        }
    }
}

/// The compiler itself, behind rustup's proxy, as cargo names it.
fn rustc() -> PathBuf {
    let asked = Command::new("rustc").arg("--print=sysroot").output();
    let sysroot = String::from_utf8(asked.unwrap().stdout).unwrap();
    Path::new(sysroot.trim()).join("bin/rustc")
}
