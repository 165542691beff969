//! What was stored and what was restored (27, 31, 34 to 37).

use super::ground::{Place, counted, led, macro_package, members, package};
use crate::harness::{Dev, files, joined, wait_for, wait_keys};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Text that does not get smaller by compressing it.
fn noise(words: u64) -> String {
    (0..words)
        .map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect()
}

const PLAIN: &[(&str, &str)] = &[("src/lib.rs", "pub fn said() -> u8 { 1 }")];

#[test]
fn restored_files_have_times_that_cargo_understands() {
    let alice = Dev::new("alice").never_incremental();
    let here = Place::new(&alice, "here", PLAIN);
    assert_eq!(here.fresh(), led("1", "1 miss"));
    assert_eq!(here.fresh(), led("1", "1 hit"));
    here.nothing_left();
    // Touched without a change: dirty to cargo, the same to us.
    let touch = || {
        let file = fs::File::options().append(true).open(here.l("src/lib.rs"));
        file.unwrap()
            .set_modified(std::time::SystemTime::now())
            .unwrap();
    };
    touch();
    assert_eq!(here.again(), led("1", "1 hit"));
    here.nothing_left();
    here.write(&[("src/lib.rs", "pub fn said() -> u8 { 2 }")]);
    assert_eq!(here.again(), led("2", "1 miss"));
    // Back and forth, as between branches.
    here.write(PLAIN);
    assert_eq!(here.again(), led("1", "1 hit"));
    here.write(&[("src/lib.rs", "pub fn said() -> u8 { 2 }")]);
    assert_eq!(here.again(), led("2", "1 hit"));
    here.nothing_left();
}

#[test]
fn after_a_hit_plain_cargo_rebuilds_and_what_is_stored_stays_as_it_was() {
    let alice = Dev::new("alice");
    let data = "x".repeat(200_000);
    let big = [
        (
            "src/lib.rs",
            "pub static DATA: &str = include_str!(\"data.txt\"); pub fn said() -> usize { DATA.len() }",
        ),
        ("src/data.txt", &data as &str),
    ];
    let here = Place::new(&alice, "here", &big);
    assert_eq!(here.fresh(), led("200000", "1 miss"));
    assert_eq!(here.fresh(), led("200000", "1 hit"));
    let first = fs::read(here.dep("libl-", ".rlib")).unwrap();
    let restored = fs::metadata(here.dep("libl-", ".rlib")).unwrap();
    assert_eq!(
        restored.permissions().mode() & 0o777,
        0o644,
        "writable, as rustc leaves it"
    );
    here.write(&[("src/data.txt", "short")]);
    here.plain().succeeded();
    assert_eq!(here.run(), "5");
    // Even what is written through the restored file's own inode.
    here.write(&big);
    assert_eq!(here.again().0, "200000");
    fs::write(here.dep("libl-", ".rlib"), b"overwritten in place").unwrap();
    assert_eq!(here.fresh(), led("200000", "1 hit"));
    assert_eq!(fs::read(here.dep("libl-", ".rlib")).unwrap(), first);
    let links = files(&alice.home().join("store/objects"), &|p| {
        fs::metadata(p).unwrap().nlink() > 1
    });
    assert!(
        links.is_empty(),
        "nothing that is stored is linked to from outside"
    );
}

#[test]
fn many_restores_at_once_are_all_right() {
    let alice = Dev::new("alice");
    let first = Place::new(&alice, "first", PLAIN);
    assert_eq!(first.fresh(), led("1", "1 miss"));
    let places: Vec<_> = (0..4)
        .map(|n| Place::new(&alice, &format!("p{n}"), PLAIN))
        .collect();
    assert_eq!(all_at_once(&alice, &places), "4 hit");
}

#[test]
fn six_checkouts_built_at_once_compile_each_crate_once() {
    let alice = Dev::new("alice");
    let places: Vec<_> = (0..6)
        .map(|n| Place::new(&alice, &format!("p{n}"), PLAIN))
        .collect();
    assert_eq!(all_at_once(&alice, &places), "5 hit, 1 miss");
}

/// Builds in all places at once; how the compiles ended.
#[track_caller]
fn all_at_once(dev: &Dev, places: &[Place<'_>]) -> String {
    let how = counted(dev, || {
        let children: Vec<_> = places
            .iter()
            .map(|p| p.command("build").spawn().unwrap())
            .collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
    });
    for place in places {
        assert_eq!(place.run(), "1");
        place.nothing_left();
    }
    how
}

#[test]
fn a_truncated_object_is_compiled_instead() {
    let alice = Dev::new("alice");
    let noise = noise(60_000);
    let big = [
        (
            "src/lib.rs",
            "pub static DATA: &str = include_str!(\"data.txt\"); pub fn said() -> usize { DATA.len() }",
        ),
        ("src/data.txt", &noise as &str),
    ];
    let here = Place::new(&alice, "here", &big);
    let said = noise.len().to_string();
    assert_eq!(here.fresh(), led(&said, "1 miss"));
    alice.flush();
    let objects = alice.home().join("store/objects");
    let stored = files(&objects, &|_| true);
    assert!(!stored.is_empty(), "a large output lies in a file");
    for (name, bytes) in stored {
        let path = objects.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }
    assert_eq!(here.fresh(), led(&said, "1 miss"));
    assert_eq!(here.fresh(), led(&said, "1 hit"));
}

/// A macro that turns something of this machine into a literal.
fn telling(expression: &str) -> String {
    format!(
        "#[proc_macro] pub fn tell(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n\
         let text: String = {expression}; format!(\"{{text:?}}\").parse().unwrap() }}"
    )
}

fn told<'d>(alice: &'d Dev, name: &str, expression: &str, profile: &str) -> Place<'d> {
    let (mac, text) = (macro_package("mac", ""), telling(expression));
    let l = package("l", "[dependencies]\nmac = { path = \"../mac\" }");
    Place::new(
        alice,
        name,
        &[
            ("/Cargo.toml", &(members(&["app", "l", "mac"]) + profile)),
            ("/mac/Cargo.toml", &mac),
            ("/mac/src/lib.rs", &text),
            ("Cargo.toml", &l),
            (
                "src/lib.rs",
                "pub fn said() -> &'static str { mac::tell!() }",
            ),
        ],
    )
}

#[test]
fn a_path_that_a_macro_emits_keeps_the_compile_out_of_the_cache() {
    let alice = Dev::new("alice");
    for profile in [
        "",
        "[profile.release]\nlto = true\n",
        "[profile.release]\nlto = \"thin\"\n",
    ] {
        for name in ["here", "over/there"] {
            // Its own path, which it knows since it was compiled: nobody is asked for it.
            let emit = "env!(\"CARGO_MANIFEST_DIR\").to_owned()";
            let mut place = told(&alice, name, emit, profile);
            if !profile.is_empty() {
                place.args = vec!["--release".into()];
            }
            let own = place.at.join("mac");
            let (said, how) = place.fresh();
            assert_eq!(
                said,
                own.to_str().unwrap().trim_end_matches('/'),
                "{profile}"
            );
            assert_eq!(how, "1 path-in-output", "{profile}");
        }
    }
}

/// A checkout whose library never comes out the same twice, and a crate on top of it.
fn random<'d>(alice: &'d Dev, name: &str) -> Place<'d> {
    let random = "{ use std::hash::{BuildHasher, Hasher}; \
         std::collections::hash_map::RandomState::new().build_hasher().finish().to_string() }";
    let mut place = told(alice, name, random, "");
    let top = package("top", "[dependencies]\nl = { path = \"../l\" }");
    let app = package(
        "app",
        "[dependencies]\ntop = { path = \"../top\" }\nl = { path = \"../l\" }",
    );
    place.write(&[
        ("/Cargo.toml", &members(&["app", "l", "mac", "top"])),
        ("/top/Cargo.toml", &top),
        (
            "/top/src/lib.rs",
            "pub fn top() -> &'static str { l::said() }",
        ),
        ("/app/Cargo.toml", &app),
        (
            "/app/src/main.rs",
            "fn main() { assert_eq!(l::said(), top::top()); println!(\"{}\", l::said()); }",
        ),
        (
            "src/lib.rs",
            "#[inline(always)] pub fn said() -> &'static str { mac::tell!() }",
        ),
    ]);
    place.set("CARGO_BUILD_JOBS", Some("1"));
    place
}

#[test]
fn a_macro_that_never_says_the_same_leads_to_misses_and_never_to_a_mix() {
    let alice = Dev::new("alice");
    let place = random(&alice, "here");
    let (first, how) = place.fresh();
    assert_eq!(how, "2 miss");
    assert_eq!(place.fresh(), led(&first, "2 hit"));
    // Without the lower crate's entry it is another crate, and so is what stands on it.
    alice.qnode(&["purge", "--crate", "l", "--yes"]).succeeded();
    let (second, how) = place.fresh();
    assert_eq!(how, "2 miss");
    assert_ne!(first, second);
}

#[test]
fn a_build_whose_node_forgets_everything_meanwhile_is_right() {
    let alice = Dev::new("alice");
    let here = Place::gated(
        &alice,
        "here",
        &[("src/lib.rs", "gate::wait!(); pub fn said() -> u8 { 1 }")],
    );
    let said = here.while_compiling(|| {
        alice.qnode(&["purge", "--all", "--yes"]).succeeded();
        alice.qnode(&["gc"]).succeeded();
    });
    said.succeeded();
    assert_eq!(here.run(), "1");
    wait_for("the entries of library and program", || {
        (alice.json(&["status"])["store"]["entries"] == 2).then_some(())
    });
    assert_eq!(here.fresh(), led("1", "1 hit"));
}

#[test]
fn alice_and_bob_who_each_made_their_own_of_it_diverge_and_never_mix() {
    let (alice, bob) = (Dev::new("alice"), Dev::new("bobby"));
    let here = random(&alice, "here");
    let there = random(&bob, "over/there");
    let (hers, how) = here.fresh();
    assert_eq!(how, "2 miss");
    let (his, how) = there.fresh();
    assert_eq!(how, "2 miss");
    assert_ne!(his, hers);
    bob.qnode(&["purge", "--crate", "top", "--yes"]).succeeded();
    let (env, at) = (there.env.clone(), there.at.clone());
    let team = joined(vec![alice, bob], &["alice", "bobby"]);
    wait_keys(&team[1], &team[0]);
    let there = Place {
        dev: &team[1],
        at,
        env,
        args: Vec::new(),
    };
    // The library is his own, and what Alice built on hers is not for him.
    assert_eq!(there.fresh(), led(&his, "1 hit, 1 miss"));
}

/// Everything in its output directory that is ours and not cargo's.
fn leftovers(place: &Place<'_>) -> Vec<std::path::PathBuf> {
    let all = files(&place.at.join("target"), &|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(".quarry-")
    });
    all.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn what_is_collected_in_the_middle_of_a_build_of_hits_is_compiled_instead() {
    let alice = Dev::new("alice");
    let noise = noise(100_000);
    let parts = ["p0", "p1", "p2", "p3", "p4", "p5"];
    let mut all = vec!["app", "l"];
    all.extend(parts);
    let dependencies: String = parts
        .iter()
        .map(|p| format!("{p} = {{ path = \"../{p}\" }}\n"))
        .collect();
    let l = package("l", &format!("[dependencies]\n{dependencies}"));
    let sum: Vec<String> = parts.iter().map(|p| format!("{p}::DATA.len()")).collect();
    let lib = format!("pub fn said() -> usize {{ {} }}", sum.join("+"));
    let files = [
        ("/Cargo.toml", members(&all)),
        ("Cargo.toml", l),
        ("src/lib.rs", lib),
    ];
    let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
    let here = Place::new(&alice, "here", &files);
    for part in parts {
        let data = "pub static DATA: &str = include_str!(\"data.txt\");";
        here.write(&[
            (&format!("/{part}/Cargo.toml"), package(part, "").as_str()),
            (&format!("/{part}/src/lib.rs"), data),
            (&format!("/{part}/src/data.txt"), noise.as_str()),
        ]);
    }
    let said = (noise.len() * parts.len()).to_string();
    for _ in 0..3 {
        assert_eq!(here.fresh().0, said);
        alice.flush();
        here.clean();
        let mut build = here.command("build").spawn().unwrap();
        let deps = here.at.join("target/debug/deps");
        wait_for("the first restored file", || {
            fs::read_dir(&deps).ok()?.next().map(drop)
        });
        alice.qnode(&["purge", "--all", "--yes"]).succeeded();
        alice.qnode(&["gc"]).succeeded();
        assert!(build.wait().unwrap().success());
        assert_eq!(here.run(), said);
        assert_eq!(leftovers(&here), Vec::<std::path::PathBuf>::new());
        here.nothing_left();
    }
}
