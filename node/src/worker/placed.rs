//! A row of the journal, made of what a restore or a compile came to.
//!
//! Enters: an entry, the kind of unit, the directory. Leaves: a [`Placed`]. Must never happen
//! here: a look at the disk: it stands on a hit's way.

use crate::store::{How, Kind, Placed};
use quarry_trust::{Entry, OutputKind};
use quarry_wrapper::compiler::rustc::args::UnitKind;
use std::time::{SystemTime, UNIX_EPOCH};

/// What an entry's outputs are in `dir`; `unit` is `None` for a build script's run.
pub(super) fn of(how: How, entry: &Entry, unit: Option<UnitKind>, dir: &str) -> Placed {
    let kept = entry
        .outputs
        .iter()
        .filter(|o| o.kind != OutputKind::DepInfo);
    Placed {
        how,
        builder: entry.builder,
        action: entry.action,
        scope: entry.scope,
        crate_name: entry.crate_name.clone(),
        kind: kind(entry, unit),
        dir: dir.to_owned(),
        files: kept
            .map(|o| (o.name.as_str().to_owned(), o.object.digest))
            .collect(),
        at: now_millis(),
    }
}

/// Milliseconds since 1970, by this node's clock.
pub(super) fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

fn kind(entry: &Entry, unit: Option<UnitKind>) -> Kind {
    let kind = match unit {
        None => return Kind::ScriptRun,
        Some(UnitKind::Lib | UnitKind::Staticlib) => Kind::Library,
        Some(UnitKind::ProcMacro) => Kind::Macro,
        Some(UnitKind::BuildScript) => Kind::BuildScript,
        Some(
            UnitKind::Bin | UnitKind::Example | UnitKind::Test | UnitKind::Dylib | UnitKind::Cdylib,
        ) => Kind::Program,
    };
    // A check leaves metadata, which nothing runs.
    if entry.outputs.iter().any(|o| o.kind == OutputKind::Plain) {
        kind
    } else {
        Kind::Library
    }
}
