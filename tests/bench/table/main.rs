//! Quarry against cargo alone, against the other build caches, and against the floor.
//!
//! `cargo bench --bench table -- NAME=DIR[:CARGO ARGS]…` builds each project with every tool that
//! is installed, in turn and interleaved, and writes medians, spread and ratios as text, JSON and
//! a picture. It is no test: it fails where a build fails. What did not hit is told apart, and
//! serves no comparison.

// The harness has more than a bench needs.
#[expect(dead_code, reason = "shared with the integration tests")]
#[path = "../../harness/mod.rs"]
mod harness;

mod builds;
mod disk;
mod figures;
mod hit;
mod options;
mod peer;
mod picture;
mod processes;
mod report;
mod seats;
mod settled;
mod six;
mod tools;

use figures::Figures;
use options::{Options, USAGE};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use tools::Kind;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let scratch = tempfile::tempdir().unwrap();
    let floor = compiled(scratch.path(), "memo", include_str!("memo.rs"));
    let empty = compiled(scratch.path(), "empty", "fn main() {}");
    let asked = |kind: &Kind| options.tools.is_empty() || named(&options.tools, *kind);
    let tools: Vec<(Kind, String)> = Kind::ALL
        .into_iter()
        .filter(asked)
        .filter_map(|kind| Some((kind, kind.version()?)))
        .collect();
    let kinds: Vec<Kind> = tools.iter().map(|(kind, _)| *kind).collect();
    let mut figures = Figures::new(tools);
    for profile in &options.profiles {
        for project in &options.projects {
            let name = format!("{} {profile}", project.name);
            if options.wants("builds") {
                builds::measure(
                    &options,
                    (project, profile),
                    &kinds,
                    &floor,
                    figures.of(&name),
                );
            }
            if options.wants("six") {
                six::measure(
                    &options,
                    (project, profile),
                    &kinds,
                    &floor,
                    figures.of(&name),
                );
            }
            if options.wants("settled") {
                settled::measure(&options, (project, profile), &floor, figures.of(&name));
            }
            if options.wants("peer") {
                peer::measure(&options, (project, profile), figures.of(&name));
            }
        }
    }
    if options.wants("hit") {
        hit::measure(&empty, &mut figures);
    }
    report::write(&options, &figures);
    ExitCode::SUCCESS
}

fn named(list: &[String], kind: Kind) -> bool {
    list.iter().any(|name| name == kind.name())
}

/// A small program, compiled with optimisation and nothing but the standard library.
fn compiled(dir: &std::path::Path, name: &str, text: &str) -> PathBuf {
    let (source, program) = (dir.join(format!("{name}.rs")), dir.join(name));
    std::fs::write(&source, text).unwrap();
    let status = Command::new("rustc")
        .args(["--edition", "2024", "-O", "-Cpanic=abort", "-o"])
        .arg(&program)
        .arg(&source)
        .env_remove("RUSTC_WRAPPER")
        .status()
        .unwrap();
    assert!(status.success(), "{name} compiles");
    program
}
