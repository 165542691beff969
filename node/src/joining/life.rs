//! A membership's life after joining: roles, retirement, the end of a fork, charters, new keys.
//!
//! Enters: an admin's decision, a signed charter, the wish for new keys. Leaves: a changed roster,
//! and peers who are told. The rules are `trust`'s; the files are `team`'s.

use super::{Joining, JoiningError, POLL, role_of};
use crate::charter::{Draft, read_signed};
use crate::control::JoinedReport;
use crate::find::{Find, FindError, KEY_LIKE, ambiguous, has_key};
use crate::team::{Adopted, Ended, TeamError, Wanted};
use quarry_trust::roster::{Fork, Gone, Op, Role};
use quarry_trust::{BuilderId, Member};
use std::time::{Duration, Instant};

/// What became of a member, and of the fork that was open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The member's name.
    pub name: String,
    /// Whether it was so before, and nothing was done.
    pub already: bool,
    /// How the fork ended, where there was one.
    pub ended: Option<Ended>,
}

/// The one of this very name, or of a key that begins so, who waits for the fork to end.
fn waits(fork: &Fork, wanted: &str) -> Option<Member> {
    let mut all = fork.waiting.iter().filter_map(|op| match op {
        Op::Add(member) => Some(member),
        _ => None,
    });
    let is_meant = |m: &&Member| m.name == wanted || has_key(m, wanted) && wanted.len() >= KEY_LIKE;
    let found = all.find(is_meant)?.clone();
    all.find(is_meant).is_none().then_some(found)
}

impl Joining {
    fn find(&self, member: &str) -> Result<Member, JoiningError> {
        let found = self.team.roster(|r| r.find(member).cloned());
        let found = found.ok_or(TeamError::None)?;
        Ok(found.map_err(TeamError::from)?)
    }

    /// Who is to be revoked, and whether that is so already: also one who left by itself.
    fn find_to_revoke(&self, member: &str) -> Result<(Member, bool), JoiningError> {
        let missing = match self.find(member) {
            Err(JoiningError::Team(TeamError::Find(e @ FindError::NotFound(_)))) => e,
            found => return found.map(|found| (found, false)),
        };
        let former = self.team.roster(|r| {
            let former = r.find_former(member).into_iter();
            let former = former.map(|(m, gone)| (m.clone(), gone)).collect();
            let waits = r.fork().and_then(|fork| waits(fork, member));
            (former, waits)
        });
        let (mut former, waits): (Vec<(Member, Gone)>, _) = former.ok_or(TeamError::None)?;
        let Some((first, _)) = former.first().cloned() else {
            let waits = waits.map(|member| (member, false));
            return waits.ok_or_else(|| TeamError::from(missing).into());
        };
        former.retain(|(_, gone)| *gone == Gone::Retired);
        if former.len() > 1 {
            return Err(TeamError::from(ambiguous(member, former.iter().map(|f| &f.0))).into());
        }
        let retired = former.pop().map(|(retired, _)| (retired, false));
        Ok(retired.unwrap_or((first, true)))
    }

    fn take_away(&self, member: Member, op: Op) -> Result<Taken, JoiningError> {
        let ended = self.team.take_away(op)?;
        self.swarm.roster_changed();
        Ok(Taken {
            name: member.name,
            already: false,
            ended,
        })
    }

    /// Revokes a member, also where the chain is forked. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn revoke(&self, member: &str) -> Result<Taken, JoiningError> {
        self.as_admin()?;
        let (found, already) = self.find_to_revoke(member)?;
        if already {
            return Ok(Taken {
                name: found.name,
                already,
                ended: None,
            });
        }
        let op = Op::Revoke(found.builder);
        self.take_away(found, op)
    }

    /// Gives a member another role; a lower one also where the chain is forked. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn set_role(&self, member: &str, role: &str) -> Result<Taken, JoiningError> {
        let role = role_of(role)?;
        self.as_admin()?;
        let found = self.find(member)?;
        let op = Op::SetRole(found.builder, role);
        self.take_away(found, op)
    }

    /// Retires a member: it is admitted no longer, and what it signed before counts where it was
    /// verified. Also where the chain is forked. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn retire(&self, member: &str) -> Result<Taken, JoiningError> {
        self.as_admin()?;
        let found = self.find(member)?;
        let op = Op::Retire(found.builder);
        self.take_away(found, op)
    }

    /// The open fork, and the names of who signed its heads.
    ///
    /// # Errors
    /// [`TeamError::None`].
    pub fn fork(&self) -> Result<Option<Fork>, JoiningError> {
        let fork = self.team.roster(|r| r.fork().cloned());
        Ok(fork.ok_or(TeamError::None)?)
    }

    /// Ends the open fork, and signs anew what waited for that: this admin vouches for it. Leaves
    /// what it signed. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`]; the fork is then as it was.
    pub fn merge_fork(&self) -> Result<Vec<Op>, JoiningError> {
        self.as_admin()?;
        let fork = self.fork()?.ok_or(JoiningError::NoFork)?;
        self.team.merge_fork()?;
        self.swarm.roster_changed();
        Ok(fork.waiting)
    }

    /// Draws up a team's first charter, for the root `root`. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn draft_first(&self, name: &str, member: &str, root: &str) -> Result<Draft, JoiningError> {
        let root = BuilderId::from_hex(root).ok_or_else(|| JoiningError::Root(root.to_owned()))?;
        Ok(self.team.draft_first(name, member, root)?)
    }

    /// Draws up the next charter. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn draft_next(&self, wanted: &Wanted) -> Result<Draft, JoiningError> {
        Ok(self.team.draft_next(wanted)?)
    }

    /// Takes in a charter that the root has signed, and passes it on. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn adopt_charter(
        &self,
        bytes: &[u8],
        sure: bool,
    ) -> Result<(Adopted, Option<JoinedReport>), JoiningError> {
        let charter = read_signed(bytes).map_err(TeamError::from)?;
        let adopted = self.team.adopt_charter(charter, sure)?;
        if adopted.entered {
            return Ok((adopted, Some(self.entered()?)));
        }
        if adopted.changed {
            self.swarm.roster_changed();
        }
        Ok((adopted, None))
    }

    /// Begins to change our own keys, and waits up to `within` for an admin's node to make that
    /// part of the chain. True where the new keys are in their place: the node must start again.
    /// Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn rotate(
        &self,
        peer: bool,
        compromised: bool,
        within: Duration,
    ) -> Result<bool, JoiningError> {
        let deadline = Instant::now() + within;
        let mut done = self.team.rotate(peer, compromised)?;
        self.swarm.roster_changed();
        while !done && Instant::now() < deadline && self.is_anybody_here() {
            std::thread::sleep(POLL);
            done = self.team.rotated()?;
        }
        Ok(done)
    }

    fn is_anybody_here(&self) -> bool {
        self.swarm.peers().iter().any(|p| p.connected)
    }

    /// The admins, by name, for whom a rotation of ours waits: none once the chain has it.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn admins_to_sign(&self) -> Result<Vec<String>, JoiningError> {
        if self.team.is_signed_in()? {
            return Ok(Vec::new());
        }
        let own = self.team.builder();
        let others = self.team.roster(|r| {
            let admins = r.members().filter(|m| m.role == Role::Admin);
            let others = admins.filter(|m| m.builder != own);
            others.map(|m| m.name.clone()).collect()
        });
        Ok(others.unwrap_or_default())
    }
}
