//! Taking away while the chain is forked, and ending the fork with it.
//!
//! Enters: an admin's decision. Leaves: a changed roster, and what became of the gifts that
//! waited. Must never happen here: a decision that takes away and waits for a fork to end, or a
//! gift signed anew of somebody whom it made no admin.

use super::{Team, TeamError, now};
use crate::taking::take_away;
use quarry_trust::roster::{Fork, Op};

/// How the fork ended that was open when something was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// What waited and was signed anew: it holds now.
    pub signed: Vec<Op>,
    /// What waited before and does not hold: who gave it is no admin any more, or it was given to
    /// who is none.
    pub left_out: Vec<Op>,
    /// Why the fork is open still, where it is: what was taken away holds all the same.
    pub open: Option<String>,
}

impl Team {
    /// Appends a change that this node signs as an admin. One that takes away holds on a forked
    /// chain too, at once; then the fork is ended. `None` where there was no fork.
    ///
    /// # Errors
    /// [`TeamError`]; then nothing has changed.
    pub fn take_away(&self, op: Op) -> Result<Option<Ended>, TeamError> {
        let mut before = None;
        self.change(|roster| {
            before = roster.fork().map(waiting);
            take_away(roster, op, &self.builder, now())
        })?;
        let Some(before) = before else {
            return Ok(None);
        };
        let mut signed = Vec::new();
        let merged = self.change(|roster| {
            let waits = roster.fork().map(waiting).unwrap_or_default();
            roster.merge_fork(&self.builder, now())?;
            signed = waits;
            Ok(())
        });
        let left_out = before.into_iter().filter(|op| !signed.contains(op));
        Ok(Some(Ended {
            left_out: left_out.collect(),
            signed,
            open: merged.err().map(|error| error.to_string()),
        }))
    }
}

fn waiting(fork: &Fork) -> Vec<Op> {
    fork.waiting.clone()
}
