//! Calls of the C library by which programs that scripts start read and write: what a program in C
//! does that no other story has.

use super::ground::Place;
use super::scripts::{fresh, how, place};
use crate::harness::Dev;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Does one thing to a file, by its first argument.
const TOOL: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <mntent.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

int main(int argc, char **argv, char **env) {
    const char *what = argv[1], *file = argv[2];
    char text[99] = "";
    if (!strcmp(what, "stdin") || !strcmp(what, "stdout")) {
        int out = !strcmp(what, "stdout");
        char *cat[] = {"cat", 0}, *echo[] = {"echo", "made", 0};
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, out, file, out ? O_WRONLY | O_CREAT : O_RDONLY, 0666);
        pid_t pid; int status;
        if (posix_spawnp(&pid, out ? "echo" : "cat", &actions, 0, out ? echo : cat, env)) return 1;
        return waitpid(pid, &status, 0) != pid || status;
    }
    if (!strcmp(what, "mounts")) {
        FILE *open = setmntent(file, "r");
        return !open || !fgets(text, sizeof text, open) || fputs(text, stdout) < 0;
    }
    if (!strcmp(what, "pipe")) return mkfifoat(AT_FDCWD, file, 0600);
    if (!strcmp(what, "node")) return mknodat(AT_FDCWD, file, S_IFREG | 0600, 0);
    struct timeval then[2] = {{1, 0}, {1, 0}};
    if (!strcmp(what, "times")) return lutimes(file, then);
    return 1;
}
"#;

/// A checkout whose script has the tool do this to `word.txt`, or to another file.
fn asking<'d>(alice: &'d Dev, name: &str, what: &str, file: &str) -> Place<'d> {
    let (source, tool) = (alice.path("tool.c"), alice.path("tool"));
    fs::write(&source, TOOL).unwrap();
    let made = Command::new("cc").arg("-o").args([&tool, &source]).status();
    assert!(made.unwrap().success());
    let file = alice.path(name).join("l").join(file);
    let main = format!(
        "println!(\"cargo::rerun-if-changed=build.rs\");\n\
         let said = std::process::Command::new({tool:?}).args([{what:?}, {file:?}]).output().unwrap();\n\
         assert!(said.status.success(), \"{{said:?}}\");\n\
         note(String::from_utf8(said.stdout).unwrap().trim());"
    );
    place(alice, name, &main, &[("word.txt", "one\n")])
}

#[test]
fn what_a_program_reads_in_unusual_ways_counts() {
    let alice = Dev::new("alice");
    for what in ["stdin", "mounts"] {
        let here = asking(&alice, what, what, "word.txt");
        let first = how("1 miss", fresh(&here));
        assert!(first.starts_with("one "), "{first}");
        assert_eq!(how("1 hit", fresh(&here)), first, "{what}");
        here.write(&[("word.txt", "two\n")]);
        let second = how("1 miss", fresh(&here));
        assert!(second.starts_with("two "), "{what}: {second}");
    }
}

#[test]
fn what_a_program_makes_in_unusual_ways_is_made_each_time() {
    let alice = Dev::new("alice");
    for (what, file) in [
        ("stdout", "made"),
        ("pipe", "made"),
        ("node", "made"),
        ("times", "word.txt"),
    ] {
        let here = asking(&alice, what, what, file);
        for _ in 0..2 {
            how("1 script-writes", fresh(&here));
            let _ = fs::remove_file(here.l("made"));
        }
    }
}

#[test]
fn a_directory_that_a_script_made_may_be_used_by_whom_the_caller_allows() {
    let alice = Dev::new("alice");
    let main = "println!(\"cargo::rerun-if-changed=build.rs\"); note(\"x\");\n\
        fs::create_dir(out().join(\"inner\")).unwrap();";
    let here = place(&alice, "here", main, &[]);
    let modes = || {
        let built = fs::read_dir(here.at.join("target/debug/build")).unwrap();
        let outs = built.map(|e| e.unwrap().path().join("out"));
        let out = outs.into_iter().find(|out| out.is_dir()).unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        (mode(out.clone()), mode(out.join("inner")))
    };
    for umask in ["077", "002"] {
        let build = || {
            here.clean();
            let mut shell = Command::new("sh");
            let build = here.command("build");
            shell.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]);
            shell
                .arg(build.get_program())
                .args(build.get_args())
                .env_clear();
            shell.current_dir(build.get_current_dir().unwrap());
            for (name, value) in build.get_envs() {
                match value {
                    Some(value) => shell.env(name, value),
                    None => shell.env_remove(name),
                };
            }
            assert!(shell.output().unwrap().status.success());
            modes()
        };
        let (first, second) = (build(), build());
        let expected = 0o777 & !u32::from_str_radix(umask, 8).unwrap();
        assert_eq!(
            (first, second),
            ((expected, expected), (expected, expected)),
            "{umask}"
        );
    }
}
