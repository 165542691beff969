//! The pipeline's cache for one command: what the team vouches for, as far as the rules that hold
//! for the command believe it.
//!
//! Enters: the node's cache, and what is believed here. Leaves: believed entries; and, of what was
//! there and is not believed, by whose rule and what is missing. Must never happen here: an entry
//! restored that a rule does not believe; a way around the rules.

use super::cache::NodeCache;
use super::gather;
use crate::belief::{self, Belief, Refused, Ruling};
use crate::project::FILE;
use crate::service::policy::{ASK_WITHIN, Reach};
use crate::swarm::Ask;
use crate::team::{Audience, Team, Whom};
use quarry_trust::{ActionKey, Digest, Entry, LookupKey, ObjectRef, Roster, Scope, Verified};
use quarry_wrapper::pipeline::{Cache, Candidate, Object, Staged, Tier, UnsignedEntry};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Entries that one command is remembered to have seen, at most: eight answers' worth.
const SEEN_MAX: usize = 64;

/// What a lookup came across.
#[derive(Debug, Default)]
pub struct Heard {
    /// Why entries that were there were not used.
    pub refused: Option<Refused>,
    /// Why nobody was asked, in words: whether there were any is not known.
    pub alone: Option<String>,
    /// Entries that were there, believed or not.
    pub seen: Vec<Verified<Entry>>,
    /// Builders that contradict each other about what was looked for, in words.
    pub disagreement: Option<String>,
}

/// The cache for one command.
pub struct Believing {
    cache: Arc<NodeCache>,
    rulings: Vec<Ruling>,
    reach: Reach,
    audience: Audience,
    /// Why nobody is asked.
    alone: Option<String>,
    heard: Mutex<Heard>,
}

impl Believing {
    /// The cache under these rules.
    #[must_use]
    pub fn new(cache: Arc<NodeCache>, belief: &Belief) -> Self {
        let with = |roster: Option<&Roster>| {
            let rulings = belief.resolve(roster);
            let named = belief::named(&rulings).zip(roster);
            let peers = named.map(|(builders, roster)| {
                let members = builders.iter().filter_map(|b| roster.member_by_builder(b));
                members.map(|m| m.peer).collect()
            });
            let reach = Reach {
                far: !belief::is_widest(&rulings),
                first: peers.unwrap_or_default(),
            };
            (rulings, reach)
        };
        let resolved = cache.team.roster(|roster| with(Some(roster)));
        let (rulings, reach) = resolved.unwrap_or_else(|| with(None));
        let audience = cache.team.audience(&belief.whom);
        Self {
            alone: alone(&cache.team, belief, &rulings, &audience),
            audience,
            cache,
            rulings,
            reach,
            heard: Mutex::default(),
        }
    }

    /// For what looks nothing up and is stored for `scope`: nothing of anybody else is believed.
    #[must_use]
    pub fn storing(cache: Arc<NodeCache>, scope: Scope) -> Self {
        let mut storing = Self::new(cache, &Belief::own_only());
        storing.audience.publish = scope;
        storing
    }

    /// The same cache under the same rules, which has heard nothing yet.
    pub(super) fn same(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            rulings: self.rulings.clone(),
            reach: self.reach.clone(),
            audience: self.audience.clone(),
            alone: self.alone.clone(),
            heard: Mutex::default(),
        }
    }

    /// The node's cache, whatever is believed.
    pub(super) const fn node(&self) -> &Arc<NodeCache> {
        &self.cache
    }

    /// Whether teammates are asked for what is for these.
    pub(super) fn asks_in(&self, scope: &Scope) -> bool {
        self.audience.asked.contains(scope)
    }

    /// Has fetched what a teammate's build put in place that began as the one that begins here.
    pub(super) fn open(&self, opening: &Digest) {
        let peers = self.cache.candidates(&self.audience, opening);
        let action = ActionKey::from_digest(*opening);
        for peer in self.reach.order(peers) {
            let deadline = Instant::now() + ASK_WITHIN;
            let asked = self.cache.swarm.ask(&peer, Ask::Next(action), deadline);
            match asked {
                Ok(next) if !next.is_empty() => return gather::after(self, peer, action, next),
                _ => {}
            }
        }
    }

    /// For whom what is compiled is.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.audience.publish
    }

    /// What was come across, and why nobody was asked where nobody may be.
    #[must_use]
    pub fn heard(self) -> Heard {
        let heard = self.heard.into_inner();
        let mut heard = heard.unwrap_or_else(PoisonError::into_inner);
        heard.alone = self.alone;
        heard
    }
}

/// Why nobody is asked, where a workspace is not for the team and not open to this node either.
fn alone(team: &Team, belief: &Belief, rulings: &[Ruling], audience: &Audience) -> Option<String> {
    if !audience.asked.is_empty() || team.role().is_none() {
        return None;
    }
    match &belief.whom {
        Whom::Project(name) => Some(format!("project {name} is not open to this node ({FILE})")),
        Whom::Unknown => belief::unusable(rulings).map(|refused| refused.words()),
        Whom::Team | Whom::Nowhere => None,
    }
}

impl Cache for Believing {
    fn predict(&self, lookup: &LookupKey, tier: Tier) -> Vec<Candidate> {
        self.cache
            .predict(lookup, tier, (&self.audience, &self.reach))
    }

    fn foreseen(&self, lookup: &LookupKey) -> Vec<Candidate> {
        self.cache.gathered(&Ask::Lookup(*lookup), &self.audience)
    }

    fn get(&self, action: &ActionKey, tier: Tier) -> Vec<Candidate> {
        self.cache.get(action, tier, (&self.audience, &self.reach))
    }

    fn judge(&self, fit: &[&Candidate], executes: bool) -> Vec<usize> {
        let (team, counters) = (&self.cache.team, &self.cache.counters);
        let entries: Vec<&Verified<Entry>> = fit.iter().map(|c| &c.entry).collect();
        let own = team.builder();
        let with = |roster: Option<&Roster>| {
            belief::judge(&self.rulings, &entries, executes, &own, roster)
        };
        let verdict = team.roster(|roster| with(Some(roster)));
        let verdict = verdict.unwrap_or_else(|| with(None));
        let disagreement = self.cache.disputes.among(&entries, team, counters);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.disagreement = disagreement.or(heard.disagreement.take());
        for entry in entries {
            if heard.seen.len() < SEEN_MAX && !heard.seen.contains(entry) {
                heard.seen.push(entry.clone());
            }
        }
        verdict.unwrap_or_else(|refused| {
            heard.refused = Some(refused);
            Vec::new()
        })
    }

    fn bring(&self, candidate: &Candidate, believed: &[&Candidate]) -> bool {
        if let Some(peer) = candidate.from {
            gather::after(self, peer, candidate.entry.action, Vec::new());
        }
        self.cache.bring(candidate, believed)
    }

    fn open_object(&self, object: &ObjectRef) -> Option<Object> {
        self.cache.open_object(object)
    }

    fn open_as_it_lies(&self, object: &ObjectRef) -> Option<Object> {
        self.cache.open_as_it_lies(object)
    }

    fn refused(&self, candidate: &Candidate, why: &'static str) {
        self.cache.refused(candidate, why);
    }

    fn stands(&self, entry: &Verified<Entry>) -> bool {
        self.cache.stands(entry)
    }

    fn damaged(&self, entry: &Verified<Entry>) {
        self.cache.damaged(entry);
    }

    fn stage_bytes(&self, bytes: &[u8]) -> io::Result<Staged> {
        self.cache.stage_bytes(bytes)
    }

    fn stage_file(&self, file: &File) -> io::Result<Staged> {
        self.cache.stage_file(file)
    }

    fn put(&self, unsigned: UnsignedEntry) -> io::Result<Verified<Entry>> {
        self.cache.put(unsigned, self.audience.publish)
    }

    fn is_own(&self, entry: &Entry) -> bool {
        self.cache.is_own(entry)
    }

    fn value_secret(&self) -> [u8; 32] {
        self.cache.value_secret()
    }
}
