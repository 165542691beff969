//! purge: entries out of this node's store, and before that what a builder's have reached.
//!
//! Enters: which entries. Leaves: the report on a builder, and what was removed. Nothing is
//! removed before a dry run said how much, and somebody agreed.

use super::args::PurgeArgs;
use super::ask::{self, EVENTUALLY};
use super::print::{self, Format};
use super::terminal;
use super::upkeep::freed_text;
use crate::control::blast::{BlastFile, BlastMember, BlastReport};
use crate::control::{FreedReport, Request};
use anyhow::Result;

/// Crates and files that are printed as text; JSON has them all.
const CRATES_SHOWN: usize = 60;
/// See [`CRATES_SHOWN`].
const FILES_SHOWN: usize = 200;

/// `qnode purge`.
///
/// # Errors
/// Why nothing was removed.
pub fn purge(args: PurgeArgs) -> Result<()> {
    let what = args.what;
    let format = args.format.format;
    let request = |dry_run| Request::Purge {
        builder: what.builder.clone(),
        crate_name: what.crate_name.clone(),
        all: what.all,
        dry_run,
    };
    let mut report = None;
    if let Some(builder) = what.builder.clone().filter(|_| args.dry_run || !args.yes) {
        let value = ask::value(&Request::Blast { builder }, EVENTUALLY)?;
        if format == Format::Json && args.dry_run {
            print::json(&value)?;
            return Ok(());
        }
        let blast: BlastReport = ask::decode(value)?;
        print::line(blast_text(&blast))?;
        print::line("")?;
        report = Some(blast);
    }
    if args.dry_run || !args.yes {
        let value = ask::value(&request(true), EVENTUALLY)?;
        if format == Format::Json && args.dry_run {
            print::json(&value)?;
            return Ok(());
        }
        let would: FreedReport = ask::decode(value)?;
        if would.entries == 0 {
            print::line("there is nothing to remove from this node's store")?;
            return Ok(());
        }
        if args.dry_run {
            print::line(freed_text("a purge would free", &would))?;
            return Ok(());
        }
        let question = format!(
            "Remove {} ({}) from this node's store?",
            print::count(would.entries, "entry", "entries"),
            print::bytes(would.bytes)
        );
        if !terminal::confirm(&question, "give --yes to remove without asking.")? {
            print::line("nothing was removed")?;
            return Ok(());
        }
    }
    let value = ask::value(&request(false), EVENTUALLY)?;
    if format == Format::Json {
        print::json(&value)?;
        return Ok(());
    }
    let freed: FreedReport = ask::decode(value)?;
    if freed.entries == 0 {
        print::line("there was nothing to remove")?;
        return Ok(());
    }
    print::line(freed_text("removed", &freed))?;
    if report.is_some_and(|r| r.files.iter().any(is_to_go)) {
        print::line("the files named above are still there: delete them, or `cargo clean`")?;
    }
    Ok(())
}

/// Whether a file holds bytes that nobody else vouches for.
fn is_to_go(file: &BlastFile) -> bool {
    file.state == "holds" && !file.agreed
}

fn blast_text(report: &BlastReport) -> String {
    let who = match &report.builder_name {
        Some(name) => format!("{name} ({})", report.builder),
        None => report.builder.clone(),
    };
    let files = report.files.iter().filter(|f| is_to_go(f)).count() as u64;
    let mut text = print::pairs(&[
        ("builder", format!("{who}: {}", report.standing)),
        ("entries here", report.entries.to_string()),
        ("built from those", report.built_from.to_string()),
        (
            "files that hold it",
            (files + report.files_more).to_string(),
        ),
    ]);
    if report.cut {
        text.push_str("\nthe store has more entries than one report looks at: `cargo clean` in every project is the whole remedy");
    }
    crates_text(report, &mut text);
    list(
        &mut text,
        "projects (`cargo clean` there is the whole remedy: a compile that was not stored is in no list)",
        &report.projects,
    );
    let held: Vec<String> = report
        .files
        .iter()
        .filter(|f| is_to_go(f))
        .map(|f| f.path.clone())
        .collect();
    list(
        &mut text,
        "files that hold what came of it: delete them",
        &held,
    );
    let fine = report
        .files
        .iter()
        .filter(|f| f.state == "holds" && f.agreed)
        .count();
    if fine > 0 {
        text.push_str(&format!(
            "\n\n{fine} more hold bytes that others who stand compiled as well: those are honest"
        ));
    }
    members_text(report, &mut text);
    text
}

fn crates_text(report: &BlastReport, text: &mut String) {
    if report.crates.is_empty() {
        text.push_str("\n\nnothing of it was put into a target directory here");
        return;
    }
    let rows: Vec<Vec<String>> = report
        .crates
        .iter()
        .take(CRATES_SHOWN)
        .map(|c| {
            vec![
                c.crate_name.clone(),
                c.kind.clone(),
                if c.executes { "runs" } else { "-" }.to_owned(),
                c.how.clone(),
                c.signed_by.chars().take(24).collect(),
                if c.agreed { "others agree" } else { "-" }.to_owned(),
                print::date(c.at),
            ]
        })
        .collect();
    let head = ["CRATE", "KIND", "RUNS", "HOW", "SIGNED BY", "BYTES", "LAST"];
    text.push_str("\n\nput into target directories here\n");
    text.push_str(&print::table(&head, &rows, &[]));
    more(text, report.crates.len(), CRATES_SHOWN);
    let ran = report.crates.iter().filter(|c| c.executes && !c.agreed);
    let ran = ran.filter(|c| c.how == "restored").count() as u64;
    if ran > 0 {
        text.push_str(&format!(
            "\n{} of it may have run on this machine: what its user could read, keys among it, may be known",
            print::count(ran, "crate", "crates")
        ));
    }
}

fn members_text(report: &BlastReport, text: &mut String) {
    let rows: Vec<Vec<String>> = report.members.iter().map(member_row).collect();
    if !rows.is_empty() {
        let head = ["MEMBER", "RAN OR MAY HAVE RUN", "LIBRARIES"];
        text.push_str("\n\nwhat other members restored of it (change the keys of those where something ran)\n");
        text.push_str(&print::table(&head, &rows, &[]));
    }
}

fn member_row(member: &BlastMember) -> Vec<String> {
    let names = |all: &[String]| match all {
        [] => "-".to_owned(),
        all => all.join(", "),
    };
    let mut libraries = names(&member.libraries);
    if member.more > 0 {
        libraries.push_str(&format!(" and {} more", member.more));
    }
    if member.asked {
        vec![member.name.clone(), names(&member.executes), libraries]
    } else {
        vec![
            member.name.clone(),
            "not asked: away".to_owned(),
            "?".to_owned(),
        ]
    }
}

fn list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("\n\n{title}"));
    for line in lines.iter().take(FILES_SHOWN) {
        text.push_str("\n  ");
        text.push_str(&print::clean_line(line));
    }
    more(text, lines.len(), FILES_SHOWN);
}

fn more(text: &mut String, all: usize, shown: usize) {
    let more = all.saturating_sub(shown);
    if more > 0 {
        text.push_str(&format!(
            "\n… and {more} more: --dry-run --format json lists them all"
        ));
    }
}

#[cfg(test)]
#[path = "purge_tests.rs"]
mod tests;
