//! What the node decides: whom to ask and for how long, when to free space, who may join, what
//! is counted. Inputs and the time come in as arguments, verdicts go out.
//!
//! Invariant: no I/O, no clock, no randomness in this room.

pub mod blast;
pub mod counters;
pub mod membership;
pub mod policy;
