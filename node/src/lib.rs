//! One developer's node.
//!
//! `cli` prints and asks; `runtime` assembles; `ipc_server` listens to qwrap; `service` decides;
//! `worker` does blocking work; `store` keeps; `swarm` speaks to peers; `team` holds who we are
//! and whom we believe. Data flows one way: qwrap → ipc → worker → store | swarm.

mod adopt;
pub mod attest;
mod belief;
mod calendar;
mod charter;
mod chunks;
pub mod cli;
pub mod config;
pub mod control;
mod departure;
pub mod find;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod hands;
pub mod ipc_server;
pub mod joining;
pub mod keyfile;
pub mod project;
mod revoked;
mod rootkey;
mod rotation;
pub mod rules;
pub mod runtime;
pub mod secrets;
pub mod service;
mod started;
pub mod store;
pub mod swarm;
mod taking;
pub mod team;
mod tenant;
pub mod ticket;
mod turns;
mod view;
mod waiting;
pub mod worker;
