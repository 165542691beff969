//! Linker commands as rustc prints them.

use super::*;
use crate::compiler::rustc::testing::Checkout;

fn asked(line: &str) -> Result<Vec<String>, Bypass> {
    let checkout = Checkout::new("here", &[("lib.rs", "")]);
    let held = Held {
        unit: &checkout.unit().0,
        cwd: Path::new("/ws"),
        sysroot: Path::new("/sysroot"),
        crates: &|name| name == "libdep-1.rlib",
        archive: &|path| path == Path::new("/n/libword.a"),
        directories: &["/n".into()],
    };
    libraries(line, &held)
}

#[test]
fn what_is_linked_stands_in_the_key_or_is_not_stored() {
    let plain = r#"LC_ALL="C" PATH="/a b:\"" "cc" "-m64" "/tmp/rustcAbCdEf/symbols.o" "odd-5678.x.rcgu.o"
        "/t/deps/libdep-1.rlib" "/tmp/rustcAbCdEf/libdep-1.rlib" "/sysroot/lib/libstd-1.rlib" "/n/libword.a"
        "-lz" "-lc" "-lz" "-L" "/n" "-L" "/tmp/rustcAbCdEf/raw-dylibs" "-o" "/t/deps/libodd.so"
        "#;
    let plain = plain.replace("\n        ", " ");
    assert_eq!(asked(&plain), Ok(vec!["c".into(), "z".into()]));
    for (more, reason) in [
        ("\"/t/deps/libother-1.rlib\"", Bypass::LinkInput),
        ("\"/elsewhere/x.o\"", Bypass::LinkInput),
        ("\"/elsewhere/libword.a\"", Bypass::LinkInput),
        ("\"-L/elsewhere\"", Bypass::LinkInput),
        ("\"@/tmp/args\"", Bypass::LinkInput),
        ("\"script.ld\"", Bypass::LinkInput),
        ("\"half", Bypass::LinkInput),
    ] {
        assert_eq!(asked(&format!("{plain} {more}")), Err(reason), "{more}");
    }
    assert_eq!(asked(r#""ld" "-lc""#), Err(Bypass::LinkerUnidentified));
}

#[test]
fn arguments_for_the_linker_that_nobody_has_decided_about_are_not_known() {
    for known in [
        "-fuse-ld=mold",
        "-Wl,--as-needed,-z,relro",
        "-lz",
        "-Wl,-soname,libx.so.1",
        "-s",
    ] {
        assert!(argument_known(known), "{known}");
    }
    for unknown in [
        "-Wl,-rpath,/x",
        "-Wl,--version-script=x",
        "-T",
        "x.o",
        "-L/x",
        "-l:x.a",
        "-Wl,-z",
        "-Wl,-Map=x",
        "@x",
        "-B/x",
        "-fuse-ld=/x",
        "-Wl,--dynamic-linker=/x",
        "-flto",
    ] {
        assert!(!argument_known(unknown), "{unknown}");
    }
}

#[test]
fn words_are_read_back_as_rust_writes_them() {
    let odd = ["a b", "q\"uo\\te", "nl\n\ttab", "é\u{200b}", "'"];
    let mut command = std::process::Command::new("cc");
    command.env("X", "1 2").args(odd);
    let read = words(&format!("{command:?}\n")).unwrap();
    assert_eq!(read[0], "cc");
    assert_eq!(read[1..], odd);
    assert_eq!(words("\"a\" b"), None);
    assert_eq!(words("\"a\\x41\""), None);
}
