//! What makes a hit right, tried case by case with real cargo and rustc.

mod command;
mod ground;
mod moments;
mod native;
mod sources;
