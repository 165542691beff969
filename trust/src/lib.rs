//! What Quarry believes, and why.
//!
//! Digests, canonical bytes, keys, signed entries, the roster of a team and the verdict over
//! them. Bytes enter; only verified values leave. No I/O, no clock (times are
//! arguments), no unsafe code. Nothing here knows a compiler, a store or a socket.
#![forbid(unsafe_code)]

pub mod canon;
pub mod digest;
pub mod entry;
pub mod key;
pub mod policy;
pub mod roster;
pub mod verify;

pub use digest::{ActionKey, Digest, LookupKey};
pub use entry::{Entry, ObjectRef, Output, OutputKind, OutputName, Scope, SignedEntry, TeamId};
pub use key::{BuilderId, BuilderKey, PeerId, Signature};
pub use policy::{Policy, Rule, Why};
pub use roster::{Member, Role, Roster, RosterError, Standing};
pub use verify::{Refusal, Verified};
