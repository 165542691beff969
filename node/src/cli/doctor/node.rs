//! What the node says of itself, and whether it says anything.
//!
//! Enters: its reports. Leaves: findings. A node that does not run is not wrong: a build starts
//! it. One that lives and does not answer is.

use super::Finding;
use crate::cli::ask::{self, Line};
use crate::cli::{lifecycle, print, start};
use crate::control::{Health, MemberReport, PeerReport, Request, Status, TrustReport};
use anyhow::Result;
use quarry_wrapper::home::Home;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long the node may take for each answer: it looks at memory alone.
const WITHIN: Duration = Duration::from_secs(5);
/// The same where it asks teammates.
const WITHIN_OF_THE_TEAM: Duration = Duration::from_secs(30);

/// All that the node can tell.
#[must_use]
pub fn findings(home: &Home) -> Vec<Finding> {
    let status = match Line::open(home).map(|line| line.map(|l| start::status(l, WITHIN))) {
        Err(e) => return vec![Finding::wrong("node", e.to_string(), "is the home ours?")],
        Ok(None) => return vec![absent(home)],
        Ok(Some(Err(e))) => {
            return vec![Finding::wrong(
                "node",
                e.to_string(),
                "`qnode restart`; `qnode log` says what it did",
            )];
        }
        Ok(Some(Ok(status))) => status,
    };
    let mut found = vec![present(&status)];
    match asked::<Health>(home, &Request::Health, WITHIN) {
        Ok(health) => found.extend(of_health(&health)),
        Err(e) => found.push(Finding::wrong("health", e.to_string(), "`qnode restart`")),
    }
    match asked::<TrustReport>(home, &lifecycle::belief_here(), WITHIN) {
        Ok(trust) => found.extend(of_trust(&trust)),
        Err(e) => found.push(Finding::wrong("trust", e.to_string(), "`qnode restart`")),
    }
    if status.team.is_none() {
        let detail = "in no team: the cache is this machine's own";
        found.push(Finding::hint(
            "team",
            detail,
            "`qnode team create NAME`, or `qnode join`",
        ));
        return found;
    }
    let members = asked::<Vec<MemberReport>>(home, &Request::Members, WITHIN);
    let peers = asked::<Vec<PeerReport>>(home, &Request::Peers, WITHIN);
    found.push(match (members, peers) {
        (Ok(members), Ok(peers)) => company(&members, &peers),
        (Err(e), _) | (_, Err(e)) => Finding::wrong("team", e.to_string(), "`qnode restart`"),
    });
    // Teammates who do not answer are no finding of their own.
    let unlike = asked::<Vec<String>>(home, &Request::Agree, WITHIN_OF_THE_TEAM);
    found.extend(
        unlike
            .into_iter()
            .flatten()
            .map(|line| Finding::well("team", line)),
    );
    found
}

fn asked<T: DeserializeOwned>(home: &Home, request: &Request, within: Duration) -> Result<T> {
    let Some(line) = Line::open(home)? else {
        anyhow::bail!("{}", ask::none_runs(home))
    };
    ask::decode(line.ask(request, within, |_| {})?)
}

fn absent(home: &Home) -> Finding {
    if lifecycle::is_free(home) {
        return Finding::well("node", "none runs; qwrap starts one when a build needs it");
    }
    Finding::wrong(
        "node",
        format!(
            "one lives (it holds {}) but does not answer",
            home.node_lock().display()
        ),
        "`qnode log` says what it does; end it with `kill`, then `qnode start`",
    )
}

fn present(status: &Status) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    if status.version != ours {
        let detail = format!(
            "version {} runs (pid {}), qnode is {ours}",
            status.version, status.pid
        );
        return Finding::wrong("node", detail, "`qnode restart`");
    }
    let uptime = print::seconds(status.uptime_s);
    Finding::well(
        "node",
        format!("answers (pid {}, for {uptime})", status.pid),
    )
}

fn of_health(health: &Health) -> Vec<Finding> {
    let problems = health.problems.iter();
    // The node's own lines say how to mend what they tell.
    let problems =
        problems.map(|line| Finding::wrong("health", line, "as it says; `qnode log` has more"));
    let notes = health
        .notes
        .iter()
        .map(|line| Finding::well("health", line));
    let mut found: Vec<Finding> = problems.chain(notes).collect();
    if found.is_empty() {
        found.push(Finding::well("health", "the node finds nothing wrong"));
    }
    found
}

/// What is believed here, and what is wrong with the rules.
fn of_trust(trust: &TrustReport) -> Vec<Finding> {
    let rules = Finding::well("trust", format!("trusts {}", lifecycle::belief_text(trust)));
    let mend = "mend the rule where it stands; `qnode why` shows what it refused";
    let problems = trust.problems.iter();
    let problems = problems.map(|line| Finding::wrong("trust", line, mend));
    std::iter::once(rules).chain(problems).collect()
}

/// Whether anybody is there to share with.
fn company(members: &[MemberReport], peers: &[PeerReport]) -> Finding {
    let others = members
        .iter()
        .filter(|m| !m.here && m.standing == "stands")
        .count();
    let connected = peers.iter().filter(|p| p.connected).count();
    match (others, connected) {
        (0, _) => Finding::hint("team", "you are its only member", "`qnode invite`"),
        (_, 0) => Finding::wrong(
            "team",
            format!(
                "none of {} is connected",
                print::count(others as u64, "teammate", "teammates")
            ),
            "do their nodes run (`qnode status` there), and do firewalls let our listen port through? \
             An address in `peers` of config.toml finds a node where mDNS does not",
        ),
        (o, c) => Finding::well(
            "team",
            format!(
                "{c} of {} connected",
                print::count(o as u64, "teammate", "teammates")
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(here: bool) -> MemberReport {
        MemberReport {
            here,
            standing: "stands".into(),
            ..MemberReport::default()
        }
    }

    #[test]
    fn a_team_without_anybody_connected_is_wrong() {
        let peer = |connected| PeerReport {
            connected,
            ..PeerReport::default()
        };
        assert!(!company(&[member(true), member(false)], &[peer(false)]).ok);
        assert!(company(&[member(true), member(false)], &[peer(true)]).ok);
        assert!(company(&[member(true)], &[]).ok, "alone is not wrong");
        let gone = MemberReport {
            standing: "revoked".into(),
            ..member(false)
        };
        assert!(
            company(&[member(true), gone], &[]).ok,
            "nobody waits for a revoked member"
        );
    }

    #[test]
    fn a_node_that_lives_and_does_not_answer_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned()).unwrap();
        assert_eq!(
            findings(&home).iter().map(|f| f.ok).collect::<Vec<_>>(),
            [true]
        );
        let node = std::fs::File::create(home.node_lock()).unwrap();
        rustix::fs::flock(&node, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let found = findings(&home);
        assert!(
            !found[0].ok && found[0].detail.contains("does not answer"),
            "{found:?}"
        );
    }

    #[test]
    fn a_node_of_another_version_is_to_be_restarted() {
        let status = Status {
            version: "0.0.1".into(),
            ..Status::default()
        };
        assert_eq!(present(&status).mend, "`qnode restart`");
        assert!(
            present(&Status {
                version: env!("CARGO_PKG_VERSION").into(),
                ..status
            })
            .ok
        );
    }

    #[test]
    fn what_the_node_finds_wrong_is_wrong() {
        let health = Health {
            problems: vec!["disk full".into()],
            notes: vec!["old peer".into()],
        };
        assert_eq!(
            of_health(&health).iter().map(|f| f.ok).collect::<Vec<_>>(),
            [false, true]
        );
        assert!(of_health(&Health::default())[0].ok);
    }
}
