//! Who we are and whom we believe: keys, roster, the team's secret, open invitations.
//!
//! Enters: the home's files, a peer's roster, an admin's decision. Leaves: signatures, verdicts,
//! [`Verified`] entries. The one place that holds the roster; everybody else asks. Kept in files
//! of the home (0600, replaced by rename), apart from the store, so that a store that must be
//! rebuilt costs no membership.

mod audience;
mod chartering;
pub(crate) mod files;
mod forked;
mod rotating;
mod words;

pub use audience::{Audience, Shown, Whom};
pub use chartering::{Adopted, Wanted};
pub use forked::Ended;

use crate::charter::CharterError;
use crate::find::FindError;
use crate::keyfile::KeyError;
use crate::secrets::{self, Secret, Secrets, Tags};
use crate::service::membership::Membership;
use files::{read_bounded, write_private};
use quarry_trust::canon::{CanonError, Reader, Writer};
use quarry_trust::roster::{MAX_WIRE, Member, Merge, Op, Role, Roster, RosterError, Signed};
use quarry_trust::verify::{Source, Verifier};
use quarry_trust::{
    ActionKey, BuilderId, BuilderKey, Entry, LookupKey, PeerId, Refusal, SignedEntry, Verified,
};
use quarry_wrapper::home::Home;
use std::io;
use std::path::PathBuf;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;
use words::Word;
use zeroize::Zeroizing;

/// Schema of the team file.
const TEAM_SCHEMA: u16 = 2;
/// What was written before there were secrets of projects: read, and written anew.
const TEAM_SCHEMA_BEFORE: u16 = 1;
/// Size of the team file: a roster at its limit fits.
const TEAM_FILE_MAX: u64 = 8 << 20;
/// Size of the invitations file.
const INVITATIONS_MAX: u64 = 1 << 20;

/// Why membership could not be read, changed or kept.
#[derive(Debug, Error)]
pub enum TeamError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file of the home.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the home is not what it should be.
    #[error(
        "{path} cannot be read ({why}): restore it from a backup, or move it away and join the team again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The roster refused.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// No member is meant, or several are.
    #[error(transparent)]
    Find(#[from] FindError),
    /// Not possible without a team.
    #[error("this node is in no team: run `qnode team create NAME`, or `qnode join TICKET`")]
    None,
    /// Not possible in a team.
    #[error(
        "this node is already in team {0}: leave it first (`qnode leave`), or use another QUARRY_HOME"
    )]
    Already(String),
    /// Admins only.
    #[error("only an admin of the team can do that: ask one of {0}")]
    NotAdmin(String),
    /// Nobody could sign the rotation of the only admin's builder key.
    #[error(
        "you are the only admin, and nobody else could sign for your next key: `qnode rotate --peer` changes both keys, which you can sign yourself; or make another member an admin first (`qnode team role MEMBER admin`)"
    )]
    SoleAdmin,
    /// A draft or a signed charter.
    #[error(transparent)]
    Charter(#[from] CharterError),
    /// A charter that takes back what the team has learnt since it was drawn up.
    #[error(
        "the charter was drawn up before the latest changes, and would undo them: {0}. Draw it up again with `qnode team draft`, or adopt it with --yes"
    )]
    Outdated(String),
    /// No randomness.
    #[error("the system gave no randomness: {0}")]
    Random(#[from] getrandom::Error),
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// 32 random bytes.
///
/// # Errors
/// [`TeamError::Random`].
pub fn random() -> Result<[u8; 32], TeamError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Renewals of secrets within the time that members take to make their filters anew: those of a
/// few seconds.
const MAX_TAGS_BEFORE: usize = 8;

struct State {
    roster: Option<Roster>,
    /// Under it values are digested; who joins is given it.
    secret: Zeroizing<[u8; 32]>,
    /// Under these keys are announced.
    secrets: Secrets,
    tags: Tags,
    /// The tags before these, the last first: at most [`MAX_TAGS_BEFORE`].
    tags_before: Vec<Tags>,
}

impl State {
    fn new(roster: Option<Roster>, secret: Secret, secrets: Secrets, own: &BuilderId) -> Self {
        let tags = roster.as_ref().map(|r| secrets.tags(r, own, &secret));
        Self {
            tags: tags.unwrap_or_default(),
            tags_before: Vec::new(),
            roster,
            secret,
            secrets,
        }
    }
}

/// Keys and membership of one node.
pub struct Team {
    home: Home,
    builder: BuilderKey,
    peer: BuilderKey,
    state: RwLock<State>,
    membership: std::sync::Mutex<Membership>,
    /// Members' words about themselves, until an admin has made them part of the chain.
    words: std::sync::Mutex<words::Words>,
    /// Ticks of upkeep that each has waited.
    waited: std::sync::Mutex<std::collections::BTreeMap<BuilderId, u32>>,
    /// As whom we will speak after a rotation, where a teammate knows that.
    heard: std::sync::Mutex<Option<PeerId>>,
}

impl Team {
    /// Loads keys and membership, making keys where there are none.
    ///
    /// # Errors
    /// [`TeamError`]; what is damaged is left as it is.
    pub fn load(home: &Home) -> Result<Self, TeamError> {
        rotating::resume(home)?;
        let builder = crate::keyfile::load_or_create(&home.builder_key())?;
        let peer = crate::keyfile::load_or_create(&home.peer_key())?;
        let state = load_state(home, &builder.id())?;
        let membership = match read_bounded(&invitations_file(home), INVITATIONS_MAX)? {
            None => Membership::default(),
            Some(bytes) => Membership::from_bytes(&bytes).map_err(|e| TeamError::Damaged {
                path: invitations_file(home),
                why: e.to_string(),
            })?,
        };
        let team = Self {
            home: home.clone(),
            builder,
            peer,
            state: RwLock::new(state),
            membership: std::sync::Mutex::new(membership),
            words: std::sync::Mutex::default(),
            waited: std::sync::Mutex::default(),
            heard: std::sync::Mutex::default(),
        };
        team.say_last_word()?;
        Ok(team)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Our signing identity.
    #[must_use]
    pub fn builder(&self) -> BuilderId {
        self.builder.id()
    }

    /// Our signing key, for what must prove its possession (joining, leaving).
    #[must_use]
    pub const fn builder_key(&self) -> &BuilderKey {
        &self.builder
    }

    /// Our network identity.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        PeerId(self.peer.id().0)
    }

    /// The seed of the network identity.
    #[must_use]
    pub fn peer_seed(&self) -> Zeroizing<[u8; 32]> {
        self.peer.seed()
    }

    /// Calls `with` with the roster, where there is one.
    pub fn roster<T>(&self, with: impl FnOnce(&Roster) -> T) -> Option<T> {
        self.read().roster.as_ref().map(with)
    }

    /// Our own record in the roster.
    #[must_use]
    pub fn own_record(&self) -> Option<Member> {
        self.roster(|r| r.member_by_builder(&self.builder()).cloned())
            .flatten()
    }

    /// Our role, where we are in a team.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.own_record().map(|m| m.role)
    }

    /// The name of a builder in the roster.
    #[must_use]
    pub fn builder_name(&self, builder: &BuilderId) -> Option<String> {
        self.roster(|r| r.member_by_builder(builder).map(|m| m.name.clone()))
            .flatten()
    }

    /// The name of a peer in the roster.
    #[must_use]
    pub fn peer_name(&self, peer: &PeerId) -> Option<String> {
        self.roster(|r| r.member_by_peer(peer).map(|m| m.name.clone()))
            .flatten()
    }

    /// The secret under which values of variables are digested.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        *self.read().secret
    }

    /// Signs one of our own entries.
    #[must_use]
    pub fn sign(&self, entry: &Entry) -> SignedEntry {
        entry.sign(&self.builder)
    }

    /// The verdict over an entry. This is the node's only way to a [`Verified`] one.
    ///
    /// # Errors
    /// The [`Refusal`] to count.
    pub fn verify(
        &self,
        signed: &SignedEntry,
        source: Source,
        action: Option<&ActionKey>,
        lookup: Option<&LookupKey>,
    ) -> Result<Verified<Entry>, Refusal> {
        self.verifier(|verifier| verifier.entry(signed, source, action, lookup))
    }

    /// The verdict over an entry whose signature held before, or decides nothing here.
    ///
    /// # Errors
    /// The [`Refusal`] to count.
    pub fn verify_again(
        &self,
        entry: &Entry,
        source: Source,
        action: Option<&ActionKey>,
        lookup: Option<&LookupKey>,
    ) -> Result<(), Refusal> {
        self.verifier(|verifier| verifier.again(entry, source, action, lookup))
    }

    fn verifier<T>(&self, ask: impl FnOnce(&Verifier<'_>) -> T) -> T {
        let state = self.read();
        ask(&Verifier {
            own: self.builder.id(),
            roster: state.roster.as_ref(),
            now: now(),
        })
    }

    /// Founds a team with this node as its first admin. The root key stays in the home.
    ///
    /// # Errors
    /// [`TeamError`].
    pub fn found(&self, name: &str, member: &str) -> Result<(), TeamError> {
        let mut state = self.write();
        if let Some(roster) = &state.roster {
            return Err(TeamError::Already(roster.name().to_owned()));
        }
        // Before a key is made that a refusal would leave behind.
        quarry_trust::roster::check_typed(name)?;
        quarry_trust::roster::check_typed(member)?;
        let root = crate::keyfile::load_or_create(&self.home.root_key())?;
        let now = now();
        let founder = Member {
            name: member.to_owned(),
            role: Role::Admin,
            peer: self.peer(),
            builder: self.builder(),
            joined: now,
        };
        let charter = crate::charter::first(name, root.id(), founder, now)?;
        let roster = Roster::chartered(Signed::new(charter, &root))?;
        self.replace(&mut state, Some(roster), random()?)
    }

    /// Takes the roster and the secret that an admin gave us.
    ///
    /// # Errors
    /// [`TeamError`]; the roster must be the root's and name us.
    pub fn enter(
        &self,
        wire: &[u8],
        root: Option<&BuilderId>,
        secret: [u8; 32],
    ) -> Result<(), TeamError> {
        let roster = Roster::from_wire(wire, root)?;
        let ours = roster
            .member_by_builder(&self.builder())
            .is_some_and(|m| m.peer == self.peer());
        if !ours {
            return Err(TeamError::Damaged {
                path: self.home.path().to_owned(),
                why: "the roster that came does not name this node".to_owned(),
            });
        }
        let mut state = self.write();
        if let Some(roster) = &state.roster {
            return Err(TeamError::Already(roster.name().to_owned()));
        }
        self.replace(&mut state, Some(roster), secret)
    }

    /// Forgets the team; the keys stay.
    ///
    /// # Errors
    /// [`TeamError`].
    pub fn forget(&self) -> Result<(), TeamError> {
        rotating::forget(&self.home)?;
        let mut state = self.write();
        self.replace(&mut state, None, random()?)
    }

    /// What members exchange before anything else: the roster, members' words about themselves
    /// (departures, rotations) that no admin has made part of it yet, and for `to` the secrets
    /// that it may know. `None` where we are in no team.
    #[must_use]
    pub fn exchange(&self, to: Option<&PeerId>) -> Option<Vec<u8>> {
        let roster = self.roster(Roster::to_wire)?;
        let mut w = Writer::default();
        w.bytes(&roster);
        let words = self.words();
        w.count(words.len());
        for word in words.values() {
            w.bytes(&word.to_wire());
        }
        secrets::write(&mut w, self.secrets_for(to).iter());
        Some(w.finish())
    }

    /// Merges what a peer sent as its [`Team::exchange`]; an admin's node makes members' words
    /// part of the chain.
    ///
    /// # Errors
    /// [`TeamError`]; ours is unchanged then.
    pub fn merge(&self, exchange: &[u8]) -> Result<Merge, TeamError> {
        let damaged = |e: CanonError| TeamError::Roster(RosterError::from(e));
        let mut r = Reader::new(exchange);
        let wire = r.bytes(MAX_WIRE).map_err(damaged)?;
        let count = r.count(words::WORDS_MAX).map_err(damaged)?;
        let mut words = Vec::with_capacity(count);
        for _ in 0..count {
            let bytes = r.bytes(words::WORD_BYTES_MAX).map_err(damaged)?;
            words.extend(Word::from_wire(bytes)?);
        }
        let offered = secrets::read(&mut r).map_err(damaged)?;
        r.finish().map_err(damaged)?;
        let mut outcome = {
            let mut state = self.write();
            let Some(roster) = &state.roster else {
                return Err(TeamError::None);
            };
            let mut merged = roster.clone();
            let mut outcome = merged.merge(wire)?;
            let own = self.builder();
            outcome.changed |= state.secrets.take(&merged, &own, offered);
            if outcome.changed {
                let secret = *state.secret;
                self.replace(&mut state, Some(merged), secret)?;
            }
            outcome
        };
        for word in words {
            // Another member's word, which this peer only passes on: it spoils nothing else.
            match self.note(word) {
                Ok(news) => outcome.changed |= news,
                Err(error) => tracing::debug!(%error, "a member's word was not taken"),
            }
        }
        self.forget_done();
        self.hear(wire);
        Ok(outcome)
    }

    /// Appends a change that this node signs as an admin.
    ///
    /// # Errors
    /// [`TeamError`].
    pub fn propose(&self, op: Op) -> Result<(), TeamError> {
        self.change(|roster| roster.propose(op, &self.builder, now()))
    }

    /// Ends the open fork as an admin, and signs anew what waits.
    ///
    /// # Errors
    /// [`TeamError`].
    pub fn merge_fork(&self) -> Result<(), TeamError> {
        self.change(|roster| roster.merge_fork(&self.builder, now()))
    }

    /// Renews the freshness mark.
    ///
    /// # Errors
    /// [`TeamError`].
    pub fn mark_fresh(&self) -> Result<(), TeamError> {
        self.change(|roster| roster.mark_fresh(&self.builder, now()))
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Roster) -> Result<(), RosterError>,
    ) -> Result<(), TeamError> {
        let mut state = self.write();
        let Some(roster) = &state.roster else {
            return Err(TeamError::None);
        };
        if !roster.is_admin(&self.builder()) {
            let admins = roster
                .members()
                .filter(|m| m.role == Role::Admin)
                .map(|m| m.name.as_str());
            return Err(TeamError::NotAdmin(admins.collect::<Vec<_>>().join(", ")));
        }
        let mut changed = roster.clone();
        change(&mut changed)?;
        if changed.fork().is_none() {
            // What somebody knows who must not any more is renewed by who took the right away.
            let renewed = state.secrets.renew(&changed, random)?;
            for op in renewed {
                changed.propose(op, &self.builder, now())?;
            }
        }
        let secret = *state.secret;
        self.replace(&mut state, Some(changed), secret)
    }

    /// Keeps a new state on disk, then in memory.
    fn replace(
        &self,
        state: &mut State,
        roster: Option<Roster>,
        secret: [u8; 32],
    ) -> Result<(), TeamError> {
        let mut secrets = state.secrets.clone();
        secrets.keep_named(roster.as_ref());
        let bytes = written(&secret, roster.as_ref(), &secrets);
        write_private(&team_file(&self.home), &bytes)?;
        let mut next = State::new(roster, Zeroizing::new(secret), secrets, &self.builder());
        next.tags_before = std::mem::take(&mut state.tags_before);
        if next.tags.fingerprint() != state.tags.fingerprint() {
            next.tags_before.insert(0, std::mem::take(&mut state.tags));
            next.tags_before.truncate(MAX_TAGS_BEFORE);
        }
        *state = next;
        Ok(())
    }

    /// Calls `with` with the open invitations and knocks, and keeps what it changed.
    ///
    /// # Errors
    /// [`TeamError::Io`]; what was changed in memory stays changed (a used ticket stays used).
    pub fn membership<T>(&self, with: impl FnOnce(&mut Membership) -> T) -> Result<T, TeamError> {
        let mut membership = self
            .membership
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = membership.to_bytes();
        let result = with(&mut membership);
        let after = membership.to_bytes();
        if before != after {
            write_private(&invitations_file(&self.home), &after)?;
        }
        Ok(result)
    }
}

fn team_file(home: &Home) -> PathBuf {
    home.path().join("team.bin")
}

fn invitations_file(home: &Home) -> PathBuf {
    home.path().join("invitations.bin")
}

fn load_state(home: &Home, own: &BuilderId) -> Result<State, TeamError> {
    let path = team_file(home);
    let Some(bytes) = read_bounded(&path, TEAM_FILE_MAX)? else {
        let secret = random()?;
        let bytes = written(&secret, None, &Secrets::default());
        write_private(&path, &bytes)?;
        let (secret, secrets) = (Zeroizing::new(secret), Secrets::default());
        return Ok(State::new(None, secret, secrets, own));
    };
    let damaged = |why: String| TeamError::Damaged {
        path: path.clone(),
        why,
    };
    let bytes = Zeroizing::new(bytes);
    let (secret, wire, secrets) = split_state(&bytes).map_err(|e| damaged(e.to_string()))?;
    let roster = wire.map(|w| Roster::from_wire(&w, None)).transpose();
    let roster = roster.map_err(|e| damaged(e.to_string()))?;
    Ok(State::new(roster, secret, secrets, own))
}

/// The team file's bytes.
fn written(secret: &[u8; 32], roster: Option<&Roster>, secrets: &Secrets) -> Zeroizing<Vec<u8>> {
    let mut w = Writer::default();
    w.u16(TEAM_SCHEMA);
    w.fixed(secret);
    w.option(roster, |w, r| w.bytes(&r.to_wire()));
    secrets.write(&mut w);
    Zeroizing::new(w.finish())
}

type Split = (Secret, Option<Vec<u8>>, Secrets);

fn split_state(bytes: &[u8]) -> Result<Split, CanonError> {
    let mut r = Reader::new(bytes);
    let schema = r.u16()?;
    if schema != TEAM_SCHEMA && schema != TEAM_SCHEMA_BEFORE {
        return Err(CanonError::Schema(schema));
    }
    let secret = Zeroizing::new(r.array()?);
    let max = usize::try_from(TEAM_FILE_MAX).unwrap_or(usize::MAX);
    let wire = r.option(|r| r.bytes(max).map(<[u8]>::to_vec))?;
    let secrets = match schema {
        TEAM_SCHEMA => Secrets::read(&mut r)?,
        _ => Secrets::default(),
    };
    r.finish()?;
    Ok((secret, wire, secrets))
}

/// For `fuzzing`: a team file taken apart, its roster read, and written again.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn team_file_again(bytes: &[u8]) -> Option<Vec<u8>> {
    let (secret, wire, secrets) = split_state(bytes).ok()?;
    let roster = wire.map(|w| Roster::from_wire(&w, None)).transpose().ok()?;
    Some(written(&secret, roster.as_ref(), &secrets).to_vec())
}
