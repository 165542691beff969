//! attest: who built a file, as a statement that others can check; and the check.
//!
//! Enters: a file of a target directory, or a statement. Leaves: a statement (alone on stdout, or
//! in a file), or what was proved. The node signs and judges; files are read here. Must never
//! happen here: "proved" said of a builder that does not stand.

use super::args::AttestArgs;
use super::ask::{self, EVENTUALLY, SOON};
use super::print;
use crate::attest::{Checked, ENVELOPE_MAX, check};
use crate::control::attest::{AttestReport, JudgeReport};
use crate::control::{Request, target};
use anyhow::{Context, Result, bail};
use data_encoding::{BASE64, HEXLOWER};
use quarry_trust::Digest;
use quarry_wrapper::digests::open_regular;
use quarry_wrapper::launcher;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// `qnode attest`.
///
/// # Errors
/// That nobody built the file here, or that a statement proves nothing.
pub fn run(args: &AttestArgs) -> Result<()> {
    match (&args.verify, &args.file) {
        (Some(statement), file) => verify(statement, file.as_deref()),
        (None, Some(file)) => attest(file, args.output.as_deref()),
        (None, None) => bail!("give a file of a target directory"),
    }
}

fn attest(file: &Path, output: Option<&Path>) -> Result<()> {
    let digest = digest(file)?;
    let request = Request::Attest {
        digest: digest.to_hex(),
    };
    let report: AttestReport = match ask::report(&request, EVENTUALLY) {
        Err(error) if launcher::beside(file).is_file() => bail!(
            "{error}. (This is a launcher in a build script's place: the script's program is {})",
            launcher::beside(file).display()
        ),
        other => other?,
    };
    let text = serde_json::to_string_pretty(&report.envelope)?;
    match output {
        Some(path) => {
            fs::write(path, text + "\n")
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => print::line(text)?,
    }
    for builder in &report.builders {
        let name = builder.builder_name.as_deref().unwrap_or("unnamed");
        print::note(print::clean(&format!(
            "{} of crate {}: built by {name} ({}, {}) on {}",
            report.name,
            report.crate_name,
            &builder.builder[..builder.builder.len().min(16)],
            builder.standing,
            print::date(builder.created),
        )));
    }
    if report.builders.len() > 1 {
        print::note(format!(
            "{} builders made these very bytes",
            report.builders.len()
        ));
    }
    Ok(())
}

fn digest(file: &Path) -> Result<Digest> {
    // As cargo's own links are meant, so is a link that a person made.
    let real = fs::canonicalize(file).with_context(|| format!("cannot read {}", file.display()))?;
    target::digest_of(&real).with_context(|| format!("cannot read {}", file.display()))
}

fn verify(statement: &Path, file: Option<&Path>) -> Result<()> {
    let cannot = || format!("cannot read {}", statement.display());
    let mut bytes = Vec::new();
    open_regular(statement)
        .with_context(cannot)?
        .take(ENVELOPE_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(cannot)?;
    let checked = check(&bytes)?;
    if let Some(file) = file {
        is_about(&checked, file)?;
    }
    let exporter = judge(&checked.exporter.to_hex(), None)?;
    let mut lines = vec![
        ("file", checked.name.clone()),
        ("blake3", checked.blake3.to_hex()),
        ("sha256", checked.sha256.clone()),
        ("statement by", told(&exporter, &checked.exporter.to_hex())),
    ];
    let mut fault = (exporter.standing != "stands")
        .then(|| "who signed the statement does not stand in this node's roster".to_owned());
    let mut believed = false;
    for (record, entry) in checked.records.iter().zip(&checked.entries) {
        let wire = BASE64.encode(&record.signed.to_wire());
        let builder = entry.builder.to_hex();
        let judged = judge(&builder, Some(wire))?;
        let verdict = judged.verdict.clone().unwrap_or_default();
        believed |= verdict == "verified";
        let when = print::date(entry.created);
        lines.push((
            "built by",
            format!("{}, {when}: {verdict}", told(&judged, &builder)),
        ));
    }
    if !believed {
        fault.get_or_insert_with(|| "no builder of it is believed by this node".to_owned());
    }
    print::line(print::pairs(&lines))?;
    match fault {
        Some(why) => bail!("the signatures hold, but {why}: `qnode members` says who stands"),
        None => {
            print::line(match file {
                Some(_) => "proved: these builders made this file",
                None => "proved: these builders made a file with these digests",
            })?;
            Ok(())
        }
    }
}

fn judge(builder: &str, entry: Option<String>) -> Result<JudgeReport> {
    let request = Request::Judge {
        builder: builder.to_owned(),
        entry,
    };
    ask::report(&request, SOON)
}

fn told(judged: &JudgeReport, key: &str) -> String {
    let name = judged.builder_name.as_deref().unwrap_or("unnamed");
    format!("{name} ({key}), {}", judged.standing)
}

/// Both digests must be this file's: the one that the builder signed, and the exporter's.
fn is_about(checked: &Checked, file: &Path) -> Result<()> {
    let other = || {
        format!(
            "{} is not the file of this statement: it has other bytes",
            file.display()
        )
    };
    if digest(file)? != checked.blake3 {
        bail!("{}", other());
    }
    let mut sha = Sha256::new();
    let mut from = open_regular(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => sha.update(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => bail!("cannot read {}: {e}", file.display()),
        }
    }
    if HEXLOWER.encode(&sha.finalize()) != checked.sha256.to_ascii_lowercase() {
        bail!(
            "the statement names another SHA-256 than {} has: who exported it is wrong or lies",
            file.display()
        );
    }
    Ok(())
}
