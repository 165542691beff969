//! `qnode`: one developer's node and its command line. Everything lives in `quarry-node`;
//! this file only starts it and turns its verdict into an exit code.

fn main() -> std::process::ExitCode {
    quarry_node::cli::main()
}
