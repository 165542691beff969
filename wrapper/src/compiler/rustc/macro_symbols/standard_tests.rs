//! The standard library of the compiler at hand.

use super::*;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock};

fn archive() -> Vec<u8> {
    let asked = ["--print", "target-libdir"];
    let said = Command::new("rustc").args(asked).output().unwrap();
    let dir = PathBuf::from(str::from_utf8(&said.stdout).unwrap().trim());
    let mut files = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    let is_std = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    };
    std::fs::read(files.find(is_std).unwrap()).unwrap()
}

/// Of the compiler that tests are made with.
pub fn own_standard() -> Arc<Standard> {
    static OWN: LazyLock<Arc<Standard>> =
        LazyLock::new(|| Arc::new(Standard::of(&archive()).unwrap()));
    Arc::clone(&OWN)
}

#[test]
fn std_starts_programs_in_a_few_functions() {
    let own = own_standard();
    let ends = |end: &[u8]| {
        own.functions
            .iter()
            .filter(|f| f.name.ends_with(end))
            .count()
    };
    assert_eq!(ends(b"7Command5spawn"), 1);
    assert_eq!(ends(b"7Command7do_exec"), 1);
    assert_eq!(ends(b"7Command11capture_env"), 1);
    assert_eq!(ends(b"3env7vars_os"), 1);
}

#[test]
fn code_is_stds_only_where_all_that_no_linker_writes_is_the_same() {
    let own = own_standard();
    for function in &own.functions {
        let open = |at| function.open.iter().any(|o| o.contains(&at));
        assert!(
            function
                .open
                .iter()
                .map(ExactSizeIterator::len)
                .sum::<usize>()
                * 2
                < function.code.len()
        );
        assert_eq!(own.name_of(&function.code), Some(&*function.name));
        assert_eq!(own.name_of(&function.code[1..]), None);
        assert_eq!(own.name_of(&function.code[..function.code.len() - 1]), None);
        for at in (0..function.code.len()).step_by(7) {
            let mut other = function.code.clone();
            other[at] ^= 1;
            assert_eq!(own.name_of(&other).is_some(), open(at), "byte {at}");
        }
    }
    assert_eq!(own.name_of(b""), None);
}

#[test]
fn what_is_no_archive_is_not_understood() {
    let whole = archive();
    assert!(Standard::of(b"").is_none());
    assert!(Standard::of(&whole[..whole.len() / 2]).is_none());
    assert!(Standard::of(&whole[1..]).is_none());
    let none = Standard::of(MAGIC).unwrap();
    assert_eq!(none.name_of(b""), None);
}
