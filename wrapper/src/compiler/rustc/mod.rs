//! What is particular to rustc: its arguments, its inputs, its native libraries.
//!
//! Enters: an invocation of rustc. Leaves: a unit, and what it reads. Must never happen here: a
//! guess about an argument or an input.

pub mod args;
pub(in crate::compiler) mod codegen;
mod env_use;
pub mod inputs;
pub mod link_line;
pub mod macro_symbols;
pub mod metadata;
pub mod native;
pub mod outputs;
#[cfg(test)]
pub(crate) mod testing;
pub(in crate::compiler) mod tokens;
