//! A share of hits is compiled again behind the build's back; what differs raises an alarm.

use crate::harness::{Dev, projects, wait_for};

/// A developer of whose hits this share is compiled again.
fn suspicious(name: &str, share: &str) -> Dev {
    let mut dev = Dev::new(name);
    dev.env.push(("QUARRY_VERIFY".into(), share.into()));
    dev
}

fn verified(dev: &Dev) -> (u64, u64) {
    let stats = dev.stats();
    let n = |name: &str| stats["verified"][name].as_u64().unwrap();
    (n("checked"), n("differed"))
}

#[test]
fn what_is_right_is_compiled_again_and_found_the_same() {
    let alice = suspicious("alice", "100%");
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    alice.build(&checkout, &["build"]).succeeded();
    assert_eq!(verified(&alice), (0, 0), "nothing was restored yet");
    std::fs::remove_dir_all(checkout.join("target")).unwrap();
    alice.build(&checkout, &["build"]).succeeded();
    let hits = alice.count("hits.local");
    assert!(hits >= 2);
    wait_for("all hits to be compiled again", || {
        (verified(&alice).0 == hits).then_some(())
    });
    assert_eq!(verified(&alice), (hits, 0));
    let left = alice.home().join("recheck");
    wait_for("the directory to be gone", || {
        (!left.exists()).then_some(())
    });
}

#[test]
fn of_hits_the_share_that_was_asked_for_is_compiled_again() {
    let alice = suspicious("alice", "50%");
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    for (hits, checked) in [(0, 0), (3, 1), (6, 3)] {
        let _ = std::fs::remove_dir_all(checkout.join("target"));
        alice.build(&checkout, &["build"]).succeeded();
        assert_eq!(alice.count("hits.local"), hits);
        wait_for("half of the hits to be compiled again", || {
            (verified(&alice).0 >= checked).then_some(())
        });
        // One by one: once the directory is gone nothing waits.
        let left = alice.home().join("recheck");
        wait_for("the directory to be gone", || {
            (!left.exists()).then_some(())
        });
        assert_eq!(verified(&alice), (checked, 0));
    }
}

#[test]
fn what_differs_raises_an_alarm_with_its_name_and_is_not_used_again() {
    let alice = suspicious("alice", "100%");
    let checkout = alice.path("checkout");
    projects::write(
        &checkout,
        &[
            (
                "Cargo.toml",
                "[package]\nname = \"timed\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                 [workspace]\nmembers = [\"mac\"]\n[dependencies]\nmac = { path = \"mac\" }\n",
            ),
            ("src/lib.rs", "pub const WHEN: u128 = mac::now!();"),
            (
                "mac/Cargo.toml",
                "[package]\nname = \"mac\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                 [lib]\nproc-macro = true\n",
            ),
            // No observer sees who asks for the time.
            (
                "mac/src/lib.rs",
                "use std::time::{SystemTime, UNIX_EPOCH};\n\
                 #[proc_macro] pub fn now(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n\
                 let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();\n\
                 format!(\"{}u128\", now.as_nanos()).parse().unwrap() }",
            ),
        ],
    );
    alice.build(&checkout, &["build"]).succeeded();
    let clean = || {
        let deps = checkout.join("target/debug");
        std::fs::remove_dir_all(deps).unwrap();
    };
    clean();
    alice.build(&checkout, &["build"]).succeeded();
    wait_for("the alarm", || (verified(&alice).1 == 1).then_some(()));
    let doctor = alice.qnode(&["doctor"]);
    assert_eq!(doctor.code, Some(1));
    let builder = alice.json(&["status"])["builder"].clone();
    for word in ["timed", "libtimed-", "set aside", builder.as_str().unwrap()] {
        assert!(doctor.out.contains(word), "{word} in {}", doctor.out);
    }
    assert!(alice.log().contains("compiling timed again"));

    // Not after a restart either, nor once the same was compiled and stored again.
    alice.qnode(&["restart"]).succeeded();
    for _ in 0..2 {
        let misses = alice.count("misses");
        clean();
        alice.build(&checkout, &["build"]).succeeded();
        assert_eq!(alice.count("misses"), misses + 1, "{}", alice.stats());
    }
}
