//! The integration tests: real cargo, rustc, stores and sockets; several nodes, several checkouts.
//!
//! One binary; each file below is a chapter. `tidy` checks that none is forgotten.

mod harness;

mod alone;
mod attackers;
mod diagnostics;
mod differential;
mod faults;
mod networks;
mod pages;
mod provenance;
mod real_projects;
mod soundness;
mod team;
mod tidy;
mod upkeep;
mod why;
