//! What the edit loop costs through qwrap, over cargo alone.
//!
//! `cargo bench --bench edits -- DIR FILE [ARGS OF CARGO…]` copies the project in DIR twice,
//! builds one copy through qwrap (by hits: a third has filled the store) and one with cargo alone,
//! appends a function to FILE in both again and again, and times `cargo build` after each edit, in
//! turn. Each round begins anew with hits, so that the first edit after a hit is timed beside a
//! compile of the same crates by cargo alone that finds nothing to go on from. It is no test: it
//! fails only if what it times is not what it says.

// The harness has more than a bench needs.
#[expect(dead_code, reason = "shared with the integration tests")]
#[path = "../harness/mod.rs"]
mod harness;

use harness::{Dev, projects};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Rounds, each beginning with hits.
const ROUNDS: usize = 5;
/// Edits of a round after the first.
const EDITS: usize = 4;

fn main() {
    // cargo itself adds `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [project, file, cargo @ ..] = &args[..] else {
        println!("usage: cargo bench --bench edits -- DIR FILE [ARGS OF CARGO…]");
        return;
    };
    let mut dev = Dev::new("editor");
    dev.env.push(("CARGO_HOME".into(), users_cargo_home()));
    let mut bench = Bench {
        ours: checkout(&dev, project, "ours"),
        alone: checkout(&dev, project, "alone"),
        file: file.into(),
        args: ["build"]
            .into_iter()
            .chain(cargo.iter().map(String::as_str))
            .map(Into::into)
            .collect(),
        edits: 0,
        dev: &dev,
    };
    let filled = checkout(&dev, project, "filled");
    bench.time(&filled, true);
    dev.flush();
    bench.time(&bench.alone, false);
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        bench.round(&mut times);
    }
    let private = dev.count("bypass_reasons.edited");
    assert!(
        private >= ROUNDS as u64,
        "edits are private: {}",
        dev.stats()
    );
    println!("{project} {file}: {ROUNDS} rounds, {EDITS} edits each after the first");
    print(
        "first edit after a hit",
        "no incremental state",
        &mut times.first,
    );
    print("every further edit", "cargo alone", &mut times.further);
}

/// Pairs of times: through qwrap, and alone.
#[derive(Default)]
struct Times {
    first: [Vec<Duration>; 2],
    further: [Vec<Duration>; 2],
}

struct Bench<'d> {
    dev: &'d Dev,
    ours: PathBuf,
    alone: PathBuf,
    file: PathBuf,
    args: Vec<String>,
    edits: usize,
}

impl Bench<'_> {
    fn round(&mut self, times: &mut Times) {
        let original = fs::read(self.ours.join(&self.file)).unwrap();
        fs::remove_dir_all(self.ours.join("target")).unwrap_or_default();
        self.time(&self.ours, true);
        remove_incremental(&self.alone.join("target"));
        self.edit(&mut times.first);
        for _ in 0..EDITS {
            self.edit(&mut times.further);
        }
        for checkout in [&self.ours, &self.alone] {
            fs::write(checkout.join(&self.file), &original).unwrap();
        }
        self.time(&self.alone, false);
    }

    /// One edit in both checkouts, each built; who comes first changes.
    fn edit(&mut self, times: &mut [Vec<Duration>; 2]) {
        self.edits += 1;
        let ours_first = self.edits.is_multiple_of(2);
        for ours in [ours_first, !ours_first] {
            let checkout = if ours { &self.ours } else { &self.alone };
            let path = checkout.join(&self.file);
            let mut text = fs::read_to_string(&path).unwrap();
            let n = self.edits;
            text.push_str(&format!(
                "\n#[allow(dead_code, missing_docs)]\npub(crate) fn edit_{n}(a: u64) -> u64 {{ a.wrapping_mul({n}) }}\n"
            ));
            fs::write(&path, text).unwrap();
            times[usize::from(!ours)].push(self.time(checkout, ours));
        }
    }

    fn time(&self, checkout: &Path, ours: bool) -> Duration {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let mut command = if ours {
            self.dev.cargo(checkout, &args)
        } else {
            let mut plain = self.dev.command("cargo");
            plain.current_dir(checkout).args(&args);
            plain
        };
        let began = Instant::now();
        self.dev.run(&mut command).succeeded();
        began.elapsed()
    }
}

fn checkout(dev: &Dev, project: &str, name: &str) -> PathBuf {
    let path = dev.path(name);
    projects::copy(Path::new(project), &path);
    fs::remove_dir_all(path.join("target")).unwrap_or_default();
    path
}

fn users_cargo_home() -> String {
    let home = || format!("{}/.cargo", std::env::var("HOME").unwrap_or_default());
    std::env::var("CARGO_HOME").unwrap_or_else(|_| home())
}

/// So that the next compile of each crate has nothing to go on from.
fn remove_incremental(target: &Path) {
    let removed = Command::new("find")
        .arg(target)
        .args([
            "-type",
            "d",
            "-name",
            "incremental",
            "-prune",
            "-exec",
            "rm",
            "-r",
            "{}",
            "+",
        ])
        .status()
        .unwrap();
    assert!(removed.success());
}

fn print(what: &str, against: &str, [ours, alone]: &mut [Vec<Duration>; 2]) {
    let (ours, alone) = (median(ours), median(alone));
    println!(
        "{what:<24} {:>8.3} s, {against} {:>8.3} s: {:.3}",
        ours.as_secs_f64(),
        alone.as_secs_f64(),
        ours.as_secs_f64() / alone.as_secs_f64()
    );
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
