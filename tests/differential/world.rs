//! What is walked over: files and settings, and the steps that change them.
//!
//! A world knows no directory; `pair` writes it to checkouts. Steps are those of somebody at work:
//! edits, renames, branches, settings. Any of them may break the build: then cargo alone must say
//! the same as cargo through qwrap.

use super::dice::Dice;
use super::text;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What has steps of its own, or is nobody's to write in.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "Cargo.lock"];
/// States that one can go back to.
const REMEMBERED: usize = 24;

/// Files by path below the checkout.
pub type Files = BTreeMap<PathBuf, String>;

/// Variables of a build that steps choose among, unset first.
const VARIABLES: &[(&str, &[&str])] = &[
    ("WALK_MARK", &["", "1", "two"]),
    ("WALK_MACRO", &["", "x"]),
    ("RUSTFLAGS", &["--cfg walked", "-Cdebug-assertions=off"]),
    ("CARGO_PROFILE_DEV_OPT_LEVEL", &["1"]),
    ("CARGO_PROFILE_DEV_PANIC", &["abort"]),
    ("CARGO_PROFILE_DEV_DEBUG", &["0", "line-tables-only"]),
    ("CARGO_PROFILE_RELEASE_LTO", &["thin", "fat"]),
    ("CARGO_PROFILE_RELEASE_PANIC", &["abort"]),
    ("CARGO_INCREMENTAL", &["0"]),
];

/// Files, settings, and what they were before.
pub struct World {
    /// What a checkout holds now, of the files that steps may change.
    pub files: Files,
    /// Environment of builds.
    pub env: BTreeMap<&'static str, &'static str>,
    /// A state of the files that built.
    pub good: Files,
    /// A file that was saved again as it is.
    pub touched: Option<PathBuf>,
    /// The other branch.
    pub branch: Files,
    /// Directories in which nobody edits anything: packages that are never built.
    pub strange: BTreeSet<PathBuf>,
    /// Whether much is built here: then one of the variables is set at a time, so that not every
    /// step builds everything.
    pub large: bool,
    before: Vec<Files>,
    serial: usize,
}

impl World {
    /// A world of these files.
    pub fn new(files: Files) -> Self {
        Self {
            good: files.clone(),
            branch: files.clone(),
            files,
            env: BTreeMap::new(),
            touched: None,
            strange: BTreeSet::new(),
            large: false,
            before: Vec::new(),
            serial: 0,
        }
    }

    /// Takes one step; says which. `works` is whether the last build did.
    pub fn step(&mut self, dice: &mut Dice, works: bool) -> String {
        self.serial += 1;
        self.touched = None;
        self.before.push(self.files.clone());
        if self.before.len() > REMEMBERED {
            self.before.remove(0);
        }
        if works {
            self.good = self.files.clone();
        } else if dice.happens(60) {
            self.files = self.good.clone();
            return "back to what built".into();
        }
        match dice.below(100) {
            0..40 => self.edit(dice),
            40..58 => {
                let then = dice.below(self.before.len());
                self.files = self.before[then].clone();
                format!("back {} steps", self.before.len() - then - 1)
            }
            58..66 => {
                std::mem::swap(&mut self.files, &mut self.branch);
                "another branch".into()
            }
            66..72 => self.other_form(dice),
            72..77 => self.rename(dice),
            77..80 => self.shadow(dice),
            80..84 => self.manifest(dice, "a feature", |text, _| text::features(text)),
            84..87 => self.manifest(dice, "a description", text::describe),
            87..90 => self.script(dice),
            _ => self.variable(dice),
        }
    }

    fn variable(&mut self, dice: &mut Dice) -> String {
        let (name, values) = dice.one(VARIABLES);
        let value = dice.below(values.len() + 1);
        if name.ends_with("_PANIC") && self.unhashed() {
            return format!("{name} stays: cargo alone mixes libraries up");
        }
        if self.large {
            for (other, _) in VARIABLES {
                self.env.remove(other);
            }
        }
        match value {
            0 => self.env.remove(name),
            n => self.env.insert(name, values[n - 1]),
        };
        format!("{name}={:?}", self.env.get(name))
    }

    /// Whether a package makes a library for other languages: then none of its libraries has a
    /// hash in its name. With panic=abort cargo compiles each twice, for programs and for tests,
    /// into one file ("output filename collision"), and which of them a program is linked with, or
    /// fails to be, is chance.
    fn unhashed(&self) -> bool {
        let mut manifests = self.files.iter().filter(|(p, _)| p.ends_with("Cargo.toml"));
        manifests.any(|(path, text)| self.ours(path) && text.contains("dylib\""))
    }

    /// Whether a file is one that people edit to change what is built.
    fn ours(&self, path: &Path) -> bool {
        !self.strange.iter().any(|dir| path.starts_with(dir))
    }

    fn manifest(
        &mut self,
        dice: &mut Dice,
        what: &str,
        change: fn(&mut String, &mut Dice) -> bool,
    ) -> String {
        self.one_of("Cargo.toml", dice, what, change)
    }

    fn script(&mut self, dice: &mut Dice) -> String {
        self.one_of("build.rs", dice, "a warning", text::warn)
    }

    /// Changes the first file of this name, from one picked by chance on, that can be changed so.
    fn one_of(
        &mut self,
        name: &str,
        dice: &mut Dice,
        what: &str,
        change: fn(&mut String, &mut Dice) -> bool,
    ) -> String {
        let all = self.files.keys().filter(|p| p.ends_with(name));
        let mut all: Vec<PathBuf> = all.filter(|p| self.ours(p)).cloned().collect();
        let first = dice.below(all.len().max(1));
        all.rotate_left(first);
        for path in all {
            let text = self.files.get_mut(&path).expect("one of them");
            if change(text, dice) {
                return format!("{what} in {}", path.display());
            }
        }
        format!("no place for {what}")
    }

    fn edit(&mut self, dice: &mut Dice) -> String {
        let n = self.serial;
        let path = self.edited(dice);
        let name = path.display();
        let source = path.extension().is_some_and(|e| e == "rs");
        let text = self.files.get_mut(&path).expect("one of them");
        if dice.happens(60) && text::turn(text, dice) {
            return format!("turn a knob in {name}");
        }
        if source && dice.happens(30) && text::speak(text, dice, n) {
            return format!("a function speaks in {name}");
        }
        if source && dice.happens(30) && text::reword(text, dice) {
            return format!("other words in {name}");
        }
        if !source {
            if MANIFESTS.iter().any(|m| path.ends_with(m)) || text.contains("/*k*/") {
                return format!("nothing in {name}");
            }
            *text = format!("{} word{n}\n", text.trim());
            return format!("a word in {name}");
        }
        let (what, line) = match dice.below(9) {
            0 => (
                "unused function",
                format!("fn walk_{n}() {{ let unused = {n}; }}\n"),
            ),
            1 => ("mistake", format!("fn walk_{n}() -> u8 {{ \"{n}\" }}\n")),
            2 => ("syntax error", format!("fn walk_{n}( {{\n")),
            3 | 4 => ("comment at the end", format!("// {n}\n")),
            5 => (
                "public function",
                format!("pub fn walk_{n}() -> u32 {{ {n} }}\n"),
            ),
            6 => (
                "generic function",
                format!(
                    "pub fn walk_{n}<T: std::fmt::Debug>(t: T) -> String {{ format!(\"{n}{{t:?}}\") }}\n"
                ),
            ),
            _ => {
                // Lines move: what file!(), line!() and panics say does, too. Inner attributes and
                // documentation must stay first.
                if !text.starts_with("#!") && !text.starts_with("//!") {
                    text.insert_str(0, &format!("// {n}\n"));
                }
                return format!("comment at the top of {name}");
            }
        };
        text.push_str(&line);
        format!("{what} in {name}")
    }

    /// A file to edit: mostly a source.
    fn edited(&self, dice: &mut Dice) -> PathBuf {
        let source = |p: &Path| p.extension().is_some_and(|e| e == "rs");
        let (mut sources, mut others) = (Vec::new(), Vec::new());
        for path in self.files.keys().filter(|p| self.ours(p)) {
            if source(path) {
                sources.push(path);
            } else {
                others.push(path);
            }
        }
        let other = !others.is_empty() && dice.happens(15);
        dice.one(if other { &others } else { &sources })
            .to_path_buf()
    }

    /// `a/b.rs` becomes `a/b/mod.rs`, or the other way round.
    fn other_form(&mut self, dice: &mut Dice) -> String {
        let Some((path, other)) = self.module(dice) else {
            return "no module has another form".into();
        };
        let text = self.files.remove(&path).expect("one of them");
        let told = format!("{} becomes {}", path.display(), other.display());
        self.files.insert(other, text);
        told
    }

    /// A module in both forms at once: an error, and not one to be hidden by what is stored.
    fn shadow(&mut self, dice: &mut Dice) -> String {
        let Some((path, other)) = self.module(dice) else {
            return "no module has another form".into();
        };
        let text = self.files[&path].clone();
        let told = format!("{} beside {}", other.display(), path.display());
        self.files.insert(other, text);
        // So that cargo looks at all; what is stored may be of just these contents.
        self.touched = Some(path);
        told
    }

    /// A module's file, and the file that it could be as well.
    fn module(&self, dice: &mut Dice) -> Option<(PathBuf, PathBuf)> {
        let root = |path: &Path| {
            ["lib.rs", "main.rs", "build.rs"]
                .iter()
                .any(|n| path.ends_with(n))
                || !path.components().any(|c| c.as_os_str() == "src")
                || path.components().any(|c| c.as_os_str() == "bin")
        };
        let forms: Vec<_> = self
            .files
            .keys()
            .filter(|path| path.extension().is_some_and(|e| e == "rs") && !root(path))
            .filter(|path| self.ours(path))
            .map(|path| {
                let dir = path.parent().unwrap_or(Path::new(""));
                let other = if path.ends_with("mod.rs") {
                    dir.with_extension("rs")
                } else {
                    path.with_extension("").join("mod.rs")
                };
                (path.clone(), other)
            })
            .filter(|(_, other)| !self.files.contains_key(other))
            .collect();
        (!forms.is_empty()).then(|| dice.one(&forms).clone())
    }

    /// A module gets another name, where its package declares and uses it.
    fn rename(&mut self, dice: &mut Dice) -> String {
        let Some((path, _)) = self.module(dice) else {
            return "no module to rename".into();
        };
        let stem = path
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        let old = stem.to_owned();
        let new = match old.strip_suffix("_too") {
            Some(before) => before.to_owned(),
            None => format!("{old}_too"),
        };
        if old == "mod"
            || self
                .files
                .keys()
                .any(|p| p.starts_with(path.with_extension("")))
        {
            return format!("{} keeps its name", path.display());
        }
        let within = |p: &Path| {
            p.components()
                .take_while(|c| c.as_os_str() != "src")
                .count()
        };
        let package: PathBuf = path.components().take(within(&path)).collect();
        let declared = format!("mod {old};");
        let source = |p: &Path| p.extension().is_some_and(|e| e == "rs");
        for (path, text) in &mut self.files {
            if source(path) && path.starts_with(&package) {
                *text = text.replace(&declared, &format!("mod {new};"));
                *text = text::renamed(text, &old, &new);
            }
        }
        let text = self.files.remove(&path).expect("one of them");
        self.files
            .insert(path.with_file_name(format!("{new}.rs")), text);
        format!("{} is called {new}", path.display())
    }
}
