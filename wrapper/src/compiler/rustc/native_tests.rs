//! Native search directories, as they are found.

use super::archives;
use crate::compiler::Bypass;
use crate::compiler::rustc::testing::Checkout;
use std::fs;
use std::path::PathBuf;

/// A checkout whose unit searches `dir` in its workspace.
fn searching(kind: &str) -> (Checkout, PathBuf) {
    let mut checkout = Checkout::new("n", &[("src/lib.rs", "")]);
    let dir = checkout.ws().join("native");
    fs::create_dir_all(dir.join("below")).unwrap();
    checkout.more = vec![
        "-L".into(),
        format!("{kind}{}", dir.to_str().unwrap()).into(),
    ];
    (checkout, dir)
}

fn look(checkout: &Checkout) -> Result<Vec<PathBuf>, Bypass> {
    let (unit, inv) = checkout.unit();
    archives(&unit, &inv)
}

#[test]
fn archives_are_inputs_and_nothing_else_is() {
    let (checkout, dir) = searching("native=");
    for name in ["libz.a", "a.a", "z.h", "libz.so", "below/libdeep.a"] {
        fs::write(dir.join(name), "!<arch>\n").unwrap();
    }
    std::os::unix::fs::symlink("/nowhere", dir.join("libgone.a")).unwrap();
    assert_eq!(
        look(&checkout),
        Ok(vec![dir.join("a.a"), dir.join("libz.a")])
    );
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(
        look(&checkout),
        Ok(vec![]),
        "a directory that is not there holds none"
    );
}

#[test]
fn a_thin_archive_is_not_its_members() {
    let (checkout, dir) = searching("native=");
    fs::write(dir.join("libz.a"), "!<thin>\nwhatever").unwrap();
    assert_eq!(look(&checkout), Err(Bypass::ThinArchive));
}

#[test]
fn crates_may_come_from_dependency_directories_alone() {
    for kind in ["", "all=", "crate="] {
        let (checkout, dir) = searching(kind);
        fs::write(dir.join("libz.a"), "!<arch>\n").unwrap();
        assert_eq!(look(&checkout), Ok(vec![dir.join("libz.a")]), "{kind}");
        fs::write(dir.join("libdep.rlib"), "").unwrap();
        assert_eq!(look(&checkout), Err(Bypass::CrateDirectory), "{kind}");
    }
}

#[test]
fn a_library_by_a_verbatim_name_may_be_any_file() {
    let mut checkout = Checkout::new("n", &[("src/lib.rs", "")]);
    checkout.more = vec!["-lstatic:+verbatim=z.o".into()];
    assert_eq!(look(&checkout), Err(Bypass::NativeLibrary));
}

#[test]
fn too_much_is_not_looked_at() {
    let (checkout, dir) = searching("native=");
    for i in 0..=super::MAX_ARCHIVES {
        fs::write(dir.join(format!("lib{i}.a")), "!<arch>\n").unwrap();
    }
    assert_eq!(look(&checkout), Err(Bypass::NativeDirectoryTooLarge));
    for i in 0..=super::MAX_ARCHIVES {
        fs::remove_file(dir.join(format!("lib{i}.a"))).unwrap();
    }
    let large = fs::File::create(dir.join("liblarge.a")).unwrap();
    large.set_len(super::MAX_ARCHIVE_BYTES + 1).unwrap();
    assert_eq!(look(&checkout), Err(Bypass::NativeDirectoryTooLarge));
}
