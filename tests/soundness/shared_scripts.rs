//! Runs of build scripts in a team (47): what is shared, with whom it is not, and what stays with the
//! node that made it.

use super::ground::{Place, led};
use super::scripts::{LIB, built, fresh, how, place};
use crate::harness::{Dev, joined, team, wait_keys};
use std::fs;
use std::process::Command;

/// Bob's checkout of the same.
pub fn teammates<'d>(
    team: &'d [Dev],
    main: &str,
    files: &[(&str, &str)],
) -> (Place<'d>, Place<'d>) {
    let here = place(&team[0], "here", main, files);
    let there = place(&team[1], "quite/another/place", main, files);
    (here, there)
}

#[test]
fn a_script_that_only_makes_code_is_run_once_in_the_team() {
    let team = team(&["alice", "bobby"]);
    let main = r#"
        println!("cargo::rerun-if-changed=build.rs");
        println!("cargo::rerun-if-env-changed=WORD");
        println!("cargo::rustc-cfg=scripted");
        println!("cargo::rustc-env=WHERE={}", env::var("CARGO_MANIFEST_DIR").unwrap());
        let mut all: Vec<_> = fs::read_dir("words").unwrap().map(|e| e.unwrap().path()).collect();
        all.sort();
        note(&all.iter().map(|p| fs::read_to_string(p).unwrap()).collect::<String>());
    "#;
    let lib = format!("{LIB}\npub fn told() -> &'static str {{ env!(\"WHERE\") }}");
    let app = "fn main() { println!(\"{} {}\", l::said(), l::told()); }\n";
    let files = [
        ("src/lib.rs", lib.as_str()),
        ("/app/src/main.rs", app),
        ("words/a", "one"),
        ("words/b", "two"),
    ];
    let (here, mut there) = teammates(&team, main, &files);
    let first = how("1 miss", built(&here));
    wait_keys(&team[1], &team[0]);
    let second = how("1 peer", built(&there));
    let stamp = |said: &str| said.split(' ').take(3).collect::<Vec<_>>().join(" ");
    assert_eq!(stamp(&first), stamp(&second), "what Alice's run made");
    assert!(
        second.ends_with(&format!("{}/l", there.at.display())),
        "{second}"
    );
    there.nothing_left();
    assert_eq!(team[1].stats()["scripts"]["hits"]["peer"], 1);
    for change in [("words/a", "uno"), ("words/c", "three")] {
        there.write(&[change]);
        assert_eq!(fresh(&there).0, "1 miss", "{change:?}");
    }
    there.set("WORD", Some("other"));
    assert_eq!(fresh(&there).0, "1 miss");
}

/// What Alice keeps of a script with this in `main`, and why it is nobody else's.
#[track_caller]
pub fn stays_with_alice(main: &str, why: &str) {
    let team = team(&["alice", "bobby"]);
    let (here, there) = teammates(&team, main, &[]);
    let first = how("1 miss", built(&here));
    assert_eq!(how("1 hit", fresh(&here)), first);
    team[0].flush();
    assert_eq!(built(&there).0, "1 miss");
    let recent = team[0].recent();
    let run = recent
        .iter()
        .find(|r| r["script"] == true && r["outcome"] == "miss");
    let shown = team[0].json(&["show", run.unwrap()["action"].as_str().unwrap()]);
    assert_eq!(shown["scope"], "private");
    let names = shown["variables"].as_array().unwrap().iter();
    let reasons: Vec<&str> = names
        .filter_map(|v| v[0].as_str().unwrap().strip_prefix("=alone "))
        .collect();
    assert!(reasons.contains(&why), "{reasons:?}");
}

#[test]
fn a_script_that_starts_programs_stays_here() {
    stays_with_alice(
        "println!(\"cargo::rerun-if-changed=build.rs\");\n\
         assert!(std::process::Command::new(\"true\").status().unwrap().success()); note(\"x\");",
        "programs",
    );
}

#[test]
fn a_script_that_can_read_all_variables_stays_here() {
    stays_with_alice(
        "println!(\"cargo::rerun-if-changed=build.rs\"); note(&env::vars().count().to_string());",
        "environment",
    );
}

#[test]
fn a_script_that_opens_a_socket_stays_here() {
    stays_with_alice(
        "println!(\"cargo::rerun-if-changed=build.rs\");\n\
         let _ = std::net::TcpListener::bind(\"127.0.0.1:0\"); note(\"x\");",
        "network",
    );
}

#[test]
fn a_script_that_reads_what_lies_outside_stays_here() {
    stays_with_alice(
        "println!(\"cargo::rerun-if-changed=build.rs\"); note(fs::read_to_string(\"/etc/hostname\").unwrap_or_default().trim());",
        "outside",
    );
}

#[test]
fn a_script_whose_files_name_the_checkout_stays_here() {
    stays_with_alice(
        "println!(\"cargo::rerun-if-changed=build.rs\"); note(out().to_str().unwrap());",
        "paths",
    );
}

#[test]
fn a_script_that_reads_home_is_shared_with_nobody_whose_home_is_another() {
    let team = team(&["alice", "bobby"]);
    let main =
        "println!(\"cargo::rerun-if-changed=build.rs\"); note(&env::var(\"HOME\").unwrap());";
    let (mut here, mut there) = teammates(&team, main, &[]);
    for (place, home) in [(&mut here, "/home/alice"), (&mut there, "/home/bobby")] {
        place.set("HOME", Some(home));
    }
    assert!(how("1 miss", built(&here)).starts_with("/home/alice "));
    wait_keys(&team[1], &team[0]);
    assert!(how("1 miss", built(&there)).starts_with("/home/bobby "));
}

/// A developer whose commands see this directory in place of `/usr/local/include`; `None`, said
/// aloud, where mounts cannot be made.
fn with_headers(dev: &mut Dev, word: &str) -> Option<()> {
    let headers = dev.path("headers");
    fs::create_dir(&headers).unwrap();
    fs::write(headers.join("quarry_word.h"), word).unwrap();
    let script = format!(
        "mount --bind {} /usr/local/include && exec \"$@\"",
        headers.display()
    );
    let prefix = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    let tried = Command::new(prefix[0])
        .args(&prefix[1..])
        .arg("true")
        .status();
    if !tried.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no mount namespace can be made here");
        return None;
    }
    dev.prefix = prefix.map(str::to_owned).into();
    Some(())
}

#[test]
fn a_system_header_that_differs_is_another_run() {
    let (mut alice, mut bob, mut carol) =
        (Dev::new("alice"), Dev::new("bobby"), Dev::new("carol-x"));
    for (dev, word) in [(&mut alice, "one"), (&mut bob, "two"), (&mut carol, "one")] {
        if with_headers(dev, word).is_none() {
            return;
        }
    }
    let team = joined(vec![alice, bob, carol], &["alice", "bobby", "carol-x"]);
    let main = "println!(\"cargo::rerun-if-changed=build.rs\");\n\
        note(&fs::read_to_string(\"/usr/local/include/quarry_word.h\").unwrap());";
    let (here, there) = teammates(&team, main, &[]);
    let first = how("1 miss", built(&here));
    assert!(first.starts_with("one "), "{first}");
    wait_keys(&team[1], &team[0]);
    wait_keys(&team[2], &team[0]);
    assert!(how("1 miss", built(&there)).starts_with("two "));
    let third = place(&team[2], "third", main, &[]);
    assert_eq!(how("1 peer", built(&third)), first);
}

#[test]
fn c_that_a_script_compiles_names_no_checkout_and_is_shared_with_what_links_it_in() {
    let devs = team(&["alice", "bobby"]);
    let build = r#"
        use std::{env, process::Command};
        fn ran(command: &mut Command) { assert!(command.status().unwrap().success()); }
        fn main() {
            let (out, here) = (env::var("OUT_DIR").unwrap(), env::var("CARGO_MANIFEST_DIR").unwrap());
            let (object, archive) = (format!("{out}/x.o"), format!("{out}/libx.a"));
            ran(Command::new("cc").args(["-g", "-c", "-o", &object]).arg(format!("{here}/x.c")));
            ran(Command::new("ar").args(["crsD", &archive, &object]));
            println!("cargo::rerun-if-changed=x.c");
            println!("cargo::rustc-link-search=native={out}");
            println!("cargo::rustc-link-lib=static=x");
        }"#;
    let lib = "unsafe extern \"C\" { fn place() -> *const std::ffi::c_char; }\n\
               pub fn said() -> &'static str { unsafe { std::ffi::CStr::from_ptr(place()) }.to_str().unwrap() }";
    let files = [
        ("build.rs", build),
        ("x.c", "const char *place(void) { return __FILE__; }\n"),
        ("src/lib.rs", lib),
    ];
    let here = Place::new(&devs[0], "here", &files);
    let there = Place::new(&devs[1], "over/there", &files);
    assert_eq!(here.fresh(), led("./l/x.c", "1 miss"));
    wait_keys(&devs[1], &devs[0]);
    assert_eq!(there.fresh(), led("./l/x.c", "1 peer"));
    there.nothing_left();
    let program = fs::read(there.at.join("target/debug/app")).unwrap();
    let holds = |text: &str| program.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(holds("x.c"), "its debug information is there");
    for place in [&here, &there] {
        let at = place.at.to_str().unwrap();
        assert!(!holds(at), "it was compiled in {at}");
    }
}

#[test]
fn what_stays_here_stays_here_when_its_node_joins_a_team() {
    let alice = Dev::new("alice");
    let main = "println!(\"cargo::rerun-if-changed=build.rs\");\n\
        assert!(std::process::Command::new(\"true\").status().unwrap().success()); note(\"x\");";
    let here = place(&alice, "here", main, &[]);
    how("1 miss", built(&here));
    let recent = alice.recent();
    let keys = recent
        .iter()
        .filter(|r| r["outcome"] == "miss" && r["crate_name"] == "l");
    let keys: Vec<_> = keys
        .map(|r| (r["script"] == true, r["action"].clone()))
        .collect();
    assert_eq!(keys.len(), 2, "{recent:?}");
    let create = ["team", "create", "desk", "--name", "alice"];
    alice.qnode(&create).succeeded();
    for (script, key) in keys {
        let shown = alice.json(&["show", key.as_str().unwrap()]);
        let scope = if script { "private" } else { "team" };
        assert_eq!(shown["scope"], scope, "{shown}");
    }
}
