//! What one local hit costs, seen from who calls qwrap, over spawning an empty Rust program.
//!
//! A library whose outputs have 1 MB is built through qwrap, the exact command of its compile is
//! taken down, and that command is timed again and again (each time a local hit that restores), in
//! turn with the empty program.

use super::figures::Figures;
use super::harness::{Dev, libraries, projects, qwrap, write_program};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Timed runs of each.
const RUNS: usize = 1000;

/// A wrapper that takes down the command of the crate `words`: argv, environment, directory.
const TAKE_DOWN: &str = r##"#!/bin/bash
case "$*" in
*"--crate-name words"*)
  printf '%s\0' "$@" > "$TAKEN.argv"; env -0 > "$TAKEN.env"; printf '%s' "$PWD" > "$TAKEN.dir";;
esac
exec "$QWRAP" "$@"
"##;

/// Measures, and adds what was found.
pub fn measure(empty: &Path, figures: &mut Figures) {
    let alice = Dev::new("alice");
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    weighty(&checkout);
    let (wrapper, taken) = (alice.path("wrapper"), alice.path("taken"));
    write_program(&wrapper, TAKE_DOWN);
    let mut cargo = alice.cargo(&checkout, &["build"]);
    cargo
        .env("RUSTC_WRAPPER", &wrapper)
        .env("QWRAP", qwrap())
        .env("TAKEN", &taken);
    alice.run(&mut cargo).succeeded();
    alice.flush();

    let (argv, env, dir) = command_of(&taken);
    let hit = || {
        let mut command = Command::new(qwrap());
        command
            .args(&argv)
            .env_clear()
            .envs(env.iter().cloned())
            .current_dir(&dir);
        timed(&mut command)
    };
    let mut spawn = Command::new(empty);
    let (mut hits, mut spawns) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        hits.push(hit());
        spawns.push(timed(&mut spawn));
    }
    assert!(
        alice.count("hits.local") >= RUNS as u64,
        "every run hits: {}",
        alice.stats()
    );
    let outputs: u64 = libraries(&checkout.join("target"), "debug")
        .iter()
        .filter(|(name, _)| name.to_string_lossy().starts_with("libwords"))
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    let (hit, spawn) = (percentiles(hits), percentiles(spawns));
    let over = |at: usize| (hit[at].saturating_sub(spawn[at])).as_secs_f64() * 1e3;
    let mb = outputs as f64 / 1e6;
    figures.single.extend([
        ("outputs of the hit".to_owned(), mb, "MB"),
        (
            "one hit over an empty program, p50".to_owned(),
            over(0),
            "ms",
        ),
        (
            "one hit over an empty program, p99".to_owned(),
            over(1),
            "ms",
        ),
        (
            "the empty program, p50".to_owned(),
            spawn[0].as_secs_f64() * 1e3,
            "ms",
        ),
    ]);
}

/// Gives the library outputs of about 1 MB.
fn weighty(checkout: &Path) {
    let source = checkout.join("words/src/lib.rs");
    let mut text = fs::read_to_string(&source).unwrap();
    // Written out in the metadata and in the object, a third of it each.
    text.push_str("\n/// Weight.\npub static WEIGHT: [u8; 500_000] = [7; 500_000];\n");
    fs::write(source, text).unwrap();
}

fn timed(command: &mut Command) -> Duration {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status().unwrap();
    let took = began.elapsed();
    assert!(status.success());
    took
}

/// Median and 99th percentile.
fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

type Taken = (Vec<String>, Vec<(String, String)>, String);

/// Reads what the wrapper took down.
fn command_of(taken: &Path) -> Taken {
    let read = |what: &str| fs::read_to_string(taken.with_extension(what)).unwrap();
    let parts = |text: String| -> Vec<String> {
        text.split('\0')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let pair = |v: &String| v.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    (
        parts(read("argv")),
        parts(read("env")).iter().filter_map(pair).collect(),
        read("dir"),
    )
}
