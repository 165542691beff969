//! Stories about reach: Mallory signed something, others went on from there.

use super::*;

const ALICE: BuilderId = BuilderId([1; 32]);
const BOB: BuilderId = BuilderId([2; 32]);
const MALLORY: BuilderId = BuilderId([9; 32]);

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// An entry that makes `outputs` (words) of `inputs` (words).
fn made(builder: BuilderId, inputs: &str, outputs: &str) -> Made {
    let all = |words: &str| words.split_whitespace().map(digest).collect();
    Made {
        action: ActionKey::of(format!("{inputs} > {outputs}").as_bytes()),
        builder,
        stands: builder != MALLORY,
        inputs: all(inputs),
        outputs: all(outputs),
    }
}

fn reach(entries: &[Made], seeds: &str) -> (Graph, Reach) {
    let mut graph = Graph::default();
    let seeds: Vec<Digest> = seeds.split_whitespace().map(digest).collect();
    seeds.iter().for_each(|d| graph.output(*d));
    for entry in entries {
        entry.outputs.iter().for_each(|d| graph.output(*d));
    }
    entries.iter().for_each(|entry| graph.add(entry));
    let reach = graph.reach(&MALLORY, &seeds);
    (graph, reach)
}

fn ids(entries: &[&Made]) -> HashSet<EntryId> {
    entries.iter().map(|e| (e.action, e.builder)).collect()
}

#[test]
fn what_was_built_from_what_was_built_from_it_is_reached() {
    let lib = made(BOB, "macro.so lib.rs", "lib.rlib lib.rmeta");
    let app = made(ALICE, "lib.rlib main.rs", "app");
    let other = made(BOB, "other.rs", "other.rlib");
    let entries = [
        made(MALLORY, "macro.rs", "macro.so"),
        app.clone(),
        lib.clone(),
        other,
    ];
    let (_, found) = reach(&entries, "macro.so");
    assert_eq!(found.built_from, ids(&[&lib, &app]));
    assert!(found.agreed.is_empty());
}

#[test]
fn it_is_known_after_her_entries_are_gone() {
    let lib = made(BOB, "macro.so lib.rs", "lib.rlib");
    let (_, found) = reach(std::slice::from_ref(&lib), "macro.so");
    assert_eq!(found.built_from, ids(&[&lib]));
}

#[test]
fn a_shared_source_file_leads_nowhere() {
    let hers = made(MALLORY, "shared.rs", "hers.rlib");
    let bobs = made(BOB, "shared.rs", "bobs.rlib");
    let (_, found) = reach(&[hers, bobs], "hers.rlib");
    assert_eq!(found, Reach::default());
}

#[test]
fn bytes_that_alice_compiled_herself_are_honest_and_so_is_what_follows() {
    let entries = [
        made(MALLORY, "words.rs", "words.rlib"),
        made(ALICE, "words.rs", "words.rlib"),
        made(BOB, "words.rlib app.rs", "app"),
    ];
    let (_, found) = reach(&entries, "words.rlib");
    assert!(found.built_from.is_empty());
    assert_eq!(found.agreed, HashSet::from([digest("words.rlib")]));
}

#[test]
fn who_agrees_only_because_mallorys_macro_made_her_clears_nothing() {
    // Alice's compile of `words` went through the macro: that she agrees proves nothing.
    let alices = made(ALICE, "macro.so words.rs", "words.rlib");
    let bobs = made(BOB, "words.rlib app.rs", "app");
    let entries = [
        made(MALLORY, "macro.so words.rs", "words.rlib"),
        alices.clone(),
        bobs.clone(),
    ];
    let (_, found) = reach(&entries, "macro.so words.rlib");
    assert_eq!(found.built_from, ids(&[&alices, &bobs]));
    assert!(found.agreed.is_empty());
}

#[test]
fn a_builder_that_does_not_stand_clears_nothing() {
    let mut eve = made(BuilderId([7; 32]), "words.rs", "words.rlib");
    eve.stands = false;
    let bobs = made(BOB, "words.rlib app.rs", "app");
    let (_, found) = reach(&[eve, bobs.clone()], "words.rlib");
    assert_eq!(found.built_from, ids(&[&bobs]));
}

#[test]
fn a_circle_ends() {
    let one = made(BOB, "seed b", "a");
    let two = made(BOB, "a", "b");
    let (graph, found) = reach(&[one.clone(), two.clone()], "seed");
    assert_eq!(found.built_from, ids(&[&one, &two]));
    assert!(!graph.is_cut());
}
