//! What was measured: series of seconds, by project, shape and tool.

use super::tools::Kind;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that was measured.
pub struct Figures {
    /// The tools, and what they call their version.
    pub tools: Vec<(Kind, String)>,
    /// By project and profile, in the order in which they were measured.
    pub projects: Vec<(String, Project)>,
    /// Figures that belong to no project: name, value, unit.
    pub single: Vec<(String, f64, &'static str)>,
}

/// What was measured of one project in one profile.
#[derive(Default)]
pub struct Project {
    /// Shape (`cold`, `warm`, …) and tool → seconds, one for each round.
    pub series: BTreeMap<(&'static str, Kind), Vec<f64>>,
    /// Things worth knowing, in words.
    pub notes: Vec<String>,
}

impl Figures {
    pub fn new(tools: Vec<(Kind, String)>) -> Self {
        Self {
            tools,
            projects: Vec::new(),
            single: Vec::new(),
        }
    }

    /// The project's, made where it is new.
    pub fn of(&mut self, name: &str) -> &mut Project {
        let at = self.projects.iter().position(|(n, _)| n == name);
        let at = at.unwrap_or_else(|| {
            self.projects.push((name.to_owned(), Project::default()));
            self.projects.len() - 1
        });
        &mut self.projects[at].1
    }
}

impl Project {
    pub fn push(&mut self, shape: &'static str, tool: Kind, took: Duration) {
        self.series
            .entry((shape, tool))
            .or_default()
            .push(took.as_secs_f64());
    }

    pub fn median(&self, shape: &'static str, tool: Kind) -> Option<f64> {
        Some(spread(self.series.get(&(shape, tool))?)?.1)
    }

    /// Whether a tool's runs of a shape restored anything worth the name: who compiles all anew
    /// takes as long as cargo alone.
    pub fn has_hit(&self, shape: &'static str, tool: Kind) -> bool {
        if shape == "cold" || shape == "six" {
            return true;
        }
        let alone = self.median("cold", Kind::Alone);
        let own = self.median(shape, tool);
        !matches!((own, alone), (Some(own), Some(alone)) if own > 0.85 * alone)
    }

    /// The fastest of the other tools that hit, and its median.
    pub fn best_peer(&self, shape: &'static str) -> Option<(Kind, f64)> {
        let peers = Kind::ALL.into_iter().filter(|k| k.is_peer());
        let hit = peers.filter(|k| self.has_hit(shape, *k));
        hit.filter_map(|k| Some((k, self.median(shape, k)?)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
    }

    pub fn to_json(&self) -> Value {
        let series = self.series.iter().map(|((shape, tool), seconds)| {
            let (least, median, most) = spread(seconds).unwrap_or_default();
            json!({
                "shape": shape, "tool": tool.name(), "seconds": seconds,
                "min": least, "median": median, "max": most,
                "hit": self.has_hit(shape, *tool),
            })
        });
        json!({ "series": series.collect::<Vec<_>>(), "notes": self.notes })
    }
}

/// Least, median and most.
pub fn spread(seconds: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    let median = f64::midpoint(*lower, *upper);
    Some((*sorted.first()?, median, *sorted.last()?))
}
