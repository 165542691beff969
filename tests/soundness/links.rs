//! What is linked (1, 15, 18 to 20, 22): every kind of program and library comes from another
//! checkout with the same bytes, and whatever a linker takes from outside counts.

use super::ground::{Place, ended, macro_package, members, package};
use super::native::{BUILD, archive, c};
use crate::harness::{Dev, assert_same_files, files, wait_for, write_program};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every kind of crate that is linked, and what uses them.
fn everything<'d>(dev: &'d Dev, name: &str) -> Place<'d> {
    let l = package(
        "l",
        "[dependencies]\nmac = { path = \"../mac\" }\nc = { path = \"../c\" }",
    );
    let c = package(
        "c",
        "[lib]\ncrate-type = [\"rlib\", \"cdylib\", \"staticlib\"]",
    );
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
            (
                "/c/src/lib.rs",
                "#[no_mangle] pub extern \"C\" fn c() -> u8 { None.unwrap_or(4) }",
            ),
            ("/d/Cargo.toml", &d),
            ("/d/src/lib.rs", "pub fn d() -> Vec<u8> { vec![5] }"),
            ("Cargo.toml", &l),
            (
                "build.rs",
                "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); \
                 println!(\"cargo:rustc-env=SIX=6\"); }",
            ),
            (
                "src/lib.rs",
                "pub fn said() -> String { format!(\"{} {} {}\", mac::m!(), c::c(), env!(\"SIX\")) }\n\
                 #[cfg(test)] mod tests { #[test] fn t() { assert_eq!(super::said(), \"3 4 6\") } }",
            ),
            (
                "tests/t.rs",
                "#[test] fn t() { assert_eq!(l::said(), \"3 4 6\") }",
            ),
            (
                "examples/e.rs",
                "fn main() { println!(\"{}\", l::said()); }",
            ),
        ],
    )
}

/// Builds all targets and says how every compile ended.
fn all(place: &Place<'_>) -> String {
    let work = || {
        let mut command = place.command("build");
        command.arg("--workspace");
        // Tests unwind even so, and cargo would write `c`, which has no hash in its name, twice
        // into one file.
        if !place.args.iter().any(|arg| arg.contains("abort")) {
            command.arg("--all-targets");
        }
        place.dev.run(&mut command).succeeded();
    };
    ended(place.dev, work, &|_| true)
}

/// The compiles of a tally, all of which ended in one of these ways.
#[track_caller]
fn compiles(tally: &str, ways: &[&str]) -> u32 {
    let one = |part: &str| {
        let (count, way) = part.split_once(' ').unwrap();
        assert!(ways.contains(&way), "{tally}");
        count.parse::<u32>().unwrap()
    };
    tally.split(", ").map(one).sum()
}

/// What was linked: programs, libraries, archives, wherever cargo lays them.
fn linked(place: &Place<'_>, profile: &str) -> Vec<(PathBuf, Vec<u8>)> {
    files(&place.at.join("target").join(profile), &|path| {
        let program = fs::metadata(path).unwrap().permissions().mode() & 0o111 != 0;
        let name = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        program || ["a", "so", "rlib"].contains(&name)
    })
}

#[test]
fn every_kind_elsewhere_hits_with_the_same_bytes_and_runs() {
    let alice = Dev::new("alice");
    let mut here = everything(&alice, "here");
    let mut there = everything(&alice, "quite/another/place");
    let cargo = alice.path("other-cargo");
    there.set("CARGO_HOME", Some(cargo.to_str().unwrap()));
    let profiles = [
        (vec![], "debug"),
        (vec!["--release"], "release"),
        (
            vec!["--release", "--config=profile.release.lto=\"fat\""],
            "release",
        ),
        (
            vec!["--release", "--config=profile.release.panic=\"abort\""],
            "release",
        ),
        (
            vec![
                "--profile=dist",
                "--config=profile.dist.inherits=\"release\"",
                "--config=profile.dist.lto=\"thin\"",
            ],
            "dist",
        ),
        (
            vec![
                "--target=x86_64-unknown-linux-gnu",
                "--config=build.rustflags=[\"-Ctarget-cpu=native\"]",
            ],
            "x86_64-unknown-linux-gnu/debug",
        ),
    ];
    for (args, profile) in profiles {
        for place in [&mut here, &mut there] {
            place.args = args.iter().map(|a| (*a).to_owned()).collect();
            place.clean();
        }
        let asked = compiles(&all(&here), &["hit", "miss"]);
        assert_eq!(compiles(&all(&there), &["hit"]), asked, "{args:?}");
        let (hers, his) = (linked(&here, profile), linked(&there, profile));
        assert!(hers.len() > 10, "{hers:?}");
        assert_same_files(&hers, &his);
        assert_eq!(there.run_of(profile), "3 4 6");
        assert_eq!(all(&there), "", "nothing is left to do");
    }
    there.args.clear();
    let tested = alice
        .run(there.command("test").arg("--workspace"))
        .succeeded();
    assert_eq!(tested.out.matches("1 passed").count(), 2, "{}", tested.out);
}

#[test]
fn a_program_called_as_build_scripts_are_is_a_program() {
    let alice = Dev::new("alice");
    let here = Place::new(
        &alice,
        "here",
        &[
            ("src/lib.rs", "pub fn said() -> u8 { 1 }"),
            (
                "src/bin/build_script_runner.rs",
                "fn main() { println!(\"runs\"); }",
            ),
            (
                "examples/build-script-example.rs",
                "fn main() { println!(\"runs\"); }",
            ),
        ],
    );
    for _ in 0..2 {
        here.clean();
        alice
            .run(here.command("build").args(["--workspace", "--all-targets"]))
            .succeeded();
        for program in ["build_script_runner", "examples/build-script-example"] {
            let path = here.at.join("target/debug").join(program);
            assert_eq!(
                alice.run(&mut alice.command(path)).succeeded().out,
                "runs\n"
            );
        }
    }
}

#[test]
fn nextest_runs_what_was_linked_elsewhere() {
    let there_is_one = Command::new("cargo")
        .args(["nextest", "--version"])
        .output();
    if !there_is_one.is_ok_and(|asked| asked.status.success()) {
        eprintln!("SKIPPED: cargo-nextest is not installed");
        return;
    }
    let alice = Dev::new("alice");
    let here = everything(&alice, "here");
    let there = everything(&alice, "quite/another/place");
    let tested = |place: &Place<'_>| {
        let mut command = place.command("nextest");
        let said = alice
            .run(command.args(["run", "--workspace", "--no-fail-fast"]))
            .succeeded();
        assert!(said.err.contains("2 passed"), "{}", said.err);
    };
    let asked = compiles(&ended(&alice, || tested(&here), &|_| true), &["miss"]);
    let hit = compiles(&ended(&alice, || tested(&there), &|_| true), &["hit"]);
    assert_eq!(hit, asked);
}

#[test]
fn two_empty_stores_link_the_same_bytes() {
    let (alice, bob) = (Dev::new("alice"), Dev::new("bobby"));
    let here = everything(&alice, "here");
    let there = everything(&bob, "quite/another/place");
    assert!(all(&here).ends_with(" miss"));
    assert!(all(&there).ends_with(" miss"));
    assert_same_files(&linked(&here, "debug"), &linked(&there, "debug"));
}

/// The program alone: how its compile ended, and what it says.
fn program(place: &Place<'_>) -> (String, String) {
    let work = || drop(place.build().succeeded());
    let how = ended(place.dev, work, &|name| name == "app");
    (place.run(), how)
}

fn told(said: &str, how: &str) -> (String, String) {
    (said.into(), how.into())
}

#[test]
fn c_two_crates_down_relinks_the_program() {
    let alice = Dev::new("alice");
    let deep =
        "unsafe extern \"C\" { fn word() -> u32; } pub fn deep() -> u32 { unsafe { word() } }";
    let here = Place::new(
        &alice,
        "here",
        &[
            ("/Cargo.toml", &members(&["app", "l", "deep"]) as &str),
            ("/deep/Cargo.toml", &package("deep", "")),
            ("/deep/build.rs", BUILD),
            ("/deep/c/word.c", &c(1)),
            ("/deep/src/lib.rs", deep),
            (
                "Cargo.toml",
                &package("l", "[dependencies]\ndeep = { path = \"../deep\" }"),
            ),
            ("src/lib.rs", "pub fn said() -> u32 { deep::deep() }"),
        ],
    );
    assert_eq!(program(&here), told("1", "1 miss"));
    let l = fs::read(here.dep("libl-", ".rlib")).unwrap();
    here.write(&[("/deep/c/word.c", &c(2))]);
    assert_eq!(program(&here), told("2", "1 miss"));
    let same = fs::read(here.dep("libl-", ".rlib")).unwrap() == l;
    assert!(same, "what the program names directly tells nothing");
    for n in [1, 2] {
        here.write(&[("/deep/c/word.c", &c(n))]);
        here.clean();
        assert_eq!(program(&here), told(&n.to_string(), "1 hit"));
    }
    // Built without us in between, nobody knows what is behind it.
    here.write(&[("/deep/c/word.c", &c(3))]);
    here.plain().succeeded();
    here.write(&[(
        "/app/src/main.rs",
        "fn main() { println!(\"{}\", l::said()); }\n",
    )]);
    assert_eq!(program(&here).0, "3");
}

/// What the assembler read changes one rlib: neither metadata nor a search directory says so.
#[test]
fn assembly_two_crates_down_relinks_the_program() {
    let alice = Dev::new("alice");
    let deep = "core::arch::global_asm!(\".section .rodata.word\", \".globl the_word\", \
               \"the_word: .incbin \\\"deep/word.bin\\\"\", \".text\");\n\
               unsafe extern \"C\" { static the_word: u8; }\n\
               pub fn deep() -> char { unsafe { the_word as char } }";
    let here = Place::new(
        &alice,
        "here",
        &[
            ("/Cargo.toml", &members(&["app", "l", "deep"]) as &str),
            ("/deep/Cargo.toml", &package("deep", "")),
            ("/deep/src/lib.rs", deep),
            ("/deep/word.bin", "1"),
            (
                "Cargo.toml",
                &package("l", "[dependencies]\ndeep = { path = \"../deep\" }"),
            ),
            ("src/lib.rs", "pub fn said() -> char { deep::deep() }"),
        ],
    );
    for (n, how) in [("1", "1 miss"), ("2", "1 miss"), ("1", "1 hit")] {
        here.write(&[("/deep/word.bin", n)]);
        here.clean();
        assert_eq!(program(&here), told(n, how));
    }
}

/// A checkout whose library is linked with the system library `word`, which lies in a directory
/// that only the linker knows of.
fn with_system_library<'d>(dev: &'d Dev, name: &str, at: &Path) -> Place<'d> {
    let lib = "#[link(name = \"word\")] unsafe extern \"C\" { fn word() -> u32; }\n\
               pub fn said() -> u32 { unsafe { word() } }";
    let mut place = Place::new(dev, name, &[("src/lib.rs", lib)]);
    place.set("LIBRARY_PATH", Some(at.to_str().unwrap()));
    place
}

/// Makes `libNAME.so` of C.
fn shared(dir: &Path, name: &str, text: &str, flags: &[&str]) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("s.c"), text).unwrap();
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", &format!("lib{name}.so"), "s.c"])
        .args(flags)
        .current_dir(dir)
        .status();
    assert!(done.unwrap().success());
    settle(dir);
}

/// Waits until what was written in a directory is older than what begins now.
fn settle(dir: &Path) {
    let written = fs::metadata(dir).unwrap().modified().unwrap();
    wait_for("the clock to go on", || {
        let probe = dir.join("probe");
        fs::write(&probe, "").unwrap();
        let now = fs::metadata(&probe).unwrap().modified().unwrap();
        fs::remove_file(&probe).unwrap();
        (now > written).then_some(())
    });
}

#[test]
fn a_system_library_counts_by_what_it_is_and_where_it_is_found() {
    let alice = Dev::new("alice");
    let (near, far) = (alice.path("near"), alice.path("far"));
    fs::create_dir_all(&near).unwrap();
    shared(&far, "word", &c(1), &["-Wl,-soname,libword.so.1"]);
    let both = std::env::join_paths([&near, &far]).unwrap();
    let here = with_system_library(&alice, "here", Path::new(&both));
    let there = with_system_library(&alice, "over/there", Path::new(&both));
    let linked = |place: &Place<'_>| {
        place.clean();
        let work = || drop(place.build().succeeded());
        ended(&alice, work, &|name| name == "app")
    };
    let needs = |place: &Place<'_>| {
        let app = fs::read(place.at.join("target/debug/app")).unwrap();
        let holds = |text: &[u8]| app.windows(text.len()).any(|w| w == text);
        (holds(b"libword.so.1"), holds(b"libword.so.2"))
    };
    assert_eq!(linked(&here), "1 miss");
    assert_eq!(linked(&there), "1 hit");
    assert_eq!(needs(&there), (true, false));
    shared(&far, "word", &c(1), &["-Wl,-soname,libword.so.2"]);
    assert_eq!(linked(&there), "1 miss");
    assert_eq!(needs(&there), (false, true));
    assert_eq!(linked(&here), "1 hit");
    // An archive that is found first is another program.
    archive(&near, "word", &c(7), "crs");
    settle(&near);
    assert_eq!(linked(&here), "1 miss");
    assert_eq!(here.run(), "7");
    assert_eq!(linked(&there), "1 hit");
    fs::remove_file(near.join("libword.a")).unwrap();
    assert_eq!(linked(&here), "1 hit");
    assert_eq!(needs(&here), (false, true));
}

#[test]
fn another_crt_object_behind_the_same_version_of_cc_misses() {
    let alice = Dev::new("alice");
    let mut here = Place::lib(&alice, "here", "pub fn said() -> u8 { 1 }");
    // gcc looks for objects in the architecture's directory below.
    let above = alice.path("crt");
    let asked = Command::new("cc").arg("-print-multiarch").output();
    let dir = above.join(String::from_utf8(asked.unwrap().stdout).unwrap().trim());
    fs::create_dir_all(&dir).unwrap();
    here.set("LIBRARY_PATH", Some(above.to_str().unwrap()));
    let fresh = |here: &Place<'_>| {
        here.clean();
        program(here)
    };
    assert_eq!(fresh(&here), told("1", "1 miss"));
    assert_eq!(fresh(&here), told("1", "1 hit"));
    let asked = Command::new("cc")
        .arg("-print-file-name=Scrt1.o")
        .output()
        .unwrap();
    let own = String::from_utf8(asked.stdout).unwrap();
    fs::write(dir.join("note"), "MARKED-BY-THE-CRT").unwrap();
    let marked = Command::new("objcopy")
        .args(["--add-section", ".comment2=note", "--set-section-flags"])
        .args([".comment2=alloc,readonly,contents", own.trim(), "Scrt1.o"])
        .current_dir(&dir)
        .status();
    assert!(marked.unwrap().success());
    settle(&dir);
    assert_eq!(fresh(&here), told("1", "1 miss"));
    assert_eq!(fresh(&here), told("1", "1 hit"));
    fs::remove_file(dir.join("Scrt1.o")).unwrap();
    assert_eq!(fresh(&here), told("1", "1 hit"));
}

#[test]
fn another_libc_behind_the_same_version_of_cc_misses() {
    let alice = Dev::new("alice");
    let mut here = Place::lib(&alice, "here", "pub fn said() -> u8 { 1 }");
    // Before the system's comes the architecture's directory below.
    let above = alice.path("libc");
    let asked = Command::new("cc").arg("-print-multiarch").output();
    let dir = above.join(String::from_utf8(asked.unwrap().stdout).unwrap().trim());
    fs::create_dir_all(&dir).unwrap();
    here.set("LIBRARY_PATH", Some(above.to_str().unwrap()));
    let found = |name: &str| {
        let asked = Command::new("cc")
            .arg(format!("-print-file-name={name}"))
            .output();
        PathBuf::from(String::from_utf8(asked.unwrap().stdout).unwrap().trim())
    };
    // What `-lc` leads to is a text, and stays as it is; the library that it names changes.
    let own = fs::read(found("libc.so.6")).unwrap();
    let text = fs::read_to_string(found("libc.so")).unwrap();
    let named = text
        .split_whitespace()
        .find(|word| word.ends_with("/libc.so.6"));
    let libc = dir.join("libc.so.6");
    let text = text.replace(named.expect("glibc's text"), libc.to_str().unwrap());
    fs::write(dir.join("libc.so"), text).unwrap();
    let other = [own.as_slice(), b"other"].concat();
    for how in ["1 miss", "1 hit"] {
        for bytes in [&own, &other] {
            fs::write(&libc, bytes).unwrap();
            settle(&dir);
            here.clean();
            assert_eq!(program(&here), told("1", how));
        }
    }
}

#[test]
fn another_ld_behind_the_same_cc_misses_and_a_script_is_left_alone() {
    let alice = Dev::new("alice");
    let mut here = Place::lib(&alice, "here", "pub fn said() -> u8 { 1 }");
    let dir = alice.path("tools");
    fs::create_dir_all(&dir).unwrap();
    let path = std::env::var("PATH").unwrap();
    here.set("PATH", Some(&format!("{}:{path}", dir.display())));
    here.set("RUSTFLAGS", Some("-Clink-arg=-fuse-ld=bfd"));
    let fresh = |here: &Place<'_>| {
        here.clean();
        program(here)
    };
    assert_eq!(fresh(&here), told("1", "1 miss"));
    assert_eq!(fresh(&here), told("1", "1 hit"));
    let own = std::env::split_paths(&path)
        .map(|d| d.join("ld.bfd"))
        .find(|p| p.is_file());
    let mut bytes = fs::read(own.expect("binutils are here")).unwrap();
    bytes.push(0);
    let ld = dir.join("ld.bfd");
    write_program(&ld, bytes);
    settle(&dir);
    assert_eq!(fresh(&here), told("1", "1 miss"));
    assert_eq!(fresh(&here), told("1", "1 hit"));
    // What a script runs nobody knows.
    fs::write(&ld, "#!/bin/sh\nexec /usr/bin/ld.bfd \"$@\"\n").unwrap();
    assert_eq!(fresh(&here), told("1", "1 linker-unidentified"));
    fs::remove_file(&ld).unwrap();
    let cc = dir.join("cc");
    write_program(&cc, "#!/bin/sh\nexec /usr/bin/cc \"$@\"\n");
    assert_eq!(fresh(&here), told("1", "1 linker-unidentified"));
    fs::remove_file(&cc).unwrap();
    assert_eq!(fresh(&here), told("1", "1 hit"));
    here.set("LD_RUN_PATH", Some("/x"));
    assert_eq!(fresh(&here), told("1", "1 env-linker"));
    here.set("LD_RUN_PATH", None);
    here.set("RUSTFLAGS", Some("-Clink-arg=-Wl,-rpath,/x"));
    assert_eq!(fresh(&here), told("1", "1 link-argument"));
}

#[test]
fn a_test_that_knows_where_its_program_lies_is_everyones_own() {
    let alice = Dev::new("alice");
    let test = "#[test] fn t() { let out = std::process::Command::new(env!(\"CARGO_BIN_EXE_app\")).output();\n\
                assert!(out.unwrap().status.success(), \"{}\", env!(\"CARGO_BIN_EXE_app\")); }";
    let files = [
        ("src/lib.rs", "pub fn said() -> u8 { 1 }"),
        ("/app/tests/t.rs", test),
    ];
    let here = Place::new(&alice, "here", &files);
    let there = Place::new(&alice, "over/there", &files);
    let tested = |place: &Place<'_>| {
        let work = || drop(alice.run(&mut place.command("test")).succeeded());
        ended(&alice, work, &|name| name == "t")
    };
    assert_eq!(tested(&here), "1 miss");
    fs::rename(here.at.join("target"), alice.path("away")).unwrap();
    assert_eq!(tested(&there), "1 miss", "his own program");
    there.clean();
    assert_eq!(tested(&there), "1 hit");
}

#[test]
fn a_program_that_runs_is_replaced_and_never_written_into() {
    let alice = Dev::new("alice").never_incremental();
    let main = |n: u8| {
        format!(
            "fn main() {{ let _ = std::io::stdin().read_line(&mut String::new()); println!(\"{n}{{}}\", l::said()); }}\n"
        )
    };
    let here = Place::lib(&alice, "here", "pub fn said() -> u8 { 1 }");
    for n in [1, 2] {
        here.write(&[("/app/src/main.rs", &main(n))]);
        assert_eq!(program(&here), told(&format!("{n}1"), "1 miss"));
    }
    let app = here.at.join("target/debug/app");
    let before = fs::read(&app).unwrap();
    let kept = alice.path("kept");
    fs::hard_link(&app, &kept).unwrap();
    let mut running = Command::new(&app);
    let mut running = running
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    here.write(&[("/app/src/main.rs", &main(1))]);
    assert_eq!(program(&here), told("11", "1 hit"));
    drop(running.stdin.take());
    let out = running.wait_with_output().unwrap().stdout;
    assert_eq!(out, b"21\n", "what ran is what it was");
    assert_eq!(fs::read(&kept).unwrap(), before);
    let (old, new) = (fs::metadata(&kept).unwrap(), fs::metadata(&app).unwrap());
    assert_ne!(old.ino(), new.ino());
    assert_eq!(new.permissions().mode() & 0o111, 0o111);
}
