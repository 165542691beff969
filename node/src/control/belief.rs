//! The report on what is believed somewhere: the rules that hold there, and what is wrong with
//! them.
//!
//! Enters: the node, a directory. Leaves: a report. Only looks.

use super::{TrustReport, TrustRule};
use crate::runtime::Node;
use crate::team::Whom;
use quarry_trust::{Roster, Scope};
use std::path::Path;

/// What is believed of teammates in a directory.
pub(super) fn trust(node: &Node, workspace: &str) -> TrustReport {
    let belief = node.worker.beliefs.at(Path::new(workspace));
    let problems = |roster: Option<&Roster>| belief.problems(roster);
    let found = node.team.roster(|roster| problems(Some(roster)));
    let rules = belief.layers.iter().map(|layer| TrustRule {
        from: layer.from.clone(),
        rule: match &layer.what {
            Ok(trust) => trust.words(),
            Err(_) => "nobody but this node, since it cannot be read".to_owned(),
        },
    });
    let mut problems = found.unwrap_or_else(|| problems(None));
    let audience = node.team.audience(&belief.whom);
    let in_it = !audience.asked.is_empty();
    let shared_with = match (&belief.whom, audience.publish) {
        (Whom::Project(name), _) if !in_it => {
            problems.push(format!(
                "this workspace belongs to project {name}, which is not open to this node: \
                 nothing is shared; ask an admin for `qnode project {name} --open-to`"
            ));
            "nobody".to_owned()
        }
        (Whom::Project(name), Scope::Project(..)) if audience.within.is_some() => {
            format!("those in project {name}")
        }
        (_, Scope::Team(_)) => "the team".to_owned(),
        _ => "nobody".to_owned(),
    };
    TrustReport {
        rules: rules.collect(),
        problems,
        shared_with,
    }
}
