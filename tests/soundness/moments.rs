//! What changes while the compiler runs (33, 48, 50): held at a gate, not by a race.

use super::ground::{GATE, Place, led, macro_package, members, package};
use crate::harness::Dev;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

/// `word` is read before the gate and `lib.rs` is the root: the compile has seen both.
const GATED: &[(&str, &str)] = &[
    (
        "src/lib.rs",
        "mod word; gate::wait!(); pub fn said() -> &'static str { word::IT }",
    ),
    ("src/word.rs", "pub const IT: &str = \"one\";"),
];
const TWO: &str = "pub const IT: &str = \"two\";";

/// The same story for every change that a compile does not see: it says `one`, is not kept, and
/// what comes next is right.
fn unseen(change: impl FnOnce(&Place<'_>)) {
    let alice = Dev::new("alice");
    let here = Place::gated(&alice, "here", GATED);
    here.write(&[("other/word.rs", TWO)]);
    not_kept(&here, || change(&here));
}

#[track_caller]
fn not_kept(here: &Place<'_>, change: impl FnOnce()) {
    let how = here.counted(|| drop(here.while_compiling(change).succeeded()));
    assert_eq!(here.run(), "one", "the compile had read its sources");
    assert_eq!(how, "1 changed-while-compiling");
    assert_eq!(here.fresh(), led("two", "1 miss"));
}

#[test]
fn a_source_saved_during_the_compile_is_not_kept() {
    unseen(|here| here.write(&[("src/word.rs", TWO)]));
}

#[test]
fn a_source_moved_into_place_with_an_old_time_is_not_kept() {
    unseen(|here| {
        let other = here.l("other/word.rs");
        let old = SystemTime::now() - Duration::from_secs(86_400);
        fs::File::options()
            .append(true)
            .open(&other)
            .and_then(|file| file.set_modified(old))
            .unwrap();
        fs::rename(other, here.l("src/word.rs")).unwrap();
    });
}

#[test]
fn a_directory_swapped_for_another_during_the_compile_is_not_kept() {
    let alice = Dev::new("alice");
    let here = Place::gated(
        &alice,
        "here",
        &[
            (
                "src/lib.rs",
                "mod deep; gate::wait!(); pub fn said() -> &'static str { deep::word::IT }",
            ),
            ("src/deep/mod.rs", "pub mod word;"),
            ("src/deep/word.rs", GATED[1].1),
            ("other/mod.rs", "pub mod word;"),
            ("other/word.rs", TWO),
        ],
    );
    not_kept(&here, || {
        fs::rename(here.l("src/deep"), here.l("old")).unwrap();
        fs::rename(here.l("other"), here.l("src/deep")).unwrap();
    });
}

#[test]
fn a_directory_further_up_swapped_during_the_compile_is_not_kept() {
    let alice = Dev::new("alice");
    let here = Place::gated(
        &alice,
        "here",
        &[
            (
                "src/lib.rs",
                "const W: &str = include_str!(\"../data/en/words/one.txt\"); gate::wait!(); \
                 pub fn said() -> &'static str { W }",
            ),
            ("data/en/words/one.txt", "one"),
            ("data/fr/words/one.txt", "deux"),
        ],
    );
    // The file is read in the order of the text, before the gate opens.
    let how = here.counted(|| {
        let said = here.while_compiling(|| {
            fs::rename(here.l("data/en"), here.l("data/old")).unwrap();
            fs::rename(here.l("data/fr"), here.l("data/en")).unwrap();
        });
        drop(said.succeeded());
    });
    let first = here.run();
    let then = here.fresh();
    assert_eq!(then.0, "deux", "after {first} and {how}");
    assert_eq!(how, "1 changed-while-compiling");
}

/// What is written into it afterwards hides that it was moved there.
#[test]
fn a_directory_outside_swapped_and_written_to_during_the_compile_is_not_kept() {
    let alice = Dev::new("alice");
    let outside = tempfile::tempdir().unwrap();
    let at = |name: &str| outside.path().join(name);
    for (dir, text) in [("words", "one"), ("others", "two")] {
        fs::create_dir(at(dir)).unwrap();
        fs::write(at(dir).join("word.txt"), text).unwrap();
    }
    let lib = format!(
        "const W: &str = include_str!({:?}); gate::wait!(); pub fn said() -> &'static str {{ W }}",
        at("words/word.txt")
    );
    let here = Place::gated(&alice, "here", &[("src/lib.rs", &lib)]);
    not_kept(&here, || {
        fs::rename(at("words"), at("old")).unwrap();
        fs::rename(at("others"), at("words")).unwrap();
        // Another tick of the clock.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(at("words/more.txt"), "").unwrap();
    });
}

/// Its root file and its cargo files are the same ones, by another name.
#[test]
fn a_workspace_in_whose_place_another_came_during_the_compile_is_not_kept() {
    let alice = Dev::new("alice");
    let mut here = Place::gated(&alice, "here", GATED);
    let target = alice.path("elsewhere");
    here.set("CARGO_TARGET_DIR", target.to_str());
    // Cargo writes its lock file before, and builds what the compile needs.
    here.while_compiling(|| {}).succeeded();
    fs::remove_dir_all(&target).unwrap();
    let (other, old) = (alice.path("other"), alice.path("old"));
    let copied = std::process::Command::new("cp")
        .arg("-al")
        .args([&here.at, &other])
        .status();
    assert!(copied.unwrap().success());
    fs::remove_file(other.join("l/src/word.rs")).unwrap();
    fs::write(other.join("l/src/word.rs"), TWO).unwrap();
    here.write(&[("src/word.rs", "pub const IT: &str = \"three\";")]);
    let how = here.counted(|| {
        let said = here.while_compiling(|| {
            fs::rename(&here.at, &old).unwrap();
            fs::rename(&other, &here.at).unwrap();
        });
        drop(said.succeeded());
    });
    assert_eq!(how, "1 changed-while-compiling");
    let _ = fs::remove_dir_all(&target);
    let how = here.counted(|| drop(here.build().succeeded()));
    let program = std::process::Command::new(target.join("debug/app")).output();
    let said = String::from_utf8(program.unwrap().stdout).unwrap();
    assert_eq!((said.trim(), how.as_str()), ("two", "1 miss"));
}

#[test]
fn what_the_kernel_makes_up_is_read_each_time() {
    let alice = Dev::new("alice");
    let lib = "pub fn said() -> &'static str { include_str!(\"/proc/uptime\") }";
    let here = Place::lib(&alice, "here", lib);
    let first = here.fresh();
    assert_eq!(first.1, "1 foreign-clock");
    std::thread::sleep(Duration::from_millis(50));
    assert_ne!(here.fresh().0, first.0);
}

#[test]
fn a_link_turned_elsewhere_during_the_compile_is_not_kept() {
    let alice = Dev::new("alice");
    let here = Place::gated(
        &alice,
        "here",
        &[GATED[0], ("a/word.rs", GATED[1].1), ("b/word.rs", TWO)],
    );
    symlink("../a/word.rs", here.l("src/word.rs")).unwrap();
    not_kept(&here, || {
        fs::remove_file(here.l("src/word.rs")).unwrap();
        symlink("../b/word.rs", here.l("src/word.rs")).unwrap();
    });
}

#[test]
fn a_source_saved_in_the_tick_in_which_the_compile_begins_is_right_all_the_same() {
    let alice = Dev::new("alice");
    let lib = |n: u32| format!("pub fn said() -> u32 {{ {n} }}");
    let here = Place::new(&alice, "here", &[("src/lib.rs", &lib(0))]);
    for n in 1..6 {
        // No pause: the save, the key and the compile share a tick of the clock, or nearly.
        here.write(&[("src/lib.rs", &lib(n))]);
        assert_eq!(here.fresh().0, n.to_string());
        assert_eq!(here.fresh().0, n.to_string(), "and from the cache");
    }
}

#[test]
fn a_shadowing_module_that_comes_and_goes_during_the_compile_is_not_kept() {
    let alice = Dev::new("alice");
    let here = Place::gated(&alice, "here", GATED);
    let how = here.counted(|| {
        let said = here.while_compiling(|| {
            here.write(&[("src/word/mod.rs", TWO)]);
            fs::remove_dir_all(here.l("src/word")).unwrap();
        });
        drop(said.succeeded());
    });
    assert_eq!(how, "1 changed-while-compiling");
}

#[test]
fn the_node_dies_after_the_notification_and_the_build_ends_well() {
    // Where the node runs the compiler, its death ends that too, and qwrap compiles again: what
    // cargo was told already must not be said twice.
    for mode in ["auto", "node"] {
        dies_after_the_notification(mode);
    }
}

fn dies_after_the_notification(mode: &str) {
    let mut alice = Dev::new("alice");
    alice.env.push(("QUARRY_COMPILE".into(), mode.into()));
    let gate = macro_package("gate", "");
    let l = package(
        "l",
        "[dependencies]\nslow = { path = \"../slow\" }\ngate = { path = \"../gate\" }",
    );
    let slow = slow();
    let here = Place::new(
        &alice,
        "here",
        &[
            (
                "/Cargo.toml",
                &(members(&["app", "l", "gate", "slow"])
                    + "[profile.dev.package.slow]\nopt-level = 3\ncodegen-units = 1\n"),
            ),
            ("/gate/Cargo.toml", &gate),
            ("/gate/src/lib.rs", GATE),
            ("/slow/Cargo.toml", &package("slow", "")),
            ("/slow/src/lib.rs", &slow),
            ("Cargo.toml", &l),
            (
                "src/lib.rs",
                "gate::wait!(); pub fn said() -> u32 { slow::ONE }",
            ),
        ],
    );
    // At the gate stands the dependent, which the notification has set going.
    let said = here.while_compiling(|| alice.kill_node());
    assert!(said.ok, "{}", said.err);
    assert!(!said.err.contains("panicked"), "{}", said.err);
    assert_eq!(here.run(), "1");
    if mode == "node" {
        // What was compiled again may be newer than what was made of it meanwhile.
        here.build().succeeded();
    }
    here.nothing_left();
}

/// A crate whose code generation goes on long after its metadata.
fn slow() -> String {
    let mut text = "pub const ONE: u32 = 1;\n".to_owned();
    for n in 0..60 {
        text.push_str(&format!(
            "#[inline(never)] pub fn f{n}(v: &mut Vec<String>) -> usize {{ \
             let mut m = std::collections::BTreeMap::<String, Vec<u64>>::new(); \
             for (i, s) in v.iter().enumerate() {{ m.entry(s.clone()).or_default().push(i as u64); }} \
             v.sort_by(|a, b| b.cmp(a)); v.dedup(); m.values().map(Vec::len).sum() }}\n"
        ));
    }
    text
}
