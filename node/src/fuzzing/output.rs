//! What a compile puts out, looked into on its way back: libraries, programs, metadata, messages.
//!
//! Enters: bytes of an output that a teammate stored. Leaves: a panic where looking into it takes
//! more memory than stated, or a text is rewritten into another one. Must never happen here: a
//! file.

use super::compile::checkout;
use super::{Feed, Probe, bounds};
use quarry_wrapper::compiler::rustc::macro_symbols::{Standard, unseen, unseen_program};
use quarry_wrapper::compiler::rustc::metadata::same_but_for_own_hash;
use quarry_wrapper::paths::Rewrites;

/// A shared library as small as they come: names, imports, what it needs, its own symbols.
fn library(import: &[u8], needed: &[u8]) -> Vec<u8> {
    const HEAD: usize = 64;
    let names = [b"\0", import, b"\0", needed, b"\0"].concat();
    let mut symbol = 1_u32.to_le_bytes().to_vec();
    symbol.resize(24, 0);
    let at = 2 + import.len() as u64;
    let dynamic = [1_u64.to_le_bytes(), at.to_le_bytes()].concat();
    let (mut bytes, mut headers) = (vec![0; HEAD], vec![0; 64]);
    for (kind, content) in [(3_u32, &names), (11, &symbol), (6, &dynamic), (2, &symbol)] {
        let mut header = vec![0; 64];
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
        header[40..44].copy_from_slice(&1_u32.to_le_bytes());
        bytes.extend(content);
        headers.extend(header);
    }
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let table = bytes.len() as u64;
    bytes[40..48].copy_from_slice(&table.to_le_bytes());
    bytes[58..60].copy_from_slice(&64_u16.to_le_bytes());
    bytes[60..62].copy_from_slice(&5_u16.to_le_bytes());
    [bytes, headers].concat()
}

/// A program that takes its environment, with one table of functions under many headers.
fn repeating() -> Vec<u8> {
    const HEADERS: usize = 40;
    let mut program = library(b"environ", b"libc.so.6");
    program[16..20].copy_from_slice(&[3, 0, 62, 0]);
    let mut function = 1_u32.to_le_bytes().to_vec();
    function.push(2);
    function.resize(24, 0);
    let table = usize::try_from(u64::from_le_bytes(
        program[40..48].try_into().unwrap_or([0; 8]),
    ));
    let headers = program.split_off(table.unwrap_or(0));
    let functions = function.repeat(500);
    let mut header = headers[4 * 64..].to_vec();
    header[24..32].copy_from_slice(&(program.len() as u64).to_le_bytes());
    header[32..40].copy_from_slice(&(functions.len() as u64).to_le_bytes());
    program.extend(functions);
    let table = program.len() as u64;
    program[40..48].copy_from_slice(&table.to_le_bytes());
    program[60..62].copy_from_slice(&u16::try_from(5 + HEADERS).unwrap_or(0).to_le_bytes());
    program[62..64].copy_from_slice(&1_u16.to_le_bytes());
    [program, headers, header.repeat(HEADERS)].concat()
}

/// What rustc's metadata of a crate called `a` begin with.
fn metadata(hash: u8) -> Vec<u8> {
    let mut bytes = b"rust\0\0\0\x0a".to_vec();
    bytes.extend(24_u64.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0, 3]);
    bytes.extend(b"x86\xc1");
    bytes.extend([hash; 16]);
    bytes.extend([0, 1, b'a', 0xc1]);
    bytes
}

/// Libraries (0), and two metadata of one length (1).
pub(super) fn library_seeds() -> Vec<Vec<u8>> {
    let of = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    vec![
        of(0, &library(b"open64", b"libc.so.6")),
        of(0, &library(b"environ", b"libc.so.6")),
        of(0, &library(b"glob", b"libz.so.1")),
        of(0, &repeating()),
        of(1, &[metadata(1), metadata(2)].concat()),
        of(1, &[metadata(1), metadata(1)].concat()),
    ]
}

/// A macro's library, a build script's program, a crate's metadata.
pub(super) fn libraries(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    let (metadata, bytes) = (feed.pick(2) == 1, feed.rest());
    if metadata {
        let (one, other) = bytes.split_at(bytes.len() / 2);
        let same = probe.decode(bytes.len(), || same_but_for_own_hash(one, other, "a"));
        let differ = one.iter().zip(other).filter(|(a, b)| a != b).count();
        let places = memchr_count(one, b"rust\0\0\0\x0a");
        assert!(
            !same || differ <= 16 * places,
            "outputs that differ beyond the hash are taken for the same"
        );
        return;
    }
    let library = probe.decode(bytes.len(), || unseen(bytes, &|| None));
    let program = probe.decode(bytes.len(), || unseen_program(bytes, &|| None));
    drop(probe.decode(bytes.len(), || Standard::of(bytes)));
    if !bytes.starts_with(b"\x7fELF") {
        assert!(
            library.is_some() && !program.is_empty(),
            "taken for harmless"
        );
    }
}

fn memchr_count(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).filter(|w| *w == needle).count()
}

/// Messages as the compiler writes them, plain and in JSON.
pub(super) fn message_seeds() -> Vec<Vec<u8>> {
    let plain =
        "warning: unused\n --> /quarry/ws/src/lib.rs:1:1\n  = /quarry/ws-old /quarry/cargo/x\n";
    let json = "{\"$message_type\":\"artifact\",\"artifact\":\"/quarry/target/liba.rmeta\"}\n\
                {\"rendered\":\"\\u001b[0m /quarry/ws/a b.rs\"}\n";
    vec![plain.as_bytes().to_vec(), json.as_bytes().to_vec()]
}

/// A stored message on its way to this checkout's terminal, and one on its way into the store.
pub(super) fn messages(probe: &Probe, data: &[u8]) {
    let roots = checkout();
    let here = probe.decode(data.len(), || roots.localise(data));
    let stored = probe.within(bounds::messages, data.len(), || roots.normalise(data));
    let rewrites = Rewrites::new(&roots.rewrites());
    let run = probe.decode(data.len(), || rewrites.apply(data));
    assert_eq!(
        run, here,
        "shown otherwise after a run than after a restore"
    );
    for text in [here, stored] {
        let lines = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'\n').count();
        assert_eq!(lines(&text), lines(data), "a line is torn or lost");
    }
}
