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

/// The main of a target.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::run($name, data));
    };
}
