//! A copy of a package under another name.
//!
//! Enters: a directory, where its copy goes, and how much that may be. Leaves: the package's own
//! files with their times. Must never happen here: a copy that holds itself.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Copies directories and regular files. Links and whatever else there is stay away: who asked
/// about one of these was not kept. So do the target directory and git's.
pub(super) fn copy_tree(
    from: &Path,
    to: &Path,
    target: Option<&Path>,
    left: &mut (usize, u64),
) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        let (source, kind) = (item.path(), item.file_type()?);
        let (files, bytes) = *left;
        let size = if kind.is_file() {
            item.metadata()?.len()
        } else {
            0
        };
        *left = (
            files.checked_sub(1).ok_or(io::ErrorKind::FileTooLarge)?,
            bytes.checked_sub(size).ok_or(io::ErrorKind::FileTooLarge)?,
        );
        let copy = to.join(item.file_name());
        if kind.is_file() {
            fs::copy(&source, &copy)?;
            // Times are in no key; here they are no difference either.
            let modified = item.metadata()?.modified()?;
            File::options()
                .append(true)
                .open(&copy)?
                .set_modified(modified)?;
        } else if kind.is_dir() && belongs(&source, to, target) {
            copy_tree(&source, &copy, target, left)?;
        }
    }
    Ok(())
}

/// Whether a directory is the package's own: neither git's, nor one to build in, by cargo's mark,
/// nor one in which the copy lies.
fn belongs(dir: &Path, copy: &Path, target: Option<&Path>) -> bool {
    let apart = Some(dir) == target || dir.ends_with(".git") || dir.join("CACHEDIR.TAG").is_file();
    !apart && !copy.starts_with(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_packages_own_files_and_never_holds_itself() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path();
        for (path, text) in [
            ("src/lib.rs", "text"),
            ("target/debug/a", ""),
            ("old/CACHEDIR.TAG", ""),
            ("old/debug/a", ""),
            (".git/HEAD", ""),
        ] {
            fs::create_dir_all(package.join(path).parent().unwrap()).unwrap();
            fs::write(package.join(path), text).unwrap();
        }
        let copy = package.join("home/second/p");
        let target = package.join("target");
        copy_tree(package, &copy, Some(&target), &mut (100, 1000)).unwrap();
        let names = fs::read_dir(&copy).unwrap().map(|e| e.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["src"]);
        assert_eq!(fs::read(copy.join("src/lib.rs")).unwrap(), b"text");
    }
}
