//! Macros that find their files by where the package lies (4, 7, 8): shared where it shows, by
//! compiling once more under another name, that the name does not matter.

use super::ground::led;
use super::macros::{emitting, place, place_with};
use crate::harness::{Dev, wait_for};
use std::fs;
use std::path::Path;

#[test]
fn a_macro_that_finds_its_files_by_the_packages_directory_is_shared_where_that_does_not_matter() {
    for expression in [
        "fs::read_to_string(here().join(\"t.txt\")).unwrap()",
        "{ let mut all: Vec<_> = fs::read_dir(here().join(\"d\")).unwrap().map(|e| e.unwrap().path()).collect(); \
         all.sort(); all.iter().map(|p| fs::read_to_string(p).unwrap()).collect::<String>() }",
        "{ let from = env::current_dir().unwrap(); fs::read_to_string(from.join(here()).join(\"t.txt\")).unwrap() }",
    ] {
        let alice = Dev::new("alice");
        let files = [("t.txt", "text"), ("d/1", "te"), ("d/2", "xt")];
        let one = place(&alice, "one", expression, &files);
        assert_eq!(one.fresh(), led("text", "1 miss"));
        alice.flush();
        let other = place(&alice, "the/other", expression, &files);
        assert_eq!(other.fresh(), led("text", "1 hit"), "{expression}");
        other.nothing_left();
        other.write(&[("t.txt", "new"), ("d/1", "n"), ("d/2", "ew")]);
        assert_eq!(other.fresh(), led("new", "1 miss"));
        assert_eq!(one.fresh(), led("text", "1 hit"));
        alice.flush();
        one.write(&[("t.txt", "new"), ("d/1", "n"), ("d/2", "ew")]);
        assert_eq!(one.fresh(), led("new", "1 hit"));
    }
}

/// rustc names such a text by its hash, which goes into the hash of the whole crate and into
/// nothing else.
#[test]
fn a_path_in_the_text_that_a_macro_has_parsed_does_not_matter() {
    let source = "format!(\"{{ const _: &[u8] = include_bytes!({:?}); {:?} }}\", \
                  here().join(\"t.txt\"), fs::read_to_string(here().join(\"t.txt\")).unwrap())";
    let alice = Dev::new("alice");
    let files = [("t.txt", "text")];
    let one = place_with(&alice, "one", &emitting(source), &files);
    assert_eq!(one.fresh(), led("text", "1 miss"));
    alice.flush();
    let other = place_with(&alice, "the/other", &emitting(source), &files);
    assert_eq!(other.fresh(), led("text", "1 hit"));
    other.nothing_left();
}

/// As rust-embed does it. What is replayed are the times at the builder's.
#[test]
fn times_of_files_that_a_macro_embeds_are_replayed() {
    let nanos = "duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()";
    let expression = format!(
        "{{ let m = fs::metadata(here().join(\"t.txt\")).unwrap(); \
         format!(\"{{}} {{}}\", m.modified().unwrap().{nanos}, m.created().unwrap().{nanos}) }}"
    );
    let alice = Dev::new("alice");
    let files = [("t.txt", "text")];
    let one = place(&alice, "one", &expression, &files);
    let (said, how) = one.fresh();
    assert_eq!(how, "1 miss");
    alice.flush();
    let other = place(&alice, "the/other", &expression, &files);
    assert_eq!(other.fresh(), led(&said, "1 hit"));
}

/// As dotenvy looks for `.env`: what lies above the workspace has another name in each checkout.
#[test]
fn what_a_macro_looks_for_above_the_workspace_is_its_own() {
    // Further up other stories are told meanwhile.
    for from in [
        "here().ancestors().take(3)",
        "env::current_dir().unwrap().ancestors().take(2)",
    ] {
        let expression = format!(
            "{{ let found = {from}.find_map(|d| fs::read_to_string(d.join(\"up.txt\")).ok()); \
             found.unwrap_or_else(|| \"nothing\".to_owned()) }}"
        );
        let alice = Dev::new("alice");
        let one = place(&alice, "an/only/one", &expression, &[]);
        assert_eq!(one.fresh(), led("nothing", "1 miss"));
        alice.flush();
        let other = place(&alice, "the/other", &expression, &[]);
        fs::write(alice.path("the/up.txt"), "something").unwrap();
        assert_eq!(other.fresh(), led("something", "1 miss"), "{from}");
    }
}

/// `target/` in the checkout is where things are built, or is not.
#[test]
fn what_a_macro_finds_in_a_directory_called_target_is_its_checkouts_own() {
    let alice = Dev::new("alice");
    for found in [
        "here().parent().unwrap().join(\"target/schema.txt\")",
        "\"target/schema.txt\"",
    ] {
        let expression =
            format!("fs::read_to_string({found}).unwrap_or_else(|_| \"nothing\".to_owned())");
        let way = found.len().to_string();
        let one = place(&alice, &format!("{way}/one"), &expression, &[]);
        assert_eq!(one.fresh().0, "nothing");
        alice.flush();
        let mut other = place(&alice, &format!("{way}/other"), &expression, &[]);
        other.write(&[("/target/schema.txt", "something")]);
        let apart = alice.path(&way).join("apart");
        other.set("CARGO_TARGET_DIR", apart.to_str());
        drop(other.build().succeeded());
        let ran = alice
            .run(&mut alice.command(apart.join("debug/app")))
            .succeeded();
        assert_eq!(ran.out.trim(), "something", "{found}");
    }
}

/// Command lines of compilers that lead into this directory.
fn compilers(dir: &Path) -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let text = dir.to_str().unwrap();
    let leads = |line: &Vec<u8>| {
        let line = String::from_utf8_lossy(line);
        line.contains("rustc") && line.contains(text) && line.contains("a package under")
    };
    lines.filter(leads).count()
}

#[test]
fn what_is_compiled_once_more_ends_with_the_node() {
    let alice = Dev::new("alice");
    let expression = "{ let name = here().display().to_string(); \
        if name.contains(\"a package under\") { std::thread::sleep(std::time::Duration::from_secs(90)) } name }";
    let here = place(&alice, "here", expression, &[]);
    assert_eq!(here.fresh().1, "1 miss");
    let home = alice.path("");
    let begun = || (compilers(&home) == 1).then_some(());
    wait_for("the package to be compiled under another name", begun);
    alice.qnode(&["stop"]).succeeded();
    wait_for("its compiler to end", || {
        (compilers(&home) == 0).then_some(())
    });
}

/// Whoever cleans meanwhile takes the macro away that the second compile was made with; the next
/// hit shows that it is there again.
#[test]
fn what_is_cleaned_while_it_is_compiled_once_more_is_tried_again_at_the_next_hit() {
    let alice = Dev::new("alice");
    let expression = "{ if here().display().to_string().contains(\"a package under\") { \
        std::thread::sleep(std::time::Duration::from_secs(2)) } \
        fs::read_to_string(here().join(\"t.txt\")).unwrap() }";
    let files = [("t.txt", "text")];
    let here = place(&alice, "here", expression, &files);
    assert_eq!(here.fresh(), led("text", "1 miss"));
    here.clean();
    let found = |what: &str| alice.log().matches(&format!("found={what}")).count();
    let disturbed = || (found("Disturbed") == 1).then_some(());
    wait_for("the second compile to miss its macro", disturbed);
    assert_eq!(here.again(), led("text", "1 hit"));
    alice.flush();
    assert_eq!(found("Stored"), 1, "{}", alice.log());
    let other = place(&alice, "the/other", expression, &files);
    assert_eq!(other.fresh(), led("text", "1 hit"));
}
