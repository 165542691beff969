//! The corpus of every fuzz target, replayed on stable: seeds, what libFuzzer kept, and a bounded
//! number of mutations of each.
//!
//! The same functions run here and under libFuzzer, with the heap counted alike. Mutations come
//! from a seeded generator, so that a failure names an input that fails again.

#[path = "../../../tests/fuzz/meter.rs"]
mod meter;

use super::{TARGETS, Target, target};
use quarry_trust::digest::Hasher;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

#[global_allocator]
static HEAP: meter::Counting = meter::Counting;

/// Mutations of each input: enough to go through every refusal of a small decoder, few enough
/// that all targets together take a few seconds.
const MUTATIONS: usize = 24;
/// Longest input that is kept in the corpus, bytes.
const MAX_INPUT: u64 = 16 * 1024;
/// The whole corpus, bytes: it is cloned by everybody.
const MAX_CORPUS: u64 = 2 << 20;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus")
}

/// What libFuzzer kept for a target.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let Ok(files) = fs::read_dir(corpus().join(name)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = files.map(|f| f.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|p| fs::read(p).expect("a file")).collect()
}

/// xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators".
struct Dice(u64);

impl Dice {
    fn throw(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % n.max(1)
    }

    /// One to four changes: bits, bytes, numbers at their limits, pieces cut, copied or doubled.
    fn mutate(&mut self, input: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.throw(4) {
            let at = self.throw(bytes.len() + 1);
            let until = (at + self.throw(32)).min(bytes.len());
            match self.throw(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.throw(8),
                1 if at < bytes.len() => bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xff][self.throw(6)],
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(at..until)),
                4 => {
                    let piece = bytes[at..until].to_vec();
                    let to = self.throw(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                5 => {
                    let number = [0_u32, 1, 255, 65_536, 1 << 24, u32::MAX][self.throw(6)];
                    for (i, b) in number.to_le_bytes().into_iter().enumerate() {
                        if let Some(byte) = bytes.get_mut(at + i) {
                            *byte = b;
                        }
                    }
                }
                _ => bytes.insert(at, u8::try_from(self.throw(256)).unwrap_or(0)),
            }
        }
        bytes
    }
}

fn replay(target: &Target) {
    let mut inputs = (target.seeds)();
    assert!(
        !inputs.is_empty(),
        "{} has nothing to begin from",
        target.name
    );
    inputs.extend(kept(target.name));
    inputs.push(Vec::new());
    for (number, input) in inputs.iter().enumerate() {
        run(target, input, &format!("input {number}"));
        let mut dice = Dice(1 + number as u64);
        for mutation in 0..MUTATIONS {
            let bent = dice.mutate(input);
            run(
                target,
                &bent,
                &format!("input {number}, mutation {mutation}"),
            );
        }
    }
}

fn run(target: &Target, input: &[u8], what: &str) {
    let ran = catch_unwind(AssertUnwindSafe(|| target.run(input, meter::peak_of)));
    let hex = || data_encoding_of(input);
    assert!(ran.is_ok(), "{}: {what} fails: {}", target.name, hex());
}

fn data_encoding_of(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

macro_rules! replayed {
    ($($test:ident: $name:literal;)*) => {
        $(
            #[test]
            fn $test() {
                replay(target($name).expect("a target"));
            }
        )*

        const REPLAYED: &[&str] = &[$($name),*];
    };
}

replayed! {
    the_corpus_of_frames: "frames";
    the_corpus_of_the_door: "door";
    the_corpus_of_objects: "objects";
    the_corpus_of_filters: "filters";
    the_corpus_of_announcements: "announcements";
    the_corpus_of_providers: "providers";
    the_corpus_of_addresses: "addresses";
    the_corpus_of_entries: "entries";
    the_corpus_of_tickets: "tickets";
    the_corpus_of_the_roster: "roster";
    the_corpus_of_roster_bytes: "roster_bytes";
    the_corpus_of_the_exchange: "exchange";
    the_corpus_of_actions: "actions";
    the_corpus_of_the_local_socket: "ipc";
    the_corpus_of_depinfo: "depinfo";
    the_corpus_of_the_observer: "observer";
    the_corpus_of_outdir: "outdir";
    the_corpus_of_libraries: "libraries";
    the_corpus_of_messages: "messages";
    the_corpus_of_places: "places";
    the_corpus_of_control: "control";
    the_corpus_of_the_project: "project";
    the_corpus_of_config: "config";
    the_corpus_of_the_team_file: "team_file";
    the_corpus_of_state: "state";
    the_corpus_of_rows: "rows";
}

/// A target that nobody replays would only ever run by hand; a program without a target, or a
/// folder without one, would never run at all.
#[test]
fn every_target_is_replayed_has_a_program_and_a_line_in_the_page() {
    let fuzz = corpus().parent().expect("a folder").to_owned();
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("the manifest");
    let page = fs::read_to_string(fuzz.join("../../docs/fuzzing.md")).expect("the page");
    for target in TARGETS {
        let name = target.name;
        assert!(REPLAYED.contains(&name), "{name} is not replayed");
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        let program = fuzz.join(format!("fuzz_targets/{name}.rs"));
        let text = fs::read_to_string(program).expect("a program");
        assert!(text.contains(&format!("quarry_fuzz::fuzz!(\"{name}\")")));
        assert!(
            page.contains(&format!("| `{name}` |")),
            "{name} in the page"
        );
    }
    assert_eq!(TARGETS.len(), REPLAYED.len());
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    for folder in fs::read_dir(corpus()).expect("a corpus") {
        let name = folder.expect("a folder").file_name();
        assert!(target(&name.to_string_lossy()).is_some(), "{name:?}");
    }
}

#[test]
fn the_corpus_is_small() {
    let mut all = 0;
    for target in TARGETS {
        let Ok(files) = fs::read_dir(corpus().join(target.name)) else {
            continue;
        };
        for file in files {
            let len = file.expect("a file").metadata().expect("a length").len();
            assert!(len <= MAX_INPUT, "{}: {len} bytes", target.name);
            all += len;
        }
    }
    assert!(all <= MAX_CORPUS, "{all} bytes");
}

/// The measure itself: what is held at once counts, what went before does not.
#[test]
fn the_heap_is_counted_at_its_highest() {
    let peak = meter::peak_of(&mut || {
        drop(vec![0_u8; 100_000]);
        drop(vec![0_u8; 30_000]);
    });
    assert!((100_000..101_000).contains(&peak), "{peak}");
    let mut hasher = Hasher::new();
    assert!(meter::peak_of(&mut || hasher.update(b"x")) < 10_000);
}
