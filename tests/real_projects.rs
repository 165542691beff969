//! Published projects: ripgrep and just, dev and release, from Alice to Bob.
//!
//! The sources are fetched from the package registry through cargo, with their lock files.

use crate::harness::{Dev, assert_same_files, libraries, projects, team, wait_keys};
use std::path::{Path, PathBuf};

/// What share of the library compiles that cargo asks for must be stored, and then hit.
const SHARE: f64 = 0.95;

fn share(part: u64, whole: u64) -> f64 {
    assert!(whole > 0, "nothing was asked for");
    part as f64 / whole as f64
}

/// Library compiles that were asked for: all that is not a query and not of another kind.
fn libraries_asked(stats: &serde_json::Value) -> u64 {
    let n = |v: &serde_json::Value| v.as_u64().unwrap_or(0);
    let other: u64 = stats["bypass_reasons"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(reason, _)| *reason == "probe")
        .map(|(_, count)| n(count))
        .sum();
    n(&stats["requests"]) - n(&stats["queries"]) - other
}

fn alice_then_bob(
    name: &str,
    version: &str,
    args: &[&str],
    profile: &str,
) -> (Vec<Dev>, [PathBuf; 2]) {
    let devs = team(&["alice", "bob"]);
    let (here, there) = (devs[0].path("src"), devs[1].path("another/place/for/it"));
    projects::published(&devs[0], name, version, &here);
    projects::share_registry(&devs[0], &devs[1]);
    projects::copy(&here, &there);
    devs[0].build(&here, args).succeeded();
    let stats = devs[0].stats();
    let stored = share(devs[0].count("misses"), libraries_asked(&stats));
    assert!(stored >= SHARE, "Alice stored {stored:.3}: {stats}");
    wait_keys(&devs[1], &devs[0]);
    devs[1].build(&there, args).succeeded();
    let stats = devs[1].stats();
    let hit = share(devs[1].count("hits.peer"), libraries_asked(&stats));
    println!("{name} {version} {profile}: Alice stored {stored:.3}, Bob hit {hit:.3}");
    assert!(hit >= SHARE, "Bob hit {hit:.3}: {stats}");
    let (hers, his) = (shared(&here, profile), shared(&there, profile));
    assert!(!hers.is_empty());
    assert_same_files(&hers, &his);
    let again = devs[1].build(&there, &[args, &["-v"]].concat()).succeeded();
    assert!(
        !again.err.contains("Running"),
        "a second build compiles nothing: {}",
        again.err
    );
    (devs, [here, there])
}

/// The libraries that one can have from the other. blake3 bundles C objects whose debug
/// information names the directory in which they were compiled, so in dev nobody shares it, nor
/// what is built from it.
fn shared(checkout: &Path, profile: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let own = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("libblake3-") || name.starts_with("libjust-")
    };
    let mut all = libraries(&checkout.join("target"), profile);
    all.retain(|(path, _)| profile == "release" || !own(path));
    all
}

fn says(dev: &Dev, program: &Path, args: &[&str], what: &str) {
    let said = dev.run(dev.command(program).args(args)).succeeded();
    assert!(said.out.contains(what), "{}", said.out);
}

#[test]
fn bob_builds_ripgrep_from_alice() {
    let (devs, [_, there]) = alice_then_bob("ripgrep", "15.1.0", &["build", "--offline"], "debug");
    says(
        &devs[1],
        &there.join("target/debug/rg"),
        &["--version"],
        "ripgrep 15.1.0",
    );
    let unit_tests = devs[1]
        .build(&there, &["test", "--offline", "--bin", "rg"])
        .succeeded();
    assert!(
        unit_tests.out.contains("test result: ok"),
        "{}",
        unit_tests.out
    );
}

#[test]
fn bob_builds_just_from_alice() {
    let args = ["build", "--offline"];
    let (devs, [_, there]) = alice_then_bob("just", "1.43.0", &args, "debug");
    says(
        &devs[1],
        &there.join("target/debug/just"),
        &["--version"],
        "just 1.43.0",
    );
}

#[test]
fn bob_builds_just_in_release_from_alice() {
    let args = ["build", "--offline", "--release"];
    let (devs, [_, there]) = alice_then_bob("just", "1.43.0", &args, "release");
    says(
        &devs[1],
        &there.join("target/release/just"),
        &["--version"],
        "just 1.43.0",
    );
}

#[test]
fn bob_builds_ripgrep_in_release_from_alice() {
    let args = ["build", "--offline", "--release"];
    let (devs, [_, there]) = alice_then_bob("ripgrep", "15.1.0", &args, "release");
    says(
        &devs[1],
        &there.join("target/release/rg"),
        &["--version"],
        "ripgrep 15.1.0",
    );
}
