//! The secrets under which keys are announced: the team's own, and one for each closed project.
//!
//! Enters: the roster (which names each secret by its digest), secrets that members hand over.
//! Leaves: tags, the digests of keys under a secret, which is all that filters, gossip and
//! Kademlia ever carry; what one member may be told; and the changes by which an admin renews
//! what somebody knows who must not any more. Must never happen here: a secret for who may not
//! see the project, or one that the roster does not name.

use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::roster::{MAX_PROJECTS, Op, Project, Roster, TEAM_ITSELF, secret_digest};
use quarry_trust::{BuilderId, Digest, Scope};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Under this tag the team's first secret is made of the one that newcomers are given.
const FIRST: &[u8] = b"quarry 2026-11 first announcement secret v1";

/// A secret of 32 random bytes, wiped when dropped.
pub type Secret = Zeroizing<[u8; 32]>;

/// The secrets that this node knows, by their digests.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<Digest, Secret>);

/// What keys are digested under now, by scope. Empty where this node is in no team.
#[derive(Clone, Default)]
pub struct Tags(BTreeMap<Scope, Secret>);

impl Tags {
    /// The tag of a key within a scope; `None` where its secret is not known here (yet).
    #[must_use]
    pub fn tag(&self, scope: &Scope, key: &Digest) -> Option<Digest> {
        let secret = self.0.get(scope)?;
        Some(Digest::keyed(secret, key.as_bytes()))
    }

    /// A digest that differs where any secret does.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        let mut w = Writer::default();
        for (scope, secret) in &self.0 {
            scope.write(&mut w);
            w.fixed(secret_digest(secret).as_bytes());
        }
        Digest::of(&w.finish())
    }
}

impl Secrets {
    /// A new secret, by which a project is announced from its change on.
    pub fn add(&mut self, secret: [u8; 32]) -> Digest {
        let digest = secret_digest(&secret);
        self.0.insert(digest, Zeroizing::new(secret));
        digest
    }

    /// Takes what a member handed over: what the roster names for projects that `own` sees.
    /// True where it is news.
    pub fn take(&mut self, roster: &Roster, own: &BuilderId, offered: Vec<Secret>) -> bool {
        let mut news = false;
        for secret in offered {
            let digest = secret_digest(&secret);
            let ours =
                |(name, p): (&str, &Project)| p.secret == Some(digest) && sees(roster, own, name);
            if !self.0.contains_key(&digest) && roster.projects().any(ours) {
                self.0.insert(digest, secret);
                news = true;
            }
        }
        news
    }

    /// What `member` may be told: the secrets of the projects that it sees.
    #[must_use]
    pub fn for_member(&self, roster: &Roster, member: &BuilderId) -> Vec<Secret> {
        let named = roster.projects().filter(|p| sees(roster, member, p.0));
        named
            .filter_map(|(_, p)| self.0.get(&p.secret?).cloned())
            .collect()
    }

    /// Forgets what the roster names no more.
    pub fn keep_named(&mut self, roster: Option<&Roster>) {
        let named = |digest: &Digest| {
            roster.is_some_and(|r| r.projects().any(|(_, p)| p.secret.as_ref() == Some(digest)))
        };
        self.0.retain(|digest, _| named(digest));
    }

    /// What keys are digested under now, for a member that sees all that `own` sees. `first` is
    /// what newcomers to the team are given.
    #[must_use]
    pub fn tags(&self, roster: &Roster, own: &BuilderId, first: &[u8; 32]) -> Tags {
        let mut tags = BTreeMap::new();
        for (name, project) in roster.projects() {
            let secret = match &project.secret {
                Some(digest) => self.0.get(digest).cloned(),
                None if name == TEAM_ITSELF => {
                    Some(Zeroizing::new(*Digest::keyed(first, FIRST).as_bytes()))
                }
                None => None,
            };
            if let Some(secret) = secret.filter(|_| sees(roster, own, name)) {
                tags.insert(scope_of(roster, name), secret);
            }
        }
        Tags(tags)
    }

    /// The changes by which an admin renews the secrets that somebody knows who must not any
    /// more. `random` gives the new ones.
    ///
    /// # Errors
    /// What `random` said.
    pub fn renew<E>(
        &mut self,
        roster: &Roster,
        random: impl Fn() -> Result<[u8; 32], E>,
    ) -> Result<Vec<Op>, E> {
        let stale = roster.projects().filter(|(_, project)| project.stale);
        stale
            .map(|(name, project)| {
                let secret = Some(self.add(random()?));
                let (members, stale) = (project.members.clone(), false);
                let renewed = Project {
                    members,
                    secret,
                    stale,
                };
                Ok(Op::Project(name.to_owned(), renewed))
            })
            .collect()
    }

    /// Writes all, for the team's file alone.
    pub fn write(&self, w: &mut Writer) {
        write(w, self.0.values());
    }

    /// Reads what [`Secrets::write`] wrote.
    ///
    /// # Errors
    /// Any [`CanonError`].
    pub fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let secrets = read(r)?.into_iter();
        Ok(Self(secrets.map(|s| (secret_digest(&s), s)).collect()))
    }
}

/// The scope of a project, or of [`TEAM_ITSELF`].
#[must_use]
pub fn scope_of(roster: &Roster, name: &str) -> Scope {
    match name {
        TEAM_ITSELF => Scope::Team(roster.team()),
        name => Scope::project(roster.team(), name),
    }
}

fn sees(roster: &Roster, member: &BuilderId, name: &str) -> bool {
    roster.sees(member, &scope_of(roster, name))
}

/// Writes secrets that one member is told, or that are kept: count, then 32 bytes each.
pub fn write<'a>(w: &mut Writer, secrets: impl ExactSizeIterator<Item = &'a Secret>) {
    w.count(secrets.len());
    for secret in secrets {
        w.fixed(secret.as_slice());
    }
}

/// Reads what [`write`] wrote: at most [`MAX_PROJECTS`].
///
/// # Errors
/// Any [`CanonError`].
pub fn read(r: &mut Reader<'_>) -> Result<Vec<Secret>, CanonError> {
    let count = r.count(MAX_PROJECTS)?;
    (0..count).map(|_| r.array().map(Zeroizing::new)).collect()
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
