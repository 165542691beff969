//! What is walked over: files and settings, and the steps that change them.
//!
//! A world knows no directory; `pair` writes it to checkouts. Steps are those of somebody at work:
//! edits, renames, branches, settings. Any of them may break the build: then cargo alone must say
//! the same as cargo through qwrap.

use super::dice::Dice;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// States that one can go back to.
const REMEMBERED: usize = 24;
/// A file larger than this is left as it is.
const EDITED_MAX: u64 = 200_000;

/// Files by path below the checkout.
pub type Files = BTreeMap<PathBuf, String>;

/// Variables of a build that steps choose among, unset first.
const VARIABLES: &[(&str, &[&str])] = &[
    ("WALK_MARK", &["", "1", "two"]),
    ("WALK_MACRO", &["", "x"]),
    ("RUSTFLAGS", &["--cfg walked", "-Cdebug-assertions=off"]),
    ("CARGO_PROFILE_DEV_OPT_LEVEL", &["1"]),
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
    before: Vec<Files>,
    branch: Files,
    serial: u32,
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
            before: Vec::new(),
            serial: 0,
        }
    }

    /// The sources of a project below `dir`: what steps may change.
    pub fn of(dir: &Path) -> Self {
        let mut files = Files::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(next) = dirs.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
                if hidden || path.ends_with("target") || path.is_symlink() {
                    continue;
                }
                if path.is_dir() {
                    dirs.push(path);
                } else if path.extension().is_some_and(|e| e == "rs")
                    && fs::metadata(&path).unwrap().len() < EDITED_MAX
                    && let Ok(text) = fs::read_to_string(&path)
                {
                    files.insert(path.strip_prefix(dir).unwrap().to_owned(), text);
                }
            }
        }
        Self::new(files)
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
            40..60 => {
                let then = dice.below(self.before.len());
                self.files = self.before[then].clone();
                format!("back {} steps", self.before.len() - then - 1)
            }
            60..68 => {
                std::mem::swap(&mut self.files, &mut self.branch);
                "another branch".into()
            }
            68..75 => self.other_form(dice),
            75..80 => self.rename(dice),
            80..84 => self.shadow(dice),
            84..88 => self.feature(),
            _ => {
                let (name, values) = dice.one(VARIABLES);
                match dice.below(values.len() + 1) {
                    0 => self.env.remove(name),
                    n => self.env.insert(name, values[n - 1]),
                };
                format!("{name}={:?}", self.env.get(name))
            }
        }
    }

    fn edit(&mut self, dice: &mut Dice) -> String {
        let n = self.serial;
        let paths: Vec<PathBuf> = self.files.keys().cloned().collect();
        let path = dice.one(&paths).clone();
        let name = path.display();
        let source = path.extension().is_some_and(|e| e == "rs");
        let text = self.files.get_mut(&path).expect("one of them");
        if dice.happens(60) && turn(text, dice) {
            return format!("turn a knob in {name}");
        }
        if !source {
            if path.extension().is_some_and(|e| e == "txt") && !text.contains("/*k*/") {
                *text = format!("{} word{n}\n", text.trim());
                return format!("a word in {name}");
            }
            return format!("nothing in {name}");
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

    /// A module gets another name, where it is declared and used in one file.
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
        let declared = format!("mod {old};");
        for text in self.files.values_mut().filter(|t| t.contains(&declared)) {
            *text = text
                .replace(&declared, &format!("mod {new};"))
                .replace(&format!("{old}::"), &format!("{new}::"));
        }
        let text = self.files.remove(&path).expect("one of them");
        self.files
            .insert(path.with_file_name(format!("{new}.rs")), text);
        format!("{} is called {new}", path.display())
    }

    fn feature(&mut self) -> String {
        let (off, on) = ("default = []", "default = [\"loud\"]");
        for (path, text) in &mut self.files {
            if text.contains(off) {
                *text = text.replace(off, on);
                return format!("a feature in {}", path.display());
            }
            if text.contains(on) {
                *text = text.replace(on, off);
                return format!("no feature in {}", path.display());
            }
        }
        "no features".into()
    }
}

/// Changes one number that stands before `/*k*/`.
fn turn(text: &mut String, dice: &mut Dice) -> bool {
    let knobs: Vec<usize> = text.match_indices(" /*k*/").map(|(at, _)| at).collect();
    if knobs.is_empty() {
        return false;
    }
    let end = *dice.one(&knobs);
    let digits = text[..end].bytes().rev().take_while(u8::is_ascii_digit);
    let begin = end - digits.count();
    // Few values: so it also comes back to where it was.
    text.replace_range(begin..end, &dice.below(3).to_string());
    true
}
