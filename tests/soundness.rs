//! What makes a hit right, tried case by case with real cargo and rustc.

mod command;
mod elsewhere;
mod ground;
mod macros;
mod moments;
mod native;
mod predictions;
mod sources;
mod stored;
mod variants;
