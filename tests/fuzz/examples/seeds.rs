//! Writes every target's seeds into folders of their names, below a directory: what a run of
//! libFuzzer begins from. `cargo run --example seeds -- DIR`, in `tests/fuzz`.

use std::fs;
use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("say where to: seeds DIR");
        std::process::exit(2);
    };
    for target in quarry_node::fuzzing::TARGETS {
        let folder = dir.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
