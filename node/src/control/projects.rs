//! Projects that are closed to some members, for the command line.
//!
//! Enters: names, as people type them. Leaves: reports. The roster decides.

use crate::runtime::Node;
use serde::{Deserialize, Serialize};

/// What is asked about projects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProjectRequest {
    /// All of them: a list of [`ProjectReport`].
    List,
    /// Opens one to members, and closes it to others.
    Set {
        /// The project.
        name: String,
        /// Prefixes of members' names, peers or builders.
        open_to: Vec<String>,
        /// The same.
        close_to: Vec<String>,
    },
}

/// One line of `qnode projects`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectReport {
    /// Its name.
    pub name: String,
    /// Names of the members to whom it is open.
    pub members: Vec<String>,
    /// Whether this node is among them.
    pub here: bool,
    /// Whether its secret has come here.
    pub ready: bool,
}

/// Works on a request.
///
/// # Errors
/// Why it could not be done, for people.
pub fn answer(node: &Node, request: &ProjectRequest) -> Result<Vec<ProjectReport>, String> {
    if let ProjectRequest::Set {
        name,
        open_to,
        close_to,
    } = request
    {
        let set = node.team.set_project(name, open_to, close_to);
        set.map_err(|error| error.to_string())?;
        node.swarm.roster_changed();
    }
    let report = |shown: crate::team::Shown| ProjectReport {
        name: shown.name,
        members: shown.members,
        here: shown.here,
        ready: shown.known,
    };
    Ok(node.team.projects().into_iter().map(report).collect())
}
