//! Packing what is not in use: what the command asks for, and what the node does by itself.
//!
//! Enters: since when nobody must have used an object. Leaves: what was packed.

use crate::runtime::Node;
use crate::store::StoreError;
use crate::team;
use serde::{Deserialize, Serialize};

/// Bytes that the node packs by itself at a time, while nobody compiles: a second or two.
const AT_A_TIME: u64 = 256 << 20;

/// `settle`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledReport {
    /// Objects packed.
    pub objects: u64,
    /// Bytes that they took.
    pub before: u64,
    /// Bytes that they take now.
    pub after: u64,
}

/// Packs everything that no target directory has lent.
pub(super) fn everything(node: &Node) -> Result<SettledReport, StoreError> {
    let report = node.store.settle(u64::MAX, u64::MAX)?;
    Ok(SettledReport {
        objects: report.objects,
        before: report.before,
        after: report.after,
    })
}

/// Packs some of what has rested for as long as the setting says. Blocks.
pub fn some(node: &Node) {
    let Some(rest) = node.config.settle_after else {
        return;
    };
    let before = team::now().saturating_sub(rest).saturating_mul(1000);
    match node.store.settle(before, AT_A_TIME) {
        Ok(report) if report.objects > 0 => tracing::info!(
            objects = report.objects,
            before = report.before,
            after = report.after,
            "what nobody used lately was packed"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "what nobody used lately could not be packed"),
    }
}
