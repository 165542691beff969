//! Policy: which of the verified entries are believed.
//!
//! Verification ([`crate::verify`]) says that an entry is what a builder of the team signed; a
//! policy says whether that builder's word is enough. Enters: entries that were verified, for one
//! action, and the roster. Leaves: those that may be restored, all naming the same bytes, or why
//! none may. Must never happen here: a policy that gets wider by being combined with another.

use crate::entry::Entry;
use crate::key::BuilderId;
use crate::roster::Roster;
use crate::verify::Verified;
use std::collections::BTreeSet;
use std::num::NonZeroU8;
use thiserror::Error;

/// Members that a rule can ask for, at most: an answer of a peer carries eight entries.
pub const MAX_AGREE: u8 = 8;

/// What it takes for an entry to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose entries count: those of these builders (of nobody where there are none), or `None`
    /// for those of every builder that stands.
    pub builders: Option<BTreeSet<BuilderId>>,
    /// How many distinct members must have signed the same result.
    pub agree: NonZeroU8,
}

impl Rule {
    /// Every builder's word is enough: what holds where nothing narrower was asked for.
    pub const WIDEST: Self = Self { builders: None, agree: NonZeroU8::MIN };

    fn narrow(&self, other: &Self) -> Self {
        let builders = match (&self.builders, &other.builders) {
            (Some(these), Some(those)) => Some(these & those),
            (these, those) => these.clone().or_else(|| those.clone()),
        };
        Self { builders, agree: self.agree.max(other.agree) }
    }
}

/// A rule for everything, and one that is as strict or stricter for what executes while building.
/// Equal policies believe the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    general: Rule,
    executing: Rule,
}

/// Why none of several verified entries is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Why {
    /// Nobody whose word counts has signed one.
    #[error("not-named: nobody whose entries count has signed one")]
    NotNamed,
    /// Fewer members agree than the rule asks for.
    #[error("awaiting-agreement: {have} of {of}")]
    Awaiting {
        /// Distinct members that agree on one result, at most.
        have: usize,
        /// How many must.
        of: usize,
    },
    /// Two results that differ could each be believed: one of them is wrong.
    #[error("disputed: builders signed different results for the same key")]
    Disputed,
}

impl Policy {
    /// `executing` holds beside `general` for what executes while building.
    #[must_use]
    pub fn new(general: Rule, executing: &Rule) -> Self {
        let executing = general.narrow(executing);
        Self { general, executing }
    }

    /// Every builder's word is enough for everything.
    #[must_use]
    pub fn widest() -> Self {
        Self::new(Rule::WIDEST, &Rule::WIDEST)
    }

    /// Nothing of anybody else is believed.
    #[must_use]
    pub fn own_only() -> Self {
        let builders = Some(BTreeSet::new());
        Self::new(Rule { builders, ..Rule::WIDEST }, &Rule::WIDEST)
    }

    /// What both believe, or less: only builders that count in both, and as many members as the
    /// stricter asks for.
    #[must_use]
    pub fn narrow(&self, other: &Self) -> Self {
        let general = self.general.narrow(&other.general);
        Self::new(general, &self.executing.narrow(&other.executing))
    }

    /// The rule for what executes while building, or for everything else.
    #[must_use]
    pub const fn rule(&self, executes: bool) -> &Rule {
        match executes {
            true => &self.executing,
            false => &self.general,
        }
    }

    /// Which of these entries may be restored, as indices, never none: all of them agree (see
    /// [`agree`]). What `own` signed was compiled here and is believed by every policy. Of others
    /// the one result is believed that enough distinct members whose word counts have signed.
    /// Who is one member is for the roster to say: keys that share a peer or a name there are
    /// one's own, one after the other.
    ///
    /// # Errors
    /// [`Why`], also where there are no entries.
    pub fn judge(
        &self,
        entries: &[&Verified<Entry>],
        executes: bool,
        own: &BuilderId,
        roster: Option<&Roster>,
    ) -> Result<Vec<usize>, Why> {
        let rule = self.rule(executes);
        let named = |builder| rule.builders.as_ref().is_none_or(|all| all.contains(builder));
        let alike = |first: usize| -> Vec<usize> {
            let all = 0..entries.len();
            all.filter(|at| agree(entries[first], entries[*at])).collect()
        };
        if let Some(ours) = entries.iter().position(|e| e.builder == *own) {
            return Ok(alike(ours));
        }
        let (mut believed, mut most) = (None, 0);
        for first in 0..entries.len() {
            if entries[..first].iter().any(|e| agree(e, entries[first])) {
                continue;
            }
            let mut counting = alike(first);
            counting.retain(|at| named(&entries[*at].builder));
            let members = members(counting.iter().map(|at| &entries[*at].builder), roster);
            most = most.max(members);
            if members >= usize::from(rule.agree.get()) && believed.replace(counting).is_some() {
                return Err(Why::Disputed);
            }
        }
        believed.ok_or(match most {
            0 => Why::NotNamed,
            have => Why::Awaiting { have, of: usize::from(rule.agree.get()) },
        })
    }
}

/// Whether two entries say the same of the same action: outputs (names, kinds, executable bits,
/// digests, sizes) and messages, for the same width of the terminal. Entries are made of
/// compiles that succeeded only, so their exits are the same.
#[must_use]
pub fn agree(one: &Entry, other: &Entry) -> bool {
    let same_question = one.action == other.action && one.width == other.width;
    let same_messages = one.stdout == other.stdout && one.stderr == other.stderr;
    same_question && same_messages && one.outputs == other.outputs
}

/// How many members signed under these keys, counted low: keys that share a peer or a name in
/// the roster are one member's.
fn members<'b>(builders: impl Iterator<Item = &'b BuilderId>, roster: Option<&Roster>) -> usize {
    let mut people: Vec<BTreeSet<(u8, Vec<u8>)>> = Vec::new();
    for builder in builders {
        let mut marks = BTreeSet::from([(0, builder.0.to_vec())]);
        let record = roster.and_then(|r| {
            let former = r.former().map(|(member, _)| member);
            r.members().chain(former).find(|m| m.builder == *builder)
        });
        if let Some(member) = record {
            marks.extend([(1, member.peer.0.to_vec()), (2, member.name.clone().into())]);
        }
        let (same, others) = people.into_iter().partition(|p| !p.is_disjoint(&marks));
        people = others;
        marks.extend(Vec::into_iter(same).flatten());
        people.push(marks);
    }
    people.len()
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
