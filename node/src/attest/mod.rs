//! Who built a file, for others than Quarry: an in-toto statement with SLSA provenance, in a DSSE
//! envelope, and its check.
//!
//! Enters: a builder's signed record, the description of its action, the SHA-256 of an output.
//! Leaves: an envelope; or, of an envelope, what it says once it was proved. Everything in a
//! statement follows from the builder's own record, which lies in it, but for the SHA-256, for
//! which the exporting node stands: the check builds the statement again and compares. Formats:
//! in-toto Statement v1 and DSSE v1.0 (in-toto/attestation, secure-systems-lab/dsse), SLSA
//! Provenance v1 (slsa.dev/spec/v1.0/provenance). Must never happen here: I/O, a belief in who
//! stands: that is the roster's.

mod statement;

pub use statement::{BUILDER, PREDICATE_TYPE, STATEMENT_TYPE};

use data_encoding::{BASE64, BASE64URL};
use quarry_trust::canon::{CanonError, Canonical};
use quarry_trust::entry::ENTRY_DOMAIN;
use quarry_trust::{
    BuilderId, BuilderKey, Digest, Entry, ObjectRef, Output, Signature, SignedEntry,
};
use quarry_wrapper::action::Description;
use serde_json::{Value, json};
use thiserror::Error;

/// The type of a DSSE payload that is an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Size of an envelope, bytes: the description of a program with thousands of inputs, twice, in
/// base64 twice.
pub const ENVELOPE_MAX: usize = 64 << 20;
/// Records in one statement: as many as builders that made the same bytes and are named.
pub const RECORDS_MAX: usize = 16;

/// Why an envelope proves nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AttestError {
    /// Not a DSSE envelope with one signature.
    #[error("this is no statement of Quarry's ({0}): make one with `qnode attest FILE`")]
    Form(&'static str),
    /// Larger than its limit.
    #[error("the statement is larger than {ENVELOPE_MAX} bytes, so it is none of Quarry's")]
    Oversize,
    /// The envelope's signature.
    #[error("the envelope's signature does not hold: the statement was changed, ask for a new one")]
    Unsigned,
    /// A record in it.
    #[error("a builder's record in the statement does not hold ({0}): ask for a new one")]
    Record(&'static str),
    /// What it says is not what the record says.
    #[error("the statement says other things than the builder's record in it: do not believe it")]
    Contradicts,
}

impl From<CanonError> for AttestError {
    fn from(_: CanonError) -> Self {
        Self::Record("not in its canonical form")
    }
}

/// A builder's record: the entry as signed, and the description of its action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The entry.
    pub signed: SignedEntry,
    /// Canonical bytes of the description that the entry names.
    pub description: Vec<u8>,
}

/// A record whose signature and digests were checked.
struct Proved {
    entry: Entry,
    description: Description,
}

impl Record {
    fn prove(&self) -> Result<Proved, AttestError> {
        let entry = Entry::from_canon(&self.signed.bytes)?;
        let (bytes, signature) = (&self.signed.bytes, &self.signed.signature);
        if !entry.builder.verifies(ENTRY_DOMAIN, bytes, signature) {
            return Err(AttestError::Record("its signature"));
        }
        let description = ObjectRef {
            digest: Digest::of(&self.description),
            size: self.description.len() as u64,
        };
        if description != entry.description {
            return Err(AttestError::Record("another description"));
        }
        let described = Description::from_canon(&self.description)?;
        if described.action().0 != entry.action {
            return Err(AttestError::Record("another action"));
        }
        Ok(Proved {
            entry,
            description: described,
        })
    }
}

/// The output of a record that has these bytes.
fn output(entry: &Entry, digest: &Digest) -> Option<Output> {
    let mut outputs = entry.outputs.iter();
    outputs.find(|o| o.object.digest == *digest).cloned()
}

/// What an envelope proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Who signed the envelope, and stands for the SHA-256.
    pub exporter: BuilderId,
    /// The records, the first of which the statement is about.
    pub records: Vec<Record>,
    /// Their entries.
    pub entries: Vec<Entry>,
    /// The name of the output.
    pub name: String,
    /// BLAKE3 of the file, signed by its builders.
    pub blake3: Digest,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

/// Makes the envelope for an output: of the first record, with the others that made the same
/// bytes. Signed by the node that exports it.
///
/// # Errors
/// [`AttestError`] where a record does not hold, or made no such bytes.
pub fn envelope(
    records: &[Record],
    digest: &Digest,
    sha256: &str,
    exporter: &BuilderKey,
) -> Result<Value, AttestError> {
    let (statement, _) = build(records, digest, sha256)?;
    let body = serde_json::to_vec(&statement).map_err(|_| AttestError::Form("no JSON"))?;
    let signature = exporter.sign_dsse(PAYLOAD_TYPE, &body);
    Ok(json!({
        "payloadType": PAYLOAD_TYPE,
        "payload": BASE64.encode(&body),
        "signatures": [{
            "keyid": exporter.id().to_hex(),
            "sig": BASE64.encode(&signature.0),
        }],
    }))
}

/// The statement that records lead to, and their entries.
fn build(
    records: &[Record],
    digest: &Digest,
    sha256: &str,
) -> Result<(Value, Vec<Entry>), AttestError> {
    if records.is_empty() || records.len() > RECORDS_MAX {
        return Err(AttestError::Form("no record, or too many"));
    }
    let mut entries = Vec::with_capacity(records.len());
    let mut first = None;
    for record in records {
        let proved = record.prove()?;
        let made = output(&proved.entry, digest);
        let made = made.ok_or(AttestError::Record("it made no such bytes"))?;
        entries.push(proved.entry.clone());
        first.get_or_insert((proved, made));
    }
    let Some((proved, made)) = first else {
        return Err(AttestError::Form("no record"));
    };
    let statement =
        statement::statement(&proved.entry, &proved.description, &made, sha256, records);
    Ok((statement, entries))
}

/// Proves what an envelope says.
///
/// # Errors
/// [`AttestError`].
pub fn check(bytes: &[u8]) -> Result<Checked, AttestError> {
    if bytes.len() > ENVELOPE_MAX {
        return Err(AttestError::Oversize);
    }
    let form = AttestError::Form;
    let envelope: Value = serde_json::from_slice(bytes).map_err(|_| form("no JSON"))?;
    if envelope["payloadType"] != PAYLOAD_TYPE {
        return Err(form("another type of payload"));
    }
    let body = base64(&envelope["payload"]).ok_or(form("no payload"))?;
    let (exporter, signature) = signature(&envelope["signatures"]).ok_or(form("no signature"))?;
    if !exporter.verifies_dsse(PAYLOAD_TYPE, &body, &signature) {
        return Err(AttestError::Unsigned);
    }
    let said: Value = serde_json::from_slice(&body).map_err(|_| form("no JSON inside"))?;
    let subject = &said["subject"][0];
    let digest = subject["digest"]["blake3"].as_str();
    let blake3 = digest.and_then(Digest::from_hex).ok_or(form("no digest"))?;
    let sha256 = subject["digest"]["sha256"].as_str().unwrap_or_default();
    let sha256 = sha256.to_owned();
    let hex = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex {
        return Err(form("no SHA-256"));
    }
    let records = statement::records(&said).ok_or(form("no record in it"))?;
    let (rebuilt, entries) = build(&records, &blake3, &sha256)?;
    if rebuilt != said {
        return Err(AttestError::Contradicts);
    }
    Ok(Checked {
        exporter,
        name: subject["name"].as_str().unwrap_or_default().to_owned(),
        records,
        entries,
        blake3,
        sha256,
    })
}

/// Standard or URL-safe base64, both of which DSSE allows.
fn base64(value: &Value) -> Option<Vec<u8>> {
    let text = value.as_str()?.as_bytes();
    let decoded = BASE64.decode(text).or_else(|_| BASE64URL.decode(text));
    decoded.ok()
}

/// The one signature, and the key that its hint names. The hint decides nothing: the signature
/// must hold under that very key, and the roster says who it is.
fn signature(list: &Value) -> Option<(BuilderId, Signature)> {
    let [one] = list.as_array()?.as_slice() else {
        return None;
    };
    let key = BuilderId::from_hex(one["keyid"].as_str()?)?;
    let signature = base64(&one["sig"])?.try_into().ok()?;
    Some((key, Signature(signature)))
}

#[cfg(test)]
#[path = "attest_tests.rs"]
mod tests;
