//! Six checkouts of one project, built at once from an empty cache.

use super::figures;
use super::options::{Options, Project};
use super::seats::Seat;
use super::tools::{Kind, Running};
use std::path::Path;
use std::process::Child;
use std::time::Instant;

/// Checkouts that are built at once: a developer's worktrees, or as many agents.
const CHECKOUTS: usize = 6;

/// Measures those tools that share between checkouts.
pub fn measure(
    options: &Options,
    (project, profile): (&Project, &str),
    kinds: &[Kind],
    floor: &Path,
    figures: &mut figures::Project,
) {
    let seats: Vec<Seat> = (0..CHECKOUTS)
        .map(|n| Seat::new(project, &format!("{}", n + 1).repeat(n + 1)))
        .collect();
    let sharing = [Kind::Quarry, Kind::Mbx, Kind::Kache];
    let kinds: Vec<Kind> = sharing.into_iter().filter(|k| kinds.contains(k)).collect();
    for round in 0..options.cold {
        for at in 0..kinds.len() {
            let tool = Running::start(kinds[(at + round) % kinds.len()], floor);
            seats.iter().for_each(Seat::clean);
            let began = Instant::now();
            let builds: Vec<Child> = seats
                .iter()
                .map(|seat| {
                    let mut command = tool.building(project, profile, seat);
                    command.arg("--quiet").spawn().unwrap()
                })
                .collect();
            for mut build in builds {
                assert!(build.wait().unwrap().success(), "all six are built");
            }
            figures.push("six", tool.kind, began.elapsed());
            eprintln!(
                "{} {profile} six {} round {round} done",
                project.name,
                tool.kind.name()
            );
        }
    }
}
