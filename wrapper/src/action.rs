//! The canonical action: what a compile is, inputs and all, and the keys made of it.
//!
//! Enters: the normalised command, digests, values of variables. Leaves: a [`LookupKey`] (what
//! is known before any input list is), a [`Prediction`] (the *names* of the inputs) and a
//! [`Description`], whose canonical bytes hash to the [`ActionKey`] and are stored with the entry.
//! Must never happen here: reading a file, a path of this checkout that is not a placeholder
//! (but for what has none, which is literal and so serves this checkout alone).

use crate::child::Child;
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer, strictly_ascending};
use quarry_trust::{ActionKey, Digest, LookupKey};

/// Schema of descriptions, lookup keys and predictions. A change to any of them, or to what is
/// put into them, takes a new number: entries of the old one are unreachable.
pub const ACTION_SCHEMA: u16 = 4;
/// Files that one compile may read. The largest crates read a few thousand.
pub const MAX_FILES: usize = 50_000;
/// Variables that one compile may read.
pub const MAX_VARIABLES: usize = 1_000;
/// Length of a named path or a value, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// Programs that the macros of one compile may start.
pub const MAX_RAN: usize = 64;
/// Arguments of one command, externs and libraries of one unit.
pub const MAX_ARGS: usize = 20_000;

/// A named file and its digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileInput {
    /// Placeholder path, or a literal path where it is under no known root.
    pub name: String,
    /// BLAKE3 of its bytes; `None` where it must be absent.
    pub digest: Option<Digest>,
}

/// A crate given by `--extern`, by content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternInput {
    /// The name under which the unit knows it.
    pub name: String,
    /// The file's name, without its directory.
    pub file: String,
    /// BLAKE3 of the file; `None` for a sysroot crate named without a path.
    pub digest: Option<Digest>,
}

/// What a variable was when the compile read it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Not set, which is not the empty string.
    Unset,
    /// In clear: a variable of the public list.
    Public(String),
    /// A digest of the value, keyed with the team's secret.
    Keyed(Digest),
    /// Used to name included files only; the value under its placeholder.
    Symbolic(String),
}

/// A variable and its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// Which rules decided what counts as an input of a macro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Observer {
    /// Nobody watched: no macro from outside the sysroot runs, or what macros read beyond
    /// dep-info is not in the key.
    None = 0,
    /// The preloaded observer watched: what macros opened, listed, looked for and asked of the
    /// environment is in the key.
    Preload = 1,
}

/// How a path was looked at without its bytes being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Look {
    /// Its names were listed.
    List = 0,
    /// It was asked what is there.
    Kind = 1,
    /// A symbolic link was followed, or read.
    Link = 2,
}

/// What a look at a path showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// A directory with these names: the digest of its listing.
    Listing(Digest),
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that leads there: the digest of what it says, with placeholders.
    Link(Digest),
}

impl Sight {
    /// How one looks to see this.
    #[must_use]
    pub const fn look(&self) -> Look {
        match self {
            Self::Listing(_) => Look::List,
            Self::File | Self::Directory => Look::Kind,
            Self::Link(_) => Look::Link,
        }
    }
}

/// A path that was looked at, and what was seen. What must be absent stands among the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Placeholder path, or a literal path where it is under no known root.
    pub name: String,
    /// What was seen.
    pub sight: Sight,
}

impl Looked {
    fn order(&self) -> (&str, Look) {
        (&self.name, self.sight.look())
    }
}

/// A program that a macro ran, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// What was run.
    pub child: Child,
    /// Whether it is written with placeholders.
    pub how: Use,
    /// Digest of all that it said, and of how it ended.
    pub said: Digest,
    /// Whether no root of this checkout stands in what it said.
    pub placeless: bool,
}

/// What is known of a compile before its input list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Digest of the compiler's own files and version.
    pub compiler: Digest,
    /// `rustc -vV`, for people.
    pub compiler_version: String,
    /// The observation rules in force.
    pub observer: Observer,
    /// Digests of those macros behind the unit that the user vouches for, in ascending order:
    /// nothing that they read beyond dep-info is in the key.
    pub pure: Vec<Digest>,
    /// The arguments that matter, in order, paths as placeholders.
    pub args: Vec<Vec<u8>>,
    /// The root file.
    pub root: FileInput,
}

/// The whole canonical action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What the lookup key covers.
    pub known: Known,
    /// Direct externs, in the order of the command.
    pub externs: Vec<ExternInput>,
    /// Every macro library from outside the sysroot that is reachable through the externs.
    pub macros: Vec<FileInput>,
    /// Native archives that the unit may bundle.
    pub native: Vec<FileInput>,
    /// What a link unit is linked of and with beyond that: all crates behind it, the linker, its
    /// objects and libraries. Empty for others.
    pub link: Vec<FileInput>,
    /// Sources and whatever else was read, and what must be absent.
    pub files: Vec<FileInput>,
    /// What was looked at and not read, in ascending order.
    pub looked: Vec<Looked>,
    /// Variables that were read.
    pub variables: Vec<Variable>,
    /// Programs that macros ran, in the order in which they were started.
    pub ran: Vec<Ran>,
}

/// How the value of a variable enters the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Use {
    /// By its value.
    Literal = 0,
    /// By its placeholder: it can only name included files, which are inputs themselves.
    Symbolic = 1,
}

/// The names of the inputs that an earlier compile read. A hint: a wrong one can only miss.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prediction {
    /// Files to digest, by name, in ascending order.
    pub files: Vec<String>,
    /// Files that must be absent, in ascending order.
    pub absent: Vec<String>,
    /// Paths to look at, in ascending order.
    pub looks: Vec<(String, Look)>,
    /// Variables to look at, in ascending order.
    pub variables: Vec<(String, Use)>,
    /// Programs to run again, in this order, where all else is as it was.
    pub ran: Vec<Ran>,
    /// All else: the digest of the description without these programs; `None` where there are none.
    pub rest: Option<Digest>,
}

impl Known {
    /// The lookup key.
    #[must_use]
    pub fn lookup(&self) -> LookupKey {
        LookupKey::of(&self.to_canon())
    }
}

impl Description {
    /// The action key, and the bytes it is the digest of.
    #[must_use]
    pub fn action(&self) -> (ActionKey, Vec<u8>) {
        let bytes = self.to_canon();
        (ActionKey::of(&bytes), bytes)
    }

    /// The digest of all but the programs that macros ran.
    #[must_use]
    pub fn rest(&self) -> Digest {
        let ran = Vec::new();
        Digest::of(
            &Self {
                ran,
                ..self.clone()
            }
            .to_canon(),
        )
    }

    /// The names in this description: what would predict it.
    #[must_use]
    pub fn prediction(&self) -> Prediction {
        let mut prediction = Prediction::default();
        for file in &self.files {
            let list = if file.digest.is_some() {
                &mut prediction.files
            } else {
                &mut prediction.absent
            };
            list.push(file.name.clone());
        }
        let looks = self.looked.iter();
        prediction.looks = looks.map(|l| (l.name.clone(), l.sight.look())).collect();
        prediction.variables = self
            .variables
            .iter()
            .map(|v| {
                let how = if matches!(v.value, Value::Symbolic(_)) {
                    Use::Symbolic
                } else {
                    Use::Literal
                };
                (v.name.clone(), how)
            })
            .collect();
        prediction.ran.clone_from(&self.ran);
        prediction.rest = (!self.ran.is_empty()).then(|| self.rest());
        prediction
    }
}

impl Canonical for FileInput {
    fn write(&self, w: &mut Writer) {
        w.text(&self.name);
        w.option(self.digest.as_ref(), |w, d| d.write(w));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(Self {
            name: r.text(MAX_TEXT)?,
            digest: r.option(Digest::read)?,
        })
    }
}

impl Canonical for ExternInput {
    fn write(&self, w: &mut Writer) {
        w.text(&self.name);
        w.text(&self.file);
        w.option(self.digest.as_ref(), |w, d| d.write(w));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(Self {
            name: r.text(MAX_TEXT)?,
            file: r.text(MAX_TEXT)?,
            digest: r.option(Digest::read)?,
        })
    }
}

impl Canonical for Looked {
    fn write(&self, w: &mut Writer) {
        w.text(&self.name);
        match &self.sight {
            Sight::Listing(digest) => {
                w.u8(0);
                digest.write(w);
            }
            Sight::File => w.u8(1),
            Sight::Directory => w.u8(2),
            Sight::Link(digest) => {
                w.u8(3);
                digest.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let name = r.text(MAX_TEXT)?;
        let sight = match r.u8()? {
            0 => Sight::Listing(Digest::read(r)?),
            1 => Sight::File,
            2 => Sight::Directory,
            3 => Sight::Link(Digest::read(r)?),
            _ => return Err(CanonError::Value("an unknown sight")),
        };
        Ok(Self { name, sight })
    }
}

impl Canonical for Ran {
    fn write(&self, w: &mut Writer) {
        self.child.write(w);
        w.u8(self.how as u8);
        self.said.write(w);
        w.u8(self.placeless.into());
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(Self {
            child: Child::read(r)?,
            how: Use::read(r)?,
            said: Digest::read(r)?,
            placeless: bool::read(r)?,
        })
    }
}

impl Use {
    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        match r.u8()? {
            0 => Ok(Self::Literal),
            1 => Ok(Self::Symbolic),
            _ => Err(CanonError::Value("an unknown use")),
        }
    }
}

impl Canonical for Variable {
    fn write(&self, w: &mut Writer) {
        w.text(&self.name);
        match &self.value {
            Value::Unset => w.u8(0),
            Value::Public(text) => {
                w.u8(1);
                w.text(text);
            }
            Value::Keyed(digest) => {
                w.u8(2);
                digest.write(w);
            }
            Value::Symbolic(text) => {
                w.u8(3);
                w.text(text);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let name = r.text(MAX_TEXT)?;
        let value = match r.u8()? {
            0 => Value::Unset,
            1 => Value::Public(r.text(MAX_TEXT)?),
            2 => Value::Keyed(Digest::read(r)?),
            3 => Value::Symbolic(r.text(MAX_TEXT)?),
            _ => return Err(CanonError::Value("an unknown kind of value")),
        };
        Ok(Self { name, value })
    }
}

impl Canonical for Known {
    fn write(&self, w: &mut Writer) {
        w.u16(ACTION_SCHEMA);
        self.compiler.write(w);
        w.text(&self.compiler_version);
        w.u8(self.observer as u8);
        w.list(&self.pure);
        w.count(self.args.len());
        for arg in &self.args {
            w.bytes(arg);
        }
        self.root.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let schema = r.u16()?;
        if schema != ACTION_SCHEMA {
            return Err(CanonError::Schema(schema));
        }
        let compiler = Digest::read(r)?;
        let compiler_version = r.text(MAX_TEXT)?;
        let observer = match r.u8()? {
            0 => Observer::None,
            1 => Observer::Preload,
            _ => return Err(CanonError::Value("an unknown observer")),
        };
        let pure: Vec<Digest> = r.list(MAX_ARGS)?;
        strictly_ascending(&pure)?;
        let count = r.count(MAX_ARGS)?;
        let args = (0..count)
            .map(|_| r.bytes(MAX_TEXT).map(<[u8]>::to_vec))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            compiler,
            compiler_version,
            observer,
            pure,
            args,
            root: FileInput::read(r)?,
        })
    }
}

impl Canonical for Description {
    fn write(&self, w: &mut Writer) {
        self.known.write(w);
        w.list(&self.externs);
        w.list(&self.macros);
        w.list(&self.native);
        w.list(&self.link);
        w.list(&self.files);
        w.list(&self.looked);
        w.list(&self.variables);
        w.list(&self.ran);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let description = Self {
            known: Known::read(r)?,
            externs: r.list(MAX_ARGS)?,
            macros: r.list(MAX_FILES)?,
            native: r.list(MAX_FILES)?,
            link: r.list(MAX_FILES)?,
            files: r.list(MAX_FILES)?,
            looked: r.list(MAX_FILES)?,
            variables: r.list(MAX_VARIABLES)?,
            ran: r.list(MAX_RAN)?,
        };
        strictly_ascending(&description.macros)?;
        strictly_ascending(&description.link)?;
        strictly_ascending(description.files.iter().map(|f| &f.name))?;
        strictly_ascending(description.looked.iter().map(Looked::order))?;
        strictly_ascending(description.variables.iter().map(|v| &v.name))?;
        Ok(description)
    }
}

fn write_names(w: &mut Writer, names: &[String]) {
    w.count(names.len());
    for name in names {
        w.text(name);
    }
}

fn read_names(r: &mut Reader<'_>) -> Result<Vec<String>, CanonError> {
    let count = r.count(MAX_FILES)?;
    let mut names = Vec::with_capacity(count.min(1_000));
    for _ in 0..count {
        names.push(r.text(MAX_TEXT)?);
    }
    strictly_ascending(&names)?;
    Ok(names)
}

fn read_looks(r: &mut Reader<'_>) -> Result<Vec<(String, Look)>, CanonError> {
    let count = r.count(MAX_FILES)?;
    let mut looks = Vec::with_capacity(count.min(1_000));
    for _ in 0..count {
        let name = r.text(MAX_TEXT)?;
        let look = match r.u8()? {
            0 => Look::List,
            1 => Look::Kind,
            2 => Look::Link,
            _ => return Err(CanonError::Value("an unknown look")),
        };
        looks.push((name, look));
    }
    strictly_ascending(looks.iter().map(|(name, look)| (name.as_str(), *look)))?;
    Ok(looks)
}

impl Canonical for Prediction {
    fn write(&self, w: &mut Writer) {
        w.u16(ACTION_SCHEMA);
        write_names(w, &self.files);
        write_names(w, &self.absent);
        w.count(self.looks.len());
        for (name, look) in &self.looks {
            w.text(name);
            w.u8(*look as u8);
        }
        w.count(self.variables.len());
        for (name, how) in &self.variables {
            w.text(name);
            w.u8(*how as u8);
        }
        w.list(&self.ran);
        w.option(self.rest.as_ref(), |w, rest| rest.write(w));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let schema = r.u16()?;
        if schema != ACTION_SCHEMA {
            return Err(CanonError::Schema(schema));
        }
        let files = read_names(r)?;
        let absent = read_names(r)?;
        let looks = read_looks(r)?;
        let count = r.count(MAX_VARIABLES)?;
        let mut variables = Vec::with_capacity(count);
        for _ in 0..count {
            let name = r.text(MAX_TEXT)?;
            variables.push((name, Use::read(r)?));
        }
        strictly_ascending(variables.iter().map(|(name, _)| name))?;
        let ran: Vec<Ran> = r.list(MAX_RAN)?;
        let rest = r.option(Digest::read)?;
        if rest.is_some() == ran.is_empty() {
            return Err(CanonError::Value(
                "programs without the rest, or the reverse",
            ));
        }
        Ok(Self {
            files,
            absent,
            looks,
            variables,
            ran,
            rest,
        })
    }
}

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
