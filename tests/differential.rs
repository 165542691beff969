//! The differential run: a random walk of edits, after each of which cargo through qwrap must do
//! what cargo alone does after the same.
//!
//! The seed is printed, and always the same where `CI` is set; `QUARRY_SEED` repeats a walk,
//! `QUARRY_STEPS` makes it longer, and `QUARRY_PROJECT` takes it over a copy of that directory
//! instead of the sample, with the commit that `QUARRY_BRANCH` names as its other branch. Each
//! step is printed as it is taken.

mod dice;
mod pair;
mod places;
mod project;
mod said;
mod sample;
mod text;
mod world;

use crate::harness::{Dev, files, team, wait_keys};
use dice::Dice;
use pair::{BUILD, Pair, asked, ran};
use places::{Crates, assert_same_but};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use world::World;

/// Steps of a walk where `QUARRY_STEPS` does not say: about a minute.
const STEPS: usize = 40;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// The seed where nobody chose one. What lands must not hang on a throw of dice: there it is
/// always the same.
fn chance() -> u64 {
    if std::env::var_os("CI").is_some() {
        return 20_261_121;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() ^ u64::from(now.subsec_nanos())
}

fn project() -> Option<PathBuf> {
    std::env::var_os("QUARRY_PROJECT").map(PathBuf::from)
}

/// The world of the project at `from`, of which `pair` holds copies, or of the sample.
fn world(from: Option<&Path>, pair: &Pair) -> World {
    let file = |(path, text): &(&str, &str)| (PathBuf::from(*path), (*text).to_owned());
    match from {
        Some(from) => project::world(pair.dev, from, &pair.twin),
        None => World::new(sample::FILES.iter().map(file).collect()),
    }
}

#[test]
fn after_every_step_all_is_as_with_cargo_alone() {
    let seed = number("QUARRY_SEED").unwrap_or_else(chance);
    let steps = number("QUARRY_STEPS").map_or(STEPS, |n| usize::try_from(n).unwrap());
    let mut dice = Dice::new(seed);
    let devs = team(&["alice", "bob"]);
    let project = project();
    let from = project.as_deref();
    let mut pairs = [
        Pair::new(&devs[0], "here", from),
        Pair::new(&devs[0], "over/there", from),
        Pair::new(&devs[1], "at/bobs/desk", from),
    ];
    let mut world = world(from, &pairs[0]);
    if from.is_some() {
        project::share(&devs);
    }
    let mut walked = format!("QUARRY_SEED={seed}, the steps so far:\n");
    println!("{walked}");
    let begun = Instant::now();
    let (mut works, mut took, mut chance) = (true, [Duration::ZERO; 2], 0);
    for step in 0..steps {
        // All of them begin where the walk does: the second and the third with hits.
        let begins = step < pairs.len();
        let mut told = "begin".to_owned();
        let mut at = step;
        if !begins {
            told = world.step(&mut dice, works);
            // Mostly at one desk; the others come by.
            at = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2][dice.below(10)];
        }
        if at == 2 {
            wait_keys(&devs[1], &devs[0]);
        }
        let pair = &mut pairs[at];
        pair.sync(&world);
        if !begins && dice.happens(if world.large { 10 } else { 20 }) {
            told = format!("{told}; {}", pair.disturb(&mut dice));
        }
        let args = if begins { BUILD } else { asked(&mut dice) };
        let place = pair.ours.display();
        let now = format!("{step}: {told}; cargo {} in {place}: ", args.join(" "));
        print!("{now}");
        walked.push_str(&now);
        let ended = pair.compare(&world, args, &walked);
        works = ended.works;
        chance += ended.chance;
        let now = format!(
            "{} ({:.1} s, alone {:.1} s)\n",
            if works { "well" } else { "fails" },
            ended.took[0].as_secs_f64(),
            ended.took[1].as_secs_f64()
        );
        print!("{now}");
        walked.push_str(&now);
        took = [took[0] + ended.took[0], took[1] + ended.took[1]];
    }
    println!("{}\n{}", devs[0].stats(), devs[1].stats());
    println!(
        "{steps} steps in {:?}: cargo through qwrap {:?}, alone {:?}; by chance differed: {chance}",
        begun.elapsed(),
        took[0],
        took[1]
    );
    assert!(devs[0].count("hits.local") > 0, "{walked}");
    assert!(devs[1].count("hits.peer") > 0, "{walked}");
}

/// Everything that compiles left, but for the lists of inputs, which name paths, and cargo's own
/// notes.
fn outputs(checkout: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let target = checkout.join("target");
    let keep = |path: &Path| {
        let within = |name: &str| path.components().any(|c| c.as_os_str() == name);
        let script = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("build_script"));
        let kept = within("deps") || within("examples") || (within("build") && script);
        kept && path.extension().is_none_or(|e| e != "d")
    };
    files(&target, &keep)
}

/// Builds in one place from nothing and then in another, and fails unless both hold the same, less
/// what `compiled_there` and this build compile there; only `projects` may have such. Whether the
/// build succeeded.
#[track_caller]
fn same_in(
    dev: &Dev,
    [here, there]: [&Path; 2],
    args: &[&str],
    compiled_there: &mut Crates,
    projects: bool,
) -> bool {
    let compiled = dev.count("misses");
    let begun = Instant::now();
    let built = dev.build(here, args);
    println!("cargo {}: {:?} here", args.join(" "), begun.elapsed());
    let mine = dev.count("misses");
    dev.flush();
    let seen = places::seen(dev, there);
    let begun = Instant::now();
    assert_eq!(dev.build(there, args).code, built.code);
    if !built.ok {
        // What failed is not stored, and what did not come so far is compiled there. How far each
        // build came is chance: none of it is compared.
        println!("  fails");
        for dir in [here, there] {
            std::fs::remove_dir_all(dir.join("target")).unwrap_or_default();
        }
        return false;
    }
    assert!(mine > compiled, "nothing was compiled here");
    let bound = places::bound(dev, there, seen);
    println!("  {:?} there; {bound}", begun.elapsed());
    assert!(projects || bound.is_empty(), "{args:?}: {bound}");
    compiled_there.extend(bound.crates);
    assert_same_but(compiled_there, &outputs(here), &outputs(there));
    // And cargo agrees that all is there.
    let again = |dir: &Path| -> Vec<String> {
        let said = dev.build(dir, &[args, &["-v"]].concat()).succeeded();
        said.err.lines().filter_map(|l| ran(l, dir)).collect()
    };
    let left = again(there);
    assert!(
        left.is_empty() || left == again(here),
        "not fresh: {left:?}"
    );
    true
}

#[test]
fn an_empty_store_here_and_hits_there_make_the_same_bytes() {
    const ALL: [&[&str]; 4] = [
        &["build"],
        &["test", "--no-run", "--all-targets"],
        &["check", "--all-targets"],
        &["build", "--release"],
    ];
    let seed = number("QUARRY_SEED").unwrap_or_else(chance);
    println!("QUARRY_SEED={seed}");
    let mut dice = Dice::new(seed);
    let alice = Dev::new("alice");
    let project = project();
    let from = project.as_deref();
    let (mut here, mut there) = (
        Pair::new(&alice, "here", from),
        Pair::new(&alice, "quite/another/place", from),
    );
    let mut world = world(from, &here);
    let mut compared = 0;
    for round in 0..2 {
        // What changes do to a project, its dev builds show.
        let all = if round > 0 && from.is_some() {
            &ALL[..2]
        } else {
            &ALL[..]
        };
        alice.start();
        alice.qnode(&["purge", "--all", "--yes"]).succeeded();
        for pair in [&mut here, &mut there] {
            pair.sync(&world);
            let _ = std::fs::remove_dir_all(pair.ours.join("target"));
        }
        let mut compiled_there = Crates::new();
        for args in all {
            let places = [&here.ours, &there.ours].map(PathBuf::as_path);
            let same = same_in(&alice, places, args, &mut compiled_there, from.is_some());
            compared += usize::from(same);
        }
        for _ in 0..6 {
            println!("{}", world.step(&mut dice, true));
        }
    }
    assert!(compared >= ALL.len(), "QUARRY_SEED={seed}");
}
