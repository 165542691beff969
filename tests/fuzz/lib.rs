//! What every fuzz target shares: the counted heap, and the way to a target by its name.
//!
//! Enters: libFuzzer's bytes. Leaves: nothing, or a panic that libFuzzer keeps the input of. The
//! targets themselves, and their bounds, are in `node/src/fuzzing/`: the test that replays the
//! corpus on stable calls the same functions.

pub mod meter;

pub use libfuzzer_sys::fuzz_target;

#[global_allocator]
static HEAP: meter::Counting = meter::Counting;

/// Runs one target over one input.
///
/// # Panics
/// Where the target does: that is a finding. And where there is no such target.
pub fn run(name: &str, data: &[u8]) {
    quarry_node::fuzzing::target(name)
        .unwrap_or_else(|| panic!("no target is called {name}"))
        .run(data, meter::peak_of);
}

/// Names a folder in which a target's seeds are put before libFuzzer reads its corpus: give the
/// folder of the target below it as the first corpus.
const SEEDS: &str = "QUARRY_FUZZ_SEEDS";

/// Writes a target's seeds, where [`SEEDS`] says where to.
///
/// # Panics
/// Where they cannot be written.
pub fn begin(name: &str) {
    let Some(folder) = std::env::var_os(SEEDS) else {
        return;
    };
    let folder = std::path::Path::new(&folder).join(name);
    std::fs::create_dir_all(&folder).expect("a folder for seeds");
    let target = quarry_node::fuzzing::target(name);
    let seeds = target.map(|target| (target.seeds)()).unwrap_or_default();
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed).expect("a seed is written");
    }
}

/// The main of a target.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::begin($name),
            |data: &[u8]| $crate::run($name, data)
        );
    };
}
