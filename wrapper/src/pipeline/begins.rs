//! When a compile, or a build script's run, begins: what changes from then on counts as changed
//! while it ran.
//!
//! A file's times tell no more than the tick in which it changed. What the hit of a build script
//! leaves in OUT_DIR would count as changed since, where the compile that reads it begins in the
//! same tick; so a compile (never a hit) begins with the next one then, a few milliseconds later.

use super::Pipeline;
use crate::digests::{clock_mark, now_nanos};
use crate::stamps::within_ticks;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

/// When the node last filled an OUT_DIR, nanoseconds since 1970.
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
    /// and not found. By that earlier time whatever was digested for the lookup is judged.
    pub(super) fn begins(&self, dir: &Path, looked: i128) -> i128 {
        let mut begins = looked;
        // Without the filesystem's clock it stays at that.
        let _ = within_ticks(|| {
            begins = clock_mark(dir)?;
            Ok(begins > i128::from(self.filled.0.load(Ordering::Relaxed)))
        });
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_in_was_there_before_a_compile_begins() {
        let dir = tempfile::tempdir().unwrap();
        let pipeline = Pipeline::new(None);
        for n in 0..20 {
            let file = dir.path().join(n.to_string());
            std::fs::write(&file, "made").unwrap();
            pipeline.filled.now();
            let begins = pipeline.begins(dir.path(), 0);
            let identity = crate::digests::Identity::of(&file.metadata().unwrap());
            assert!(identity.newest() < begins);
        }
        let ahead = now_nanos() + 3_600_000_000_000;
        let filled = i64::try_from(ahead).unwrap();
        pipeline.filled.0.store(filled, Ordering::Relaxed);
        assert!(pipeline.begins(dir.path(), 0) < ahead);
    }
}
