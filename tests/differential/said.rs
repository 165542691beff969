//! What cargo said, made comparable: less what differs between any two runs of cargo alone, and
//! shown, where it differs, as few lines with what stood around them.

use crate::harness::{Dev, Said};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Differences that are shown in full; of the others the number.
const SHOWN: usize = 12;
/// Lines of one diagnostic that are shown.
const BLOCK_LINES: usize = 40;
/// Lines that are shown before and after one that differs.
const AROUND: usize = 3;
/// What cargo says before it names a crate that could not be compiled.
const FAILED: &str = "could not compile";

/// What one run of cargo said.
pub struct Told {
    code: Option<i32>,
    /// The diagnostics, each once: which of two units says a thing first is chance.
    blocks: BTreeSet<String>,
    /// What was printed, by line, with how often: tests end in any order.
    lines: BTreeMap<String, usize>,
    /// The same as it came.
    out: String,
}

/// One thing in which two runs differ.
pub struct Difference {
    /// What is left of it when numbers and names that were made up are masked.
    pub shape: String,
    text: String,
}

impl Told {
    /// What cargo, asked for `args` in the checkout `dir` of this developer, said.
    pub fn of(said: &Said, args: &[&str], dev: &Dev, dir: &Path) -> Self {
        let mut blocks = blocks(&plain(&said.err, dev, dir));
        if args[0] == "test" && said.err.contains(FAILED) {
            // It stops at the first crate that fails, and which that is, is chance.
            blocks = BTreeSet::from([FAILED.to_owned()]);
        }
        let timeless = |line: &str| {
            let end = line.find("; finished in").unwrap_or(line.len());
            format!("{}\n", &line[..end])
        };
        let out: String = plain(&said.out, dev, dir).lines().map(timeless).collect();
        let mut lines = BTreeMap::new();
        for line in out.lines() {
            *lines.entry(line.to_owned()).or_insert(0) += 1;
        }
        Self {
            code: said.code,
            blocks,
            lines,
            out,
        }
    }

    /// Whether tests could not even be compiled: then little was said of why.
    pub fn cut_short(&self) -> bool {
        self.blocks.contains(FAILED)
    }

    /// In what this differs from what cargo alone told.
    pub fn differences(&self, alone: &Self) -> Vec<Difference> {
        let mut all = Vec::new();
        if self.code != alone.code {
            let text = format!("exit code {:?}, alone {:?}", self.code, alone.code);
            all.push(("exit code".to_owned(), text));
        }
        let sides = [("through qwrap", self, alone), ("alone", alone, self)];
        for (side, one, other) in sides {
            for block in one.blocks.difference(&other.blocks) {
                let text = format!("a diagnostic {side} only:\n{}", head(block, BLOCK_LINES));
                all.push((shape(block), text));
            }
        }
        for (side, one, other) in sides {
            for (line, times) in &one.lines {
                let others = other.lines.get(line).copied().unwrap_or(0);
                if *times > others {
                    let text = format!(
                        "printed {side} {times} times, otherwise {others}:\n{}",
                        around(&one.out, line)
                    );
                    all.push((shape(line), text));
                }
            }
        }
        let made = |(shape, text)| Difference { shape, text };
        all.into_iter().map(made).collect()
    }
}

/// The first of these differences, to be read.
pub fn shown(differences: &[Difference]) -> String {
    let first: Vec<&str> = differences.iter().take(SHOWN).map(|d| &*d.text).collect();
    let mut text = first.join("\n- ");
    if differences.len() > SHOWN {
        text.push_str(&format!("\n- and {} more", differences.len() - SHOWN));
    }
    format!("- {text}")
}

/// What every program that was built says: path and arguments, and exit code with output.
pub fn programs(dev: &Dev, dir: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
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
                let said = plain(&format!("{}{}", ran.out, ran.err), dev, dir);
                let name = path.strip_prefix(dir).unwrap().display();
                all.insert(
                    format!("{name} {asked}"),
                    format!("exit code {:?}\n{said}", ran.code),
                );
            }
        }
    }
    all
}

/// In what programs differ from those built by cargo alone; nothing where they do not.
pub fn programs_differ(
    ours: &BTreeMap<String, String>,
    alone: &BTreeMap<String, String>,
) -> Option<String> {
    let names: BTreeSet<&String> = ours.keys().chain(alone.keys()).collect();
    let differ = |name: &&String| ours.get(*name) != alone.get(*name);
    let name = names.into_iter().find(differ)?;
    let (Some(ours), Some(alone)) = (ours.get(name), alone.get(name)) else {
        let side = if ours.contains_key(name) {
            "only"
        } else {
            "not"
        };
        return Some(format!("{name} is there {side} through qwrap"));
    };
    let at = ours
        .lines()
        .zip(alone.lines())
        .take_while(|(a, b)| a == b)
        .count();
    let part = |text: &str| {
        let lines: Vec<&str> = text.lines().collect();
        let end = lines.len().min(at + AROUND + 1);
        lines[at.saturating_sub(AROUND).min(end)..end].join("\n")
    };
    Some(format!(
        "{name} differs from line {at} on:\n{}\n--- and alone:\n{}",
        part(ours),
        part(alone)
    ))
}

/// A text without what differs between two runs of cargo alone: the checkout's path, names of
/// temporary files, and numbers of threads.
fn plain(text: &str, dev: &Dev, dir: &Path) -> String {
    let mut text = text.replace(dir.to_str().unwrap(), "<checkout>");
    text = text.replace(
        dev.path("").to_str().unwrap().trim_end_matches('/'),
        "<dev>",
    );
    text = without_temporary_names(&text);
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

/// A text in which what lies in the directory for temporary files has no name.
fn without_temporary_names(text: &str) -> String {
    let mut place = std::env::temp_dir().to_str().unwrap().to_owned();
    if !place.ends_with('/') {
        place.push('/');
    }
    let mut parts = text.split(place.as_str());
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let named = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        out.push_str("<temporary>");
        out.push_str(part.trim_start_matches(named));
    }
    out
}

/// The diagnostics, less what tells of time and progress.
fn blocks(err: &str) -> BTreeSet<String> {
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
    blocks.into_iter().collect()
}

/// A text in which every word with a digit in it is masked: such words differ by chance.
fn shape(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        if bare.contains(|c: char| c.is_ascii_digit()) {
            out.push('#');
            out.push_str(&word[bare.len()..]);
        } else {
            out.push_str(word);
        }
    }
    out
}

fn head(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().take(most).collect();
    lines.join("\n")
}

/// A line where it first stands in a text, marked, with what stands before and after it.
fn around(text: &str, line: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|l| *l == line).unwrap_or(0);
    let (from, to) = (at.saturating_sub(AROUND), lines.len().min(at + AROUND + 1));
    let mut out = Vec::new();
    for (n, line) in lines[from..to].iter().enumerate() {
        let mark = if from + n == at { ">" } else { " " };
        out.push(format!("  {mark} {line}"));
    }
    out.join("\n")
}

#[test]
fn a_line_that_is_missing_or_new_differs_and_its_order_does_not() {
    let dev = Dev::new("alice");
    let told = |out: &str, code| {
        let said = Said {
            ok: code == 0,
            code: Some(code),
            out: out.to_owned(),
            err: String::new(),
        };
        Told::of(&said, &["test"], &dev, &dev.path("here"))
    };
    let here = dev.path("here/a").display().to_string();
    let one = told(&format!("test a ... ok\ntest b ... ok\n{here}\n"), 0);
    let other = told("test b ... ok\n<checkout>/a\ntest a ... ok\n", 0);
    assert!(one.differences(&other).is_empty());
    let temporary = std::env::temp_dir().join("fd-x.Ab3/sub");
    let failed = told(&format!("test b ... ok\n{}\n", temporary.display()), 101);
    let found = failed.differences(&other);
    let shapes: Vec<&str> = found.iter().map(|d| &*d.shape).collect();
    let expected = [
        "exit code",
        "<temporary>/sub",
        "<checkout>/a",
        "test a ... ok",
    ];
    assert_eq!(shapes, expected, "{}", shown(&found));
    // What is said of a mistake counts, whether or not tests fail for it.
    assert_eq!(
        shape("left: 0x7f3a at a::b2, 17 ms"),
        "left: # at a::#, # ms"
    );
}
