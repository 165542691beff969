//! Takes from the store what revoked builders signed.
//!
//! Their entries stop hitting by themselves: each is verified against the roster of now when it
//! is read, and once more before its files are put in place. This room frees the disk of them,
//! and of the objects that only they named. Enters: the roster, at each tick. Leaves: a store
//! without them. A fetch that began before the revocation may still put its entry a moment after
//! it: so the store is looked through again until every such fetch has ended. Must never happen
//! here: a row of the journal removed; it says what they have reached.

use crate::store::{Purge, Select, Store, StoreError};
use crate::swarm::Swarm;
use crate::team::Team;
use quarry_trust::BuilderId;
use quarry_trust::roster::Gone;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How often the store is looked through for one builder, at one tick after another: the longest
/// fetch has 20 s, two ticks; one more for what was put at its very end.
const LOOKS: u8 = 4;

/// Whom the store was looked through for already.
#[derive(Default)]
pub struct Sweep(Mutex<BTreeMap<BuilderId, u8>>);

impl Sweep {
    /// Removes the entries of builders that were revoked, also those whose revocation is older
    /// than this run of the node. Blocks, for as long as a walk through the store takes where
    /// there is somebody to look for.
    pub fn tick(&self, team: &Team, store: &dyn Store, swarm: &dyn Swarm) {
        let revoked: Vec<BuilderId> = team
            .roster(|r| {
                let gone = r.former().filter(|(_, gone)| *gone == Gone::Revoked);
                gone.map(|(member, _)| member.builder).collect()
            })
            .unwrap_or_default();
        // What we compiled ourselves is refused like the rest, and is nobody's danger here.
        let own = team.builder();
        let revoked: Vec<BuilderId> = revoked.into_iter().filter(|b| *b != own).collect();
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looked.retain(|builder, _| revoked.contains(builder));
        let mut removed = 0;
        let mut any = false;
        for builder in revoked {
            let looks = looked.entry(builder).or_default();
            if *looks >= LOOKS {
                continue;
            }
            any = true;
            match sweep(store, &builder) {
                Ok(entries) => {
                    *looks += 1;
                    removed += entries;
                }
                Err(error) => {
                    tracing::warn!(%error, "what {builder} signed could not be removed; tried again soon");
                }
            }
        }
        if any && let Err(error) = collect(store) {
            tracing::warn!(%error, "objects of revoked builders could not be removed; tried again soon");
        }
        if removed > 0 {
            swarm.roster_changed();
        }
    }
}

fn sweep(store: &dyn Store, builder: &BuilderId) -> Result<u64, StoreError> {
    let select = Select::Builder(*builder);
    let report = store.purge(&Purge {
        select,
        dry_run: false,
    })?;
    if report.entries > 0 {
        tracing::warn!(
            entries = report.entries,
            objects = report.objects,
            "builder {builder} was revoked: what it signed was removed; `qnode purge --builder {builder} --dry-run` says what it reached"
        );
    }
    Ok(report.entries)
}

/// Takes what no entry names: objects of a fetch that was refused at its end, and those that a
/// restore held while the others went.
fn collect(store: &dyn Store) -> Result<(), StoreError> {
    store.gc(u64::MAX)?;
    store.flush()
}

#[cfg(test)]
#[path = "revoked_tests.rs"]
mod tests;
