//! What a compile is.
pub mod shim { //! stub
 /// x
 pub fn main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS } }
