//! A checkout in a temporary place, compiled by the real rustc.
//!
//! Enters: a name and sources. Leaves: an invocation as cargo would make it, and what rustc
//! wrote. Must never happen here: an imitation of rustc.

use crate::compiler::{Class, Unit, classify};
use crate::invocation::Invocation;
use crate::paths::Roots;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A workspace `NAME/ws` with one library and its target directory `NAME/t`.
pub(crate) struct Checkout {
    dir: tempfile::TempDir,
    name: String,
    source: String,
    env: Vec<(OsString, OsString)>,
    /// Added to the command.
    pub(crate) more: Vec<OsString>,
}

impl Checkout {
    /// A library with these files, the first being its root.
    pub(crate) fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let out = Self {
            name: name.into(),
            source: files[0].0.into(),
            env: vec![
                ("PATH".into(), std::env::var_os("PATH").unwrap()),
                ("HOME".into(), std::env::var_os("HOME").unwrap()),
                (
                    "CARGO_HOME".into(),
                    dir.path().join(name).join("cargo").into(),
                ),
            ],
            more: Vec::new(),
            dir,
        };
        for (path, text) in files {
            let path = out.ws().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::create_dir_all(out.out_dir()).unwrap();
        out
    }

    /// Names with blanks and backslashes, variables with line ends, an include by `../`.
    pub(crate) fn odd(name: &str) -> Self {
        let root = "mod x; #[path = \"we\\\\ird.rs\"] mod w; include!(\"../two  blanks.rs\");
            pub const T: &str = env!(\"TEXT\"); pub const E: &str = env!(\"EMPTY\");
            pub const U: Option<&str> = option_env!(\"UNSET\");";
        Self::new(
            name,
            &[
                ("my src/lib.rs", root),
                ("my src/x.rs", "pub fn unused() {}"),
                ("my src/we\\ird.rs", ""),
                ("two  blanks.rs", "pub fn f() { panic!() }"),
            ],
        )
        .with_env("TEXT", "a\nb\\c # \r")
        .with_env("EMPTY", "")
    }

    pub(crate) fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub(crate) fn path(&self) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(&self.name)
    }

    pub(crate) fn ws(&self) -> PathBuf {
        self.path().join("ws")
    }

    pub(crate) fn out_dir(&self) -> PathBuf {
        self.path().join("t/debug/deps")
    }

    /// The command, as cargo would pass it for a member.
    pub(crate) fn invocation(&self) -> Invocation {
        let words = "--edition=2024 --crate-name odd --crate-type lib --error-format=json \
            --json=diagnostic-rendered-ansi,artifacts,future-incompat \
            --emit=dep-info,metadata,link -C embed-bitcode=no -C debuginfo=2 -C metadata=1234 \
            -C extra-filename=-5678 --out-dir";
        let mut argv: Vec<OsString> = vec!["rustc".into(), self.source.clone().into()];
        argv.extend(words.split_whitespace().map(OsString::from));
        argv.push(self.out_dir().into());
        argv.extend(self.more.iter().cloned());
        Invocation {
            argv,
            env: self.env.clone(),
            cwd: self.ws(),
            started: Vec::new(),
        }
    }

    pub(crate) fn unit(&self) -> (Box<Unit>, Invocation) {
        let inv = self.invocation();
        match classify(&inv) {
            Class::Compile(unit) => (unit, inv),
            other => panic!("the fixture is cacheable, not {other:?}"),
        }
    }

    pub(crate) fn roots(&self) -> Roots {
        let (unit, inv) = self.unit();
        Roots::of(&inv, &unit, &sysroot(), "")
    }

    /// Runs a command in the checkout; it must go well.
    pub(crate) fn compile(&self, argv: &[OsString]) -> Output {
        let output = Command::new(&argv[0])
            .args(&argv[1..])
            .current_dir(self.ws())
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// Runs what Quarry would run.
    pub(crate) fn compile_remapped(&self) -> Output {
        let (unit, inv) = self.unit();
        self.compile(&unit.run_argv(&inv, &self.roots()))
    }

    pub(crate) fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        fs::read(path)
    }
}

/// The sysroot of the rustc in PATH.
pub(crate) fn sysroot() -> PathBuf {
    let output = Command::new("rustc")
        .arg("--print=sysroot")
        .output()
        .unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}
