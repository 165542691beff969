//! The statement itself: which field says what.
//!
//! Enters: an entry, its description, one of its outputs. Leaves: an in-toto statement, the same
//! for the same arguments. `docs/provenance.md` explains its fields. Must never happen here: a
//! field that does not follow from the arguments.

use super::{Record, base64};
use crate::calendar::rfc3339;
use data_encoding::BASE64;
use quarry_trust::{Digest, Entry, Output, SignedEntry};
use quarry_wrapper::action::{Description, FileInput, Value as Seen};
use quarry_wrapper::pipeline::script::is_run;
use serde_json::{Value, json};

/// The type of the statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of its predicate.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// What a compile is called among builds.
const COMPILE: &str = "urn:quarry:build:rustc:v1";
/// What the run of a build script is called.
const SCRIPT: &str = "urn:quarry:build:build-script:v1";
/// What stands before a builder's key.
pub const BUILDER: &str = "urn:quarry:builder:";
/// The name of the extension that holds the records. (SLSA names extensions `VENDOR_FIELD`.)
const RECORDS: &str = "quarry_records";

pub(super) fn statement(
    entry: &Entry,
    d: &Description,
    made: &Output,
    sha256: &str,
    records: &[Record],
) -> Value {
    json!({
        "_type": STATEMENT_TYPE,
        "subject": [{
            "name": made.name.as_str(),
            "digest": {
                "sha256": sha256,
                "blake3": made.object.digest.to_hex(),
            },
        }],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": definition(entry, d),
            "runDetails": run(entry, records),
        },
    })
}

fn definition(entry: &Entry, d: &Description) -> Value {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let arguments: Vec<String> = d.known.args.iter().map(text).collect();
    let absent = d.files.iter().filter(|f| f.digest.is_none());
    let absent: Vec<&str> = absent.map(|f| f.name.as_str()).collect();
    json!({
        "buildType": if is_run(entry) { SCRIPT } else { COMPILE },
        "externalParameters": {
            "crate": entry.crate_name,
            "arguments": arguments,
            "source": d.known.root.name,
        },
        "internalParameters": {
            "actionKey": entry.action.to_string(),
            "lookupKey": entry.lookup.to_string(),
            "compilerVersion": d.known.compiler_version,
            "compilerDigest": d.known.compiler.to_hex(),
            "variables": variables(d),
            "absent": absent,
        },
        "resolvedDependencies": dependencies(d),
    })
}

/// Every input that has a digest. Names are placeholders: `/quarry/ws` is the workspace,
/// `/quarry/cargo` cargo's home, `/quarry/target` the target directory.
fn dependencies(d: &Description) -> Vec<Value> {
    let one = |kind: &str, name: &str, digest: &Digest| {
        json!({
            "name": name,
            "digest": { "blake3": digest.to_hex() },
            "annotations": { "kind": kind },
        })
    };
    let mut all = Vec::new();
    all.extend(
        d.known
            .root
            .digest
            .map(|x| one("root", &d.known.root.name, &x)),
    );
    for e in &d.externs {
        all.extend(e.digest.map(|x| one("crate", &e.file, &x)));
    }
    let lists: [(&str, &[FileInput]); 4] = [
        ("macro", &d.macros),
        ("native", &d.native),
        ("link", &d.link),
        ("file", &d.files),
    ];
    for (kind, files) in lists {
        for file in files {
            all.extend(file.digest.map(|x| one(kind, &file.name, &x)));
        }
    }
    all
}

/// What variables held when they were read. Values that are not public are keyed digests, which
/// say nothing without the team's secret: those are left out.
fn variables(d: &Description) -> Vec<Value> {
    let each = d.variables.iter().map(|v| match &v.value {
        Seen::Unset => json!({ "name": v.name, "is": "unset" }),
        Seen::Public(text) => json!({ "name": v.name, "is": "public", "value": text }),
        Seen::Keyed(_) => json!({ "name": v.name, "is": "secret" }),
        Seen::Symbolic(text) => json!({ "name": v.name, "is": "path", "value": text }),
    });
    each.collect()
}

fn run(entry: &Entry, records: &[Record]) -> Value {
    let started = entry.created.saturating_sub(entry.duration_ms / 1000);
    let byproduct = |name: &str, digest: &Digest| json!({ "name": name, "digest": { "blake3": digest.to_hex() } });
    let records: Vec<Value> = records
        .iter()
        .map(|record| {
            json!({
                "entry": BASE64.encode(&record.signed.to_wire()),
                "description": BASE64.encode(&record.description),
            })
        })
        .collect();
    json!({
        "builder": { "id": format!("{BUILDER}{}", entry.builder) },
        "metadata": {
            "invocationId": entry.action.to_string(),
            "startedOn": rfc3339(started),
            "finishedOn": rfc3339(entry.created),
        },
        "byproducts": [
            byproduct("stdout", &entry.stdout.digest),
            byproduct("stderr", &entry.stderr.digest),
        ],
        RECORDS: records,
    })
}

/// The records in a statement; `None` where there is none, or one is no record.
pub(super) fn records(statement: &Value) -> Option<Vec<Record>> {
    let list = statement["predicate"]["runDetails"][RECORDS].as_array()?;
    list.iter()
        .take(super::RECORDS_MAX + 1)
        .map(|one| {
            Some(Record {
                signed: SignedEntry::from_wire(&base64(&one["entry"])?).ok()?,
                description: base64(&one["description"])?,
            })
        })
        .collect()
}
