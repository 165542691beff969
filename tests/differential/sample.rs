//! The workspace that is walked over where no other is given: libraries, a macro that reads a file
//! and a variable, a build script that makes code, a program, tests.
//!
//! Numbers before `/*k*/` are knobs: the walk turns them, and the program prints what comes of it.

/// Paths and texts.
pub const FILES: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nmembers = [\"app\", \"base\", \"mid\", \"mac\", \"gen\"]\nresolver = \"2\"\n",
    ),
    (
        "base/Cargo.toml",
        "[package]\nname = \"base\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [features]\nloud = []\ndefault = [] # [\"loud\"]\n",
    ),
    ("base/words.txt", "one two\n"),
    (
        "base/src/lib.rs",
        "mod deep;\n\
         pub mod word;\n\
         pub const N: u32 = 1 /*k*/;\n\
         #[inline]\npub fn quick(x: u32) -> u32 { x + 2 /*k*/ }\n\
         pub fn slow(x: u32) -> u32 { helper(x) + 3 /*k*/ }\n\
         fn helper(x: u32) -> u32 { x + 4 /*k*/ }\n\
         pub fn generic<T: Into<u32>>(t: T) -> u32 { t.into() + 5 /*k*/ }\n\
         #[macro_export]\nmacro_rules! make { () => { 6 /*k*/ } }\n\
         pub fn deeper() -> u32 { deep::deeper() }\n\
         pub fn told() -> String {\n    \
             format!(\"{} {} {:?} {} {}\", cfg!(feature = \"loud\"), cfg!(walked), \
             option_env!(\"WALK_MARK\"), file!(), line!())\n}\n\
         #[cfg(test)]\nmod tests {\n    \
             #[test]\n    fn small() { assert!(super::slow(1) < 90, \"{}\", super::slow(1)) }\n    \
             #[test]\n    fn told() { println!(\"{}\", super::told()) }\n}\n",
    ),
    (
        "base/src/word.rs",
        "pub const WORD: &str = include_str!(\"../words.txt\");\n\
         pub fn len() -> u32 { WORD.trim().len() as u32 + 7 /*k*/ }\n",
    ),
    (
        "base/src/deep.rs",
        "mod inner;\npub fn deeper() -> u32 { inner::it() + 8 /*k*/ }\n",
    ),
    ("base/src/deep/inner.rs", "pub fn it() -> u32 { 9 /*k*/ }\n"),
    (
        "gen/Cargo.toml",
        "[package]\nname = \"gen\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
    ),
    ("gen/data.txt", "10 /*k*/\n"),
    (
        "gen/build.rs",
        "fn main() {\n    \
             println!(\"cargo:rerun-if-changed=data.txt\");\n    \
             println!(\"cargo:rerun-if-env-changed=WALK_MARK\");\n    \
             println!(\"cargo:rustc-env=MADE=11 /*k*/\");\n    \
             let data = std::fs::read_to_string(\"data.txt\").unwrap();\n    \
             let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
             std::fs::write(out + \"/made.rs\", format!(\"pub const DATA: u32 = {data};\")).unwrap();\n}\n",
    ),
    (
        "gen/src/lib.rs",
        "include!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));\n\
         pub fn made() -> String { format!(\"{DATA} {} {}\", env!(\"MADE\"), 12 /*k*/) }\n",
    ),
    (
        "mac/Cargo.toml",
        "[package]\nname = \"mac\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\nproc-macro = true\n\
         [dependencies]\nbase = { path = \"../base\" }\n",
    ),
    (
        "mac/src/lib.rs",
        "use proc_macro::TokenStream;\n\
         #[proc_macro]\npub fn parts(_: TokenStream) -> TokenStream {\n    \
             let parts = std::fs::read_to_string(\"app/parts.txt\").unwrap_or_default();\n    \
             let mark = std::env::var(\"WALK_MACRO\");\n    \
             format!(\"{:?}\", format!(\"{} {mark:?} {} {}\", parts.trim(), base::quick(0), 13 /*k*/)).parse().unwrap()\n}\n",
    ),
    (
        "mid/Cargo.toml",
        "[package]\nname = \"mid\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [dependencies]\nbase = { path = \"../base\" }\ngen = { path = \"../gen\" }\n\
         mac = { path = \"../mac\" }\n",
    ),
    (
        "mid/src/lib.rs",
        "pub mod shape;\npub use base::make;\npub use mac::parts;\n\
         pub fn total() -> u32 { base::slow(14 /*k*/) + base::quick(1) + base::generic(2u8) + base::deeper() }\n\
         pub fn made() -> String { gen::made() }\n",
    ),
    (
        "mid/src/shape.rs",
        "#[derive(Debug, Clone, Default, PartialEq)]\npub struct Shape { pub a: u32, pub b: String }\n\
         impl Shape {\n    pub fn new(a: u32) -> Self { Self { a: a + 15 /*k*/, b: module_path!().into() } }\n}\n",
    ),
    (
        "app/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [dependencies]\nbase = { path = \"../base\" }\nmid = { path = \"../mid\" }\n",
    ),
    ("app/parts.txt", "16 /*k*/\n"),
    (
        "app/src/main.rs",
        "mod show;\n\
         fn main() {\n    \
             println!(\"{} {} {}\", base::N, base::word::len(), base::word::WORD);\n    \
             println!(\"{} {}\", mid::total(), mid::make!());\n    \
             println!(\"{:?}\", mid::shape::Shape::new(17 /*k*/));\n    \
             println!(\"{}\\n{}\", mid::made(), mid::parts!());\n    \
             println!(\"{}\\n{}\", base::told(), show::it());\n}\n",
    ),
    (
        "app/src/show.rs",
        "pub fn it() -> String { format!(\"{} {}\", 18 /*k*/, env!(\"CARGO_PKG_NAME\")) }\n",
    ),
    (
        "app/tests/total.rs",
        "#[test]\nfn total() { println!(\"{}\", mid::total()); assert!(mid::total() % 7 != 0) }\n\
         #[test]\nfn parts() { assert!(!mid::parts!().is_empty()) }\n",
    ),
];
