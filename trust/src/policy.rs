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

/// Whose entries count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Builders {
    /// Those of every builder that stands.
    All,
    /// Those of these builders; of nobody where there are none.
    Only(BTreeSet<BuilderId>),
}

impl Builders {
    fn has(&self, builder: &BuilderId) -> bool {
        match self {
            Self::All => true,
            Self::Only(these) => these.contains(builder),
        }
    }

    fn narrow(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, other) => other.clone(),
            (these, Self::All) => these.clone(),
            (Self::Only(a), Self::Only(b)) => Self::Only(a & b),
        }
    }
}

/// What it takes for an entry to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose entries count.
    pub builders: Builders,
    /// How many distinct members must have signed the same result.
    pub agree: NonZeroU8,
}

impl Rule {
    /// Every builder's word is enough: what holds where nothing narrower was asked for.
    pub const WIDEST: Self = Self {
        builders: Builders::All,
        agree: NonZeroU8::MIN,
    };

    fn narrow(&self, other: &Self) -> Self {
        Self {
            builders: self.builders.narrow(&other.builders),
            agree: self.agree.max(other.agree),
        }
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
        let builders = Builders::Only(BTreeSet::new());
        let nobody = Rule {
            builders,
            ..Rule::WIDEST
        };
        Self::new(nobody.clone(), &nobody)
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
        if executes {
            &self.executing
        } else {
            &self.general
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
        let alike = |first: usize| {
            let all = entries.iter().enumerate();
            let alike = all.filter(move |(_, e)| agree(entries[first], e));
            alike.map(|(at, _)| at).collect::<Vec<_>>()
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
            counting.retain(|at| rule.builders.has(&entries[*at].builder));
            let members = members(counting.iter().map(|at| &entries[*at].builder), roster);
            most = most.max(members);
            if members >= usize::from(rule.agree.get()) && believed.replace(counting).is_some() {
                return Err(Why::Disputed);
            }
        }
        believed.ok_or(match most {
            0 => Why::NotNamed,
            have => Why::Awaiting {
                have,
                of: usize::from(rule.agree.get()),
            },
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

/// The first two entries, as indices, in which builders contradict each other about one action:
/// a lie, or a key that does not hold all that the compile depends on.
#[must_use]
pub fn disagreement(entries: &[&Verified<Entry>]) -> Option<(usize, usize)> {
    let contradict = |a: &Entry, b: &Entry| {
        a.action == b.action && a.width == b.width && a.builder != b.builder && !agree(a, b)
    };
    let pairs = (0..entries.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
    pairs
        .into_iter()
        .find(|(a, b)| contradict(entries[*a], entries[*b]))
}

/// How many members signed under these keys, counted low: keys that share a peer or a name in
/// the roster are one member's.
fn members<'b>(builders: impl Iterator<Item = &'b BuilderId>, roster: Option<&Roster>) -> usize {
    let mut people: Vec<BTreeSet<Vec<u8>>> = Vec::new();
    for builder in builders {
        let mut marks = BTreeSet::from([tagged(0, &builder.0)]);
        let record = roster.and_then(|r| {
            let former = r.former().map(|(member, _)| member);
            r.members().chain(former).find(|m| m.builder == *builder)
        });
        if let Some(member) = record {
            marks.insert(tagged(1, &member.peer.0));
            marks.insert(tagged(2, member.name.as_bytes()));
        }
        let (same, others) = people.into_iter().partition(|p| !p.is_disjoint(&marks));
        people = others;
        marks.extend(Vec::into_iter(same).flatten());
        people.push(marks);
    }
    people.len()
}

fn tagged(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[tag], bytes].concat()
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
