//! The node as its door sees it: claims that the door has checked come in, a welcome or a
//! refusal goes out.

use super::{admit, role_name};
use crate::service::counters::Counters;
use crate::service::membership::KnockState;
use crate::swarm::Swarm;
use crate::swarm::door::{Candidate, DoorHost, JoinRefusal, Nonce, TeamClaim, Verdict, Welcome};
use crate::team::{self, Team, TeamError};
use crate::worker::voice::Voice;
use quarry_trust::{Digest, PeerId};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The node as its door sees it.
pub(super) struct NodeDoor {
    pub team: Arc<Team>,
    pub swarm: Arc<dyn Swarm>,
    pub counters: Arc<Counters>,
    /// How often strangers are spoken of: they come as fast as they like.
    pub voice: Voice,
}

impl NodeDoor {
    fn welcome(&self) -> Result<Welcome, JoinRefusal> {
        let roster = self.team.roster(quarry_trust::roster::Roster::to_wire);
        Ok(Welcome {
            roster: roster.ok_or(JoinRefusal::Failed)?,
            team_secret: Zeroizing::new(self.team.secret()),
            addresses: self.swarm.listening(),
            admin: self.team.peer(),
        })
    }

    fn claim(&self) -> Option<TeamClaim> {
        let own = self.team.own_record()?;
        self.team.roster(|r| TeamClaim {
            team_name: r.name().to_owned(),
            team: r.team(),
            root: r.root(),
            admin_name: own.name.clone(),
            admin_peer: own.peer,
            admin_builder: own.builder,
        })
    }
}

fn failed(error: &TeamError) -> JoinRefusal {
    tracing::warn!("a newcomer could not be let in: {error}");
    JoinRefusal::Failed
}

impl DoorHost for NodeDoor {
    fn redeem(
        &self,
        _peer: PeerId,
        secret: [u8; 32],
        candidate: Candidate,
    ) -> Result<Welcome, JoinRefusal> {
        let role = self
            .team
            .membership(|m| m.redeem(&secret, &candidate, team::now()))
            .map_err(|e| failed(&e))??;
        admit(&self.team, self.swarm.as_ref(), &candidate, role).map_err(|e| {
            tracing::warn!("{} could not be let in: {e}", candidate.name);
            JoinRefusal::Taken
        })?;
        tracing::info!("{} joined by ticket as {}", candidate.name, role_name(role));
        self.welcome()
    }

    fn knock(
        &self,
        _peer: PeerId,
        candidate: Candidate,
        commitment: Digest,
    ) -> Result<(TeamClaim, Nonce), JoinRefusal> {
        let claim = self.claim().ok_or(JoinRefusal::Failed)?;
        let nonce = team::random().map_err(|e| failed(&e))?;
        self.team
            .membership(|m| m.knock(candidate, commitment, nonce, team::now()))
            .map_err(|e| failed(&e))??;
        Ok((claim, nonce))
    }

    fn reveal(&self, peer: PeerId, nonce: Nonce) -> Result<(), JoinRefusal> {
        let claim = self.claim().ok_or(JoinRefusal::Failed)?;
        self.team
            .membership(|m| m.reveal(&peer, &nonce, &claim, team::now()))
            .map_err(|e| failed(&e))??;
        Ok(())
    }

    fn poll(&self, peer: PeerId) -> Result<Verdict, JoinRefusal> {
        let state = self
            .team
            .membership(|m| m.poll(&peer, team::now()))
            .map_err(|e| failed(&e))??;
        Ok(match state {
            KnockState::Pending => Verdict::Pending,
            KnockState::Denied => Verdict::Denied,
            KnockState::Approved(candidate) => {
                let listed = self
                    .team
                    .roster(|r| r.member_by_peer(&candidate.peer).is_some());
                if listed == Some(true) {
                    Verdict::Welcome(self.welcome()?)
                } else {
                    Verdict::Pending
                }
            }
        })
    }

    fn refused(&self, peer: Option<PeerId>, what: &str) {
        self.counters.refused_as("door");
        let who = peer.map_or_else(|| "somebody".to_owned(), |p| p.to_hex());
        self.voice
            .warn(|| format!("turned {who} away at the door: {what}"));
    }
}
