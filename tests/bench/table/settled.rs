//! A store that nobody has used for a week: its size beside the outputs', and a build from it.

use super::disk;
use super::figures;
use super::options::{Options, Project};
use super::seats::Seat;
use super::tools::{Kind, Running};
use std::path::Path;

/// Measures one project: warm builds and builds from the settled store in turn.
pub fn measure(
    options: &Options,
    (project, profile): (&Project, &str),
    floor: &Path,
    figures: &mut figures::Project,
) {
    let seat = Seat::new(project, "settled");
    let tool = Running::start(Kind::Quarry, floor);
    tool.build(project, profile, &seat);
    tool.settle();
    let outputs = seat.built();
    for round in 0..options.rounds {
        seat.clean();
        let warm = tool.build(project, profile, &seat);
        figures.push("in use", Kind::Quarry, warm);
        seat.clean();
        let store = tool.pack();
        let note = format!(
            "settled: {:.3} of the outputs' bytes ({} of {} MB)",
            store as f64 / outputs as f64,
            store / 1_000_000,
            outputs / 1_000_000
        );
        if round == 0 {
            figures.notes.push(note);
        }
        let settled = tool.build(project, profile, &seat);
        figures.push("settled", Kind::Quarry, settled);
        eprintln!("{} {profile} settled round {round} done", project.name);
    }
    seat.clean();
}

/// Bytes of a store's files.
pub fn store_bytes(home: &Path) -> u64 {
    disk::bytes(&home.join("store"))
}
