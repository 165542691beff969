//! What `qnode stats` tells: the counters, as they are stored and as they travel.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `qnode stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Everything that qwrap asked: hits, misses, bypasses and queries.
    pub requests: u64,
    /// Version, print and stdin probes.
    pub queries: u64,
    /// Those of them that were answered from memory.
    #[serde(default)]
    pub queries_answered: u64,
    /// Restored.
    pub hits: Hits,
    /// Compiled and stored.
    pub misses: u64,
    /// Compiled and deliberately not stored.
    pub bypasses: u64,
    /// Bypasses by reason.
    pub bypass_reasons: BTreeMap<String, u64>,
    /// What was refused, by name; the first five are always there.
    pub rejected: BTreeMap<String, u64>,
    /// Bytes.
    pub bytes: Bytes,
    /// Compile time that hits stood for, less the time they took, milliseconds.
    pub time_saved_ms: u64,
    /// Strangers turned away at the gate.
    pub strangers: u64,
    /// Hits that were compiled again to be compared.
    #[serde(default)]
    pub verified: Verified,
    /// Keys for which two builders signed different results, as far as this node came across them.
    #[serde(default)]
    pub disagreements: u64,
    /// Runs of build scripts, which are counted nowhere else.
    #[serde(default)]
    pub scripts: Scripts,
}

/// What became of runs of build scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scripts {
    /// Restored without running.
    pub hits: Hits,
    /// Run and stored.
    pub misses: u64,
    /// Run and deliberately not stored.
    pub bypasses: u64,
    /// Bypasses by reason.
    pub bypass_reasons: BTreeMap<String, u64>,
}

/// What compiling hits again has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// How many were.
    pub checked: u64,
    /// How many of them gave other bytes.
    pub differed: u64,
    /// How many gave the same in everything, so that this node signed what it compiled.
    #[serde(default)]
    pub agreed: u64,
}

/// Hits by where they came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// From this node's store.
    pub local: u64,
    /// From a teammate's.
    pub peer: u64,
}

/// Bytes moved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Of objects taken into the store by compiles here.
    pub stored: u64,
    /// Of objects fetched from peers.
    pub fetched: u64,
    /// Of objects served to peers.
    pub served: u64,
}
