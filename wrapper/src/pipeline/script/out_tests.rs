//! OUT_DIR, packed and unpacked.

use super::*;
use std::io::{Cursor, Seek};

fn packed(dir: &Path) -> Result<(Vec<u8>, bool), Bypass> {
    let mut file = tempfile::tempfile().unwrap();
    let scanner = Scanner::of_paths(&["/home/alice/checkout"]);
    let packed = pack(dir, &file, &scanner)?;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    Ok((bytes, packed.bound))
}

fn unpacked(bytes: &[u8]) -> io::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    unpack(&mut Cursor::new(bytes), dir.path(), 0o022)?;
    Ok(dir)
}

/// An entry in the form of an object.
fn entry(kind: u8, path: &str, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(path.len()).unwrap().to_le_bytes();
    [&[kind], length.as_slice(), path.as_bytes(), rest].concat()
}

fn object(entries: &[Vec<u8>]) -> Vec<u8> {
    [MARK, &entries.concat(), &[END]].concat()
}

#[test]
fn files_programs_directories_and_links_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = |below: &str| dir.path().join(below);
    fs::create_dir_all(at("lib/empty")).unwrap();
    fs::write(at("lib/a.rs"), "const A: u8 = 1;").unwrap();
    fs::write(at("tool"), "#!/bin/sh").unwrap();
    fs::set_permissions(at("tool"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink("../tool", at("lib/tool")).unwrap();
    let (bytes, bound) = packed(dir.path()).unwrap();
    assert!(!bound);
    let back = unpacked(&bytes).unwrap();
    let there = |below: &str| back.path().join(below);
    assert_eq!(fs::read(there("lib/a.rs")).unwrap(), b"const A: u8 = 1;");
    assert!(there("lib/empty").is_dir());
    assert_eq!(
        fs::read_link(there("lib/tool")).unwrap(),
        Path::new("../tool")
    );
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(there("tool")), mode(there("lib/a.rs"))),
        (0o755, 0o644)
    );
    assert_eq!(packed(back.path()).unwrap().0, bytes, "one form");
}

#[test]
fn a_path_of_the_checkout_is_seen_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("a.rs"),
        "include!(\"/home/alice/checkout/x.rs\");",
    )
    .unwrap();
    assert!(packed(dir.path()).unwrap().1);
}

#[test]
fn links_that_lead_out_are_not_packed() {
    for target in ["/etc", "..", "../x", "a/../../x", "lib/.."] {
        let dir = tempfile::tempdir().unwrap();
        symlink(target, dir.path().join("link")).unwrap();
        assert_eq!(
            packed(dir.path()).err(),
            Some(Bypass::ScriptOutLink),
            "{target}"
        );
    }
}

#[test]
fn a_hostile_object_writes_nothing_outside() {
    let file = |path: &str| {
        entry(
            FILE,
            path,
            &[&1_u64.to_le_bytes(), b"x".as_slice()].concat(),
        )
    };
    let link = |path: &str, target: &str| {
        let length = u16::try_from(target.len()).unwrap().to_le_bytes();
        entry(LINK, path, &[&length, target.as_bytes()].concat())
    };
    assert!(unpacked(&object(&[file("a")])).is_ok());
    for hostile in [
        vec![file("../a")],
        vec![file("/tmp/a")],
        vec![file("d/a")],
        vec![file("./a")],
        vec![file("a"), file("a")],
        vec![link("l", "/tmp"), file("l/a")],
        vec![link("l", "..")],
        vec![entry(DIRECTORY, "d", &[]), link("d/e", ".."), file("d/e/a")],
        vec![entry(9, "a", &[])],
        vec![entry(FILE, "a", &u64::MAX.to_le_bytes())],
    ] {
        assert!(unpacked(&object(&hostile)).is_err());
    }
    let whole = object(&[file("a")]);
    for length in 0..whole.len() {
        assert!(unpacked(&whole[..length]).is_err(), "cut to {length}");
    }
    assert!(
        unpacked(&[whole, vec![0]].concat()).is_err(),
        "something behind it"
    );
}
