//! Build scripts that ask the compiler (47): its version, or whether it takes a text. Shared where
//! the compiler is the one in the run's key and all that it was asked is known.
//!
//! Whether a script ran is told by the node; what the compiler answered stands in the program.

use super::elsewhere::{before_path, changed, component, toolchain};
use super::ground::{Place, scripts};
use super::scripts::{built, fresh, how, place};
use super::shared_scripts::{stays_with_alice, teammates};
use crate::harness::{Dev, qwrap, team, wait_for, wait_keys, write_program};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Asks the compiler that cargo named for its version.
const VERSION: &str = r#"
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = env::var_os("RUSTC").unwrap();
    let said = std::process::Command::new(rustc).arg("--version").output().unwrap();
    note(String::from_utf8(said.stdout).unwrap().split(' ').next().unwrap());
"#;

/// Has a file of the package compiled by way of the wrapper, with an unstable feature switched on,
/// and notes whether that went well.
const TRIAL: &str = r#"
    println!("cargo::rerun-if-changed=build.rs");
    let var = |name: &str| env::var_os(name).unwrap();
    let trial = out().join("trial");
    fs::create_dir(&trial).unwrap();
    let mut command = std::process::Command::new(var("RUSTC_WRAPPER"));
    command.arg(var("RUSTC")).args(["--edition=2021", "--crate-name=trial", "--crate-type=lib"]);
    command.args(["--emit=dep-info,metadata", "--out-dir"]).arg(&trial).arg("src/trial.rs");
    let went = command.stderr(std::process::Stdio::null()).status().unwrap().success();
    fs::remove_dir_all(&trial).unwrap();
    note(if went { "taken" } else { "refused" });
"#;
const STABLE: (&str, &str) = ("src/trial.rs", "pub fn f() -> u8 { 1 }\n");
const UNSTABLE: (&str, &str) = (
    "src/trial.rs",
    "#![feature(rustc_attrs)]\npub fn f() -> u8 { 1 }\n",
);

/// Alice's run of this is Bob's.
#[track_caller]
fn is_shared<'d>(
    devs: &'d [Dev],
    main: &str,
    files: &[(&str, &str)],
) -> (String, Place<'d>, Place<'d>) {
    let (here, there) = teammates(devs, main, files);
    let first = how("1 miss", built(&here));
    wait_keys(&devs[1], &devs[0]);
    assert_eq!(how("1 peer", built(&there)), first, "what Alice's run made");
    there.nothing_left();
    (first, here, there)
}

#[test]
fn a_script_that_asks_the_compilers_version_is_run_once_in_the_team() {
    let devs = team(&["alice", "bobby"]);
    let (first, ..) = is_shared(&devs, VERSION, &[]);
    assert!(first.starts_with("rustc "), "{first}");
}

#[test]
fn a_trial_compile_through_qwrap_is_run_once_in_the_team() {
    let devs = team(&["alice", "bobby"]);
    let (first, _, mut there) = is_shared(&devs, TRIAL, &[STABLE]);
    assert!(first.starts_with("taken "), "{first}");
    there.write(&[("src/trial.rs", "pub fn f() -> u8 { one }\n")]);
    let other = how("1 miss", fresh(&there));
    assert!(other.starts_with("refused "), "the tried text: {other}");
    there.write(&[STABLE]);
    assert_eq!(how("1 hit", fresh(&there)), first);
    // qwrap may lie anywhere.
    let copy = devs[1].path("bin of bobby/qwrap");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(qwrap(), &copy).unwrap();
    there.set("RUSTC_WRAPPER", copy.to_str());
    assert_eq!(how("1 hit", fresh(&there)), first);
    // A link on the way to it would be another name for what is compiled.
    fs::rename(there.l("src/trial.rs"), there.l("trial.rs")).unwrap();
    symlink("../trial.rs", there.l("src/trial.rs")).unwrap();
    how("1 miss", fresh(&there));
}

#[test]
fn what_lets_the_compiler_take_more_is_another_run() {
    let devs = team(&["alice", "bobby"]);
    let (mut here, there) = teammates(&devs, TRIAL, &[UNSTABLE]);
    here.set("RUSTC_BOOTSTRAP", Some("1"));
    let first = how("1 miss", built(&here));
    assert!(first.starts_with("taken "), "{first}");
    wait_keys(&devs[1], &devs[0]);
    let second = how("1 miss", built(&there));
    assert!(second.starts_with("refused "), "{second}");
}

/// A program of bobby's that says so in trials, and then does as qwrap.
fn in_front(dev: &Dev) -> PathBuf {
    let path = dev.path("in-front");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--crate-name=trial*) set -- \"$@\" --cfg bobbys;; esac\n\
         exec {} \"$@\"\n",
        qwrap().display()
    );
    write_program(&path, text);
    path
}

/// Waits in OUT_DIR until it may ask.
const HELD: &str = r#"
    fs::write(out().join("begun"), "").unwrap();
    while !out().join("go").exists() { std::thread::sleep(std::time::Duration::from_millis(2)); }
"#;

#[test]
fn a_compiler_that_changes_before_it_is_asked_is_not_the_one_in_the_key() {
    let alice = Dev::new("alice");
    let copy = alice.path("toolchain");
    toolchain(&copy);
    let mut here = place(&alice, "here", &format!("{HELD}{VERSION}"), &[]);
    here.set("PATH", Some(&before_path(&copy)));
    here.set("RUSTC", copy.join("bin/rustc").to_str());
    let build = || {
        let mut building = here.command("build").stderr(Stdio::null()).spawn().unwrap();
        let held = wait_for("the script to wait", || {
            let all = fs::read_dir(here.at.join("target/debug/build")).ok()?;
            let mut all = all.flatten().map(|entry| entry.path().join("out"));
            all.find(|out| out.join("begun").exists())
        });
        changed(&component(&copy.join("lib"), "libLLVM", ""));
        fs::write(held.join("go"), "").unwrap();
        assert!(building.wait().unwrap().success());
    };
    assert_eq!(scripts(&alice, build), "1 script-input-changed");
}

#[test]
fn a_wrapper_that_is_not_qwrap_has_runs_of_its_own() {
    let devs = team(&["alice", "bobby"]);
    let asks = (
        "src/trial.rs",
        "#[cfg(bobbys)]\ncompile_error!(\"asked by way of bobby's\");\n",
    );
    let (here, mut there) = teammates(&devs, TRIAL, &[asks]);
    assert!(how("1 miss", built(&here)).starts_with("taken "));
    wait_keys(&devs[1], &devs[0]);
    there.set("RUSTC_WRAPPER", in_front(&devs[1]).to_str());
    assert!(how("1 miss", built(&there)).starts_with("refused "));
}

#[test]
fn another_compiler_by_its_name_alone_stays_here() {
    let main = VERSION.replace("env::var_os(\"RUSTC\").unwrap()", "\"rustc\"");
    stays_with_alice(&main, "programs");
}

#[test]
fn a_trial_that_is_linked_stays_here() {
    let linked = r#"
        println!("cargo::rerun-if-changed=build.rs");
        fs::write(out().join("t.rs"), "fn main() {}").unwrap();
        let mut command = std::process::Command::new(env::var_os("RUSTC").unwrap());
        command.arg(out().join("t.rs")).arg("-o").arg(out().join("t"));
        assert!(command.status().unwrap().success());
        fs::remove_file(out().join("t")).unwrap();
        note("x");
    "#;
    stays_with_alice(linked, "programs");
}

#[test]
fn a_compiler_that_looks_for_its_libraries_elsewhere_stays_here() {
    let main = VERSION.replace(
        "Command::new(rustc)",
        "Command::new(rustc).env(\"LD_LIBRARY_PATH\", \"/usr/local/lib\")",
    );
    stays_with_alice(&main, "programs");
}

#[test]
fn a_compiler_that_is_asked_for_this_machines_processor_stays_here() {
    for asked in ["-Ctarget-cpu=native", "--print=target-cpus"] {
        let asked = format!("arg(\"--print=cfg\").arg(\"{asked}\")");
        let main = VERSION
            .replace("arg(\"--version\")", &asked)
            .replace("split(' ')", "split('\"')");
        stays_with_alice(&main, "machine");
    }
}

#[test]
fn a_compiler_whose_arguments_stand_in_a_file_stays_here() {
    let main = VERSION
        .replace(
            "arg(\"--version\")",
            "arg(format!(\"@{}\", out().join(\"a\").display()))",
        )
        .replace(
            "let rustc",
            "fs::write(out().join(\"a\"), \"--version\\n\").unwrap(); let rustc",
        );
    stays_with_alice(&main, "unwatched");
}

#[test]
fn a_script_that_starts_the_compiler_and_looks_at_all_variables_stays_here() {
    let main = format!("{VERSION}\nprintln!(\"{{}}\", env::vars_os().count());");
    stays_with_alice(&main, "environment");
}

/// As libc's script does: asks for a program that hardly anybody has.
const RARE: &str = r#"
    println!("cargo::rerun-if-changed=build.rs");
    note(match std::process::Command::new("quarry-rare-tool").output() {
        Ok(said) => if said.status.success() { "there" } else { "broken" },
        Err(_) => "nowhere",
    });
"#;

#[test]
fn a_script_that_finds_no_such_program_is_shared_with_whom_has_none_either() {
    let devs = team(&["alice", "bobby"]);
    let (first, _, mut there) = is_shared(&devs, RARE, &[]);
    assert!(first.starts_with("nowhere "), "{first}");
    let bin = devs[1].path("bin");
    fs::create_dir(&bin).unwrap();
    symlink("/bin/true", bin.join("quarry-rare-tool")).unwrap();
    let path = std::env::var("PATH").unwrap();
    let with = |dir: &Path| format!("{path}:{}", dir.display());
    there.set("PATH", Some(&with(&bin)));
    assert!(how("1 miss", fresh(&there)).starts_with("there "));
}

#[test]
fn a_search_along_another_path_is_not_understood() {
    let main = RARE.replace(
        "(\"quarry-rare-tool\")",
        "(\"quarry-rare-tool\").env(\"PATH\", \"/opt/quarry/bin\")",
    );
    stays_with_alice(&main, "programs");
}

#[test]
fn a_trial_compile_of_what_lies_in_cargos_home_is_shared() {
    let devs = team(&["alice", "bobby"]);
    let unpacked = "cargo/registry/src/index-1/w";
    let here = place(&devs[0], unpacked, TRIAL, &[STABLE]);
    let there = place(&devs[1], unpacked, TRIAL, &[STABLE]);
    let first = how("1 miss", built(&here));
    wait_keys(&devs[1], &devs[0]);
    assert_eq!(how("1 peer", built(&there)), first);
}
