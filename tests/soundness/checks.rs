//! Checks and lints of every kind of target (32, 41): what only looks at code is cached, too.

use super::ground::{Place, ended, macro_package, members, package};
use crate::harness::disk::Disk;
use crate::harness::{Dev, Said, qwrap, write_program};

const WARNS: &str = "pub fn said() -> u8 { let unused = 1; mac::m!() }\n\
    #[cfg(test)] mod tests { #[test] fn t() { assert_eq!(super::said(), 3) } }";

/// A package with every kind of target, and dynamic libraries beside it.
fn everything<'d>(dev: &'d Dev, name: &str) -> Place<'d> {
    let l = package(
        "l",
        "[dependencies]\nmac = { path = \"../mac\" }\n[lints.clippy]\nneedless_return = \"warn\"",
    );
    let c = package("c", "[lib]\ncrate-type = [\"cdylib\", \"staticlib\"]");
    let d = package("d", "[lib]\ncrate-type = [\"dylib\"]");
    Place::new(
        dev,
        name,
        &[
            (
                "/Cargo.toml",
                &members(&["app", "l", "mac", "c", "d"]) as &str,
            ),
            ("/mac/Cargo.toml", &macro_package("mac", "")),
            (
                "/mac/src/lib.rs",
                "#[proc_macro] pub fn m(_: proc_macro::TokenStream) -> proc_macro::TokenStream { \"3\".parse().unwrap() }",
            ),
            ("/c/Cargo.toml", &c),
            ("/c/src/lib.rs", "#[no_mangle] pub extern \"C\" fn c() {}"),
            ("/d/Cargo.toml", &d),
            ("/d/src/lib.rs", "pub fn d() {}"),
            ("Cargo.toml", &l),
            (
                "build.rs",
                "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); }",
            ),
            ("src/lib.rs", WARNS),
            ("tests/t.rs", "#[test] fn t() { assert_eq!(l::said(), 3) }"),
            ("examples/e.rs", "fn main() { l::said(); }"),
            ("benches/b.rs", "fn main() { l::said(); }"),
        ],
    )
}

/// What a command over all targets said, and how every compile of it ended.
fn all(place: &Place<'_>, what: &str) -> (Said, String) {
    let mut said = None;
    let work = || {
        let mut command = place.command(what);
        said = Some(
            place
                .dev
                .run(command.args(["--workspace", "--all-targets"])),
        );
    };
    let how = ended(place.dev, work, &|_| true);
    (said.unwrap().succeeded(), how)
}

fn warnings(said: &Said) -> Vec<String> {
    let mut lines = said.err.lines().map(str::to_owned).collect::<Vec<_>>();
    lines.retain(|l| l.contains("warning: unused variable") || l.contains("-->"));
    lines.sort();
    lines
}

#[test]
fn a_check_of_all_targets_elsewhere_hits_everything_and_builds_have_their_own() {
    let alice = Dev::new("alice");
    let here = everything(&alice, "here");
    let mut there = everything(&alice, "quite/another/place");
    let cargo = alice.path("other-cargo");
    there.set("CARGO_HOME", Some(cargo.to_str().unwrap()));
    let (first, how) = all(&here, "check");
    let misses = how
        .strip_suffix(" miss")
        .expect("all are stored")
        .to_owned();
    let (second, how) = all(&there, "check");
    assert_eq!(how, format!("{misses} hit"));
    assert!(!warnings(&first).is_empty());
    assert_eq!(warnings(&first), warnings(&second));
    let (_, how) = all(&there, "check");
    assert_eq!(how, "", "nothing is left to do");
    let empty = std::fs::metadata(there.dep("libapp-", ".rmeta")).unwrap();
    assert_eq!(empty.len(), 0, "nothing can depend on a program");
    // Only the build script and the macro, which a check builds, are the same.
    let (_, how) = all(&there, "build");
    assert!(how.contains(" miss"), "{how}");
    let tested = alice
        .run(there.command("test").arg("--workspace"))
        .succeeded();
    assert!(tested.out.contains("1 passed"), "{}", tested.out);
}

#[test]
fn what_clippy_says_comes_back_and_a_new_configuration_misses() {
    let alice = Dev::new("alice");
    let here = everything(&alice, "here");
    let there = everything(&alice, "over/there");
    let long = "pub fn said() -> u8 { let unused = 1; return mac::m!(); }\n\
                pub fn many(_: u8, _: u8, _: u8, _: u8) {}\n";
    for place in [&here, &there] {
        place.write(&[("src/lib.rs", long)]);
    }
    let many = "this function has too many arguments";
    let (first, how) = all(&here, "clippy");
    assert!(how.ends_with(" miss") && !how.contains(','), "{how}");
    assert!(first.err.contains("unneeded `return`"), "{}", first.err);
    assert!(!first.err.contains(many), "{}", first.err);
    let (second, how) = all(&there, "clippy");
    assert!(how.ends_with(" hit") && !how.contains(','), "{how}");
    assert!(second.err.contains("unneeded `return`"), "{}", second.err);
    assert_eq!(warnings(&first), warnings(&second));
    // Upwards of the package: cargo itself knows nothing of it, so everything is asked again.
    there.write(&[("/clippy.toml", "too-many-arguments-threshold = 3\n")]);
    there.clean();
    let (third, _) = all(&there, "clippy");
    assert!(third.err.contains(many), "{}", third.err);
    std::fs::remove_file(there.at.join("clippy.toml")).unwrap();
    there.clean();
    let (fourth, how) = all(&there, "clippy");
    assert!(how.ends_with(" hit") && !how.contains(','), "{how}");
    assert!(!fourth.err.contains(many), "{}", fourth.err);
    // A check asks the same of the compiler, and not of clippy.
    let (checked, how) = all(&there, "check");
    assert!(how.contains("miss"), "{how}");
    assert!(!checked.err.contains("unneeded"), "{}", checked.err);
}

#[test]
fn what_cargo_and_its_caller_tell_clippy_alone_is_told_apart() {
    let alice = Dev::new("alice");
    let lib = "pub fn said() -> u8 { return 1; }";
    let mut here = Place::lib(&alice, "here", lib);
    let clippy = |here: &Place<'_>, more: &[&str]| {
        here.clean();
        let mut command = here.command("clippy");
        alice.run(command.args(["-p", "l", "--"]).args(more))
    };
    assert!(clippy(&here, &[]).succeeded().err.contains("unneeded"));
    let denied = clippy(&here, &["-D", "clippy::needless_return"]);
    assert!(!denied.ok, "{}", denied.err);
    let allowed = clippy(&here, &["-A", "clippy::needless_return"]).succeeded();
    assert!(!allowed.err.contains("unneeded"), "{}", allowed.err);
    // No dep-info names this one.
    here.set("CLIPPY_DISABLE_DOCS_LINKS", Some("1"));
    let said = clippy(&here, &[]).succeeded().err;
    assert!(
        said.contains("unneeded") && !said.contains("https://"),
        "{said}"
    );
    here.set("CLIPPY_DISABLE_DOCS_LINKS", None);
    let said = clippy(&here, &[]).succeeded().err;
    assert!(said.contains("https://"), "{said}");
    // Lints that look at the lock file are never kept.
    let how = here.counted(|| drop(clippy(&here, &["-W", "clippy::cargo"])));
    assert_eq!(how, "1 clippy-cargo");
    here.write(&[("src/lib.rs", &format!("#![warn(clippy::cargo)]\n{lib}"))]);
    let how = here.counted(|| drop(clippy(&here, &[])));
    assert_eq!(how, "1 clippy-cargo");
}

#[test]
fn a_check_hits_whatever_other_macros_lie_there() {
    let alice = Dev::new("alice");
    let l = package("l", "[dependencies]\nd = { path = \"../d\" }");
    let place = |name: &str| {
        Place::new(
            &alice,
            name,
            &[
                ("/Cargo.toml", &members(&["app", "l", "d", "mac"]) as &str),
                ("/mac/Cargo.toml", &macro_package("mac", "")),
                ("/mac/src/lib.rs", ""),
                ("/d/Cargo.toml", &package("d", "")),
                ("/d/src/lib.rs", "pub fn d() -> u8 { 1 }"),
                ("Cargo.toml", &l),
                ("src/lib.rs", "pub fn said() -> u8 { d::d() }"),
            ],
        )
    };
    let (here, there) = (place("here"), place("over/there"));
    let run = |place: &Place<'_>, what: &str, krate: &str| {
        let mut command = place.command(what);
        command.args(["-p", krate]);
        ended(
            &alice,
            || drop(alice.run(&mut command).succeeded()),
            &|_| true,
        )
    };
    assert_eq!(run(&here, "check", "l"), "2 miss");
    assert_eq!(run(&there, "build", "mac"), "1 miss");
    // One by one: cargo sets back the time of what it has checked, and `d` is known all the same.
    assert_eq!(run(&there, "check", "d"), "1 hit");
    assert_eq!(run(&there, "check", "l"), "1 hit");
}

/// Whether cargo finds nothing to do after a build of all targets from the cache.
fn is_fresh_each_time(alice: &Dev, rounds: u8) {
    let here = everything(alice, "here");
    for what in ["check", "build"] {
        let all = || {
            let mut cargo = here.command(what);
            cargo.args(["--workspace", "--all-targets", "-v"]);
            alice.run(&mut cargo).succeeded().err
        };
        all();
        for _ in 0..rounds {
            here.clean();
            all();
            let again = all();
            assert!(!again.contains("Running"), "{again}");
        }
    }
}

#[test]
fn what_was_restored_within_one_tick_is_fresh() {
    is_fresh_each_time(&Dev::new("alice"), 6);
}

#[test]
fn a_program_is_never_older_than_the_libraries_in_it() {
    let alice = Dev::new("alice");
    let here = Place::lib(&alice, "here", "pub fn said() -> u8 { 1 }");
    here.build().succeeded();
    touches_later(&here, "app", "target/debug/deps/libl-*.rlib");
}

/// What a crate is made of came to its place somewhat later in the same tick, if ticks were as long
/// as this: cargo finds nothing to do all the same.
fn touches_later(here: &Place<'_>, krate: &str, made_of: &str) {
    let alice = here.dev;
    let later = alice.path("later");
    let text = format!(
        "#!/bin/sh\n\
        case \"$*\" in *'--crate-name {krate} '*)\n\
            at=$(($(date +%s%N) + 12000000))\n\
            touch -d \"@${{at%?????????}}.${{at#??????????}}\" {made_of} || exit 1 ;;\n\
        esac\n\
        exec \"$QWRAP\" \"$@\"\n"
    );
    write_program(&later, &text);
    for _ in 0..4 {
        here.clean();
        let mut cargo = here.command("build");
        cargo.env("RUSTC_WRAPPER", &later).env("QWRAP", qwrap());
        alice.run(&mut cargo).succeeded();
        here.nothing_left();
    }
}

#[test]
fn a_macro_is_never_older_than_its_build_scripts_run() {
    let alice = Dev::new("alice");
    let here = Place::new(
        &alice,
        "here",
        &[
            ("/Cargo.toml", &members(&["app", "l", "mac"]) as &str),
            ("/mac/Cargo.toml", &macro_package("mac", "")),
            ("/mac/build.rs", "fn main() {}"),
            ("/mac/src/lib.rs", ""),
            (
                "Cargo.toml",
                &package("l", "[dependencies]\nmac = { path = \"../mac\" }"),
            ),
            ("src/lib.rs", "pub fn said() -> u8 { 1 }"),
        ],
    );
    here.build().succeeded();
    touches_later(&here, "mac", "target/debug/build/mac-*/output");
}

/// Newer kernels stamp files on ext4 ever later than before once somebody has looked; older ones,
/// and this filesystem on every kernel, by the tick, which lasts 4 ms.
#[test]
fn what_was_restored_within_one_tick_is_fresh_where_times_are_ticks() {
    let Some(disk) = Disk::new("ext3") else {
        return;
    };
    is_fresh_each_time(&Dev::within(&disk.top(), "alice"), 12);
}
