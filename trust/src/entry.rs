//! Entries: the signed record action key → outputs, messages, duration.
//!
//! An [`Entry`] is plain data in canonical bytes; a [`SignedEntry`] is those bytes as they were
//! received, with a signature over them. Nothing may be restored from either: only from a
//! [`crate::Verified`] entry, which verification alone makes. Output names are plain file names
//! by construction: a name that could leave the output directory does not decode.

use crate::canon::{CanonError, Canonical, Reader, Writer, strictly_ascending};
use crate::digest::{ActionKey, Digest, LookupKey, PROJECT};
use crate::key::{BuilderId, BuilderKey, SIGNATURE_LEN, Signature};
use crate::{canonical, canonical_enum};

/// The schema of [`Entry`]'s canonical bytes. An entry of another schema is unreachable.
pub const ENTRY_SCHEMA: u16 = 1;
/// The tag under which entries are signed.
pub const ENTRY_DOMAIN: &str = "quarry 2026-11 entry v1";
/// Outputs of one compile: rustc writes four at most today.
pub const MAX_OUTPUTS: usize = 16;
/// Length of an output's file name, in bytes: what common filesystems take.
pub const MAX_NAME: usize = 255;
/// Length of a crate's name, in bytes.
pub const MAX_CRATE_NAME: usize = 128;
/// Size of one object, in bytes. Larger outputs are not cached.
pub const MAX_OBJECT: u64 = 2 << 30;
/// Size of an entry's canonical bytes: sixteen outputs with the longest names fit.
pub const MAX_ENTRY_BYTES: usize = 8 * 1024;

/// A team's name for machines: the digest of its root key and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TeamId(pub Digest);

/// Who may see and use an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The node that made it alone: never announced, never served.
    Private,
    /// Every member of the team.
    Team(TeamId),
    /// Those members of the team to whom a project is open.
    Project(TeamId, Digest),
}

impl Scope {
    /// The team within which it is shared, where it is.
    #[must_use]
    pub const fn team(&self) -> Option<TeamId> {
        match self {
            Self::Private => None,
            Self::Team(team) | Self::Project(team, _) => Some(*team),
        }
    }

    /// The scope of a team's project, by the project's name.
    #[must_use]
    pub fn project(team: TeamId, name: &str) -> Self {
        let mut w = Writer::default();
        team.write(&mut w);
        w.text(name);
        Self::Project(team, Digest::tagged(PROJECT, &w.finish()))
    }
}

/// A digest with the length of the object that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// BLAKE3 of the object's bytes.
    pub digest: Digest,
    /// Length in bytes, at most [`MAX_OBJECT`].
    pub size: u64,
}

impl ObjectRef {
    fn check(&self) -> Result<(), CanonError> {
        (self.size <= MAX_OBJECT).then_some(()).ok_or(CanonError::Limit)
    }
}

/// A plain file name: no separator, no NUL, not empty, not `.` or `..`, at most [`MAX_NAME`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputName(String);

impl OutputName {
    /// Takes a plain file name; refuses what could lead out of a directory.
    ///
    /// # Errors
    /// [`CanonError::Value`] or [`CanonError::Limit`].
    pub fn new(name: impl Into<String>) -> Result<Self, CanonError> {
        let name = name.into();
        if name.len() > MAX_NAME {
            return Err(CanonError::Limit);
        }
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', '\0']) {
            return Err(CanonError::Value("an output's name is not a plain file name"));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an output is to the restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputKind {
    /// Bytes restored as they are: an rlib, an object file.
    Plain,
    /// An rmeta: its notification goes out once the whole entry is in place.
    Metadata,
    /// A dep-info file: stored with placeholders, rewritten token by token for the checkout.
    DepInfo,
}

/// One file that the compile wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name in the output directory.
    pub name: OutputName,
    /// What it is to the restore.
    pub kind: OutputKind,
    /// Whether its mode has the executable bits; every other bit is the restorer's umask.
    pub executable: bool,
    /// Its bytes.
    pub object: ObjectRef,
}

/// The record of one compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who may see and use it.
    pub scope: Scope,
    /// Who compiled and signed it.
    pub builder: BuilderId,
    /// What was known before the inputs were.
    pub lookup: LookupKey,
    /// What was compiled, inputs and all.
    pub action: ActionKey,
    /// The canonical description of the action: its BLAKE3 under the action tag is `action`.
    pub description: ObjectRef,
    /// The crate's name; information for people.
    pub crate_name: String,
    /// The files, sorted by name.
    pub outputs: Vec<Output>,
    /// What the compiler wrote on stdout, paths as placeholders.
    pub stdout: ObjectRef,
    /// What the compiler wrote on stderr, paths as placeholders.
    pub stderr: ObjectRef,
    /// Columns of the terminal for which messages were rendered; `None` where there are none.
    pub width: Option<u16>,
    /// How long the compile took, in milliseconds.
    pub duration_ms: u64,
    /// When it was made, seconds since 1970 by the builder's clock. Information, never evidence.
    pub created: u64,
}

impl Entry {
    fn check(&self) -> Result<(), CanonError> {
        strictly_ascending(self.outputs.iter().map(|o| &o.name))
    }

    /// Every object that a restore needs: outputs, stdout, stderr (empty ones left out).
    pub fn restore_objects(&self) -> impl Iterator<Item = ObjectRef> + '_ {
        self.outputs
            .iter()
            .map(|o| o.object)
            .chain([self.stdout, self.stderr])
            .filter(|o| o.size > 0)
    }

    /// Every object that the entry names: those of a restore, and the description.
    pub fn objects(&self) -> impl Iterator<Item = ObjectRef> + '_ {
        self.restore_objects().chain([self.description])
    }

    /// Signs the entry with the key of its builder.
    ///
    /// # Panics
    /// If `key` is not the entry's builder: a mistake of the caller that must not be stored.
    #[must_use]
    pub fn sign(&self, key: &BuilderKey) -> SignedEntry {
        assert_eq!(key.id(), self.builder, "an entry is signed by the builder it names");
        let bytes = self.to_canon();
        let signature = key.sign(ENTRY_DOMAIN, &bytes);
        SignedEntry { bytes, signature }
    }
}

/// An entry's bytes as received, and a signature over them. Believed by nobody yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEntry {
    /// Canonical bytes of an [`Entry`], or whatever came in their place.
    pub bytes: Vec<u8>,
    /// Over [`ENTRY_DOMAIN`] and `bytes`.
    pub signature: Signature,
}

impl SignedEntry {
    /// The bytes that are stored and sent: the signature, then the entry's bytes.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.fixed(&self.signature.0);
        w.fixed(&self.bytes);
        w.finish()
    }

    /// Takes stored or sent bytes apart. Bounded; says nothing about whether they are true.
    ///
    /// # Errors
    /// [`CanonError::Limit`] above [`MAX_ENTRY_BYTES`], [`CanonError::Short`] without a signature.
    pub fn from_wire(wire: &[u8]) -> Result<Self, CanonError> {
        if wire.len() > SIGNATURE_LEN + MAX_ENTRY_BYTES {
            return Err(CanonError::Limit);
        }
        let mut r = Reader::new(wire);
        let signature = Signature(r.array()?);
        Ok(Self { bytes: wire[SIGNATURE_LEN..].to_vec(), signature })
    }
}

canonical!(TeamId { 0 });

canonical_enum!(Scope {
    0 => Private,
    1 => Team(team),
    2 => Project(team, project),
} "an unknown scope");
canonical!(ObjectRef { digest, size } check ObjectRef::check);
canonical_enum!(OutputKind { 0 => Plain, 1 => Metadata, 2 => DepInfo } "an unknown kind of output");
fn write_name(w: &mut Writer, name: &OutputName) {
    w.text(name.as_str());
}

fn write_width(w: &mut Writer, width: &Option<u16>) {
    w.option(width.as_ref(), |w, v| w.u16(*v));
}

canonical!(Output {
    name: (write_name, r => OutputName::new(r.text(MAX_NAME)?)),
    kind,
    executable,
    object,
});
canonical!(Entry, ENTRY_SCHEMA => {
    scope,
    builder,
    lookup,
    action,
    description,
    crate_name: (Writer::text, r => r.text(MAX_CRATE_NAME)),
    outputs: (Writer::list, r => r.list(MAX_OUTPUTS)),
    stdout,
    stderr,
    width: (write_width, r => r.option(Reader::u16)),
    duration_ms,
    created,
} check Entry::check);

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
