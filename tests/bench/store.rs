//! A store as large as a team's in a year: how soon it opens after `kill -9`, what a look-up in it
//! takes, and how much memory a node over it has.
//!
//! `cargo bench --bench store -- [--entries N]` (100,000; a million takes some minutes to fill).
//! `--over DIR N` looks into a store of N that was filled before.
//! Every entry has a description of its own, and shares its output with a thousand others.

#[expect(dead_code, reason = "shared with the integration tests")]
#[path = "../harness/mod.rs"]
mod harness;

use harness::Dev;
use quarry_node::store::{Offer, RedbStore, Store};
use quarry_trust::entry::{Output, OutputKind, OutputName};
use quarry_trust::verify::{Source, Verifier};
use quarry_trust::{
    ActionKey, BuilderKey, Digest, Entry, LookupKey, ObjectRef, Scope, SignedEntry, Verified,
};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Look-ups that are timed.
const LOOKS: u64 = 20_000;
/// Told to the process that fills the store.
const FILL: &str = "--fill";

fn main() {
    // cargo itself adds `--bench`.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let number = |text: &str| text.parse().expect("a number of entries");
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure(100_000),
        ["--entries", entries] => measure(number(entries)),
        ["--over", dir, entries] => {
            let began = Instant::now();
            let (store, _) = RedbStore::open(Path::new(dir)).unwrap();
            println!("opened: {:.1} ms", millis(began.elapsed()));
            looks(&store, number(entries), "first");
            looks(&store, number(entries), "again");
        }
        [FILL, dir, entries] => fill(Path::new(dir), number(entries)),
        _ => panic!("usage: cargo bench --bench store -- [--entries N | --over DIR N]"),
    }
}

fn measure(entries: u64) {
    let dev = Dev::new("large");
    let dir = dev.home().join("store");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg(FILL)
        .arg(&dir)
        .arg(entries.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let mut said = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut said).unwrap();
    assert_eq!(said, "full\n");
    println!(
        "{entries} entries put in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    // SIGKILL: nothing is closed or flushed.
    child.kill().unwrap();
    child.wait().unwrap();

    let began = Instant::now();
    let (store, _) = RedbStore::open(&dir).unwrap();
    println!("opened after kill -9: {:.1} ms", millis(began.elapsed()));
    assert_eq!(store.counts().unwrap().entries, entries);
    looks(&store, entries, "first");
    looks(&store, entries, "again");
    drop(store);
    println!(
        "database: {:.0} MB",
        fs::metadata(dir.join("store.redb")).unwrap().len() as f64 / 1e6
    );
    node(&dev);
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Bytes that this thread waited for a disk to give.
fn read_from_disk() -> u64 {
    let said = fs::read_to_string("/proc/thread-self/io").unwrap();
    let read = said.lines().find_map(|l| l.strip_prefix("read_bytes: "));
    read.unwrap().parse().unwrap()
}

/// Times look-ups of present and of absent keys, spread over all of them.
fn looks(store: &RedbStore, entries: u64, round: &str) {
    let at = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % entries;
    let mut times = [Vec::new(), Vec::new()];
    let before = read_from_disk();
    for n in 0..LOOKS {
        let key = lookup(at(n));
        let began = Instant::now();
        let offers = store.offers(&key, 16).unwrap();
        times[0].push(began.elapsed());
        assert_eq!(offers.len(), 1);
        let absent = lookup(entries + n);
        let began = Instant::now();
        let offers = store.offers(&absent, 16).unwrap();
        times[1].push(began.elapsed());
        assert!(offers.is_empty());
    }
    let read = read_from_disk() - before;
    println!("{round}: {:.1} MB read from the disk", read as f64 / 1e6);
    for (what, times) in ["present", "absent"].iter().zip(&mut times) {
        times.sort();
        let at = |share: usize| times[times.len() * share / 1000].as_secs_f64() * 1e6;
        println!(
            "look-up, {what}, {round}: p50 {:.1} µs, p99 {:.1} µs",
            at(500),
            at(990)
        );
    }
}

/// Starts a node over the store, and one over none.
fn node(dev: &Dev) {
    let empty = Dev::new("empty");
    for (words, dev) in [("an empty store", &empty), ("this store", dev)] {
        dev.start();
        dev.qnode(&["team", "create", "desk", "--name", "me"])
            .succeeded();
        // What it does once at the start is done.
        std::thread::sleep(Duration::from_secs(12));
        let status = fs::read_to_string(format!("/proc/{}/status", dev.pid())).unwrap();
        let rss = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .unwrap();
        let kb: f64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
        println!("a node over {words}: {:.1} MB resident", kb / 1024.0);
    }
}

fn lookup(number: u64) -> LookupKey {
    LookupKey::of(&number.to_le_bytes())
}

fn fill(dir: &Path, entries: u64) {
    let (store, _) = RedbStore::open(dir).unwrap();
    let key = BuilderKey::from_seed(&[7; 32]);
    let verifier = Verifier {
        own: key.id(),
        roster: None,
        now: 1_800_000_000,
    };
    let mut outputs = Vec::new();
    for number in 0..entries {
        if number % 1000 == 0 {
            outputs = vec![staged(&store, &format!("output {number} ").repeat(100))];
        }
        let text = format!(
            "description of action {number}: {}",
            "an input; ".repeat(60)
        );
        let description = staged(&store, &text);
        let (entry, signed) = signed(&key, &verifier, number, (description, outputs[0]));
        let prediction = format!("src/lib.rs src/of_{number}.rs").into_bytes();
        store.put(&entry, &Offer { prediction, signed }).unwrap();
    }
    store.flush().unwrap();
    println!("full");
    std::io::stdout().flush().unwrap();
    // Until killed.
    std::thread::sleep(Duration::from_secs(600));
}

fn staged(store: &RedbStore, text: &str) -> ObjectRef {
    let mut stage = store.stage(1 << 20).unwrap();
    stage.write_all(text.as_bytes()).unwrap();
    stage.commit().unwrap().object
}

fn signed(
    key: &BuilderKey,
    verifier: &Verifier<'_>,
    number: u64,
    (description, output): (ObjectRef, ObjectRef),
) -> (Verified<Entry>, SignedEntry) {
    let nothing = ObjectRef {
        digest: Digest::of(b""),
        size: 0,
    };
    let entry = Entry {
        scope: Scope::Private,
        builder: key.id(),
        lookup: lookup(number),
        action: ActionKey::of(&number.to_le_bytes()),
        description,
        crate_name: format!("crate_{}", number % 5000),
        outputs: vec![Output {
            name: OutputName::new("libcrate.rlib").unwrap(),
            kind: OutputKind::Plain,
            executable: false,
            object: output,
        }],
        stdout: nothing,
        stderr: nothing,
        width: None,
        duration_ms: 900,
        created: 1_700_000_000,
    };
    let signed = entry.sign(key);
    let verified = verifier.entry(&signed, Source::Store, None, None).unwrap();
    (verified, signed)
}
