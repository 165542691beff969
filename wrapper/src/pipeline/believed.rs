//! From verified entries to a restored one: which are believed, and the first of these that can
//! be had.
//!
//! Enters: what the store and the peers hold for one action, every piece of it evidence. Leaves: a
//! hit, or nothing. Must never happen here: a restore of what the cache's policy did not name.

use super::{Cache, Caller, Candidate, Hit};
use crate::compiler::rustc::args::{Unit, UnitKind};

/// Whether what a command makes runs while something is built: procedural macros, build scripts,
/// programs (`cargo run` and `cargo test` start them at once), and what a build script's run left
/// and said (no unit), which steers the compiles that follow. What is only checked runs nowhere.
///
/// A library is not among it, though it may be linked into a macro: which one will be cannot be
/// told when it is compiled.
#[must_use]
pub fn executes(unit: Option<&Unit>) -> bool {
    let Some(unit) = unit else {
        return true;
    };
    let program = match unit.kind {
        UnitKind::ProcMacro | UnitKind::BuildScript => true,
        UnitKind::Bin | UnitKind::Example | UnitKind::Test => true,
        UnitKind::Lib | UnitKind::Dylib | UnitKind::Cdylib | UnitKind::Staticlib => false,
    };
    program && unit.emit.link
}

/// What one command wants of the cache.
pub(super) struct Want<'a> {
    pub cache: &'a dyn Cache,
    pub caller: &'a Caller<'a>,
    /// Whether an entry is for the command at all.
    pub fits: &'a dyn Fn(&Candidate) -> bool,
    /// What makes a signed entry unfit for this very command, before any object is asked for.
    pub misfit: &'a dyn Fn(&Candidate) -> Option<&'static str>,
    pub executes: bool,
    pub restore: &'a dyn Fn(&Candidate) -> Option<Hit>,
}

impl Want<'_> {
    /// Restores one of those that are believed, those that lie here first. What is not fit is
    /// struck from the list, and so is what lies here and cannot be restored.
    pub fn first(&self, candidates: &mut Vec<Candidate>) -> Option<Hit> {
        candidates.retain(|candidate| {
            let why = (self.fits)(candidate).then(|| (self.misfit)(candidate));
            let why = why.flatten();
            why.inspect(|why| self.cache.refused(candidate, why))
                .is_none()
        });
        let fit: Vec<&Candidate> = candidates.iter().filter(|c| (self.fits)(c)).collect();
        if fit.is_empty() {
            return None;
        }
        let believed = self.cache.judge(&fit, self.executes);
        let mut believed: Vec<&Candidate> = believed
            .iter()
            .filter_map(|at| fit.get(*at))
            .copied()
            .collect();
        believed.sort_by_key(|c| c.from.is_some());
        let mut broken = Vec::new();
        for candidate in &believed {
            if !self.cache.bring(candidate, &believed) {
                continue;
            }
            if let Some(hit) = (self.restore)(candidate) {
                return Some(hit);
            }
            let entry = &candidate.entry;
            let waits = (self.caller.waits)() && self.cache.stands(entry);
            if candidate.from.is_none() && waits {
                self.cache.damaged(entry);
                broken.push(candidate.signed.clone());
            }
        }
        candidates.retain(|c| c.from.is_some() || !broken.contains(&c.signed));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invocation::Invocation;

    fn unit(words: &str) -> Unit {
        let argv = format!(
            "rustc src/lib.rs --crate-name x -C metadata=1 --out-dir /t/debug/deps {words}"
        );
        let inv = Invocation {
            argv: argv.split_whitespace().map(Into::into).collect(),
            env: Vec::new(),
            cwd: "/w".into(),
            started: Vec::new(),
        };
        Unit::parse(&inv).unwrap()
    }

    #[test]
    fn macros_scripts_and_programs_execute_and_libraries_do_not() {
        let linked = "--error-format=json --emit=dep-info,metadata,link";
        for (kind, runs) in [
            ("--crate-type proc-macro -C prefer-dynamic", true),
            ("--crate-type bin", true),
            ("--test", true),
            ("--crate-type lib", false),
            ("--crate-type rlib", false),
        ] {
            assert_eq!(
                executes(Some(&unit(&format!("{linked} {kind}")))),
                runs,
                "{kind}"
            );
        }
        let checked = unit("--error-format=json --emit=dep-info,metadata --crate-type bin");
        assert!(
            !executes(Some(&checked)),
            "what is only checked is no program"
        );
        assert!(executes(None), "what a build script's run left");
    }
}
