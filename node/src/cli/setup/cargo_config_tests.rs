//! Other people's config files, edited and taken back.

use super::*;

const QWRAP: &str = "/opt/bin/qwrap";

fn at() -> PathBuf {
    PathBuf::from("/h/.cargo/config.toml")
}

fn there_and_back(text: &str) -> String {
    let edited = add(&at(), text, QWRAP).unwrap();
    assert_eq!(
        wrapper(&at(), &edited).unwrap().as_deref(),
        Some(QWRAP),
        "{edited}"
    );
    assert_eq!(
        remove(&at(), &edited).unwrap().as_deref(),
        Some(text),
        "{edited}"
    );
    edited
}

#[test]
fn an_empty_config_gets_a_table_and_loses_it() {
    let edited = there_and_back("");
    assert_eq!(
        edited,
        format!("[build] {MARK}\nrustc-wrapper = \"{QWRAP}\" {MARK}\n")
    );
}

#[test]
fn comments_and_settings_stay_where_they_are() {
    let text = "# mine\n[build] # fast\njobs = 2 # two\n\n[net]\ngit-fetch-with-cli = true\n";
    let edited = there_and_back(text);
    assert!(
        edited.starts_with("# mine\n[build] # fast\nrustc-wrapper"),
        "{edited}"
    );
    there_and_back("[net]\noffline = true\n");
    there_and_back("[ build ]\njobs = 1\n");
    there_and_back("build.jobs = 2\n[net]\noffline = true\n");
    there_and_back("[build]\n");
}

#[test]
fn a_header_inside_a_string_is_none() {
    there_and_back("[env]\nX = '''\n[build]\n'''\n");
}

#[test]
fn an_inline_table_is_left_to_its_owner() {
    let error = add(&at(), "build = { jobs = 2 }\n", QWRAP).unwrap_err();
    assert!(matches!(error, EditError::ByHand { .. }), "{error}");
    assert!(error.to_string().contains(QWRAP));
}

#[test]
fn what_was_added_below_our_header_stays_after_undo() {
    let edited = add(&at(), "", QWRAP).unwrap() + "jobs = 3\n";
    assert_eq!(
        remove(&at(), &edited).unwrap().as_deref(),
        Some("[build]\njobs = 3\n")
    );
}

#[test]
fn a_line_by_another_hand_is_not_taken_back() {
    let text = format!("[build]\nrustc-wrapper = \"{QWRAP}\"\n");
    assert!(matches!(remove(&at(), &text), Err(EditError::NotMarked(_))));
    let other = "[build]\nrustc-wrapper = \"sccache\"\n";
    assert!(remove(&at(), other).unwrap().is_none());
    assert_eq!(wrapper(&at(), other).unwrap().as_deref(), Some("sccache"));
}

#[test]
fn a_config_that_does_not_parse_is_reported() {
    assert!(matches!(
        add(&at(), "[build\n", QWRAP),
        Err(EditError::Syntax { .. })
    ));
}

#[test]
fn a_path_with_quotes_is_quoted() {
    let edited = add(&at(), "", "/o\"dd \\ path/qwrap").unwrap();
    assert_eq!(
        wrapper(&at(), &edited).unwrap().as_deref(),
        Some("/o\"dd \\ path/qwrap")
    );
}

#[test]
fn writing_keeps_the_mode_and_follows_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (
        dir.path().join("dotfiles.toml"),
        dir.path().join("config.toml"),
    );
    fs::write(&real, "# mine\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    write(&link, "# yours\n").unwrap();
    assert_eq!(fs::read_to_string(&real).unwrap(), "# yours\n");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        fs::metadata(&real).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        2,
        "nothing is left beside it"
    );
}

#[test]
fn the_older_name_wins_where_it_exists() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(file_in(dir.path()), dir.path().join("config.toml"));
    fs::write(dir.path().join("config"), "").unwrap();
    assert_eq!(file_in(dir.path()), dir.path().join("config"));
}
