//! How the report on a builder reads.

use super::*;
use crate::control::blast::BlastCrate;

fn report() -> BlastReport {
    let file = |path: &str, state: &str, agreed| BlastFile {
        path: path.into(),
        state: state.into(),
        agreed,
        ..BlastFile::default()
    };
    BlastReport {
        builder: "ab".into(),
        builder_name: Some("mallory".into()),
        standing: "revoked".into(),
        built_from: 1,
        crates: vec![BlastCrate {
            crate_name: "derive".into(),
            kind: "macro".into(),
            executes: true,
            how: "restored".into(),
            ..BlastCrate::default()
        }],
        projects: vec!["/home/bob/ws".into()],
        files: vec![
            file(
                "/home/bob/ws/target/debug/deps/libderive.so",
                "holds",
                false,
            ),
            file(
                "/home/bob/ws/target/debug/deps/libold.rlib",
                "changed",
                false,
            ),
            file("/home/bob/ws/target/debug/deps/libsame.rlib", "holds", true),
        ],
        members: vec![
            BlastMember {
                name: "carol".into(),
                asked: true,
                executes: vec!["derive".into()],
                ..BlastMember::default()
            },
            BlastMember {
                name: "dave".into(),
                ..BlastMember::default()
            },
        ],
        ..BlastReport::default()
    }
}

#[test]
fn files_that_hold_it_are_named_and_others_are_not() {
    let text = blast_text(&report());
    assert!(text.contains("mallory (ab): revoked"), "{text}");
    assert!(text.contains("\n  /home/bob/ws/target/debug/deps/libderive.so"));
    assert!(
        !text.contains("libold.rlib") && !text.contains("libsame.rlib"),
        "{text}"
    );
    assert!(text.contains("1 more hold bytes that others"), "{text}");
    assert!(text.contains("1 crate of it may have run"), "{text}");
}

#[test]
fn who_restored_what_runs_is_named_and_who_is_away_as_not_asked() {
    let text = blast_text(&report());
    let line = |name: &str| {
        text.lines()
            .find(|l| l.starts_with(name))
            .unwrap()
            .to_owned()
    };
    assert!(line("carol").contains("derive"), "{text}");
    assert!(line("dave").contains("not asked"), "{text}");
}

#[test]
fn a_name_from_elsewhere_does_not_write_on_the_terminal() {
    let mut bad = report();
    bad.members[0].name = "ca\u{1b}[2Jrol".into();
    bad.projects[0] = "/home/\u{1b}]0;x\u{7}".into();
    assert!(!blast_text(&bad).contains('\u{1b}'));
}
