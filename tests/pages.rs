//! The pages, held to what they say: the tour is run, tables are compared with the code.
//!
//! Enters: the Markdown files of this repository. Must never happen here: an expectation that
//! does not stand in a page.

use crate::harness::{Dev, SOON, Said, projects, qnode};
use quarry_wrapper::compiler::Bypass;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Commands that only look, whose answer may need a moment: repeated until it is as the page says.
const LOOKING: [&str; 4] = [
    "qnode members",
    "qnode peers",
    "qnode stats",
    "qnode status",
];
/// How often such a command is repeated.
const AGAIN: Duration = Duration::from_millis(100);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// One command of a page and what its output must hold.
#[derive(Debug)]
struct Step {
    who: String,
    command: String,
    expected: Vec<String>,
}

/// The steps in a page's `console` blocks.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if !inside || line.trim().is_empty() {
        } else if let Some(prompt) = line.strip_prefix("$ ") {
            let (who, command) = prompt.split_once(": ").expect("`$ who: command`");
            steps.push(Step {
                who: who.to_owned(),
                command: command.to_owned(),
                expected: Vec::new(),
            });
        } else {
            let step = steps
                .last_mut()
                .expect("a command stands before its output");
            step.expected.push(line.to_owned());
        }
    }
    steps
}

/// Whether one line of the output holds the expected parts, in order; `…` stands for anything.
fn says(output: &str, expected: &str) -> bool {
    output.lines().any(|line| {
        let mut rest = line;
        expected.split('…').all(|part| match rest.find(part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        })
    })
}

/// The first expectation that the output does not meet.
fn missing<'s>(step: &'s Step, said: &Said) -> Option<&'s str> {
    let output = format!("{}\n{}", said.out, said.err);
    step.expected
        .iter()
        .find(|line| !says(&output, line))
        .map(String::as_str)
}

/// Runs a command as a person would: in a shell, in the checkout, with both programs in PATH.
fn in_shell(dev: &Dev, project: &Path, mail: &Path, command: &str) -> Said {
    let mut path = vec![qnode().parent().unwrap().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut shell = dev.command("sh");
    shell
        .args(["-c", command])
        .current_dir(project)
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("MAIL", mail);
    dev.run(&mut shell)
}

#[test]
fn the_tour_happens_as_it_is_told() {
    let steps = steps(&page("docs/tour.md"));
    assert!(steps.len() > 5, "the tour has steps: {steps:?}");
    let mail = tempfile::tempdir().unwrap();
    let alice = Dev::new("alice");
    let bob = Dev::new("bob");
    let places = [alice.path("project"), bob.path("elsewhere/project")];
    places.iter().for_each(|place| projects::small(place));
    for step in &steps {
        let (dev, place) = match step.who.as_str() {
            "alice" => (&alice, &places[0]),
            "bob" => (&bob, &places[1]),
            other => panic!("{other} is not on the tour"),
        };
        let looking = LOOKING.iter().any(|l| step.command.starts_with(l));
        let deadline = Instant::now() + SOON;
        loop {
            let said = in_shell(dev, place, mail.path(), &step.command).succeeded();
            let Some(line) = missing(step, &said) else {
                break;
            };
            assert!(
                looking && Instant::now() < deadline,
                "`{}` does not say `{line}`:\n{}\n{}",
                step.command,
                said.out,
                said.err
            );
            std::thread::sleep(AGAIN);
        }
    }
}

#[test]
fn the_readme_begins_with_the_two_commands() {
    let readme = page("README.md");
    let block = readme.split("```").nth(1).expect("a block of commands");
    let lines: Vec<&str> = block.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "cargo install --locked --path . && qnode demo",
            "cargo test --workspace"
        ]
    );
}

#[test]
fn every_bypass_reason_is_explained() {
    let soundness = page("docs/soundness.md");
    for reason in Bypass::ALL {
        let row = format!("| `{}` | {} |", reason.name(), reason.why());
        assert!(soundness.contains(&row), "docs/soundness.md lacks {row}");
    }
    let rows = soundness.lines().filter(|l| l.starts_with("| `")).count();
    assert_eq!(rows, Bypass::ALL.len(), "a row for a reason that is gone");
}

/// First cells of a page's table rows, where they stand in backticks.
fn first_cells(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter_map(|l| l.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn every_dependency_has_its_line() {
    let manifest = page("Cargo.toml");
    let (_, section) = manifest
        .split_once("[workspace.dependencies]\n")
        .expect("the section");
    let declared: BTreeSet<&str> = section
        .lines()
        .take_while(|l| !l.starts_with('['))
        .filter_map(|l| l.split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("quarry-"))
        .collect();
    assert!(
        declared.contains("redb"),
        "the section was read: {declared:?}"
    );
    let told = page("docs/decisions/0011-dependencies.md");
    assert_eq!(declared, first_cells(&told));
}

fn pages() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for dir in ["docs", "docs/decisions"] {
        let listed = fs::read_dir(root().join(dir)).unwrap();
        found.extend(
            listed
                .map(|e| e.unwrap().path())
                .filter(|p| p.extension().is_some_and(|e| e == "md")),
        );
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

#[test]
fn no_link_leads_nowhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|t| Some(t.split_once(')')?.0));
        let images = text
            .split("src=\"")
            .skip(1)
            .filter_map(|t| Some(t.split_once('"')?.0));
        for target in targets.chain(images) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || file.is_empty();
            if !outside && !page.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Names of all functions in the sources.
fn functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut dirs: Vec<PathBuf> = ["node", "wrapper", "trust", "tests"]
        .iter()
        .map(|d| root().join(d))
        .collect();
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let heads = text.split("fn ").skip(1).filter_map(|t| t.split_once('('));
                found.extend(heads.map(|(name, _)| name.to_owned()));
            }
        }
    }
    found
}

#[test]
fn tests_that_pages_name_are_there() {
    let functions = functions();
    let mut named = 0;
    let mut absent = Vec::new();
    for path in pages() {
        let text = fs::read_to_string(&path).unwrap();
        // Test names are sentences: four words at least.
        for word in text.split('`').skip(1).step_by(2) {
            let sentence = word.matches('_').count() >= 3
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if sentence {
                named += 1;
                if !functions.contains(word) {
                    absent.push(format!("{}: {word}", path.display()));
                }
            }
        }
    }
    assert!(named > 30, "the pages name tests: {named}");
    assert!(absent.is_empty(), "{}", absent.join("\n"));
}

/// The file that holds a story by its name in `docs/cases.md`: `links::name`,
/// `attackers::predictions::name`.
fn file_of(story: &str) -> Option<PathBuf> {
    let (modules, _) = story.rsplit_once("::")?;
    let below = format!("{}.rs", modules.replace("::", "/"));
    let mut places = ["tests/soundness", "tests"]
        .map(|dir| root().join(dir).join(&below))
        .into_iter();
    places.find(|path| path.is_file())
}

/// Whether a test of this name stands in a text.
fn is_told(text: &str, name: &str) -> bool {
    let head = format!("fn {name}() {{");
    let mut lines = text.lines().rev().skip_while(|line| *line != head).skip(1);
    lines.next() == Some("#[test]")
}

/// Whether a text declares something of this name.
fn declares(text: &str, name: &str) -> bool {
    ["fn ", "const ", "static ", "struct "].iter().any(|kind| {
        let head = format!("{kind}{name}");
        let mut rests = text.split(&head).skip(1);
        rests.any(|rest| rest.starts_with(['(', '<', ':', ' ']))
    })
}

#[test]
fn each_of_the_fifty_cases_has_its_stories_and_its_guard() {
    let text = page("docs/cases.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|l| l.starts_with("| ") && !l.starts_with("| number"))
        .map(|l| l.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let numbers: Vec<String> = rows.iter().map(|row| row[0].to_owned()).collect();
    let expected: Vec<String> = (1..=50).map(|n: u32| n.to_string()).collect();
    assert_eq!(numbers, expected);
    let mut faults = Vec::new();
    for row in rows {
        assert_eq!(row.len(), 5, "{row:?}");
        let marked = |cell: usize| row[cell].split('`').skip(1).step_by(2);
        assert!(marked(3).count() > 0 && marked(4).count() > 0, "{row:?}");
        for story in marked(3) {
            let name = story.rsplit("::").next().unwrap_or_default();
            let told = file_of(story).map(|path| fs::read_to_string(path).unwrap());
            if !told.is_some_and(|text| is_told(&text, name)) {
                faults.push(format!("case {}: no story {story}", row[0]));
            }
        }
        let mut sources = String::new();
        for file in marked(4).filter(|word| word.ends_with(".rs")) {
            let mut places = ["wrapper/src", "wrapper", "node/src"].iter();
            let path = places.find_map(|dir| fs::read_to_string(root().join(dir).join(file)).ok());
            match path {
                Some(text) => sources.push_str(&text),
                None => faults.push(format!("case {}: no file {file}", row[0])),
            }
        }
        let is_name = |word: &&str| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"_:".contains(&b);
            word.len() > 3 && word.bytes().all(fits)
        };
        for guard in marked(4).filter(is_name) {
            let name = guard.rsplit("::").next().unwrap_or_default();
            // Named once with its file, then by its name alone.
            if !declares(&sources, name) && !text.contains(&format!(".rs` `{guard}`")) {
                faults.push(format!("case {}: nothing is called {guard}", row[0]));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
