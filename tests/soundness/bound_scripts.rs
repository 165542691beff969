//! Runs of build scripts (47) that mean something else from another place, or under another
//! environment: found again only where they mean the same.

use super::ground::{Place, scripts};
use super::scripts::{built, fresh, how, place};
use crate::harness::disk::Bound;
use crate::harness::{Dev, team, wait_keys, write_program};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const DECLARED: &str = "println!(\"cargo::rerun-if-changed=build.rs\");";

#[test]
fn what_a_script_finds_above_the_workspace_is_its_checkouts_own() {
    let alice = Dev::new("alice");
    let walk = |from: &str| {
        format!(
            "let from = PathBuf::from({from}); let mut all = from.ancestors().take(3); \
             let found = all.find_map(|d| fs::read_to_string(d.join(\"up.txt\")).ok());"
        )
    };
    for (way, find) in [
        (
            "variable",
            walk("env::var(\"CARGO_MANIFEST_DIR\").unwrap()"),
        ),
        ("directory", walk("env::current_dir().unwrap()")),
        (
            "relative",
            "let found = fs::read_to_string(\"../../up.txt\").ok();".into(),
        ),
    ] {
        let main = format!(
            "println!(\"cargo::rerun-if-changed=build.rs\"); {find} \
             note(found.as_deref().unwrap_or(\"nothing\"));"
        );
        let one = place(&alice, &format!("{way}/an/only/one"), &main, &[]);
        let other = place(&alice, &format!("{way}/the/other"), &main, &[]);
        let first = how("1 miss", fresh(&one));
        assert!(first.starts_with("nothing "), "{first}");
        fs::write(alice.path(way).join("the/up.txt"), "something").unwrap();
        let second = how("1 miss", fresh(&other));
        assert!(second.starts_with("something "), "{way}: {second}");
        assert_eq!(how("1 hit", fresh(&one)), first);
        assert_eq!(how("1 hit", fresh(&other)), second);
    }
}

#[test]
fn what_a_script_tried_and_could_not_do_is_no_reason_to_leave_it_out() {
    let alice = Dev::new("alice");
    for (tried, hows) in [
        // Where there is something to be seen, one was told just that.
        ("fs::create_dir(\"data\")", ["1 miss", "1 hit"]),
        (
            "std::os::unix::fs::symlink(\"src\", \"data\")",
            ["1 script-writes"; 2],
        ),
    ] {
        let main = format!("{DECLARED} let _ = {tried}; note(\"tried\");");
        let way = tried.len().to_string();
        let one = place(&alice, &format!("{way}/one"), &main, &[("data/file", "")]);
        for how in hows {
            assert_eq!(fresh(&one).0, how, "{tried}");
        }
        let other = place(&alice, &format!("{way}/other"), &main, &[]);
        assert_eq!(fresh(&other).0, "1 script-writes", "{tried}");
        assert!(other.l("data").exists());
    }
}

/// As makefiles do: every directory on the way is made anew, and most of them are there.
#[test]
fn who_makes_all_directories_down_to_its_own_is_kept() {
    let alice = Dev::new("alice");
    let main = format!(
        "{DECLARED} let to = out().join(\"lib/deep\"); \
         for program in [\"mkdir\", \"install\"] {{ \
             let way = if program == \"mkdir\" {{ \"-p\" }} else {{ \"-d\" }}; \
             let made = std::process::Command::new(program).arg(way).arg(&to).status(); \
             assert!(made.unwrap().success()); }} \
         assert!(fs::metadata(\"/\").unwrap().is_dir()); note(\"made\");"
    );
    let one = place(&alice, "one", &main, &[]);
    let first = how("1 miss", fresh(&one));
    assert_eq!(how("1 hit", fresh(&one)), first);
    one.nothing_left();
}

#[test]
fn a_shell_sees_all_variables_and_so_they_count() {
    let alice = Dev::new("alice");
    let main = format!(
        "{DECLARED} let said = std::process::Command::new(\"sh\").args([\"-c\", \"echo $MYAPP\"]).output(); \
         note(String::from_utf8(said.unwrap().stdout).unwrap().trim());"
    );
    let mut here = place(&alice, "here", &main, &[]);
    let mut firsts = Vec::new();
    for word in ["one", "two"] {
        here.set("MYAPP", Some(word));
        let first = how("1 miss", fresh(&here));
        assert!(first.starts_with(&format!("{word} ")), "{first}");
        firsts.push((word, first));
    }
    // What only tells which terminal asks does not.
    here.set("TERM_SESSION_ID", Some("another"));
    for (word, first) in firsts {
        here.set("MYAPP", Some(word));
        assert_eq!(how("1 hit", fresh(&here)), first);
    }
}

/// A package that was downloaded into a cargo home of its own, whose programs are found first: as
/// rustup has it. Cargo is started in the package's directory.
fn unpacked<'d>(dev: &'d Dev, name: &str, main: &str) -> Place<'d> {
    let at = format!("{name}/cargo/registry/src/index-1/w");
    let main = format!("{DECLARED} {main}");
    let mut there = place(dev, &at, &main, &[("x.c", "int x;\n")]);
    let home = dev.path(format!("{name}/cargo"));
    there.set("CARGO_HOME", home.to_str());
    there.set("PATH", Some(&path_of(dev, name, "bin")));
    let pwd = there.at.to_str().unwrap().to_owned();
    there.set("PWD", Some(&pwd));
    there
}

/// This machine's PATH with a directory of such a home in front.
fn path_of(dev: &Dev, name: &str, dir: &str) -> String {
    let first = dev.path(format!("{name}/cargo/{dir}"));
    format!("{}:{}", first.display(), std::env::var("PATH").unwrap())
}

/// Compiles C, as a script.
const COMPILES: &str = "let object = out().join(\"x.o\"); \
    let mut cc = std::process::Command::new(\"cc\"); \
    assert!(cc.args([\"-g\", \"-c\", \"-o\"]).arg(object).arg(\"x.c\").status().unwrap().success()); \
    note(\"compiled\");";

#[test]
fn c_is_compiled_once_for_all_checkouts_and_cargo_homes_of_a_machine() {
    let alice = Dev::new("alice");
    let here = unpacked(&alice, "here", COMPILES);
    let mut there = unpacked(&alice, "quite/another/place", COMPILES);
    let first = how("1 miss", fresh(&here));
    assert_eq!(
        how("1 hit", fresh(&there)),
        first,
        "what the first run made"
    );
    there.nothing_left();
    let alias = alice.path("alias");
    symlink(&there.at, &alias).unwrap();
    for (variable, value) in [
        // What leads to other programs, what nobody knows, and another name of the directory.
        ("PATH", path_of(&alice, "quite/another/place", "other")),
        ("MYAPP", "one".to_owned()),
        ("PWD", alias.to_str().unwrap().to_owned()),
    ] {
        let set = there.env.iter().find(|(name, _)| name == variable);
        let before = set.map(|(_, value)| value.clone());
        there.set(variable, Some(&value));
        assert_ne!(how("1 miss", fresh(&there)), first, "{variable}");
        there.set(variable, before.as_deref());
        assert_eq!(how("1 hit", fresh(&there)), first, "{variable} as it was");
    }
}

#[test]
fn a_second_mount_is_another_name_of_the_directory() {
    let alice = Dev::new("alice");
    let mut here = unpacked(&alice, "here", COMPILES);
    let first = how("1 miss", fresh(&here));
    let Some(bound) = Bound::new(&here.l("")) else {
        return;
    };
    here.set("PWD", bound.path().to_str());
    assert_ne!(how("1 miss", fresh(&here)), first);
}

/// What a program of this name says, or that there is none; after another was started.
const ASKS_A_TOOL: &str = "std::process::Command::new(\"true\").status().unwrap(); \
    let said = std::process::Command::new(\"mytool\").output(); \
    note(&said.map_or(\"none\".to_owned(), |said| String::from_utf8(said.stdout).unwrap()));";

#[test]
fn what_only_another_cargo_home_has_is_another_run() {
    let alice = Dev::new("alice");
    let here = unpacked(&alice, "here", ASKS_A_TOOL);
    let there = unpacked(&alice, "there", ASKS_A_TOOL);
    let tool = alice.path("there/cargo/bin/mytool");
    write_program(&tool, "#!/bin/sh\nprintf another\n");
    assert!(how("1 miss", fresh(&here)).starts_with("none "));
    assert!(how("1 miss", fresh(&there)).starts_with("another "));
}

/// What needs no node of its own is everybody's, and so it may depend on no name of a root.
#[test]
fn what_is_made_of_a_cargo_homes_name_is_another_run_elsewhere() {
    let alice = Dev::new("alice");
    let main = "let home = PathBuf::from(env::var(\"CARGO_HOME\").unwrap()); \
        note(home.parent().unwrap().file_name().unwrap().to_str().unwrap());";
    for name in ["here", "there"] {
        let said = how("1 miss", fresh(&unpacked(&alice, name, main)));
        assert!(said.starts_with(&format!("{name} ")), "{said}");
    }
}

/// A downloaded package whose script has perl say this (a shell puts its own directory in PWD);
/// cargo is started above the target directory, in one by this name.
fn started_above<'d>(alice: &'d Dev, name: &str, text: &str) -> Place<'d> {
    let main = format!(
        "let said = std::process::Command::new(\"perl\").args([\"-e\", {text:?}]).output().unwrap(); \
         assert!(said.status.success()); note(str::from_utf8(&said.stdout).unwrap().trim());"
    );
    let mut there = unpacked(alice, name, &main);
    let started = alice.path(format!("started/{name}"));
    fs::create_dir_all(&started).unwrap();
    fs::write(started.join("note"), name).unwrap();
    there.set("CARGO_TARGET_DIR", started.join("target").to_str());
    there.set("PWD", started.to_str());
    there
}

/// How a script ended in a build from nothing there, and what it said.
fn above(there: &Place<'_>) -> (String, String) {
    let target = there
        .env
        .iter()
        .find(|(name, _)| name == "CARGO_TARGET_DIR");
    let target = Path::new(&target.unwrap().1).to_owned();
    let _ = fs::remove_dir_all(&target);
    let how = scripts(there.dev, || drop(there.build().succeeded()));
    let said = there
        .dev
        .run(&mut there.dev.command(target.join("debug/app")));
    (how, said.succeeded().out)
}

#[test]
fn where_cargo_was_started_counts_for_other_programs_only_as_far_as_it_was_used() {
    let alice = Dev::new("alice");
    for (name, text) in [
        ("unused", "print 'said'"),
        ("looked", "print -d $ENV{PWD} ? 'said' : 'gone'"),
        // A descriptor of a process, as the newer of cc's versions wait for a compiler.
        (
            "waited",
            "print syscall(434, $$, 0) < 0 ? 'failed' : 'said'",
        ),
    ] {
        let here = started_above(&alice, &format!("{name}-1"), text);
        let first = how("1 miss", above(&here));
        let mut there = started_above(&alice, &format!("{name}-2"), text);
        assert_eq!(how("1 hit", above(&there)), first, "{name}");
        // Where all roots are below it, and where the target directory is not.
        for pwd in [&*alice.path(""), Path::new("/usr")] {
            there.set("PWD", pwd.to_str());
            drop(how("1 miss", above(&there)));
        }
    }
}

#[test]
fn where_cargo_was_started_counts_as_it_is_where_it_was_used() {
    let alice = Dev::new("alice");
    for (name, text) in [
        ("read", "open F, qq($ENV{PWD}/note) or die; print <F>"),
        ("absent", "print -e qq($ENV{PWD}/other) ? 'there' : 'none'"),
        (
            "listed",
            "opendir D, $ENV{PWD} or die; print grep /note/, readdir D",
        ),
        ("run", "print system(qq($ENV{PWD}/note)) ? 'no' : 'yes'"),
        ("made", "print mkdir(qq($ENV{PWD}/sub/x)) ? 'made' : 'not'"),
        ("said", "print qq(in $ENV{PWD})"),
        (
            "kept",
            "open F, qq(>$ENV{OUT_DIR}/kept) or die; print F qq(in $ENV{PWD})",
        ),
        ("last", "$ENV{PWD} =~ m{([^/]+)$}; print qq(in $1)"),
        ("socket", "socket S, 1, 1, 0; print 'asked'"),
    ] {
        for place in ["1", "2"] {
            let here = started_above(&alice, &format!("{name}-{place}"), text);
            let first = how("1 miss", above(&here));
            assert_eq!(how("1 hit", above(&here)), first, "{name}");
        }
    }
}

/// Who lists all variables has PWD among them, without any program.
#[test]
fn where_cargo_was_started_counts_for_who_lists_all_variables() {
    let alice = Dev::new("alice");
    let main = "let pwd = env::vars().find(|(name, _)| name == \"PWD\"); note(&pwd.unwrap().1);";
    for place in ["1", "2"] {
        let here = unpacked(&alice, place, main);
        let first = how("1 miss", fresh(&here));
        assert!(first.contains(here.at.to_str().unwrap()), "{first}");
        assert_eq!(how("1 hit", fresh(&here)), first);
    }
}

#[test]
fn what_programs_see_of_this_place_without_asking_is_another_run() {
    let alice = Dev::new("alice");
    let maybe = alice.path("maybe");
    let shell = |text: &str| {
        format!(
            "let said = std::process::Command::new(\"sh\").args([\"-c\", {text:?}]).output(); \
             note(String::from_utf8(said.unwrap().stdout).unwrap().trim());"
        )
    };
    let turned = "tr a-z b-za";
    for (name, asks, variable, value) in [
        ("pwd", format!("env | grep ^PWD= | {turned}"), "PWD", "/usr"),
        (
            "look",
            format!("test -d {} && echo there", maybe.display()),
            "PWD",
            maybe.to_str().unwrap(),
        ),
        (
            "variable",
            format!("echo $MYAPP | {turned}"),
            "MYAPP",
            "{home}/x",
        ),
    ] {
        fs::create_dir_all(&maybe).unwrap();
        let told = |place: &str| {
            let mut there = unpacked(&alice, place, &shell(&asks));
            let home = alice.path(format!("{place}/cargo"));
            let value = value.replace("{home}", home.to_str().unwrap());
            // Else it is another place's, for whoever has all variables at hand.
            there.set("PWD", Some("/tmp"));
            there.set(variable, Some(&value));
            there
        };
        let here = told(&format!("{name}-here"));
        let first = how("1 miss", fresh(&here));
        assert_eq!(how("1 hit", fresh(&here)), first, "{name}");
        let mut there = told(&format!("{name}-elsewhere"));
        if variable == "PWD" {
            there = here;
            there.set("PWD", Some("/var"));
        }
        fs::remove_dir(&maybe).unwrap();
        assert_ne!(how("1 miss", fresh(&there)), first, "{name}");
    }
}

#[test]
fn a_link_of_another_checkout_leads_elsewhere() {
    let alice = Dev::new("alice");
    let main = format!(
        "{DECLARED} note(fs::canonicalize(\"sdk\").unwrap().file_name().unwrap().to_str().unwrap());"
    );
    let mut firsts = Vec::new();
    for (name, version) in [("one", "sdk-1.2"), ("other", "sdk-1.3")] {
        let here = place(&alice, name, &main, &[(&format!("{version}/file"), "")]);
        symlink(version, here.l("sdk")).unwrap();
        let first = how("1 miss", fresh(&here));
        assert!(first.starts_with(version), "{first}");
        firsts.push((here, first));
    }
    for (here, first) in firsts {
        assert_eq!(how("1 hit", fresh(&here)), first);
    }
}

#[test]
fn what_is_read_through_a_link_in_out_dir_is_nobody_elses() {
    let team = team(&["alice", "bobby"]);
    let main = format!(
        "{DECLARED} let (c, link) = (env::current_dir().unwrap().join(\"c\"), out().join(\"c\")); \
         std::os::unix::fs::symlink(c, &link).unwrap(); \
         note(&fs::read_to_string(link.join(\"x.txt\")).unwrap()); fs::remove_file(link).unwrap();"
    );
    let here = place(&team[0], "here", &main, &[("c/x.txt", "hers")]);
    let there = place(&team[1], "there", &main, &[("c/x.txt", "his")]);
    drop(how("1 miss", built(&here)));
    wait_keys(&team[1], &team[0]);
    let (ended, said) = built(&there);
    assert!(said.starts_with("his "), "{ended}: {said}");
}

#[test]
fn a_link_to_its_own_place_leads_out_of_out_dir_by_steps_back() {
    let alice = Dev::new("alice");
    let main = format!(
        "{DECLARED} std::os::unix::fs::symlink(\".\", out().join(\"me\")).unwrap(); \
         let x = out().join(\"me/me/me/me/me/../../../../../l/x.txt\"); \
         note(&fs::read_to_string(x).unwrap()); fs::remove_file(out().join(\"me\")).unwrap();"
    );
    let here = place(&alice, "here", &main, &[("x.txt", "one")]);
    for text in ["one", "other"] {
        here.write(&[("x.txt", text)]);
        let (ended, said) = fresh(&here);
        assert!(said.starts_with(&format!("{text} ")), "{ended}: {said}");
    }
}

/// As OpenSSL's does: what is copied into OUT_DIR is gone when the run ends.
#[test]
fn what_was_taken_back_from_out_dir_was_never_an_input() {
    let alice = Dev::new("alice");
    let main = format!(
        "{DECLARED} let src = out().join(\"src/deep\"); fs::create_dir_all(&src).unwrap(); \
         fs::write(out().join(\"src/x.h\"), \"int x;\").unwrap(); \
         fs::write(src.join(\"x.c\"), \"#include <x.h>\\n\").unwrap(); \
         let mut cc = std::process::Command::new(\"cc\"); \
         cc.args([\"-c\", \"-I\", \"deep/..\", \"deep/x.c\", \"-o\", \"../x.o\"]); \
         assert!(cc.current_dir(out().join(\"src\")).status().unwrap().success()); \
         fs::remove_dir_all(out().join(\"src\")).unwrap(); note(\"compiled\");"
    );
    let here = place(&alice, "here", &main, &[]);
    let first = how("1 miss", fresh(&here));
    assert_eq!(how("1 hit", fresh(&here)), first);
}

#[test]
fn the_way_from_out_dir_to_the_package_counts() {
    let alice = Dev::new("alice");
    let main = format!(
        "{DECLARED} let text = \"pub fn said() -> &'static str {{ include_str!(\\\"../../../../../l/data.txt\\\") }}\"; \
         fs::write(out().join(\"said.rs\"), text).unwrap();"
    );
    let one = place(&alice, "one", &main, &[("data.txt", "one")]);
    assert!(how("1 miss", fresh(&one)).starts_with("one"));
    // The same depth, and nothing there.
    let mut other = place(&alice, "other", &main, &[("data.txt", "other")]);
    let target = alice.path("apart/target");
    fs::create_dir_all(alice.path("apart/l")).unwrap();
    fs::write(alice.path("apart/l/data.txt"), "apart").unwrap();
    other.set("CARGO_TARGET_DIR", target.to_str());
    let ended = super::ground::scripts(&alice, || drop(other.build().succeeded()));
    assert_eq!(ended, "1 miss");
}

#[test]
fn a_compiler_that_was_not_asked_is_told_nothing() {
    let alice = Dev::new("alice");
    let stub = alice.path("tools/other-gcc");
    let text = "#!/bin/sh\ncase \"$*\" in *-ffile-prefix-map*) exit 1;; esac\n";
    write_program(&stub, text);
    let main = format!(
        "{DECLARED} let done = std::process::Command::new({stub:?}).arg(\"-c\").status(); \
         assert!(done.unwrap().success()); note(\"built\");"
    );
    let here: Place<'_> = place(&alice, "here", &main, &[]);
    assert!(how("1 miss", fresh(&here)).starts_with("built "));
}
