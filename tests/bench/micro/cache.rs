//! The pipeline's cache over a store on this disk: what the node does, without a team's rules.

use quarry_node::store::{self, Offer, RedbStore, Store};
use quarry_trust::verify::{Source, Verifier};
use quarry_trust::{
    ActionKey, BuilderKey, Entry, LookupKey, ObjectRef, Output, OutputName, Scope, Verified,
};
use quarry_wrapper::pipeline::{
    Cache, Candidate, Object, Staged, StagedOutput, Tier, UnsignedEntry,
};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

pub struct StoreCache {
    pub store: RedbStore,
    key: BuilderKey,
}

impl StoreCache {
    pub fn new(dir: &Path) -> Self {
        Self {
            store: RedbStore::open(dir).unwrap().0,
            key: BuilderKey::from_seed(&[7; 32]),
        }
    }

    fn candidates(&self, offers: Vec<Offer>) -> Vec<Candidate> {
        let verifier = Verifier {
            own: self.key.id(),
            roster: None,
            now: 0,
        };
        let candidate = |Offer { prediction, signed }| Candidate {
            entry: verifier.entry(&signed, Source::Store, None, None).unwrap(),
            prediction,
            signed,
            from: None,
        };
        offers.into_iter().map(candidate).collect()
    }
}

fn staged(pinned: store::Pinned) -> Staged {
    Staged {
        object: pinned.object,
        pin: Box::new(pinned),
    }
}

impl Cache for StoreCache {
    fn predict(&self, lookup: &LookupKey, tier: Tier) -> Vec<Candidate> {
        match tier {
            Tier::Local => self.candidates(self.store.offers(lookup, 16).unwrap()),
            Tier::Peers => Vec::new(),
        }
    }

    fn get(&self, action: &ActionKey, tier: Tier) -> Vec<Candidate> {
        match tier {
            Tier::Local => self.candidates(self.store.entries(action).unwrap()),
            Tier::Peers => Vec::new(),
        }
    }

    fn judge(&self, fit: &[&Candidate], _: bool) -> Vec<usize> {
        (0..fit.len()).collect()
    }

    fn bring(&self, _: &Candidate, _: &[&Candidate]) -> bool {
        true
    }

    fn open_object(&self, object: &ObjectRef) -> Option<Object> {
        match self.store.object(object).unwrap()? {
            store::Object::Bytes(bytes) => Some(Object::Bytes(bytes)),
            store::Object::File(file) => Some(Object::File(file)),
            store::Object::Settled(_) => None,
        }
    }

    fn refused(&self, _: &Candidate, why: &'static str) {
        panic!("{why}");
    }

    fn stands(&self, _: &Verified<Entry>) -> bool {
        true
    }

    fn damaged(&self, _: &Verified<Entry>) {
        panic!("an object is damaged");
    }

    fn stage_bytes(&self, bytes: &[u8]) -> io::Result<Staged> {
        let mut stage = self.store.stage(bytes.len() as u64).unwrap();
        stage.write_all(bytes)?;
        Ok(staged(stage.commit().unwrap()))
    }

    fn stage_file(&self, file: &File) -> io::Result<Staged> {
        Ok(staged(self.store.stage_file(file, 1 << 30).unwrap()))
    }

    fn put(&self, unsigned: UnsignedEntry) -> io::Result<Verified<Entry>> {
        let output = |o: &StagedOutput| Output {
            name: OutputName::new(o.name.clone()).unwrap(),
            kind: o.kind,
            executable: o.executable,
            object: o.staged.object,
        };
        let entry = Entry {
            scope: Scope::Private,
            builder: self.key.id(),
            lookup: unsigned.lookup,
            action: unsigned.action,
            description: unsigned.description.object,
            crate_name: unsigned.crate_name,
            outputs: unsigned.outputs.iter().map(output).collect(),
            stdout: unsigned.stdout.object,
            stderr: unsigned.stderr.object,
            width: unsigned.width,
            duration_ms: unsigned.duration_ms,
            created: 0,
        };
        let offer = Offer {
            prediction: unsigned.prediction,
            signed: entry.sign(&self.key),
        };
        let mut all = self.candidates(vec![offer.clone()]);
        let verified = all.remove(0).entry;
        self.store.put(&verified, &offer).unwrap();
        Ok(verified)
    }

    fn value_secret(&self) -> [u8; 32] {
        [7; 32]
    }
}
