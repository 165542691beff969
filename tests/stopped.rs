//! Who is stopped while something is compiled, and what is made of the files meanwhile.
//!
//! A build script leaves a process behind that waits for the compile of `app`, stops who compiles
//! or who waits for that, writes another file in place of the program, and lets go again.

use crate::harness::{Dev, Said, projects, wait_for};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// A program that takes its compiler about a second, in which a shell finds it.
const LONG: &str = "#![allow(long_running_const_eval)]
const STEPS: u32 = { let mut n = 0; while n < 1_000_000 { n += 1 } n };
fn main() { assert_eq!(STEPS, 1_000_000); println!(\"{}\", evil::WORD); }
";

/// Starts what `AMBUSH` names, out of the build's sight.
const AMBUSHING: &str = r#"
    use std::process::{Command, Stdio};
    fn main() {
        println!("cargo:rerun-if-env-changed=AMBUSH");
        let Some(ambush) = std::env::var_os("AMBUSH") else { return };
        let path = std::env::var_os("PATH").unwrap();
        Command::new("setsid").arg("sh").arg(ambush).env_clear().env("PATH", path)
            .stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
            .spawn().unwrap();
    }
"#;

/// Whom the process stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// The compiler, as soon as there is an output, until the linker has ended.
    Compiler,
    /// Who waits for the compiler, until that has ended.
    Waiter,
    /// The node, until the compiler has ended.
    Node,
}

fn project(to: &Path) {
    projects::write(
        to,
        &[
            (
                "Cargo.toml",
                "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                 [dependencies]\nevil = { path = \"evil\" }\n[workspace]\n",
            ),
            ("src/main.rs", LONG),
            (
                "evil/Cargo.toml",
                "[package]\nname = \"evil\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            ),
            ("evil/src/lib.rs", "pub const WORD: &str = \"honest\";\n"),
            ("evil/build.rs", AMBUSHING),
        ],
    );
}

/// The process as a script: all that it needs to know stands in it.
fn ambush(dev: &Dev, checkout: &Path, whom: Stopped, forge: bool) -> std::path::PathBuf {
    let stop = match whom {
        Stopped::Compiler => "$rustc".to_owned(),
        Stopped::Waiter => "$waiter".to_owned(),
        Stopped::Node => dev.pid().to_string(),
    };
    let children = "grep -ls \"^PPid:[[:space:]]*$rustc\\$\" /proc/[0-9]*/status";
    let (when, until) = match whom {
        // From when the linker runs until all that the compiler started has ended.
        Stopped::Compiler => (
            // No process is started here: the linker is quick.
            "[ \"$linking\" ] || ! [ -e /proc/$rustc ]; do for f in target/debug/deps/app-*; do \
             case $f in *.d|*.o|*.rmeta|*'*') ;; *) linking=$f ;; esac; done",
            format!(
                "! for c in $({children}); do \
                 grep -qs '^State:[[:space:]]*Z' $c || echo busy; done | grep -q busy"
            ),
        ),
        Stopped::Waiter | Stopped::Node => (
            "true; do :",
            "! [ -e /proc/$rustc/status ] || grep -qs '^State:[[:space:]]*Z' /proc/$rustc/status"
                .to_owned(),
        ),
    };
    let forging = if forge {
        "rm $out; printf '#!/bin/sh\\necho forged\\n' > $out; chmod 755 $out"
    } else {
        ":"
    };
    let text = format!(
        "cd {checkout}\n\
         rustc=\n\
         until [ \"$rustc\" ]; do\n\
         for c in $(grep -lsazx src/main.rs /proc/[0-9]*/cmdline); do\n\
         p=${{c%/cmdline}}\n\
         [ \"$(cat $p/comm)\" = rustc ] && [ \"$(readlink $p/cwd)\" = {checkout} ] && rustc=${{p#/proc/}}\n\
         done\n\
         done\n\
         waiter=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$rustc/status)\n\
         until {when}; done\n\
         kill -STOP {stop}\n\
         until {until}; do :; done\n\
         for f in target/debug/deps/app-*; do [ -x \"$f\" ] && out=$f; done\n\
         {forging}\n\
         kill -CONT {stop}\n\
         echo done > {ambushed}\n",
        checkout = checkout.display(),
        ambushed = dev.path("ambushed").display(),
    );
    let script = dev.path("ambush.sh");
    fs::write(&script, text).unwrap();
    script
}

/// Builds in a checkout; what its program says then.
#[track_caller]
fn says(dev: &Dev, checkout: &Path, env: &[(&str, &OsStr)]) -> String {
    if !checkout.exists() {
        project(checkout);
    }
    let mut cargo = dev.cargo(checkout, &["build"]);
    cargo.envs(env.iter().copied());
    Said::of(&cargo.output().unwrap()).succeeded();
    dev.flush();
    let program = checkout.join("target/debug/app");
    dev.run(&mut dev.command(program)).succeeded().out
}

/// How the latest request for `app` ended.
fn app(dev: &Dev) -> (String, String) {
    let recent = dev.recent();
    let app = recent.iter().rfind(|r| r["crate_name"] == "app").unwrap();
    let text = |field: &str| app[field].as_str().unwrap_or_default().to_owned();
    (text("outcome"), text("reason"))
}

/// Builds with somebody stopped, and then elsewhere with nobody stopped, twice.
#[track_caller]
fn stopping(whom: Stopped, compile: &str, forge: bool) {
    let mut dev = Dev::new("alice").never_incremental();
    dev.env.push(("QUARRY_COMPILE".into(), compile.into()));
    dev.start();
    let [one, two, three] = ["one", "two", "three"].map(|name| dev.path(name));
    let script = ambush(&dev, &one, whom, forge);
    let said = says(&dev, &one, &[("AMBUSH", script.as_os_str())]);
    wait_for("the ambush to be over", || {
        dev.path("ambushed").exists().then_some(())
    });
    let is = if forge { "forged\n" } else { "honest\n" };
    assert_eq!(said, is, "{whom:?}: the user has what lies there");
    let (outcome, reason) = app(&dev);
    let why = dev.qnode(&["why", "app"]).succeeded().out;
    assert_eq!(says(&dev, &two, &[]), "honest\n", "{whom:?}");
    assert_eq!(
        (outcome.as_str(), reason.as_str()),
        ("bypass", "stopped"),
        "{whom:?}"
    );
    assert!(why.contains("stopped"), "{why}");
    assert_eq!(app(&dev).0, "miss", "{whom:?}: nothing of it was kept");
    assert_eq!(says(&dev, &three, &[]), "honest\n");
    assert_eq!(app(&dev).0, "hit-local", "{whom:?}: left alone it is kept");
}

#[test]
fn what_is_rewritten_while_qwrap_is_stopped_is_not_stored() {
    stopping(Stopped::Waiter, "auto", true);
}

#[test]
fn what_is_rewritten_while_the_compiler_is_stopped_is_not_stored() {
    stopping(Stopped::Compiler, "auto", true);
    stopping(Stopped::Compiler, "node", true);
}

#[test]
fn what_is_rewritten_while_the_node_is_stopped_is_not_stored() {
    stopping(Stopped::Node, "auto", true);
    stopping(Stopped::Waiter, "node", true);
}

#[test]
fn who_stops_a_build_and_goes_on_with_it_has_a_right_one() {
    stopping(Stopped::Waiter, "auto", false);
    stopping(Stopped::Compiler, "auto", false);
}
