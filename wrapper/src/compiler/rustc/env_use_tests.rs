//! Stories about sources that read a directory's variable.

use super::{Lexed, VariableUse};

fn uses(text: &str) -> VariableUse {
    Lexed::of(text).expect("rustc reads it").uses("OUT_DIR")
}

#[test]
fn includes_by_name_alone() {
    for text in [
        r#"include!(concat!(env!("OUT_DIR"), "/x.rs"));"#,
        r#"include!{ concat![ env!{"OUT_DIR"}, "/", "x.rs", ] }"#,
        r#"const A: &str = include_str!(concat!(env!("OUT_DIR"), "/a.txt"));"#,
        r##"static B: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), r#"/a"b"#));"##,
        r#"core::include!(::core::concat!(core::env!("OUT_DIR"), "/x.rs"));"#,
        r#"include!(concat!(env!("OUT_DIR", "run the build script"), "/x.rs"));"#,
        r#"use std::{env, fs}; include!(concat!(env!("OUT_DIR"), "/x.rs"));"#,
        r#"use other::{environment, includes}; include!(concat!(env!("OUT_DIR"), "/x.rs"));"#,
        r#"include!(env!("OUT_DIR"));"#,
        r#"macro_rules! bin { ($n:expr) => { env!(concat!("CARGO_BIN_EXE_", $n)) } }
           const A: &str = include_str!(concat!(env!("OUT_DIR"), "/target.txt"));"#,
        r#"const A: &str = include_str![env!("OUT_DIR", "where?"),];"#,
        "#![doc = include_str!(concat!(env!(\"OUT_DIR\"), \"/a.md\"))]",
        r#"include!(concat!(env!(/* nested /* comment " */ */ "OUT_DIR"), "/x.rs"));"#,
    ] {
        let paths = text.contains("core::concat");
        // A path before a macro's name is not matched; the use is then taken for a value.
        let expected = if paths {
            VariableUse::Value
        } else {
            VariableUse::IncludesOnly
        };
        assert_eq!(uses(text), expected, "{text}");
    }
}

#[test]
fn the_value_may_escape() {
    let include = r#"include!(concat!(env!("OUT_DIR"), "/x.rs"));"#;
    for text in [
        r#"const D: &str = env!("OUT_DIR");"#,
        r#"const D: &str = concat!(env!("OUT_DIR"), "/x");"#,
        r#"const D: Option<&str> = option_env!("OUT_DIR");"#,
        r#"include!(concat!(env!("OUT_DIR"), stringify!(x)));"#,
        r#"include!(concat!("/x", env!("OUT_DIR")));"#,
        r#"include!(concat!(env!("OUT_DIR")));"#,
        r#"include!(env!("OUT_DIR"), "/x");"#,
        r#"include!(env!(concat!("OUT", "_DIR")));"#,
        r#"mine!(env!("OUT_DIR"));"#,
        r#"mine!(concat!(env!("OUT_DIR"), "/x.rs"));"#,
        r#"fn f() { std::env::var("OUT_DIR"); }"#,
        r##"use std::env as e; const D: &str = e!(r#"OUT_DIR"#);"##,
        r#"macro_rules! m { ($n:expr) => { env!($n) } }"#,
        r#"const D: &str = env!(concat!("OUT", "_DIR"));"#,
        r#"const D: &str = env!(concat!("", "OUT_DIR"));"#,
        r#"const D: &str = env!(concat!('O', "UT_DIR"));"#,
        r#"macro_rules! m { ($n:expr) => { env!(concat!($n, "CARGO_BIN_EXE_")) } }"#,
        r#"macro_rules! m { ($n:expr) => { option_env!(concat!("OUT_", $n)) } }"#,
        r#"const D: &str = env!("OUT\x5fDIR");"#,
        r#"macro_rules! include { ($n:expr) => { $n } }"#,
        r#"use other::passthrough as include_str;"#,
        r#"use other::include;"#,
        r#"pub use ::other::{this, deeper::{concat, that}};"#,
    ] {
        assert_eq!(uses(text), VariableUse::Value, "{text}");
        assert_eq!(
            uses(&format!("{include}\n{text}")),
            VariableUse::Value,
            "beside: {text}"
        );
    }
}

#[test]
fn what_only_looks_like_a_use() {
    for text in [
        "// env!(\"OUT_DIR\")\n",
        "/// Uses `env!(\"OUT_DIR\")`.\nfn f() {}",
        "/* /* env!(\"OUT_DIR\") */ \" */ fn f() {}",
        r#"const S: &str = "env!(OUT_DIR)";"#,
        r##"const S: &str = r#"say "OUT_DIR" aloud"#;"##,
        r#"const S: &str = "a \" // OUT_DIR";"#,
        r#"const V: &str = env!("CARGO_PKG_VERSION");"#,
        r#"const V: Option<&str> = option_env!("CI",);"#,
        r#"fn env() {} use std::env; fn g() { env::args(); }"#,
    ] {
        assert_eq!(uses(text), VariableUse::None, "{text}");
    }
}

#[test]
fn characters_and_lifetimes_do_not_hide_what_follows() {
    let tail = r#" const D: &str = env!("OUT_DIR");"#;
    for head in [
        "const C: char = '\"';",
        r"const C: char = '\'';",
        r"const C: char = '\\';",
        r"const C: char = '\u{22}';",
        "const C: u8 = b'\"';",
        r#"const C: &[u8] = b"\"";"#,
        "const C: &CStr = c\"//\";",
        "const C: &str = r\"\\\";",
        "const C: &[u8] = br##\"\"#\"##;",
        "fn f<'a>(x: &'a str) -> &'a str { x }",
        "fn f() { 'outer: loop { break 'outer } }",
        "fn r#match() { let r#type = 1..2; }",
        "const N: f64 = 1e5; const M: u64 = 0x2f_u64;",
        "struct Überraschung; // '\n",
        "macro_rules! m { ($($x:tt)*) => { $crate::n!($($x)*) } }",
        "const L: char = 'ß';",
        "const S: &str = \"a\\\n  b\";",
    ] {
        assert_eq!(uses(&format!("{head}{tail}")), VariableUse::Value, "{head}");
        let comment = format!("{head} // env!(\"OUT_DIR\")\n");
        assert_eq!(uses(&comment), VariableUse::None, "{head}");
    }
}

#[test]
fn what_rustc_could_not_read_is_not_understood() {
    for text in ["\"open", "/* open", "r#\"open\"", "'", &"/*".repeat(100)] {
        assert!(Lexed::of(text).is_none(), "{text}");
    }
}

/// Each includes by name alone, and has the value besides.
#[test]
fn the_word_itself_may_escape_and_the_names_may_mean_something_else() {
    let included = r#"include!(concat!(env!("OUT_DIR"), "/x.rs"));"#;
    assert_eq!(uses(included), VariableUse::IncludesOnly);
    for text in [
        r#"macro_rules! my { ($m:ident) => { $m!(concat!("OUT_", "DIR")) } } const N: usize = my!(env).len();"#,
        r#"macro_rules! my { ($m:ident) => { $m!(concat!("OUT_", "DIR")) } } my! { [option_env] }"#,
        r#"macro_rules! my { () => { call!(env) } }"#,
        "#[with(env)] fn f() {}",
        r#"use std::env as e; const N: usize = e!(concat!("OUT_", "DIR")).len();"#,
        "use std::{fs, env as e};",
        "use core::concat as c;",
        "#[macro_use] extern crate m;",
        "#[macro_use] #[doc(hidden)] pub extern crate m;",
        "#[macro_use(log, include_str)] extern crate m;",
    ] {
        assert_eq!(
            uses(&format!("{text} {included}")),
            VariableUse::Value,
            "{text}"
        );
    }
    for text in [
        "#[macro_use(log)] extern crate log;",
        "#[macro_use] mod macros; extern crate m;",
        "use std::{env, fs}; fn f(env: u8) -> u8 { env }",
        r#"fn f() { println!("{:?}", std::env::args()); }"#,
        r#"fn f() { println!("{}", env!("CARGO_PKG_NAME")); }"#,
    ] {
        let found = uses(&format!("{text} {included}"));
        assert_eq!(found, VariableUse::IncludesOnly, "{text}");
    }
}

/// As a crate that names a file for each system does.
#[test]
fn a_literal_with_escapes_names_a_file_as_well_as_any() {
    let windows = r#"include!(concat!(env!("OUT_DIR"), "\\version.expr"));"#;
    assert_eq!(uses(windows), VariableUse::IncludesOnly);
    let computed = r#"include!(concat!(env!("OUT_DIR"), name!()));"#;
    assert_eq!(uses(computed), VariableUse::Value);
}
