//! Runs of build scripts (38, 47, 49): restored with OUT_DIR and what they said, or run again, with
//! the reason named.
//!
//! Whether a script ran is told twice: by the node, and by the time of the clock that each run
//! writes into OUT_DIR and the program prints.

use super::ground::{Place, scripts};
use crate::harness::Dev;

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
const LIB: &str = "mod inner { include!(concat!(env!(\"OUT_DIR\"), \"/said.rs\")); }\n\
    #[allow(unexpected_cfgs)]\n\
    pub fn said() -> String { format!(\"{} {}\", inner::said(), cfg!(scripted)) }\n";

/// A checkout whose library has a build script with this in `main`.
fn place<'d>(dev: &'d Dev, name: &str, main: &str, files: &[(&str, &str)]) -> Place<'d> {
    let script = format!("{NOTES}\nfn main() {{ {main} }}\n");
    let mut all = vec![("build.rs", script.as_str()), ("src/lib.rs", LIB)];
    all.extend(files);
    Place::new(dev, name, &all)
}

/// Builds upon what is there: how the script's run ended, and what the program says.
#[track_caller]
fn built(place: &Place<'_>) -> (String, String) {
    let how = scripts(place.dev, || drop(place.build().succeeded()));
    (how, place.run())
}

/// The same from nothing.
#[track_caller]
fn fresh(place: &Place<'_>) -> (String, String) {
    place.clean();
    built(place)
}

/// Fails unless the first is how it ended; gives what the program said.
#[track_caller]
fn how(expected: &str, (ended, said): (String, String)) -> String {
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
    assert!(first.starts_with("one ") && first.ends_with(" true"), "{first}");
    assert_eq!(how("1 hit", fresh(&here)), first, "what the first run made");
    here.nothing_left();
    let stats = alice.stats();
    assert_eq!(stats["scripts"]["hits"]["local"], 1, "{stats}");
    assert_eq!(stats["scripts"]["misses"], 1, "{stats}");
    assert_eq!(stats["scripts"]["bypasses"], 0, "{stats}");
}
