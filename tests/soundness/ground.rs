//! The ground that soundness tests stand on: one program over one library, built and run, and
//! how its compiles ended.
//!
//! Enters: the library's files. Leaves: what the program said, and which compiles hit, missed or
//! were bypassed and why. Must never happen here: a build that is not cargo's and rustc's own.

use crate::harness::{Dev, Said, projects, wait_for};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A checkout of a developer: the program `app` prints what the library `l` says.
pub struct Place<'d> {
    pub dev: &'d Dev,
    pub at: PathBuf,
    /// Environment of the builds in this checkout.
    pub env: Vec<(String, String)>,
    /// Arguments of the builds after `build`.
    pub args: Vec<String>,
}

/// What a build led to: the program's output, and how the compiles of libraries ended, such as
/// `1 hit, 2 miss`.
pub type Led = (String, String);

/// The expectation of [`Place::fresh`] and [`Place::again`].
pub fn led(said: &str, how: &str) -> Led {
    (said.into(), how.into())
}

const FILES: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nmembers = [\"app\", \"l\"]\nresolver = \"2\"\n",
    ),
    (
        "app/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [dependencies]\nl = { path = \"../l\" }\n",
    ),
    (
        "app/src/main.rs",
        "fn main() { println!(\"{}\", l::said()); }\n",
    ),
    ("l/Cargo.toml", L_MANIFEST),
];

/// The library's manifest, for those that add to it.
pub const L_MANIFEST: &str = "[package]\nname = \"l\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";

/// A workspace with further members.
pub fn members(names: &[&str]) -> String {
    format!("[workspace]\nmembers = {names:?}\nresolver = \"2\"\n")
}

/// A package's manifest with something after it.
pub fn package(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{rest}\n")
}

/// The manifest of a procedural macro.
pub fn macro_package(name: &str, rest: &str) -> String {
    package(name, &format!("{rest}\n[lib]\nproc-macro = true"))
}

/// A macro `gate::wait!()` that holds the compile while [`Place::while_compiling`] changes things.
pub const GATE: &str = r#"
use std::{env, fs, path::PathBuf, thread, time::{Duration, Instant}};
#[proc_macro]
pub fn wait(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
    if let Some(dir) = env::var_os("GATE").map(PathBuf::from) {
        fs::write(dir.join("begun"), "").unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while !dir.join("go").exists() {
            assert!(Instant::now() < end, "nobody opened the gate");
            thread::sleep(Duration::from_millis(2));
        }
    }
    proc_macro::TokenStream::new()
}
"#;

impl<'d> Place<'d> {
    /// Writes a checkout below the developer's directory. `files` are paths below `l/`, or, where
    /// they begin with a slash, below the workspace.
    pub fn new(dev: &'d Dev, name: &str, files: &[(&str, &str)]) -> Self {
        let place = Self {
            dev,
            at: dev.path(name),
            env: Vec::new(),
            args: Vec::new(),
        };
        projects::write(&place.at, FILES);
        place.write(files);
        dev.start();
        place
    }

    /// A checkout whose library is this text.
    pub fn lib(dev: &'d Dev, name: &str, text: &str) -> Self {
        Self::new(dev, name, &[("src/lib.rs", text)])
    }

    /// A checkout whose library depends on the macro `gate`.
    pub fn gated(dev: &'d Dev, name: &str, files: &[(&str, &str)]) -> Self {
        let gate = macro_package("gate", "");
        let l = package("l", "[dependencies]\ngate = { path = \"../gate\" }");
        let all = members(&["app", "l", "gate"]);
        let mut every = vec![
            ("/Cargo.toml", all.as_str()),
            ("/gate/Cargo.toml", &gate),
            ("/gate/src/lib.rs", GATE),
            ("Cargo.toml", &l),
        ];
        every.extend(files);
        Self::new(dev, name, &every)
    }

    /// Writes files as [`Place::new`] does.
    pub fn write(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = match path.strip_prefix('/') {
                Some(path) => path.to_owned(),
                None => format!("l/{path}"),
            };
            projects::write(&self.at, &[(&path, text)]);
        }
    }

    /// A path below the library.
    pub fn l(&self, path: &str) -> PathBuf {
        self.at.join("l").join(path)
    }

    /// A variable of later builds; `None` takes it away.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.env.retain(|(n, _)| n != name);
        self.env
            .extend(value.map(|v| (name.to_owned(), v.to_owned())));
    }

    /// The command that builds through qwrap.
    pub fn command(&self, what: &str) -> Command {
        let mut args = vec![what];
        args.extend(self.args.iter().map(String::as_str));
        let mut command = self.dev.cargo(&self.at, &args);
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Builds through qwrap.
    pub fn build(&self) -> Said {
        self.dev.run(&mut self.command("build"))
    }

    /// Builds without qwrap.
    pub fn plain(&self) -> Said {
        self.dev
            .run(self.command("build").env_remove("RUSTC_WRAPPER"))
    }

    /// Removes all that builds left.
    pub fn clean(&self) {
        let _ = fs::remove_dir_all(self.at.join("target"));
    }

    /// What the program says.
    #[track_caller]
    pub fn run(&self) -> String {
        let release = self.args.iter().any(|a| a == "--release");
        self.run_of(if release { "release" } else { "debug" })
    }

    /// What the program in this directory below `target` says.
    #[track_caller]
    pub fn run_of(&self, profile: &str) -> String {
        let app = self.at.join("target").join(profile).join("app");
        let ran = self.dev.run(&mut self.dev.command(app));
        ran.succeeded().out.trim().to_owned()
    }

    /// Builds from nothing, and runs.
    #[track_caller]
    pub fn fresh(&self) -> Led {
        self.clean();
        self.again()
    }

    /// Builds upon what is there, and runs.
    #[track_caller]
    pub fn again(&self) -> Led {
        let how = self.counted(|| drop(self.build().succeeded()));
        (self.run(), how)
    }

    /// How the compiles of libraries ended that `work` led to.
    #[track_caller]
    pub fn counted(&self, work: impl FnOnce()) -> String {
        counted(self.dev, work)
    }

    /// Builds through qwrap; once the library's macro `gate` runs, changes something, and lets
    /// the compile go on.
    #[track_caller]
    pub fn while_compiling(&self, change: impl FnOnce()) -> Said {
        let gate = self.dev.path("the-gate");
        let _ = fs::remove_dir_all(&gate);
        fs::create_dir(&gate).unwrap();
        let child = self
            .command("build")
            .env("GATE", &gate)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("the compile to reach the gate", || {
            gate.join("begun").exists().then_some(())
        });
        change();
        fs::write(gate.join("go"), "").unwrap();
        Said::of(&child.wait_with_output().unwrap())
    }

    /// Fails unless cargo finds nothing to do.
    #[track_caller]
    pub fn nothing_left(&self) {
        let again = self.dev.run(self.command("build").arg("-v")).succeeded();
        assert!(!again.err.contains("Running"), "{}", again.err);
        assert!(again.err.contains("Fresh l"), "{}", again.err);
    }

    /// A file of `target/debug/deps`, by the beginning and the end of its name.
    #[track_caller]
    pub fn dep(&self, begins: &str, ends: &str) -> PathBuf {
        let deps = self.at.join("target/debug/deps");
        let named = |path: &Path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with(begins) && name.ends_with(ends)
        };
        let mut all = fs::read_dir(deps).unwrap().map(|e| e.unwrap().path());
        all.find(|path| named(path))
            .unwrap_or_else(|| panic!("no {begins}…{ends} among the outputs"))
    }
}

/// Crates that are no libraries: the program, and the macros of these tests.
const OTHERS: &[&str] = &["app", "build_script_build", "gate", "mac"];

/// How the compiles of libraries ended that `work` led to.
#[track_caller]
pub fn counted(dev: &Dev, work: impl FnOnce()) -> String {
    ended(dev, work, &|name| !OTHERS.contains(&name))
}

/// How the compiles of the crates that `counts` ended that `work` led to.
#[track_caller]
pub fn ended(dev: &Dev, work: impl FnOnce(), counts: &dyn Fn(&str) -> bool) -> String {
    told(dev, work, &|compile| {
        compile["script"] == false && counts(compile["crate_name"].as_str().unwrap())
    })
}

/// How the runs of build scripts ended that `work` led to.
#[track_caller]
pub fn scripts(dev: &Dev, work: impl FnOnce()) -> String {
    told(dev, work, &|run| run["script"] == true)
}

#[track_caller]
fn told(dev: &Dev, work: impl FnOnce(), counts: &dyn Fn(&Value) -> bool) -> String {
    let before = dev.recent().len();
    work();
    // A compile that failed has ended for cargo before the node has heard of it.
    wait_for("every compile to be told", || {
        (dev.json(&["status"])["busy"] == 0).then_some(())
    });
    let mut told: Vec<(String, u32)> = ["hit", "peer", "miss"].map(|n| (n.into(), 0)).into();
    for compile in dev.recent().split_off(before) {
        let text = |field: &str| compile[field].as_str().unwrap().to_owned();
        let name = match text("outcome").as_str() {
            "hit-local" => "hit".to_owned(),
            "hit-peer" => "peer".to_owned(),
            "miss" => "miss".to_owned(),
            _ => text("reason"),
        };
        if name == "probe" || !counts(&compile) {
            continue;
        }
        match told.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => told.push((name, 1)),
        }
    }
    told[3..].sort();
    told.retain(|(_, count)| *count > 0);
    let told: Vec<String> = told.iter().map(|(n, c)| format!("{c} {n}")).collect();
    told.join(", ")
}
