//! What makes a hit right, tried case by case with real cargo and rustc.

mod another_name;
mod asking_cargo;
mod asking_scripts;
mod blocks;
mod bound_scripts;
mod checks;
mod clocks;
mod command;
mod editing;
mod elsewhere;
pub mod ground;
mod leading_scripts;
mod lent;
mod links;
mod macros;
mod moments;
mod native;
mod predictions;
mod programs_of_macros;
mod questions;
mod scripts;
mod shared_scripts;
mod sources;
mod stored;
mod there;
mod variants;
mod verify;
