//! Rows.
use super::Row;
/// See the module.
pub const ROWS: &[Row] = &[];
