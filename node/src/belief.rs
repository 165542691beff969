//! What is believed where: the node's own rules, then those for a project, then the repository's,
//! each narrower than the one before.
//!
//! Enters: settings, a project's file, verified entries. Leaves: which entries may be restored,
//! and whose rule refuses the others. Must never happen here: a rule that is skipped because it
//! cannot be read or resolved; what one rule refuses, believed by a later one.

use crate::project::{FILE, Here, Projects, root_around};
use crate::rules::{Trust, TrustSettings};
use crate::team::Whom;
use quarry_trust::policy::{Policy, Why};
use quarry_trust::{BuilderId, Entry, Roster, Verified};
use quarry_wrapper::invocation::Invocation;
use quarry_wrapper::paths::cargo_home;
use std::collections::BTreeSet;
use std::path::Path;

/// The node's rules, and what it knows of projects.
#[derive(Default)]
pub struct Beliefs {
    settings: TrustSettings,
    projects: Projects,
}

/// A rule and where it stands.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Where it stands, for people.
    pub from: String,
    /// The rule, or why it cannot be read.
    pub what: Result<Trust, String>,
}

/// The rules that hold for one command, the widest first, and whom the command's outcome is for.
#[derive(Debug, Clone)]
pub struct Belief {
    /// All that was asked for.
    pub layers: Vec<Layer>,
    /// Whom it is for.
    pub whom: Whom,
}

/// What a rule and all before it amount to.
#[derive(Debug, Clone)]
pub struct Ruling {
    from: String,
    policy: Policy,
    problem: Option<String>,
}

/// Why entries that are there are not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Where the rule stands.
    pub from: String,
    /// What is missing.
    pub why: Why,
    /// What is wrong with the rule, where it could not be used.
    pub problem: Option<String>,
}

impl Refused {
    /// In words, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { from, why, problem } = self;
        match problem {
            Some(problem) => format!("{why} ({from}: {problem})"),
            None => format!("{why} ({from})"),
        }
    }
}

impl Beliefs {
    /// With these settings.
    #[must_use]
    pub fn new(settings: TrustSettings) -> Self {
        Self {
            settings,
            projects: Projects::default(),
        }
    }

    /// What holds for a compile, or for a build script's run.
    #[must_use]
    pub fn of(&self, inv: &Invocation, script: bool) -> Belief {
        let here = self.projects.of(inv, script);
        let public = here.root.is_some() || is_published(inv);
        let mut belief = self.belief(&here);
        if !public && belief.whom == Whom::Team {
            belief.whom = Whom::Nowhere;
        }
        belief
    }

    /// What holds in a directory, for people who ask.
    #[must_use]
    pub fn at(&self, dir: &Path) -> Belief {
        let here = self
            .projects
            .around(Some(root_around(dir)), vec![dir.to_owned()]);
        self.belief(&here)
    }

    fn belief(&self, here: &Here) -> Belief {
        let mut layers = vec![Layer {
            from: "[trust] of config.toml".to_owned(),
            what: Ok(self.settings.everywhere.clone()),
        }];
        let dirs: Vec<&Path> = here.root.iter().chain(&here.places).map(|d| &**d).collect();
        let projects = self.settings.of_project(&dirs);
        layers.extend(projects.map(|(root, trust)| Layer {
            from: format!("[[trust.project]] {} of config.toml", root.display()),
            what: Ok(trust.clone()),
        }));
        let said = here.files.iter().filter_map(|(path, said)| {
            let what = match said.as_ref() {
                Ok(project) => Ok(project.trust.clone()?),
                Err(why) => Err(why.to_string()),
            };
            let from = path.display().to_string();
            Some(Layer { from, what })
        });
        layers.extend(said);
        let scopes: Vec<&String> = here.scopes.iter().collect();
        let unclear = here.files.iter().any(|(_, said)| said.is_err());
        let whom = match scopes[..] {
            _ if unclear => Whom::Unknown,
            [] => Whom::Team,
            [scope] => Whom::Project(scope.clone()),
            [one, other, ..] => {
                layers.push(Layer {
                    from: FILE.to_owned(),
                    what: Err(format!(
                        "it belongs to the closed projects {one} and {other}, and so to neither: \
                         build it from one of them"
                    )),
                });
                Whom::Unknown
            }
        };
        Belief { layers, whom }
    }
}

impl Belief {
    /// Nothing of anybody else, whatever the rules: for what is not looked up.
    #[must_use]
    pub fn own_only() -> Self {
        let layer = Layer {
            from: String::new(),
            what: Err(String::new()),
        };
        Self {
            layers: vec![layer],
            whom: Whom::Unknown,
        }
    }

    /// The policies that hold, the widest first, never none. A rule that cannot be read or names
    /// nobody for certain leaves nothing of anybody else.
    #[must_use]
    pub fn resolve(&self, roster: Option<&Roster>) -> Vec<Ruling> {
        let mut so_far = Policy::widest();
        let ruling = |layer: &Layer| {
            let policy = layer
                .what
                .clone()
                .and_then(|trust| trust.policy(roster).map_err(|error| error.to_string()));
            let (policy, problem) = match policy {
                Ok(policy) => (policy, None),
                Err(problem) => (Policy::own_only(), Some(problem)),
            };
            so_far = so_far.narrow(&policy);
            Ruling {
                from: layer.from.clone(),
                policy: so_far.clone(),
                problem,
            }
        };
        self.layers.iter().map(ruling).collect()
    }

    /// What is wrong with the rules, for people, with where each stands.
    #[must_use]
    pub fn problems(&self, roster: Option<&Roster>) -> Vec<String> {
        let mut found = Vec::new();
        for (layer, ruling) in self.layers.iter().zip(self.resolve(roster)) {
            let unmeetable = layer.what.as_ref().ok().and_then(Trust::unmeetable);
            if let Some(problem) = ruling.problem.or(unmeetable) {
                found.push(format!("{}: {problem}", layer.from));
            }
        }
        found
    }
}

/// Whether a package lies where cargo keeps what registries publish.
fn is_published(inv: &Invocation) -> bool {
    let package = inv.nonempty_var("CARGO_MANIFEST_DIR").map(Path::new);
    let registry = cargo_home(inv).map(|home| home.join("registry"));
    package.zip(registry).is_some_and(|(p, r)| p.starts_with(r))
}

/// Judges entries by each rule in turn: all must believe what the last one does.
///
/// # Errors
/// The first rule that believes none of them.
pub fn judge(
    rulings: &[Ruling],
    entries: &[&Verified<Entry>],
    executes: bool,
    own: &BuilderId,
    roster: Option<&Roster>,
) -> Result<Vec<usize>, Refused> {
    let mut believed = Vec::new();
    for ruling in rulings {
        let verdict = ruling.policy.judge(entries, executes, own, roster);
        believed = verdict.map_err(|why| Refused {
            from: ruling.from.clone(),
            why,
            problem: ruling.problem.clone(),
        })?;
    }
    Ok(believed)
}

/// The rule that cannot be read or used, as why nothing was asked.
#[must_use]
pub fn unusable(rulings: &[Ruling]) -> Option<Refused> {
    let ruling = rulings.iter().find(|ruling| ruling.problem.is_some())?;
    Some(Refused {
        from: ruling.from.clone(),
        why: Why::NotNamed,
        problem: ruling.problem.clone(),
    })
}

/// Whether one builder's word is enough, whoever it is.
#[must_use]
pub fn is_widest(rulings: &[Ruling]) -> bool {
    let last = rulings.last().map(|ruling| &ruling.policy);
    last == Some(&Policy::widest())
}

/// The builders that count, where not all do.
#[must_use]
pub fn named(rulings: &[Ruling]) -> Option<&BTreeSet<BuilderId>> {
    rulings.last()?.policy.rule(false).builders.as_ref()
}

#[cfg(test)]
#[path = "belief_tests.rs"]
mod tests;
