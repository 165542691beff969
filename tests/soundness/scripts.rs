//! Runs of build scripts (38, 47, 49): restored with OUT_DIR and what they said, or run again, with
//! the reason named.
//!
//! Whether a script ran is told twice: by the node, and by the time of the clock that each run
//! writes into OUT_DIR and the program prints.

use super::ground::{Place, members, package, scripts};
use crate::harness::{Dev, files, qwrap, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The beginning of a script: what it takes to note when it ran.
const NOTES: &str = r#"
use std::{env, fs, path::PathBuf, time::SystemTime};
fn out() -> PathBuf { env::var("OUT_DIR").unwrap().into() }
fn note(text: &str) {
    let ran = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    fs::write(out().join("said.rs"), format!("pub fn said() -> &'static str {{ \"{text} {ran}\" }}")).unwrap();
}
"#;
/// A library that says what its script noted, and whether it set a cfg.
pub const LIB: &str = "mod inner { include!(concat!(env!(\"OUT_DIR\"), \"/said.rs\")); }\n\
    #[allow(unexpected_cfgs)]\n\
    pub fn said() -> String { format!(\"{} {}\", inner::said(), cfg!(scripted)) }\n";

/// A checkout whose library has a build script with this in `main`.
pub fn place<'d>(dev: &'d Dev, name: &str, main: &str, files: &[(&str, &str)]) -> Place<'d> {
    let script = format!("{NOTES}\nfn main() {{ {main} }}\n");
    let mut all = vec![("build.rs", script.as_str()), ("src/lib.rs", LIB)];
    all.extend(files);
    Place::new(dev, name, &all)
}

/// Builds upon what is there: how the script's run ended, and what the program says.
#[track_caller]
pub fn built(place: &Place<'_>) -> (String, String) {
    let how = scripts(place.dev, || drop(place.build().succeeded()));
    (how, place.run())
}

/// The same from nothing.
#[track_caller]
pub fn fresh(place: &Place<'_>) -> (String, String) {
    place.clean();
    built(place)
}

/// Fails unless the first is how it ended; gives what the program said.
#[track_caller]
pub fn how(expected: &str, (ended, said): (String, String)) -> String {
    assert_eq!(ended, expected, "{said}");
    said
}

const DECLARING: &str = r#"
println!("cargo::rerun-if-changed=build.rs");
println!("cargo::rerun-if-changed=word.txt");
println!("cargo::rerun-if-env-changed=WORD");
println!("cargo::rustc-cfg=scripted");
println!("cargo::rustc-check-cfg=cfg(scripted)");
note(&format!("{}{}", fs::read_to_string("word.txt").unwrap().trim(), env::var("WORD").unwrap_or_default()));
"#;

#[test]
fn a_second_build_from_nothing_does_not_run_the_script() {
    let alice = Dev::new("alice");
    let here = place(&alice, "here", DECLARING, &[("word.txt", "one")]);
    let first = how("1 miss", built(&here));
    assert!(
        first.starts_with("one ") && first.ends_with(" true"),
        "{first}"
    );
    assert_eq!(how("1 hit", fresh(&here)), first, "what the first run made");
    here.nothing_left();
    let stats = alice.stats();
    assert_eq!(stats["scripts"]["hits"]["local"], 1, "{stats}");
    assert_eq!(stats["scripts"]["misses"], 1, "{stats}");
    assert_eq!(stats["scripts"]["bypasses"], 0, "{stats}");
}

#[test]
fn what_a_script_declares_runs_it_again_when_it_changes_and_nothing_else_does() {
    let alice = Dev::new("alice");
    let files = [("word.txt", "one"), ("other.txt", "x")];
    let mut here = place(&alice, "here", DECLARING, &files);
    let first = how("1 miss", built(&here));
    here.write(&[("other.txt", "y")]);
    assert_eq!(how("1 hit", fresh(&here)), first, "not declared");
    here.write(&[("word.txt", "two")]);
    assert!(how("1 miss", fresh(&here)).starts_with("two "));
    here.set("WORD", Some("-and-more"));
    let with = how("1 miss", fresh(&here));
    assert!(with.starts_with("two-and-more "), "{with}");
    here.set("WORD", None);
    here.write(&[("word.txt", "one")]);
    assert_eq!(how("1 hit", fresh(&here)), first);
    // Upon what is there cargo runs it again, and so it is found again.
    here.set("WORD", Some("-and-more"));
    here.write(&[("word.txt", "two")]);
    assert_eq!(how("1 hit", built(&here)), with);
    here.nothing_left();
}

#[test]
fn a_script_that_declares_nothing_runs_again_when_anything_in_its_package_changes() {
    let alice = Dev::new("alice");
    let here = place(&alice, "here", "note(\"once\");", &[("any/where.txt", "x")]);
    let first = how("1 miss", built(&here));
    assert_eq!(how("1 hit", fresh(&here)), first);
    for change in [
        ("any/where.txt", "y"),
        ("any/new.txt", "x"),
        ("src/lib.rs", &format!("{LIB}//")),
    ] {
        here.write(&[change]);
        assert_ne!(how("1 miss", fresh(&here)), first, "{change:?}");
    }
    here.write(&[("any/where.txt", "x"), ("src/lib.rs", LIB)]);
    std::fs::remove_file(here.l("any/new.txt")).unwrap();
    assert_eq!(how("1 hit", fresh(&here)), first);
}

#[test]
fn what_a_script_declares_counts_also_where_it_does_not_read_it() {
    let alice = Dev::new("alice");
    let main = "println!(\"cargo::rerun-if-changed=dir\");\n\
        println!(\"cargo::rerun-if-changed=file.txt\");\n\
        println!(\"cargo::rerun-if-env-changed=UNREAD\"); note(\"x\");";
    let files = [("dir/below/a.txt", "1"), ("file.txt", "1")];
    let mut here = place(&alice, "here", main, &files);
    let first = how("1 miss", built(&here));
    for (path, was) in files {
        here.write(&[(path, "2")]);
        assert_ne!(how("1 miss", fresh(&here)), first, "{path}");
        here.write(&[(path, was)]);
        assert_eq!(how("1 hit", fresh(&here)), first);
    }
    here.set("UNREAD", Some(""));
    assert_ne!(how("1 miss", fresh(&here)), first);
}

#[test]
fn what_cargo_tells_a_script_counts_also_where_it_does_not_ask() {
    let alice = Dev::new("alice");
    let main = "println!(\"cargo::rerun-if-changed=build.rs\"); note(\"x\");";
    let tells = "fn main() { println!(\"cargo::rerun-if-changed=word.txt\");\n\
        println!(\"cargo::metadata=word={}\", std::fs::read_to_string(\"word.txt\").unwrap()); }";
    let files = [
        ("/Cargo.toml", &members(&["app", "l", "d"]) as &str),
        ("/d/Cargo.toml", &package("d", "links = \"d\"")),
        ("/d/build.rs", tells),
        ("/d/word.txt", "one"),
        ("/d/src/lib.rs", ""),
        (
            "Cargo.toml",
            &package("l", "[dependencies]\nd = { path = \"../d\" }"),
        ),
    ];
    let here = place(&alice, "here", main, &files);
    let first = how("2 miss", built(&here));
    assert_eq!(how("2 hit", fresh(&here)), first);
    here.write(&[("/d/word.txt", "two")]);
    assert_ne!(how("2 miss", fresh(&here)), first);
}

#[test]
fn what_a_script_was_seen_to_read_counts_too() {
    let alice = Dev::new("alice");
    let outside = alice.path("outside.txt");
    fs::write(&outside, "one").unwrap();
    let main = "println!(\"cargo::rerun-if-changed=build.rs\");\n\
        let w = env::var(\"UNDECLARED\").unwrap_or_default();\n\
        note(&(fs::read_to_string(env::var(\"THERE\").unwrap()).unwrap() + &w));";
    let mut here = place(&alice, "here", main, &[]);
    here.set("THERE", Some(outside.to_str().unwrap()));
    let first = how("1 miss", built(&here));
    fs::write(&outside, "two").unwrap();
    assert!(how("1 miss", fresh(&here)).starts_with("two "));
    here.set("UNDECLARED", Some("-w"));
    assert!(how("1 miss", fresh(&here)).starts_with("two-w "));
    here.set("UNDECLARED", None);
    fs::write(&outside, "one").unwrap();
    assert_eq!(how("1 hit", fresh(&here)), first);
}

#[test]
fn out_dir_comes_back_with_programs_directories_and_links() {
    let alice = Dev::new("alice");
    let main = r#"
        use std::os::unix::fs::{symlink, PermissionsExt};
        println!("cargo::rerun-if-changed=build.rs");
        note("made");
        fs::create_dir_all(out().join("lib/empty")).unwrap();
        fs::write(out().join("lib/tool"), "x").unwrap();
        fs::set_permissions(out().join("lib/tool"), PermissionsExt::from_mode(0o755)).unwrap();
        symlink("lib/tool", out().join("link")).unwrap();
    "#;
    let here = place(&alice, "here", main, &[]);
    how("1 miss", built(&here));
    how("1 hit", fresh(&here));
    let out = out_dir(&here);
    assert!(out.join("lib/empty").is_dir());
    let mode = fs::metadata(out.join("link")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
    assert_eq!(
        fs::read_link(out.join("link")).unwrap(),
        Path::new("lib/tool")
    );
    let names: Vec<_> = fs::read_dir(out.parent().unwrap())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(names.is_empty(), "nothing of ours is left: {names:?}");
}

/// The OUT_DIR of a checkout's library.
fn out_dir(place: &Place<'_>) -> PathBuf {
    let build = place.at.join("target/debug/build");
    let mut all = fs::read_dir(build)
        .unwrap()
        .map(|e| e.unwrap().path().join("out"));
    all.find(|out| out.is_dir()).unwrap()
}

/// A script that is run each time, for this reason.
#[track_caller]
fn runs_each_time(place: &Place<'_>, reason: &str) {
    let first = how(&format!("1 {reason}"), fresh(place));
    assert_ne!(how(&format!("1 {reason}"), fresh(place)), first);
}

#[test]
fn what_reads_git_s_metadata_is_not_replayed() {
    let alice = Dev::new("alice");
    let reads = "println!(\"cargo::rerun-if-changed=build.rs\");\n\
        note(fs::read_to_string(\"../.git/HEAD\").unwrap().trim());";
    let here = place(
        &alice,
        "here",
        reads,
        &[("/.git/HEAD", "ref: refs/heads/main")],
    );
    runs_each_time(&here, "script-git");
    let declares = "println!(\"cargo::rerun-if-changed=../.git/HEAD\"); note(\"x\");";
    let there = place(
        &alice,
        "there",
        declares,
        &[("/.git/HEAD", "ref: refs/heads/main")],
    );
    runs_each_time(&there, "script-git");
    let asks = "println!(\"cargo::rerun-if-changed=build.rs\");\n\
        let _ = std::process::Command::new(\"git\").env_clear().arg(\"--version\").output(); note(\"x\");";
    runs_each_time(&place(&alice, "third", asks, &[]), "script-git");
}

#[test]
fn what_writes_anywhere_but_into_out_dir_is_not_replayed() {
    let alice = Dev::new("alice");
    let trace = alice.path("trace");
    let shell = format!("echo ran >> {}", trace.display());
    let outside = format!(
        "println!(\"cargo::rerun-if-changed=build.rs\"); note(\"x\");\n\
         std::process::Command::new(\"/bin/sh\").env_clear().args([\"-c\", \"{shell}\"]).status().unwrap();"
    );
    let here = place(&alice, "here", &outside, &[]);
    runs_each_time(&here, "script-writes");
    assert_eq!(
        fs::read_to_string(&trace).unwrap(),
        "ran\nran\n",
        "each run left its trace"
    );
    let own = "println!(\"cargo::rerun-if-changed=build.rs\"); note(\"x\");\n\
        fs::write(\"src/made.rs\", \"\").unwrap();";
    runs_each_time(&place(&alice, "own", own, &[]), "script-writes");
    let input = "println!(\"cargo::rerun-if-changed=word.txt\"); note(\"x\");\n\
        fs::write(\"word.txt\", \"again\").unwrap();";
    runs_each_time(
        &place(&alice, "input", input, &[("word.txt", "x")]),
        "script-writes",
    );
    let beside = "note(\"x\"); fs::write(out().join(\"../beside\"), \"\").unwrap();";
    runs_each_time(&place(&alice, "beside", beside, &[]), "script-writes");
}

#[test]
fn a_link_out_of_out_dir_is_not_replayed() {
    let alice = Dev::new("alice");
    let main = "println!(\"cargo::rerun-if-changed=build.rs\"); note(\"x\");\n\
        std::os::unix::fs::symlink(env::current_dir().unwrap(), out().join(\"package\")).unwrap();";
    runs_each_time(&place(&alice, "here", main, &[]), "script-out-link");
}

#[test]
fn what_asks_to_be_run_each_time_is() {
    let alice = Dev::new("alice");
    let main = "println!(\"cargo::rerun-if-changed=not/there\"); note(\"x\");";
    runs_each_time(&place(&alice, "here", main, &[]), "script-always");
    let own =
        "println!(\"cargo::rerun-if-changed={}\", out().join(\"said.rs\").display()); note(\"x\");";
    runs_each_time(&place(&alice, "own", own, &[]), "script-always");
}

#[test]
fn a_program_that_nobody_can_observe_keeps_the_run_from_being_replayed() {
    let alice = Dev::new("alice");
    let dir = alice.path("tools");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("t.c"), "int main(void) { return 0; }").unwrap();
    let made = Command::new("cc")
        .args(["-static", "-o", "tool", "t.c"])
        .current_dir(&dir)
        .status();
    assert!(made.unwrap().success());
    let main = "println!(\"cargo::rerun-if-changed=build.rs\"); note(\"x\");\n\
        std::process::Command::new(env::var(\"TOOL\").unwrap()).status().unwrap();";
    let mut here = place(&alice, "here", main, &[]);
    here.set("TOOL", Some(dir.join("tool").to_str().unwrap()));
    runs_each_time(&here, "script-unobserved");
    here.set("TOOL", Some("true"));
    let first = how("1 miss", fresh(&here));
    assert_eq!(how("1 hit", fresh(&here)), first);
}

#[test]
fn a_failed_script_is_shown_as_ever_and_not_kept() {
    let alice = Dev::new("alice");
    let main = "note(\"x\"); if fs::read_to_string(\"word.txt\").unwrap() == \"bad\" { eprintln!(\"a bad word\"); std::process::exit(3) }";
    let here = place(&alice, "here", main, &[("word.txt", "bad")]);
    for _ in 0..2 {
        here.clean();
        let ended = scripts(&alice, || {
            let said = here.build();
            assert!(!said.ok && said.err.contains("a bad word"), "{}", said.err);
            assert!(said.err.contains("exit status: 3"), "{}", said.err);
        });
        assert_eq!(ended, "1 script-failed");
    }
    here.write(&[("word.txt", "good")]);
    let first = how("1 miss", fresh(&here));
    assert_eq!(how("1 hit", fresh(&here)), first);
}

#[test]
fn what_earlier_runs_left_in_out_dir_is_not_taken_for_this_run_s() {
    let alice = Dev::new("alice");
    let main = "let word = fs::read_to_string(\"word.txt\").unwrap(); note(&word);\n\
        fs::write(out().join(&word), \"\").unwrap();\n\
        println!(\"cargo::rerun-if-changed=word.txt\");";
    let here = place(&alice, "here", main, &[("word.txt", "one")]);
    let first = how("1 miss", built(&here));
    here.write(&[("word.txt", "two")]);
    assert!(how("1 script-leftovers", built(&here)).starts_with("two "));
    assert!(out_dir(&here).join("one").exists(), "as cargo alone has it");
    let second = how("1 miss", fresh(&here));
    assert!(!out_dir(&here).join("one").exists());
    here.write(&[("word.txt", "one")]);
    assert_eq!(how("1 hit", built(&here)), first);
    let out = out_dir(&here);
    assert!(out.join("one").exists() && !out.join("two").exists());
    here.write(&[("word.txt", "two")]);
    assert_eq!(how("1 hit", built(&here)), second);
}

#[test]
fn an_input_saved_during_the_run_keeps_it_from_being_kept() {
    changed_meanwhile(|here| here.write(&[("words/word.txt", "two")]));
}

#[test]
fn a_directory_swapped_during_the_run_keeps_it_from_being_kept() {
    changed_meanwhile(|here| {
        fs::rename(here.l("words"), here.l("old")).unwrap();
        fs::rename(here.l("others"), here.l("words")).unwrap();
    });
    // And back: all is as it was, but what was read in between.
    changed_meanwhile(|here| {
        fs::rename(here.l("words"), here.l("old")).unwrap();
        fs::rename(here.l("others"), here.l("words")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::rename(here.l("words"), here.l("others")).unwrap();
        fs::rename(here.l("old"), here.l("words")).unwrap();
    });
}

/// A script has read its word, and is held while this happens.
#[track_caller]
fn changed_meanwhile(change: impl FnOnce(&Place<'_>)) {
    let alice = Dev::new("alice");
    let main = r#"
        println!("cargo::rerun-if-changed=words/word.txt");
        note(&fs::read_to_string("words/word.txt").unwrap());
        if env::var_os("GATE").is_some() {
            fs::write(out().join("begun"), "").unwrap();
            while !out().join("go").exists() { std::thread::sleep(std::time::Duration::from_millis(2)); }
        }
    "#;
    let words = [("words/word.txt", "one"), ("others/word.txt", "two")];
    let mut here = place(&alice, "here", main, &words);
    here.set("GATE", Some("shut"));
    here.clean();
    let ended = scripts(&alice, || {
        let mut build = here.command("build").stderr(Stdio::null()).spawn().unwrap();
        let out = wait_for("the script to begin", || {
            let build = fs::read_dir(here.at.join("target/debug/build")).ok()?;
            let mut outs = build.map(|e| e.unwrap().path().join("out"));
            outs.find(|out| out.join("begun").exists())
        });
        change(&here);
        fs::write(out.join("go"), "").unwrap();
        assert!(build.wait().unwrap().success());
    });
    assert_eq!(ended, "1 script-input-changed");
}

#[test]
fn another_checkout_gets_its_own_paths() {
    let alice = Dev::new("alice");
    let main = "println!(\"cargo::rerun-if-changed=build.rs\");\n\
        println!(\"cargo::rustc-env=WHERE={}\", env::current_dir().unwrap().display());\n\
        note(out().to_str().unwrap());";
    let lib = format!("{LIB}\n#[test] fn t() {{}}\npub const WHERE: &str = env!(\"WHERE\");");
    let here = place(&alice, "here", main, &[("src/lib.rs", &lib)]);
    let there = place(&alice, "over/there", main, &[("src/lib.rs", &lib)]);
    let first = how("1 miss", built(&here));
    let second = how("1 miss", built(&there));
    assert!(first.contains(here.at.to_str().unwrap()), "{first}");
    assert!(second.contains(there.at.to_str().unwrap()), "{second}");
    assert_eq!(how("1 hit", fresh(&here)), first);
    assert_eq!(how("1 hit", fresh(&there)), second);
    // With the target directory of the first in its place, too, once cargo runs it again.
    there.clean();
    copy(&here.at.join("target"), &there.at.join("target"));
    drop(there.build().succeeded());
    let script = fs::read_to_string(there.l("build.rs")).unwrap();
    there.write(&[("build.rs", &script)]);
    assert_eq!(how("1 hit", built(&there)), second);
}

/// `cp -r`.
fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(done.unwrap().success());
}

#[test]
fn what_is_said_to_cargo_names_this_checkout() {
    let alice = Dev::new("alice");
    let main = "println!(\"cargo::rerun-if-changed=build.rs\");\n\
        println!(\"cargo::rustc-env=WHERE={}\", env::current_dir().unwrap().display());\n\
        println!(\"cargo::rustc-link-search=native={}\", out().display());\n\
        note(\"x\");";
    let lib = format!("{LIB}\npub fn told() -> &'static str {{ env!(\"WHERE\") }}");
    let app = "fn main() { println!(\"{} {}\", l::said(), l::told()); }\n";
    let files = [("src/lib.rs", lib.as_str()), ("/app/src/main.rs", app)];
    let here = place(&alice, "here", main, &files);
    let there = place(&alice, "over/there", main, &files);
    let first = how("1 miss", built(&here));
    assert!(
        first.ends_with(&format!("{}/l", here.at.display())),
        "{first}"
    );
    let second = how("1 hit", built(&there));
    assert!(
        second.ends_with(&format!("{}/l", there.at.display())),
        "{second}"
    );
    there.nothing_left();
}

#[test]
fn with_qwrap_and_home_gone_plain_cargo_builds_on() {
    let alice = Dev::new("alice");
    let bin = alice.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let own = bin.join("qwrap");
    fs::copy(qwrap(), &own).unwrap();
    let mut here = place(&alice, "here", DECLARING, &[("word.txt", "one")]);
    here.set("RUSTC_WRAPPER", Some(own.to_str().unwrap()));
    let first = how("1 miss", built(&here));
    assert_eq!(how("1 hit", fresh(&here)), first);
    let moved = alice.path("moved/target");
    fs::create_dir_all(moved.parent().unwrap()).unwrap();
    copy(&here.at.join("target"), &moved);
    alice.qnode(&["stop"]).succeeded();
    fs::remove_dir_all(&bin).unwrap();
    fs::remove_dir_all(alice.home()).unwrap();
    here.set("RUSTC_WRAPPER", None);
    // What is built stays built, and the script runs when it has to.
    let again = here.plain().succeeded();
    assert!(again.err.contains("Finished"), "{}", again.err);
    here.write(&[("word.txt", "two")]);
    here.plain().succeeded();
    assert!(here.run().starts_with("two "), "{}", here.run());
    for args in [["clean", "-p", "l"].as_slice(), &["build"]] {
        alice.plain(&here.at, args).succeeded();
    }
    assert!(here.run().starts_with("two "), "{}", here.run());
    // Wherever the target directory was copied to.
    here.clean();
    fs::rename(&moved, here.at.join("target")).unwrap();
    here.write(&[("word.txt", "three")]);
    here.plain().succeeded();
    assert!(here.run().starts_with("three "), "{}", here.run());
}

#[test]
fn with_the_node_gone_or_off_the_script_itself_runs() {
    let alice = Dev::new("alice");
    let mut here = place(&alice, "here", DECLARING, &[("word.txt", "one")]);
    let first = how("1 miss", built(&here));
    assert_eq!(how("1 hit", fresh(&here)), first);
    here.set("QUARRY", Some("off"));
    assert_eq!(scripts(&alice, || drop(here.build().succeeded())), "");
    here.write(&[("word.txt", "two")]);
    assert_eq!(scripts(&alice, || drop(here.build().succeeded())), "");
    let second = here.run();
    assert!(second.starts_with("two "), "{second}");
    here.clean();
    assert_eq!(scripts(&alice, || drop(here.build().succeeded())), "");
    assert_ne!(here.run(), second);
}

#[test]
fn what_a_script_asks_of_the_compiler_is_part_of_its_run() {
    let alice = Dev::new("alice");
    let main = "println!(\"cargo::rerun-if-changed=build.rs\");\n\
        let mut ask = std::process::Command::new(env::var(\"RUSTC_WRAPPER\").unwrap());\n\
        let said = ask.arg(env::var(\"RUSTC\").unwrap()).arg(\"-V\").output().unwrap();\n\
        note(String::from_utf8(said.stdout).unwrap().trim());";
    let here = place(&alice, "here", main, &[]);
    let before = alice.count("queries");
    let first = how("1 miss", built(&here));
    assert!(first.starts_with("rustc 1."), "{first}");
    let asked_by_cargo = alice.count("queries") - before;
    assert_eq!(how("1 hit", fresh(&here)), first);
    assert_eq!(
        alice.count("queries") - before,
        2 * asked_by_cargo,
        "cargo's own alone"
    );
}

#[test]
fn a_damaged_out_dir_is_made_again() {
    let alice = Dev::new("alice");
    let main = "println!(\"cargo::rerun-if-changed=build.rs\"); note(\"x\");\n\
        let noise: String = (0..60_000_u64).map(|n| format!(\"{:x}\", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();\n\
        fs::write(out().join(\"noise\"), noise).unwrap();";
    let here = place(&alice, "here", main, &[]);
    let first = how("1 miss", built(&here));
    let noise = fs::read(out_dir(&here).join("noise")).unwrap();
    alice.flush();
    let objects = alice.home().join("store/objects");
    let mut damaged = 0;
    for (name, mut bytes) in files(&objects, &|_| true) {
        // The object that holds OUT_DIR: one byte of the noise, so that its form stays whole.
        let Some(at) = bytes.windows(64).position(|w| w == &noise[..64]) else {
            continue;
        };
        bytes[at] ^= 1;
        let path = objects.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(path, bytes).unwrap();
        damaged += 1;
    }
    assert_eq!(damaged, 1);
    assert_ne!(how("1 miss", fresh(&here)), first);
    assert_eq!(fs::read(out_dir(&here).join("noise")).unwrap(), noise);
}
