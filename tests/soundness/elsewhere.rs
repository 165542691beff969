//! The same work in other places (1, 14, 23, 24), and with other toolchains.

use super::ground::{Place, led, macro_package, members, package};
use crate::harness::{Dev, assert_same_files, libraries, projects};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every kind of crate that cargo builds, one of them vendored from a registry.
fn everything<'d>(dev: &'d Dev, name: &str) -> Place<'d> {
    let l = package(
        "l",
        "[dependencies]\nmac = { path = \"../m\" }\nd = { path = \"../d\" }\nv = \"1\"",
    );
    let place = Place::new(
        dev,
        name,
        &[
            ("/Cargo.toml", &members(&["app", "l", "m", "d"]) as &str),
            (
                "/.cargo/config.toml",
                "[source.crates-io]\nreplace-with = \"v\"\n[source.v]\ndirectory = \"vendor\"\n",
            ),
            (
                "/vendor/v/Cargo.toml",
                &package("v", "").replace("0.1.0", "1.0.0"),
            ),
            (
                "/vendor/v/.cargo-checksum.json",
                "{\"files\":{},\"package\":null}",
            ),
            (
                "/vendor/v/src/lib.rs",
                "pub fn v(i: usize) -> u8 { [1, 2][i] }",
            ),
            ("/m/Cargo.toml", &macro_package("mac", "")),
            (
                "/m/src/lib.rs",
                "#[proc_macro] pub fn m(_: proc_macro::TokenStream) -> proc_macro::TokenStream { \"3\".parse().unwrap() }",
            ),
            ("/d/Cargo.toml", &package("d", "")),
            (
                "/d/build.rs",
                "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); \
                let o = std::env::var(\"OUT_DIR\").unwrap(); std::fs::write(o + \"/x.rs\", \"pub const D: u8 = 4;\").unwrap(); }",
            ),
            (
                "/d/src/lib.rs",
                "include!(concat!(env!(\"OUT_DIR\"), \"/x.rs\")); pub fn d() -> u8 { None.unwrap_or(D) }",
            ),
            ("Cargo.toml", &l),
            (
                "src/lib.rs",
                "pub fn said() -> String { format!(\"{} {} {}\", v::v(1), mac::m!(), d::d()) }",
            ),
        ],
    );
    // Without a lock file nobody knows whose a vendored crate is.
    dev.plain(&place.at, &["generate-lockfile", "--offline"])
        .succeeded();
    place
}

#[test]
fn bob_elsewhere_hits_everything_with_the_same_bytes_and_nothing_is_left_to_do() {
    let alice = Dev::new("alice");
    let here = everything(&alice, "here");
    let mut there = everything(&alice, "quite/another/place");
    there.set(
        "CARGO_HOME",
        Some(alice.path("other-cargo").to_str().unwrap()),
    );
    for release in [false, true] {
        let (mut here_args, mut there_args) = (Vec::new(), Vec::new());
        if release {
            here_args.push("--release".to_owned());
            there_args.push("--release".to_owned());
        }
        let here = Place {
            args: here_args,
            env: Vec::new(),
            at: here.at.clone(),
            dev: &alice,
        };
        let there = Place {
            args: there_args,
            env: there.env.clone(),
            at: there.at.clone(),
            dev: &alice,
        };
        assert_eq!(here.fresh(), led("2 3 4", "3 miss"));
        assert_eq!(there.fresh(), led("2 3 4", "3 hit"));
        there.nothing_left();
        let profile = if release { "release" } else { "debug" };
        assert_same_files(
            &libraries(&here.at.join("target"), profile),
            &libraries(&there.at.join("target"), profile),
        );
    }
}

#[test]
fn two_empty_stores_in_two_places_make_the_same_bytes() {
    let (alice, bob) = (Dev::new("alice"), Dev::new("bobby"));
    let here = everything(&alice, "here");
    let there = everything(&bob, "quite/another/place");
    assert_eq!(here.fresh(), led("2 3 4", "3 miss"));
    assert_eq!(there.fresh(), led("2 3 4", "3 miss"));
    assert_same_files(
        &libraries(&here.at.join("target"), "debug"),
        &libraries(&there.at.join("target"), "debug"),
    );
}

#[test]
fn target_and_cargo_home_and_the_checkout_itself_may_lie_anywhere() {
    let alice = Dev::new("alice");
    let here = everything(&alice, "here");
    assert_eq!(here.fresh(), led("2 3 4", "3 miss"));
    let expected = libraries(&here.at.join("target"), "debug");
    let out = alice.path("build outputs");
    let symlinked = alice.path("by-link");
    let real = everything(&alice, "really/here");
    symlink(&real.at, &symlinked).unwrap();
    let moved = |at: PathBuf, name: &str, value: PathBuf| {
        let env = vec![(name.to_owned(), value.display().to_string())];
        Place {
            dev: &alice,
            at,
            env,
            args: Vec::new(),
        }
    };
    let places = [
        (
            moved(everything(&alice, "a").at, "CARGO_TARGET_DIR", out.clone()),
            out,
        ),
        (
            moved(
                everything(&alice, "b").at,
                "CARGO_HOME",
                alice.path("b/cargo-home"),
            ),
            alice.path("b/target"),
        ),
        (
            moved(symlinked.clone(), "PWD", symlinked.clone()),
            symlinked.join("target"),
        ),
        (
            moved(
                everything(&alice, "c").at,
                "CARGO_BUILD_BUILD_DIR",
                alice.path("c-build"),
            ),
            alice.path("c-build"),
        ),
    ];
    for (place, target) in places {
        let how = place.counted(|| drop(place.build().succeeded()));
        assert_eq!(how, "3 hit", "{:?}", place.env);
        assert_same_files(&expected, &libraries(&target, "debug"));
        place.nothing_left();
    }
}

/// The toolchain's compiler and std, copied to another place.
pub fn toolchain(to: &Path) {
    let asked = Command::new("rustc")
        .arg("--print=sysroot")
        .output()
        .unwrap();
    let from = PathBuf::from(String::from_utf8(asked.stdout).unwrap().trim());
    fs::create_dir_all(to).unwrap();
    for part in ["bin", "lib"] {
        // Hardlinks would change the times of the files that other tests compile with.
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto"])
            .args([from.join(part), to.to_owned()]);
        assert!(copy.status().unwrap().success());
    }
}

/// A PATH that finds this toolchain first.
pub fn before_path(toolchain: &Path) -> String {
    let path = std::env::var("PATH").unwrap();
    format!("{}:{path}", toolchain.join("bin").display())
}

/// Gives a file of a copied toolchain bytes of its own: one more at the end.
pub fn changed(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes.push(b'\n');
    let mode = fs::metadata(file).unwrap().permissions();
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
    fs::set_permissions(file, mode).unwrap();
}

pub fn component(dir: &Path, begins: &str, ends: &str) -> PathBuf {
    let mut all = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let named = |p: &PathBuf| {
        let name = p.file_name().unwrap().to_str().unwrap();
        name.starts_with(begins) && name.ends_with(ends)
    };
    all.find(named)
        .unwrap_or_else(|| panic!("no {begins}…{ends} in the toolchain"))
}

#[test]
fn a_compiler_is_its_files_whatever_version_it_tells() {
    let alice = Dev::new("alice");
    let mut here = Place::lib(&alice, "here", "pub fn said() -> u8 { 1 }");
    assert_eq!(here.fresh(), led("1", "1 miss"));
    let copy = alice.path("toolchain");
    toolchain(&copy);
    // Its own cargo too: rustup's tells the loader where to look for the driver.
    here.set("PATH", Some(&before_path(&copy)));
    assert_eq!(here.fresh(), led("1", "1 hit"), "the same files elsewhere");
    let lib = copy.join("lib");
    let host = fs::read_dir(lib.join("rustlib"))
        .unwrap()
        .map(|e| e.unwrap().path().join("lib"));
    let std = host.into_iter().find(|dir| dir.is_dir()).unwrap();
    for (dir, begins, ends) in [(&lib, "librustc_driver", ".so"), (&std, "libstd-", ".so")] {
        changed(&component(dir, begins, ends));
        assert_eq!(here.fresh(), led("1", "1 miss"), "{begins} is another");
        assert_eq!(here.fresh(), led("1", "1 hit"));
    }
    here.set("PATH", None);
    assert_eq!(
        here.fresh(),
        led("1", "1 hit"),
        "and the first is still itself"
    );
}

/// Another toolchain of rustup's than the one that is used by default.
fn other_toolchain() -> Option<String> {
    let home = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".rustup")))?;
    let version = |toolchain: Option<&str>| {
        let mut rustc = Command::new("rustc");
        rustc.arg("-vV").env("RUSTUP_AUTO_INSTALL", "0");
        rustc.envs(toolchain.map(|name| ("RUSTUP_TOOLCHAIN", name)));
        Some(rustc.output().ok().filter(|o| o.status.success())?.stdout)
    };
    let own = version(None)?;
    let all = fs::read_dir(home.join("toolchains")).ok()?.flatten();
    let mut names = all.filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| version(Some(name)).is_some_and(|other| other != own))
}

#[test]
fn stable_and_nightly_each_have_their_own() {
    let Some(other) = other_toolchain() else {
        eprintln!("SKIPPED: rustup has no second toolchain here");
        return;
    };
    let alice = Dev::new("alice");
    let mut here = Place::lib(&alice, "here", "pub fn said() -> u8 { 1 }");
    for how in ["1 miss", "1 hit"] {
        for toolchain in [None, Some(other.as_str())] {
            here.set("RUSTUP_TOOLCHAIN", toolchain);
            assert_eq!(here.fresh(), led("1", how), "{toolchain:?}");
        }
    }
}

/// Has a copied toolchain answer from files what it is and which CPU this is, where they are
/// there, and do all else itself.
fn tells_from_files(toolchain: &Path, version: &Path, cpu: &Path) {
    let (rustc, real) = (
        toolchain.join("bin/rustc"),
        toolchain.join("bin/rustc-itself"),
    );
    fs::rename(&rustc, &real).unwrap();
    let script = format!(
        "#!/bin/sh\n\
         [ \"$*\" = '-vV' ] && [ -e '{version}' ] && exec cat '{version}'\n\
         [ \"$*\" = '--print=cfg -Ctarget-cpu=native' ] && [ -e '{cpu}' ] && exec cat '{cpu}'\n\
         exec '{real}' \"$@\"\n",
        version = version.display(),
        cpu = cpu.display(),
        real = real.display(),
    );
    fs::write(&rustc, script).unwrap();
    fs::set_permissions(&rustc, fs::metadata(&real).unwrap().permissions()).unwrap();
}

#[test]
fn another_cpu_and_another_version_of_the_same_files_miss() {
    let alice = Dev::new("alice");
    let mut here = Place::lib(&alice, "here", "pub fn said() -> u8 { 1 }");
    let (copy, version, cpu) = (
        alice.path("toolchain"),
        alice.path("version"),
        alice.path("cpu"),
    );
    toolchain(&copy);
    tells_from_files(&copy, &version, &cpu);
    here.set("PATH", Some(&before_path(&copy)));
    here.set("RUSTFLAGS", Some("-Ctarget-cpu=native"));
    // What it is is remembered while its files are the same: each time another machine.
    let fresh = |here: &Place<'_>| {
        alice.qnode(&["restart"]).succeeded();
        here.fresh()
    };
    assert_eq!(fresh(&here), led("1", "1 miss"));
    assert_eq!(fresh(&here), led("1", "1 hit"));
    let asked = Command::new("rustc")
        .args(["--print=cfg", "-Ctarget-cpu=native"])
        .output();
    let own = String::from_utf8(asked.unwrap().stdout).unwrap();
    fs::write(&cpu, own.clone() + "target_feature=\"other\"\n").unwrap();
    assert_eq!(fresh(&here), led("1", "1 miss"), "another CPU");
    assert_eq!(fresh(&here), led("1", "1 hit"));
    fs::write(&cpu, own).unwrap();
    assert_eq!(fresh(&here), led("1", "1 hit"), "the first again");
    // Another word for the same files: nothing but the version tells.
    let asked = Command::new("rustc").arg("-vV").output();
    let own = String::from_utf8(asked.unwrap().stdout).unwrap();
    fs::write(&version, own + "vendor: another\n").unwrap();
    assert_eq!(fresh(&here), led("1", "1 miss"), "another version");
    fs::remove_file(&version).unwrap();
    assert_eq!(fresh(&here), led("1", "1 hit"));
}

#[test]
fn with_the_sources_of_std_installed_the_bytes_are_the_same() {
    let (alice, bob) = (Dev::new("alice"), Dev::new("bobby"));
    // Generic code of std that panics is compiled into this crate, and names its own file.
    let lib = "use std::sync::Mutex; static AT: Mutex<String> = Mutex::new(String::new());\n\
        pub fn said() -> String {\n\
        std::panic::set_hook(Box::new(|info| *AT.lock().unwrap() = info.location().unwrap().to_string()));\n\
        let none = std::hint::black_box(0);\n\
        let _ = std::panic::catch_unwind(|| (0..9u8).step_by(none).count());\n\
        AT.lock().unwrap().clone() }\n";
    let files = [("src/lib.rs", lib)];
    let here = Place::new(&alice, "here", &files);
    let mut there = Place::new(&bob, "over/there", &files);
    let (said, how) = here.fresh();
    assert_eq!(how, "1 miss");
    assert!(
        said.starts_with("/rustc/") && said.contains("/library/core/src/iter/"),
        "{said}"
    );
    let copy = bob.path("toolchain");
    toolchain(&copy);
    for part in ["core", "alloc", "std"] {
        projects::write(
            &copy.join("lib/rustlib/src/rust/library"),
            &[(&format!("{part}/src/lib.rs"), "")],
        );
    }
    there.set("PATH", Some(&before_path(&copy)));
    assert_eq!(there.fresh(), led(&said, "1 miss"));
    assert_same_files(
        &libraries(&here.at.join("target"), "debug"),
        &libraries(&there.at.join("target"), "debug"),
    );
}
