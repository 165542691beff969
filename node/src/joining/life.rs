//! A membership's life after joining: roles, retirement, the end of a fork, charters, new keys.
//!
//! Enters: an admin's decision, a signed charter, the wish for new keys. Leaves: a changed roster,
//! and peers who are told. The rules are `trust`'s; the files are `team`'s.

use super::{Joining, JoiningError, MemberName, POLL, role_of};
use crate::charter::{Draft, read_signed};
use crate::control::JoinedReport;
use crate::find::Find;
use crate::team::{Adopted, TeamError, Wanted};
use quarry_trust::roster::{Fork, Op, Role};
use quarry_trust::{BuilderId, Member};
use std::time::{Duration, Instant};

impl Joining {
    fn find(&self, member: &str) -> Result<Member, JoiningError> {
        let found = self.team.roster(|r| r.find(member).cloned());
        let found = found.ok_or(TeamError::None)?;
        Ok(found.map_err(TeamError::from)?)
    }

    /// Gives a member another role. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn set_role(&self, member: &str, role: &str) -> Result<MemberName, JoiningError> {
        let role = role_of(role)?;
        self.as_admin()?;
        let found = self.find(member)?;
        self.team.propose(Op::SetRole(found.builder, role))?;
        self.swarm.roster_changed();
        Ok(MemberName(found.name))
    }

    /// Retires a member: it is admitted no longer, and what it signed before counts where it was
    /// verified. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn retire(&self, member: &str) -> Result<MemberName, JoiningError> {
        self.as_admin()?;
        let found = self.find(member)?;
        self.team.propose(Op::Retire(found.builder))?;
        self.swarm.roster_changed();
        Ok(MemberName(found.name))
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

    /// Admins in force other than this node's member, by name.
    #[must_use]
    pub fn other_admins(&self) -> Vec<String> {
        let own = self.team.builder();
        let others = self.team.roster(|r| {
            let admins = r.members().filter(|m| m.role == Role::Admin);
            let others = admins.filter(|m| m.builder != own);
            others.map(|m| m.name.clone()).collect()
        });
        others.unwrap_or_default()
    }
}
