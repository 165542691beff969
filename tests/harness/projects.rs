//! Projects to build: small ones written on the spot, the sample workspace, published packages.

use super::Dev;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a project from (path, text) pairs.
pub fn write(dir: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A workspace of a binary over two libraries, without dependencies.
pub fn small(dir: &Path) {
    write(
        dir,
        &[
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"app\", \"greet\", \"words\"]\nresolver = \"2\"\n",
            ),
            (
                "app/Cargo.toml",
                "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                 [dependencies]\ngreet = { path = \"../greet\" }\n",
            ),
            (
                "app/src/main.rs",
                "fn main() { println!(\"{}\", greet::hello(\"desk\")); }\n",
            ),
            (
                "greet/Cargo.toml",
                "[package]\nname = \"greet\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                 [dependencies]\nwords = { path = \"../words\" }\n",
            ),
            (
                "greet/src/lib.rs",
                "pub mod polite;\npub fn hello(who: &str) -> String { polite::say(words::HELLO, who) }\n",
            ),
            (
                "greet/src/polite.rs",
                "pub fn say(word: &str, who: &str) -> String { format!(\"{word}, {who}\") }\n",
            ),
            (
                "words/Cargo.toml",
                "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            ),
            ("words/src/lib.rs", "pub const HELLO: &str = \"hello\";\n"),
        ],
    );
}

/// A copy of a bundled sample workspace, without what builds left in it.
pub fn sample(name: &str, to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/workspaces")
        .join(name);
    copy(&from, to);
}

/// Copies a tree, without `target` and `.git`; links stay links, wherever they lead.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path).unwrap(), to.join(name)).unwrap();
        } else if path.is_dir() {
            if name != "target" && name != ".git" {
                copy(&path, &to.join(name));
            }
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// Fetches a published package with all its dependencies into the developer's cargo home, and
/// copies its sources to `to`. Uses the network's package registry through cargo.
pub fn published(dev: &Dev, name: &str, version: &str, to: &Path) {
    let probe = dev.path(format!("fetch-{name}"));
    write(
        &probe,
        &[
            (
                "Cargo.toml",
                &format!(
                    "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
                     [workspace]\n[dependencies]\n{name} = \"={version}\"\n"
                ),
            ),
            ("src/lib.rs", ""),
        ],
    );
    dev.plain(&probe, &["fetch"]).succeeded();
    copy(&unpacked(dev, &format!("{name}-{version}")), to);
    // A workspace of its own, wherever it lies; with its published lock file.
    dev.plain(to, &["fetch", "--locked"]).succeeded();
}

fn unpacked(dev: &Dev, package: &str) -> PathBuf {
    let sources = dev.path("cargo/registry/src");
    fs::read_dir(&sources)
        .unwrap()
        .map(|index| index.unwrap().path().join(package))
        .find(|p| p.is_dir())
        .unwrap_or_else(|| panic!("{package} was not unpacked below {}", sources.display()))
}

/// Gives a developer the packages that another has fetched, so that nothing is fetched twice.
pub fn share_registry(from: &Dev, to: &Dev) {
    for part in ["index", "cache"] {
        copy(
            &from.path("cargo/registry").join(part),
            &to.path("cargo/registry").join(part),
        );
    }
}
