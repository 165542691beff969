//! gc, fsck, flush: the store's upkeep, done by the node.
//!
//! Enters: what to remove or check. Leaves: what was.

use super::ask::{self, EVENTUALLY};
use super::print;
use crate::control::settle::SettledReport;
use crate::control::{CheckReport, FreedReport, Request};
use anyhow::Result;
use std::process::ExitCode;

/// `qnode gc`.
///
/// # Errors
/// Why nothing was freed.
pub fn gc(limit: Option<u64>) -> Result<()> {
    let freed: FreedReport = ask::report(&Request::Gc { limit }, EVENTUALLY)?;
    print::line(freed_text("freed", &freed))?;
    Ok(())
}

/// `qnode settle`.
///
/// # Errors
/// Why nothing was packed.
pub fn settle() -> Result<()> {
    let packed: SettledReport = ask::report(&Request::Settle, EVENTUALLY)?;
    print::line(format!(
        "packed {}: {} take {} now",
        print::count(packed.objects, "object", "objects"),
        print::bytes(packed.before),
        print::bytes(packed.after)
    ))?;
    Ok(())
}

/// What was freed, as a sentence.
pub(super) fn freed_text(verb: &str, freed: &FreedReport) -> String {
    format!(
        "{verb} {}: {}, {}; {} are left",
        print::bytes(freed.bytes),
        print::count(freed.entries, "entry", "entries"),
        print::count(freed.objects, "object", "objects"),
        print::bytes(freed.left)
    )
}

/// `qnode fsck`: exits with 1 where something is wrong and was not repaired.
///
/// # Errors
/// Why it was not checked.
pub fn fsck(repair: bool) -> Result<ExitCode> {
    let found: CheckReport = ask::report(&Request::Fsck { repair }, EVENTUALLY)?;
    for problem in &found.problems {
        print::line(print::clean_line(problem))?;
    }
    let more = found.found.saturating_sub(found.problems.len() as u64);
    if more > 0 {
        print::line(format!("… and {more} more"))?;
    }
    print::line(checked_text(&found))?;
    let unmended = found.found > found.repaired;
    if unmended && !repair {
        print::note(
            "`qnode fsck --repair` removes what is broken; it is compiled again when needed",
        );
    }
    Ok(if unmended {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn checked_text(found: &CheckReport) -> String {
    let read = format!(
        "checked {} and {}",
        print::count(found.entries, "entry", "entries"),
        print::count(found.objects, "object", "objects")
    );
    match (found.found, found.repaired) {
        (0, _) => format!("{read}: all is well"),
        (n, 0) => format!("{read}: {}", print::count(n, "problem", "problems")),
        (n, r) => format!(
            "{read}: {}, {r} removed",
            print::count(n, "problem", "problems")
        ),
    }
}

/// `qnode flush`.
///
/// # Errors
/// Why not everything is stored and announced.
pub fn flush() -> Result<()> {
    ask::value(&Request::Flush, EVENTUALLY)?;
    print::line("all that was captured is stored and announced")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_read_as_sentences() {
        let freed = FreedReport {
            entries: 1,
            objects: 3,
            bytes: 2048,
            left: 0,
        };
        assert_eq!(
            freed_text("freed", &freed),
            "freed 2.0 KiB: 1 entry, 3 objects; 0 B are left"
        );
        let mut found = CheckReport {
            entries: 2,
            objects: 1,
            ..CheckReport::default()
        };
        assert_eq!(
            checked_text(&found),
            "checked 2 entries and 1 object: all is well"
        );
        found.found = 2;
        assert_eq!(
            checked_text(&found),
            "checked 2 entries and 1 object: 2 problems"
        );
        found.repaired = 2;
        assert_eq!(
            checked_text(&found),
            "checked 2 entries and 1 object: 2 problems, 2 removed"
        );
    }
}
