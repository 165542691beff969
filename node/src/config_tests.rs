//! The settings as people write them, rightly and wrongly.

use super::*;

fn home_with(text: &str) -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().to_owned()).unwrap();
    std::fs::write(home.config(), text).unwrap();
    (dir, home)
}

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let (_dir, home) = home_with(text);
    Config::load_with(&home, |name| {
        env.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| OsString::from(v))
    })
}

#[test]
fn without_a_file_the_defaults_hold() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("none")).unwrap();
    assert_eq!(
        Config::load_with(&home, |_| None).unwrap(),
        Config::default()
    );
}

#[test]
fn a_whole_file_is_read() {
    let text = "listen = [\"/ip4/127.0.0.1/tcp/0\"]\ndoor_listen = []\nmdns = \"off\"\n\
                store_limit = \"500 MB\"\npeers = [\"/dns4/desk/tcp/4746\"]\n";
    let config = load(text, &[]).unwrap();
    assert_eq!(config.listen, ["/ip4/127.0.0.1/tcp/0"]);
    assert_eq!(config.door_listen, [""; 0]);
    assert!(!config.mdns);
    assert_eq!(config.store_limit, 500_000_000);
    assert_eq!(config.peers, ["/dns4/desk/tcp/4746"]);
}

#[test]
fn what_settles_when_is_a_span_or_off() {
    let after = |text: &str, env: &[(&str, &str)]| load(text, env).map(|c| c.settle_after);
    assert_eq!(after("", &[]).unwrap(), Some(SETTLE_AFTER));
    assert_eq!(after("settle_after = \"12h\"", &[]).unwrap(), Some(43_200));
    assert_eq!(after("settle_after = \"off\"", &[]).unwrap(), None);
    let env = [("QUARRY_SETTLE_AFTER", "2d")];
    assert_eq!(
        after("settle_after = \"off\"", &env).unwrap(),
        Some(172_800)
    );
    for wrong in ["settle_after = 7", "settle_after = \"soon\""] {
        let error = after(wrong, &[]).unwrap_err().to_string();
        assert!(error.contains("`settle_after`"), "{error}");
    }
}

#[test]
fn vouched_macros_are_crate_names() {
    let file = "pure_macros = [\"my-macros\"]";
    assert_eq!(load(file, &[]).unwrap().pure_macros, ["my-macros"]);
    let env = [("QUARRY_PURE_MACROS", "one, two_too")];
    assert_eq!(load(file, &env).unwrap().pure_macros, ["one", "two_too"]);
    let wrong = load("", &[("QUARRY_PURE_MACROS", "no/path")]).unwrap_err();
    assert!(wrong.to_string().contains("QUARRY_PURE_MACROS"), "{wrong}");
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = load("mdns = true\n\nlistne = []\n", &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 3") && error.contains("`listne`"),
        "{error}"
    );
    assert!(error.contains("config.toml"), "{error}");
}

#[test]
fn a_wrong_value_is_named_with_its_key_and_line() {
    for (text, line, key) in [
        ("\nlisten = [\"nonsense\"]", "line 2", "`listen`"),
        ("listen = \"/ip4/127.0.0.1/tcp/0\"", "line 1", "`listen`"),
        ("mdns = \"maybe\"", "line 1", "`mdns`"),
        ("\ntrust = \"own\"", "line 2", "`[trust]`"),
        ("[trust]\n\nagree = 0", "line 3", "`agree`"),
        ("[trust]\nagree = 2\nbuilder = []", "line 3", "`builder`"),
        ("[trust]\nbuilders = 3", "line 2", "sequence"),
        ("[trust]\n[trust.executing]\nagree = 9", "line 3", "`agree`"),
        ("[trust]\nexecuting = 9", "line 2", "`[trust.executing]`"),
        ("[[trust.project]]\nroot = \"w\"", "line 2", "`root`"),
        (
            "mdns = true\n[[trust.project]]\nagree = 2",
            "line 2",
            "`root`",
        ),
        ("mdns = true\nstore_limit = -1", "line 2", "`store_limit`"),
        ("store_limit = \"20 parsecs\"", "line 1", "`store_limit`"),
        ("pure_macros = [\"a b\"]", "line 1", "`pure_macros`"),
        ("pure_macros = \"mine\"", "line 1", "`pure_macros`"),
        ("verify = \"all\"", "line 1", "`verify`"),
        ("verify = true", "line 1", "`verify`"),
        ("verify = 101", "line 1", "`verify`"),
    ] {
        let error = load(text, &[]).unwrap_err().to_string();
        assert!(
            error.contains(line) && error.contains(key),
            "{text:?} gave {error}"
        );
    }
}

#[test]
fn text_that_is_no_toml_is_named_with_its_line() {
    let error = load("mdns = true\nlisten = [\n", &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("line ") && !error.contains('\n'), "{error}");
}

#[test]
fn a_variable_overrides_the_file() {
    let env = [
        ("QUARRY_LISTEN", "/ip4/127.0.0.1/tcp/0, /ip6/::1/tcp/0"),
        ("QUARRY_DOOR_LISTEN", "off"),
        ("QUARRY_MDNS", "off"),
        ("QUARRY_STORE_LIMIT", "1GiB"),
        ("QUARRY_PEERS", "/ip4/10.0.0.1/tcp/4746"),
    ];
    let config = load("mdns = true\nlisten = []\nstore_limit = 7", &env).unwrap();
    assert_eq!(config.listen, ["/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"]);
    assert!(config.door_listen.is_empty() && !config.mdns);
    assert_eq!(config.store_limit, 1 << 30);
    assert_eq!(config.peers, ["/ip4/10.0.0.1/tcp/4746"]);
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value) in [
        ("QUARRY_MDNS", "perhaps"),
        ("QUARRY_LISTEN", "desk:4746"),
        ("QUARRY_STORE_LIMIT", "big"),
    ] {
        let error = load("", &[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
}

#[test]
fn a_file_that_is_too_large_is_not_taken() {
    let error = load(&"#".repeat((1 << 20) + 1), &[]).unwrap_err();
    assert!(matches!(error, ConfigError::Large(_)));
    load(&"#".repeat(1 << 20), &[]).unwrap();
}

#[test]
fn sizes_are_read_as_people_write_them() {
    for (text, bytes) in [
        ("0", 0),
        ("1234", 1234),
        ("20GiB", 20 << 30),
        ("20 gib", 20 << 30),
        ("500 MB", 500_000_000),
        ("1.5 GiB", 3 << 29),
        ("2T", 2 << 40),
        ("64K", 65536),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
    for text in [
        "",
        "GiB",
        "-1",
        "1.2.3",
        "1e9",
        "20 GiBs",
        "99999999999TiB",
        "1..",
        ".",
    ] {
        assert!(parse_size(text).is_err(), "{text}");
    }
}

#[test]
fn a_file_that_is_none_is_refused_and_never_waited_for() {
    for make in [
        (|path: &Path| std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap()) as fn(&Path),
        |path| std::fs::create_dir(path).unwrap(),
        |path| {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        },
    ] {
        let (_dir, home) = home_with("");
        std::fs::remove_file(home.config()).unwrap();
        make(&home.config());
        let refused = Config::load_with(&home, |_| None).unwrap_err();
        assert!(refused.to_string().contains("config.toml"), "{refused}");
    }
}
