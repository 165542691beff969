//! Sources that move, swap, shadow, and lie where nobody looks (2 to 6, 8, 17, 25, 30).

use super::ground::{L_MANIFEST, Place, led, members, package};
use crate::harness::{Dev, projects};
use std::fs;
use std::os::unix::fs::symlink;

const TWO: &[(&str, &str)] = &[
    (
        "src/lib.rs",
        "mod a; mod b; pub fn said() -> String { format!(\"{} {}\", a::it(), b::it()) }",
    ),
    ("src/a.rs", "pub fn it() -> &'static str { \"one\" }"),
    ("src/b.rs", "pub fn it() -> &'static str { \"two\" }"),
];

#[test]
fn two_modules_swap_their_bodies_and_miss() {
    let alice = Dev::new("alice");
    let here = Place::new(&alice, "here", TWO);
    assert_eq!(here.fresh(), led("one two", "1 miss"));
    here.write(&[("src/a.rs", TWO[2].1), ("src/b.rs", TWO[1].1)]);
    assert_eq!(here.fresh(), led("two one", "1 miss"));
    here.write(TWO);
    assert_eq!(here.fresh(), led("one two", "1 hit"));
}

#[test]
fn a_module_renamed_to_mod_rs_misses_and_knows_its_file() {
    let alice = Dev::new("alice");
    let here = Place::new(
        &alice,
        "here",
        &[
            (
                "src/lib.rs",
                "mod a; pub fn said() -> &'static str { a::it() }",
            ),
            ("src/a.rs", "pub fn it() -> &'static str { file!() }"),
        ],
    );
    assert_eq!(here.fresh(), led("l/src/a.rs", "1 miss"));
    fs::create_dir(here.l("src/a")).unwrap();
    fs::rename(here.l("src/a.rs"), here.l("src/a/mod.rs")).unwrap();
    assert_eq!(here.fresh(), led("l/src/a/mod.rs", "1 miss"));
}

#[test]
fn a_shadowing_module_is_the_error_that_it_is_without_us() {
    let alice = Dev::new("alice");
    let here = Place::new(&alice, "here", TWO);
    let [first, second] = ["src/a.rs", "src/a/mod.rs"];
    for (there, comes) in [(first, second), (second, first)] {
        here.write(&[(there, TWO[1].1)]);
        assert_eq!(here.fresh(), led("one two", "1 miss"), "{there}");
        here.write(&[(comes, TWO[1].1)]);
        here.clean();
        let how = here.counted(|| {
            let said = here.build();
            let native = !said.ok && said.err.contains("error[E0761]");
            assert!(native, "{comes}: {}", said.err);
        });
        assert_eq!(how, "1 failed-compile", "{comes}");
        fs::remove_file(here.l(comes)).unwrap();
        assert_eq!(here.fresh(), led("one two", "1 hit"), "{there} alone");
        fs::remove_file(here.l(there)).unwrap();
    }
}

#[test]
fn out_dir_as_a_value_is_everyones_own() {
    let alice = Dev::new("alice");
    let files = [
        (
            "src/lib.rs",
            "include!(concat!(env!(\"OUT_DIR\"), \"/x.rs\"));\n\
             pub fn said() -> &'static str { let _ = X; env!(\"OUT_DIR\") }",
        ),
        (
            "build.rs",
            "fn main() { let o = std::env::var(\"OUT_DIR\").unwrap(); \
             std::fs::write(o + \"/x.rs\", \"const X: u8 = 1;\").unwrap(); }",
        ),
    ];
    for name in ["here", "over/there"] {
        let place = Place::new(&alice, name, &files);
        let (said, how) = place.fresh();
        assert_eq!(how, "1 miss", "in {name}");
        let own = place.at.join("target/debug/build");
        assert!(said.starts_with(own.to_str().unwrap()), "{said} in {name}");
        assert_eq!(place.fresh(), led(&said, "1 hit"), "{name} serves itself");
    }
}

#[test]
fn out_dir_that_only_names_included_files_is_shared_until_their_content_differs() {
    let alice = Dev::new("alice");
    let build = |n: u8| {
        format!(
            "fn main() {{ println!(\"cargo:rerun-if-changed=build.rs\"); \
             let o = std::env::var(\"OUT_DIR\").unwrap(); \
             std::fs::write(o + \"/x.rs\", \"const X: u8 = {n};\").unwrap(); }}"
        )
    };
    let lib = "include!(concat!(env!(\"OUT_DIR\"), \"/x.rs\"));\npub fn said() -> u8 { X }";
    let (one, two) = (build(1), build(2));
    let here = Place::new(&alice, "here", &[("src/lib.rs", lib), ("build.rs", &one)]);
    let there = Place::new(
        &alice,
        "over/there",
        &[("src/lib.rs", lib), ("build.rs", &one)],
    );
    assert_eq!(here.fresh(), led("1", "1 miss"));
    assert_eq!(there.fresh(), led("1", "1 hit"));
    // The library's own sources stay as they are.
    there.write(&[("build.rs", &two)]);
    assert_eq!(there.again(), led("2", "1 miss"));
    assert_eq!(here.fresh(), led("1", "1 hit"));
}

#[test]
fn out_dir_that_may_be_used_otherwise_is_tried_and_shared_where_it_is_not() {
    let alice = Dev::new("alice");
    let build = "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); \
                 let o = std::env::var(\"OUT_DIR\").unwrap(); \
                 std::fs::write(o + \"/x.rs\", \"const X: usize = 1;\").unwrap(); }";
    // A macro of another crate may be called like one of the standard library's.
    let any = "#[macro_use] extern crate m; include!(concat!(env!(\"OUT_DIR\"), \"/x.rs\"));";
    let only = format!("{any} pub fn said() -> usize {{ X }}");
    let length = format!(
        "{any} pub fn said() -> bool {{ N > X }} const N: usize = {{ env!(\"OUT_DIR\").len() % 1000 }}; pub static M: usize = N;"
    );
    let l = package("l", "[dependencies]\nm = { path = \"../m\" }");
    for (lib, said, elsewhere) in [(&only, "1", "2 hit"), (&length, "true", "1 hit, 1 miss")] {
        let files = [
            ("/Cargo.toml", members(&["app", "l", "m"])),
            ("/m/Cargo.toml", package("m", "")),
            (
                "/m/src/lib.rs",
                "#[macro_export] macro_rules! some { () => {} }".into(),
            ),
            ("Cargo.toml", l.clone()),
            ("build.rs", build.into()),
            ("src/lib.rs", lib.clone()),
        ];
        let files = files.each_ref().map(|(path, text)| (*path, text.as_str()));
        let at = |name: &str| Place::new(&alice, &format!("{said}/{name}"), &files);
        assert_eq!(at("here").fresh().0, said);
        alice.flush();
        let there = at("quite/another/place");
        assert_eq!(there.fresh(), led(said, elsewhere));
        there.nothing_left();
    }
}

#[test]
fn a_path_that_a_build_script_sets_and_only_an_include_reads_is_shared() {
    let alice = Dev::new("alice").never_incremental();
    let build = "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); \
                 let at = std::env::var(\"OUT_DIR\").unwrap() + \"/x.rs\"; \
                 std::fs::write(&at, \"const X: u8 = 1;\").unwrap(); \
                 println!(\"cargo:rustc-env=MADE={at}\"); }";
    let only = "include!(env!(\"MADE\"));\npub fn said() -> u8 { X }";
    let value = "include!(env!(\"MADE\"));\npub fn said() -> String { format!(\"{X} in {}\", env!(\"MADE\")) }";
    let files = |lib| [("src/lib.rs", lib), ("build.rs", build)];
    let here = Place::new(&alice, "here", &files(only));
    let there = Place::new(&alice, "over/there", &files(only));
    assert_eq!(here.fresh(), led("1", "1 miss"));
    assert_eq!(there.fresh(), led("1", "1 hit"));
    there.nothing_left();
    here.write(&[("src/lib.rs", value)]);
    there.write(&[("src/lib.rs", value)]);
    for place in [&here, &there] {
        let (said, how) = place.again();
        assert!(said.contains(place.at.to_str().unwrap()), "{said}");
        assert_eq!(how, "1 miss", "the value itself is everyone's own");
    }
}

#[test]
fn an_imported_macro_called_include_may_do_as_it_likes_with_the_value() {
    let alice = Dev::new("alice");
    let l = package("l", "[dependencies]\nm = { path = \"../m\" }");
    for name in ["here", "over/there"] {
        let place = Place::new(
            &alice,
            name,
            &[
                ("/Cargo.toml", &members(&["app", "l", "m"]) as &str),
                ("Cargo.toml", &l),
                ("build.rs", "fn main() {}"),
                (
                    "src/lib.rs",
                    "use m::include; include!(concat!(env!(\"OUT_DIR\"), \"/x.rs\"));",
                ),
                ("/m/Cargo.toml", &package("m", "")),
                (
                    "/m/src/lib.rs",
                    "#[macro_export] macro_rules! include { ($e:expr) => { \
                     static N: usize = $e.len(); pub fn said() -> usize { N } } }",
                ),
            ],
        );
        let (said, _) = place.fresh();
        // `…/target/debug/build/l-0123456789abcdef/out/x.rs`
        let own = place
            .at
            .join("target/debug/build/l-0123456789abcdef/out/x.rs");
        assert_eq!(said, own.as_os_str().len().to_string(), "in {name}");
    }
}

#[test]
fn the_word_env_under_another_name_or_handed_to_a_macro_is_the_value_itself() {
    let alice = Dev::new("alice");
    let build = "fn main() { let o = std::env::var(\"OUT_DIR\").unwrap(); \
                 std::fs::write(o + \"/x.rs\", \"const X: u8 = 1;\").unwrap(); }";
    let ways = [
        "macro_rules! my { ($m:ident) => { $m!(concat!(\"OUT_\", \"DIR\")) } } \
         static N: usize = my!(env).len();",
        "use std::env as e; static N: usize = e!(concat!(\"OUT_\", \"DIR\")).len();",
        "#[macro_use] extern crate m; \
         static N: usize = include_str!(concat!(env!(\"OUT_DIR\"), \"\")).len();",
    ];
    let l = package("l", "[dependencies]\nm = { path = \"../m\" }");
    for (at, way) in ways.iter().enumerate() {
        let lib = format!(
            "{way} include!(concat!(env!(\"OUT_DIR\"), \"/x.rs\")); \
             pub fn said() -> usize {{ N + X as usize - 1 }}"
        );
        for name in [format!("here{at}"), format!("over/there{at}")] {
            let place = Place::new(
                &alice,
                &name,
                &[
                    ("/Cargo.toml", &members(&["app", "l", "m"]) as &str),
                    ("Cargo.toml", &l),
                    ("build.rs", build),
                    ("src/lib.rs", &lib),
                    ("/m/Cargo.toml", &package("m", "")),
                    (
                        "/m/src/lib.rs",
                        "#[macro_export] macro_rules! include_str { ($e:expr) => { $e } }",
                    ),
                ],
            );
            let own = place.at.join("target/debug/build/l-0123456789abcdef/out");
            let (said, _) = place.fresh();
            assert_eq!(said, own.as_os_str().len().to_string(), "{way} in {name}");
        }
    }
}

#[test]
fn manifest_dir_through_a_dependencys_macro_is_everyones_own() {
    let alice = Dev::new("alice");
    let l = package("l", "[dependencies]\nm = { path = \"../m\" }");
    let files = [
        ("/Cargo.toml", &members(&["app", "l", "m"]) as &str),
        ("Cargo.toml", &l),
        ("src/lib.rs", "pub fn said() -> &'static str { m::dir!() }"),
        ("/m/Cargo.toml", &package("m", "")),
        (
            "/m/src/lib.rs",
            "#[macro_export] macro_rules! dir { () => { env!(\"CARGO_MANIFEST_DIR\") } }",
        ),
    ];
    let here = Place::new(&alice, "here", &files);
    let there = Place::new(&alice, "over/there", &files);
    for (place, how) in [(&here, "2 miss"), (&there, "1 hit, 1 miss")] {
        let own = place.at.join("l");
        assert_eq!(place.fresh(), led(own.to_str().unwrap(), how));
    }
}

#[test]
fn a_variable_that_is_unset_is_not_the_empty_one() {
    let alice = Dev::new("alice");
    let lib = "pub fn said() -> String { format!(\"{:?}\", option_env!(\"COLOUR\")) }";
    let mut here = Place::lib(&alice, "here", lib);
    let stories = [
        (None, "None"),
        (Some(""), "Some(\"\")"),
        (Some("red"), "Some(\"red\")"),
        (Some("blue"), "Some(\"blue\")"),
    ];
    for (value, said) in stories {
        here.set("COLOUR", value);
        assert_eq!(here.fresh(), led(said, "1 miss"));
    }
    for (value, said) in stories {
        here.set("COLOUR", value);
        assert_eq!(here.fresh(), led(said, "1 hit"));
    }
}

#[test]
fn a_variable_that_must_be_set_and_is_not_is_the_native_error() {
    let alice = Dev::new("alice");
    let lib = "pub fn said() -> String { format!(\"<{}>\", env!(\"COLOUR\")) }";
    let mut here = Place::lib(&alice, "here", lib);
    for (value, said) in [("red", "<red>"), ("", "<>"), ("blue", "<blue>")] {
        here.set("COLOUR", Some(value));
        assert_eq!(here.fresh(), led(said, "1 miss"));
    }
    here.set("COLOUR", None);
    here.clean();
    let how = here.counted(|| {
        let said = here.build();
        let native = !said.ok && said.err.contains("`COLOUR` not defined");
        assert!(native, "{}", said.err);
    });
    assert_eq!(how, "1 failed-compile");
    here.set("COLOUR", Some("red"));
    assert_eq!(here.fresh(), led("<red>", "1 hit"));
}

#[test]
fn what_a_build_script_sets_is_read_as_it_is_now() {
    let alice = Dev::new("alice");
    let files = [
        (
            "src/lib.rs",
            "pub fn said() -> &'static str { if cfg!(loud) { env!(\"WORD\") } else { \"quiet\" } }",
        ),
        (
            "build.rs",
            "fn main() { println!(\"cargo:rustc-check-cfg=cfg(loud)\"); \
             println!(\"cargo:rerun-if-changed=word.txt\"); \
             let w = std::fs::read_to_string(\"word.txt\").unwrap(); \
             if !w.is_empty() { println!(\"cargo:rustc-cfg=loud\"); } \
             println!(\"cargo:rustc-env=WORD={w}\"); }",
        ),
        ("word.txt", "one"),
    ];
    let here = Place::new(&alice, "here", &files);
    assert_eq!(here.fresh(), led("one", "1 miss"));
    here.write(&[("word.txt", "two")]);
    assert_eq!(here.again(), led("two", "1 miss"));
    here.write(&[("word.txt", "")]);
    assert_eq!(here.again(), led("quiet", "1 miss"));
    here.write(&[("word.txt", "one")]);
    assert_eq!(here.fresh(), led("one", "1 hit"));
}

#[test]
fn a_file_that_a_macro_includes_misses_when_it_changes() {
    let alice = Dev::new("alice");
    let l = package("l", "[dependencies]\nm = { path = \"../m\" }");
    let here = Place::new(
        &alice,
        "here",
        &[
            ("/Cargo.toml", &members(&["app", "l", "m"]) as &str),
            ("Cargo.toml", &l),
            (
                "src/lib.rs",
                "pub fn said() -> &'static str { m::text!(\"data/word.txt\") }",
            ),
            ("data/word.txt", "one"),
            ("/m/Cargo.toml", &package("m", "")),
            (
                "/m/src/lib.rs",
                "#[macro_export] macro_rules! text { ($f:literal) => { \
                 include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/\", $f)) } }",
            ),
        ],
    );
    assert_eq!(here.fresh(), led("one", "2 miss"));
    here.write(&[("data/word.txt", "two")]);
    assert_eq!(here.fresh(), led("two", "1 hit, 1 miss"));
}

#[test]
fn modules_by_path_by_link_and_by_include_are_read_where_they_lead() {
    let alice = Dev::new("alice");
    let files = [
        (
            "src/lib.rs",
            "#[path = \"../../odd/a.rs\"] mod a; mod linked; mod b { include!(\"../inc/b.in\"); }\n\
             pub fn said() -> String { format!(\"{} {} {} {}\", a::it(), linked::it(), b::it(), \
             include_bytes!(\"../../odd/c.bin\").len()) }",
        ),
        ("/odd/a.rs", "pub fn it() -> &'static str { \"one\" }"),
        (
            "/far/linked/mod.rs",
            "pub mod x; pub fn it() -> &'static str { x::IT }",
        ),
        ("/far/linked/x.rs", "pub const IT: &str = \"two\";"),
        ("inc/b.in", "pub fn it() -> &'static str { \"three\" }"),
        ("/odd/c.bin", "four"),
    ];
    let (here, there) = (
        Place::new(&alice, "here", &files),
        Place::new(&alice, "over/there", &files),
    );
    for place in [&here, &there] {
        symlink("../../far/linked", place.l("src/linked")).unwrap();
    }
    assert_eq!(here.fresh(), led("one two three 4", "1 miss"));
    assert_eq!(there.fresh(), led("one two three 4", "1 hit"));
    for (file, text, said) in [
        ("/odd/a.rs", "pub fn it() -> u8 { 1 }", "1 two three 4"),
        (
            "/far/linked/x.rs",
            "pub const IT: &str = \"2\";",
            "1 2 three 4",
        ),
        ("inc/b.in", "pub fn it() -> u8 { 3 }", "1 2 3 4"),
        ("/odd/c.bin", "fifth", "1 2 3 5"),
    ] {
        there.write(&[(file, text)]);
        assert_eq!(there.fresh(), led(said, "1 miss"), "{file}");
    }
    // The link now leads elsewhere.
    there.write(&[("/near/mod.rs", "pub fn it() -> &'static str { \"near\" }")]);
    fs::remove_file(there.l("src/linked")).unwrap();
    symlink("../../near", there.l("src/linked")).unwrap();
    assert_eq!(there.fresh(), led("1 near 3 5", "1 miss"));
    assert_eq!(here.fresh(), led("one two three 4", "1 hit"));
}

#[test]
fn a_path_dependency_outside_the_workspace_misses_and_names_its_own_file() {
    let alice = Dev::new("alice");
    let l = package("l", "[dependencies]\nout = { path = \"../../out\" }");
    for name in ["here", "over/there"] {
        let place = Place::new(
            &alice,
            &format!("{name}/ws"),
            &[
                ("Cargo.toml", &l),
                (
                    "src/lib.rs",
                    "pub fn said() -> &'static str { out::file() }",
                ),
            ],
        );
        let out = alice.path(name).join("out");
        projects::write(
            &out,
            &[
                ("Cargo.toml", &package("out", "")),
                ("src/lib.rs", "pub fn file() -> &'static str { file!() }"),
            ],
        );
        let own = out.join("src/lib.rs");
        assert_eq!(place.fresh(), led(own.to_str().unwrap(), "2 miss"));
        assert_eq!(place.fresh(), led(own.to_str().unwrap(), "2 hit"));
    }
}

#[test]
fn a_file_outside_the_workspace_is_not_taken_from_another_checkout() {
    let alice = Dev::new("alice");
    let lib = "pub fn said() -> &'static str { include_str!(\"../../../word.txt\") }";
    for (name, word) in [("here", "one"), ("over/there", "two")] {
        let place = Place::new(&alice, &format!("{name}/ws"), &[("src/lib.rs", lib)]);
        projects::write(&alice.path(name), &[("word.txt", word)]);
        assert_eq!(place.fresh().0, word);
        assert_eq!(place.fresh().0, word);
    }
}

#[test]
fn dep_info_with_blanks_backslashes_and_climbing_leaves_nothing_dirty() {
    let alice = Dev::new("alice").never_incremental();
    let files = [
        (
            "src/lib.rs",
            "#[path = \"odd name/we\\\\ird.rs\"] mod w; \
             pub fn said() -> String { format!(\"{}{}\", w::it(), include_str!(\"../two  blanks.txt\")) }",
        ),
        (
            "src/odd name/we\\ird.rs",
            "pub fn it() -> &'static str { env!(\"LINES\") }",
        ),
        ("two  blanks.txt", "!"),
        ("Cargo.toml", L_MANIFEST),
    ];
    let (mut here, mut there) = (
        Place::new(&alice, "he re", &files),
        Place::new(&alice, "over/th\\ere", &files),
    );
    for place in [&mut here, &mut there] {
        place.set("LINES", Some("a\\b # c"));
    }
    assert_eq!(here.fresh(), led("a\\b # c!", "1 miss"));
    here.nothing_left();
    assert_eq!(there.fresh(), led("a\\b # c!", "1 hit"));
    there.nothing_left();
    // And cargo still sees what it must: an edit of a file with an odd name, a variable.
    there.write(&[("two  blanks.txt", "?")]);
    assert_eq!(there.again(), led("a\\b # c?", "1 miss"));
    there.set("LINES", Some("d"));
    assert_eq!(there.again(), led("d?", "1 miss"));
}

#[test]
fn dep_info_that_names_what_lies_under_no_root_leaves_nothing_dirty() {
    let alice = Dev::new("alice").never_incremental();
    let outside = alice.path("any where/word.txt");
    projects::write(&alice.path("any where"), &[("word.txt", "one")]);
    let out = alice.path("out");
    projects::write(
        &out,
        &[
            ("Cargo.toml", &package("out", "")),
            ("src/lib.rs", "pub fn out() -> u8 { 1 }"),
        ],
    );
    let l = package("l", &format!("[dependencies]\nout = {{ path = {out:?} }}"));
    let lib = format!(
        "pub fn said() -> String {{ format!(\"{{}} {{}}\", include_str!({outside:?}), out::out()) }}"
    );
    let files = [("Cargo.toml", l.as_str()), ("src/lib.rs", &lib)];
    let here = Place::new(&alice, "here", &files);
    let there = Place::new(&alice, "over/there", &files);
    assert_eq!(here.fresh(), led("one 1", "2 miss"));
    here.nothing_left();
    assert_eq!(here.fresh(), led("one 1", "2 hit"));
    here.nothing_left();
    // To both it is the same file, whichever checkout asks.
    assert!(there.fresh().1.contains("hit"));
    there.nothing_left();
    projects::write(&alice.path("any where"), &[("word.txt", "two")]);
    for place in [&here, &there] {
        assert_eq!(place.again().0, "two 1", "cargo sees the edit");
        place.nothing_left();
    }
}
