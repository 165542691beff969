//! What the store's tests put into it: signed entries over real keys, with their objects.
//!
//! Every byte is derived from a number, so that a parent test knows what its child wrote. Must
//! never happen here: randomness, or an entry that skipped verification.

use super::{Offer, Pinned, Stage, Store, StoreError};
use quarry_trust::entry::{Output, OutputKind, OutputName};
use quarry_trust::verify::{Source, Verifier};
use quarry_trust::{ActionKey, BuilderKey, Digest, Entry, LookupKey, ObjectRef, Scope, Verified};
use std::io::{Read, Write};

/// Largest object that tests stage.
pub(super) const LIMIT: u64 = 64 << 20;

/// Bytes that do not compress, the same for the same seed.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut block = Digest::of(&seed.to_le_bytes());
    while out.len() < len {
        out.extend_from_slice(block.as_bytes());
        block = Digest::of(block.as_bytes());
    }
    out.truncate(len);
    out
}

/// The key of the builder of this number.
pub(super) fn builder(number: u8) -> BuilderKey {
    BuilderKey::from_seed(&[number; 32])
}

pub(super) fn action(number: u64) -> ActionKey {
    ActionKey::of(&number.to_le_bytes())
}

pub(super) fn lookup(number: u64) -> LookupKey {
    LookupKey::of(&number.to_le_bytes())
}

/// One compile, of which tests vary what they are about.
#[derive(Clone)]
pub(super) struct Compile {
    pub(super) builder: u8,
    pub(super) action: u64,
    pub(super) lookup: u64,
    pub(super) width: Option<u16>,
    pub(super) crate_name: &'static str,
    pub(super) prediction: Vec<u8>,
    pub(super) output: Vec<u8>,
}

impl Compile {
    /// A compile with its own action, lookup key, prediction and an output of `len` bytes.
    pub(super) fn new(number: u64, len: usize) -> Self {
        Self {
            builder: 1,
            action: number,
            lookup: number,
            width: None,
            crate_name: "serde",
            prediction: format!("src/lib.rs src/of_{number}.rs").into_bytes(),
            output: noise(number, len),
        }
    }

    fn description(&self) -> Vec<u8> {
        format!("description of action {}", self.action).into_bytes()
    }

    /// The signed entry, verified as the node verifies its own.
    pub(super) fn entry(&self) -> (Verified<Entry>, Offer) {
        let key = builder(self.builder);
        let object = |bytes: &[u8]| ObjectRef {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        let entry = Entry {
            scope: Scope::Private,
            builder: key.id(),
            lookup: lookup(self.lookup),
            action: action(self.action),
            description: object(&self.description()),
            crate_name: self.crate_name.to_owned(),
            outputs: vec![Output {
                name: OutputName::new("libserde.rlib").unwrap(),
                kind: OutputKind::Plain,
                executable: false,
                object: object(&self.output),
            }],
            stdout: object(b""),
            stderr: object(b""),
            width: self.width,
            duration_ms: 12,
            created: 1_700_000_000,
        };
        let signed = entry.sign(&key);
        let verifier = Verifier {
            own: key.id(),
            roster: None,
            now: 1_700_000_000,
        };
        let verified = verifier.entry(&signed, Source::Store, None, None).unwrap();
        let prediction = self.prediction.clone();
        (verified, Offer { prediction, signed })
    }

    /// The output as the entry names it.
    pub(super) fn output_ref(&self) -> ObjectRef {
        self.entry().0.outputs[0].object
    }

    /// Stages the objects and puts the entry, as the worker does after a compile.
    pub(super) fn store(&self, store: &dyn Store) -> Result<(), StoreError> {
        let (entry, offer) = self.entry();
        let _output = stage(store, &self.output)?;
        let _description = stage(store, &self.description())?;
        store.put(&entry, &offer)
    }

    /// Whether a restore would find everything, byte for byte.
    pub(super) fn restores(&self, store: &dyn Store) -> bool {
        let (_, offer) = self.entry();
        let offers = store.entries(&action(self.action)).unwrap();
        let output = ObjectRef {
            digest: Digest::of(&self.output),
            size: self.output.len() as u64,
        };
        offers.iter().any(|found| found.signed == offer.signed)
            && read(store, &output).as_deref() == Some(&self.output)
    }
}

/// Stages bytes in two writes, as they come from a pipe.
pub(super) fn stage(store: &dyn Store, bytes: &[u8]) -> Result<Pinned, StoreError> {
    let mut stage: Box<dyn Stage> = store.stage(LIMIT)?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    for part in [first, second] {
        stage.write_all(part).map_err(StoreError::of_stage)?;
    }
    stage.commit()
}

/// An object's bytes, checked as a restore checks them.
pub(super) fn read(store: &dyn Store, object: &ObjectRef) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut from = store.object(object).unwrap()?.reader(object.size);
    from.read_to_end(&mut bytes).ok()?;
    (Digest::of(&bytes) == object.digest).then_some(bytes)
}
