//! What a log says of a run.

use super::*;
use crate::invocation::Invocation;
use std::os::unix::fs::symlink;

struct Ground {
    dir: tempfile::TempDir,
    facts: Facts,
    roots: Roots,
    inv: Invocation,
}

impl Ground {
    /// A package `p` in a workspace whose target directory is `t`, and a directory for temporary
    /// files beside both.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |below: &str| dir.path().join(below);
        let out_dir = at("ws/t/debug/build/p-1/out");
        for made in [&out_dir, &at("ws/p/src"), &at("tmp")] {
            fs::create_dir_all(made).unwrap();
        }
        fs::write(at("ws/p/src/a.txt"), "a").unwrap();
        let inv = Invocation {
            argv: vec!["script".into()],
            env: vec![
                ("OUT_DIR".into(), out_dir.clone().into()),
                ("CARGO_MANIFEST_DIR".into(), at("ws/p").into()),
                ("CARGO_PKG_NAME".into(), "p".into()),
                ("TMPDIR".into(), at("tmp").into()),
                ("CARGO_HOME".into(), at("cargo").into()),
            ],
            cwd: at("ws/p"),
            started: Vec::new(),
        };
        let mut facts = Facts::of(&inv).unwrap();
        facts.temporary = vec![at("tmp")];
        let above = out_dir.parent().unwrap();
        let roots = Roots::of_script(&inv, above, None, Path::new("/nowhere/at/all"), "");
        Self {
            dir,
            facts,
            roots,
            inv,
        }
    }

    fn path(&self, below: &str) -> String {
        self.dir.path().join(below).to_str().unwrap().to_owned()
    }

    /// What these questions, beside the beginning of the script, amount to.
    fn seen(&self, asked: &[(Kind, Outcome, String)]) -> Result<Seen, Bypass> {
        self.seen_by("", asked)
    }

    /// The same, asked by a process of this kind.
    fn seen_by(&self, object: &str, asked: &[(Kind, Outcome, String)]) -> Result<Seen, Bypass> {
        let begun = (Kind::Entered, Outcome::Done, "/x/script".to_owned());
        let all: Vec<_> = [begun].into_iter().chain(asked.iter().cloned()).collect();
        let records: Vec<Record<'_>> = all
            .iter()
            .map(|(kind, outcome, text)| Record {
                kind: *kind,
                outcome: *outcome,
                object: Path::new(object),
                text: OsStr::new(text),
            })
            .collect();
        let known = Programs::new(&self.inv, &self.roots, None);
        seen(&records, &self.facts, &self.roots, &known)
    }

    fn one(&self, kind: Kind, text: &str) -> Result<Seen, Bypass> {
        self.seen(&[(kind, Outcome::Done, text.to_owned())])
    }
}

fn alone(seen: &Seen) -> Vec<&str> {
    seen.alone.iter().copied().collect()
}

#[test]
fn what_a_script_reads_is_named_and_its_own_directory_is_not() {
    let g = Ground::new();
    fs::write(g.facts.out_dir.join("made.rs"), "").unwrap();
    let seen = g
        .seen(&[
            (Kind::Read, Outcome::Done, g.path("ws/p/src/a.txt")),
            (Kind::List, Outcome::Done, g.path("ws/p/src")),
            (Kind::Look, Outcome::Absent, g.path("ws/p/b.txt")),
            (
                Kind::Write,
                Outcome::Done,
                g.path("ws/t/debug/build/p-1/out/made.rs"),
            ),
            (
                Kind::Read,
                Outcome::Done,
                g.path("ws/t/debug/build/p-1/out/made.rs"),
            ),
            (Kind::Variable, Outcome::Absent, "WORD".into()),
            (Kind::Variable, Outcome::Done, "NUM_JOBS".into()),
        ])
        .unwrap();
    assert_eq!(seen.files.len(), 1);
    assert_eq!(seen.absent.len(), 1);
    assert_eq!(seen.looks.len(), 1);
    assert_eq!(seen.variables.iter().collect::<Vec<_>>(), ["WORD"]);
    assert!(seen.alone.is_empty(), "others may have it: {seen:?}");
}

#[test]
fn steps_back_within_its_own_directory_stay_there_whatever_is_left_of_the_way() {
    let g = Ground::new();
    let out = "ws/t/debug/build/p-1/out";
    for inside in ["gone/..", "gone/../made.h", "a/gone/../../made.h"] {
        let seen = g.one(Kind::List, &g.path(&format!("{out}/{inside}")));
        let seen = seen.unwrap();
        assert!(seen.looks.is_empty() && seen.files.is_empty(), "{inside}");
    }
    for outside in ["..", "gone/../..", "../out/gone/../../x"] {
        let seen = g.one(Kind::List, &g.path(&format!("{out}/{outside}")));
        let named = seen.is_ok_and(|seen| !seen.looks.is_empty());
        assert_eq!(named, outside == "..", "{outside}");
    }
}

#[test]
fn a_program_that_nobody_saw_begin_is_a_reason() {
    let g = Ground::new();
    let spawn = || (Kind::Spawn, Outcome::Done, "tool".to_owned());
    let tool = g.path("ws/p/src/a.txt");
    let begun = || (Kind::Entered, Outcome::Done, tool.clone());
    let failed = || (Kind::NotStarted, Outcome::Done, String::new());
    assert_eq!(g.seen(&[spawn()]).err(), Some(Bypass::ScriptUnobserved));
    assert_eq!(g.seen(&[begun()]).err(), Some(Bypass::ScriptUnobserved));
    assert_eq!(
        g.seen(&[spawn(), spawn(), begun()]).err(),
        Some(Bypass::ScriptUnobserved)
    );
    let seen = g.seen(&[spawn(), failed(), spawn(), begun()]).unwrap();
    assert_eq!(alone(&seen), ["programs"]);
    assert!(seen.files.contains(Path::new(&tool)), "by its content");
}

#[test]
fn git_is_a_reason_by_name_and_by_its_files() {
    let g = Ground::new();
    let ran = [
        (Kind::Spawn, Outcome::Done, "git".to_owned()),
        (Kind::Entered, Outcome::Done, "/usr/bin/git".to_owned()),
    ];
    assert_eq!(g.seen(&ran).err(), Some(Bypass::ScriptGit));
    let head = g.path("ws/.git/HEAD");
    assert_eq!(g.one(Kind::Read, &head).err(), Some(Bypass::ScriptGit));
    let none = g.seen(&[(Kind::Look, Outcome::Absent, head)]).unwrap();
    assert_eq!(none.absent.len(), 1, "a workspace that is in no repository");
}

#[test]
fn writing_anywhere_but_in_out_dir_is_a_reason_unless_it_was_temporary() {
    let g = Ground::new();
    for place in [
        "ws/p/src/made.rs",
        "ws/t/debug/made",
        "elsewhere",
        "ws/t/debug/build/p-1/out/../x",
    ] {
        let wrote = g.one(Kind::Write, &g.path(place));
        assert_eq!(wrote.err(), Some(Bypass::ScriptWrites), "{place}");
    }
    let gone = g.path("tmp/cc1.s");
    let seen = g
        .seen(&[
            (Kind::Write, Outcome::Done, gone.clone()),
            (Kind::Read, Outcome::Done, gone.clone()),
        ])
        .unwrap();
    assert_eq!(alone(&seen), ["temporary-files"]);
    fs::write(&gone, "left behind").unwrap();
    assert_eq!(g.one(Kind::Write, &gone).err(), Some(Bypass::ScriptWrites));
    assert!(g.one(Kind::Write, "/dev/null").unwrap().alone.is_empty());
}

#[test]
fn what_others_could_not_be_told_stays_here() {
    let g = Ground::new();
    symlink("src/a.txt", g.dir.path().join("ws/p/link")).unwrap();
    fs::write(g.path("beside"), "under no root").unwrap();
    for (kind, text, why) in [
        (Kind::Socket, String::new(), "network"),
        (Kind::Machine, String::new(), "machine"),
        (Kind::Raw, "dlopen".to_owned(), "unwatched"),
        (Kind::Read, "/proc/cpuinfo".to_owned(), "machine"),
        (Kind::Read, g.path("ws/p/link"), "links"),
        (Kind::Resolve, g.path("ws/p/link"), "links"),
        (Kind::Resolve, g.path("beside"), "links"),
    ] {
        assert_eq!(
            alone(&g.one(kind, &text).unwrap()),
            [why],
            "{kind:?} {text}"
        );
    }
    let failed = g.seen(&[(Kind::Read, Outcome::Failed, g.path("ws/p/src/a.txt"))]);
    assert_eq!(alone(&failed.unwrap()), ["unreadable"]);
}

#[test]
fn a_paths_own_name_is_told_and_nothing_on_the_way_may_become_a_link() {
    let g = Ground::new();
    for asked in ["ws/p/src/a.txt", "ws/p/src/../src/a.txt"] {
        let seen = g.one(Kind::Resolve, &g.path(asked)).unwrap();
        assert!(seen.alone.is_empty(), "{asked}");
        assert_eq!(seen.files, [PathBuf::from(g.path("ws/p/src/a.txt"))].into());
        // The package stands for its workspace: there is no lock file.
        let way = ["ws/p/src", "ws/p/src/a.txt"];
        let way = way.map(|at| (PathBuf::from(g.path(at)), Look::Kind));
        assert_eq!(seen.looks, way.into(), "{asked}");
    }
}

#[test]
fn what_a_compiler_reads_for_its_messages_tells_nothing_and_what_a_script_reads_does() {
    let g = Ground::new();
    let asked = |text: &str| [(Kind::Read, Outcome::Done, text.to_owned())];
    for text in [
        "/proc/self/statm",
        "/dev/tty",
        "/dev/fd/3",
        "/proc/self/fd/3",
    ] {
        let compiler = g.seen_by("rustc", &asked(text)).unwrap();
        assert!(compiler.alone.is_empty(), "{text}");
        assert_eq!(alone(&g.seen(&asked(text)).unwrap()), ["machine"], "{text}");
    }
    let other = g.seen_by("rustc", &asked("/proc/cpuinfo")).unwrap();
    assert_eq!(alone(&other), ["machine"]);
    for (name, counts) in [("CI", 0), ("RUST_BACKTRACE", 0), ("RUSTC_LOG", 1)] {
        let read = [(Kind::Variable, Outcome::Done, name.to_owned())];
        let by_compiler = g.seen_by("rustc", &read).unwrap();
        assert_eq!(by_compiler.variables.len(), counts, "{name}");
        assert_eq!(g.seen(&read).unwrap().variables.len(), 1, "{name}");
    }
}

#[test]
fn what_pwd_says_makes_nothing_where_it_names_a_directory_as_the_system_does() {
    let mut g = Ground::new();
    symlink(g.path("ws"), g.path("alias")).unwrap();
    let of = |seen: &Seen| seen.variables.iter().cloned().collect::<Vec<_>>();
    for (pwd, by, variable, looks) in [
        ("ws", PLACED, PWD_IS_PLAIN, 0),
        ("nothing/there", PLACED, PWD_IS_PLAIN, 0),
        ("alias", PLACED, "PWD", 3),
        ("ws", "", "PWD", 1),
        ("ws", COMPILER, "PWD", 1),
    ] {
        let pwd = g.path(pwd);
        g.inv.env.retain(|(name, _)| name != "PWD");
        g.inv.env.push(("PWD".into(), pwd.clone().into()));
        let there = match Path::new(&pwd).exists() {
            true => Outcome::Done,
            false => Outcome::Absent,
        };
        let asked = [
            (Kind::Variable, Outcome::Done, "PWD".to_owned()),
            (Kind::Look, there, pwd.clone()),
        ];
        let seen = g.seen_by(by, &asked).unwrap();
        assert_eq!(of(&seen), [variable], "{pwd} by {by:?}");
        let counted = seen.looks.len() + seen.absent.len() + seen.alone.len();
        assert_eq!(counted, looks, "{pwd} by {by:?}: {seen:?}");
    }
}
