//! Two checkouts that have been through the same: one built through qwrap, one by cargo alone.

use super::dice::Dice;
use super::said::{self, Difference, Told};
use super::world::{Files, World};
use crate::harness::{Dev, Said};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
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

/// Builds what [`ASKED`] tests, and says of everything that fails why.
const TESTS_BUILT: Asked = &["build", "--keep-going", "--tests", "--examples"];
/// How often tests that differ are run by cargo alone again.
const TRIES: usize = 3;

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
    /// Whether everything was compiled, with qwrap and alone.
    pub works: bool,
    /// In how much tests differed that they differ in by chance, alone.
    pub chance: usize,
    /// How long cargo took through qwrap, and alone.
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
        let (ours, took) = self.timed(world, &self.ours, args, true);
        let (twin, alone) = self.timed(world, &self.twin, args, false);
        let told = self.told(&ours, args, &self.ours);
        let expected = self.told(&twin, args, &self.twin);
        let mut differ = told.differences(&expected);
        let mut chance = 0;
        if !differ.is_empty() && args[0] == "test" && world.large {
            let before = differ.len();
            differ = self.beyond_chance(world, args, &expected, differ);
            chance = before - differ.len();
        }
        assert!(
            differ.is_empty(),
            "{walked}\ncargo {args:?} in {}:\n{}",
            self.ours.display(),
            said::shown(&differ),
        );
        if expected.cut_short() {
            // What tests do not tell, a build of them does.
            self.compare(world, TESTS_BUILT, walked);
        }
        // Tests of real projects may fail for where they run; what was built is there all the same.
        let works = ours.ok || ours.err.contains("error: test failed, to rerun pass");
        if works {
            let programs = |dir: &Path| said::programs(self.dev, dir);
            let differ = said::programs_differ(&programs(&self.ours), &programs(&self.twin));
            assert!(differ.is_none(), "{walked}\n{}", differ.unwrap_or_default());
            self.fresh(world, args, walked);
        }
        Ended {
            works,
            chance,
            took: [took, alone],
        }
    }

    /// Of the differences between tests those that cargo alone does not show as well when it is
    /// asked again and again. The others are printed: tests of real projects may hang on time and
    /// chance, and each that does is to be seen.
    fn beyond_chance(
        &self,
        world: &World,
        args: &[&str],
        expected: &Told,
        mut differ: Vec<Difference>,
    ) -> Vec<Difference> {
        for again in 1..=TRIES {
            let twin = self.run(world, &self.twin, args, false);
            let unsteady: BTreeSet<String> = self
                .told(&twin, args, &self.twin)
                .differences(expected)
                .into_iter()
                .map(|d| d.shape)
                .collect();
            let (chance, left): (Vec<_>, Vec<_>) = differ
                .into_iter()
                .partition(|d| unsteady.contains(&d.shape));
            if !chance.is_empty() {
                println!(
                    "\n  alone, run {again} more differs from the first in this, too:\n{}",
                    said::shown(&chance)
                );
            }
            differ = left;
            if differ.is_empty() {
                return differ;
            }
        }
        // For whoever reads the failure: whether it is there again.
        let ours = self.run(world, &self.ours, args, true);
        let again = self.told(&ours, args, &self.ours).differences(expected);
        println!("\n  once more through qwrap: {} differ", again.len());
        differ
    }

    fn told(&self, said: &Said, args: &[&str], dir: &Path) -> Told {
        Told::of(said, args, self.dev, dir)
    }

    /// Fails unless nothing is left to do, or cargo alone is never done with just the same.
    #[track_caller]
    fn fresh(&self, world: &World, args: &[&str], walked: &str) {
        let mut args = [args, &["-v"]].concat();
        if args[0] == "test" {
            args.push("--no-run");
        }
        let ran = |dir: &Path, wrapped: bool| -> BTreeSet<String> {
            let again = self.run(world, dir, &args, wrapped);
            again.err.lines().filter_map(|l| ran(l, dir)).collect()
        };
        let ours = ran(&self.ours, true);
        if ours.is_empty() {
            return;
        }
        // A build script that asks for it is run each time, with what depends on it.
        let twin = if world.large {
            ran(&self.twin, false)
        } else {
            BTreeSet::new()
        };
        assert_eq!(ours, twin, "{walked}\nnot fresh, and alone");
        println!("\n  alone, this is never done either: {ours:?}");
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

/// What one of cargo's lines says that it runs: a crate with its kind and hash, or a program below
/// the checkout.
pub fn ran(line: &str, dir: &Path) -> Option<String> {
    let (_, command) = line.trim_start().split_once("Running `")?;
    let command = command.trim_end_matches('`');
    let words: Vec<&str> = command.split_whitespace().collect();
    let after = |flag: &str| {
        let at = words.iter().position(|w| *w == flag)?;
        words.get(at + 1).copied()
    };
    let Some(name) = after("--crate-name") else {
        return Some(command.replace(dir.to_str().unwrap(), "<checkout>"));
    };
    let hash = words.iter().find_map(|w| w.strip_prefix("extra-filename="));
    let kind = after("--crate-type").unwrap_or("test");
    Some(format!("{kind} {name}{}", hash.unwrap_or_default()))
}

#[test]
fn what_ran_is_known_by_its_name_and_not_by_where_it_lies() {
    let dir = Path::new("/tmp/here");
    let line = "     Running `/q/qwrap /bin/rustc --crate-name a --edition=2021 src/lib.rs \
                --crate-type lib -C metadata=77 -C extra-filename=-19ab --out-dir /tmp/here/x`";
    assert_eq!(ran(line, dir).as_deref(), Some("lib a-19ab"));
    let test = line.replace("--crate-type lib", "--test");
    assert_eq!(ran(&test, dir).as_deref(), Some("test a-19ab"));
    let script = "     Running `/tmp/here/target/debug/build/a-1/build-script-build`";
    let ran_script = "<checkout>/target/debug/build/a-1/build-script-build";
    assert_eq!(ran(script, dir).as_deref(), Some(ran_script));
    assert_eq!(ran("       Fresh a v0.1.0 (/tmp/here)", dir), None);
}
