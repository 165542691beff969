//! What the real rustc has read, and what two checkouts make of the same sources.

use super::{How, Inputs, InputsError, inputs};
use crate::compiler::depinfo::DepInfo;
use crate::compiler::rustc::testing::Checkout;
use crate::paths::RootKind;
use std::collections::BTreeSet;
use std::fs;

fn compiled(checkout: &Checkout) -> Result<Inputs, InputsError> {
    let (unit, inv) = checkout.unit();
    checkout.compile_remapped();
    let bytes = fs::read(inv.absolute(&unit.dep_info_path())).unwrap();
    let depinfo = DepInfo::parse(&bytes).unwrap();
    inputs(&unit, &inv, &depinfo, &|path| checkout.read(path))
}

/// A library that includes a file of its OUT_DIR, with `more` in its root.
fn generating(name: &str, more: &str) -> Checkout {
    let root = format!("mod a; mod b; include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\")); {more}");
    let files = [
        ("src/lib.rs", root.as_str()),
        ("src/a.rs", ""),
        ("src/b/mod.rs", ""),
    ];
    let checkout = Checkout::new(name, &files);
    let out = checkout.path().join("t/debug/build/odd-1/out");
    fs::create_dir_all(&out).unwrap();
    fs::write(
        out.join("gen.rs"),
        "pub fn made() -> &'static str { file!() }",
    )
    .unwrap();
    checkout.with_env("OUT_DIR", out.to_str().unwrap())
}

#[test]
fn outputs_are_what_rustc_writes_and_nothing_else() {
    let checkout = Checkout::odd("o");
    for emit in [
        "dep-info,metadata,link",
        "dep-info,metadata",
        "dep-info,link",
    ] {
        fs::remove_dir_all(checkout.out_dir()).unwrap();
        fs::create_dir_all(checkout.out_dir()).unwrap();
        let mut inv = checkout.invocation();
        for arg in &mut inv.argv {
            if arg.to_str().unwrap().starts_with("--emit") {
                *arg = format!("--emit={emit}").into();
            }
        }
        let unit = crate::compiler::Unit::parse(&inv).unwrap();
        checkout.compile(&unit.run_argv(&inv, &checkout.roots()));
        let written: BTreeSet<String> = fs::read_dir(checkout.out_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected: BTreeSet<String> = unit.outputs().into_iter().map(|o| o.name).collect();
        assert_eq!(written, expected, "{emit}");
    }
}

#[test]
fn two_checkouts_make_the_same_bytes() {
    let (alice, bob) = (generating("alice", ""), generating("bobs own place", ""));
    for checkout in [&alice, &bob] {
        let inputs = compiled(checkout).unwrap();
        let out_dir = inputs.env.iter().find(|e| e.name == "OUT_DIR").unwrap();
        assert_eq!(out_dir.how, How::Symbolic);
    }
    for name in alice
        .unit()
        .0
        .outputs()
        .into_iter()
        .map(|o| o.name)
        .filter(|n| !n.ends_with(".d"))
    {
        let read = |checkout: &Checkout| fs::read(checkout.out_dir().join(&name)).unwrap();
        let bytes = read(&alice);
        assert!(bytes == read(&bob), "{name} differs");
        assert_eq!(alice.roots().scan(&bytes), None, "{name}");
    }
}

#[test]
fn without_remaps_they_differ_and_the_scan_sees_why() {
    let alice = Checkout::odd("alice");
    alice.compile(&alice.invocation().argv);
    let bytes = fs::read(alice.out_dir().join("libodd-5678.rlib")).unwrap();
    assert_eq!(alice.roots().scan(&bytes), Some(RootKind::Workspace));
}

#[test]
fn a_value_that_escapes_binds_the_entry() {
    let checkout = generating("v", "pub const D: &str = env!(\"OUT_DIR\");");
    let inputs = compiled(&checkout).unwrap();
    assert_eq!(inputs.env[0].how, How::Literal);
    let bytes = fs::read(checkout.out_dir().join("libodd-5678.rmeta")).unwrap();
    assert_eq!(checkout.roots().scan(&bytes), Some(RootKind::Target));
}

#[test]
fn a_use_that_no_source_shows_binds_the_entry() {
    let checkout = Checkout::new(
        "m",
        &[("src/lib.rs", "macro_rules! read { ($n:tt) => { core::env!(concat!($n, \"_DIR\")) } } pub const D: &str = read!(\"OUT\");")],
    )
    .with_env("OUT_DIR", "/nowhere");
    assert_eq!(compiled(&checkout).unwrap().env[0].how, How::Literal);
}

#[test]
fn the_other_place_of_a_module_must_stay_empty() {
    let checkout = generating("s", "#[path = \"c.rs\"] mod renamed;");
    fs::create_dir_all(checkout.ws().join("src/c")).unwrap();
    fs::write(checkout.ws().join("src/c.rs"), "").unwrap();
    fs::write(checkout.ws().join("src/c/mod.rs"), "").unwrap();
    let inputs = compiled(&checkout).unwrap();
    let src = checkout.ws().join("src");
    assert!(inputs.files.contains(&src.join("lib.rs")) && inputs.files.contains(&src.join("c.rs")));
    assert!(inputs.absent.contains(&src.join("a/mod.rs")));
    assert!(inputs.absent.contains(&src.join("b.rs")));
    assert!(
        !inputs.absent.contains(&src.join("c/mod.rs")),
        "it is there, and that was no fault"
    );
    assert!(
        !inputs.absent.contains(&src.join("lib/mod.rs")),
        "the root is found by no name"
    );
}

#[test]
fn another_environment_is_another_compile() {
    let checkout = Checkout::odd("e");
    let (unit, mut inv) = checkout.unit();
    checkout.compile_remapped();
    let depinfo =
        DepInfo::parse(&fs::read(checkout.out_dir().join("odd-5678.d")).unwrap()).unwrap();
    let read = |path: &std::path::Path| checkout.read(path);
    assert!(inputs(&unit, &inv, &depinfo, &read).is_ok());
    inv.env.push(("UNSET".into(), "".into()));
    let got = inputs(&unit, &inv, &depinfo, &read);
    assert!(matches!(got, Err(InputsError::VariableDiffers(name)) if name == "UNSET"));
}

#[test]
fn a_library_bundled_by_a_verbatim_name_is_not_stored() {
    let mut checkout = Checkout::new(
        "l",
        &[
            ("src/lib.rs", "// modifiers = \"+verbatim\"\n"),
            ("native/x", ""),
        ],
    );
    checkout.more = vec!["-L".into(), "native=native".into()];
    assert!(matches!(compiled(&checkout), Err(InputsError::Verbatim(_))));
}

#[test]
fn dep_info_of_another_unit_is_refused() {
    let checkout = Checkout::odd("u");
    let (unit, inv) = checkout.unit();
    let depinfo = DepInfo::parse(b"x.d: src/main.rs\n").unwrap();
    let got = inputs(&unit, &inv, &depinfo, &|path| checkout.read(path));
    assert!(matches!(got, Err(InputsError::OtherUnit(_))));
}

#[test]
fn messages_say_what_plain_rustc_would_have_said() {
    let checkout = generating(
        "with blanks",
        "fn unused() { made(); } const N: u8 = include!(\"../n.rs\");",
    );
    fs::write(checkout.ws().join("n.rs"), "{ let unused = 1; 2 }").unwrap();
    let out = checkout.path().join("t/debug/build/odd-1/out/gen.rs");
    fs::write(&out, "fn made() { let unused_too = 1; }").unwrap();
    let (_, inv) = checkout.unit();
    let plain = String::from_utf8(checkout.compile(&inv.argv).stderr).unwrap();
    let ours = checkout.compile_remapped().stderr;
    let roots = checkout.roots();
    assert!(
        plain.contains(out.to_str().unwrap()) && plain.contains("src/../n.rs"),
        "{plain}"
    );
    let stored = roots.normalise(&ours);
    assert_eq!(roots.scan(&stored), None);
    assert_eq!(String::from_utf8(roots.localise(&stored)).unwrap(), plain);
    assert_eq!(String::from_utf8(roots.localise(&ours)).unwrap(), plain);
}
