//! Joining from both sides: the door that an admin's node opens, and the way through another's.
//!
//! Enters: an admin's decision, a newcomer's claim that the door has checked. Leaves: a changed
//! roster. The rules (one use, expiry, who waits) are `service::membership`'s; the protocol is
//! `swarm::door`'s; the roster is `team`'s. The door is open only while an invitation or a wait
//! for approval lasts.

mod addresses;
mod door;
mod life;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use addresses::again as addresses_again;
pub use addresses::remembered;
pub use life::Taken;

use crate::adopt::adopt;
use crate::config::Config;
use crate::control::{InvitedReport, JoinedReport, KnockReport, Progress};
use crate::service::counters::Counters;
use crate::service::membership::MembershipError;
use crate::store::Store;
use crate::swarm::Swarm;
use crate::swarm::door::{
    Candidate, Door, DoorError, JoinError, JoinNews, join_by_address, join_with_ticket,
};
use crate::team::{self, Team, TeamError};
use crate::ticket::{Ticket, TicketError};
use crate::worker::voice::Voice;
use quarry_trust::BuilderId;
use quarry_trust::roster::{Member, Op, Role};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;
use zeroize::Zeroizing;

/// How often a wait looks whether somebody knocked.
const POLL: Duration = Duration::from_millis(100);
/// How long a door stays open after a wait for approval, for the newcomer to fetch its welcome.
const LINGER: Duration = Duration::from_secs(30);

/// Why somebody could not be let in, or we could not get in.
#[derive(Debug, Error)]
pub enum JoiningError {
    /// Membership.
    #[error(transparent)]
    Team(#[from] TeamError),
    /// The door.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// An invitation or a knock.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The other side's door.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The ticket.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// Nobody came.
    #[error("nobody asked to join within {0} s: let the newcomer run `qnode join {1}` meanwhile")]
    Nobody(u64, String),
    /// There is no fork to end.
    #[error("the membership chain has no open fork: there is nothing to merge")]
    NoFork,
    /// Not a root's public key.
    #[error(
        "{0:?} is no root's public key: give the 64 hexadecimal digits that `qnode team root` prints"
    )]
    Root(String),
    /// Not a role.
    #[error("{0:?} is no role: use admin, builder or reader")]
    Role(String),
}

/// The role of a name.
///
/// # Errors
/// [`JoiningError::Role`].
pub fn role_of(name: &str) -> Result<Role, JoiningError> {
    match name {
        "admin" => Ok(Role::Admin),
        "builder" => Ok(Role::Builder),
        "reader" => Ok(Role::Reader),
        _ => Err(JoiningError::Role(name.to_owned())),
    }
}

/// The name of a role.
#[must_use]
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Builder => "builder",
        Role::Reader => "reader",
    }
}

/// Both sides of joining, for one node.
pub struct Joining {
    listen: Vec<String>,
    runtime: tokio::runtime::Handle,
    team: Arc<Team>,
    swarm: Arc<dyn Swarm>,
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    door: Mutex<Option<Door>>,
    /// Held while a reason for the door to be open is made and the door opened, and while it is
    /// asked for such reasons and closed: else it is closed before it is known what for.
    deciding: Mutex<()>,
}

impl Joining {
    /// Joining for a node; the door is closed.
    #[must_use]
    pub fn new(
        config: &Config,
        team: Arc<Team>,
        swarm: Arc<dyn Swarm>,
        store: Arc<dyn Store>,
        counters: Arc<Counters>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let listen = config.door_listen.clone();
        Self {
            listen,
            runtime,
            team,
            swarm,
            store,
            counters,
            door: Mutex::new(None),
            deciding: Mutex::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Door>> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self) -> MutexGuard<'_, ()> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the door again for invitations that an earlier run left open. Blocks.
    pub fn resume(&self) {
        if self.door_wanted()
            && let Err(error) = self.open_door()
        {
            tracing::warn!("open invitations cannot be used now: {error}");
        }
    }

    fn door_wanted(&self) -> bool {
        let until = self.team.membership(|m| m.door_until(team::now()));
        self.team.role() == Some(Role::Admin) && matches!(until, Ok(Some(_)))
    }

    fn open_door(&self) -> Result<Vec<String>, DoorError> {
        let mut door = self.lock();
        if door.is_none() {
            let host = Arc::new(door::NodeDoor {
                team: self.team.clone(),
                swarm: self.swarm.clone(),
                counters: self.counters.clone(),
                voice: Voice::default(),
            });
            *door = Some(Door::open(
                &self.team.peer_seed(),
                &self.listen,
                host,
                &self.runtime,
            )?);
        }
        Ok(door.as_ref().map(Door::addresses).unwrap_or_default())
    }

    /// Closes the door if nothing needs it any more, and remembers where peers were. Blocks.
    pub fn tick(&self) {
        let deciding = self.decide();
        if !self.door_wanted() {
            self.close();
        }
        drop(deciding);
        self.remember();
    }

    /// Keeps where members are reached now, for the next start. Blocks.
    pub fn remember(&self) {
        if let Err(error) = addresses::remember(self.store.as_ref(), self.swarm.as_ref()) {
            tracing::debug!(%error, "the peers' addresses were not kept");
        }
    }

    /// Closes the door. Blocks.
    pub fn close(&self) {
        let door = self.lock().take();
        if let Some(door) = door {
            door.close();
        }
    }

    /// Where newcomers find the door while it is open.
    #[must_use]
    pub fn door_addresses(&self) -> Vec<String> {
        self.lock()
            .as_ref()
            .map(Door::addresses)
            .unwrap_or_default()
    }

    /// Founds a team. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn found(&self, name: &str, member: &str) -> Result<JoinedReport, JoiningError> {
        self.team.found(name, member)?;
        self.entered()
    }

    /// What follows once we are in a team.
    fn entered(&self) -> Result<JoinedReport, JoiningError> {
        let adopted = adopt(self.store.as_ref(), &self.team)?;
        self.swarm.roster_changed();
        let (team, team_id) = self
            .team
            .roster(|r| (r.name().to_owned(), r.team().0.to_hex()))
            .ok_or(TeamError::None)?;
        let role = self
            .team
            .role()
            .map(role_name)
            .unwrap_or_default()
            .to_owned();
        Ok(JoinedReport {
            team,
            team_id,
            role,
            adopted,
        })
    }

    /// Opens the door for one newcomer. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn invite(&self, role: &str, expires_s: u64) -> Result<InvitedReport, JoiningError> {
        let role = role_of(role)?;
        let now = team::now();
        let (team_name, team_id, root) = self.as_admin()?;
        let _deciding = self.decide();
        let ticket = Ticket {
            team_name,
            team: team_id,
            root,
            issuer: self.team.peer(),
            addresses: self.open_door()?,
            secret: Zeroizing::new(team::random()?),
            expires: now.saturating_add(expires_s),
            role,
        };
        self.team.membership(|m| m.invite(&ticket, now))??;
        Ok(InvitedReport {
            ticket: ticket.encode()?,
            role: role_name(role).to_owned(),
            expires_s,
        })
    }

    fn as_admin(&self) -> Result<(String, quarry_trust::TeamId, BuilderId), JoiningError> {
        let own = self.team.builder();
        let (facts, admin, admins) = self
            .team
            .roster(|r| {
                let admins = r.members().filter(|m| m.role == Role::Admin);
                let names = admins
                    .map(|m| m.name.clone())
                    .collect::<Vec<_>>()
                    .join(", ");
                (
                    (r.name().to_owned(), r.team(), r.root()),
                    r.is_admin(&own),
                    names,
                )
            })
            .ok_or(TeamError::None)?;
        if admin {
            Ok(facts)
        } else {
            Err(TeamError::NotAdmin(admins).into())
        }
    }

    /// Waits until somebody who fits `member` knocks. `say` hears where the door is. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn knocks(
        &self,
        member: &str,
        within_s: u64,
        say: &mut dyn FnMut(Progress),
    ) -> Result<KnockReport, JoiningError> {
        self.as_admin()?;
        let deadline = Instant::now() + Duration::from_secs(within_s);
        let until = team::now() + within_s + LINGER.as_secs();
        let deciding = self.decide();
        self.team.membership(|m| m.wait_for_knocks(until))?;
        let addresses = self.open_door()?;
        drop(deciding);
        let place = addresses.first().cloned().unwrap_or_default();
        say(Progress::Line(format!(
            "waiting for a newcomer at {}",
            addresses.join(", ")
        )));
        loop {
            let waiting = self.team.membership(|m| m.waiting(team::now()))?;
            let fits = waiting.into_iter().find(|w| {
                let c = &w.candidate;
                c.name.starts_with(member)
                    || c.peer.to_hex().starts_with(member)
                    || c.builder.to_hex().starts_with(member)
            });
            if let Some(w) = fits {
                return Ok(KnockReport {
                    name: w.candidate.name,
                    peer_id: crate::swarm::identity::display(&w.candidate.peer),
                    builder: w.candidate.builder.to_hex(),
                    code: w.code,
                });
            }
            if Instant::now() >= deadline {
                self.team
                    .membership(crate::service::membership::Membership::stop_waiting)?;
                return Err(JoiningError::Nobody(within_s, place));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Admits the newcomer whose code was compared. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn approve(&self, code: &str, role: &str) -> Result<MemberName, JoiningError> {
        let role = role_of(role)?;
        self.as_admin()?;
        let candidate = self.team.membership(|m| m.approve(code, team::now()))??;
        match admit(&self.team, self.swarm.as_ref(), &candidate, role) {
            Ok(()) => Ok(MemberName(candidate.name)),
            Err(error) => {
                let _ = self
                    .team
                    .membership(|m| m.deny(&candidate.peer.to_hex(), team::now()));
                Err(error.into())
            }
        }
    }

    /// Turns a newcomer away. Blocks.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn deny(&self, code: &str) -> Result<MemberName, JoiningError> {
        let candidate = self.team.membership(|m| m.deny(code, team::now()))??;
        Ok(MemberName(candidate.name))
    }

    /// Joins with a ticket, or by address and approval. Blocks until in, refused, or out of time.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn join(
        &self,
        to: &str,
        member: &str,
        within: Duration,
        say: &mut dyn FnMut(Progress),
    ) -> Result<JoinedReport, JoiningError> {
        if let Some((name, team)) = self.team.roster(|r| (r.name().to_owned(), r.team())) {
            // A script that joins at each start may do so with the ticket it came in by.
            let same = Ticket::looks_like(to) && Ticket::parse(to).is_ok_and(|t| t.team == team);
            return if same {
                self.entered()
            } else {
                Err(TeamError::Already(name).into())
            };
        }
        let deadline = Instant::now() + within;
        let seed = self.team.peer_seed();
        let candidate = Candidate {
            name: member.to_owned(),
            peer: self.team.peer(),
            builder: self.team.builder(),
            addresses: self.swarm.listening(),
        };
        let key = self.team.builder_key();
        let (welcome, root) = if Ticket::looks_like(to) {
            let ticket = Ticket::parse(to)?;
            if ticket.is_expired(team::now()) {
                return Err(TicketError::Expired.into());
            }
            (
                join_with_ticket(&seed, &ticket, &candidate, key, deadline)?,
                ticket.root,
            )
        } else {
            let mut on_news = |news: JoinNews<'_>| say(progress(to, within, news));
            let approved = join_by_address(&seed, to, &candidate, key, &mut on_news, deadline)?;
            (approved.welcome, approved.claim.root)
        };
        self.team
            .enter(&welcome.roster, Some(&root), *welcome.team_secret)?;
        self.swarm.add_addresses(&welcome.admin, &welcome.addresses);
        self.entered()
    }

    /// Leaves the team: says so to the peers, then forgets it. Blocks up to `within`.
    ///
    /// # Errors
    /// [`JoiningError`].
    pub fn leave(&self, within: Duration) -> Result<LeftTeam, JoiningError> {
        let name = self
            .team
            .roster(|r| r.name().to_owned())
            .ok_or(TeamError::None)?;
        self.close();
        self.team.announce_departure()?;
        let connected = self.swarm.peers().iter().any(|p| p.connected);
        self.swarm.roster_changed();
        let deadline = Instant::now() + within;
        let listed = || {
            self.team
                .roster(|r| r.member_by_builder(&self.team.builder()).is_some())
                == Some(true)
        };
        let heard = || !listed() || (connected && !self.swarm.peers().iter().any(|p| p.connected));
        while connected && !heard() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        let told = connected && heard();
        self.team.forget()?;
        adopt(self.store.as_ref(), &self.team)?;
        self.swarm.roster_changed();
        Ok(LeftTeam { team: name, told })
    }
}

/// A member's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberName(pub String);

/// What leaving came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftTeam {
    /// The team that was left.
    pub team: String,
    /// Whether a peer has taken notice.
    pub told: bool,
}

/// Adds a candidate to the roster and tells the peers.
fn admit(
    team: &Team,
    swarm: &dyn Swarm,
    candidate: &Candidate,
    role: Role,
) -> Result<(), TeamError> {
    team.propose(Op::Add(Member {
        name: candidate.name.clone(),
        role,
        peer: candidate.peer,
        builder: candidate.builder,
        joined: team::now(),
    }))?;
    // The newcomer dials us once it has the roster; dialling it before would turn us away there.
    swarm.expect(&candidate.peer, &candidate.addresses);
    swarm.roster_changed();
    Ok(())
}
/// What a person who waits for approval reads.
fn progress(to: &str, within: Duration, news: JoinNews<'_>) -> Progress {
    match news {
        JoinNews::Asking => Progress::Line(format!(
            "Asking {to}; an admin there types `qnode approve` and compares the code"
        )),
        JoinNews::Waiting(why) => Progress::Line(format!(
            "Nobody there yet ({why}); trying for {} minutes, Ctrl-C gives up",
            within.as_secs().div_ceil(60)
        )),
        JoinNews::Code { code, team, admin } => Progress::Code {
            code: code.to_owned(),
            team: team.to_owned(),
            with: admin.to_owned(),
        },
    }
}

#[cfg(test)]
#[path = "joining_tests.rs"]
mod tests;
