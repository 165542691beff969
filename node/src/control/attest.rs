//! The node's part of `qnode attest`: records out of the store, signed as a statement; and what the
//! roster says of a statement's builders.
//!
//! Enters: the digest of a file, or a builder with a record. Leaves: an envelope, or a judgement.
//! What the node signs here it has put together itself, of records that lie in its store and
//! objects that it has read: a caller chooses a digest, and no byte of what is signed. Must never
//! happen here: a file of the caller's opened.

use super::SignerReport;
use super::blast::{name_of, standing};
use super::inspect::signer;
use crate::adopt::read_description;
use crate::attest::{self, RECORDS_MAX, Record};
use crate::runtime::Node;
use crate::store::Offer;
use data_encoding::BASE64;
use quarry_trust::canon::Canonical;
use quarry_trust::digest::Hasher;
use quarry_trust::verify::Source;
use quarry_trust::{BuilderId, Digest, Entry, ObjectRef, SignedEntry};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io::Read;

/// Entries that made the same bytes and are looked at; a statement names fewer.
const MAKERS_MAX: usize = 1_000;
/// Bytes of an object that are read at a time.
const CHUNK: usize = 256 * 1024;

/// A statement, and who stands behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestReport {
    /// The DSSE envelope, as JSON.
    pub envelope: serde_json::Value,
    /// The output's name in the record.
    pub name: String,
    /// The crate.
    pub crate_name: String,
    /// Who built it: the first is whom the statement is about.
    pub builders: Vec<SignerReport>,
}

/// What the roster says of a builder, and of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JudgeReport {
    /// The builder's name, where the roster has one, also of a former member.
    pub builder_name: Option<String>,
    /// `stands`, `retired`, `revoked` or `unknown`.
    pub standing: String,
    /// `verified`, or why a record would not be believed if it came now; none was asked about
    /// where this is absent.
    pub verdict: Option<String>,
}

/// Who built the file of this digest.
///
/// # Errors
/// That nobody did whose record is here, in words.
pub(super) fn attest(node: &Node, digest: &str) -> Result<AttestReport, String> {
    let digest = Digest::from_hex(digest).ok_or("this is no digest: 64 hexadecimal digits")?;
    let found = makers(node, &digest)?;
    let mut records = Vec::new();
    let mut builders = Vec::new();
    let mut first: Option<Entry> = None;
    for (entry, offer) in found {
        let Some(description) = read_description(node.store.as_ref(), &entry) else {
            continue;
        };
        let with = first.get_or_insert_with(|| entry.clone());
        builders.push(signer(node, &offer.signed, &entry, with));
        records.push(Record {
            signed: offer.signed,
            description,
        });
        if records.len() == RECORDS_MAX {
            break;
        }
    }
    let nobody = || {
        "no entry here made a file with these bytes: it was not built through Quarry, changed \
         since, or its entry was evicted; `qnode why CRATE` says what became of its compile"
            .to_owned()
    };
    let entry = first.ok_or_else(nobody)?;
    let made = entry.outputs.iter().find(|o| o.object.digest == digest);
    let made = made.ok_or_else(nobody)?;
    let sha256 = sha256(node, &made.object)?;
    let envelope = attest::envelope(&records, &digest, &sha256, node.team.builder_key());
    Ok(AttestReport {
        envelope: envelope.map_err(|e| e.to_string())?,
        name: made.name.as_str().to_owned(),
        crate_name: entry.crate_name,
        builders,
    })
}

/// Entries that made these bytes: those believed now first, then the earliest.
fn makers(node: &Node, digest: &Digest) -> Result<Vec<(Entry, Offer)>, String> {
    let mut found: Vec<(bool, Entry, Offer)> = Vec::new();
    node.store
        .each_offer(&mut |offer| {
            if let Ok(entry) = Entry::from_canon(&offer.signed.bytes)
                && found.len() < MAKERS_MAX
                && entry.outputs.iter().any(|o| o.object.digest == *digest)
            {
                let believed = node.team.verify(&offer.signed, Source::Store, None, None);
                found.push((believed.is_err(), entry, offer));
            }
        })
        .map_err(|e| e.to_string())?;
    found.sort_by_key(|(doubted, entry, _)| (*doubted, entry.created, entry.builder));
    // One record of each builder is enough.
    let mut met = std::collections::BTreeSet::new();
    let one_each = found.into_iter().filter(|(_, e, _)| met.insert(e.builder));
    Ok(one_each.map(|(_, entry, offer)| (entry, offer)).collect())
}

/// SHA-256 of an object that is here, whose BLAKE3 was checked on the way.
fn sha256(node: &Node, object: &ObjectRef) -> Result<String, String> {
    let opened = node.store.object(object).map_err(|e| e.to_string())?;
    let absent = || format!("object {} is not here any more", object.digest);
    let mut from = opened.ok_or_else(absent)?.reader(object.size);
    let (mut sha, mut blake) = (Sha256::new(), Hasher::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk).map_err(|e| e.to_string())? {
            0 => break,
            n => {
                sha.update(&chunk[..n]);
                blake.update(&chunk[..n]);
            }
        }
    }
    if blake.finish() != object.digest {
        return Err(format!(
            "object {} is damaged: `qnode fsck --repair`",
            object.digest
        ));
    }
    Ok(data_encoding::HEXLOWER.encode(&sha.finalize()))
}

/// How a builder stands now, and whether its record would be believed if it came now.
///
/// # Errors
/// That the request is none, in words.
pub(super) fn judge(
    node: &Node,
    builder: &str,
    entry: Option<String>,
) -> Result<JudgeReport, String> {
    let builder = BuilderId::from_hex(builder).ok_or("this is no builder's key")?;
    let signed = entry
        .map(|text| {
            let wire = BASE64.decode(text.as_bytes()).map_err(|e| e.to_string())?;
            SignedEntry::from_wire(&wire).map_err(|e| e.to_string())
        })
        .transpose()?;
    let verdict = signed.map(|signed| {
        let verdict = node.team.verify(&signed, Source::Peer, None, None);
        verdict.map_or_else(|why| why.to_string(), |_| "verified".to_owned())
    });
    Ok(JudgeReport {
        builder_name: name_of(node, &builder),
        standing: standing(node, &builder).to_owned(),
        verdict,
    })
}
