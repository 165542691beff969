//! Entering or leaving a team: our own entries change their scope with us.
//!
//! Only what this node compiled itself is signed again, and only under its own key; what a
//! compile read that looked like a secret keeps the entry private in any team, and so does what
//! was not seen to the end.

use crate::store::{Offer, Store, StoreError};
use crate::team::Team;
use quarry_trust::canon::Canonical;
use quarry_trust::verify::Source;
use quarry_trust::{Entry, Scope};
use quarry_wrapper::action::Description;
use quarry_wrapper::pipeline::stays_here;
use std::io::Read;

/// A description larger than this is not read.
const DESCRIPTION_MAX: u64 = 64 << 20;

/// Signs our own entries again for the scope that holds now. Leaves how many there were.
///
/// # Errors
/// What the store said; what was signed until then stays.
pub fn adopt(store: &dyn Store, team: &Team) -> Result<u64, StoreError> {
    let scope = team.scope();
    let own = team.builder();
    let mut ours: Vec<(Entry, Vec<u8>)> = Vec::new();
    store.each_offer(&mut |offer: Offer| {
        let Ok(entry) = Entry::from_canon(&offer.signed.bytes) else {
            return;
        };
        // What was compiled for a project stays the project's.
        let open = !matches!(entry.scope, Scope::Project(..));
        if entry.builder == own && open && entry.scope != scope {
            ours.push((entry, offer.prediction));
        }
    })?;
    let mut adopted = 0;
    for (mut entry, prediction) in ours {
        if scope != Scope::Private && stays(store, &entry) {
            continue;
        }
        entry.scope = scope;
        let signed = team.sign(&entry);
        let Ok(verified) = team.verify(&signed, Source::Store, Some(&entry.action), None) else {
            continue;
        };
        store.put(&verified, &Offer { prediction, signed })?;
        adopted += 1;
    }
    store.flush()?;
    Ok(adopted)
}

/// Whether the entry's description says that it is nobody else's; an unreadable one counts as yes.
fn stays(store: &dyn Store, entry: &Entry) -> bool {
    let Some(bytes) = read_description(store, entry) else {
        return true;
    };
    Description::from_canon(&bytes).map_or(true, |d| stays_here(&d))
}

/// The stored description of an entry's action, checked against its digest.
#[must_use]
pub fn read_description(store: &dyn Store, entry: &Entry) -> Option<Vec<u8>> {
    if entry.description.size > DESCRIPTION_MAX {
        return None;
    }
    let object = store.object(&entry.description).ok()??;
    let mut bytes = Vec::new();
    let mut from = object.reader(entry.description.size);
    from.read_to_end(&mut bytes).ok()?;
    (quarry_trust::Digest::of(&bytes) == entry.description.digest).then_some(bytes)
}
