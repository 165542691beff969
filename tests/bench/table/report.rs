//! The results: as text for people, as JSON for programs, as a picture.

use super::figures::{Figures, Project, spread};
use super::options::Options;
use super::picture;
use super::tools::Kind;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

/// Shapes of the builds, and what they are called.
pub const SHAPES: [(&str, &str); 3] = [
    ("cold", "from an empty cache"),
    ("warm", "again, target removed"),
    ("cross", "at another path, with another cargo home"),
];

/// Further shapes, which the picture leaves out.
const FURTHER: [(&str, &str); 7] = [
    ("six", "six checkouts at once"),
    ("in use", "again, in turn with the next"),
    ("settled", "from a settled store"),
    ("peer", "from a teammate's node over 1 Gbit/s"),
    ("own", "the same again, from the own store"),
    ("peer settled", "from a teammate's settled store"),
    ("own of settled", "the same again, from the own store"),
];

/// Writes everything, and prints the text.
pub fn write(options: &Options, figures: &Figures) {
    let machine = machine();
    let text = text(figures, &machine);
    print!("{text}");
    let json = json!({
        "machine": machine,
        "rounds": options.rounds,
        "tools": figures.tools.iter().map(|(k, v)| json!([k.name(), v])).collect::<Vec<_>>(),
        "projects": figures.projects.iter()
            .map(|(name, p)| json!({ "name": name, "figures": p.to_json() }))
            .collect::<Vec<_>>(),
        "single": figures.single,
    });
    fs::create_dir_all(&options.out).unwrap();
    fs::write(options.out.join("table.txt"), text).unwrap();
    fs::write(options.out.join("table.json"), format!("{json:#}\n")).unwrap();
    fs::write(
        options.out.join("table.svg"),
        picture::draw(figures, &machine),
    )
    .unwrap();
}

/// Processor, cores, filesystem, compiler and date, in a line.
fn machine() -> String {
    let first = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        text.unwrap_or_default().trim().to_owned()
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|l| l.strip_prefix("model name"));
    let cpu = cpu.map_or("", |l| l.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let scratch = std::env::temp_dir();
    let disk = first("stat", &["-f", "-c", "%T", &scratch.to_string_lossy()]);
    let rustc = first("rustc", &["--version"]);
    let date = first("date", &["-u", "+%Y-%m-%d"]);
    format!("{cores} cores of {cpu}, {disk}, {rustc}, {date}")
}

fn text(figures: &Figures, machine: &str) -> String {
    let mut out = format!("{machine}\n");
    for (kind, version) in &figures.tools {
        let _ = writeln!(out, "{:<8} {version}", kind.name());
    }
    for (name, project) in &figures.projects {
        let _ = writeln!(out, "\n{name}: seconds, median (least to most)");
        for (shape, words) in SHAPES {
            series(&mut out, project, shape, words);
        }
        for (shape, words) in FURTHER {
            series(&mut out, project, shape, words);
        }
        for note in &project.notes {
            let _ = writeln!(out, "  {note}");
        }
        for line in ratios(project) {
            let _ = writeln!(out, "  {line}");
        }
    }
    if !figures.single.is_empty() {
        out.push('\n');
    }
    for (what, value, unit) in &figures.single {
        let _ = writeln!(out, "{what}: {value:.3} {unit}");
    }
    out
}

fn series(out: &mut String, project: &Project, shape: &'static str, words: &str) {
    let measured = |kind: &Kind| project.series.contains_key(&(shape, *kind));
    if !Kind::ALL.iter().any(measured) {
        return;
    }
    let _ = writeln!(out, "  {shape} ({words})");
    for kind in Kind::ALL {
        let Some((least, median, most)) =
            project.series.get(&(shape, kind)).and_then(|s| spread(s))
        else {
            continue;
        };
        let note = if project.has_hit(shape, kind) {
            ""
        } else {
            "   did not hit"
        };
        let name = kind.name();
        let _ = writeln!(
            out,
            "    {name:<8} {median:>8.3} ({least:.3} to {most:.3}){note}"
        );
    }
}

/// Quarry's medians over those that they are measured by.
pub fn ratios(project: &Project) -> Vec<String> {
    let mut lines = Vec::new();
    let own = |shape| project.median(shape, Kind::Quarry);
    if let (Some(ours), Some(alone)) = (own("cold"), project.median("cold", Kind::Alone)) {
        lines.push(format!("cold over cargo alone: {:.3}", ours / alone));
    }
    for shape in ["cold", "warm", "cross", "six"] {
        if let (Some(ours), Some((peer, theirs))) = (own(shape), project.best_peer(shape)) {
            let peer = peer.name();
            lines.push(format!("{shape} over {peer}: {:.3}", ours / theirs));
        }
    }
    if let (Some(ours), Some(floor)) = (own("warm"), project.median("warm", Kind::Memo)) {
        lines.push(format!("warm over the floor: {:.3}", ours / floor));
    }
    for (shape, over, words) in [
        ("settled", "in use", "settled over in use"),
        ("peer", "own", "from a peer over the own store"),
        (
            "peer settled",
            "own of settled",
            "from a settled peer over the own store",
        ),
    ] {
        if let (Some(ours), Some(other)) = (own(shape), own(over)) {
            lines.push(format!("{words}: {:.3}", ours / other));
        }
    }
    lines
}
