//! What `-l NAME` means to a linker that looks in these directories.
//!
//! Enters: a library's plain name, directories in order. Leaves: a digest over all that the name
//! can mean there: the first shared library, the first archive, which of them comes first, and,
//! where one is a text (`libc.so` is), what that refers to. Must never happen here: a file opened
//! that is no regular one, a chain of texts without an end.

use crate::digests::{FileDigests, open_regular};
use quarry_trust::Digest;
use quarry_trust::canon::Writer;
use quarry_trust::digest::Domain;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The tag under which a library's meaning is hashed.
pub const LIBRARY: Domain = Domain("quarry 2026-11 library v1");
/// A linker script longer than this is none: glibc's longest has 300 bytes.
const SCRIPT_MAX: u64 = 16 * 1024;
/// Texts that refer to texts.
const DEPTH_MAX: usize = 4;
/// Length of a library's name.
const NAME_MAX: usize = 200;

/// A library as a linker would find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Over all that the name can mean.
    pub digest: Digest,
    /// The files that were read.
    pub read: Vec<PathBuf>,
}

impl Library {
    /// Looks for a library. `None` where there is none, where its name could lead out of the
    /// directories, or where something that it refers to is not there.
    #[must_use]
    pub fn find(name: &str, directories: &[PathBuf], files: &dyn FileDigests) -> Option<Self> {
        let mut search = Search {
            directories,
            files,
            read: Vec::new(),
        };
        let digest = search.library(name, DEPTH_MAX)?;
        Some(Self {
            digest,
            read: search.read,
        })
    }
}

/// Whether a name can be nothing but the middle of a file's name.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-+.".contains(&b))
}

struct Search<'a> {
    directories: &'a [PathBuf],
    files: &'a dyn FileDigests,
    read: Vec<PathBuf>,
}

impl Search<'_> {
    fn first(&self, file: &str) -> Option<(usize, PathBuf)> {
        let mut all = self
            .directories
            .iter()
            .map(|dir| dir.join(file))
            .enumerate();
        all.find(|(_, path)| path.is_file())
    }

    fn library(&mut self, name: &str, depth: usize) -> Option<Digest> {
        if !is_plain(name) {
            return None;
        }
        let shared = self.first(&format!("lib{name}.so"));
        let archive = self.first(&format!("lib{name}.a"));
        if shared.is_none() && archive.is_none() {
            return None;
        }
        let mut w = Writer::default();
        // In one directory the shared library wins; a nearer directory wins over both.
        let nearer = match (&shared, &archive) {
            (Some((so, _)), Some((a, _))) => u8::from(a < so),
            _ => 0,
        };
        w.u8(nearer);
        for found in [shared, archive] {
            let digest = match found {
                Some((_, path)) => Some(self.content(&path, depth)?),
                None => None,
            };
            w.option(digest.as_ref(), |w, d| w.fixed(d.as_bytes()));
        }
        Some(Digest::tagged(LIBRARY, &w.finish()))
    }

    /// A file's content, and that of what it refers to where it is a text.
    fn content(&mut self, path: &Path, depth: usize) -> Option<Digest> {
        let own = self.files.digest(path).ok()?;
        self.read.push(path.to_owned());
        let Some(text) = script(path) else {
            return Some(own);
        };
        let depth = depth.checked_sub(1)?;
        let mut w = Writer::default();
        w.fixed(own.as_bytes());
        for word in words(&text) {
            let digest = if let Some(name) = word.strip_prefix("-l") {
                self.library(name, depth)?
            } else if word.starts_with('/') {
                self.content(Path::new(word), depth)?
            } else {
                let (_, path) = self.first(word)?;
                self.content(&path, depth)?
            };
            w.fixed(digest.as_bytes());
        }
        Some(Digest::tagged(LIBRARY, &w.finish()))
    }
}

/// The text of a linker script; `None` for a library or an archive.
fn script(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = open_regular(path).ok()?;
    file.take(SCRIPT_MAX + 1).read_to_end(&mut bytes).ok()?;
    if bytes.starts_with(b"\x7fELF") || bytes.starts_with(b"!<arch>\n") {
        return None;
    }
    // What is neither is refused by the linker, or read by it as a script however long.
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The files that a script names: all words but its commands.
fn words(text: &str) -> Vec<&str> {
    let mut plain = Vec::new();
    let mut rest = text;
    // Comments out.
    while let Some((before, after)) = rest.split_once("/*") {
        plain.push(before);
        rest = after.split_once("*/").map_or("", |(_, after)| after);
    }
    plain.push(rest);
    let mut words = Vec::new();
    for part in plain {
        let mut format = 0;
        for word in part.split(|c: char| c.is_whitespace() || "(),;".contains(c)) {
            match word {
                "" | "GROUP" | "INPUT" | "AS_NEEDED" => {}
                "OUTPUT_FORMAT" | "OUTPUT_ARCH" => format = 1,
                _ if format > 0 => format = 0,
                _ => words.push(word),
            }
        }
    }
    words
}
