//! Charters that the root signs elsewhere: drawn up here, and taken in again.
//!
//! Enters: names of members, a signed charter. Leaves: a draft; a roster of the next epoch. The
//! root's key is not here. Must never happen here: a charter of another team or root, an older
//! one, or one that silently undoes a revocation.

use super::{Team, TeamError, now, random};
use crate::charter::{self, Draft};
use crate::find::Find;
use quarry_trust::roster::{Charter, Member, Role, Roster, RosterError, Signed};
use quarry_trust::{BuilderId, PeerId};

/// What the next charter is to say, by names or prefixes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Who is to be an admin; empty for those of today.
    pub admins: Vec<String>,
    /// Who is to be a builder.
    pub builders: Vec<String>,
    /// Who is to be revoked.
    pub revoke: Vec<String>,
}

/// What adopting a charter came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Whether this node entered a team by it.
    pub entered: bool,
    /// Whether it was news.
    pub changed: bool,
    /// Its epoch.
    pub epoch: u64,
    /// Peers that are admitted no longer.
    pub left: Vec<PeerId>,
}

impl Team {
    /// The first charter of a team with this node as its admin, for a root key that is elsewhere.
    ///
    /// # Errors
    /// [`TeamError::Already`], or a name that cannot be used.
    pub fn draft_first(
        &self,
        name: &str,
        member: &str,
        root: BuilderId,
    ) -> Result<Draft, TeamError> {
        if let Some(name) = self.roster(|r| r.name().to_owned()) {
            return Err(TeamError::Already(name));
        }
        let founder = Member {
            name: member.to_owned(),
            role: Role::Admin,
            peer: self.peer(),
            builder: self.builder(),
            joined: now(),
        };
        let charter = charter::first(name, root, founder, now())?;
        Ok(Draft {
            charter,
            before: None,
        })
    }

    /// The team's next charter, for its root to sign.
    ///
    /// # Errors
    /// Members that are not there or not told apart, lists that leave no admin.
    pub fn draft_next(&self, wanted: &Wanted) -> Result<Draft, TeamError> {
        self.roster(|r| next(r, wanted)).ok_or(TeamError::None)?
    }

    /// Takes in a charter whose signature holds. Without a team it must be a first charter that
    /// names this node alone; in a team it must be this team's, of a higher epoch. With `sure`,
    /// also one that undoes changes.
    ///
    /// # Errors
    /// [`TeamError`]; membership is then as it was.
    pub fn adopt_charter(
        &self,
        charter: Signed<Charter>,
        sure: bool,
    ) -> Result<Adopted, TeamError> {
        let mut state = self.write();
        let epoch = charter.epoch;
        let Some(roster) = &state.roster else {
            let alone = [(self.builder(), self.peer())];
            let named = charter.members.iter().map(|m| (m.builder, m.peer));
            if epoch != 1 || !named.eq(alone) {
                return Err(TeamError::Charter(charter::CharterError::Draft(
                    "this node is in no team, and it is not the first charter of one made here; join with a ticket instead",
                )));
            }
            let roster = Roster::chartered(charter)?;
            self.replace(&mut state, Some(roster), random()?)?;
            return Ok(Adopted {
                entered: true,
                changed: true,
                epoch,
                left: vec![],
            });
        };
        if charter.root != roster.root() {
            return Err(RosterError::OtherRoot(charter.root).into());
        }
        let undone = undone(roster, &charter);
        if epoch > roster.epoch() && !undone.is_empty() && !sure {
            return Err(TeamError::Outdated(undone));
        }
        let mut next = roster.clone();
        let merged = next.merge(&Roster::chartered(charter)?.to_wire())?;
        if merged.changed {
            let secret = *state.secret;
            self.replace(&mut state, Some(next), secret)?;
            drop(state);
            // Whom the charter took from the team knows its secrets: whoever adopts renews them.
            if self.role() == Some(Role::Admin) {
                self.change(|_| Ok(()))?;
            }
        }
        Ok(Adopted {
            entered: false,
            changed: merged.changed,
            epoch,
            left: merged.left,
        })
    }
}

/// What a charter takes back of what is known here, in words; empty where that is nothing.
fn undone(roster: &Roster, charter: &Charter) -> String {
    let changes = charter::changes(roster, charter);
    let names = |members: &[Member]| {
        let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
        names.join(", ")
    };
    let mut told = Vec::new();
    if !changes.back.is_empty() {
        told.push(format!("{} would be back", names(&changes.back)));
    }
    if !changes.dropped.is_empty() {
        told.push(format!("{} would be left out", names(&changes.dropped)));
    }
    told.join("; ")
}

fn next(roster: &Roster, wanted: &Wanted) -> Result<Draft, TeamError> {
    let revoked = wanted.revoke.iter().map(|name| any(roster, name));
    let revoked: Vec<BuilderId> = revoked.collect::<Result<_, _>>()?;
    let builders = wanted.builders.iter().map(|name| roster.find(name));
    let builders: Vec<BuilderId> = builders
        .map(|found| found.map(|m| m.builder))
        .collect::<Result<_, _>>()?;
    let admins: Vec<Member> = if wanted.admins.is_empty() {
        let aside = |m: &&Member| !revoked.contains(&m.builder) && !builders.contains(&m.builder);
        let today = roster.members().filter(|m| m.role == Role::Admin);
        today.filter(aside).cloned().collect()
    } else {
        let named = wanted.admins.iter().map(|name| roster.find(name).cloned());
        named.collect::<Result<_, _>>()?
    };
    if admins.is_empty() {
        return Err(RosterError::LastAdmin.into());
    }
    let mut charter = charter::next(roster, admins, &revoked, now())?;
    for member in &mut charter.members {
        if builders.contains(&member.builder) && member.role == Role::Reader {
            member.role = Role::Builder;
        }
    }
    Ok(Draft {
        charter,
        before: Some(roster.clone()),
    })
}

/// A member in force, or one that is gone, by name or prefix.
fn any(roster: &Roster, wanted: &str) -> Result<BuilderId, TeamError> {
    let found = roster.find(wanted).map(|m| m.builder);
    let former = || {
        let fits = |m: &Member| m.name == wanted || m.builder.to_hex() == wanted;
        let mut all = roster.former().filter(|(m, _)| fits(m));
        all.next().map(|(m, _)| m.builder)
    };
    found.or_else(|error| former().ok_or_else(|| error.into()))
}
