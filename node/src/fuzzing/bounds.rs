//! What a decoder may take of memory: the table.
//!
//! Enters: the length of an input. Leaves: bytes of heap that decoding it may hold at once, the
//! decoded value included. Each is what the decoder's own limits allow, and a small factor on the
//! input: a list of small things is wider in memory than on the wire, and a vector that grows is
//! there twice while it moves. `docs/fuzzing.md` says the same for people. Must never happen
//! here: a bound that follows from what was measured alone.

use crate::store::MAX_PREDICTION_BYTES;
use quarry_wrapper::ipc::frame::MAX_FRAME;

/// Bytes of heap for so many bytes of input.
pub type Bound = fn(usize) -> usize;

/// What any call may take: errors with a text, a few small vectors.
const SLACK: usize = 16 * 1024;
/// A vector that grows doubles, and is there twice while it moves.
const GROWING: usize = 3;

/// A member's frame: its body as it arrives, and offers taken out of it.
pub(super) fn frames(len: usize) -> usize {
    SLACK + (GROWING + 2) * len
}

/// A stranger's frame.
pub(super) fn door(len: usize) -> usize {
    SLACK + (GROWING + 2) * len
}

/// Two chunks, one on the wire and one unpacked, each moved once as it grows.
pub(super) fn objects(_: usize) -> usize {
    SLACK + 2 * 2 * crate::swarm::fuzzing::CHUNK
}

/// Fingerprints, two bytes as two bytes.
pub(super) fn filters(len: usize) -> usize {
    SLACK + (GROWING - 1) * len
}

/// Keys, eight bytes as eight bytes.
pub(super) fn announcements(len: usize) -> usize {
    SLACK + GROWING * len
}

/// Records of a member: a key, addresses, and libp2p's own tables around them. An address is
/// counted, an `Arc` and a slot of a list wide.
pub(super) fn providers(len: usize) -> usize {
    256 * 1024 + 256 * len
}

/// Addresses as text and as bytes.
pub(super) fn addresses(len: usize) -> usize {
    SLACK + 64 * len
}

/// An entry: an output is 47 bytes on the wire at least and 80 in memory; and, to verify it, the
/// signed bytes once more.
pub(super) fn entries(len: usize) -> usize {
    SLACK + (2 * GROWING + 2) * len
}

/// A ticket's text in three spellings, its bytes, addresses of one byte at the least.
pub(super) fn tickets(len: usize) -> usize {
    SLACK + (3 + 2 * GROWING) * len
}

/// A roster: changes and members, a few times as wide as on the wire with the maps around them,
/// and a state of all members for each branch that is open at once.
pub(super) fn roster(len: usize) -> usize {
    // The shortest member of a charter or a change, bytes; a member's record in a state.
    const MEMBER: usize = 78;
    const CHANGE: usize = 180;
    const RECORD: usize = 256;
    let branches = (len / CHANGE).min(quarry_trust::roster::MAX_FORKS + 1);
    4 * SLACK + 48 * len + branches * (len / MEMBER) * RECORD
}

/// A member's exchange: a roster, merged with ours, and departures; and our team file, written.
pub(super) fn exchange(len: usize) -> usize {
    roster(len + super::exchange::OURS) + 8 * len
}

/// A description or prediction: names of five bytes at the least, each a string and a digest.
pub(super) fn actions(len: usize) -> usize {
    2 * SLACK + 16 * GROWING * len
}

/// A frame of the local socket: bincode reserves a list as long as it claims to be, and stops
/// where all claims together pass [`MAX_FRAME`].
pub(super) fn ipc(len: usize) -> usize {
    SLACK + MAX_FRAME + (GROWING + 2) * len
}

/// A dep-info file: names of two bytes at the least, each a string.
pub(super) fn depinfo(len: usize) -> usize {
    // The limit on files holds line by line; a name is a string with a block of its own.
    const NAME: usize = 2 * 24 + 8;
    SLACK + 4 * len + 2 * (quarry_wrapper::compiler::depinfo::MAX_FILES + 1) * NAME
}

/// An observer's log: records of eight bytes at the least.
pub(super) fn observer(len: usize) -> usize {
    SLACK + 8 * GROWING * len
}

/// An OUT_DIR: one buffer, and the names of the directories that were made.
pub(super) fn outdir(len: usize) -> usize {
    SLACK + 256 * 1024 + 64 * len
}

/// A library looked into: imports of 24 bytes and needs of 16 at the least, each a slice; and, to
/// see where a program's environment goes, its functions.
pub(super) fn libraries(len: usize) -> usize {
    SLACK + 2 * GROWING * len
}

/// A message with every path replaced by a longer one.
pub(super) fn messages(len: usize) -> usize {
    SLACK + 8 * len
}

/// What is known of a file in a target directory.
pub(super) fn places(len: usize) -> usize {
    actions(len)
}

/// A request of the command line, in JSON.
pub(super) fn control(len: usize) -> usize {
    SLACK + 8 * len
}

/// The settings: the TOML reader's own tree, 1 MiB of text at the most.
pub(super) fn config(len: usize) -> usize {
    4 * SLACK + 512 * len
}

/// The team file and the invitations: their bytes, and the roster in them.
pub(super) fn team_file(len: usize) -> usize {
    roster(len) + GROWING * len
}

/// State files of the store, in JSON: counters, addresses, entries set aside.
pub(super) fn state(len: usize) -> usize {
    4 * SLACK + 64 * len
}

/// Rows of the database: what unpacks is bounded by the limit of what was packed.
pub(super) fn rows(len: usize) -> usize {
    SLACK + MAX_PREDICTION_BYTES + GROWING * len
}
