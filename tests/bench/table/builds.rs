//! Cold, warm, and at another place: each tool in turn, another one first in each round.

use super::figures;
use super::options::{Options, Project};
use super::seats::Seat;
use super::tools::{Kind, Running};
use std::collections::BTreeMap;
use std::path::Path;

/// Measures one project in one profile.
pub fn measure(
    options: &Options,
    (project, profile): (&Project, &str),
    kinds: &[Kind],
    floor: &Path,
    figures: &mut figures::Project,
) {
    let here = Seat::new(project, "here");
    let mut running: BTreeMap<Kind, Running> = BTreeMap::new();
    for round in 0..options.rounds {
        let elsewhere = Seat::new(project, &format!("elsewhere-{round}"));
        for at in 0..kinds.len() {
            let kind = kinds[(at + round) % kinds.len()];
            let cold = round < options.cold;
            if cold {
                drop(running.remove(&kind));
                running.insert(kind, Running::start(kind, floor));
                here.clean();
                let took = running[&kind].build(project, profile, &here);
                figures.push("cold", kind, took);
                running[&kind].settle();
            }
            let tool = &running[&kind];
            if kind == Kind::Alone {
                if round == 0 {
                    let built = here.built();
                    figures
                        .notes
                        .push(format!("built by cargo alone: {} MB", built / 1_000_000));
                }
                continue;
            }
            again(tool, (project, profile), &here, "warm", figures);
            if kind.crosses() {
                again(tool, (project, profile), &elsewhere, "cross", figures);
                elsewhere.clean();
            }
            eprintln!(
                "{} {profile} {} round {round} done",
                project.name,
                kind.name()
            );
        }
    }
    here.clean();
}

/// Builds what has been built before, from nothing.
fn again(
    tool: &Running,
    (project, profile): (&Project, &str),
    seat: &Seat,
    shape: &'static str,
    figures: &mut figures::Project,
) {
    seat.clean();
    let before = tool.counts();
    let took = tool.build(project, profile, seat);
    figures.push(shape, tool.kind, took);
    if let (Some(before), Some(after)) = (before, tool.counts()) {
        let (hits, misses) = (after.0 - before.0, after.1 - before.1);
        let note = format!("{} {shape}: {hits} hits, {misses} misses", tool.kind.name());
        if !figures.notes.contains(&note) {
            figures.notes.push(note);
        }
    }
}
