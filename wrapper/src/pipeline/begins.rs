//! When a compile, or a build script's run, begins: what changes from then on counts as changed
//! while it ran.
//!
//! A file's times tell no more than the tick in which it changed. What a build script leaves in
//! OUT_DIR, restored or by a run, would count as changed since, where the compile that reads it
//! begins in the same tick; so a compile (never a hit) begins with the next one then, a few
//! milliseconds later.

use super::Pipeline;
use crate::digests::{clock_mark, now_nanos};
use crate::invocation::Invocation;
use crate::stamps::within_ticks;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

/// When an OUT_DIR was last filled, as far as the node knows, nanoseconds since 1970.
#[derive(Default)]
pub(super) struct Filled(AtomicI64);

impl Filled {
    pub(super) fn now(&self) {
        let now = i64::try_from(now_nanos()).unwrap_or_default();
        self.0.fetch_max(now, Ordering::Relaxed);
    }
}

impl Pipeline {
    /// The beginning, by the clock of the filesystem that `dir` lies on, of what was `looked` up
    /// and not found. By that earlier time whatever was digested for the lookup is judged. What
    /// was made for this very package, by a script that nobody else saw, was there by then.
    pub(super) fn begins(&self, inv: &Invocation, dir: &Path, looked: i128) -> i128 {
        let made = inv.var("OUT_DIR").map_or(i128::MIN, |_| looked);
        let mut begins = looked;
        // Without the filesystem's clock it stays at that.
        let _ = within_ticks(|| {
            begins = clock_mark(dir)?;
            let filled = i128::from(self.filled.0.load(Ordering::Relaxed));
            Ok(begins > filled.max(made))
        });
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inv(out_dir: Option<&Path>) -> Invocation {
        let made = out_dir.map(|dir| ("OUT_DIR".into(), dir.into()));
        Invocation {
            argv: vec!["rustc".into()],
            env: made.into_iter().collect(),
            cwd: "/".into(),
            started: Vec::new(),
        }
    }

    /// Whether what is written just before `begins` is judged to have been there.
    fn was_there(begins: impl Fn(&Path) -> i128) {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..20 {
            let file = dir.path().join(n.to_string());
            std::fs::write(&file, "made").unwrap();
            let begins = begins(dir.path());
            let identity = crate::digests::Identity::of(&file.metadata().unwrap());
            assert!(identity.newest() < begins);
        }
    }

    #[test]
    fn what_was_filled_in_was_there_before_a_compile_begins() {
        let pipeline = Pipeline::new(None);
        was_there(|dir| {
            pipeline.filled.now();
            pipeline.begins(&inv(None), dir, 0)
        });
        let ahead = now_nanos() + 3_600_000_000_000;
        let filled = i64::try_from(ahead).unwrap();
        pipeline.filled.0.store(filled, Ordering::Relaxed);
        assert!(pipeline.begins(&inv(None), Path::new("/"), 0) < ahead);
    }

    #[test]
    fn what_a_script_made_at_its_end_was_there_before_its_package_is_compiled() {
        let pipeline = Pipeline::new(None);
        was_there(|dir| {
            let looked = clock_mark(dir).unwrap();
            pipeline.begins(&inv(Some(dir)), dir, looked)
        });
    }
}
