//! A member leaves: its own signed word, which an admin turns into a retirement.
//!
//! Enters: a roster and the leaver's key, or a word that a peer passed on, its signature verified.
//! Leaves: a word, or an ordinary change of the chain, which alone counts. Must never happen here:
//! I/O, a clock, the end of a membership that is younger than the word.

use crate::taking::take_away;
use quarry_trust::roster::{Op, Roster, RosterError, Signed};
use quarry_trust::{BuilderId, BuilderKey, TeamId, canonical, statement};

/// The schema of a departure's bytes, and its kind among the words that travel with rosters (a
/// rotation's first two bytes say 2).
pub const DEPARTURE_SCHEMA: u16 = 1;
/// The tag under which a leaving member signs.
const DEPARTURE_DOMAIN: &str = "quarry 2026-11 departure v1";

/// A member's word that it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The team that is left.
    pub team: TeamId,
    /// Who leaves, and signs.
    pub builder: BuilderId,
    /// When, seconds since 1970; never before the joining, so that an old departure does not
    /// undo a return.
    pub at: u64,
}

statement!(Departure, DEPARTURE_DOMAIN, "departure", builder);
canonical!(Departure, DEPARTURE_SCHEMA => { team, builder, at });

/// Signs, as a member, that it leaves.
///
/// # Errors
/// [`RosterError::NotMember`].
pub fn leave(
    roster: &Roster,
    leaver: &BuilderKey,
    now: u64,
) -> Result<Signed<Departure>, RosterError> {
    let builder = leaver.id();
    let member = roster.member_by_builder(&builder);
    let member = member.ok_or(RosterError::NotMember(builder))?;
    let departure = Departure {
        team: roster.team(),
        builder,
        at: now.max(member.joined),
    };
    Ok(Signed::new(departure, leaver))
}

/// Turns a departure into a retirement, as an admin. Who is gone already stays so.
///
/// # Errors
/// [`RosterError::OtherTeam`], [`RosterError::StaleDeparture`] for one from before the member's
/// latest joining, and as [`take_away`].
pub fn retire(
    roster: &mut Roster,
    departure: &Signed<Departure>,
    signer: &BuilderKey,
    now: u64,
) -> Result<(), RosterError> {
    if departure.team != roster.team() {
        return Err(RosterError::OtherTeam);
    }
    let builder = departure.builder;
    let member = roster.member_by_builder(&builder);
    if member.is_some_and(|m| departure.at < m.joined) {
        return Err(RosterError::StaleDeparture(builder));
    }
    take_away(roster, Op::Retire(builder), signer, now)
}

#[cfg(test)]
#[path = "departure_tests.rs"]
mod tests;
