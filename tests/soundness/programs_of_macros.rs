//! Programs that procedural macros start: asked again where a lookup would trust what they said,
//! exactly where a compile would run them, and never for a teammate.

use super::ground::{Place, led};
use super::macros::place;
use super::predictions::{Bench, WORDS};
use crate::harness::{Dev, team, wait_keys, write_program};
use quarry_trust::canon::Canonical;
use quarry_trust::{Digest, ObjectRef};
use quarry_wrapper::action::{Description, Prediction, Ran, Use};
use quarry_wrapper::child::Child;
use quarry_wrapper::pipeline::recheck::Rechecked;
use quarry_wrapper::pipeline::{Cache, Tier};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a macro does to give what a program says.
fn asking(program: &str, with: &str) -> String {
    format!(
        "{{ let said = std::process::Command::new({program:?}){with}.output().unwrap(); \
         assert!(said.stderr.is_empty()); String::from_utf8(said.stdout).unwrap() }}"
    )
}

/// A program that notes each run in `runs`, beside it, and then does this.
fn program(dev: &Dev, name: &str, then: &str) -> String {
    let path = dev.path(name);
    let text = format!("#!/bin/sh\necho ran >> {}.runs\n{then}\n", path.display());
    write_program(&path, &text);
    path.to_str().unwrap().to_owned()
}

/// How often it has run since this was last asked.
fn runs(program: &str) -> usize {
    let noted = format!("{program}.runs");
    let text = fs::read_to_string(&noted).unwrap_or_default();
    let _ = fs::remove_file(noted);
    text.lines().count()
}

#[test]
fn what_says_the_same_hits_and_what_says_something_else_misses() {
    let alice = Dev::new("alice");
    let word = alice.path("word");
    fs::write(&word, "one").unwrap();
    let cat = program(&alice, "say", &format!("cat {}", word.display()));
    let here = place(&alice, "here", &asking(&cat, ""), &[("other.txt", "1")]);
    assert_eq!(here.fresh(), led("one", "1 miss"));
    assert_eq!(runs(&cat), 1, "once, as without a cache");
    assert_eq!(here.fresh(), led("one", "1 hit"));
    assert_eq!(runs(&cat), 1, "as the compile would have run it");
    // No key holds what it reads: only that it says something else is seen.
    fs::write(&word, "two").unwrap();
    assert_eq!(here.fresh(), led("two", "1 miss"));
    assert_eq!(runs(&cat), 2, "asked, and then run by the macro");
    assert_eq!(here.fresh(), led("two", "1 hit"));
    fs::write(&word, "one").unwrap();
    runs(&cat);
    assert_eq!(
        here.fresh(),
        led("one", "1 hit"),
        "of two, the one that holds"
    );
    assert_eq!(runs(&cat), 1, "asked once for both");
}

#[test]
fn how_it_ends_counts_and_what_it_says_on_stderr() {
    let alice = Dev::new("alice");
    let state = alice.path("state");
    let says = program(&alice, "ends", &format!(". {}", state.display()));
    let expression = format!(
        "{{ let s = std::process::Command::new({says:?}).output().unwrap(); \
         use std::os::unix::process::ExitStatusExt; \
         format!(\"{{:?}} {{:?}} {{}}\", s.status.code(), s.status.signal(), s.stderr.len()) }}"
    );
    fs::write(&state, "exit 0").unwrap();
    let here = place(&alice, "here", &expression, &[]);
    for (how, said) in [
        ("exit 0", "Some(0) None 0"),
        ("exit 7", "Some(7) None 0"),
        ("kill -9 $$", "None Some(9) 0"),
        ("echo x >&2", "Some(0) None 2"),
    ] {
        fs::write(&state, how).unwrap();
        assert_eq!(here.fresh(), led(said, "1 miss"), "{how}");
        assert_eq!(here.fresh(), led(said, "1 hit"), "{how}");
    }
}

#[test]
fn it_is_asked_only_where_the_macro_would_have_run_it() {
    let alice = Dev::new("alice");
    let says = program(&alice, "say", "echo -n a");
    let expression = format!(
        "if fs::read_to_string(\"l/go\").unwrap() == \"go\" {{ {} }} else {{ \"rests\".to_owned() }}",
        asking(&says, "")
    );
    let here = place(&alice, "here", &expression, &[("go", "go")]);
    assert_eq!(here.fresh(), led("a", "1 miss"));
    runs(&says);
    here.write(&[("go", "rest")]);
    assert_eq!(here.fresh(), led("rests", "1 miss"));
    assert_eq!(runs(&says), 0, "the macro does not run it any more");
    here.write(&[("go", "go")]);
    assert_eq!(here.fresh(), led("a", "1 hit"));
    assert_eq!(runs(&says), 1);
}

#[test]
fn a_second_one_is_asked_only_where_the_first_says_the_same() {
    let alice = Dev::new("alice");
    let word = alice.path("word");
    fs::write(&word, "one").unwrap();
    let first = program(&alice, "first", &format!("cat {}", word.display()));
    let second = program(&alice, "second", "echo -n $1");
    let expression = format!(
        "{{ let one = {}; if one == \"one\" {{ {} }} else {{ one }} }}",
        asking(&first, ""),
        asking(&second, ".arg(&one)")
    );
    let here = place(&alice, "here", &expression, &[]);
    assert_eq!(here.fresh(), led("one", "1 miss"));
    assert_eq!(here.fresh(), led("one", "1 hit"));
    assert_eq!((runs(&first), runs(&second)), (2, 2));
    fs::write(&word, "two").unwrap();
    assert_eq!(here.fresh(), led("two", "1 miss"));
    assert_eq!((runs(&first), runs(&second)), (2, 0));
}

#[test]
fn its_arguments_variables_and_directory_are_what_the_macro_gave() {
    let alice = Dev::new("alice");
    let says = program(&alice, "say", "pwd; echo -n \"$0 $1 $GIVEN $#\"");
    let with = ".args([\"a b\", \"\"]).current_dir(\"mac\")";
    let mut here = place(&alice, "here", &asking(&says, with), &[]);
    here.set("GIVEN", Some("1"));
    let (said, how) = here.fresh();
    assert_eq!(how, "1 miss");
    assert!(said.contains("/here/mac"), "{said}");
    assert!(said.ends_with(&format!("{says} a b 1 2")), "{said}");
    assert_eq!(here.fresh(), led(&said, "1 hit"));
    // Nobody saw it read the variable; it has the one of now when it is asked.
    here.set("GIVEN", Some("2"));
    let (other, how) = here.fresh();
    assert_eq!(how, "1 miss");
    assert!(other.ends_with(" 2 2"), "{other}");
}

/// What it changes and the compile reads is read as it is then; what it changes besides, it changes
/// with every hit as with every compile.
#[test]
fn what_it_changes_is_changed_before_anything_is_trusted() {
    let alice = Dev::new("alice");
    let state = alice.path("state");
    fs::write(&state, "one").unwrap();
    let here_is = alice.path("here/l/made.txt");
    let copies = format!(
        "cmp -s {0} {1} || {{ cp {0} {1}; sleep 0.1; }}",
        state.display(),
        here_is.display()
    );
    let copy = program(&alice, "copy", &copies);
    let files = [
        ("made.txt", "one"),
        (
            "src/lib.rs",
            "pub fn said() -> &'static str { concat!(mac::tell!(), include_str!(\"../made.txt\")) }",
        ),
    ];
    let here = place(&alice, "here", &asking(&copy, ""), &files);
    assert_eq!(here.fresh(), led("one", "1 miss"));
    assert_eq!(here.fresh(), led("one", "1 hit"));
    assert_eq!(runs(&copy), 2);
    fs::write(&state, "two").unwrap();
    // It was changed when the compile began.
    assert_eq!(here.fresh(), led("two", "1 miss"));
    assert_eq!(fs::read_to_string(here_is).unwrap(), "two");
    assert_eq!(here.fresh(), led("two", "1 hit"));
}

#[test]
fn what_cannot_be_asked_again_is_not_kept() {
    let alice = Dev::new("alice");
    let says = program(&alice, "say", "cat; echo -n a");
    let taken = format!(
        "{{ use std::{{io::Write, process::{{Command, Stdio}}}}; let mut c = Command::new({says:?})\
         .stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap(); \
         c.stdin.take().unwrap().write_all(b\"x\").unwrap(); \
         String::from_utf8(c.wait_with_output().unwrap().stdout).unwrap() }}"
    );
    let nobody = "match std::process::Command::new(\"no-such-program\").output() \
        { Err(e) => format!(\"{:?}\", e.kind()), Ok(_) => \"ran\".to_owned() }"
        .to_owned();
    let forked = "unsafe extern \"C\" { fn fork() -> i32; fn _exit(c: i32) -> !; } \
        unsafe { match fork() { 0 => _exit(0), n => n > 0 } }"
        .to_owned();
    // What two streams say into one pipe has an order; who stops reading is missed; a program whose
    // interpreter is gone does not begin.
    let one_pipe = "{ use std::{io::Read, process::Command}; let (mut r, w) = std::io::pipe().unwrap(); \
        let mut c = Command::new(\"/bin/sh\").args([\"-c\", \"echo a; echo b >&2; echo -n c\"])\
        .stdin(std::process::Stdio::null()).stdout(w.try_clone().unwrap()).stderr(w).spawn().unwrap(); \
        c.wait().unwrap(); drop(c); let mut all = [0; 5]; r.read_exact(&mut all).unwrap(); \
        String::from_utf8_lossy(&all).replace('\\n', \"\") }"
        .to_owned();
    let enough = "{ use std::{io::{BufRead, BufReader}, process::{Command, Stdio}}; \
        use std::os::unix::process::ExitStatusExt; \
        let mut c = Command::new(\"yes\").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap(); \
        let mut line = String::new(); BufReader::new(c.stdout.take().unwrap()).read_line(&mut line).unwrap(); \
        format!(\"{} {:?}\", line.trim(), c.wait().unwrap().signal()) }"
        .to_owned();
    let gone = alice.path("no-interpreter");
    write_program(&gone, "#!/no/such/interpreter\n");
    let gone = format!(
        "match std::process::Command::new({gone:?}).output() \
         {{ Err(e) => format!(\"{{:?}}\", e.kind()), Ok(_) => \"ran\".to_owned() }}"
    );
    for (name, expression, said) in [
        ("one-pipe", one_pipe, "abc"),
        ("enough", enough, "y Some(13)"),
        ("gone", gone, "NotFound"),
        ("stdin", taken, "xa"),
        ("nobody", nobody, "NotFound"),
        ("forks", forked, "true"),
        ("without", asking(&says, ".env_remove(\"HOME\")"), "a"),
        ("without-none", asking(&says, ".env_remove(\"NO_SUCH\")"), "a"),
        ("with", asking(&says, ".env(\"GIVEN\", \"1\")"), "a"),
        ("long", asking("/bin/sh", ".args([\"-c\", \"head -c 2000000 /dev/zero | tr '\\\\0' a | wc -c; head -c 2000000 /dev/zero | tr '\\\\0' b\"])").replace("String::from_utf8(said.stdout).unwrap()", "said.stdout.len().to_string()"), "2000008"),
    ] {
        let here = place(&alice, name, &expression, &[]);
        for _ in 0..2 {
            assert_eq!(here.fresh(), led(said, "1 macro-spawns"), "{name}");
        }
    }
}

/// git-version's macro in a repository: it judges by times and inodes, of which nobody knows.
#[test]
fn what_git_says_of_a_checkout_is_always_of_now() {
    let alice = Dev::new("alice");
    let with = ".args([\"-C\", \"l\", \"describe\", \"--always\", \"--dirty=-modified\"])";
    let reads =
        "pub fn said() -> &'static str { include_bytes!(\"../../.git/index\"); mac::tell!() }";
    let files = [
        ("notes.txt", "1\n"),
        ("/.gitignore", "target\n"),
        ("src/lib.rs", reads),
    ];
    let here = place(&alice, "here", &asking("git", with), &files);
    let root = alice.path("here");
    let git = |words: &[&str]| {
        let names = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "commit.gpgsign=false",
        ];
        let out = alice
            .command("git")
            .args(names)
            .args(words)
            .current_dir(&root)
            .output();
        let out = out.unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "one"]);
    let one = git(&["rev-parse", "--short", "HEAD"]);
    // Asked for the first time after a change, git notes what it found: not kept then.
    let compiled = |what: &str| {
        // Of what changed in the second in which it last noted, it is never sure.
        std::thread::sleep(Duration::from_millis(1_100));
        for round in 0.. {
            let (said, how) = here.fresh();
            assert_eq!(said, what);
            match (round, how.as_str()) {
                (0, "1 hit") => panic!("it says something else than before"),
                (_, "1 hit") => break,
                (0..4, "1 miss" | "1 changed-while-compiling") => {}
                _ => panic!("{how} in round {round}"),
            }
        }
    };
    compiled(&one);
    // No compile reads this file.
    here.write(&[("notes.txt", "2\n")]);
    compiled(&format!("{one}-modified"));
    git(&["commit", "-q", "--allow-empty", "-m", "two"]);
    compiled(&format!(
        "{}-modified",
        git(&["rev-parse", "--short", "HEAD"])
    ));
    here.write(&[("notes.txt", "1\n")]);
    assert_eq!(here.fresh().0, git(&["rev-parse", "--short", "HEAD"]));
}

/// Where neither its words nor what it says name the checkout, another checkout has what was
/// compiled here; else it has not. Both ask for themselves.
#[test]
fn another_checkout_asks_for_itself() {
    let alice = Dev::new("alice");
    let says = program(&alice, "say", "cat \"$1/word.txt\"");
    let with = ".arg(here())";
    let one = place(&alice, "one", &asking(&says, with), &[("word.txt", "w")]);
    assert_eq!(one.fresh(), led("w", "1 miss"));
    alice.flush();
    let other = place(
        &alice,
        "quite-another",
        &asking(&says, with),
        &[("word.txt", "w")],
    );
    runs(&says);
    assert_eq!(other.fresh(), led("w", "1 hit"));
    assert_eq!(runs(&says), 1);
    let third = place(
        &alice,
        "third-one",
        &asking(&says, with),
        &[("word.txt", "v")],
    );
    assert_eq!(
        third.fresh(),
        led("v", "1 miss"),
        "it says something else there"
    );

    let pwd = program(&alice, "where", "pwd");
    let sums = format!("{}.len()", asking(&pwd, ""));
    let (one, other) = ("fourth", "the-fifth-one");
    let place_of = |name| place(&alice, name, &sums, &[]);
    let four = place_of(one);
    assert_eq!(four.fresh().1, "1 miss");
    assert_eq!(four.fresh().1, "1 hit");
    alice.flush();
    assert_eq!(place_of(other).fresh().1, "1 miss", "it was told a path");
}

#[test]
fn a_teammate_compiles_it_and_runs_nothing_for_us() {
    let devs = team(&["alice", "bobby"]);
    let (alice, bob) = (&devs[0], &devs[1]);
    let says = program(alice, "say", "echo -n a");
    let at = |dev: &'_ Dev| -> (String, String) {
        let here: Place<'_> = place(dev, "here", &asking(&says, ""), &[]);
        here.fresh()
    };
    assert_eq!(at(alice), led("a", "1 miss"));
    wait_keys(bob, alice);
    runs(&says);
    assert_eq!(at(bob), led("a", "1 miss"));
    assert_eq!(runs(&says), 1, "by his own macro alone");
}

/// Whom it leaves behind nobody waits for, who did not wait for it without us.
#[test]
fn what_it_leaves_behind_is_not_waited_for() {
    let alice = Dev::new("alice");
    let expression = "{ use std::process::{Command, Stdio}; \
        Command::new(\"/bin/sh\").args([\"-c\", \"sleep 60 & exit 3\"]).stdin(Stdio::null())\
        .stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code().unwrap() }";
    let began = Instant::now();
    let here = place(&alice, "here", expression, &[]);
    assert_eq!(here.fresh(), led("3", "1 miss"));
    assert_eq!(here.fresh(), led("3", "1 hit"));
    assert!(began.elapsed() < Duration::from_secs(50));
}

/// A word that is another one in another checkout, though no root stands in it.
#[test]
fn what_lies_beside_a_checkout_is_asked_for_there() {
    let alice = Dev::new("alice");
    let says = program(&alice, "say", "cat \"$1\" 2> /dev/null || true");
    for (nr, word) in [
        "here().parent().unwrap().parent().unwrap().join(\"features.txt\")",
        "format!(\"{}-data\", here().display())",
    ]
    .into_iter()
    .enumerate()
    {
        let expression = asking(&says, &format!(".arg({word})"));
        let at = |name: &str| place(&alice, &format!("{nr}/{name}/w"), &expression, &[]);
        let one = at("one");
        assert_eq!(one.fresh(), led("", "1 miss"), "{word}");
        alice.flush();
        let other = at("other");
        let beside = alice.path(format!("{nr}/other"));
        fs::write(beside.join("features.txt"), "yes").unwrap();
        fs::write(beside.join("w/l-data"), "yes").unwrap();
        let (told, how) = other.fresh();
        assert_ne!(how, "1 hit", "{word}");
        assert_eq!(told, "yes", "{word}");
    }
}

/// What stands in the home afterwards: no reports, no logs.
#[test]
fn no_report_is_left() {
    let alice = Dev::new("alice");
    let says = program(&alice, "say", "echo -n a");
    let here = place(&alice, "here", &asking(&says, ""), &[]);
    assert_eq!(here.fresh(), led("a", "1 miss"));
    alice.flush();
    fn files(dir: &Path) -> usize {
        let all = fs::read_dir(dir).into_iter().flatten().flatten();
        all.map(|e| match e.path().is_dir() {
            true => files(&e.path()),
            false => usize::from(e.path().parent().unwrap().ends_with("logs")),
        })
        .sum()
    }
    assert_eq!(files(&alice.path("home")), 0);
}

/// A prediction is not signed, and a teammate's entry is no reason to run what it names: only what
/// this node signed itself is, word for word.
#[test]
fn nothing_is_run_that_this_node_did_not_sign() {
    let bench = Bench::new(WORDS);
    bench.compiled();
    let (entry, described, _) = bench.peer.taken();
    let child = |word: &str| Child {
        program: word.into(),
        argv: vec![word.into()],
        dir: None,
        hears: [true; 2],
    };
    let ran = |word| Ran {
        child: child(word),
        how: Use::Literal,
        said: bench.peer.says.digest(),
        placeless: true,
    };
    let described = Description {
        ran: vec![ran("one")],
        ..described
    };
    let (action, bytes) = described.action();
    bench.peer.stage_bytes(&bytes).unwrap();
    let mut entry = entry;
    entry.action = action;
    entry.description = ObjectRef {
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
    };
    let truth = described.prediction();
    let other = Prediction {
        ran: vec![ran("two")],
        ..truth.clone()
    };
    let elsewhere = Prediction {
        rest: Some(Digest::of(b"another state of things")),
        ..truth.clone()
    };
    for (own, tier, prediction, asked) in [
        (false, Tier::Local, &truth, 0),
        (true, Tier::Peers, &truth, 0),
        (true, Tier::Local, &other, 0),
        (true, Tier::Local, &elsewhere, 0),
        (true, Tier::Local, &truth, 1),
    ] {
        *bench.peer.own.lock().unwrap() = own;
        *bench.peer.asked.lock().unwrap() = 0;
        bench.peer.offer(tier, &entry, prediction.to_canon());
        assert_eq!(bench.hits(), asked == 1, "{own} {tier:?} {prediction:?}");
        assert_eq!(
            *bench.peer.asked.lock().unwrap(),
            asked,
            "{own} {tier:?} {prediction:?}"
        );
    }
}

/// Who is compiled again to be compared runs nothing either that an unsigned prediction names.
#[test]
fn comparing_runs_nothing_that_this_node_did_not_sign() {
    let bench = Bench::new(WORDS);
    bench.compiled();
    let (entry, described, truth) = bench.peer.taken();
    let scratch = tempfile::tempdir().unwrap();
    let touched = scratch.path().join("touched");
    let word = |text: &Path| text.as_os_str().as_encoded_bytes().to_vec();
    let child = Child {
        program: b"/bin/touch".to_vec(),
        argv: vec![b"touch".to_vec(), word(&touched)],
        dir: None,
        hears: [true; 2],
    };
    let evil = Prediction {
        rest: Some(described.rest()),
        ran: vec![Ran {
            child,
            how: Use::Literal,
            said: bench.peer.says.digest(),
            placeless: true,
        }],
        ..truth.clone()
    };
    for own in [false, true] {
        *bench.peer.own.lock().unwrap() = own;
        for (prediction, found) in [(&evil, false), (&truth, true)] {
            let again = tempfile::tempdir().unwrap();
            let compared = bench.recheck((&entry, &prediction.to_canon()), again.path());
            assert_eq!(compared == Rechecked::Same, found, "{compared:?}");
            assert!(!touched.exists());
        }
    }
}
