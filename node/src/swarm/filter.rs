//! Which keys a peer says it holds: a binary fuse filter, built here or decoded from a peer.
//!
//! Enters: our keys, or a peer's frame. Leaves: a frame, or a filter that answers in nanoseconds
//! and never panics: every number that an index is made of is checked on the way in. A filter
//! may err towards yes (one key in 65,536); a peer that lies in it costs a question. Must never
//! happen here: belief. A filter is a hint about whom to ask.
//!
//! The filter is xorf's `BinaryFuse16`, by Graf and Lemire, arXiv 2201.01174.

use super::wire::WireError;
use quarry_trust::canon::{Reader, Writer};
use xorf::{BinaryFuse16, Filter};

/// Keys in one filter. A larger store announces this many; the rest is found by gossip alone.
pub(super) const MAX_KEYS: usize = 1_000_000;
/// Fingerprints of a filter over [`MAX_KEYS`] keys (factor 1.125 and rounding up to segments),
/// with room for the small-set factor.
const MAX_FINGERPRINTS: usize = 1_400_000;
/// Fixed fields before the fingerprints.
const HEAD_BYTES: usize = 1 + 8 + 8 + 4 + 8 + 4 + 4 + 4;
/// A filter's frame, whole. Bytes.
pub(super) const MAX_FILTER_BYTES: usize = HEAD_BYTES + 2 * MAX_FINGERPRINTS;
/// The longest segment that xorf makes.
const MAX_SEGMENT: u32 = 262_144;
/// The form of the frame.
const FORM: u8 = 1;

/// A peer's keys as of one moment of its announcements.
#[derive(Debug, Clone)]
pub(super) struct KeyFilter {
    /// The run of announcements that it belongs to.
    pub(super) generation: u64,
    /// The last announcement that it includes.
    pub(super) sequence: u64,
    /// How many keys.
    pub(super) keys: u32,
    filter: Option<BinaryFuse16>,
}

impl KeyFilter {
    /// Builds a filter over keys, in any order, with or without repetitions. CPU-heavy (5 ms for
    /// 100,000 keys): not on the swarm's own threads.
    pub(super) fn build(generation: u64, sequence: u64, mut keys: Vec<u64>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(MAX_KEYS);
        let filter = if keys.is_empty() {
            None
        } else {
            BinaryFuse16::try_from(keys.as_slice()).ok()
        };
        let count = if filter.is_some() { keys.len() } else { 0 };
        Self {
            generation,
            sequence,
            keys: u32::try_from(count).unwrap_or(u32::MAX),
            filter,
        }
    }

    /// Whether the peer may hold the key.
    pub(super) fn contains(&self, key: u64) -> bool {
        self.filter
            .as_ref()
            .is_some_and(|filter| filter.contains(&key))
    }

    /// The frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(FORM);
        w.u64(self.generation);
        w.u64(self.sequence);
        w.u32(self.keys);
        let Some(filter) = &self.filter else {
            return w.finish();
        };
        w.u64(filter.descriptor.seed);
        w.u32(filter.descriptor.segment_length);
        w.u32(filter.descriptor.segment_count_length);
        w.count(filter.fingerprints.len());
        for fingerprint in &filter.fingerprints {
            w.u16(*fingerprint);
        }
        w.finish()
    }

    /// Reads a peer's frame, and refuses every shape under which a lookup could leave the array.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        if r.u8()? != FORM {
            return Err(WireError::Corrupt("an unknown form of filter"));
        }
        let (generation, sequence, keys) = (r.u64()?, r.u64()?, r.u32()?);
        if keys as usize > MAX_KEYS {
            return Err(WireError::Oversize);
        }
        if keys == 0 {
            r.finish()?;
            return Ok(Self {
                generation,
                sequence,
                keys,
                filter: None,
            });
        }
        let seed = r.u64()?;
        let (segment_length, segment_count_length, count) = (r.u32()?, r.u32()?, r.u32()?);
        if count as usize > MAX_FINGERPRINTS {
            return Err(WireError::Oversize);
        }
        check_shape(segment_length, segment_count_length, count)?;
        let raw = r.fixed(2 * count as usize)?;
        r.finish()?;
        let fingerprints = raw
            .chunks_exact(2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
            .collect();
        // xorf names its descriptor nowhere public: a filter of one key gives its shell.
        let mut filter = BinaryFuse16::try_from([0_u64].as_slice())
            .map_err(|_| WireError::Corrupt("no filter could be made"))?;
        filter.descriptor.seed = seed;
        filter.descriptor.segment_length = segment_length;
        filter.descriptor.segment_length_mask = segment_length - 1;
        filter.descriptor.segment_count_length = segment_count_length;
        filter.fingerprints = fingerprints;
        let filter = Some(filter);
        Ok(Self {
            generation,
            sequence,
            keys,
            filter,
        })
    }
}

/// xorf reads at h0 < count_length, and at h1, h2 one and two segments further, each moved only
/// inside its own aligned segment: in bounds if segments are powers of two, tile the counted
/// part, and two more follow it.
fn check_shape(segment: u32, count_length: u32, count: u32) -> Result<(), WireError> {
    let sound = segment.is_power_of_two()
        && segment <= MAX_SEGMENT
        && count_length > 0
        && count_length.is_multiple_of(segment)
        && u64::from(count) == u64::from(count_length) + 2 * u64::from(segment);
    if sound {
        Ok(())
    } else {
        Err(WireError::Corrupt("a filter of an impossible shape"))
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
