//! The observer's log, read: what was asked, by which object, and what the answer was.
//!
//! Enters: bytes that a compiler's process wrote, so anything. Leaves: records, or nothing where
//! they are not whole. The form is described in `wrapper/observe/observe.rs`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the first record says: the version of this form.
const VERSION: &[u8] = b"1";

/// Stands in a build script's run for the object, in records of a process that is a compiler.
pub const COMPILER: &str = "rustc";
/// The same in records of a process that takes PWD for nothing but its working directory's name.
pub const PLACED: &str = "pwd";

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file or directory was opened for reading.
    Read,
    /// A file, a directory or the environment was to be changed.
    Write,
    /// A directory was opened to be listed.
    List,
    /// It was asked what lies at a path.
    Look,
    /// It was asked where a link leads.
    Link,
    /// It was asked what a path is called without links.
    Resolve,
    /// It was asked what the working directory is called.
    Directory,
    /// A variable.
    Variable,
    /// A process was to be started.
    Spawn,
    /// A socket, or a host's address.
    Socket,
    /// The compiler loaded a library.
    Loaded,
    /// A system call by its number, or another thing that cannot be told.
    Raw,
    /// The host's name, the user's entry.
    Machine,
    /// A program began, in the run of a build script.
    Entered,
    /// A program that was to be started was not.
    NotStarted,
    /// A variable, as `NAME=VALUE`, that a program began with and that decides which libraries or
    /// programs are found.
    Given,
}

/// What the answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was given.
    Done,
    /// Nothing is there.
    Absent,
    /// Another error.
    Failed,
}

/// One distinct question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'l> {
    /// What was asked.
    pub kind: Kind,
    /// What the answer was.
    pub outcome: Outcome,
    /// The object that asked; empty where the loader knows none. In a build script's run
    /// [`COMPILER`], [`PLACED`], or empty.
    pub object: &'l Path,
    /// An absolute path, or a name.
    pub text: &'l OsStr,
}

/// The first record.
#[must_use]
pub fn beginning() -> Vec<u8> {
    let length = u16::try_from(VERSION.len()).unwrap_or(0).to_le_bytes();
    let head = [b'Q', b'H', 0, 0, 0, 0, length[0], length[1]];
    [&head, VERSION].concat()
}

/// All records of a log; `None` where it is not whole.
#[must_use]
pub fn parse(mut bytes: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut records = Vec::new();
    let mut began = false;
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at_checked(8)?;
        let &[b'Q', kind, outcome, 0, o1, o2, t1, t2] = head else {
            return None;
        };
        let (object, rest) = rest.split_at_checked(u16::from_le_bytes([o1, o2]).into())?;
        let (text, rest) = rest.split_at_checked(u16::from_le_bytes([t1, t2]).into())?;
        bytes = rest;
        if !began {
            began = kind == b'H' && text == VERSION;
            if began {
                continue;
            }
            return None;
        }
        records.push(Record {
            kind: kind_of(kind)?,
            outcome: match outcome {
                0 => Outcome::Done,
                1 => Outcome::Absent,
                2 => Outcome::Failed,
                _ => return None,
            },
            object: Path::new(OsStr::from_bytes(object)),
            text: OsStr::from_bytes(text),
        });
    }
    began.then_some(records)
}

/// The kind; `None` for what is none, and for the mark that something was not noted.
const fn kind_of(byte: u8) -> Option<Kind> {
    Some(match byte {
        b'R' => Kind::Read,
        b'W' => Kind::Write,
        b'L' => Kind::List,
        b'K' => Kind::Look,
        b'B' => Kind::Link,
        b'P' => Kind::Resolve,
        b'D' => Kind::Directory,
        b'V' => Kind::Variable,
        b'S' => Kind::Spawn,
        b'N' => Kind::Socket,
        b'O' => Kind::Loaded,
        b'C' => Kind::Raw,
        b'M' => Kind::Machine,
        b'E' => Kind::Entered,
        b'F' => Kind::NotStarted,
        b'G' => Kind::Given,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, text: &[u8]) -> Vec<u8> {
        let length = u16::try_from(text.len()).unwrap().to_le_bytes();
        let head = [b'Q', kind, 1, 0, 2, 0, length[0], length[1]];
        [&head, b"/m".as_slice(), text].concat()
    }

    #[test]
    fn a_whole_log_is_read() {
        let log = [record(b'H', b"1"), record(b'R', b"/a")].concat();
        let records = parse(&log).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(
            (records[0].kind, records[0].outcome),
            (Kind::Read, Outcome::Absent)
        );
        assert_eq!(
            (records[0].object, records[0].text),
            (Path::new("/m"), OsStr::new("/a"))
        );
    }

    #[test]
    fn a_log_that_is_not_whole_is_none() {
        let whole = [record(b'H', b"1"), record(b'R', b"/a")].concat();
        for length in (0..whole.len()).filter(|n| *n != record(b'H', b"1").len()) {
            assert_eq!(parse(&whole[..length]), None, "cut to {length}");
        }
        assert_eq!(parse(&record(b'R', b"/a")), None, "no beginning");
        assert_eq!(parse(&record(b'H', b"2")), None, "another version");
        let incomplete = [record(b'H', b"1"), record(b'I', b"path")].concat();
        assert_eq!(parse(&incomplete), None);
    }
}
