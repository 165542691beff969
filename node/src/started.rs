//! Where and how a command was started: what the process above qwrap, which is cargo, says of it.
//!
//! Enters: a process. Leaves: directories, or nothing where it cannot be seen (it has ended, it is
//! another user's, the system has no `/proc`). They name further places whose rules hold, and so
//! can only narrow. And its command line, by which builds are told apart. Must never happen here: a wait, a file that a command line names opened.

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

/// The directory that the parent of `pid` works in, and that of the manifest that it was given.
#[must_use]
pub fn directories(pid: i32) -> Vec<PathBuf> {
    above(pid).unwrap_or_default()
}

fn above(pid: i32) -> Option<Vec<PathBuf>> {
    let parent = surroundings::parent(pid.try_into().ok()?)?;
    let cwd = fs::read_link(format!("/proc/{parent}/cwd")).ok()?;
    let command = command_of(parent)?;
    let manifest = manifest(&command).map(|path| cwd.join(path));
    let manifest = manifest.and_then(|path| Some(path.parent()?.to_owned()));
    Some([cwd].into_iter().chain(manifest).collect())
}

/// The command line of the parent of `pid`, each word with a zero at its end.
#[must_use]
pub fn command(pid: i32) -> Option<Vec<u8>> {
    command_of(surroundings::parent(pid.try_into().ok()?)?)
}

fn command_of(pid: u32) -> Option<Vec<u8>> {
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
        let found = directories(pid);
        assert_eq!(found.first(), std::env::current_dir().ok().as_ref());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(directories(pid), Vec::<PathBuf>::new());
    }
}
