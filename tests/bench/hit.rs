//! What one local hit costs, seen from who calls qwrap, over spawning an empty program.
//!
//! `cargo bench --bench hit` builds a small project through qwrap, takes down the exact command of
//! one of its libraries, and times that command again and again (each time a local hit that
//! restores), in turn with `/bin/true`. It prints medians and the 99th percentile. It is no test:
//! it fails only if nothing was hit.

// The harness has more than a bench needs.
#[expect(dead_code, reason = "shared with the integration tests")]
#[path = "../harness/mod.rs"]
mod harness;

use harness::{Dev, projects, qwrap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Timed runs of each.
const RUNS: usize = 300;

/// A wrapper that takes down the command of the crate `words`: argv, environment, directory.
const TAKE_DOWN: &str = r##"#!/bin/bash
case "$*" in
*"--crate-name words"*)
  printf '%s\0' "$@" > "$TAKEN.argv"; env -0 > "$TAKEN.env"; printf '%s' "$PWD" > "$TAKEN.dir";;
esac
exec "$QWRAP" "$@"
"##;

fn main() {
    let alice = Dev::new("alice");
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    let (wrapper, taken) = (alice.path("wrapper"), alice.path("taken"));
    fs::write(&wrapper, TAKE_DOWN).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let mut cargo = alice.cargo(&checkout, &["build"]);
    cargo
        .env("RUSTC_WRAPPER", &wrapper)
        .env("QWRAP", qwrap())
        .env("TAKEN", &taken);
    alice.run(&mut cargo).succeeded();

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
    let nothing = || timed(&mut Command::new("/bin/true"));
    let (mut hits, mut spawns) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        hits.push(hit());
        spawns.push(nothing());
    }
    assert!(
        alice.count("hits.local") >= RUNS as u64,
        "every run hits: {}",
        alice.stats()
    );
    let (hit, spawn) = (spread(hits), spread(spawns));
    println!(
        "local hit          median {:>8.3?}  p99 {:>8.3?}",
        hit.0, hit.1
    );
    println!(
        "spawn of /bin/true median {:>8.3?}  p99 {:>8.3?}",
        spawn.0, spawn.1
    );
    println!(
        "over the spawn     median {:>8.3?}",
        hit.0.saturating_sub(spawn.0)
    );
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
fn spread(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
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
