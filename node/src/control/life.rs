//! What the command line asks of a membership's life, and what is answered.
//!
//! Enters: a [`LifeRequest`]. Leaves: its report. Nothing is decided here.

use super::Reply;
use crate::charter;
use crate::joining::{Taken, role_name};
use crate::runtime::Node;
use crate::team::Wanted;
use quarry_trust::roster::Op;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long `rotate` waits for an admin's node before it says that it goes on by itself.
const ROTATE_WITHIN: Duration = Duration::from_secs(5);

/// A request about the membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LifeRequest {
    /// Another role for a member: a [`TakenReport`].
    Role {
        /// Prefix of name, peer or builder.
        member: String,
        /// `admin`, `builder` or `reader`.
        role: String,
    },
    /// A member is to be admitted no longer; what it signed before counts: a [`TakenReport`].
    Retire {
        /// Prefix of name, peer or builder.
        member: String,
    },
    /// The open fork: a [`ForkReport`], or null.
    Fork,
    /// Ends the fork: a [`MergedReport`].
    Merge,
    /// A charter to be signed: the draft's bytes in hexadecimal.
    Draft {
        /// A team's first charter, where that is meant.
        first: Option<First>,
        /// Who is to be an admin; empty for those of today.
        admins: Vec<String>,
        /// Who is to be a builder.
        builders: Vec<String>,
        /// Who is to be revoked.
        revoke: Vec<String>,
    },
    /// Takes in a signed charter: an [`AdoptedReport`].
    Adopt {
        /// The file's bytes in hexadecimal.
        charter: String,
        /// Also where it undoes what the team has learnt since.
        sure: bool,
    },
    /// New keys for this node: a [`RotatedReport`].
    Rotate {
        /// A new peer key as well.
        peer: bool,
        /// Nothing that the old key signed shall count.
        compromised: bool,
    },
}

/// Of a team's first charter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// The team's name.
    pub name: String,
    /// This member's name.
    pub member: String,
    /// The root's public key, hexadecimal.
    pub root: String,
}

/// `team create` and `join`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedReport {
    /// The team's name.
    pub team: String,
    /// The team's id.
    pub team_id: String,
    /// This member's role.
    pub role: String,
    /// Entries built here before, which the team can use from now on.
    pub adopted: u64,
}

/// `invite`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitedReport {
    /// The ticket's text.
    pub ticket: String,
    /// The role that it gives.
    pub role: String,
    /// Seconds until it expires.
    pub expires_s: u64,
}

/// `approve`'s first half: who knocks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnockReport {
    /// The name that the newcomer gave.
    pub name: String,
    /// Its network identity.
    pub peer_id: String,
    /// Its signing identity.
    pub builder: String,
    /// The code to compare.
    pub code: String,
}

/// An open fork.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkReport {
    /// Who signed the end of each branch, and when (seconds since 1970 by their clock).
    pub heads: Vec<(String, u64)>,
    /// (name of a member or project, what) of what waits for the fork to end.
    pub waiting: Vec<(String, String)>,
}

/// What ending a fork came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergedReport {
    /// (name, what) of what waited and holds now.
    pub signed: Vec<(String, String)>,
}

/// What a revocation, a retirement or another role came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenReport {
    /// The member's name.
    pub name: String,
    /// Whether it was so before, and nothing was done.
    pub already: bool,
    /// How the fork ended that was open, where there was one.
    pub ended: Option<EndedReport>,
}

/// How a fork ended with what was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedReport {
    /// (name, what) of what waited and holds now.
    pub signed: Vec<(String, String)>,
    /// (name, what) of what waited and does not hold: its giver is no admin any more.
    pub left_out: Vec<(String, String)>,
    /// Why the fork is open still, where it is.
    pub open: Option<String>,
}

/// What adopting a charter came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedReport {
    /// The charter's epoch.
    pub epoch: u64,
    /// Whether it was news.
    pub changed: bool,
    /// Where this node entered the team by it.
    pub joined: Option<JoinedReport>,
}

/// `qnode rotate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotatedReport {
    /// Whether the new keys are in their place; else they wait for an admin's node, or a teammate's.
    pub done: bool,
    /// The admins whose nodes could sign it; none where that is done, and a teammate must hear.
    pub admins: Vec<String>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn done(report: &impl Serialize) -> Result<Reply, String> {
    serde_json::to_value(report).map(Reply::Done).map_err(text)
}

/// The final reply. Blocks.
pub(super) fn answer(node: &Node, request: LifeRequest) -> Result<Reply, String> {
    let joining = &node.joining;
    match request {
        LifeRequest::Role { member, role } => {
            let taken = joining.set_role(&member, &role).map_err(text)?;
            done(&taken_report(node, taken))
        }
        LifeRequest::Retire { member } => {
            let taken = joining.retire(&member).map_err(text)?;
            done(&taken_report(node, taken))
        }
        LifeRequest::Fork => done(&fork(node)?),
        LifeRequest::Merge => {
            let signed = joining.merge_fork().map_err(text)?;
            let signed = signed.iter().map(|op| told(node, op)).collect();
            done(&MergedReport { signed })
        }
        LifeRequest::Draft {
            first,
            admins,
            builders,
            revoke,
        } => {
            let draft = match first {
                Some(first) => joining.draft_first(&first.name, &first.member, &first.root),
                None => joining.draft_next(&Wanted {
                    admins,
                    builders,
                    revoke,
                }),
            };
            done(&hex(&draft.map_err(text)?.to_bytes()))
        }
        LifeRequest::Adopt { charter, sure } => {
            let bytes = unhex(&charter).ok_or("the request is damaged: `qnode restart`")?;
            let (adopted, joined) = joining.adopt_charter(&bytes, sure).map_err(text)?;
            done(&AdoptedReport {
                epoch: adopted.epoch,
                changed: adopted.changed,
                joined,
            })
        }
        LifeRequest::Rotate { peer, compromised } => {
            let rotated = joining.rotate(peer, compromised, ROTATE_WITHIN);
            done(&RotatedReport {
                done: rotated.map_err(text)?,
                admins: joining.admins_to_sign().map_err(text)?,
            })
        }
    }
}

/// What became of a member, in words.
pub(super) fn taken_report(node: &Node, taken: Taken) -> TakenReport {
    let words = |ops: &[Op]| ops.iter().map(|op| told(node, op)).collect();
    let ended = taken.ended.map(|ended| EndedReport {
        signed: words(&ended.signed),
        left_out: words(&ended.left_out),
        open: ended.open,
    });
    TakenReport {
        name: taken.name,
        already: taken.already,
        ended,
    }
}

/// The open fork in words, where there is one.
pub(super) fn fork(node: &Node) -> Result<Option<ForkReport>, String> {
    let Some(fork) = node.joining.fork().map_err(text)? else {
        return Ok(None);
    };
    let signer = |b| {
        let name = node.team.builder_name(b);
        name.unwrap_or_else(|| b.to_hex()[..12].to_owned())
    };
    let heads = fork.heads.iter().map(|h| (signer(&h.signer), h.at));
    let waiting = fork.waiting.iter().map(|op| told(node, op));
    Ok(Some(ForkReport {
        heads: heads.collect(),
        waiting: waiting.collect(),
    }))
}

/// A change that waits or waited, in words: whom or what it is about, and what it gives.
fn told(node: &Node, op: &Op) -> (String, String) {
    let name = |b| {
        let name = node.team.builder_name(b);
        name.unwrap_or_else(|| b.to_hex()[..12].to_owned())
    };
    match op {
        Op::Add(m) => (m.name.clone(), format!("joins as {}", role_name(m.role))),
        Op::SetRole(b, role) => (name(b), format!("becomes {}", role_name(*role))),
        Op::Retire(b) => (name(b), "retires".to_owned()),
        Op::Revoke(b) => (name(b), "is revoked".to_owned()),
        Op::Merge(_) => (String::new(), "ends a fork".to_owned()),
        Op::Project(project, to) => {
            let count = to.members.len();
            (project.clone(), format!("project of {count} members"))
        }
    }
}

/// Bytes as they travel in a request: hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Reads what [`hex`] wrote; `None` for anything else, and for more than a charter's file holds.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() > 2 * charter::FILE_MAX {
        return None;
    }
    data_encoding::HEXLOWER.decode(text.as_bytes()).ok()
}
