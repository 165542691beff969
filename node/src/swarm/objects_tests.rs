//! Chunks round trip; lies about lengths, bombs and garbage each get their own name.

use super::*;

fn split(frame: &[u8]) -> (ChunkHead, &[u8]) {
    let (head, body) = frame.split_at(CHUNK_HEAD);
    let head = ChunkHead::decode(head.try_into().expect("eight bytes"), u64::MAX).expect("a head");
    (head, body)
}

#[test]
fn compressible_chunks_shrink_and_round_trip() {
    let raw = b"fn main() {}\n".repeat(1000);
    let mut frame = Vec::new();
    assert!(encode_chunk(&raw, true, &mut frame));
    let (head, body) = split(&frame);
    assert!(head.raw == raw.len() && head.wire < raw.len() / 10);
    let mut back = vec![0; head.raw];
    decode_chunk(body, &mut back).expect("our own chunk");
    assert_eq!(back, raw);
}

#[test]
fn small_and_incompressible_chunks_travel_raw() {
    let noise: Vec<u8> = (0..200_u32)
        .flat_map(|i| *quarry_trust::Digest::of(&i.to_le_bytes()).as_bytes())
        .collect();
    for raw in [b"x".as_slice(), &noise] {
        let mut frame = Vec::new();
        assert!(!encode_chunk(raw, true, &mut frame));
        let (head, body) = split(&frame);
        assert_eq!((head.raw, head.wire, body), (raw.len(), raw.len(), raw));
    }
}

#[test]
fn a_bomb_is_oversize_and_garbage_is_corrupt() {
    let bomb = zstd::bulk::compress(&vec![0; 50 << 20], 19).expect("zstd");
    assert!(bomb.len() < 10_000);
    let mut out = vec![0; 10_000];
    assert_eq!(decode_chunk(&bomb, &mut out), Err(WireError::Oversize));
    assert!(matches!(
        decode_chunk(&[7; 100], &mut out),
        Err(WireError::Corrupt(_))
    ));
    let short = zstd::bulk::compress(&[1; 100], 1).expect("zstd");
    assert!(matches!(
        decode_chunk(&short, &mut out),
        Err(WireError::Corrupt(_))
    ));
}

#[test]
fn heads_that_lie_are_refused() {
    let head = |raw: u32, wire: u32| {
        let mut bytes = [0; CHUNK_HEAD];
        bytes[..4].copy_from_slice(&raw.to_le_bytes());
        bytes[4..].copy_from_slice(&wire.to_le_bytes());
        ChunkHead::decode(bytes, 1000).map_err(WireError::from)
    };
    assert_eq!(
        head(1000, 1000),
        Ok(ChunkHead {
            raw: 1000,
            wire: 1000
        })
    );
    assert_eq!(head(1001, 10), Err(WireError::Oversize));
    assert_eq!(head(10, 11), Err(WireError::Oversize));
    assert_eq!(head(0, 0), Err(WireError::Corrupt("an empty chunk")));
    assert_eq!(head(10, 0), Err(WireError::Corrupt("an empty chunk")));
}

#[test]
fn reply_heads_round_trip_and_are_bounded() {
    for head in [
        Head::Absent,
        Head::Busy,
        Head::Here(0),
        Head::Here(MAX_OBJECT),
    ] {
        assert_eq!(Head::decode(head.encode()), Ok(head));
    }
    assert_eq!(
        Head::decode(Head::Here(MAX_OBJECT + 1).encode()),
        Err(WireError::Oversize)
    );
    assert!(matches!(
        Head::decode([9; HEAD]),
        Err(WireError::Corrupt(_))
    ));
}
