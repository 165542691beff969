//! What procedural macros ask of the system while they run (7, 8, 9, 16, 27): it is in the key, or
//! the compile is not kept.

use super::ground::{Place, led, macro_package, members, package};
use crate::harness::{Dev, projects, team, wait_keys};
use std::fs;

/// A macro `mac::tell!()` that emits what an expression gives, as a string literal.
fn telling(expression: &str) -> String {
    emitting(&format!(
        "{{ let told = {{ {expression} }}; format!(\"{{:?}}\", told.to_string()) }}"
    ))
}

/// A macro `mac::tell!()` that emits the source text that an expression gives.
pub fn emitting(expression: &str) -> String {
    format!(
        "use std::{{env, fs, path::{{Path, PathBuf}}}};\n\
         #[allow(unused)] fn here() -> PathBuf {{ env::var_os(\"CARGO_MANIFEST_DIR\").unwrap().into() }}\n\
         #[proc_macro] pub fn tell(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n\
         {expression}.parse().unwrap() }}\n\
         #[allow(unused)] fn unused(_: &Path) {{ let _ = fs::metadata(\"\"); }}\n"
    )
}

/// A checkout whose library says what an expression in a macro gives.
pub fn place<'d>(dev: &'d Dev, name: &str, expression: &str, files: &[(&str, &str)]) -> Place<'d> {
    place_with(dev, name, &telling(expression), files)
}

/// A checkout whose library says what this macro emits.
pub fn place_with<'d>(dev: &'d Dev, name: &str, text: &str, files: &[(&str, &str)]) -> Place<'d> {
    let mac = macro_package("mac", "");
    let l = package("l", "[dependencies]\nmac = { path = \"../mac\" }");
    let all = members(&["app", "l", "mac"]);
    let mut every = vec![
        ("/Cargo.toml", all.as_str()),
        ("/mac/Cargo.toml", &mac),
        ("/mac/src/lib.rs", text),
        ("Cargo.toml", &l),
        (
            "src/lib.rs",
            "pub fn said() -> &'static str { mac::tell!() }",
        ),
    ];
    every.extend(files);
    Place::new(dev, name, &every)
}

#[test]
fn a_variable_that_a_macro_reads_misses_when_it_changes() {
    let alice = Dev::new("alice");
    let mut here = place(
        &alice,
        "here",
        "env::var(\"WORD\").map_or(\"unset\".into(), |w| format!(\"<{w}>\"))",
        &[],
    );
    assert_eq!(here.fresh(), led("unset", "1 miss"));
    here.set("WORD", Some(""));
    assert_eq!(here.fresh(), led("<>", "1 miss"));
    here.set("WORD", Some("one"));
    assert_eq!(here.fresh(), led("<one>", "1 miss"));
    here.set("OTHER", Some("nobody asks"));
    assert_eq!(here.fresh(), led("<one>", "1 hit"));
    here.set("WORD", None);
    assert_eq!(here.fresh(), led("unset", "1 hit"));
}

#[test]
fn a_file_that_a_macro_reads_misses_when_it_changes() {
    let alice = Dev::new("alice");
    let here = place(
        &alice,
        "here",
        "fs::read_to_string(here().join(\"word.txt\")).unwrap()",
        &[("word.txt", "one"), ("other.txt", "1")],
    );
    assert_eq!(here.fresh(), led("one", "1 miss"));
    here.write(&[("word.txt", "two")]);
    assert_eq!(here.fresh(), led("two", "1 miss"));
    here.write(&[("other.txt", "2"), ("word.txt", "one")]);
    assert_eq!(here.fresh(), led("one", "1 hit"));
}

/// What a macro emits and the compiler reads then: dep-info says so, no observer needs to.
#[test]
fn what_a_macro_has_the_compiler_read_misses_when_it_changes() {
    let alice = Dev::new("alice");
    let emits = "#[proc_macro] pub fn tell(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n\
         \"concat!(env!(\\\"WORD\\\"), include_str!(\\\"word.txt\\\"))\".parse().unwrap() }";
    let files = [("/mac/src/lib.rs", emits), ("src/word.txt", "-a")];
    let mut here = place(&alice, "here", "", &files);
    here.set("WORD", Some("one"));
    assert_eq!(here.fresh(), led("one-a", "1 miss"));
    here.set("WORD", Some("two"));
    assert_eq!(here.fresh(), led("two-a", "1 miss"));
    here.write(&[("src/word.txt", "-b")]);
    assert_eq!(here.fresh(), led("two-b", "1 miss"));
    here.set("WORD", Some("one"));
    here.write(&[("src/word.txt", "-a")]);
    assert_eq!(here.fresh(), led("one-a", "1 hit"));
}

#[test]
fn a_file_that_a_thread_of_a_macro_reads_counts_as_well() {
    let alice = Dev::new("alice");
    let here = place(
        &alice,
        "here",
        "std::thread::spawn(|| fs::read_to_string(\"l/word.txt\").unwrap()).join().unwrap()",
        &[("word.txt", "one")],
    );
    assert_eq!(here.fresh(), led("one", "1 miss"));
    here.write(&[("word.txt", "two")]);
    assert_eq!(here.fresh(), led("two", "1 miss"));
    here.write(&[("word.txt", "one")]);
    assert_eq!(here.fresh(), led("one", "1 hit"));
}

#[test]
fn a_file_that_comes_into_a_directory_that_a_macro_lists_misses() {
    let alice = Dev::new("alice");
    let here = place(
        &alice,
        "here",
        "let mut all: Vec<String> = fs::read_dir(\"l/words\").unwrap()\
         .map(|e| e.unwrap().file_name().into_string().unwrap()).collect(); all.sort(); all.join(\"+\")",
        &[("words/a", "1")],
    );
    assert_eq!(here.fresh(), led("a", "1 miss"));
    here.write(&[("words/b", "")]);
    assert_eq!(here.fresh(), led("a+b", "1 miss"));
    here.write(&[("words/a", "contents are not listed")]);
    assert_eq!(here.fresh(), led("a+b", "1 hit"));
    fs::remove_file(here.l("words/b")).unwrap();
    assert_eq!(here.fresh(), led("a", "1 hit"));
}

#[test]
fn a_file_that_a_macro_looked_for_misses_once_it_is_there() {
    let alice = Dev::new("alice");
    let here = place(&alice, "here", "Path::new(\"l/words/now\").exists()", &[]);
    assert_eq!(here.fresh(), led("false", "1 miss"));
    assert_eq!(here.fresh(), led("false", "1 hit"));
    here.write(&[("words/now", "")]);
    assert_eq!(here.fresh(), led("true", "1 miss"));
    fs::remove_dir_all(here.l("words")).unwrap();
    assert_eq!(here.fresh(), led("false", "1 hit"));
}

#[test]
fn a_directory_that_becomes_a_file_is_another_sight() {
    let alice = Dev::new("alice");
    let here = place(
        &alice,
        "here",
        "Path::new(\"l/thing\").is_dir()",
        &[("thing/a", "")],
    );
    assert_eq!(here.fresh(), led("true", "1 miss"));
    here.write(&[("thing/b", "")]);
    assert_eq!(here.fresh(), led("true", "1 hit"));
    fs::remove_dir_all(here.l("thing")).unwrap();
    here.write(&[("thing", "")]);
    assert_eq!(here.fresh(), led("false", "1 miss"));
}

#[test]
fn the_size_of_a_file_is_a_part_of_it() {
    let alice = Dev::new("alice");
    let here = place(
        &alice,
        "here",
        "fs::metadata(\"l/word.txt\").unwrap().len()",
        &[("word.txt", "four")],
    );
    assert_eq!(here.fresh(), led("4", "1 miss"));
    here.write(&[("word.txt", "sevenal")]);
    assert_eq!(here.fresh(), led("7", "1 miss"));
}

#[test]
fn what_a_build_script_declares_and_only_a_macro_reads_misses_when_it_changes() {
    let alice = Dev::new("alice");
    let here = place(
        &alice,
        "here",
        "fs::read_to_string(here().join(\"word.txt\")).unwrap()",
        &[
            (
                "build.rs",
                "fn main() { println!(\"cargo:rerun-if-changed=word.txt\"); }",
            ),
            ("word.txt", "one"),
        ],
    );
    assert_eq!(here.fresh(), led("one", "1 miss"));
    here.write(&[("word.txt", "two")]);
    assert_eq!(here.again(), led("two", "1 miss"), "without a clean build");
    here.write(&[("word.txt", "one")]);
    assert_eq!(here.fresh(), led("one", "1 hit"));
}

#[test]
fn a_teammate_has_what_macros_read_by_relative_paths_and_only_while_it_is_the_same() {
    let devs = team(&["alice", "bobby"]);
    let expression =
        "env::var(\"CARGO_PKG_NAME\").unwrap() + &fs::read_to_string(\"l/word.txt\").unwrap()";
    let files = &[("word.txt", "one")];
    let here = place(&devs[0], "here", expression, files);
    assert_eq!(here.fresh(), led("lone", "1 miss"));
    wait_keys(&devs[1], &devs[0]);
    let there = place(&devs[1], "over-there", expression, files);
    assert_eq!(there.fresh(), led("lone", "1 peer"));
    there.write(&[("word.txt", "two")]);
    assert_eq!(there.fresh(), led("ltwo", "1 miss"));
}

/// A sum over a path's bytes: no search for the path finds it.
const SUM: &str = "bytes().fold(7u32, |s, b| s.wrapping_mul(31).wrapping_add(b.into()))";

#[test]
fn a_path_or_its_hash_that_a_macro_emits_is_everyones_own() {
    for (what, way) in [
        ("env::var(\"CARGO_MANIFEST_DIR\").unwrap()", "variable"),
        ("env::current_dir().unwrap().to_str().unwrap()", "directory"),
        (
            "fs::canonicalize(\"l\").unwrap().to_str().unwrap()",
            "resolved",
        ),
    ] {
        for expression in [format!("{what}.{SUM}"), format!("{what}.to_string()")] {
            let alice = Dev::new("alice");
            let one = place(&alice, "one", &expression, &[]);
            let (said, how) = one.fresh();
            assert_eq!(how, "1 miss", "{way}");
            assert_eq!(one.fresh(), led(&said, "1 hit"), "{way}");
            alice.flush();
            let other = place(&alice, "the-other", &expression, &[]);
            let (told, how) = other.fresh();
            assert_eq!(how, "1 miss", "{way}");
            assert_ne!(said, told, "{way}");
        }
    }
}

#[test]
fn a_hash_of_a_path_is_everyones_own_under_lto_too() {
    let alice = Dev::new("alice");
    for (lto, what) in [
        ("\"fat\"", "env::var(\"CARGO_MANIFEST_DIR\").unwrap()"),
        ("\"thin\"", "env::current_dir().unwrap().to_str().unwrap()"),
    ] {
        let all = members(&["app", "l", "mac"]) + "[profile.release]\nlto = " + lto + "\n";
        let files = [("/Cargo.toml", all.as_str())];
        let mut told = Vec::new();
        for name in ["one", "the-other"] {
            let name = format!("{name}-{}", lto.trim_matches('"'));
            let mut own = place(&alice, &name, &format!("{what}.{SUM}"), &files);
            own.args = vec!["--release".into()];
            let (said, how) = own.fresh();
            assert_eq!(how, "1 miss", "{what}");
            assert_eq!(own.fresh(), led(&said, "1 hit"), "{what}");
            told.push(said);
            alice.flush();
        }
        assert_ne!(told[0], told[1], "{what}");
    }
}

#[test]
fn what_cannot_be_observed_or_repeated_is_not_kept() {
    let alice = Dev::new("alice");
    std::os::unix::fs::symlink("nowhere", alice.path("a-link")).unwrap();
    let link = format!(
        "fs::read_link({:?}).unwrap().display().to_string()",
        alice.path("a-link")
    );
    for (expression, reason) in [
        (
            "{ let mut c = std::process::Command::new(\"cat\").stdin(std::process::Stdio::piped()).spawn().unwrap(); c.wait().unwrap().success() }",
            "macro-spawns",
        ),
        ("env::vars().count() > 0", "macro-environ"),
        (
            "std::net::TcpListener::bind(\"127.0.0.1:0\").is_ok()",
            "macro-sockets",
        ),
        ("fs::write(\"l/written\", \"1\").is_ok()", "macro-writes"),
        (
            "fs::read_to_string(\"/proc/self/stat\").is_ok()",
            "macro-special-file",
        ),
        (&link, "macro-link"),
        (
            "unsafe extern \"C\" { fn syscall(n: i64, ...) -> i64; } unsafe { syscall(2, c\"/etc/hosts\".as_ptr(), 0) > 0 }",
            "macro-raw-calls",
        ),
        (
            "unsafe extern \"C\" { fn gethostname(to: *mut u8, n: usize) -> i32; } let mut b = [0; 99]; unsafe { gethostname(b.as_mut_ptr(), 99) }",
            "macro-machine",
        ),
    ] {
        let here = place(&alice, reason, expression, &[]);
        for _ in 0..2 {
            let (_, how) = here.fresh();
            assert_eq!(how, format!("1 {reason}"), "{expression}");
        }
    }
}

/// Whatever could start a program imports the environment, to hand it on. As git-version's macro,
/// behind a crate that only passes it on.
#[test]
fn a_macro_that_could_start_programs_and_does_not_is_kept() {
    let alice = Dev::new("alice");
    let expression = "if fs::metadata(\"l/go\").is_ok() { \
        String::from_utf8(std::process::Command::new(\"echo\").env(\"A\", \"B\").arg(\"-n\").arg(\"ran\").output().unwrap().stdout).unwrap() \
        } else { \"rests\".to_owned() }";
    let here = place(&alice, "here", expression, &[]);
    assert_eq!(here.fresh(), led("rests", "1 miss"));
    assert_eq!(here.fresh(), led("rests", "1 hit"));
    here.write(&[("go", "")]);
    assert_eq!(here.fresh(), led("ran", "1 macro-spawns"));
}

/// Opens a file by a system call of its own.
const RAW_CALL: &str = "{ let mut r = 2_i64; unsafe { std::arch::asm!(\"syscall\", inout(\"rax\") r, \
    in(\"rdi\") c\"l/secret\".as_ptr(), in(\"rsi\") 0, in(\"rdx\") 0, out(\"rcx\") _, out(\"r11\") _) }; r > 0 }";

#[test]
#[cfg(target_arch = "x86_64")]
fn system_calls_in_a_macros_own_code_are_known_by_the_instruction() {
    let alice = Dev::new("alice");
    for strip in ["false", "true"] {
        let all = members(&["app", "l", "mac"]) + "[profile.dev]\nstrip = " + strip + "\n";
        let here = place(&alice, strip, RAW_CALL, &[("/Cargo.toml", &all)]);
        assert_eq!(here.fresh(), led("false", "1 macro-raw-calls"));
        here.write(&[("secret", "")]);
        assert_eq!(here.fresh(), led("true", "1 macro-raw-calls"));
    }
}

/// A profile that strips does so with macros, too.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_macro_without_its_symbols_is_looked_into_by_its_code() {
    let alice = Dev::new("alice");
    let all = members(&["app", "l", "mac"]) + "[profile.dev]\nstrip = true\n";
    let stripped = |name, expression| place(&alice, name, expression, &[("/Cargo.toml", &all)]);
    let starting = "String::from_utf8(std::process::Command::new(\"cat\").arg(\"l/told\")\
        .output().unwrap().stdout).unwrap()";
    let here = stripped("here", starting);
    here.write(&[("told", "one")]);
    assert_eq!(here.fresh(), led("one", "1 miss"));
    assert_eq!(here.fresh(), led("one", "1 hit"));
    here.write(&[("told", "two")]);
    assert_eq!(here.fresh(), led("two", "1 miss"));
    let all_of_it = "env::vars().filter(|(name, _)| name == \"OF_A_MACRO\").count()";
    let mut there = stripped("there", all_of_it);
    assert_eq!(there.fresh(), led("0", "1 macro-environ"));
    there.env.push(("OF_A_MACRO".into(), "1".into()));
    assert_eq!(there.fresh(), led("1", "1 macro-environ"));
}

/// A checkout whose library only hands on what a downloaded one asks.
pub fn downloading<'d>(dev: &'d Dev, name: &str, expression: &str) -> Place<'d> {
    let home = dev.path(format!("{name}/cargo"));
    let packages = home.join("registry/src/index-1");
    let one = |manifest: String| manifest.replace("0.1.0", "1.0.0");
    let sum = "{\"files\":{},\"package\":null}";
    projects::write(
        &packages,
        &[
            ("mac/.cargo-checksum.json", sum),
            ("mac/Cargo.toml", &one(macro_package("mac", ""))),
            ("mac/src/lib.rs", &telling(expression)),
            ("w/.cargo-checksum.json", sum),
            (
                "w/Cargo.toml",
                &one(package("w", "[dependencies]\nmac = \"1\"")),
            ),
            (
                "w/src/lib.rs",
                "pub fn told() -> &'static str { mac::tell!() }",
            ),
        ],
    );
    let config = format!(
        "[source.crates-io]\nreplace-with = \"p\"\n[source.p]\ndirectory = {:?}\n",
        packages.to_str().unwrap()
    );
    let l = package("l", "[dependencies]\nw = \"1\"");
    let files = [
        ("/.cargo/config.toml", config.as_str()),
        ("Cargo.toml", &l),
        ("src/lib.rs", "pub fn said() -> &'static str { w::told() }"),
    ];
    let mut there = Place::new(dev, &format!("{name}/checkout"), &files);
    there.set("CARGO_HOME", home.to_str());
    there
}

/// A macro that looks at its package's directory as cargo names it, without a slash at the end.
#[test]
fn what_was_downloaded_and_names_its_directory_is_compiled_once() {
    let alice = Dev::new("alice");
    let names = "env::var(\"CARGO_MANIFEST_DIR\").unwrap().ends_with('/')";
    let here = downloading(&alice, "here", names);
    assert_eq!(here.fresh(), led("false", "2 miss"));
    alice.flush();
    let there = downloading(&alice, "quite/another/place", names);
    assert_eq!(there.fresh(), led("false", "2 hit"));
    there.nothing_left();
}

/// What is compiled a second time lies in the other directory with its root file: whoever asks where
/// a call stands finds it there. (In which order rustc writes some things hangs on that, too.)
#[test]
fn what_was_downloaded_and_asks_where_it_stands_is_compiled_once() {
    let alice = Dev::new("alice");
    let stands = "proc_macro::Span::call_site().local_file().unwrap().starts_with(here())";
    let here = downloading(&alice, "here", stands);
    assert_eq!(here.fresh(), led("true", "2 miss"));
    alice.flush();
    let there = downloading(&alice, "quite/another/place", stands);
    assert_eq!(there.fresh(), led("true", "2 hit"));
}

#[test]
fn a_macro_that_the_user_vouches_for_is_not_looked_at() {
    let expression = "env::var(\"WORD\").map_or(0, |_| env::vars().count().min(1))";
    let mut alice = Dev::new("alice");
    alice.env.push(("QUARRY_PURE_MACROS".into(), "mac".into()));
    let mut here = place(&alice, "here", expression, &[]);
    assert_eq!(here.fresh(), led("0", "1 miss"));
    here.set("WORD", Some("told to nobody"));
    assert_eq!(here.fresh(), led("0", "1 hit"), "as was asked for");

    let bob = Dev::new("bobby");
    let there = place(&bob, "there", expression, &[]);
    assert_eq!(there.fresh(), led("0", "1 macro-environ"), "not vouched");
}

#[test]
fn out_dir_that_only_names_files_stays_shared_beside_a_macro() {
    let files: &[(&str, &str)] = &[
        (
            "build.rs",
            "fn main() { let o = std::env::var(\"OUT_DIR\").unwrap(); \
             std::fs::write(o + \"/made.rs\", \"pub const MADE: u32 = 4;\").unwrap(); \
             println!(\"cargo:rerun-if-changed=build.rs\"); }",
        ),
        (
            "src/lib.rs",
            "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n\
             pub fn said() -> String { format!(\"{}{}\", mac::tell!(), MADE) }",
        ),
    ];
    let alice = Dev::new("alice");
    let one = place(&alice, "one", "env!(\"CARGO_PKG_NAME\")", files);
    assert_eq!(one.fresh(), led("mac4", "1 miss"));
    let other = place(&alice, "the-other", "env!(\"CARGO_PKG_NAME\")", files);
    assert_eq!(other.fresh(), led("mac4", "1 hit"));

    // The macro itself asks for the directory: then the value may be anywhere in the output.
    let asks = format!("env::var(\"OUT_DIR\").unwrap().{SUM}");
    let one = place(&alice, "three", &asks, files);
    // What the script wrote in the very tick in which the compile began keeps that from the cache.
    let kept = (0..5).any(|_| one.fresh().1 == "1 hit");
    assert!(kept, "it is this checkout's own");
    let other = place(&alice, "the-fourth", &asks, files);
    assert_ne!(other.fresh().1, "1 hit");
}

#[test]
fn neither_the_linker_nor_a_macro_sees_the_observer() {
    let alice = Dev::new("alice");
    let here = place(
        &alice,
        "here",
        "format!(\"{:?}{:?}\", env::var_os(\"LD_PRELOAD\"), env::var_os(\"QUARRY_OBSERVE\"))",
        &[],
    );
    assert_eq!(here.fresh(), led("NoneNone", "1 miss"));
}
