//! One developer's node.
pub mod store;
pub mod cli { //! stub
 /// x
 pub fn main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS } }
