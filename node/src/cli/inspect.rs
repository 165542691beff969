//! peers, stats, show, log: looking at what a node has and did.
//!
//! Enters: reports of the node, its log file. Leaves: text or JSON. Only looks.

use super::ask::{self, SOON};
use super::print::{self, Format};
use crate::control::{EntryReport, PeerReport, Request, Stats};
use anyhow::{Result, bail};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How often a followed log is looked at.
const FOLLOW: Duration = Duration::from_millis(200);
/// How much of a log's end is searched for its last lines, bytes: the log is put aside at 10 MiB.
const LOG_READ: u64 = 16 << 20;
/// Inputs that `show` prints as text; JSON has them all.
const FILES_SHOWN: usize = 40;

/// `qnode peers`.
///
/// # Errors
/// Why they cannot be told.
pub fn peers(format: Format) -> Result<()> {
    let value = ask::value(&Request::Peers, SOON)?;
    if format == Format::Json {
        print::json(&value)?;
        return Ok(());
    }
    let peers: Vec<PeerReport> = ask::decode(value)?;
    if peers.is_empty() {
        print::line("no teammates are known: `qnode invite` or `qnode join`")?;
    } else {
        print::line(peers_text(&peers))?;
    }
    Ok(())
}

/// Whether it is here, and whether it is asked.
fn now(peer: &PeerReport) -> String {
    match (peer.connected, peer.left_out_s) {
        (false, _) => "away".to_owned(),
        (true, 0) => "connected".to_owned(),
        (true, seconds) if peer.offences > 0 => {
            format!("left out for {seconds} s: {} refused", peer.offences)
        }
        (true, seconds) => format!("left out for {seconds} s: silent"),
    }
}

fn peers_text(peers: &[PeerReport]) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = peers
        .iter()
        .map(|p| {
            vec![
                p.name.clone(),
                now(p),
                or_dash(p.round_trip_ms.map(|ms| format!("{ms:.1} ms"))),
                or_dash(p.bandwidth.map(|b| format!("{}/s", print::bytes(b)))),
                print::bytes(p.bytes_in),
                print::bytes(p.bytes_out),
                p.keys.to_string(),
                p.address.clone(),
            ]
        })
        .collect();
    let head = [
        "NAME",
        "NOW",
        "ROUND TRIP",
        "BANDWIDTH",
        "IN",
        "OUT",
        "KEYS",
        "ADDRESS",
    ];
    print::table(&head, &rows, &[2, 3, 4, 5, 6])
}

/// `qnode stats`.
///
/// # Errors
/// Why they cannot be told.
pub fn stats(reset: bool, format: Format) -> Result<()> {
    let value = ask::value(&Request::Stats { reset }, SOON)?;
    if format == Format::Json {
        print::json(&value)?;
    } else {
        print::line(stats_text(&ask::decode(value)?))?;
    }
    Ok(())
}

fn stats_text(s: &Stats) -> String {
    let hits = s.hits.local + s.hits.peer;
    let share = match (hits * 100).checked_div(hits + s.misses) {
        Some(percent) => format!("{percent} % of what can be cached"),
        None => "nothing was asked for yet".to_owned(),
    };
    let mut rows = vec![
        ("requests", s.requests.to_string()),
        (
            "hits",
            format!(
                "{hits} ({} local, {} from peers): {share}",
                s.hits.local, s.hits.peer
            ),
        ),
        ("misses", s.misses.to_string()),
        ("bypasses", s.bypasses.to_string()),
        (
            "queries",
            format!(
                "{} ({} answered from memory)",
                s.queries, s.queries_answered
            ),
        ),
        ("stored", print::bytes(s.bytes.stored)),
        ("fetched", print::bytes(s.bytes.fetched)),
        ("served", print::bytes(s.bytes.served)),
        ("time saved", print::millis(s.time_saved_ms)),
        ("strangers", format!("{} turned away", s.strangers)),
    ];
    let scripts = s.scripts.hits.local + s.scripts.hits.peer;
    if scripts + s.scripts.misses + s.scripts.bypasses > 0 {
        rows.push((
            "build scripts",
            format!(
                "{scripts} restored ({} from peers), {} run and stored, {} run",
                s.scripts.hits.peer, s.scripts.misses, s.scripts.bypasses
            ),
        ));
    }
    rows.extend(compared(s));
    let refused: Vec<String> = s
        .rejected
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(why, n)| format!("{n} {why}"))
        .collect();
    let refused = if refused.is_empty() {
        "nothing".to_owned()
    } else {
        refused.join(", ")
    };
    rows.push(("rejected", refused));
    let mut text = print::pairs(&rows);
    for (title, reasons) in [
        ("bypassed", &s.bypass_reasons),
        ("build scripts run each time", &s.scripts.bypass_reasons),
    ] {
        let mut reasons: Vec<_> = reasons.iter().collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        if !reasons.is_empty() {
            text.push_str(&format!("\n\n{title}, by reason\n"));
            let rows: Vec<Vec<String>> = reasons
                .into_iter()
                .map(|(why, n)| vec![n.to_string(), why.clone()])
                .collect();
            text.push_str(&print::table(&["COUNT", "REASON"], &rows, &[0]));
        }
    }
    text
}

/// What comparing has shown, where anything was compared.
fn compared(s: &Stats) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if s.verified.checked > 0 {
        let (checked, differed) = (s.verified.checked, s.verified.differed);
        rows.push((
            "verified",
            format!(
                "{checked} compiled again, {differed} differed, {} signed here as well",
                s.verified.agreed
            ),
        ));
    }
    if s.disagreements > 0 {
        let keys = print::count(s.disagreements, "key", "keys");
        rows.push((
            "disagreements",
            format!("builders signed different results for {keys}"),
        ));
    }
    rows
}

/// `qnode show`.
///
/// # Errors
/// That there is no such entry, or more than one.
pub fn show(key: String, format: Format) -> Result<()> {
    let value = ask::value(&Request::Show { key }, SOON)?;
    if format == Format::Json {
        print::json(&value)?;
    } else {
        print::line(entry_text(&ask::decode(value)?))?;
    }
    Ok(())
}

/// What an entry is, line by line.
fn entry_facts(e: &EntryReport) -> String {
    let builder = match &e.builder_name {
        Some(name) => format!("{name} ({})", e.builder),
        None => e.builder.clone(),
    };
    print::pairs(&[
        ("crate", e.crate_name.clone()),
        ("action key", e.action.clone()),
        ("lookup key", e.lookup.clone()),
        ("signed by", builder),
        ("verdict", e.verdict.clone()),
        ("the builder", e.standing.clone()),
        (
            "machine",
            e.machine
                .clone()
                .unwrap_or_else(|| "not in the roster".to_owned()),
        ),
        ("scope", e.scope.clone()),
        (
            "created",
            format!("{} (the builder's clock)", print::date(e.created)),
        ),
        ("compiled in", print::millis(e.duration_ms)),
        (
            "compiler",
            format!("{} for {}", e.compiler, or_unknown(&e.compiler_host)),
        ),
        ("its digest", or_unknown(&e.compiler_digest).to_owned()),
        ("description", e.description.clone()),
        ("signature", e.signature.clone()),
        ("inputs", e.inputs.to_string()),
    ])
}

fn entry_text(e: &EntryReport) -> String {
    let mut text = entry_facts(e);
    let mut part = |title: &str, head: &[&str], rows: Vec<Vec<String>>, right: &[usize]| {
        if !rows.is_empty() {
            text.push_str(&format!(
                "\n\n{title}\n{}",
                print::table(head, &rows, right)
            ));
        }
    };
    let others = e.others.iter().map(|o| {
        vec![
            o.builder_name.clone().unwrap_or_default(),
            o.builder.clone(),
            o.standing.clone(),
            o.verdict.clone(),
            if o.agrees { "the same" } else { "DIFFERS" }.to_owned(),
            print::date(o.created),
        ]
    });
    part(
        "signed as well by",
        &[
            "NAME", "BUILDER", "STANDING", "VERDICT", "OUTPUTS", "CREATED",
        ],
        others.collect(),
        &[],
    );
    let outputs = e
        .outputs
        .iter()
        .map(|(n, d, s)| vec![n.clone(), print::bytes(*s), d.clone()]);
    part(
        "outputs",
        &["NAME", "SIZE", "DIGEST"],
        outputs.collect(),
        &[1],
    );
    let shown = e
        .files
        .iter()
        .take(FILES_SHOWN)
        .map(|(n, d)| vec![n.clone(), d.clone()]);
    part("files", &["NAME", "DIGEST"], shown.collect(), &[]);
    let variables = e.variables.iter().map(|(n, v)| vec![n.clone(), v.clone()]);
    part("variables", &["NAME", "VALUE"], variables.collect(), &[]);
    let more = e.files.len().saturating_sub(FILES_SHOWN);
    if more > 0 {
        text.push_str(&format!(
            "\n\n{more} more files: --format json lists them all"
        ));
    }
    text
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// `qnode log`.
///
/// # Errors
/// That there is no log.
pub fn log(lines: usize, follow: bool) -> Result<()> {
    let path = ask::home()?.log();
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => bail!(
            "there is no log at {}: a node started with `qnode start` writes one; under systemd \
             see `journalctl --user -u quarry`",
            path.display()
        ),
        Err(e) => bail!("cannot read {}: {e}", path.display()),
    };
    for text in last_lines(&mut file, lines)? {
        print::line(print::clean(&text))?;
    }
    if follow {
        follow_log(&path, file)
    } else {
        Ok(())
    }
}

/// The last `count` lines; the file then stands at its end.
fn last_lines(file: &mut File, count: usize) -> io::Result<Vec<String>> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LOG_READ);
    file.seek(SeekFrom::Start(from))?;
    let mut last = std::collections::VecDeque::new();
    for line in BufReader::new((&mut *file).take(length - from)).split(b'\n') {
        last.push_back(String::from_utf8_lossy(&line?).into_owned());
        if last.len() > count {
            last.pop_front();
        }
    }
    Ok(last.into())
}

/// Prints what is appended until the reader goes away or Ctrl-C. A log that was put aside is
/// read to its end, then the new one from its start.
fn follow_log(path: &Path, mut file: File) -> Result<()> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut chunk)?;
        if read > 0 {
            let mut out = io::stdout().lock();
            out.write_all(print::clean(&String::from_utf8_lossy(&chunk[..read])).as_bytes())?;
            out.flush()?;
            continue;
        }
        let ours = file.metadata()?;
        match fs::metadata(path) {
            Ok(now) if now.ino() != ours.ino() => file = File::open(path)?,
            Ok(now) if now.len() < file.stream_position()? => {
                file.seek(SeekFrom::Start(0))?;
            }
            _ => {}
        }
        std::thread::sleep(FOLLOW);
    }
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
