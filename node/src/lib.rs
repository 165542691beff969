//! One developer's node.
//!
//! `cli` prints and asks; `runtime` assembles; `ipc_server` listens to qwrap; `service` decides;
//! `worker` does blocking work; `store` keeps; `swarm` speaks to peers; `team` holds who we are
//! and whom we believe. Data flows one way: qwrap → ipc → worker → store | swarm.

mod adopt;
pub mod attest;
mod calendar;
pub mod cli;
pub mod config;
pub mod control;
pub mod ipc_server;
pub mod joining;
mod revoked;
pub mod runtime;
pub mod service;
pub mod store;
pub mod swarm;
pub mod team;
mod view;
pub mod worker;
