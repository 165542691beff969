//! The blast radius of a builder: what was built from what it signed.
//!
//! Enters: digests that entries' outputs have, and for each entry who signed it and which of
//! those digests it was made from. Leaves: the entries that a set of digests reached, through any
//! number of compiles, and the digests that others, who were not reached, have signed as well.
//! Pure. Must never happen here: an entry left out because of what its own builder says.
//!
//! A digest is *agreed* on where a builder that stands compiled the same bytes itself from inputs
//! that the guilty builder has not touched: then those bytes are honest, whoever else signed them.
//! It is decided against the widest reach, in which nothing is agreed on; so two entries that
//! vouch for each other's inputs do not clear one another.

use quarry_trust::{ActionKey, BuilderId, Digest};
use std::collections::{HashMap, HashSet};

/// Entries that one report looks at; a store at its default limit holds fewer.
pub const ENTRIES_MAX: usize = 500_000;

/// One entry, as far as its reach goes.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its action.
    pub action: ActionKey,
    /// Who signed it.
    pub builder: BuilderId,
    /// Whether that builder is believed now.
    pub stands: bool,
    /// Digests of what it was made from; unknown ones are left out.
    pub inputs: Vec<Digest>,
    /// Digests of what came out.
    pub outputs: Vec<Digest>,
}

/// Who an entry is.
pub type EntryId = (ActionKey, BuilderId);

struct Node {
    id: EntryId,
    stands: bool,
    inputs: Vec<u32>,
    outputs: Vec<u32>,
}

/// Entries and what leads from one to another. First every digest that is an output of anything
/// is named ([`Graph::output`]), then the entries are added: an input that is nobody's output (a
/// source file) leads nowhere, and takes no memory.
#[derive(Default)]
pub struct Graph {
    ids: HashMap<Digest, u32>,
    nodes: Vec<Node>,
    cut: bool,
}

/// What a builder's digests reached.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Entries of others that were made from them, by however many steps.
    pub built_from: HashSet<EntryId>,
    /// The digests among them that others made from clean inputs, too.
    pub agreed: HashSet<Digest>,
}

impl Graph {
    /// Names a digest as an output.
    pub fn output(&mut self, digest: Digest) {
        let next = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        self.ids.entry(digest).or_insert(next);
    }

    /// Adds an entry. Its outputs must have been named.
    pub fn add(&mut self, made: &Made) {
        if self.nodes.len() >= ENTRIES_MAX {
            self.cut = true;
            return;
        }
        let known = |digests: &[Digest]| -> Vec<u32> {
            let ids = digests.iter().filter_map(|d| self.ids.get(d).copied());
            let mut ids: Vec<u32> = ids.collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let node = Node {
            id: (made.action, made.builder),
            stands: made.stands,
            inputs: known(&made.inputs),
            outputs: known(&made.outputs),
        };
        self.nodes.push(node);
    }

    /// Whether there were more entries than are looked at.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// What follows from `seeds`, the digests of what the guilty builder signed.
    #[must_use]
    pub fn reach(&self, guilty: &BuilderId, seeds: &[Digest]) -> Reach {
        let seeds: HashSet<u32> = seeds
            .iter()
            .filter_map(|digest| self.ids.get(digest).copied())
            .collect();
        let widest = self.follow(guilty, &seeds);
        let mut agreed = HashSet::new();
        for (at, node) in self.nodes.iter().enumerate() {
            if node.stands && node.id.1 != *guilty && !widest.contains(&at) {
                agreed.extend(node.outputs.iter().filter(|id| seeds.contains(id)));
            }
        }
        let left: HashSet<u32> = seeds.difference(&agreed).copied().collect();
        let reached = self.follow(guilty, &left);
        let digests = self.ids.iter().filter(|(_, id)| agreed.contains(id));
        Reach {
            built_from: reached.iter().map(|at| self.nodes[*at].id).collect(),
            agreed: digests.map(|(digest, _)| *digest).collect(),
        }
    }

    /// The nodes of others that are made from `seeds`.
    fn follow(&self, guilty: &BuilderId, seeds: &HashSet<u32>) -> HashSet<usize> {
        let mut users: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            if node.id.1 != *guilty {
                for input in &node.inputs {
                    users.entry(*input).or_default().push(at);
                }
            }
        }
        let mut tainted = seeds.clone();
        let mut reached = HashSet::new();
        let mut waiting: Vec<u32> = seeds.iter().copied().collect();
        while let Some(digest) = waiting.pop() {
            for at in users.get(&digest).into_iter().flatten() {
                if reached.insert(*at) {
                    let outputs = self.nodes[*at].outputs.iter().copied();
                    waiting.extend(outputs.filter(|id| tainted.insert(*id)));
                }
            }
        }
        reached
    }
}

#[cfg(test)]
#[path = "blast_tests.rs"]
mod tests;
