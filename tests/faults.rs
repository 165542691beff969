//! The node never stands in the way: killed, gone, unreadable, full, older, foreign, in a bad
//! place. Each time the build goes on and is right.

use crate::harness::{Dev, files, projects, qnode, qwrap, wait_for, write_program};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn checkout(dev: &Dev) -> PathBuf {
    let checkout = dev.path("checkout");
    projects::small(&checkout);
    checkout
}

#[track_caller]
fn runs_right(dev: &Dev, checkout: &Path) {
    let ran = dev.run(&mut dev.command(checkout.join("target/debug/app")));
    assert_eq!(ran.out, "hello, desk\n");
}

#[test]
fn without_a_node_and_without_a_way_to_start_one_cargo_builds() {
    let alice = Dev::new("alice");
    let checkout = checkout(&alice);
    // qwrap alone in a directory, and no qnode in PATH.
    let lone = alice.path("bin");
    fs::create_dir(&lone).unwrap();
    fs::copy(qwrap(), lone.join("qwrap")).unwrap();
    let mut cargo = alice.cargo(&checkout, &["build"]);
    alice
        .run(cargo.env("RUSTC_WRAPPER", lone.join("qwrap")))
        .succeeded();
    runs_right(&alice, &checkout);
    assert!(!alice.home().join("node.sock").exists());
}

#[test]
fn a_node_that_cannot_start_is_tried_once_and_doctor_says_why() {
    let mut alice = Dev::new("alice");
    let checkout = checkout(&alice);
    fs::write(
        alice.home().join("config.toml"),
        "listen = [\"/ip4/127.0.0.1/tcp/0\"]\ncolour = 1\n",
    )
    .unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    runs_right(&alice, &checkout);
    assert!(
        alice.home().join("start.failed").exists(),
        "later wrappers do not try for a while"
    );
    let said = alice.qnode(&["status"]);
    assert_eq!(said.code, Some(1));
    let doctor = alice.qnode(&["doctor"]);
    assert_eq!(doctor.code, Some(1));
    assert!(doctor.out.contains("colour"), "{}", doctor.out);
    alice.env.clear();
}

#[test]
fn an_error_says_its_cause_and_a_name_is_refused_before_anybody_is_asked() {
    let alice = Dev::new("alice");
    let said = alice.qnode(&["team", "sign", "/"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("not a regular file"), "{}", said.err);
    let said = alice.qnode(&["join", "127.0.0.1:1", "--name", " bob"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("choose another"), "{}", said.err);
    assert!(!said.err.contains("approve"), "{}", said.err);
}

#[test]
fn an_unknown_key_in_the_settings_is_named_with_its_line() {
    let alice = Dev::new("alice");
    fs::write(
        alice.home().join("config.toml"),
        "mdns = false\n\ncolour = 1\n",
    )
    .unwrap();
    let said = alice.qnode(&["run"]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("colour") && said.err.contains('3'),
        "{}",
        said.err
    );
    assert!(!said.err.contains("panicked"), "{}", said.err);
}

#[test]
fn the_node_killed_during_a_build_costs_nothing_but_hits() {
    for mode in ["auto", "node"] {
        killed_during_a_build(mode);
    }
}

fn killed_during_a_build(mode: &str) {
    let mut alice = Dev::new("alice");
    alice.env.push(("QUARRY_COMPILE".into(), mode.into()));
    let checkout = alice.path("desk");
    projects::sample("desk", &checkout);
    alice.start();
    let mut child = alice
        .cargo(&checkout, &["build"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Between the first compile that was recorded and the last: notifications before and after.
    wait_for("a first entry", || {
        (alice.count("misses") >= 2).then_some(())
    });
    alice.kill_node();
    assert!(child.wait().unwrap().success());
    let ran = alice
        .run(&mut alice.command(checkout.join("target/debug/desk")))
        .succeeded();
    let expected = fs::read_to_string(checkout.join("cli/data/output.txt")).unwrap();
    assert_eq!(ran.out, expected);
    let again = alice.build(&checkout, &["build", "-v"]).succeeded();
    assert!(!again.err.contains("Running"), "{}", again.err);
}

#[test]
fn the_node_killed_again_and_again_during_a_build_of_hits() {
    let alice = Dev::new("alice");
    let checkout = alice.path("desk");
    projects::sample("desk", &checkout);
    alice.build(&checkout, &["build"]).succeeded();
    alice.flush();
    for round in 0..3 {
        fs::remove_dir_all(checkout.join("target")).unwrap();
        let mut child = alice
            .cargo(&checkout, &["build"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(60 * (round + 1)));
        if let Ok(pid) = fs::read_to_string(alice.home().join("node.lock")) {
            let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        }
        assert!(child.wait().unwrap().success(), "round {round}");
        let ran = alice
            .run(&mut alice.command(checkout.join("target/debug/desk")))
            .succeeded();
        assert_eq!(
            ran.out,
            fs::read_to_string(checkout.join("cli/data/output.txt")).unwrap()
        );
    }
}

#[test]
fn a_socket_that_is_gone_or_foreign_is_no_obstacle() {
    let alice = Dev::new("alice");
    let checkout = checkout(&alice);
    alice.start();
    fs::remove_file(alice.home().join("node.sock")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    runs_right(&alice, &checkout);
    let pid = fs::read_to_string(alice.home().join("node.lock")).unwrap();
    let _ = Command::new("kill").args(["-9", pid.trim()]).status();
}

#[test]
fn a_node_that_hangs_is_given_up_and_left_alone() {
    let alice = Dev::new("alice");
    let checkout = checkout(&alice);
    alice.start();
    let pid = alice.pid().to_string();
    assert!(
        Command::new("kill")
            .args(["-STOP", &pid])
            .status()
            .unwrap()
            .success()
    );
    let began = Instant::now();
    alice.build(&checkout, &["build"]).succeeded();
    assert!(
        began.elapsed() < Duration::from_secs(100),
        "{:?}",
        began.elapsed()
    );
    runs_right(&alice, &checkout);
    assert!(
        Command::new("kill")
            .args(["-CONT", &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_node_that_wakes_up_late_cost_seconds_and_touches_no_file_of_who_gave_it_up() {
    use std::os::unix::fs::MetadataExt;
    let alice = Dev::new("alice");
    let checkout = checkout(&alice);
    alice.build(&checkout, &["build"]).succeeded();
    // What cargo knows of the compiler stays, so that a compile is the first that it asks for.
    fs::remove_dir_all(checkout.join("target/debug")).unwrap();
    let asked = alice.count("requests");
    let pid = alice.pid().to_string();
    let signal = |signal: &str| {
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    };
    signal("-STOP");
    let began = Instant::now();
    alice.build(&checkout, &["build"]).succeeded();
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "a silent node costs a build seconds: {:?}",
        began.elapsed()
    );
    let inodes = || -> Vec<u64> {
        let built = files(&checkout.join("target/debug/deps"), &|_| true);
        let path = |name: &Path| checkout.join("target/debug/deps").join(name);
        let inode = |(name, _): &(PathBuf, Vec<u8>)| fs::metadata(path(name)).unwrap().ino();
        built.iter().map(inode).collect()
    };
    let before = inodes();
    signal("-CONT");
    // What was asked while it slept is in its hands now: all of it ends before it says so.
    wait_for("the node to have heard what was asked", || {
        (alice.count("requests") > asked && alice.json(&["status"])["busy"] == 0).then_some(())
    });
    assert_eq!(inodes(), before);
    runs_right(&alice, &checkout);
}

#[test]
fn a_corrupt_store_is_set_aside_and_doctor_says_so() {
    let alice = Dev::new("alice");
    let checkout = checkout(&alice);
    alice.build(&checkout, &["build"]).succeeded();
    alice.qnode(&["stop"]).succeeded();
    fs::write(
        alice.home().join("store/store.redb"),
        b"not a database at all",
    )
    .unwrap();
    fs::remove_dir_all(checkout.join("target")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    runs_right(&alice, &checkout);
    let doctor = alice.qnode(&["doctor"]);
    assert!(doctor.out.contains("set aside"), "{}", doctor.out);
}

#[test]
fn a_store_with_bytes_overwritten_in_every_file_compiles_again() {
    let alice = Dev::new("alice");
    let checkout = alice.path("desk");
    projects::sample("desk", &checkout);
    alice.build(&checkout, &["build"]).succeeded();
    alice.flush();
    for (name, mut bytes) in crate::harness::files(&alice.home().join("store/objects"), &|_| true) {
        let path = alice.home().join("store/objects").join(name);
        let middle = bytes.len() / 2;
        bytes[middle..].iter_mut().take(64).for_each(|b| *b = !*b);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    fs::remove_dir_all(checkout.join("target")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    let ran = alice
        .run(&mut alice.command(checkout.join("target/debug/desk")))
        .succeeded();
    assert_eq!(
        ran.out,
        fs::read_to_string(checkout.join("cli/data/output.txt")).unwrap()
    );
    assert!(alice.count("rejected.corrupt") > 0, "{}", alice.stats());
    // And what was compiled again is stored again.
    fs::remove_dir_all(checkout.join("target")).unwrap();
    let before = alice.count("hits.local");
    alice.build(&checkout, &["build"]).succeeded();
    assert!(
        alice.count("hits.local") >= before + 14,
        "{}",
        alice.stats()
    );
}

#[test]
fn a_second_node_on_the_same_home_says_who_is_there() {
    let alice = Dev::new("alice");
    alice.start();
    let second = alice.qnode(&["run"]);
    assert_eq!(second.code, Some(1));
    assert!(second.err.contains("runs already"), "{}", second.err);
    assert!(
        second.err.contains(&alice.pid().to_string()),
        "{}",
        second.err
    );
}

#[test]
fn a_home_of_somebody_else_is_left_alone() {
    let alice = Dev::new("alice");
    let checkout = checkout(&alice);
    if !rustix_is_root() {
        eprintln!("skipped: giving a directory to another user needs root");
        return;
    }
    let home = alice.home();
    assert!(
        Command::new("chown")
            .arg("65534")
            .arg(&home)
            .status()
            .unwrap()
            .success()
    );
    alice.build(&checkout, &["build"]).succeeded();
    runs_right(&alice, &checkout);
    assert_eq!(
        fs::read_dir(&home).unwrap().count(),
        0,
        "nothing was put there"
    );
    let said = alice.qnode(&["status"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("belongs to user 65534"), "{}", said.err);
}

fn rustix_is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout.starts_with(b"0"))
}

#[test]
fn a_home_too_deep_for_a_socket_path_works_or_says_so() {
    let mut alice = Dev::new("alice");
    let checkout = checkout(&alice);
    let deep = alice.path("d".repeat(60)).join("e".repeat(60));
    fs::create_dir_all(&deep).unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o700)).unwrap();
    alice
        .env
        .push(("QUARRY_HOME".into(), deep.display().to_string()));
    alice.build(&checkout, &["build"]).succeeded();
    runs_right(&alice, &checkout);
    assert_eq!(
        alice.count("misses"),
        3,
        "a long path is reached through its directory: {}",
        alice.stats()
    );
}

#[test]
fn few_descriptors_are_enough() {
    let alice = Dev::new("alice");
    let checkout = checkout(&alice);
    let script = "ulimit -n 64; \"$0\" start && exec cargo build";
    let mut shell = alice.command("sh");
    shell
        .args(["-c", script])
        .arg(qnode())
        .current_dir(&checkout)
        .env("RUSTC_WRAPPER", qwrap());
    alice.run(&mut shell).succeeded();
    runs_right(&alice, &checkout);
}

#[test]
fn a_deleted_working_directory_ends_as_without_us() {
    let alice = Dev::new("alice");
    let gone = alice.path("gone");
    fs::create_dir(&gone).unwrap();
    let script = "cd \"$1\" && rmdir \"$1\" && exec \"$0\" rustc --version";
    let mut shell = alice.command("sh");
    shell.args(["-c", script]).arg(qwrap()).arg(&gone);
    let said = alice.run(&mut shell);
    assert!(!said.err.contains("panicked"), "{}", said.err);
}

#[test]
fn qwrap_ends_as_the_compiler_does_by_code_and_by_signal() {
    let alice = Dev::new("alice");
    let fake = alice.path("rustc");
    for (script, code, signal) in [
        ("exit 3", Some(3), None),
        ("kill -SEGV $$", None, Some(11)),
        ("exit 0", Some(0), None),
    ] {
        write_program(&fake, format!("#!/bin/sh\n{script}\n"));
        let status = alice
            .command(qwrap())
            .arg(&fake)
            .arg("x.rs")
            .status()
            .unwrap();
        assert_eq!((status.code(), status.signal()), (code, signal), "{script}");
    }
}

#[test]
fn interrupting_cargo_leaves_no_compiler_behind() {
    for mode in ["auto", "node"] {
        let mut alice = Dev::new("alice");
        alice.env.push(("QUARRY_COMPILE".into(), mode.into()));
        let checkout = alice.path("desk");
        projects::sample("desk", &checkout);
        alice.start();
        let mut cargo = alice.cargo(&checkout, &["build"]);
        // A process group of its own, as a terminal gives one.
        let mut child = cargo
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let marker = checkout.display().to_string();
        wait_for("a compiler to run", || {
            (!compilers(&marker).is_empty()).then_some(())
        });
        let group = format!("-{}", child.id());
        assert!(
            Command::new("kill")
                .args(["-INT", "--", &group])
                .status()
                .unwrap()
                .success()
        );
        child.wait().unwrap();
        let began = Instant::now();
        while !compilers(&marker).is_empty() {
            assert!(
                began.elapsed() < Duration::from_millis(500),
                "{mode}: {:?}",
                compilers(&marker)
            );
            std::thread::yield_now();
        }
        println!(
            "mode {mode}: no compiler {:?} after cargo ended",
            began.elapsed()
        );
    }
}

/// Processes called rustc whose working directory or command line names `marker`.
fn compilers(marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if name.trim() == "rustc" && cwd.to_string_lossy().contains(marker) {
            found.push(pid);
        }
    }
    found
}

#[test]
fn the_node_can_spawn_the_compiler_itself() {
    let mut alice = Dev::new("alice");
    alice.env.push(("QUARRY_COMPILE".into(), "node".into()));
    let checkout = checkout(&alice);
    alice.build(&checkout, &["build"]).succeeded();
    runs_right(&alice, &checkout);
    assert_eq!(alice.count("misses"), 3, "{}", alice.stats());
    fs::remove_dir_all(checkout.join("target")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    assert_eq!(alice.count("hits.local"), 3, "{}", alice.stats());
    fs::write(
        checkout.join("words/src/lib.rs"),
        "pub const HELLO: &str = 1;\n",
    )
    .unwrap();
    let failed = alice.build(&checkout, &["build"]);
    assert_eq!(failed.code, Some(101));
    assert!(failed.err.contains("error[E0308]"), "{}", failed.err);
}

#[test]
fn a_node_whose_home_was_removed_ends() {
    let alice = Dev::new("alice");
    alice.start();
    let pid = alice.pid();
    fs::remove_dir_all(alice.home()).unwrap();
    let running = Path::new("/proc").join(pid.to_string()).join("fd");
    wait_for("the node to notice", || {
        fs::read_dir(&running).is_err().then_some(())
    });
}
