//! What the node decides. No I/O, no clock and no randomness: they come as arguments.

pub mod membership;
