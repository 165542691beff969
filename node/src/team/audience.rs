//! Whom a workspace's compiles are for, who may see them, and under which tags they are known.
//!
//! Enters: the roster, the secrets that are known here, a project's name from the workspace.
//! Leaves: scopes and tags. Must never happen here: a scope that a peer chose.

use super::{Team, TeamError};
use crate::find::Find;
use crate::secrets::{Secret, scope_of};
use quarry_trust::roster::{Op, Project, Role, Roster, TEAM_ITSELF, check_typed};
use quarry_trust::{BuilderId, Digest, Entry, PeerId, Scope, TeamId};
use std::collections::BTreeSet;

/// The team of what belongs to a project without being shared: no team's id is zero.
const NO_TEAM: TeamId = TeamId(Digest::from_bytes([0; 32]));
/// Any key: whether there is a tag for it says whether a secret is known.
const PROBE: Digest = Digest::from_bytes([0; 32]);

/// Whom a workspace says that its compiles are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// The whole team.
    Team,
    /// A project that is closed to some.
    Project(String),
    /// Nobody can tell which workspace it is: the team, where nothing is closed to anybody.
    Nowhere,
    /// What it says is not understood: nobody.
    Unknown,
}

/// Whom what is compiled in a workspace is for, and who is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    /// The scope of what is compiled.
    pub publish: Scope,
    /// The scopes under whose tags members are looked for.
    pub asked: Vec<Scope>,
    /// The project whose members alone may be asked anything.
    pub within: Option<Scope>,
}

/// A project as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// Names of the members to whom it is open.
    pub members: Vec<String>,
    /// Whether this node is among them.
    pub here: bool,
    /// Whether its secret is known here.
    pub known: bool,
}

impl Team {
    /// The projects that are closed to some.
    #[must_use]
    pub fn projects(&self) -> Vec<Shown> {
        let own = self.builder();
        // One look at the state: a second one within it could wait for a writer that waits for us.
        let state = self.read();
        let Some(r) = &state.roster else {
            return Vec::new();
        };
        let projects = r.projects().filter(|(name, _)| *name != TEAM_ITSELF);
        let name_of = |b: &BuilderId| r.member_by_builder(b).map(|m| m.name.clone());
        let shown = projects.map(|(name, project)| {
            let mut members: Vec<_> = project.members.iter().filter_map(name_of).collect();
            members.sort();
            Shown {
                name: name.to_owned(),
                members,
                here: project.members.contains(&own),
                known: state.tags.tag(&scope_of(r, name), &PROBE).is_some(),
            }
        });
        shown.collect()
    }

    /// What a project's scope is called, for people.
    #[must_use]
    pub fn project_name(&self, scope: &Scope) -> String {
        let named = |r: &Roster| {
            let mut projects = r.projects();
            let found = projects.find(|(name, _)| scope_of(r, name) == *scope);
            found.map(|(name, _)| format!("project {name}"))
        };
        let found = self.roster(named).flatten();
        found.unwrap_or_else(|| "a project, this node alone".to_owned())
    }

    /// Opens a project to members and closes it to others, as an admin. What does not exist yet
    /// begins with this node's own member; open to nobody, it is no more, and what was compiled
    /// for it stays where it lies. Members are named by any unambiguous prefix.
    ///
    /// # Errors
    /// [`TeamError`].
    pub fn set_project(
        &self,
        name: &str,
        open_to: &[String],
        close_to: &[String],
    ) -> Result<(), TeamError> {
        check_typed(name)?;
        let own = self.builder();
        let members = |r: &Roster| -> Result<BTreeSet<BuilderId>, TeamError> {
            let now = r
                .projects()
                .find(|p| p.0 == name)
                .map(|p| p.1.members.clone());
            let mut members = now.unwrap_or_else(|| BTreeSet::from([own]));
            for member in open_to {
                members.insert(r.find(member)?.builder);
            }
            for member in close_to {
                members.remove(&r.find(member)?.builder);
            }
            Ok(members)
        };
        let members = self.roster(members).ok_or(TeamError::None)??;
        // Without a secret it is stale, and is given one with the next change.
        let (secret, stale) = (None, false);
        let project = Project {
            members,
            secret,
            stale,
        };
        self.propose(Op::Project(name.to_owned(), project))
    }

    /// The scope of what is compiled here now, outside of projects. A reader publishes nothing.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.audience(&Whom::Team).publish
    }

    /// What `to` may be told, as far as it is known here.
    pub(super) fn secrets_for(&self, to: Option<&PeerId>) -> Vec<Secret> {
        let state = self.read();
        let (Some(roster), Some(to)) = (&state.roster, to) else {
            return Vec::new();
        };
        let member = roster.member_by_peer(to).map(|m| m.builder);
        member.map_or_else(Vec::new, |m| state.secrets.for_member(roster, &m))
    }

    /// Whom a workspace's compiles are for: the team, or a project that is closed to some. What
    /// is compiled for a project stays the project's, also where this node is not in it (yet),
    /// or in no team: then nobody else ever sees it, and nobody is asked.
    #[must_use]
    pub fn audience(&self, whom: &Whom) -> Audience {
        let signs = matches!(self.role(), Some(Role::Admin | Role::Builder));
        let own = self.builder();
        let of = |r: &Roster, whom: &Whom| match whom {
            Whom::Team => Some(scope_of(r, TEAM_ITSELF)),
            Whom::Project(name) => Some(scope_of(r, name)),
            Whom::Nowhere if r.projects().all(|(name, _)| name == TEAM_ITSELF) => {
                Some(scope_of(r, TEAM_ITSELF))
            }
            Whom::Nowhere | Whom::Unknown => None,
        };
        let nobody = match whom {
            Whom::Team => Scope::Private,
            Whom::Project(name) => Scope::project(NO_TEAM, name),
            Whom::Nowhere | Whom::Unknown => Scope::project(NO_TEAM, TEAM_ITSELF),
        };
        let audience = |r: &Roster| {
            let scope = of(r, whom).filter(|scope| r.sees(&own, scope))?;
            let mut asked = vec![scope, Scope::Team(r.team())];
            asked.dedup();
            Some(Audience {
                publish: if signs { scope } else { nobody },
                within: (asked.len() > 1).then_some(scope),
                asked,
            })
        };
        let alone = Audience {
            publish: nobody,
            asked: Vec::new(),
            within: None,
        };
        self.roster(audience).flatten().unwrap_or(alone)
    }

    /// Whom what is compiled once more is for: those for whom the first compile was.
    #[must_use]
    pub fn again(&self, entry: &Entry) -> Scope {
        let signs = matches!(self.role(), Some(Role::Admin | Role::Builder));
        if signs || entry.builder == self.builder() {
            entry.scope
        } else {
            Scope::Private
        }
    }

    /// The tag under which a key of this scope is announced and sought; `None` where the secret
    /// is not known here.
    #[must_use]
    pub fn tag(&self, scope: &Scope, key: &Digest) -> Option<Digest> {
        self.read().tags.tag(scope, key)
    }

    /// Whether anything of this scope can be announced: its secret is known here.
    #[must_use]
    pub fn announces(&self, scope: &Scope) -> bool {
        self.tag(scope, &PROBE).is_some()
    }

    /// The tags under which a member may have announced a key of this scope: of now, and of before
    /// the last renewals, since filters are made anew one after the other.
    #[must_use]
    pub fn sought(&self, scope: &Scope, key: &Digest) -> Vec<Digest> {
        let state = self.read();
        let tags = std::iter::once(&state.tags).chain(&state.tags_before);
        let mut sought: Vec<Digest> = tags.filter_map(|tags| tags.tag(scope, key)).collect();
        sought.dedup();
        sought
    }

    /// A digest that differs whenever tags do.
    #[must_use]
    pub fn tags_fingerprint(&self) -> Digest {
        self.read().tags.fingerprint()
    }

    /// Whether a peer may see what has this scope.
    #[must_use]
    pub fn peer_sees(&self, peer: &PeerId, scope: &Scope) -> bool {
        let sees = |r: &Roster| {
            let member = r.member_by_peer(peer);
            member.is_some_and(|m| r.sees(&m.builder, scope))
        };
        self.roster(sees).unwrap_or(false)
    }
}
