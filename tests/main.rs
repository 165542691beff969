//! The integration tests: real cargo, rustc, stores and sockets; several nodes, several checkouts.
//!
//! One binary; each file below is a chapter. `tidy` checks that none is forgotten.

mod harness;

mod alone;
mod attackers;
mod closed;
mod diagnostics;
mod differential;
mod early;
mod faults;
mod forks;
mod gathered;
mod guarded;
mod life;
mod networks;
mod pages;
mod policy;
mod provenance;
mod real_projects;
mod soundness;
mod stopped;
mod team;
mod tidy;
mod upkeep;
mod why;
