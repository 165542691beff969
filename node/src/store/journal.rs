//! The journal: which entries were put into which target directories.
//!
//! Enters: one [`Placed`] for each restore, and for each compile that was kept. Leaves: the same,
//! for who asks what a builder's entries have reached; the journal outlives the entries, since it
//! is asked for after they are gone. Plain data in canonical bytes of a schema of its own. Must
//! never happen here: a compile that waits, a belief: rows come from our own disk, and say only
//! where to look.

use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::digest::{DIGEST_LEN, Domain};
use quarry_trust::entry::{MAX_CRATE_NAME, MAX_NAME, MAX_OUTPUTS};
use quarry_trust::{ActionKey, BuilderId, Digest, OutputName, Scope};

/// Schema of a row's bytes.
const SCHEMA: u16 = 1;
/// Rows that are kept. The same entry in the same directory has one row, so a checkout of a
/// project with 500 crates takes 500 rows for each profile and each state of its sources: some
/// two hundred of those, at about 400 bytes a row.
pub const JOURNAL_ROWS: u64 = 100_000;
/// Rows above [`JOURNAL_ROWS`] at which the oldest go, so that not every commit looks for them.
pub const JOURNAL_SLACK: u64 = 5_000;
/// Rows that wait in memory for the next commit; beyond, the newest are lost, with a line in the
/// log. A disk that takes nothing for so long has other troubles.
pub const JOURNAL_WAITING: usize = 20_000;
/// Length of a directory's path, bytes: what the system takes.
const MAX_DIR: usize = 4096;
/// Length of a row's key: the builder, and a digest of entry and directory.
pub(super) const JOURNAL_KEY_LEN: usize = 2 * DIGEST_LEN;

/// How an entry's outputs came into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum How {
    /// They were restored.
    Restored = 0,
    /// They were compiled there, and kept as this entry.
    Compiled = 1,
}

/// What an entry's outputs are to who has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Code for others to link; nothing of it runs by being there.
    Library = 0,
    /// A macro: the compiler loads and runs it.
    Macro = 1,
    /// A build script's program: cargo runs it.
    BuildScript = 2,
    /// What a build script's run left: files, and directions to compiler and linker.
    ScriptRun = 3,
    /// A program, an example, a test: run by who built it.
    Program = 4,
}

impl Kind {
    /// Its word in reports, which scripts read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Macro => "macro",
            Self::BuildScript => "build-script",
            Self::ScriptRun => "script-run",
            Self::Program => "program",
        }
    }

    /// Whether having it means that code of its maker ran, or steered what ran, on this machine:
    /// all but a library, whose code runs in what was built from it.
    #[must_use]
    pub const fn executes(self) -> bool {
        !matches!(self, Self::Library)
    }

    const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Library,
            1 => Self::Macro,
            2 => Self::BuildScript,
            3 => Self::ScriptRun,
            4 => Self::Program,
            _ => return None,
        })
    }
}

/// An entry's outputs in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// How they came there.
    pub how: How,
    /// Who signed the entry.
    pub builder: BuilderId,
    /// The entry's action.
    pub action: ActionKey,
    /// Who may hear of it.
    pub scope: Scope,
    /// The crate, or the package whose build script ran.
    pub crate_name: String,
    /// What it is.
    pub kind: Kind,
    /// The directory, absolute: the compile's output directory, or OUT_DIR.
    pub dir: String,
    /// The files by name and digest, without those that are rewritten for each checkout. Of a
    /// [`Kind::ScriptRun`] there is one, which stands for all of the directory.
    pub files: Vec<(String, Digest)>,
    /// When, milliseconds since 1970 by this node's clock.
    pub at: u64,
}

impl Placed {
    /// The row's key: neighbours are of one builder, and the same entry in the same directory is
    /// the same row.
    pub(super) fn key(&self) -> [u8; JOURNAL_KEY_LEN] {
        let mut place = Vec::with_capacity(DIGEST_LEN + self.dir.len());
        place.extend_from_slice(self.action.as_bytes());
        place.extend_from_slice(self.dir.as_bytes());
        let mut key = [0; JOURNAL_KEY_LEN];
        key[..DIGEST_LEN].copy_from_slice(&self.builder.0);
        let place = Digest::tagged(Domain("quarry 2026-11 place v1"), &place);
        key[DIGEST_LEN..].copy_from_slice(place.as_bytes());
        key
    }

    /// The row: the time first, then canonical bytes.
    pub(super) fn to_row(&self) -> Vec<u8> {
        let mut row = self.at.to_le_bytes().to_vec();
        row.extend_from_slice(&self.to_canon());
        row
    }

    /// The time in a row.
    pub(super) fn time_of(row: &[u8]) -> u64 {
        row.first_chunk().map_or(0, |at| u64::from_le_bytes(*at))
    }

    /// Takes a row apart; `None` where it is damaged or of another schema.
    pub(super) fn from_row(row: &[u8]) -> Option<Self> {
        let (at, rest) = row.split_first_chunk()?;
        let placed = Self::from_canon(rest).ok()?;
        let at = u64::from_le_bytes(*at);
        Some(Self { at, ..placed })
    }

    /// Whether a row can hold it: a path that is longer than the system takes is none.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.dir.len() <= MAX_DIR
            && self.crate_name.len() <= MAX_CRATE_NAME
            && self.files.len() <= MAX_OUTPUTS
            && self.files.iter().all(|(name, _)| name.len() <= MAX_NAME)
    }
}

/// A file's name and digest, in a list.
struct File(String, Digest);

impl Canonical for File {
    fn write(&self, w: &mut Writer) {
        w.text(&self.0);
        self.1.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let name = OutputName::new(r.text(MAX_NAME)?)?;
        Ok(Self(name.as_str().to_owned(), Digest::read(r)?))
    }
}

impl Canonical for Placed {
    fn write(&self, w: &mut Writer) {
        w.u16(SCHEMA);
        w.u8(self.how as u8);
        self.builder.write(w);
        self.action.digest().write(w);
        self.scope.write(w);
        w.text(&self.crate_name);
        w.u8(self.kind as u8);
        w.text(&self.dir);
        let files: Vec<File> = self
            .files
            .iter()
            .map(|(n, d)| File(n.clone(), *d))
            .collect();
        w.list(&files);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let schema = r.u16()?;
        if schema != SCHEMA {
            return Err(CanonError::Schema(schema));
        }
        let how = match r.u8()? {
            0 => How::Restored,
            1 => How::Compiled,
            _ => return Err(CanonError::Value("an unknown way to come there")),
        };
        Ok(Self {
            how,
            builder: BuilderId::read(r)?,
            action: ActionKey::from_digest(Digest::read(r)?),
            scope: Scope::read(r)?,
            crate_name: r.text(MAX_CRATE_NAME)?,
            kind: Kind::of(r.u8()?).ok_or(CanonError::Value("an unknown kind"))?,
            dir: r.text(MAX_DIR)?,
            files: r
                .list::<File>(MAX_OUTPUTS)?
                .into_iter()
                .map(|file| (file.0, file.1))
                .collect(),
            at: 0,
        })
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
