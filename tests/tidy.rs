//! Style as a test: headers, lengths, edges between crates, words that do not belong.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut dirs: Vec<PathBuf> = ["node", "wrapper", "trust", "tests", "examples"]
        .iter()
        .map(|d| root().join(d))
        .collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().unwrap() != "target" {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 50, "the sources were found: {}", found.len());
    found
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !text.lines().take(12).any(|l| l.starts_with("//!")) {
            faults.push(format!("{} does not open with //!", path.display()));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES {
            faults.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_function_is_long() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let mut open: Option<(usize, usize, String)> = None;
        for (at, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            let is_fn = [
                "fn ",
                "pub fn ",
                "pub(super) fn ",
                "pub(crate) fn ",
                "async fn ",
                "pub async fn ",
                "const fn ",
                "pub const fn ",
            ]
            .iter()
            .any(|p| head.starts_with(p));
            if is_fn {
                open = Some((at, indent, head.to_owned()));
            }
            if let Some((from, depth, name)) = &open
                && indent == *depth
                && line.trim() == "}"
            {
                if at - from > FUNCTION_LINES {
                    faults.push(format!(
                        "{}:{} has {} lines: {name}",
                        path.display(),
                        from + 1,
                        at - from
                    ));
                }
                open = None;
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_test_file_is_forgotten() {
    let main = fs::read_to_string(root().join("tests/main.rs")).unwrap();
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|e| e == "rs") && name != "main" {
            assert!(
                main.contains(&format!("mod {name};")),
                "tests/main.rs forgets {name}"
            );
        }
    }
}

#[test]
fn crates_depend_downward_only() {
    let manifest = |dir: &str| fs::read_to_string(root().join(dir).join("Cargo.toml")).unwrap();
    assert!(
        !manifest("trust").contains("quarry-wrapper") && !manifest("trust").contains("quarry-node")
    );
    assert!(!manifest("wrapper").contains("quarry-node"));
    for (path, text) in sources() {
        if path.starts_with("trust/src") {
            assert!(
                !text.contains("quarry_wrapper") && !text.contains("quarry_node"),
                "{}",
                path.display()
            );
        }
        if path.starts_with("wrapper/src") {
            assert!(!text.contains("quarry_node"), "{}", path.display());
        }
        if path.starts_with("node/src/service") {
            for banned in [
                "Instant::now",
                "SystemTime::now",
                "getrandom",
                "std::fs",
                "std::net",
            ] {
                assert!(!text.contains(banned), "{} uses {banned}", path.display());
            }
        }
    }
}

#[test]
fn only_the_command_line_prints() {
    for (path, text) in sources() {
        let may = path.starts_with("node/src/cli")
            || path.starts_with("tests")
            || path.starts_with("examples")
            || path.ends_with("shim.rs")
            // A build script speaks to cargo on stdout.
            || path.ends_with("build.rs")
            || path.to_string_lossy().contains("test");
        if !may {
            for banned in ["println!", "print!(", "dbg!("] {
                assert!(!text.contains(banned), "{} prints", path.display());
            }
        }
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
    ];
    for (path, text) in sources() {
        for mark in marks {
            assert!(!text.contains(mark), "{} holds {mark}", path.display());
        }
    }
}
