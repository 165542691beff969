//! `qwrap`: what cargo calls as `RUSTC_WRAPPER`. Everything lives in `quarry-wrapper`;
//! this file only starts it and exits as the compiler did.

fn main() -> std::process::ExitCode {
    quarry_wrapper::shim::main()
}
