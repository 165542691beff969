//! The same crate told otherwise: features, profiles, names, editions; and ways to confuse a
//! cache that keys by less than all of it.

use super::ground::{L_MANIFEST, Place, counted, led, members, package};
use crate::harness::Dev;
use std::process::Command;

const CFGS: &str = "pub fn said() -> String { format!(\"{}{}{}\", cfg!(feature = \"loud\"), \
    cfg!(debug_assertions), cfg!(panic = \"abort\")) }";

#[test]
fn features_profiles_panics_and_editions_are_told_apart() {
    let alice = Dev::new("alice");
    let ws = members(&["app", "l"]);
    let loud = |on: &str| format!("{L_MANIFEST}[features]\nloud = []\ndefault = [{on}]\n");
    let mut here = Place::new(
        &alice,
        "here",
        &[("src/lib.rs", CFGS), ("Cargo.toml", &loud(""))],
    );
    let stories = [
        (loud(""), ws.clone(), "falsetruefalse"),
        (loud("\"loud\""), ws.clone(), "truetruefalse"),
        (
            loud(""),
            ws.clone() + "[profile.dev]\ndebug-assertions = false\n",
            "falsefalsefalse",
        ),
        (
            loud(""),
            ws.clone() + "[profile.dev]\npanic = \"abort\"\n",
            "falsetruetrue",
        ),
        (
            loud(""),
            ws.clone() + "[profile.dev]\ndebug = 1\n",
            "falsetruefalse",
        ),
        (
            loud(""),
            ws.clone() + "[profile.dev]\nopt-level = 2\n",
            "falsetruefalse",
        ),
        (loud("").replace("2021", "2018"), ws, "falsetruefalse"),
    ];
    for how in ["1 miss", "1 hit"] {
        for (l, ws, said) in &stories {
            here.write(&[("Cargo.toml", l), ("/Cargo.toml", ws)]);
            assert_eq!(here.fresh(), led(said, how), "{l} {ws}");
        }
    }
    here.args = vec!["--release".into()];
    assert_eq!(here.fresh(), led("falsefalsefalse", "1 miss"));
}

#[test]
fn a_cfg_in_rustflags_is_told_apart() {
    let alice = Dev::new("alice");
    let lib = "#[cfg(loud)] pub fn said() -> u8 { 2 } #[cfg(not(loud))] pub fn said() -> u8 { 1 }";
    let mut here = Place::lib(&alice, "here", lib);
    for how in ["1 miss", "1 hit"] {
        here.set("RUSTFLAGS", Some("--cfg loud --check-cfg cfg(loud)"));
        assert_eq!(here.fresh(), led("2", how));
        here.set("RUSTFLAGS", None);
        assert_eq!(here.fresh(), led("1", how));
    }
}

#[test]
fn one_crate_under_two_names_and_with_two_sets_of_features() {
    let alice = Dev::new("alice");
    let dep = |name: &str, features: &str| {
        package(
            "l",
            &format!(
                "[dependencies]\n{name} = {{ package = \"d\", path = \"../d\", features = [{features}] }}"
            ),
        )
    };
    let here = Place::new(
        &alice,
        "here",
        &[
            ("/Cargo.toml", &members(&["app", "l", "d"]) as &str),
            ("/d/Cargo.toml", &package("d", "[features]\nloud = []")),
            (
                "/d/src/lib.rs",
                "pub fn d() -> bool { cfg!(feature = \"loud\") }",
            ),
            ("Cargo.toml", &dep("one", "")),
            (
                "src/lib.rs",
                "pub fn said() -> String { format!(\"{} {}\", module_path!(), one::d()) }",
            ),
        ],
    );
    assert_eq!(here.fresh(), led("l false", "2 miss"));
    here.write(&[("Cargo.toml", &dep("one", "\"loud\""))]);
    assert_eq!(here.fresh(), led("l true", "2 miss"));
    here.write(&[
        ("Cargo.toml", &dep("two", "")),
        (
            "src/lib.rs",
            "pub fn said() -> String { format!(\"{} {}\", module_path!(), two::d()) }",
        ),
    ]);
    assert_eq!(here.fresh(), led("l false", "1 hit, 1 miss"));
}

#[test]
fn the_same_sources_under_another_package_name_or_version_are_another_crate() {
    let alice = Dev::new("alice");
    let lib = "pub fn said() -> String { format!(\"{} {}\", env!(\"CARGO_PKG_VERSION\"), \
               env!(\"CARGO_PKG_DESCRIPTION\")) }";
    let here = Place::lib(&alice, "here", lib);
    assert_eq!(here.fresh(), led("0.1.0", "1 miss"));
    here.write(&[("Cargo.toml", &L_MANIFEST.replace("0.1.0", "0.2.0"))]);
    assert_eq!(here.fresh(), led("0.2.0", "1 miss"));
    // Not in the unit's metadata, and all the same in its output.
    here.write(&[(
        "Cargo.toml",
        &(L_MANIFEST.to_owned() + "description = \"words\"\n"),
    )]);
    assert_eq!(here.fresh(), led("0.1.0 words", "1 miss"));
}

#[test]
fn a_dependency_rebuilt_without_us_in_between_is_what_it_is() {
    let alice = Dev::new("alice").never_incremental();
    let d = |n: u8| format!("#[inline(always)] pub fn d() -> u8 {{ {n} }}");
    let here = Place::new(
        &alice,
        "here",
        &[
            ("/Cargo.toml", &members(&["app", "l", "d"]) as &str),
            ("/d/Cargo.toml", &package("d", "")),
            ("/d/src/lib.rs", &d(1)),
            (
                "Cargo.toml",
                &package("l", "[dependencies]\nd = { path = \"../d\" }"),
            ),
            ("src/lib.rs", "pub fn said() -> u8 { d::d() }"),
        ],
    );
    assert_eq!(here.fresh(), led("1", "2 miss"));
    here.write(&[("/d/src/lib.rs", &d(2))]);
    let mut plain = here.command("build");
    alice
        .run(plain.args(["-p", "d"]).env_remove("RUSTC_WRAPPER"))
        .succeeded();
    assert_eq!(here.again().0, "2");
    here.write(&[("/d/src/lib.rs", &d(1))]);
    here.plain().succeeded();
    assert_eq!(here.run(), "1");
    here.write(&[("/d/src/lib.rs", &d(3))]);
    assert_eq!(here.again().0, "3");
    here.write(&[("/d/src/lib.rs", &d(1))]);
    assert_eq!(here.fresh(), led("1", "2 hit"));
}

#[test]
fn a_target_directory_that_moved_and_two_workspaces_in_one_are_kept_apart() {
    let alice = Dev::new("alice");
    let one = Place::lib(&alice, "one", "pub fn said() -> u8 { 1 }");
    let two = Place::lib(&alice, "two", "pub fn said() -> u8 { 2 }");
    assert_eq!(one.fresh(), led("1", "1 miss"));
    std::fs::rename(one.at.join("target"), two.at.join("target")).unwrap();
    // To cargo older sources are fresh, wherever they lie.
    two.write(&[("src/lib.rs", "pub fn said() -> u8 { 2 }")]);
    assert_eq!(two.again(), led("2", "1 miss"));
    let shared = alice.path("shared");
    for (place, n, said) in [(&one, 1, "1"), (&two, 2, "2"), (&one, 1, "1")] {
        place.write(&[("src/lib.rs", &format!("pub fn said() -> u8 {{ {n} }}"))]);
        let mut build = place.command("build");
        let how = counted(&alice, || {
            drop(
                alice
                    .run(build.env("CARGO_TARGET_DIR", &shared))
                    .succeeded(),
            );
        });
        assert_eq!(how, "1 hit");
        let ran = alice.run(&mut alice.command(shared.join("debug/app")));
        assert_eq!(ran.out.trim(), said);
    }
}

#[test]
fn a_foreign_mount_over_a_source_is_not_the_nodes_source() {
    let alice = Dev::new("alice");
    let here = Place::lib(&alice, "here", "pub fn said() -> u8 { 1 }");
    here.write(&[("other.rs", "pub fn said() -> u8 { 2 }")]);
    assert_eq!(here.fresh(), led("1", "1 miss"));
    here.clean();
    let script = "mount --bind l/other.rs l/src/lib.rs && exec cargo build";
    let possible = |flags: &[&str]| {
        let tried = Command::new("unshare")
            .args(flags)
            .args(["--mount", "true"])
            .status();
        tried.is_ok_and(|s| s.success())
    };
    let flags: &[&str] = if possible(&[]) {
        &[]
    } else {
        &["--user", "--map-root-user"]
    };
    if !possible(flags) {
        eprintln!("skipped: no mount namespace can be made here");
        return;
    }
    let mut build = alice.command("unshare");
    build
        .args(flags)
        .args(["--mount", "sh", "-c", script])
        .current_dir(&here.at)
        .env("RUSTC_WRAPPER", crate::harness::qwrap());
    alice.run(&mut build).succeeded();
    assert_eq!(here.run(), "2");
}
