//! How things look: tables, sizes, times, JSON, and the one place that writes to stdout.
//!
//! Enters: values. Leaves: text for people, or JSON for scripts. Names and messages that came
//! from other machines pass through [`clean`]: a terminal obeys what it is sent. Must never
//! happen here: a panic because a reader (`| head`) went away.

use std::fmt::Write as _;
use std::io::{self, Write as _};

/// What a report looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For scripts: the names are stable.
    Json,
}

/// The choice of a format, on the commands that report.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct FormatArg {
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Writes a line to stdout.
///
/// # Errors
/// What the system said; a reader that went away is `BrokenPipe`, which ends the command.
pub fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref().as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a line for people to stderr; nobody has to read it.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Writes a JSON value to stdout.
///
/// # Errors
/// As [`line`].
pub fn json(value: &serde_json::Value) -> io::Result<()> {
    line(serde_json::to_string_pretty(value).map_err(io::Error::other)?)
}

/// Text from elsewhere without what a terminal would obey: control characters, and the marks
/// that turn the direction of writing.
#[must_use]
pub fn clean(text: &str) -> String {
    let obeyed = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if obeyed(c) { '\u{fffd}' } else { c })
        .collect()
}

/// As [`clean`], on one line.
#[must_use]
pub fn clean_line(text: &str) -> String {
    clean(text).replace(['\n', '\t'], " ")
}

/// A table whose columns line up; the numbers given are columns to be set to the right.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|r| r.iter().map(|c| clean_line(c)).collect())
        .collect();
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut put = |cells: &[&str]| {
        let mut line = String::new();
        for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let gap = if at == 0 { "" } else { "  " };
            let _ = if right.contains(&at) {
                write!(line, "{gap}{cell:>width$}")
            } else {
                write!(line, "{gap}{cell:<width$}")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    put(head);
    for row in &rows {
        put(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text.pop();
    text
}

/// Lines of `name  value`, the values lined up.
#[must_use]
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs
        .iter()
        .map(|(n, _)| n.chars().count())
        .max()
        .unwrap_or(0);
    let lines: Vec<String> = pairs
        .iter()
        .map(|(n, v)| format!("{n:<width$}  {}", clean_line(v)))
        .collect();
    lines.join("\n")
}

/// A number of bytes in binary units.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Milliseconds as people say them.
#[must_use]
pub fn millis(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
        _ => seconds(ms / 1000),
    }
}

/// Seconds as people say them: the two largest units, the second only where there is any of it.
#[must_use]
pub fn seconds(s: u64) -> String {
    let (large, large_unit, small, small_unit) = match s {
        0..60 => return format!("{s} s"),
        60..3_600 => (s / 60, "min", s % 60, "s"),
        3_600..86_400 => (s / 3_600, "h", s % 3_600 / 60, "min"),
        _ => (s / 86_400, "d", s % 86_400 / 3_600, "h"),
    };
    match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    }
}

/// `1 entry`, `2 entries`.
#[must_use]
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Seconds since 1970 as a date and time of day in UTC.
#[must_use]
pub fn date(since_1970: u64) -> String {
    let text = crate::calendar::rfc3339(since_1970);
    text.replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
#[path = "print_tests.rs"]
mod tests;
