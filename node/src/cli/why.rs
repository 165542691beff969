//! why: what made a compile a hit, a miss or a bypass.
//!
//! Enters: the node's reports. Leaves: text or JSON. Only looks.

use super::ask;
use super::print::{self, Format};
use crate::control::{Request, WhyReport};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the answer may take: teammates are asked.
const WITHIN: Duration = Duration::from_secs(30);
/// Differences that are printed of one compile; JSON has more.
const DIFFERENCES_SHOWN: usize = 12;

/// `qnode why`.
///
/// # Errors
/// That no such compile is remembered.
pub fn why(crate_name: Option<String>, all: bool, format: Format) -> Result<()> {
    let request = Request::Why {
        crate_name,
        workspace: workspace().display().to_string(),
        all,
    };
    let value = ask::value(&request, WITHIN)?;
    if format == Format::Json {
        print::json(&value)?;
        return Ok(());
    }
    let reports: Vec<WhyReport> = ask::decode(value)?;
    if reports.is_empty() {
        print::line("nothing was compiled through qwrap since the node started but hits")?;
    }
    for (at, report) in reports.iter().enumerate() {
        if at > 0 {
            print::line("")?;
        }
        print::line(text(report))?;
    }
    Ok(())
}

/// The outermost directory above this one that holds a Cargo.toml; this one where there is none.
fn workspace() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let holds = |dir: &&Path| dir.join("Cargo.toml").is_file();
    let outermost = here.ancestors().filter(holds).last().map(Path::to_owned);
    outermost.unwrap_or(here)
}

fn text(report: &WhyReport) -> String {
    let compile = &report.compile;
    let reason = if compile.reason.is_empty() {
        String::new()
    } else {
        format!(" ({})", compile.reason)
    };
    let name = if compile.crate_name.is_empty() {
        "a compile"
    } else {
        &compile.crate_name
    };
    let what = if compile.script {
        " (its build script's run)"
    } else {
        ""
    };
    let mut text = format!(
        "{}{what}: {}{reason}, {}\n  {}",
        print::clean_line(name),
        compile.outcome,
        print::millis(compile.ms),
        print::clean_line(&report.explanation),
    );
    if let Some(nearest) = &report.nearest {
        text.push_str(&format!(
            "\n  nearest: {} by {}, {}",
            nearest.action.get(..16).unwrap_or(&nearest.action),
            print::clean_line(&nearest.signed_by),
            print::date(nearest.created),
        ));
    }
    for d in report.differences.iter().take(DIFFERENCES_SHOWN) {
        let or_absent = |value: &str| match value {
            "" => "not there".to_owned(),
            value => print::clean_line(value),
        };
        let name = match d.name.as_str() {
            "" => String::new(),
            name => format!(" {}", print::clean_line(name)),
        };
        text.push_str(&format!(
            "\n  {}{name}\n      was  {}\n      now  {}",
            d.what,
            or_absent(&d.before),
            or_absent(&d.now),
        ));
    }
    let more = report.differences.len().saturating_sub(DIFFERENCES_SHOWN);
    if more > 0 {
        text.push_str(&format!("\n  and {more} more: --format json lists them"));
    }
    text
}
