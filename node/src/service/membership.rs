//! Who may join: open invitations, and those who wait for an admin's approval.
//!
//! Enters: what newcomers show (a ticket's secret, a commitment, a nonce) and what the admin
//! decides, with `now` and random bytes as arguments. Leaves: a role to admit, or a refusal.
//! Must never happen here: I/O, a clock, randomness, a change of the roster, a secret kept.
//!
//! Invitations are kept across restarts ([`Membership::to_bytes`]; write them down after each
//! change and before acting on it), so that a ticket that was used stays used. Knocks are kept
//! in memory alone: after a restart the newcomer knocks again, and a new string is compared.

pub use crate::swarm::door::{Candidate, JoinRefusal, Nonce, TeamClaim};

use crate::swarm::door::{code, commitment};
use crate::ticket::{SECRET_LEN, Ticket, secret_digest};
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::roster::Role;
use quarry_trust::{Digest, PeerId};
use thiserror::Error;

/// Invitations remembered, spent ones among them: more than a team hands out in a week.
pub const MAX_INVITATIONS: usize = 256;
/// An invitation's longest life, in seconds: a fortnight covers somebody's holiday.
pub const MAX_LIFETIME: u64 = 14 * 24 * 3600;
/// How long a spent invitation still answers "used" or "expired" instead of "unknown", in
/// seconds.
pub const KEEP_SPENT: u64 = 7 * 24 * 3600;
/// Newcomers that wait for approval at once: an admin reads through that many.
pub const MAX_KNOCKS: usize = 16;
/// How long a knock waits for approval, in seconds: two people find each other in that time.
pub const KNOCK_LIFETIME: u64 = 600;
/// How long a decided knock still answers, in seconds: the newcomer polls twice a second, and
/// may have to find its way back to the door.
pub const ANSWER_LIFETIME: u64 = 120;
/// How long a knock may leave its commitment unopened, in seconds: a newcomer opens it at once.
pub const REVEAL_WITHIN: u64 = 30;

/// The schema of the stored form.
const SCHEMA: u16 = 1;
/// Bytes of the stored form: every invitation at its largest, and the head.
const MAX_STORED: usize = 64 + MAX_INVITATIONS * 128;
/// A prefix of a key shorter than this names nobody: it would hit by chance.
const MIN_KEY_PREFIX: usize = 4;

/// Why an invitation cannot be made, a person not approved, a state not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MembershipError {
    /// Too many invitations are open.
    #[error("{MAX_INVITATIONS} invitations are open: wait until some are used or expire")]
    Full,
    /// It would be over before it begins, or last too long.
    #[error("an invitation lasts from a second to {} days: choose another `--expires`", MAX_LIFETIME / 86400)]
    Lifetime,
    /// Nobody who waits is called that.
    #[error("nobody who waits for approval is called {0:?}: let them run `qnode join` again")]
    Nobody(String),
    /// Several who wait could be meant.
    #[error("{0:?} could be any of {1}: name one by more of its name, its keys or its string")]
    Ambiguous(String, String),
    /// The stored state is damaged, or of another version.
    #[error(
        "the stored invitations cannot be read ({0}): those that are open are void, invite again"
    )]
    Stored(CanonError),
}

/// One who waits for approval, as the admin sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Who asks.
    pub candidate: Candidate,
    /// The string to compare with what the newcomer sees.
    pub code: String,
    /// When it knocked, in seconds since 1970.
    pub since: u64,
}

/// How an approval stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnockState {
    /// Nobody has decided yet.
    Pending,
    /// An admin said yes. The candidate as it was approved.
    Approved(Candidate),
    /// An admin said no.
    Denied,
}

/// Open invitations and knocks of one node.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    invitations: Vec<Invitation>,
    knocks: Vec<Knock>,
    knocks_until: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Invitation {
    digest: Digest,
    role: Role,
    expires: u64,
    used_by: Option<PeerId>,
}

#[derive(Debug, Clone)]
struct Knock {
    candidate: Candidate,
    since: u64,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Committed { commitment: Digest, nonce: Nonce },
    Shown { code: String },
    Approved { at: u64 },
    Denied { at: u64 },
}

impl Knock {
    fn end(&self) -> u64 {
        match &self.stage {
            Stage::Committed { .. } => self.since.saturating_add(REVEAL_WITHIN),
            Stage::Shown { .. } => self.since.saturating_add(KNOCK_LIFETIME),
            Stage::Approved { at } | Stage::Denied { at } => at.saturating_add(ANSWER_LIFETIME),
        }
    }

    fn is_over(&self, now: u64) -> bool {
        now >= self.end()
    }

    fn is_called(&self, wanted: &str) -> bool {
        let wanted = wanted.to_lowercase();
        let by_key = |hex: String| wanted.len() >= MIN_KEY_PREFIX && hex.starts_with(&wanted);
        let by_code = match &self.stage {
            Stage::Shown { code } => {
                code.replace('-', "").to_lowercase() == wanted.replace('-', "")
            }
            _ => false,
        };
        let candidate = &self.candidate;
        (!wanted.is_empty() && candidate.name.to_lowercase().starts_with(&wanted))
            || by_key(candidate.peer.to_hex())
            || by_key(candidate.builder.to_hex())
            || by_code
    }
}

impl Membership {
    /// Opens an invitation: keeps what is needed to know its ticket again, not its secret.
    ///
    /// # Errors
    /// [`MembershipError::Lifetime`], [`MembershipError::Full`].
    pub fn invite(&mut self, ticket: &Ticket, now: u64) -> Result<(), MembershipError> {
        if ticket.is_expired(now) || ticket.expires - now > MAX_LIFETIME {
            return Err(MembershipError::Lifetime);
        }
        self.forget_spent(now);
        if self.invitations.len() >= MAX_INVITATIONS {
            return Err(MembershipError::Full);
        }
        self.invitations.push(Invitation {
            digest: ticket.secret_digest(),
            role: ticket.role,
            expires: ticket.expires,
            used_by: None,
        });
        Ok(())
    }

    /// Takes a ticket's secret from a newcomer whose keys the door has checked, and marks the
    /// invitation used. Write the state down before the newcomer is admitted: a crash between
    /// the two must cost a ticket, never admit twice.
    ///
    /// # Errors
    /// [`JoinRefusal::Unknown`], [`JoinRefusal::Used`], [`JoinRefusal::Expired`].
    pub fn redeem(
        &mut self,
        secret: &[u8; SECRET_LEN],
        candidate: &Candidate,
        now: u64,
    ) -> Result<Role, JoinRefusal> {
        let digest = secret_digest(secret);
        let invitation = self
            .invitations
            .iter_mut()
            .find(|i| i.digest == digest)
            .ok_or(JoinRefusal::Unknown)?;
        if invitation.used_by.is_some() {
            return Err(JoinRefusal::Used);
        }
        if now >= invitation.expires {
            return Err(JoinRefusal::Expired);
        }
        invitation.used_by = Some(candidate.peer);
        Ok(invitation.role)
    }

    /// Accepts knocks until `until`, in seconds since 1970: an admin waits for them.
    pub fn wait_for_knocks(&mut self, until: u64) {
        self.knocks_until = self.knocks_until.max(until);
    }

    /// Accepts no further knock; those that wait go on waiting.
    pub fn stop_waiting(&mut self) {
        self.knocks_until = 0;
    }

    /// Takes a newcomer's commitment; `nonce` is this node's random part, given to the newcomer
    /// in return. A peer that knocks again replaces its earlier knock.
    ///
    /// # Errors
    /// [`JoinRefusal::NotWaiting`], [`JoinRefusal::Busy`].
    pub fn knock(
        &mut self,
        candidate: Candidate,
        commitment: Digest,
        nonce: Nonce,
        now: u64,
    ) -> Result<(), JoinRefusal> {
        if now >= self.knocks_until {
            return Err(JoinRefusal::NotWaiting);
        }
        self.knocks
            .retain(|k| !k.is_over(now) && k.candidate.peer != candidate.peer);
        if self.knocks.len() >= MAX_KNOCKS {
            return Err(JoinRefusal::Busy);
        }
        let stage = Stage::Committed { commitment, nonce };
        self.knocks.push(Knock {
            candidate,
            since: now,
            stage,
        });
        Ok(())
    }

    /// Takes the nonce that opens a newcomer's commitment, and makes the string that the admin
    /// compares. `claim` is what the newcomer was told in answer to its knock. A nonce that does
    /// not open it ends the knock: nobody gets a second try at a string.
    ///
    /// # Errors
    /// [`JoinRefusal::Unknown`], [`JoinRefusal::Expired`], [`JoinRefusal::Identity`].
    pub fn reveal(
        &mut self,
        peer: &PeerId,
        nonce: &Nonce,
        claim: &TeamClaim,
        now: u64,
    ) -> Result<String, JoinRefusal> {
        let at = self.position(peer, now)?;
        let knock = &mut self.knocks[at];
        let Stage::Committed {
            commitment: promised,
            nonce: ours,
        } = &knock.stage
        else {
            return Err(JoinRefusal::Unknown);
        };
        if commitment(&knock.candidate, nonce) != *promised {
            self.knocks.remove(at);
            return Err(JoinRefusal::Identity);
        }
        let code = code(claim, &knock.candidate, ours, nonce);
        knock.stage = Stage::Shown { code: code.clone() };
        Ok(code)
    }

    /// How a newcomer's knock stands.
    ///
    /// # Errors
    /// [`JoinRefusal::Unknown`], [`JoinRefusal::Expired`].
    pub fn poll(&self, peer: &PeerId, now: u64) -> Result<KnockState, JoinRefusal> {
        let knock = &self.knocks[self.position(peer, now)?];
        match &knock.stage {
            Stage::Committed { .. } => Err(JoinRefusal::Unknown),
            Stage::Shown { .. } => Ok(KnockState::Pending),
            Stage::Approved { .. } => Ok(KnockState::Approved(knock.candidate.clone())),
            Stage::Denied { .. } => Ok(KnockState::Denied),
        }
    }

    /// Says yes to the one who waits and whose name, peer or builder begins with `wanted`, or
    /// whose string it is (which makes the person compare it). What comes back is to be admitted; where that fails, call
    /// [`Membership::deny`] with its peer.
    ///
    /// # Errors
    /// [`MembershipError::Nobody`], [`MembershipError::Ambiguous`].
    pub fn approve(&mut self, wanted: &str, now: u64) -> Result<Candidate, MembershipError> {
        let shown = |stage: &Stage| matches!(stage, Stage::Shown { .. });
        let knock = self.find(wanted, now, shown)?;
        knock.stage = Stage::Approved { at: now };
        Ok(knock.candidate.clone())
    }

    /// Says no, also to one that was approved and could not be admitted.
    ///
    /// # Errors
    /// [`MembershipError::Nobody`], [`MembershipError::Ambiguous`].
    pub fn deny(&mut self, wanted: &str, now: u64) -> Result<Candidate, MembershipError> {
        let decided = |stage: &Stage| matches!(stage, Stage::Shown { .. } | Stage::Approved { .. });
        let knock = self.find(wanted, now, decided)?;
        knock.stage = Stage::Denied { at: now };
        Ok(knock.candidate.clone())
    }

    /// Who waits for a decision, longest first.
    #[must_use]
    pub fn waiting(&self, now: u64) -> Vec<Waiting> {
        let mut waiting: Vec<Waiting> = self
            .knocks
            .iter()
            .filter(|knock| !knock.is_over(now))
            .filter_map(|knock| match &knock.stage {
                Stage::Shown { code } => Some(Waiting {
                    candidate: knock.candidate.clone(),
                    code: code.clone(),
                    since: knock.since,
                }),
                _ => None,
            })
            .collect();
        waiting.sort_by_key(|w| w.since);
        waiting
    }

    /// Until when the door must be open, in seconds since 1970; `None` where nothing is open.
    /// Holds at `now`: ask again after each change and when that time has come.
    #[must_use]
    pub fn door_until(&self, now: u64) -> Option<u64> {
        let invitations = self
            .invitations
            .iter()
            .filter(|i| i.used_by.is_none() && now < i.expires)
            .map(|i| i.expires);
        let waits = (now < self.knocks_until).then_some(self.knocks_until);
        let knocks = self
            .knocks
            .iter()
            .filter(|k| !k.is_over(now))
            .map(Knock::end);
        invitations.chain(waits).chain(knocks).max()
    }

    /// The invitations, to be kept. Knocks are not among them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u16(SCHEMA);
        w.list(&self.invitations);
        w.finish()
    }

    /// Reads what [`Membership::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`MembershipError::Stored`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MembershipError> {
        let read = || {
            if bytes.len() > MAX_STORED {
                return Err(CanonError::Limit);
            }
            let mut r = Reader::new(bytes);
            match r.u16()? {
                SCHEMA => {}
                other => return Err(CanonError::Schema(other)),
            }
            let invitations = r.list(MAX_INVITATIONS)?;
            r.finish()?;
            Ok(invitations)
        };
        let invitations = read().map_err(MembershipError::Stored)?;
        Ok(Self {
            invitations,
            ..Self::default()
        })
    }

    fn forget_spent(&mut self, now: u64) {
        self.invitations
            .retain(|i| now < i.expires.saturating_add(KEEP_SPENT));
        while self.invitations.len() >= MAX_INVITATIONS {
            let spent = |i: &Invitation| i.used_by.is_some() || now >= i.expires;
            let Some(oldest) = self.invitations.iter().position(spent) else {
                return;
            };
            self.invitations.remove(oldest);
        }
    }

    fn position(&self, peer: &PeerId, now: u64) -> Result<usize, JoinRefusal> {
        let at = self
            .knocks
            .iter()
            .position(|k| k.candidate.peer == *peer)
            .ok_or(JoinRefusal::Unknown)?;
        if self.knocks[at].is_over(now) {
            return Err(JoinRefusal::Expired);
        }
        Ok(at)
    }

    fn find(
        &mut self,
        wanted: &str,
        now: u64,
        eligible: impl Fn(&Stage) -> bool,
    ) -> Result<&mut Knock, MembershipError> {
        let mut called: Vec<&mut Knock> = self
            .knocks
            .iter_mut()
            .filter(|k| !k.is_over(now) && eligible(&k.stage) && k.is_called(wanted))
            .collect();
        if called.len() > 1 {
            // A whole name is meant before the start of a longer one.
            let whole = |k: &&mut Knock| k.candidate.name == wanted;
            if called.iter().filter(|k| whole(k)).count() == 1 {
                called.retain(whole);
            }
        }
        if called.len() > 1 {
            let names: Vec<&str> = called.iter().map(|k| k.candidate.name.as_str()).collect();
            return Err(MembershipError::Ambiguous(
                wanted.to_owned(),
                names.join(", "),
            ));
        }
        called
            .pop()
            .ok_or_else(|| MembershipError::Nobody(wanted.to_owned()))
    }
}

impl Canonical for Invitation {
    fn write(&self, w: &mut Writer) {
        self.digest.write(w);
        self.role.write(w);
        w.u64(self.expires);
        w.option(self.used_by.as_ref(), |w, peer| peer.write(w));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(Self {
            digest: Digest::read(r)?,
            role: Role::read(r)?,
            expires: r.u64()?,
            used_by: r.option(PeerId::read)?,
        })
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
