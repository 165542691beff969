//! doctor: checks the set-up and says how to mend it.
//!
//! Enters: the home, the environment, cargo's configs, the node's own view. Leaves: findings,
//! and exit code 1 where one of them is wrong. Only looks: nothing is mended, started or
//! removed here. A check that cannot be made is a finding, not an end.

mod local;
mod node;

use super::print::{self, Format};
use anyhow::Result;
use serde::Serialize;
use std::process::ExitCode;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at; stable, for scripts.
    pub name: &'static str,
    /// Whether it is well, or at least not wrong.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do; empty where nothing is to be done.
    pub mend: String,
}

impl Finding {
    fn well(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            ok: true,
            detail: detail.into(),
            mend: String::new(),
        }
    }

    /// Not wrong, and yet worth doing something about.
    fn hint(name: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            name,
            ok: true,
            detail: detail.into(),
            mend: mend.into(),
        }
    }

    fn wrong(name: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            name,
            ok: false,
            detail: detail.into(),
            mend: mend.into(),
        }
    }
}

/// `qnode doctor`.
///
/// # Errors
/// What writing said.
pub fn run(format: Format) -> Result<ExitCode> {
    let look = local::Look::here();
    let mut findings = look.findings();
    if let Some(home) = &look.home {
        findings.extend(node::findings(home));
    }
    if format == Format::Json {
        print::json(&serde_json::to_value(&findings)?)?;
    } else {
        print::line(text(&findings))?;
    }
    let well = findings.iter().all(|f| f.ok);
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|f| f.name.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for f in findings {
        let mark = if f.ok { "ok   " } else { "WRONG" };
        lines.push(format!(
            "{mark}  {:<width$}  {}",
            f.name,
            print::clean_line(&f.detail)
        ));
        if !f.mend.is_empty() {
            lines.push(format!(
                "       {:<width$}  → {}",
                "",
                print::clean_line(&f.mend)
            ));
        }
    }
    let wrong = findings.iter().filter(|f| !f.ok).count() as u64;
    lines.push(match wrong {
        0 => "all is well".to_owned(),
        n => format!("{} wrong", print::count(n, "thing is", "things are")),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_read_as_a_page() {
        let findings = [
            Finding::well("home", "/h"),
            Finding::wrong("wrapper", "cargo uses no\nwrapper", "`qnode setup`"),
        ];
        assert_eq!(
            text(&findings),
            "ok     home     /h\n\
             WRONG  wrapper  cargo uses no wrapper\n                \
             → `qnode setup`\n\
             1 thing is wrong"
        );
    }
}
