//! Stops of this process and of its children, each in a process of its own: the tests' own process
//! has children of other tests, and is to keep its handlers.

use super::*;
use crate::run::{Outcome, Showing, run};
use std::process::Command;
use std::time::{Duration, Instant};

/// Set in the process that a test is played in.
const INSIDE: &str = "QUARRY_TEST_STOPPED_INSIDE";

/// Plays a story in a process of its own.
fn apart(name: &str, story: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        notice().unwrap();
        return story();
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([&format!("stopped::tests::{name}"), "--exact", "--nocapture"]);
    let said = again.env(INSIDE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let errors = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
}

fn shell(script: &str) -> Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    run(
        &mut command,
        &Showing::default(),
        &mut io::sink(),
        &mut io::sink(),
    )
    .unwrap()
}

/// Handlers may run on another thread than ours.
fn wait_stopped(watch: Watch) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !watch.stopped() {
        assert!(Instant::now() < deadline, "the stop was not noticed");
        std::thread::yield_now();
    }
}

/// Stops a process, and lets it go once the kernel says that it stands.
fn stop(pid: &str) -> String {
    format!(
        "kill -STOP {pid}; until grep -q '^State:[[:space:]]*T' /proc/{pid}/status; do :; done; \
         kill -CONT {pid}"
    )
}

#[test]
fn where_nobody_is_stopped_nothing_is_marked() {
    apart("where_nobody_is_stopped_nothing_is_marked", || {
        let watch = Watch::begin();
        assert!(shell("echo said; (exit 3); true").status.success());
        assert_eq!(shell("exit 4").status.code(), Some(4));
        shell("kill -TERM $$");
        assert!(!watch.stopped());
    });
}

#[test]
fn a_child_that_was_stopped_is_noticed() {
    apart("a_child_that_was_stopped_is_noticed", || {
        let before = Watch::begin();
        let outcome = shell(&format!("me=$$; ({}) & wait; exit 5", stop("$me")));
        assert_eq!(outcome.status.code(), Some(5), "it ends as ever");
        wait_stopped(before);
        let after = Watch::begin();
        shell("true");
        assert!(!after.stopped(), "what was before does not count");
    });
}

#[test]
fn a_process_that_was_stopped_itself_notices() {
    apart("a_process_that_was_stopped_itself_notices", || {
        let before = Watch::begin();
        assert!(shell(&stop("$PPID")).status.success());
        wait_stopped(before);
    });
}

#[test]
fn children_start_with_no_signal_held_up_caught_or_ignored() {
    apart(
        "children_start_with_no_signal_held_up_caught_or_ignored",
        || {
            let mut command = Command::new("cat");
            command.arg("/proc/self/status");
            let (showing, mut out) = (Showing::default(), io::sink());
            let ran = run(&mut command, &showing, &mut out, &mut io::sink()).unwrap();
            let text = String::from_utf8(ran.stdout.unwrap()).unwrap();
            for kind in ["SigBlk", "SigCgt", "SigIgn"] {
                let of_kind = text.lines().find_map(|line| line.strip_prefix(kind));
                let signals = u64::from_str_radix(&of_kind.unwrap()[2..], 16).unwrap();
                let ours = [libc::SIGCONT, libc::SIGCHLD].map(|signal| 1_u64 << (signal - 1));
                assert_eq!(signals & (ours[0] | ours[1]), 0, "{kind} in {text}");
            }
        },
    );
}
