//! The version of the protocol between a wrapper and its node.

/// It stands in every frame's header, so that a node and a wrapper of different ages notice before
/// they decode.
pub const PROTOCOL: u16 = 9;
