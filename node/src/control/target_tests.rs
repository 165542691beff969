//! Stories of a target directory, as cargo lays it.

use super::*;
use std::os::unix::fs::symlink;

fn lay(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

const APP: &str = "my_app-0123456789abcdef";

#[test]
fn a_program_is_found_in_deps_and_under_its_plain_name() {
    let dir = lay(&[
        ("target/debug/deps/my_app-0123456789abcdef", "app"),
        ("target/debug/my-app", "app"),
        ("target/debug/my_app", "another"),
    ]);
    let deps = dir.path().join("target/debug/deps");
    let found = states(&deps, APP, &Digest::of(b"app"), false);
    let plain = dir.path().join("target/debug/my-app");
    assert_eq!(found, [(deps.join(APP), HOLDS), (plain, HOLDS)]);
    let other = states(&deps, APP, &Digest::of(b"older"), false);
    assert_eq!(other, [(deps.join(APP), CHANGED)]);
    fs::remove_file(deps.join(APP)).unwrap();
    let gone = states(&deps, APP, &Digest::of(b"older"), false);
    assert_eq!(gone, [(deps.join(APP), GONE)]);
}

#[test]
fn a_build_script_is_found_beside_its_launcher() {
    let name = "build_script_build-0123456789abcdef";
    let place = format!("target/debug/build/a-1/{name}");
    let real = format!("{place}.script");
    let dir = lay(&[(&place, "launcher"), (&real, "script")]);
    let at = dir.path().join("target/debug/build/a-1");
    let found = states(&at, name, &Digest::of(b"script"), false);
    assert_eq!(found, [(dir.path().join(real), HOLDS)]);
}

#[test]
fn a_link_holds_nothing() {
    let dir = lay(&[("target/debug/deps/x", "x"), ("secret", "s")]);
    let deps = dir.path().join("target/debug/deps");
    symlink(dir.path().join("secret"), deps.join("liba.rlib")).unwrap();
    let found = states(&deps, "liba.rlib", &Digest::of(b"s"), false);
    assert_eq!(found, [(deps.join("liba.rlib"), CHANGED)]);
    assert!(digest_of(&deps).is_err(), "a directory has no bytes");
}

#[test]
fn out_dir_counts_as_a_whole() {
    let dir = lay(&[("t/debug/build/a-1/out/x.rs", "x"), ("t/CACHEDIR.TAG", "")]);
    let out = dir.path().join("t/debug/build/a-1/out");
    let digest = digest_of_out(&out).unwrap();
    let now = |out: &Path| states(out, "out", &digest, true);
    assert_eq!(now(&out), [(out.clone(), HOLDS)]);
    assert_eq!(named(&out), "/quarry/target/debug/build/a-1/out");
    fs::write(out.join("x.rs"), "y").unwrap();
    assert_eq!(now(&out), [(out.clone(), CHANGED)]);
    fs::remove_dir_all(&out).unwrap();
    assert_eq!(now(&out), [(out.clone(), GONE)]);
}

#[test]
fn the_project_is_the_workspace_right_above_or_the_target_directory() {
    let dir = lay(&[
        ("ws/Cargo.toml", ""),
        ("ws/target/CACHEDIR.TAG", ""),
        ("elsewhere/CACHEDIR.TAG", ""),
    ]);
    let at = |below: &str| project(&dir.path().join(below));
    assert_eq!(at("ws/target/debug/deps"), dir.path().join("ws"));
    assert_eq!(at("ws/target/debug/build/a-1/out"), dir.path().join("ws"));
    assert_eq!(at("ws/target/x86_64/debug/deps"), dir.path().join("ws"));
    assert_eq!(at("elsewhere/release/deps"), dir.path().join("elsewhere"));
}
