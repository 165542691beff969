//! What two strangers claim to each other before one of them is a member, and what holds them
//! to it: plain data, digests and signatures.
//!
//! Enters: what a newcomer says of itself, what an admin's node says of its team, nonces.
//! Leaves: a commitment, the short string that two people compare, a proof that the newcomer
//! holds its builder key. Must never happen here: a socket, a clock, randomness, a decision
//! about who is let in.
//!
//! The short string is a commit-then-reveal over everything that either side claimed: the
//! newcomer commits to its nonce before it sees the door's, and the door gives its nonce before
//! it sees the newcomer's. Whoever stands between the two must fix one of the strings before it
//! can know the other, and gets one try in 2^40 for each string that a person reads.

use crate::ticket::{MAX_TEAM_NAME, read_addresses, showable};
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::digest::Domain;
use quarry_trust::key::SIGNATURE_LEN;
use quarry_trust::{BuilderId, BuilderKey, Digest, PeerId, Signature, TeamId};
use thiserror::Error;
use zeroize::Zeroizing;

/// Length of a member's name, in bytes: `user@host` with room to spare.
pub const MAX_MEMBER_NAME: usize = 128;
/// Length of a nonce, in bytes.
pub const NONCE_LEN: usize = 32;
/// Characters of the short string, five bits each: 40 bits are out of reach for an attacker who
/// has one try per string shown, and eight characters are what two people will read aloud.
pub const CODE_LEN: usize = 8;

/// Under this tag a newcomer commits to its claim and its nonce.
const COMMITMENT: Domain = Domain("quarry 2026-11 knock commitment v1");
/// Under this tag the short string is derived.
const CODE: Domain = Domain("quarry 2026-11 knock code v1");
/// Under this tag a newcomer's builder key signs.
const PROOF: &str = "quarry 2026-11 join proof v1";
/// Crockford's base 32: no I, L, O or U, so that nothing is read as something else.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Random bytes that one side contributes to the short string.
pub type Nonce = [u8; NONCE_LEN];

/// Who asks to be let in, by its own word. The noise handshake vouches for `peer` and a
/// [`Proof`] for `builder`; the name is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What the member will be called: at most [`MAX_MEMBER_NAME`] bytes that can be shown.
    pub name: String,
    /// Its network identity.
    pub peer: PeerId,
    /// Its signing identity.
    pub builder: BuilderId,
    /// Multiaddrs of its main swarm, without the peer id.
    pub addresses: Vec<String>,
}

impl Canonical for Candidate {
    fn write(&self, w: &mut Writer) {
        w.text(&self.name);
        self.peer.write(w);
        self.builder.write(w);
        write_addresses(w, &self.addresses);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(Self {
            name: read_shown(r, MAX_MEMBER_NAME)?,
            peer: PeerId::read(r)?,
            builder: BuilderId::read(r)?,
            addresses: read_addresses(r)?,
        })
    }
}

/// What the node behind a door says of its team and itself. Nothing vouches for it but the
/// short string, which covers every field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamClaim {
    /// The team's name, for people.
    pub team_name: String,
    /// The team's name, for machines.
    pub team: TeamId,
    /// The team's root key: the roster handed over later must be under it.
    pub root: BuilderId,
    /// The admin's name in the roster, for people.
    pub admin_name: String,
    /// The admin's network identity.
    pub admin_peer: PeerId,
    /// The admin's signing identity.
    pub admin_builder: BuilderId,
}

impl Canonical for TeamClaim {
    fn write(&self, w: &mut Writer) {
        w.text(&self.team_name);
        self.team.0.write(w);
        self.root.write(w);
        w.text(&self.admin_name);
        self.admin_peer.write(w);
        self.admin_builder.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(Self {
            team_name: read_shown(r, MAX_TEAM_NAME)?,
            team: TeamId(Digest::read(r)?),
            root: BuilderId::read(r)?,
            admin_name: read_shown(r, MAX_MEMBER_NAME)?,
            admin_peer: PeerId::read(r)?,
            admin_builder: BuilderId::read(r)?,
        })
    }
}

/// What a newcomer is given once it is let in.
#[derive(Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The team's charter and chain in wire form, the newcomer in it: to be verified under the
    /// root that the ticket or the short string pinned.
    pub roster: Vec<u8>,
    /// The secret under which the team's digests of values are keyed. Wiped when dropped.
    pub team_secret: Zeroizing<[u8; 32]>,
    /// Multiaddrs of the admin's main swarm, without the peer id.
    pub addresses: Vec<String>,
    /// The admin's peer.
    pub admin: PeerId,
}

impl std::fmt::Debug for Welcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Welcome")
            .field("roster", &self.roster.len())
            .field("addresses", &self.addresses)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// Why a newcomer is not let in, in words for the newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JoinRefusal {
    /// No invitation has this secret, or no such request for approval is known.
    #[error("that node knows no such invitation or request: ask for a new ticket, or join again")]
    Unknown,
    /// The invitation's time, or the time for an approval, is over.
    #[error("the invitation or request has expired: ask for a new ticket, or join again")]
    Expired,
    /// Somebody redeemed the ticket already.
    #[error(
        "the ticket was used already: ask for a new one, and tell the team if it was not you who used it"
    )]
    Used,
    /// The newcomer is not who it says it is.
    #[error("the node does not hold the keys that it names: another node's identity is refused")]
    Identity,
    /// As many wait for approval as may.
    #[error("too many are waiting for approval there: try again in a few minutes")]
    Busy,
    /// No admin waits for requests now.
    #[error("no admin is waiting for requests there: ask one to run `qnode approve`")]
    NotWaiting,
    /// Name or key belong to a member already, or to one that was revoked.
    #[error(
        "that name or key is taken in the team, or was revoked: choose another with `--name`, or ask an admin"
    )]
    Taken,
    /// The other node could not do it; its log says why.
    #[error("the other node could not complete it: its log (`qnode log`) says why")]
    Failed,
}

impl JoinRefusal {
    const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Expired,
        Self::Used,
        Self::Identity,
        Self::Busy,
        Self::NotWaiting,
        Self::Taken,
        Self::Failed,
    ];
}

impl Canonical for JoinRefusal {
    fn write(&self, w: &mut Writer) {
        w.u8(match self {
            Self::Unknown => 0,
            Self::Expired => 1,
            Self::Used => 2,
            Self::Identity => 3,
            Self::Busy => 4,
            Self::NotWaiting => 5,
            Self::Taken => 6,
            Self::Failed => 7,
        });
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let tag = usize::from(r.u8()?);
        Self::ALL
            .get(tag)
            .copied()
            .ok_or(CanonError::Value("an unknown refusal"))
    }
}

/// A newcomer's signature: it holds its builder key, speaks as this peer, to this door, about
/// this ticket or this nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof(pub Signature);

impl Proof {
    /// Signs as `candidate.builder`. `bind` is the ticket's secret digest, or the commitment.
    #[must_use]
    pub fn new(key: &BuilderKey, door: &PeerId, candidate: &Candidate, bind: &Digest) -> Self {
        Self(key.sign(PROOF, &proven(door, candidate, bind)))
    }

    /// Whether `candidate.builder` signed this, for this door and `bind`.
    #[must_use]
    pub fn holds(&self, door: &PeerId, candidate: &Candidate, bind: &Digest) -> bool {
        candidate
            .builder
            .verifies(PROOF, &proven(door, candidate, bind), &self.0)
    }
}

impl Canonical for Proof {
    fn write(&self, w: &mut Writer) {
        w.fixed(&self.0.0);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok(Self(Signature(r.array::<SIGNATURE_LEN>()?)))
    }
}

fn proven(door: &PeerId, candidate: &Candidate, bind: &Digest) -> Vec<u8> {
    let mut w = Writer::default();
    door.write(&mut w);
    candidate.write(&mut w);
    bind.write(&mut w);
    w.finish()
}

/// What a newcomer says before it learns the door's nonce. Says nothing of its own.
#[must_use]
pub fn commitment(candidate: &Candidate, nonce: &Nonce) -> Digest {
    let mut w = Writer::default();
    candidate.write(&mut w);
    w.fixed(nonce);
    Digest::tagged(COMMITMENT, &w.finish())
}

/// The short string that both people compare, as in `K7QM-2X9D`.
#[must_use]
pub fn code(
    claim: &TeamClaim,
    candidate: &Candidate,
    door_nonce: &Nonce,
    own_nonce: &Nonce,
) -> String {
    let mut w = Writer::default();
    claim.write(&mut w);
    candidate.write(&mut w);
    w.fixed(door_nonce);
    w.fixed(own_nonce);
    let mut bits = Digest::tagged(CODE, &w.finish()).short();
    let mut code = String::with_capacity(CODE_LEN + 1);
    for place in 0..CODE_LEN {
        if place == CODE_LEN / 2 {
            code.push('-');
        }
        code.push(char::from(ALPHABET[(bits & 31) as usize]));
        bits >>= 5;
    }
    code
}

/// A length, then each address.
pub(super) fn write_addresses(w: &mut Writer, addresses: &[String]) {
    w.count(addresses.len());
    for address in addresses {
        w.text(address);
    }
}

fn read_shown(r: &mut Reader<'_>, max: usize) -> Result<String, CanonError> {
    let text = r.text(max)?;
    if !showable(&text) {
        return Err(CanonError::Value("a name that cannot be shown"));
    }
    Ok(text)
}
