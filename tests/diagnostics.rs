//! What cargo shows: warnings on a hit, errors as ever, and pipelining on a miss.

use crate::harness::{Dev, projects};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

fn warns(dir: &std::path::Path) {
    projects::small(dir);
    fs::write(
        dir.join("words/src/lib.rs"),
        "pub const HELLO: &str = \"hello\";\npub fn f() { let forgotten = 1; }\n",
    )
    .unwrap();
}

#[test]
fn a_warning_comes_back_on_a_hit_as_cargo_printed_it_first() {
    let alice = Dev::new("alice");
    let (here, there) = (alice.path("here"), alice.path("over/there"));
    warns(&here);
    warns(&there);
    let warnings = |said: &str| -> Vec<String> {
        let from = said
            .find("warning: unused variable")
            .expect("the warning is shown");
        said[from..]
            .lines()
            .take_while(|l| !l.contains("generated 1 warning"))
            .filter(|l| !l.contains("Compiling"))
            .map(str::to_owned)
            .collect()
    };
    let plain = alice
        .plain(&here, &["build", "--target-dir", "target-plain"])
        .succeeded();
    let first = alice.build(&here, &["build"]).succeeded();
    let hit = alice.build(&there, &["build"]).succeeded();
    assert_eq!(alice.count("hits.local"), 3, "{}", alice.stats());
    assert_eq!(warnings(&plain.err), warnings(&first.err));
    assert_eq!(warnings(&first.err), warnings(&hit.err));
}

#[test]
fn messages_rendered_for_another_terminal_width_are_not_replayed() {
    let mut alice = Dev::new("alice");
    let checkout = alice.path("here");
    warns(&checkout);
    alice.build(&checkout, &["build"]).succeeded();
    fs::remove_dir_all(checkout.join("target")).unwrap();
    alice
        .env
        .push(("CARGO_TERM_PROGRESS_WIDTH".into(), "60".into()));
    alice
        .env
        .push(("CARGO_TERM_PROGRESS_WHEN".into(), "always".into()));
    alice.build(&checkout, &["build"]).succeeded();
    let s = alice.stats();
    assert!(
        s["hits"]["local"].as_u64() >= Some(1),
        "the unit without messages hits: {s}"
    );
}

#[test]
fn a_compile_error_is_shown_as_ever_and_nothing_is_stored() {
    let alice = Dev::new("alice");
    let checkout = alice.path("here");
    projects::small(&checkout);
    fs::write(
        checkout.join("words/src/lib.rs"),
        "pub const HELLO: &str = 1;\n",
    )
    .unwrap();
    let plain = alice.plain(&checkout, &["build", "--target-dir", "target-plain"]);
    let failed = alice.build(&checkout, &["build"]);
    assert_eq!((failed.ok, failed.code), (false, Some(101)));
    let error =
        |s: &str| s[s.find("error[E0308]").unwrap()..s.find("For more").unwrap()].to_owned();
    assert_eq!(error(&plain.err), error(&failed.err));
    assert_eq!(alice.count("misses"), 0, "{}", alice.stats());
    assert_eq!(
        alice.count("bypass_reasons.failed-compile"),
        1,
        "{}",
        alice.stats()
    );
    assert_eq!(alice.json(&["status"])["store"]["entries"], 0);
}

/// A crate whose code generation takes far longer than its metadata, and a dependent.
fn slow_behind_its_metadata(dir: &std::path::Path) {
    projects::write(
        dir,
        &[
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"slow\", \"quick\"]\nresolver = \"2\"\n[profile.dev]\nopt-level = 3\ncodegen-units = 1\n",
            ),
            (
                "slow/Cargo.toml",
                "[package]\nname = \"slow\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
            ),
            ("slow/src/lib.rs", SLOW),
            (
                "quick/Cargo.toml",
                "[package]\nname = \"quick\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nslow = { path = \"../slow\" }\n",
            ),
            ("quick/src/lib.rs", "pub fn quick() -> u32 { slow::ONE }\n"),
        ],
    );
}

const SLOW: &str = r"
pub const ONE: u32 = 1;
macro_rules! many { ($($n:ident)*) => { $(#[inline(never)] pub fn $n(v: &mut Vec<String>) -> usize {
    let mut map = std::collections::BTreeMap::<String, Vec<u64>>::new();
    for (i, s) in v.iter().enumerate() { map.entry(s.clone()).or_default().push(i as u64); }
    v.sort_by(|a, b| b.cmp(a)); v.dedup(); map.values().map(Vec::len).sum() })* } }
many!(a b c d e f g h i j k l m n o p q r s t u v w x y z aa ab ac ad ae af ag ah ai aj ak al am an);
many!(ba bb bc bd be bf bg bh bi bj bk bl bm bn bo bp bq br bs bt bu bv bw bx by bz ca cb cc cd ce);
";

#[test]
fn the_dependent_starts_before_its_dependency_has_ended() {
    let alice = Dev::new("alice");
    let checkout = alice.path("here");
    slow_behind_its_metadata(&checkout);
    alice.start();
    let mut command = alice.cargo(&checkout, &["build", "-j2", "--message-format=json"]);
    let began = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut ended = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("\"reason\":\"compiler-artifact\"") {
            let name = if line.contains("\"name\":\"slow\"") {
                "slow"
            } else {
                "quick"
            };
            ended.push((name, began.elapsed()));
        }
    }
    assert!(child.wait().unwrap().success());
    // With pipelining the dependent, which needs the metadata alone, is done first.
    assert_eq!(ended.first().map(|e| e.0), Some("quick"), "{ended:?}");
    assert_eq!(alice.count("misses"), 2, "{}", alice.stats());
}

#[test]
fn what_fails_after_its_metadata_fails_the_build_as_ever() {
    let alice = Dev::new("alice");
    let checkout = alice.path("here");
    projects::small(&checkout);
    let edit = |instruction: &str| {
        let text = format!(
            "pub const HELLO: &str = \"hello\";\n\
             pub fn f() {{ unsafe {{ core::arch::asm!(\"{instruction}\") }} }}\n"
        );
        fs::write(checkout.join("words/src/lib.rs"), text).unwrap();
    };
    edit("no_such_instruction");
    // Only when code is generated does it fail: by then the metadata is out.
    let direct = "--crate-type=lib --edition=2021 --emit=metadata,link --error-format=json \
        --json=artifacts words/src/lib.rs";
    let mut rustc = alice.command("rustc");
    rustc
        .args(direct.split_whitespace())
        .args(["--out-dir", "direct"])
        .current_dir(&checkout);
    let said = alice.run(&mut rustc).err;
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    let fails = at("invalid instruction");
    assert!(at("\"emit\":\"metadata\"") < fails, "{said}");

    let error = |s: &str| {
        let from = s.find("error: invalid instruction").unwrap();
        let told = s[from..s.find("error: could not").unwrap()].lines();
        // What cargo begins meanwhile is told between the lines, now here, now there.
        let told = told.filter(|line| !line.trim_start().starts_with("Compiling"));
        told.collect::<Vec<_>>().join("\n")
    };
    let plain = alice.plain(&checkout, &["build", "--target-dir", "target-plain"]);
    for _ in 0..2 {
        let failed = alice.build(&checkout, &["build"]);
        assert_eq!((failed.ok, failed.code), (false, Some(101)));
        assert_eq!(error(&plain.err), error(&failed.err));
        assert!(!checkout.join("target/debug/app").exists());
    }
    let reasons = &alice.stats()["bypass_reasons"];
    assert_eq!(reasons["failed-compile"], 2, "{reasons}");
    // Whatever else was compiled meanwhile, of this nothing was kept.
    let of_words = alice
        .recent()
        .into_iter()
        .filter(|c| c["crate_name"] == "words" && c["outcome"] != "bypass");
    assert_eq!(of_words.count(), 0);
    edit("nop");
    alice.build(&checkout, &["build"]).succeeded();
    let ran = alice.run(&mut alice.command(checkout.join("target/debug/app")));
    assert_eq!(ran.out, "hello, desk\n");
}
