//! The results as bars: one group for each project and shape, one bar for each tool.

use super::figures::Figures;
use super::report::SHAPES;
use super::tools::Kind;
use std::fmt::Write as _;

/// Where bars begin and how long the longest is, pixels.
const LEFT: f64 = 210.0;
const LONGEST: f64 = 430.0;
const WIDTH: f64 = 760.0;
/// Height of a bar with its gap, and of a group's heading.
const BAR: f64 = 19.0;
const HEADING: f64 = 34.0;

const STYLE: &str = "  <style>
    text { font: 13px system-ui, sans-serif; fill: #26241d }
    .heading { font-weight: 600 }
    .small { font-size: 11px; fill: #5b5748 }
    .bar { fill: #b9b39c }
    .ours { fill: #a3542a }
    @media (prefers-color-scheme: dark) {
      text { fill: #efece2 }
      .small { fill: #b9b39c }
      .bar { fill: #6d6857 }
      .ours { fill: #e08a55 }
    }
  </style>
";

/// An SVG of all builds; what did not hit has no bar.
pub fn draw(figures: &Figures, machine: &str) -> String {
    let mut body = String::new();
    let mut y = 8.0;
    for (name, project) in &figures.projects {
        for (shape, words) in SHAPES {
            let bars: Vec<(Kind, f64)> = Kind::ALL
                .into_iter()
                .filter(|k| project.has_hit(shape, *k))
                .filter_map(|k| Some((k, project.median(shape, k)?)))
                .collect();
            let longest = bars.iter().map(|b| b.1).fold(0.0, f64::max);
            if bars.is_empty() {
                continue;
            }
            let at = y + 22.0;
            let _ = writeln!(
                body,
                "  <text class=\"heading\" x=\"8\" y=\"{at}\">{name}, {shape}: {words}</text>"
            );
            y += HEADING;
            for (kind, seconds) in bars {
                bar(&mut body, y, kind, seconds, longest);
                y += BAR;
            }
        }
    }
    y += 24.0;
    let foot = y - 8.0;
    let machine = machine.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" \
         height=\"{y}\" role=\"img\" aria-label=\"Seconds of builds, by tool\">\n{STYLE}{body}  \
         <text class=\"small\" x=\"8\" y=\"{foot}\">median seconds; {machine}</text>\n</svg>\n"
    )
}

fn bar(body: &mut String, y: f64, kind: Kind, seconds: f64, longest: f64) {
    let (name, length) = (kind.name(), LONGEST * seconds / longest);
    let class = if kind == Kind::Quarry { "ours" } else { "bar" };
    let (text, end, middle) = (LEFT - 8.0, LEFT + length + 6.0, y + 13.0);
    let _ = writeln!(
        body,
        "  <text x=\"{text}\" y=\"{middle}\" text-anchor=\"end\">{name}</text>\n  \
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"15\"/>\n  \
         <text class=\"small\" x=\"{end:.1}\" y=\"{middle}\">{seconds:.2}</text>"
    );
}
