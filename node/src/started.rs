//! Where and how a command was started: what the process above qwrap, which is cargo, says of it.
//!
//! Enters: a process. Leaves: directories, or nothing where it cannot be seen (it has ended, it is
//! another user's, the system has no `/proc`). They name further places whose rules hold, and so
//! can only narrow. And its command line, by which builds are told apart. Must never happen here:
//! a wait, a file that a command line names opened.

use quarry_wrapper::surroundings;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Of a command line that is longer the rest is not looked at, bytes: cargo's own are short.
const COMMAND_MAX: u64 = 64 * 1024;
/// By which cargo is told which package is meant.
const MANIFEST: &[u8] = b"--manifest-path";

/// A process, and where it works.
#[derive(Debug, PartialEq, Eq)]
pub struct Above {
    /// Which.
    pub pid: u32,
    /// Its directory, and that of the manifest that it was given.
    pub directories: Vec<PathBuf>,
}

/// The parent of `pid`.
#[must_use]
pub fn above(pid: i32) -> Option<Above> {
    let pid = surroundings::parent(pid.try_into().ok()?)?;
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let command = command(pid)?;
    let manifest = manifest(&command).map(|path| cwd.join(path));
    let manifest = manifest.and_then(|path| Some(path.parent()?.to_owned()));
    let directories = [cwd].into_iter().chain(manifest).collect();
    Some(Above { pid, directories })
}

/// The command line of a process, each word with a zero at its end.
#[must_use]
pub fn command(pid: u32) -> Option<Vec<u8>> {
    let mut command = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(COMMAND_MAX).read_to_end(&mut command).ok()?;
    Some(command)
}

/// The words of a command line that are cargo's: none that follows `--`.
pub fn words(command: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = command.strip_suffix(b"\0").unwrap_or(command);
    words.split(|b| *b == 0).take_while(|word| *word != b"--")
}

/// The manifest that a command line names.
fn manifest(command: &[u8]) -> Option<&Path> {
    let mut words = words(command);
    let word = words.find(|word| word.starts_with(MANIFEST))?;
    let path = match word.get(MANIFEST.len()..)? {
        [] => words.next()?,
        [b'=', path @ ..] => path,
        _ => return None,
    };
    (!path.is_empty()).then(|| Path::new(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_told_in_two_ways_and_not_behind_the_dashes() {
        let told = |words: &[&str]| manifest(words.join("\0").as_bytes()).map(Path::to_owned);
        let pay = Some(PathBuf::from("pay/Cargo.toml"));
        assert_eq!(
            told(&["cargo", "b", "--manifest-path", "pay/Cargo.toml"]),
            pay
        );
        assert_eq!(told(&["cargo", "--manifest-path=pay/Cargo.toml", "b"]), pay);
        assert_eq!(told(&["cargo", "run", "--", "--manifest-path=x"]), None);
        assert_eq!(told(&["cargo", "b", "--manifest-path"]), None);
        assert_eq!(told(&["cargo", "b", "--manifest-paths", "x"]), None);
        assert_eq!(told(&[""]), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_was_started_where_we_are_and_who_is_gone_nowhere() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = above(pid).unwrap();
        let here = std::env::current_dir().ok();
        assert_eq!(found.directories.first(), here.as_ref());
        assert_eq!(found.pid, std::process::id());
        assert!(command(found.pid).is_some_and(|words| !words.is_empty()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(above(pid), None);
    }
}
