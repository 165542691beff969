//! BLAKE3 digests and domain tags.
//!
//! Objects are named by the plain BLAKE3 digest of their bytes. Everything else that is hashed
//! (a lookup key, an action key, a team id, a link of the chain) is hashed under a domain tag of
//! its own (BLAKE3's key derivation mode), so that bytes of one kind can never be taken for
//! another. Three types, never mixed: [`Digest`], [`LookupKey`], [`ActionKey`].

use std::fmt;

/// Length of every digest, in bytes.
pub const DIGEST_LEN: usize = 32;

/// A domain tag: the context under which bytes are hashed or signed. Each is used for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain(pub &'static str);

/// The canonical description of an action, hashed to its [`ActionKey`].
pub const ACTION: Domain = Domain("quarry 2026-11 action v1");
/// What is known of a compile before its inputs are, hashed to its [`LookupKey`].
pub const LOOKUP: Domain = Domain("quarry 2026-11 lookup v1");
/// A team's root key and name, hashed to its id.
pub const TEAM: Domain = Domain("quarry 2026-11 team v1");
/// A team and a project's name, hashed to the project's id.
pub const PROJECT: Domain = Domain("quarry 2026-11 project v1");
/// One signed change of the membership chain, hashed to the link its successor names.
pub const CHANGE: Domain = Domain("quarry 2026-11 change v1");

/// A BLAKE3 digest: the name of an object, or of any bytes hashed under a [`Domain`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_LEN]);

impl Digest {
    /// The digest of an object's bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of `bytes` under a domain tag.
    #[must_use]
    pub fn tagged(domain: Domain, bytes: &[u8]) -> Self {
        Self(blake3::derive_key(domain.0, bytes))
    }

    /// The digest of `bytes` keyed with a 32-byte secret: says nothing to who lacks the secret.
    #[must_use]
    pub fn keyed(secret: &[u8; DIGEST_LEN], bytes: &[u8]) -> Self {
        Self(*blake3::keyed_hash(secret, bytes).as_bytes())
    }

    /// Wraps 32 bytes that are a digest already (read from a store, a frame, a hasher).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; DIGEST_LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
        &self.0
    }

    /// The first eight bytes, little-endian: what filters and log lines use.
    #[must_use]
    pub fn short(&self) -> u64 {
        let mut head = [0; 8];
        head.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(head)
    }
}

/// What 32 bytes in a type of their own have in common: their canonical form and hexadecimal.
macro_rules! thirty_two_bytes {
    ($name:ident) => {
        impl $name {
            /// Lower-case hexadecimal, 64 characters.
            #[must_use]
            pub fn to_hex(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0)
            }

            /// Reads 64 hexadecimal characters, either case. `None` for anything else.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
                Some(Self(bytes.ok()?.try_into().ok()?))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl $crate::canon::Canonical for $name {
            fn write(&self, w: &mut $crate::canon::Writer) {
                w.fixed(&self.0);
            }

            fn read(r: &mut $crate::canon::Reader<'_>) -> Result<Self, $crate::canon::CanonError> {
                Ok(Self(r.array()?))
            }
        }
    };
}

pub(crate) use thirty_two_bytes;

thirty_two_bytes!(Digest);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex()[..16])
    }
}

/// A streaming hasher for objects: same result as [`Digest::of`] over all that was fed.
#[derive(Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// An empty hasher.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes fed so far.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident, $domain:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Digest);

        impl $name {
            /// Hashes canonical bytes to the key.
            #[must_use]
            pub fn of(canonical: &[u8]) -> Self {
                Self(Digest::tagged($domain, canonical))
            }

            /// Wraps a digest that is this key already (read from a store or a frame).
            #[must_use]
            pub const fn from_digest(digest: Digest) -> Self {
                Self(digest)
            }

            /// The digest underneath.
            #[must_use]
            pub const fn digest(&self) -> Digest {
                self.0
            }

            /// The 32 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
                self.0.as_bytes()
            }
        }



        crate::canonical!($name { 0 });

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }
    };
}

key_type!(
    /// The digest of a canonical action, all inputs included: the cache key.
    ActionKey,
    ACTION
);
key_type!(
    /// The digest of what is known before any input list is: compiler, normalised argv, root file.
    LookupKey,
    LOOKUP
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_separate_equal_bytes() {
        let plain = Digest::of(b"x");
        let action = ActionKey::of(b"x").digest();
        let lookup = LookupKey::of(b"x").digest();
        assert!(plain != action && action != lookup && plain != lookup);
    }

    #[test]
    fn hex_round_trips_and_refuses_the_rest() {
        let digest = Digest::of(b"object");
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        assert_eq!(Digest::from_hex(&digest.to_hex()[..63]), None);
        assert_eq!(Digest::from_hex("zz"), None);
    }

    #[test]
    fn streaming_equals_whole() {
        let mut hasher = Hasher::new();
        hasher.update(b"ob");
        hasher.update(b"ject");
        assert_eq!(hasher.finish(), Digest::of(b"object"));
    }
}
