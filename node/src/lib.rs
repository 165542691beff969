//! One developer's node.
pub mod cli;
pub mod config;
pub mod control;
