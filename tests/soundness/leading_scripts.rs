//! Runs of build scripts (47) whose way to a file or a program leads elsewhere the next time: by
//! symbolic links, by PATH, past directories for temporary files, by variables.

use super::ground::Place;
use super::scripts::{fresh, how, place};
use crate::harness::{Dev, write_program};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A script that declares itself, and notes the text that an expression makes.
fn noting(expression: &str) -> String {
    format!(
        "println!(\"cargo::rerun-if-changed=build.rs\"); let text: String = {expression}; \
         note(text.trim());"
    )
}

/// What a command says.
fn said_by(program: &str, arguments: &str) -> String {
    format!(
        "String::from_utf8(std::process::Command::new({program:?}).args({arguments}).output()\
         .unwrap().stdout).unwrap()"
    )
}

fn tool(path: &Path, text: &str) {
    write_program(path, format!("#!/bin/sh\n{text}\n"));
}

/// Builds, lets things change and builds again: what is said is not the same. Then as it was, and
/// what was said first is said again.
#[track_caller]
fn changes(there: &Place<'_>, what: &str, one: &dyn Fn(), other: &dyn Fn()) {
    one();
    let first = how("1 miss", fresh(there));
    assert_eq!(how("1 hit", fresh(there)), first, "{what}");
    other();
    let (ended, second) = fresh(there);
    let text = |said: &str| said.split(' ').next().unwrap().to_owned();
    assert_eq!(ended, "1 miss", "{what}: {second}");
    assert_ne!(text(&second), text(&first), "{what}");
    one();
    assert_eq!(how("1 hit", fresh(there)), first, "{what}, as it was");
}

#[test]
fn where_a_link_on_the_way_leads_counts() {
    let alice = Dev::new("alice");
    let at = alice.path("far/away");
    for version in ["1", "2"] {
        let dir = at.join(version);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("same"), "same").unwrap();
    }
    tool(
        &at.join("1/bin/led"),
        "basename $(dirname $(dirname $(readlink -f $0)))",
    );
    tool(
        &at.join("2/bin/led"),
        "basename $(dirname $(dirname $(readlink -f $0)))",
    );
    let link = at.join("current");
    let lead = |to: &str| {
        let _ = fs::remove_file(&link);
        symlink(to, &link).unwrap();
    };
    let name = "file_name().unwrap().to_str().unwrap().to_owned()";
    let link_text = link.to_str().unwrap();
    let ways = [
        (
            "read",
            format!("fs::read_link({link_text:?}).unwrap().{name}"),
        ),
        (
            "directory",
            format!(
                "{{ env::set_current_dir({link_text:?}).unwrap(); env::current_dir().unwrap().{name} }}"
            ),
        ),
        (
            "real",
            format!("fs::canonicalize({link_text:?}).unwrap().{name}"),
        ),
        (
            "started-there",
            format!(
                "String::from_utf8(std::process::Command::new(\"pwd\").current_dir({link_text:?})\
                 .env_remove(\"PWD\").output().unwrap().stdout).unwrap().trim().rsplit('/').next().unwrap().to_owned()"
            ),
        ),
        (
            "shell",
            said_by(
                "sh",
                &format!("[\"-c\", \"cd -P {link_text}; basename $PWD\"]"),
            ),
        ),
        (
            "tool",
            said_by(&format!("{link_text}/bin/led"), "[\"\"; 0]"),
        ),
        ("path", said_by("led", "[\"\"; 0]")),
    ];
    for (what, expression) in ways {
        let mut there = place(&alice, what, &noting(&expression), &[]);
        if what == "path" {
            let path = std::env::var("PATH").unwrap();
            there.set("PATH", Some(&format!("{link_text}/bin:{path}")));
        }
        changes(&there, what, &|| lead("1"), &|| lead("2"));
    }
}

#[test]
fn what_runs_a_script_is_what_its_first_line_leads_to() {
    let alice = Dev::new("alice");
    let at = alice.path("far/away");
    for version in ["1", "2"] {
        fs::create_dir_all(at.join(version)).unwrap();
        fs::copy("/bin/sh", at.join(version).join("sh")).unwrap();
    }
    let link = at.join("current");
    let lead = |to: &str| {
        let _ = fs::remove_file(&link);
        symlink(to, &link).unwrap();
    };
    let script = at.join("script");
    let text = "basename $(dirname $(readlink /proc/$$/exe))";
    tool(&script, text);
    fs::write(&script, format!("#!{}/sh\n{text}\n", link.display())).unwrap();
    let says = said_by(script.to_str().unwrap(), "[\"\"; 0]");
    let there = place(&alice, "here", &noting(&says), &[]);
    changes(&there, "interpreter", &|| lead("1"), &|| lead("2"));
}

#[test]
fn a_link_that_led_nowhere_may_come_to_lead_somewhere() {
    let alice = Dev::new("alice");
    let (link, end) = (alice.path("far/link"), alice.path("far/end"));
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink("end", &link).unwrap();
    let asks = format!("fs::metadata({link:?}).is_ok().to_string()");
    let there = place(&alice, "here", &noting(&asks), &[]);
    let away = || drop(fs::remove_file(&end));
    changes(&there, "an end", &away, &|| fs::write(&end, "").unwrap());
}

#[test]
fn a_program_that_comes_to_lie_in_front_is_the_one_that_is_started() {
    let alice = Dev::new("alice");
    let (first, second) = (alice.path("far/1/tool"), alice.path("far/2/tool"));
    tool(&second, "echo second");
    fs::create_dir_all(first.parent().unwrap()).unwrap();
    write_program(&alice.path("far/script"), "#!/usr/bin/env tool\n");
    for (what, expression) in [
        ("spawned", said_by("tool", "[\"\"; 0]")),
        ("shell", said_by("sh", "[\"-c\", \"tool\"]")),
        (
            "env",
            said_by(alice.path("far/script").to_str().unwrap(), "[\"\"; 0]"),
        ),
    ] {
        let mut there = place(&alice, what, &noting(&expression), &[]);
        let dirs = [first.parent().unwrap(), second.parent().unwrap()].map(Path::to_str);
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{}:{path}", dirs[0].unwrap(), dirs[1].unwrap());
        there.set("PATH", Some(&path));
        let away = || drop(fs::remove_file(&first));
        changes(&there, what, &away, &|| tool(&first, "echo first"));
        away();
    }
}

#[test]
fn what_was_not_among_temporary_files_may_come() {
    let alice = Dev::new("alice");
    let dir = alice.path("far/include");
    fs::create_dir_all(&dir).unwrap();
    let header = dir.join("h.h");
    fs::write(
        alice.path("far/x.c"),
        "#if __has_include(<h.h>)\n#include <h.h>\n#else\nnone\n#endif\n",
    )
    .unwrap();
    let source = alice.path("far/x.c");
    let cc = format!("[\"-E\", \"-P\", {source:?}]");
    let mut there = place(&alice, "here", &noting(&said_by("cc", &cc)), &[]);
    there.set("CPATH", dir.to_str());
    let away = || drop(fs::remove_file(&header));
    changes(&there, "a header", &away, &|| {
        fs::write(&header, "some\n").unwrap()
    });
}

#[test]
fn a_source_that_includes_itself_by_its_name_is_compiled_as_without_us() {
    let alice = Dev::new("alice");
    let source = "#ifndef X\n#define X\n#include __FILE__\n#else\nfound\n#endif\n";
    let main = "println!(\"cargo::rerun-if-changed=build.rs\"); \
        let x = env::current_dir().unwrap().join(\"x.c\"); \
        let cc = std::process::Command::new(\"cc\").args([\"-E\", \"-P\"]).arg(x).output(); \
        let cc = cc.unwrap(); assert!(cc.status.success()); \
        note(String::from_utf8(cc.stdout).unwrap().trim());";
    let there = place(&alice, "here", main, &[("x.c", source)]);
    for _ in 0..2 {
        let said = how("1 script-failed", fresh(&there));
        assert!(said.starts_with("found "), "{said}");
    }
}

#[test]
fn what_make_and_shells_are_told_counts() {
    let alice = Dev::new("alice");
    let makefile = "V?=1\nall:\n\t@echo V$(V)\n";
    let made = said_by("make", "[\"-s\", \"-f\", \"mk\"]");
    let mut there = place(&alice, "make", &noting(&made), &[("mk", makefile)]);
    let first = how("1 miss", fresh(&there));
    // A jobserver is nothing to what is made.
    there.set("MAKEFLAGS", Some(" -j8 --jobserver-auth=fifo:/nowhere"));
    assert_eq!(how("1 hit", fresh(&there)), first);
    there.set("MAKEFLAGS", Some("V=2"));
    assert!(how("1 miss", fresh(&there)).starts_with("V2 "));
    let shell = said_by("sh", "[\"-c\", \"echo x$XDG_CONFIG_HOME\"]");
    let mut there = place(&alice, "shell", &noting(&shell), &[]);
    for value in ["/one", "/two"] {
        there.set("XDG_CONFIG_HOME", Some(value));
        let said = how("1 miss", fresh(&there));
        assert!(said.starts_with(&format!("x{value} ")), "{said}");
        there.set("XDG_SESSION_ID", Some(value));
        assert_eq!(how("1 hit", fresh(&there)), said);
    }
}
