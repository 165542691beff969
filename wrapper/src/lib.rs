//! What a compile is.
//!
//! From an invocation to keys, from keys to a restore or a run, from a run to a record; the
//! messages between qwrap and the node; and the shim that is qwrap. Must never come in here:
//! tokio, clap, redb, libp2p.
#![deny(unsafe_code)]

pub mod action;
pub mod busy;
pub mod child;
pub mod compiler;
pub mod difference;
pub mod digests;
#[doc(hidden)]
pub mod fuzzing;
pub mod home;
pub mod invocation;
pub mod ipc;
pub mod launcher;
pub mod nearby;
pub mod observer;
pub mod paths;
pub mod pipeline;
pub mod run;
pub mod shim;
pub mod stamps;
pub mod stopped;
pub mod surroundings;

#[cfg(test)]
mod forms_tests;
