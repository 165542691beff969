//! A project from elsewhere to walk over: its text files as they are and as they were some
//! commits ago, and which of its packages are never built.

use super::world::{Files, World};
use crate::harness::{Dev, projects};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file larger than this is left as it is.
const EDITED_MAX: u64 = 200_000;
/// The other branch where `QUARRY_BRANCH` does not say: far enough back for sources, manifests
/// and often the lock file to differ, and near enough for the same compiler.
const BRANCH: &str = "HEAD~12";

/// A world of the project at `from`, of which `checkout` is a copy; what it depends on is fetched,
/// for its other branch as well.
pub fn world(dev: &Dev, from: &Path, checkout: &Path) -> World {
    let mut world = World::new(texts(checkout));
    world.strange = strange(dev, checkout, &world.files);
    let branch = dev.path("branch");
    dev.plain(checkout, &["fetch"]).succeeded();
    if archive(from, &branch) {
        let lock = Path::new("Cargo.lock");
        if !branch.join(lock).exists() {
            fs::copy(checkout.join(lock), branch.join(lock)).unwrap();
        }
        dev.plain(&branch, &["fetch"]).succeeded();
        world.branch = texts(&branch);
    } else {
        println!("no other branch in {}", from.display());
    }
    // What is asked of the network in one checkout and not in its twin is nobody's difference.
    world.env.insert("CARGO_NET_OFFLINE", "true");
    world.large = true;
    world
}

/// Unpacks the other branch; whether there is one.
fn archive(from: &Path, to: &Path) -> bool {
    let commit = std::env::var("QUARRY_BRANCH").unwrap_or_else(|_| BRANCH.into());
    fs::create_dir_all(to).unwrap();
    let mut git = Command::new("git");
    let git = git.arg("-C").arg(from).args(["archive", &commit]);
    let packed = git.stderr(Stdio::null()).output().unwrap();
    let tar = to.with_extension("tar");
    fs::write(&tar, &packed.stdout).unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-xf").arg(&tar).arg("-C").arg(to);
    packed.status.success() && unpack.status().unwrap().success()
}

/// The text files below a directory, but for hidden ones and what was built.
fn texts(dir: &Path) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
            if hidden || path.ends_with("target") || path.is_symlink() {
                continue;
            }
            let small = || fs::metadata(&path).unwrap().len() < EDITED_MAX;
            if path.is_dir() {
                dirs.push(path);
            } else if (small() || path.ends_with("Cargo.lock"))
                && let Ok(text) = fs::read_to_string(&path)
            {
                files.insert(path.strip_prefix(dir).unwrap().to_owned(), text);
            }
        }
    }
    files
}

/// Directories of packages that do not belong to the workspace: examples, fuzzers, fixtures.
fn strange(dev: &Dev, checkout: &Path, files: &Files) -> BTreeSet<PathBuf> {
    let told = dev.plain(
        checkout,
        &["metadata", "--no-deps", "--format-version", "1"],
    );
    let told: Value = serde_json::from_str(&told.succeeded().out).unwrap();
    let members: BTreeSet<PathBuf> = told["packages"]
        .as_array()
        .expect("a list of packages")
        .iter()
        .filter_map(|p| Path::new(p["manifest_path"].as_str()?).parent())
        .filter_map(|dir| Some(dir.strip_prefix(checkout).ok()?.to_owned()))
        .collect();
    files
        .keys()
        .filter(|path| path.ends_with("Cargo.toml"))
        .filter_map(|path| Some(path.parent()?.to_owned()))
        .filter(|dir| !members.contains(dir) && dir != Path::new(""))
        .collect()
}

/// Gives the second developer what the first has fetched.
pub fn share(devs: &[Dev]) {
    projects::share_registry(&devs[0], &devs[1]);
}
