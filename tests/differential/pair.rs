//! Two checkouts that have been through the same: one built through qwrap, one by cargo alone.

use super::dice::Dice;
use super::world::{Files, World};
use crate::harness::{Dev, Said};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// Arguments of cargo.
pub type Asked = &'static [&'static str];

/// What is asked of cargo, and how often of a hundred.
const ASKED: &[(usize, Asked)] = &[
    (50, &["build", "--keep-going"]),
    (5, &["build", "--keep-going", "--all-targets"]),
    (12, &["check", "--keep-going", "--all-targets"]),
    (17, &["test", "--no-fail-fast", "--tests", "--examples"]),
    (10, &["build", "--keep-going", "--release"]),
    (6, &["clippy", "--keep-going"]),
];

/// What is asked first of all: what builds most.
pub const BUILD: Asked = ASKED[0].1;

/// What is asked next.
pub fn asked(dice: &mut Dice) -> Asked {
    let mut at = dice.below(100);
    for (share, args) in ASKED {
        if at < *share {
            return args;
        }
        at -= share;
    }
    BUILD
}

/// Two checkouts of one developer.
pub struct Pair<'d> {
    /// Whose they are.
    pub dev: &'d Dev,
    /// Built through qwrap.
    pub ours: PathBuf,
    /// Built by cargo alone.
    pub twin: PathBuf,
    written: Files,
}

/// How a step ended.
pub struct Ended {
    /// Whether cargo succeeded, with qwrap and alone.
    pub works: bool,
    /// Whether only a second try of the tests gave the same with qwrap as alone.
    pub flaky: bool,
    /// How long cargo took through qwrap, and alone; of the first try.
    pub took: [Duration; 2],
}

impl<'d> Pair<'d> {
    /// A pair below a developer's directory, with a copy of `from` in each where that is given.
    pub fn new(dev: &'d Dev, name: &str, from: Option<&Path>) -> Self {
        let pair = Self {
            dev,
            ours: dev.path(name),
            twin: dev.path(format!("{name}-alone")),
            written: Files::new(),
        };
        for dir in [&pair.ours, &pair.twin] {
            match from {
                Some(from) => crate::harness::projects::copy(from, dir),
                None => fs::create_dir_all(dir).unwrap(),
            }
        }
        pair
    }

    /// Brings both checkouts to the world's state: only what differs is written.
    pub fn sync(&mut self, world: &World) {
        for dir in [&self.ours, &self.twin] {
            for path in self
                .written
                .keys()
                .filter(|p| !world.files.contains_key(*p))
            {
                fs::remove_file(dir.join(path)).unwrap();
                // A directory that nothing is in any more goes, too, as with git.
                let _ = fs::remove_dir(dir.join(path).parent().unwrap());
            }
            for (path, text) in &world.files {
                let touched = world.touched.as_ref() == Some(path);
                if self.written.get(path) != Some(text) || touched {
                    let path = dir.join(path);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, text).unwrap();
                }
            }
        }
        self.written = world.files.clone();
    }

    /// Something that happens to checkouts and not to their contents; says what.
    pub fn disturb(&self, dice: &mut Dice) -> String {
        if dice.happens(50) {
            let paths: Vec<&PathBuf> = self.written.keys().collect();
            let path = dice.one(&paths);
            for dir in [&self.ours, &self.twin] {
                let file = fs::File::options().append(true).open(dir.join(path));
                file.unwrap().set_modified(SystemTime::now()).unwrap();
            }
            return format!("touch {}", path.display());
        }
        let profile = *dice.one(&["debug", "release"]);
        if dice.happens(30) {
            for dir in [&self.ours, &self.twin] {
                let _ = fs::remove_dir_all(dir.join("target").join(profile));
            }
            return format!("clean {profile}");
        }
        let part = *dice.one(&["deps", "incremental", ".fingerprint", "build"]);
        let begins = *dice.one(&[
            "", "lib", "app", "base", "mid", "libmac", "l", "a", "g", "s",
        ]);
        for dir in [&self.ours, &self.twin] {
            let within = dir.join("target").join(profile).join(part);
            for entry in fs::read_dir(within).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(begins) {
                    let path = entry.path();
                    let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
                }
            }
        }
        format!("remove {profile}/{part}/{begins}*")
    }

    /// Asks the same of cargo in both checkouts, and fails unless it does the same.
    #[track_caller]
    pub fn compare(&self, world: &World, args: &[&str], walked: &str) -> Ended {
        let (mut ours, took) = self.timed(world, &self.ours, args, true);
        let (mut twin, alone) = self.timed(world, &self.twin, args, false);
        let mut ended = Ended {
            works: ours.ok,
            flaky: false,
            took: [took, alone],
        };
        let differ = |ours: &Said, twin: &Said| {
            let mut told = [told(ours, &self.ours), told(twin, &self.twin)];
            for (told, said) in told.iter_mut().zip([ours, twin]) {
                if args[0] == "test" {
                    tests_only(told, &twin.err, said, world.large);
                }
            }
            let [ours_told, twin_told] = told;
            (ours.code, ours_told) != (twin.code, twin_told)
        };
        if args[0] == "test" && world.large && differ(&ours, &twin) {
            // Tests of real projects may hang on time and chance; what is stale stays stale.
            println!("  again, since the tests differ");
            ended.flaky = true;
            ours = self.run(world, &self.ours, args, true);
            twin = self.run(world, &self.twin, args, false);
        }
        assert!(
            !differ(&ours, &twin),
            "{walked}\ncargo {args:?} in {}: {:?}\n{}\n{}\n--- and alone: {:?}\n{}\n{}",
            self.ours.display(),
            ours.code,
            ours.err,
            ours.out,
            twin.code,
            twin.err,
            twin.out,
        );
        if ours.ok {
            let runs = |dir: &Path| programs(self.dev, dir);
            assert_eq!(runs(&self.ours), runs(&self.twin), "{walked}\nthe programs");
            self.fresh(world, args, walked);
        }
        ended
    }

    /// Fails unless nothing is left to do, or cargo alone is never done either.
    #[track_caller]
    fn fresh(&self, world: &World, args: &[&str], walked: &str) {
        let mut args = [args, &["-v"]].concat();
        if args[0] == "test" {
            args.push("--no-run");
        }
        let compiled = |dir: &Path, wrapped: bool| -> Vec<String> {
            let again = self.run(world, dir, &args, wrapped);
            let compile = |line: &&str| line.contains("Running `") && line.contains("--crate-name");
            again
                .err
                .lines()
                .filter(compile)
                .map(str::to_owned)
                .collect()
        };
        let ours = compiled(&self.ours, true);
        if !ours.is_empty() {
            let twin = compiled(&self.twin, false);
            assert_eq!(ours.len(), twin.len(), "{walked}\nnot fresh: {ours:?}");
        }
    }

    fn timed(&self, world: &World, dir: &Path, args: &[&str], wrapped: bool) -> (Said, Duration) {
        let begun = Instant::now();
        (self.run(world, dir, args, wrapped), begun.elapsed())
    }

    fn run(&self, world: &World, dir: &Path, args: &[&str], wrapped: bool) -> Said {
        let mut command = self.dev.cargo(dir, args);
        if !wrapped {
            command.env_remove("RUSTC_WRAPPER");
        }
        self.dev.run(command.envs(&world.env))
    }
}

/// What two runs of the same tests have in common. `twin` is what cargo alone said.
fn tests_only(told: &mut (BTreeSet<String>, Vec<String>), twin: &str, said: &Said, results: bool) {
    if twin.contains("could not compile") {
        // It stops at the first crate that fails, and which that is, is chance.
        told.0.clear();
    }
    if results && !said.ok {
        // What tests of real projects say when they fail holds names of temporary files.
        told.1.retain(|line| line.starts_with("test "));
    }
}

/// What every program that was built says.
fn programs(dev: &Dev, dir: &Path) -> Vec<(PathBuf, Option<i32>, String)> {
    let mut all = Vec::new();
    for profile in ["debug", "release"] {
        let built = dir.join("target").join(profile);
        for entry in fs::read_dir(built).into_iter().flatten().flatten() {
            let path = entry.path();
            let m = entry.metadata().unwrap();
            let program = m.is_file() && m.permissions().mode() & 0o111 != 0;
            if !program || path.extension().is_some() {
                continue;
            }
            for asked in ["--help", "--version"] {
                let mut command: Command = dev.command(&path);
                let ran = dev.run(command.arg(asked).current_dir(dir));
                let said = plain(&format!("{}{}", ran.out, ran.err), dir);
                all.push((path.strip_prefix(dir).unwrap().to_owned(), ran.code, said));
            }
        }
    }
    all.sort();
    all
}

/// A text without what differs between two runs of cargo alone: the checkout's path, and numbers
/// of threads.
fn plain(text: &str, dir: &Path) -> String {
    let text = text.replace(dir.to_str().unwrap(), "<checkout>");
    let mut out = String::new();
    for line in text.lines() {
        match (line.find("' ("), line.find(") panicked at")) {
            (Some(from), Some(to)) if line.starts_with("thread '") => {
                out.push_str(&line[..=from]);
                out.push_str(&line[to + 1..]);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// The diagnostics, each once, and what was printed, line by line in ascending order, less what
/// tells of time and progress. Which of two units says a thing first is chance.
fn told(said: &Said, dir: &Path) -> (BTreeSet<String>, Vec<String>) {
    const PROGRESS: &[&str] = &[
        "Compiling",
        "Checking",
        "Finished",
        "Running",
        "Fresh",
        "Dirty",
        "Executable",
        "Blocking",
        "warning: build failed, waiting",
    ];
    let err = plain(&said.err, dir);
    let kept = |line: &&str| {
        let begin = line.trim_start();
        let sums_up = begin.starts_with("warning: `") && begin.contains(" generated ");
        !sums_up && !PROGRESS.iter().any(|p| begin.starts_with(p))
    };
    let mut blocks: Vec<String> = vec![String::new()];
    for line in err.lines().filter(kept) {
        // Cargo leaves no blank line where it sums up one crate between what two others say.
        if line.is_empty() || line.starts_with("error") || line.starts_with("warning") {
            blocks.push(String::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.push_str(line);
            block.push('\n');
        }
    }
    let blocks = blocks.into_iter().collect();
    let mut out: Vec<String> = plain(&said.out, dir)
        .lines()
        .map(|line| {
            line.split("; finished in")
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    out.sort();
    (blocks, out)
}
