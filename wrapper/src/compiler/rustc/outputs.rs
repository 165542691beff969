//! What a compile writes into its output directory, by rustc's own naming.
//!
//! Enters: a unit. Leaves: the files that it writes, and how it is linked. Must never happen
//! here: a name that rustc would not write, a look at the disk.
//!
//! Source: `rustc_session::output::{out_filename, filename_for_metadata}`, tried with every kind.

use crate::compiler::rustc::args::{CrateType, Unit, UnitKind};
use quarry_trust::OutputKind;

/// A file that a compile writes into the output directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its name, without a directory.
    pub name: String,
    /// What it is to the restore.
    pub kind: OutputKind,
    /// Whether a compile that ended well has written it.
    pub required: bool,
}

/// How a unit's code becomes the file that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linking {
    /// Not at all: a check, or an rlib, which holds this crate alone.
    None,
    /// All crates behind it go into one archive, which rustc writes itself.
    Archive,
    /// The system's linker makes one file of all crates behind it.
    Linker,
    /// The linker runs more than once.
    Several,
}

impl Unit {
    /// How this unit is linked.
    #[must_use]
    pub fn linking(&self) -> Linking {
        if !self.emit.link {
            return Linking::None;
        }
        let by_linker = |ty: &&CrateType| !matches!(ty, CrateType::Rlib | CrateType::Staticlib);
        match self.types.iter().filter(by_linker).count() {
            _ if self.kind == UnitKind::Test => Linking::Linker,
            0 if self.types.contains(&CrateType::Staticlib) => Linking::Archive,
            0 => Linking::None,
            1 => Linking::Linker,
            _ => Linking::Several,
        }
    }

    /// What the compile writes into the output directory. Names are those of Linux for whatever
    /// is linked; what is linked for other systems is not cached.
    #[must_use]
    pub fn outputs(&self) -> Vec<Expected> {
        let stem = format!("{}{}", self.crate_name, self.extra_filename);
        let mut all = Vec::new();
        let mut one = |name: String, kind: OutputKind| {
            all.push(Expected {
                name,
                kind,
                required: true,
            });
        };
        if self.emit.dep_info {
            one(format!("{stem}.d"), OutputKind::DepInfo);
        }
        if self.emit.metadata {
            // Empty for what nothing can depend on, but there.
            one(format!("lib{stem}.rmeta"), OutputKind::Metadata);
        }
        if self.emit.link {
            if self.kind == UnitKind::Test {
                one(stem.clone(), OutputKind::Plain);
            }
            for ty in &self.types {
                let name = match ty {
                    CrateType::Rlib => format!("lib{stem}.rlib"),
                    CrateType::ProcMacro | CrateType::Dylib | CrateType::Cdylib => {
                        format!("lib{stem}.so")
                    }
                    CrateType::Staticlib => format!("lib{stem}.a"),
                    CrateType::Bin => stem.clone(),
                };
                one(name, OutputKind::Plain);
            }
        }
        all
    }
}
