//! A statement with a signature that holds.
//!
//! Statements enter as values or bytes; a [`Signed`] leaves, which only signing or verification
//! makes. Since each value has one canonical encoding, the value stands for the bytes that were
//! signed. Nothing unverified may ever become a [`Signed`].

use super::error::RosterError;
use crate::canon::{Canonical, Reader, Writer};
use crate::digest::{CHANGE, Digest};
use crate::key::{BuilderId, BuilderKey, Signature};
use std::ops::Deref;

/// What can be signed in a roster.
pub trait Statement: Canonical {
    /// The tag under which it is signed.
    const DOMAIN: &'static str;
    /// Its name in messages.
    const KIND: &'static str;

    /// The key under which it must be signed.
    fn signer(&self) -> BuilderId;
}

/// Implements [`Statement`]: its tag, its name, and the field that says who signs.
#[macro_export]
macro_rules! statement {
    ($type:ty, $domain:expr, $kind:literal, $signer:ident) => {
        impl $crate::roster::Statement for $type {
            const DOMAIN: &'static str = $domain;
            const KIND: &'static str = $kind;

            fn signer(&self) -> $crate::BuilderId {
                self.$signer
            }
        }
    };
}

/// A statement whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    value: T,
    signature: Signature,
}

impl<T> Deref for Signed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Statement> Signed<T> {
    /// Signs a statement.
    ///
    /// # Panics
    /// If `key` is not the signer that the statement names: a mistake of the caller.
    #[must_use]
    pub fn new(value: T, key: &BuilderKey) -> Self {
        assert_eq!(key.id(), value.signer(), "a statement is signed by whom it names");
        let signature = key.sign(T::DOMAIN, &value.to_canon());
        Self { value, signature }
    }

    /// The bytes that are stored and sent: the canonical bytes, then the signature.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write(&mut w);
        w.finish()
    }

    /// Takes stored or sent bytes apart and verifies them.
    ///
    /// # Errors
    /// [`RosterError::Form`], [`RosterError::Signature`].
    pub fn from_wire(wire: &[u8]) -> Result<Self, RosterError> {
        let mut r = Reader::new(wire);
        let signed = Self::read(&mut r, |_| false)?;
        r.finish()?;
        Ok(signed)
    }

    pub(super) fn write(&self, w: &mut Writer) {
        self.value.write(w);
        w.fixed(&self.signature.0);
    }

    /// Reads and verifies; what `known` recognises (statement and signature alike) was verified
    /// before and is not verified again.
    pub(super) fn read(
        r: &mut Reader<'_>,
        known: impl FnOnce(&Self) -> bool,
    ) -> Result<Self, RosterError> {
        let value = T::read(r)?;
        let signature = Signature(r.array()?);
        let signed = Self { value, signature };
        let holds =
            known(&signed) || signed.signer().verifies(T::DOMAIN, &signed.to_canon(), &signature);
        holds.then_some(signed).ok_or(RosterError::Signature(T::KIND))
    }

    /// The digest by which a successor names this statement: over the tag and the signed bytes,
    /// so that it does not depend on which of several valid signatures came along.
    pub(super) fn link(&self) -> Digest {
        let mut w = Writer::default();
        w.text(T::DOMAIN);
        self.value.write(&mut w);
        Digest::tagged(CHANGE, &w.finish())
    }
}
