//! Keys: the builder's signing key, and the public names.
//!
//! A [`BuilderId`] is who signs entries; a [`PeerId`] is who speaks on the network. Both are
//! ed25519 public keys; they are two types and never mixed. Secret bytes are zeroized on drop
//! and never printed.

use crate::canon::Writer;
use crate::digest::thirty_two_bytes;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use std::fmt;
use zeroize::Zeroizing;

/// Length of a signature, in bytes.
pub const SIGNATURE_LEN: usize = 64;
/// Length of a secret or public key, in bytes.
pub const KEY_LEN: usize = 32;

/// An ed25519 signature over a domain tag and canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; SIGNATURE_LEN]);

macro_rules! public_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; KEY_LEN]);

        thirty_two_bytes!($name);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &self.to_hex()[..12])
            }
        }
    };
}

public_name!(
    /// A signing identity: the ed25519 public key under which entries and membership changes
    /// are signed.
    BuilderId
);
public_name!(
    /// A network identity: the ed25519 public key that a peer proves in the noise handshake.
    PeerId
);

impl BuilderId {
    /// Whether `signature` is this builder's over `domain` and `bytes` (strict: no malleable
    /// signature and no weak key passes).
    #[must_use]
    pub fn verifies(&self, domain: &str, bytes: &[u8], signature: &Signature) -> bool {
        self.signed(&signed_message(domain, bytes), signature)
    }

    /// Whether `signature` is this builder's over a DSSE payload (strict).
    #[must_use]
    pub fn verifies_dsse(&self, payload_type: &str, body: &[u8], signature: &Signature) -> bool {
        self.signed(&dsse_message(payload_type, body), signature)
    }

    fn signed(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

/// The pre-authentication encoding of DSSE v1 (secure-systems-lab/dsse, protocol.md). It begins
/// with `DSSE`, which as the length of a tag would be a gigabyte: it is no [`signed_message`].
fn dsse_message(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let mut message =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), body.len()).into_bytes();
    message.extend_from_slice(body);
    message
}

/// What is signed: the tag's length, the tag, the bytes.
fn signed_message(domain: &str, bytes: &[u8]) -> Vec<u8> {
    let mut w = Writer::default();
    w.text(domain);
    w.fixed(bytes);
    w.finish()
}

/// A builder's secret: signs, is zeroized on drop, is never shown.
pub struct BuilderKey(SigningKey);

impl fmt::Debug for BuilderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuilderKey(of {:?})", self.id())
    }
}

impl BuilderKey {
    /// A new random key, kept nowhere.
    ///
    /// # Errors
    /// What the system said where it gave no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        getrandom::fill(seed.as_mut())?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// The key made of 32 secret bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; KEY_LEN]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32 secret bytes, wiped when dropped: for what derives another identity from the same
    /// file format (the peer key). Never log them.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; KEY_LEN]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public name.
    #[must_use]
    pub fn id(&self) -> BuilderId {
        BuilderId(self.0.verifying_key().to_bytes())
    }

    /// Signs `bytes` under a domain tag.
    #[must_use]
    pub fn sign(&self, domain: &str, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(&signed_message(domain, bytes)).to_bytes())
    }

    /// Signs a DSSE payload, for consumers that know no domain tags: never bytes that somebody
    /// else chose.
    #[must_use]
    pub fn sign_dsse(&self, payload_type: &str, body: &[u8]) -> Signature {
        Signature(self.0.sign(&dsse_message(payload_type, body)).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_domain_bytes_and_key_only() {
        let key = BuilderKey::from_seed(&[7; 32]);
        let other = BuilderKey::from_seed(&[8; 32]);
        let signature = key.sign("a", b"bytes");
        assert!(key.id().verifies("a", b"bytes", &signature));
        assert!(!key.id().verifies("b", b"bytes", &signature));
        assert!(!key.id().verifies("a", b"byteS", &signature));
        assert!(!other.id().verifies("a", b"bytes", &signature));
        let mut bent = signature;
        bent.0[40] ^= 1;
        assert!(!key.id().verifies("a", b"bytes", &bent));
    }

    #[test]
    fn the_tag_cannot_borrow_from_the_bytes() {
        let key = BuilderKey::from_seed(&[7; 32]);
        let signature = key.sign("ab", b"c");
        assert!(!key.id().verifies("a", b"bc", &signature));
    }

    #[test]
    fn a_dsse_signature_is_over_the_encoding_of_the_specification_and_is_no_other() {
        // The specification's own example.
        let (kind, body) = ("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            dsse_message(kind, body),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        let key = BuilderKey::generate().unwrap();
        let signature = key.sign_dsse(kind, body);
        assert!(key.id().verifies_dsse(kind, body, &signature));
        assert!(!key.id().verifies_dsse("another", body, &signature));
        assert!(!key.id().verifies_dsse(kind, b"hello w0rld", &signature));
        assert!(!key.id().verifies(kind, body, &signature));
        assert!(!key.id().verifies_dsse(kind, body, &key.sign(kind, body)));
    }
}
