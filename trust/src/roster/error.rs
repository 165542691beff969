//! Why something about a roster is refused.
//!
//! One enum for the room. Every message says what happened, to what, and what to do next.
//! Nothing here decides.

use crate::canon::CanonError;
use crate::key::{BuilderId, PeerId};
use thiserror::Error;

/// Why a charter, a change, a mark, a wire or a proposal is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RosterError {
    /// The bytes are not the canonical form.
    #[error("the roster's bytes are refused: {0}; ask another member for theirs")]
    Form(#[from] CanonError),
    /// A signature does not hold.
    #[error("the signature of a {0} does not hold; ask another member for the roster")]
    Signature(&'static str),
    /// A name that is empty, too long, or not printable.
    #[error("the name cannot be used: {0}; choose another")]
    Name(&'static str),
    /// The roster of another team, or a statement made for another team.
    #[error("this belongs to another team; leave this team before you join that one")]
    OtherTeam,
    /// Signed by another root key than the one expected.
    #[error("the charter is signed by root {0}, not by the root expected; ask for a new ticket")]
    OtherRoot(BuilderId),
    /// An older charter than ours.
    #[error("charter epoch {theirs} is older than ours, {ours}: a rollback; update that node")]
    Rollback {
        /// The epoch that we hold.
        ours: u64,
        /// The epoch that came.
        theirs: u64,
    },
    /// The root signed two charters under one epoch.
    #[error("the root signed two charters of epoch {0}; sign one with a higher epoch")]
    CharterConflict(u64),
    /// A charter whose lists contradict themselves.
    #[error("the charter is refused: {0}; the root must sign another")]
    Charter(&'static str),
    /// A change or mark that names a predecessor which is not there.
    #[error("a change or mark names a predecessor that is missing; fetch the whole roster")]
    Orphan,
    /// The signer was no admin where it signed.
    #[error("builder {0} is no admin at that point of the chain; ask an admin to sign")]
    NotAdmin(BuilderId),
    /// No such member.
    #[error("builder {0} is no member; see `qnode members`")]
    NotMember(BuilderId),
    /// The builder is a member already.
    #[error("builder {0} is a member already; see `qnode members`")]
    AlreadyMember(BuilderId),
    /// The builder was revoked.
    #[error("builder {0} was revoked; join again with a new builder key")]
    RevokedBuilder(BuilderId),
    /// The peer belongs to a member.
    #[error("peer {peer} is in use by member {name}; retire that member first")]
    PeerTaken {
        /// The network identity.
        peer: PeerId,
        /// Who has it.
        name: String,
    },
    /// The change would leave the team without an admin.
    #[error("this would leave the team without an admin; make another member an admin first")]
    LastAdmin,
    /// A limit is reached.
    #[error("the roster has no room for more {0}; the team's root must sign a new charter")]
    Full(&'static str),
    /// The chain has more than one head.
    #[error("the chain has {0} branches; an admin must `qnode team merge` them first")]
    Forked(usize),
    /// A merge that does not name exactly the other heads.
    #[error("the merge does not name the chain's other heads; look at the fork again")]
    BadMerge,
    /// A departure that the member's latest joining has overtaken.
    #[error("the departure of builder {0} is older than its joining; it must be signed again")]
    StaleDeparture(BuilderId),
}
