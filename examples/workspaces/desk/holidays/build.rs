//! Turns `data/holidays.txt` into a Rust table in `OUT_DIR`.
//!
//! What enters: lines of `YYYY-MM-DD name`. What leaves: `holidays.rs`, sorted
//! by date. It must never depend on anything else: no clock, no network.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

const SOURCE: &str = "data/holidays.txt";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-changed=build.rs");
    let text = fs::read_to_string(SOURCE).unwrap_or_else(|e| panic!("cannot read {SOURCE}: {e}"));
    let mut rows: Vec<_> = text.lines().filter_map(row).collect();
    rows.sort_unstable();
    let mut table = String::from("pub static HOLIDAYS: &[(i32, u32, u32, &str)] = &[\n");
    for (year, month, day, name) in rows {
        writeln!(table, "    ({year}, {month}, {day}, {name:?}),").expect("a String takes it all");
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let path = out.join("holidays.rs");
    fs::write(&path, table).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
}

/// One line; `None` for a comment. A line that is neither stops the build.
fn row(line: &str) -> Option<(i32, u32, u32, &str)> {
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let parsed = line.split_once(' ').and_then(|(date, name)| {
        let mut parts = date.splitn(3, '-');
        let year = parts.next()?.parse().ok()?;
        let month = parts.next()?.parse().ok()?;
        let day = parts.next()?.parse().ok()?;
        Some((year, month, day, name))
    });
    Some(parsed.unwrap_or_else(|| panic!("{SOURCE}: not `YYYY-MM-DD name`: {line}")))
}
