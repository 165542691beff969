//! The report on what is believed somewhere: the rules that hold there, and what is wrong with
//! them.
//!
//! Enters: the node, a directory. Leaves: a report. Only looks.

use super::{TrustReport, TrustRule};
use crate::runtime::Node;
use quarry_trust::Roster;
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
    TrustReport {
        rules: rules.collect(),
        problems: found.unwrap_or_else(|| problems(None)),
    }
}
