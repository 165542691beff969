//! The observer's log, read: what was asked, by which object, and what the answer was.
//!
//! Enters: bytes that a compiler's process wrote, so anything. Leaves: records, or nothing where
//! they are not whole. The form is described in `wrapper/observe/observe.rs`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the first record says: the version of this form.
const VERSION: &[u8] = b"1";

/// Stands in a build script's run for the object, in records of a process that is a compiler.
pub const COMPILER: &str = "rustc";
/// The same in records of a process that takes PWD for nothing but its working directory's name.
pub const PLACED: &str = "pwd";
/// What a [`Kind::Raw`] says of a symbolic link that leads anywhere but further down.
pub const LEADS_AWAY: &str = "symlink";

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
    /// A program was looked for here.
    Tried,
    /// A C compiler was told what to call this checkout's roots.
    Told,
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

/// A log without repetitions: each process of a run notes what it asks, and hundreds of compilers
/// ask for the same headers. That a program began, was to begin or did not is kept each time. What
/// is not whole stays so.
///
/// # Errors
/// What reading gave; `InvalidData` where more than `most` bytes are left.
pub fn distinct(from: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    const READ_AT_ONCE: usize = 1 << 20;
    let mut from = BufReader::with_capacity(READ_AT_ONCE, from);
    let mut known: HashSet<Vec<u8>> = HashSet::new();
    let mut all = Vec::new();
    let mut record = Vec::new();
    loop {
        record.clear();
        Read::by_ref(&mut from).take(8).read_to_end(&mut record)?;
        if let &[_, _, _, _, o1, o2, t1, t2] = record.as_slice() {
            let length = |a, b| u64::from(u16::from_le_bytes([a, b]));
            let rest = length(o1, o2) + length(t1, t2);
            Read::by_ref(&mut from)
                .take(rest)
                .read_to_end(&mut record)?;
        }
        let counted = record.get(1).is_some_and(|kind| b"EFS".contains(kind));
        if record.is_empty() {
            return Ok(all);
        }
        if known.contains(&record) {
            continue;
        }
        all.extend_from_slice(&record);
        if all.len() > most {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if !counted {
            known.insert(record.clone());
        }
    }
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
        b'T' => Kind::Tried,
        b'A' => Kind::Told,
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
    fn what_many_processes_ask_is_read_once_and_each_of_them_counts() {
        let one = [record(b'E', b"/bin/cc"), record(b'R', b"/a.h")].concat();
        let other = [record(b'S', b"cc"), record(b'R', b"/b.h")].concat();
        let log = [record(b'H', b"1"), one.clone(), other.clone(), one, other].concat();
        let left = distinct(&mut log.as_slice(), 1000).unwrap();
        let records = parse(&left).unwrap();
        let of = |kind| records.iter().filter(|r| r.kind == kind).count();
        assert_eq!(
            (of(Kind::Entered), of(Kind::Spawn), of(Kind::Read)),
            (2, 2, 2)
        );
        assert!(distinct(&mut log.as_slice(), left.len() - 1).is_err());
        for length in 0..log.len() {
            let whole = parse(&log[..length]).is_some();
            let left = distinct(&mut &log[..length], 1000).unwrap();
            assert_eq!(parse(&left).is_some(), whole, "of {length} bytes");
        }
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
