//! What happens between gc's look and gc's hand: told step by step, without a race.

use super::super::super::fixtures::{Compile, action, noise, stage};
use super::super::super::{GcReport, Store};
use super::super::RedbStore;
use std::collections::HashSet;

const LARGE: usize = 100_000;

#[test]
fn an_object_that_was_named_since_the_survey_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    let inner = &store.inner;
    let compile = Compile::new(1, LARGE);
    drop(stage(&store, &compile.output).unwrap());
    drop(stage(&store, &noise(2, LARGE)).unwrap());
    let report = inner
        .while_watching(|| {
            let survey = inner.survey(None)?;
            assert_eq!(survey.objects.len(), 2, "nobody names them yet");
            compile.store(&store)?;
            let mut report = GcReport::default();
            inner.collect(&survey.unnamed_without(&HashSet::new()), &mut report)?;
            Ok(report)
        })
        .unwrap();
    assert_eq!(report.objects, 1, "the other one goes");
    assert!(compile.restores(&store));
    assert!(store.fsck(false).unwrap().is_sound());
}

#[test]
fn an_entry_that_was_used_since_the_survey_is_not_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    let inner = &store.inner;
    (1..=2).for_each(|number| Compile::new(number, LARGE).store(&store).unwrap());
    let gone = inner
        .while_watching(|| {
            let mut survey = inner.survey(None)?;
            let victims = survey.over(0, |_| false);
            assert_eq!(victims.len(), 2);
            store.entries(&action(1))?;
            inner.evict(&survey, &victims, true)
        })
        .unwrap();
    assert_eq!(gone.len(), 1);
    assert!(Compile::new(1, LARGE).restores(&store));
    assert!(!Compile::new(2, LARGE).restores(&store));
}
