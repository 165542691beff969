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

/// Whether a name reads like a name, not like a path: people take one for the other.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.') && !name.contains(['/', '\\'])
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
        let is_new = !node.team.projects().iter().any(|p| p.name == *name);
        if is_new && !is_plain(name) {
            return Err(format!(
                "{name:?} cannot be a project's name: choose one without `/` and `\\` that does not begin with a dot"
            ));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_s_name_is_no_path() {
        for name in ["pay", "pay.core", "our pay", "zahlung-ä"] {
            assert!(is_plain(name), "{name}");
        }
        for path in ["../x", "./x", ".x", "a/b", "/a", "a\\b", "..", "."] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
