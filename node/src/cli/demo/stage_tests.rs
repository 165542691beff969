//! The stage without its nodes: what is set, what is left.

use super::*;

fn a_stage(keep: bool) -> Stage {
    let interrupt = Interrupt(Arc::new(AtomicBool::new(false)));
    Stage::set(
        "/nowhere/qnode".into(),
        "/nowhere/qwrap".into(),
        interrupt,
        keep,
    )
    .unwrap()
}

#[test]
fn a_developer_has_a_checkout_and_the_end_leaves_nothing() {
    let mut stage = a_stage(false);
    let place = stage.place().to_owned();
    let bob = stage.developer("bob", "elsewhere/desk").unwrap();
    assert_eq!(bob.possessive(), "Bob's");
    for (path, bytes) in desk_files::FILES {
        assert_eq!(fs::read(bob.checkout.join(path)).unwrap(), *bytes, "{path}");
    }
    assert_eq!(stage.clear(), None);
    assert!(!place.exists());
}

#[test]
fn what_is_kept_is_said() {
    let mut stage = a_stage(true);
    let place = stage.clear().unwrap();
    assert!(place.is_dir());
    fs::remove_dir_all(place).unwrap();
}

#[test]
fn a_node_that_cannot_run_ends_the_story_and_leaves_nothing() {
    let mut stage = a_stage(false);
    let place = stage.place().to_owned();
    let alice = stage.developer("alice", "desk").unwrap();
    assert!(
        stage
            .run_node(&alice)
            .unwrap_err()
            .to_string()
            .contains("/nowhere/qnode")
    );
    drop(stage);
    assert!(!place.exists());
}

#[test]
fn an_interrupted_child_is_ended_with_its_group() {
    let stage = a_stage(false);
    let mut child = Command::new("sh")
        .args(["-c", "sleep 600 & echo $!; wait"])
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut grandchild = String::new();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut grandchild).unwrap();
    stage.interrupt.0.store(true, Ordering::SeqCst);
    let error = stage
        .wait(&mut child, Duration::from_secs(600))
        .unwrap_err();
    assert!(error.to_string().contains("interrupted"), "{error}");
    // The pipe ends when the last of the group that holds it has ended.
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn what_would_disturb_a_build_is_cleared() {
    let harmless = |name: &str| is_harmless(name.as_ref());
    for name in [
        "RUSTC_WRAPPER",
        "RUSTC",
        "RUSTFLAGS",
        "CARGO_HOME",
        "CARGO_BUILD_TARGET",
        "CARGO",
        "QUARRY_HOME",
        "QUARRY_TICKET",
        "QUARRY",
        "LD_PRELOAD",
        "MAKEFLAGS",
        "RUSTC_BOOTSTRAP",
    ] {
        assert!(!harmless(name), "{name}");
    }
    for name in [
        "PATH",
        "HOME",
        "RUSTUP_HOME",
        "RUSTUP_TOOLCHAIN",
        "TMPDIR",
        "LANG",
    ] {
        assert!(harmless(name), "{name}");
    }
}
