//! Verdicts on fabricated homes.

use super::*;
use std::fs::File;

struct Bench {
    dir: tempfile::TempDir,
    look: Look,
}

/// A machine where all is well: a home of ours, both programs, a cargo that uses qwrap.
fn a_well_kept_machine() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let home = Home::at(at("home")).unwrap();
    home.create().unwrap();
    for folder in ["bin", "cargo", "work"] {
        fs::create_dir(at(folder)).unwrap();
    }
    fs::write(at("bin/qnode"), "").unwrap();
    let wrap = at("bin/qwrap");
    fs::write(
        &wrap,
        format!("#!/bin/sh\necho qwrap {}\n", env!("CARGO_PKG_VERSION")),
    )
    .unwrap();
    fs::set_permissions(&wrap, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("[build]\nrustc-wrapper = {:?}\n", wrap.to_str().unwrap());
    fs::write(at("cargo/config.toml"), config).unwrap();
    let look = Look {
        home: Some(home),
        no_home: None,
        exe: Some(at("bin/qnode")),
        env: BTreeMap::new(),
        cargo_home: Some(at("cargo")),
        cwd: Some(at("work")),
    };
    Bench { dir, look }
}

impl Bench {
    fn wrong(&self) -> Vec<(&'static str, String)> {
        let wrong = self.look.findings().into_iter().filter(|f| !f.ok);
        wrong
            .inspect(|f| assert!(!f.mend.is_empty(), "{f:?}"))
            .map(|f| (f.name, f.detail))
            .collect()
    }

    fn only(&self, name: &str) -> String {
        let wrong = self.wrong();
        assert!(
            wrong.len() == 1 && wrong[0].0 == name,
            "{name} expected, found {wrong:?}"
        );
        wrong[0].1.clone()
    }

    fn home(&self) -> &Home {
        self.look.home.as_ref().unwrap()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.look.env.insert(name.to_owned(), value.to_owned());
    }
}

#[test]
fn all_is_well_on_a_well_kept_machine() {
    assert_eq!(a_well_kept_machine().wrong(), []);
}

#[test]
fn a_home_that_others_may_enter() {
    let bench = a_well_kept_machine();
    fs::set_permissions(bench.home().path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(bench.only("home").contains("mode 755"));
}

#[test]
fn no_home_at_all() {
    let mut bench = a_well_kept_machine();
    bench.look.home = None;
    bench.look.no_home = Some("neither is set".to_owned());
    assert_eq!(bench.only("home"), "neither is set");
}

#[test]
fn a_config_with_an_unknown_key() {
    let bench = a_well_kept_machine();
    fs::write(bench.home().config(), "\nlistne = []\n").unwrap();
    let detail = bench.only("config");
    assert!(
        detail.contains("line 2") && detail.contains("listne"),
        "{detail}"
    );
}

#[test]
fn a_failed_start_with_its_reason() {
    let bench = a_well_kept_machine();
    File::create(bench.home().start_failed()).unwrap();
    let log = "t ERROR a: first\nt ERROR a: the port is taken\nt INFO a: bye\n";
    fs::write(bench.home().log(), log).unwrap();
    let detail = bench.only("last-trouble");
    assert!(
        detail.contains("a start failed") && detail.contains("the port is taken"),
        "{detail}"
    );
    // A node that runs by now makes an old failure history.
    let node = File::create(bench.home().node_lock()).unwrap();
    rustix::fs::flock(&node, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(bench.wrong(), []);
}

#[test]
fn a_node_that_did_not_answer() {
    let bench = a_well_kept_machine();
    let stamp = File::create(bench.home().path().join("node.stuck")).unwrap();
    assert!(bench.only("last-trouble").contains("did not answer"));
    let long_ago = std::time::SystemTime::now() - START_PAUSE * 3;
    stamp.set_modified(long_ago).unwrap();
    assert_eq!(bench.wrong(), []);
}

#[test]
fn programs_that_do_not_fit_together() {
    let bench = a_well_kept_machine();
    let wrap = bench.dir.path().join("bin/qwrap");
    fs::write(&wrap, "#!/bin/sh\necho qwrap 0.0.1\n").unwrap();
    assert!(bench.only("programs").contains("is version 0.0.1"));
    fs::remove_file(&wrap).unwrap();
    // Then cargo, too, names what is not there.
    let wrong = bench.wrong();
    assert_eq!(
        wrong.iter().map(|w| w.0).collect::<Vec<_>>(),
        ["programs", "wrapper"]
    );
    assert!(wrong[1].1.contains("every build fails"), "{wrong:?}");
}

#[test]
fn a_cargo_that_does_not_use_qwrap() {
    let mut bench = a_well_kept_machine();
    let config = bench.dir.path().join("cargo/config.toml");
    fs::write(&config, "[build]\nrustc-wrapper = \"/usr/bin/sccache\"\n").unwrap();
    assert!(bench.only("wrapper").contains("sccache"));
    fs::write(&config, "[build\n").unwrap();
    assert!(bench.only("wrapper").contains("does not parse"));
    fs::remove_file(&config).unwrap();
    assert!(bench.only("wrapper").contains("no compiler wrapper"));
    // The environment wins over every file, and a bare name is looked for in PATH.
    let bin = bench.dir.path().join("bin");
    bench.set("PATH", bin.to_str().unwrap());
    bench.set("RUSTC_WRAPPER", "qwrap");
    assert_eq!(bench.wrong(), []);
    bench.set("RUSTC_WRAPPER", "sccache");
    assert!(
        bench
            .only("wrapper")
            .contains("RUSTC_WRAPPER in the environment")
    );
}

#[test]
fn the_nearest_config_wins() {
    let bench = a_well_kept_machine();
    let near = bench.dir.path().join("work/.cargo");
    fs::create_dir(&near).unwrap();
    fs::write(
        near.join("config.toml"),
        "[build]\nrustc-wrapper = \"ccache\"\n",
    )
    .unwrap();
    assert!(bench.only("wrapper").contains("ccache"));
}

#[test]
fn variables_that_keep_builds_from_sharing() {
    let mut bench = a_well_kept_machine();
    bench.set("RUSTFLAGS", "-C debuginfo=0");
    bench.set("CARGO_INCREMENTAL", "1");
    assert_eq!(bench.wrong(), [], "a hint is not wrong");
    assert!(
        bench
            .look
            .findings()
            .iter()
            .any(|f| f.detail.contains("-C debuginfo=0"))
    );
    bench.set("LD_PRELOAD", "/x.so");
    assert!(bench.only("bypass").contains("LD_PRELOAD"));
    bench.set("LD_PRELOAD", "");
    bench.set("QUARRY", "off");
    bench.only("switched-off");
}

#[test]
fn a_long_socket_path_matters_where_it_cannot_be_shortened() {
    let home = Home::at(PathBuf::from("/h".repeat(60))).unwrap();
    assert!(socket_fits(&home, true).ok);
    assert!(!socket_fits(&home, false).ok);
}
