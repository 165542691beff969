//! C behind Rust (18, 20, 21, 43), and files that only the assembler reads.

use super::ground::{Place, led, macro_package, members, package};
use crate::harness::Dev;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Compiles C into an archive, as a build script would.
pub fn archive(dir: &Path, name: &str, c: &str, flags: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(format!("{name}.c")), c).unwrap();
    let script = format!(
        "cc -c -fPIC {name}.c -o {name}.o && rm -f lib{name}.a && ar {flags} lib{name}.a {name}.o"
    );
    let done = Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A build script that compiles `c/word.c` into OUT_DIR and links it statically.
pub const BUILD: &str = r#"
use std::process::Command;
fn main() {
    println!("cargo:rerun-if-changed=c/word.c");
    let out = std::env::var("OUT_DIR").unwrap();
    for line in ["cc -c -fPIC c/word.c -o $O/word.o", "rm -f $O/libword.a", "ar crs $O/libword.a $O/word.o"] {
        assert!(Command::new("sh").args(["-c", line]).env("O", &out).status().unwrap().success());
    }
    println!("cargo:rustc-link-search=native={out}");
    println!("cargo:rustc-link-lib=static=word");
}
"#;
const EXTERN: &str =
    "unsafe extern \"C\" { fn word() -> u32; } pub fn said() -> u32 { unsafe { word() } }";

/// A library that names its archive itself.
fn by_attribute() -> String {
    "#[link(name = \"word\", kind = \"static\")] ".to_owned() + EXTERN
}

/// A build script that has archives looked for in these directories.
fn searching(dirs: &[&Path]) -> String {
    format!(
        "fn main() {{ for d in {dirs:?} {{ println!(\"cargo:rustc-link-search=native={{d}}\"); }} }}"
    )
}

fn named_by_an_attribute<'d>(dev: &'d Dev, dirs: &[&Path]) -> Place<'d> {
    let script = searching(dirs);
    let files = [("build.rs", &*script), ("src/lib.rs", &by_attribute())];
    Place::new(dev, "here", &files)
}

pub fn c(n: u32) -> String {
    format!("unsigned word(void) {{ return {n}; }}\n")
}

#[test]
fn a_static_archive_rebuilt_in_place_misses() {
    let alice = Dev::new("alice");
    let here = Place::new(
        &alice,
        "here",
        &[
            ("build.rs", BUILD),
            ("c/word.c", &c(1)),
            ("src/lib.rs", EXTERN),
        ],
    );
    assert_eq!(here.fresh(), led("1", "1 miss"));
    here.write(&[("c/word.c", &c(2))]);
    assert_eq!(here.again(), led("2", "1 miss"));
    here.write(&[("c/word.c", &c(1))]);
    assert_eq!(here.fresh(), led("1", "1 hit"));
}

#[test]
fn an_archive_outside_that_only_an_attribute_names_misses_when_it_changes() {
    let alice = Dev::new("alice");
    let out = alice.path("libs");
    let here = named_by_an_attribute(&alice, &[&out]);
    archive(&out, "word", &c(1), "crs");
    assert_eq!(here.fresh(), led("1", "1 miss"));
    assert_eq!(here.fresh(), led("1", "1 hit"));
    archive(&out, "word", &c(2), "crs");
    assert_eq!(here.fresh(), led("2", "1 miss"));
}

#[test]
fn an_archive_that_comes_into_an_earlier_directory_misses() {
    let alice = Dev::new("alice");
    let (first, second) = (alice.path("first"), alice.path("second"));
    let here = named_by_an_attribute(&alice, &[&first, &second]);
    archive(&second, "word", &c(2), "crs");
    assert_eq!(here.fresh(), led("2", "1 miss"));
    archive(&first, "word", &c(1), "crs");
    assert_eq!(here.fresh(), led("1", "1 miss"));
}

#[test]
fn an_archive_that_comes_into_an_earlier_directory_during_the_compile_is_not_kept() {
    let alice = Dev::new("alice");
    let (first, second) = (alice.path("first"), alice.path("second"));
    fs::create_dir(&first).unwrap();
    let lib = "gate::wait!(); ".to_owned() + &by_attribute();
    let here = Place::gated(
        &alice,
        "here",
        &[
            ("build.rs", &searching(&[&first, &second])),
            ("src/lib.rs", &lib),
        ],
    );
    archive(&second, "word", &c(2), "crs");
    let how = here.counted(|| {
        drop(
            here.while_compiling(|| archive(&first, "word", &c(1), "crs"))
                .succeeded(),
        );
    });
    assert_eq!(
        (here.run().as_str(), how.as_str()),
        ("1", "1 changed-while-compiling")
    );
    fs::remove_dir_all(&first).unwrap();
    fs::create_dir(&first).unwrap();
    assert_eq!(here.fresh(), led("2", "1 miss"));
}

#[test]
fn an_archive_whose_member_has_another_name_is_another() {
    let alice = Dev::new("alice");
    let out = alice.path("libs");
    let here = named_by_an_attribute(&alice, &[&out]);
    for how in ["1 miss", "1 hit"] {
        for member in ["first", "other"] {
            archive(&out, "word", &c(1), "crsD");
            let script =
                format!("mv word.o {member}.o && rm libword.a && ar crsD libword.a {member}.o");
            let done = Command::new("sh")
                .args(["-c", &script])
                .current_dir(&out)
                .status();
            assert!(done.unwrap().success());
            assert_eq!(here.fresh(), led("1", how), "{member}");
            let rlib = fs::read(here.dep("libl-", ".rlib")).unwrap();
            let name = format!("{member}.o");
            let bundled = rlib.windows(name.len()).any(|w| w == name.as_bytes());
            assert!(bundled, "the crate holds {name}");
        }
    }
}

#[test]
fn a_thin_archive_is_left_alone() {
    let alice = Dev::new("alice");
    let out = alice.path("libs");
    let here = named_by_an_attribute(&alice, &[&out]);
    for n in [1, 2] {
        archive(&out, "word", &c(n), "crsT");
        here.clean();
        let how = here.counted(|| {
            let with = here.build();
            let without = here.plain();
            assert_eq!(with.ok, without.ok, "{}", with.err);
        });
        assert_eq!(how, "1 thin-archive");
    }
}

#[test]
fn c_in_a_macro_that_another_crate_reexports_misses_for_its_users() {
    let alice = Dev::new("alice");
    let mac = macro_package("mac", "");
    let mid = package("mid", "[dependencies]\nmac = { path = \"../mac\" }");
    let l = package("l", "[dependencies]\nmid = { path = \"../mid\" }");
    let here = Place::new(
        &alice,
        "here",
        &[
            ("/Cargo.toml", &members(&["app", "l", "mac", "mid"]) as &str),
            ("/mac/Cargo.toml", &mac),
            ("/mac/build.rs", BUILD),
            ("/mac/c/word.c", &c(1)),
            (
                "/mac/src/lib.rs",
                "unsafe extern \"C\" { fn word() -> u32; }\n\
                 #[proc_macro] pub fn word_of_c(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n\
                 unsafe { word() }.to_string().parse().unwrap() }",
            ),
            ("/mid/Cargo.toml", &mid),
            ("/mid/src/lib.rs", "pub use mac::word_of_c;"),
            ("Cargo.toml", &l),
            ("src/lib.rs", "pub fn said() -> u32 { mid::word_of_c!() }"),
        ],
    );
    assert_eq!(here.fresh(), led("1", "2 miss"));
    let mid = fs::read(here.dep("libmid-", ".rmeta")).unwrap();
    here.write(&[("/mac/c/word.c", &c(2))]);
    assert_eq!(here.again(), led("2", "2 miss"));
    assert_eq!(
        mid,
        fs::read(here.dep("libmid-", ".rmeta")).unwrap(),
        "the re-exporter's metadata tells nothing"
    );
    here.write(&[("/mac/c/word.c", &c(1))]);
    assert_eq!(here.fresh(), led("1", "2 hit"));
    here.write(&[("/mac/c/word.c", &c(2))]);
    assert_eq!(here.fresh(), led("2", "2 hit"));
}

#[test]
fn c_in_a_macro_behind_a_crate_that_was_built_without_us_misses_too() {
    let alice = Dev::new("alice");
    let mac = macro_package("mac", "");
    let mid = package("mid", "[dependencies]\nmac = { path = \"../mac\" }");
    let l = package("l", "[dependencies]\nmid = { path = \"../mid\" }");
    let here = Place::new(
        &alice,
        "here",
        &[
            ("/Cargo.toml", &members(&["app", "l", "mac", "mid"]) as &str),
            ("/mac/Cargo.toml", &mac),
            ("/mac/build.rs", BUILD),
            ("/mac/c/word.c", &c(1)),
            (
                "/mac/src/lib.rs",
                "unsafe extern \"C\" { fn word() -> u32; }\n\
                 #[proc_macro] pub fn word_of_c(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n\
                 unsafe { word() }.to_string().parse().unwrap() }",
            ),
            ("/mid/Cargo.toml", &mid),
            ("/mid/src/lib.rs", "pub use mac::word_of_c;"),
            ("Cargo.toml", &l),
            ("src/lib.rs", "pub fn said() -> u32 { mid::word_of_c!() }"),
        ],
    );
    for (n, how) in [(1, "1 miss"), (2, "1 miss"), (1, "1 hit")] {
        here.write(&[("/mac/c/word.c", &c(n))]);
        here.clean();
        here.plain().succeeded();
        // Now only the user of the re-exported macro is dirty.
        here.write(&[("src/lib.rs", "pub fn said() -> u32 { mid::word_of_c!() }")]);
        let word = n.to_string();
        assert_eq!(here.again(), led(&word, how));
    }
}

#[test]
fn a_file_that_the_assembler_reads_is_never_taken_for_another() {
    let alice = Dev::new("alice");
    // The assembler minds neither case nor blanks; `concat!` makes words of pieces.
    let ways = [
        "\"the_word: .incbin \\\"l/word.bin\\\"\"",
        "\"the_word: .INCBIN \\\"l/word.bin\\\"\"",
        "\"the_word:\", \".include\\\"l/word.s\\\"\"",
        "\"the_word:\", concat!(\".inc\", \"bin \\\"l/word.bin\\\"\")",
    ];
    for (at, way) in ways.iter().enumerate() {
        let lib = format!(
            "core::arch::global_asm!(\".section .rodata.word\", \".globl the_word\", {way}, \".text\");\n\
             unsafe extern \"C\" {{ static the_word: u8; }}\n\
             pub fn said() -> char {{ unsafe {{ the_word as char }} }}"
        );
        let files = [
            ("src/lib.rs", lib.as_str()),
            ("word.bin", "1"),
            ("word.s", ".byte 0x31"),
        ];
        let here = Place::new(&alice, &format!("here{at}"), &files);
        assert_eq!(here.fresh().0, "1", "{way}");
        here.write(&[("word.bin", "2"), ("word.s", ".byte 0x32")]);
        assert_eq!(here.fresh().0, "2", "{way}");
    }
}
