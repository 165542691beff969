//! Rows of the journal: what goes in comes out, what is damaged or of another schema says nothing.

use super::*;

fn placed() -> Placed {
    Placed {
        how: How::Restored,
        builder: BuilderId([7; 32]),
        action: ActionKey::of(b"an action"),
        scope: Scope::Private,
        crate_name: "serde".into(),
        kind: Kind::Macro,
        dir: "/home/bob/project/target/debug/deps".into(),
        files: vec![("libserde.so".into(), Digest::of(b"bytes"))],
        at: 1_700_000_000_123,
    }
}

#[test]
fn a_row_gives_back_what_was_noted() {
    for (how, kind) in [
        (How::Restored, Kind::Library),
        (How::Compiled, Kind::Program),
        (How::Restored, Kind::ScriptRun),
        (How::Restored, Kind::BuildScript),
    ] {
        let noted = Placed {
            how,
            kind,
            ..placed()
        };
        assert_eq!(Placed::from_row(&noted.to_row()), Some(noted.clone()));
        assert_eq!(Placed::time_of(&noted.to_row()), noted.at);
    }
}

#[test]
fn a_row_that_is_cut_bent_or_of_a_later_schema_says_nothing() {
    let row = placed().to_row();
    for length in 0..row.len() {
        assert_eq!(Placed::from_row(&row[..length]), None, "cut to {length}");
    }
    let mut later = row.clone();
    later[8] = 2;
    assert_eq!(Placed::from_row(&later), None, "a later schema");
    let longer = [row.as_slice(), b"!"].concat();
    assert_eq!(Placed::from_row(&longer), None, "more than a row");
}

#[test]
fn a_name_that_climbs_is_not_read_back() {
    let climbing = Placed {
        files: vec![("../../bin/sh".into(), Digest::of(b"bytes"))],
        ..placed()
    };
    assert_eq!(Placed::from_row(&climbing.to_row()), None);
}

#[test]
fn the_same_entry_in_the_same_directory_is_one_row() {
    let later = Placed {
        at: 9,
        how: How::Compiled,
        ..placed()
    };
    assert_eq!(later.key(), placed().key());
    let elsewhere = Placed {
        dir: "/tmp/target/debug/deps".into(),
        ..placed()
    };
    assert_ne!(elsewhere.key(), placed().key());
    assert!(
        placed().key().starts_with(&[7; 32]),
        "neighbours are one builder's"
    );
}
