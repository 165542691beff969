//! Which logs tell of known programs alone.

use super::*;
use crate::observer::log::Outcome;
use std::fs;

/// A toolchain, qwrap, another program, and a script's environment.
struct Ground {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for made in ["sysroot/bin", "bin", "ws/t/debug/build/p-1/out"] {
            fs::create_dir_all(dir.path().join(made)).unwrap();
        }
        for made in ["sysroot/bin/rustc", "bin/qwrap", "bin/tool"] {
            fs::copy("/bin/true", dir.path().join(made)).unwrap();
        }
        let mut ground = Self {
            dir,
            env: Vec::new(),
        };
        ground.set("PATH", &ground.path("bin"));
        ground.set("RUSTC_WRAPPER", "qwrap");
        ground
    }

    fn path(&self, below: &str) -> String {
        self.dir.path().join(below).to_str().unwrap().to_owned()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    fn with<T>(&self, work: impl FnOnce(Programs<'_>) -> T) -> T {
        let inv = Invocation {
            argv: vec!["script".into()],
            env: self.env.iter().map(|(n, v)| (n.into(), v.into())).collect(),
            cwd: self.dir.path().join("ws"),
            started: Vec::new(),
        };
        let above = self.dir.path().join("ws/t/debug/build/p-1");
        let sysroot = self.dir.path().join("sysroot");
        let roots = Roots::of_script(&inv, &above, None, &sysroot, "");
        let wrapper = self.dir.path().join("bin/qwrap");
        work(Programs::new(&inv, &roots, Some(&wrapper)))
    }

    /// What is nowhere, of a run in which these were started, began, and were given.
    fn understood(&self, told: &[(Kind, &str)]) -> Option<Vec<String>> {
        let all = [(Kind::Entered, "/the/script")].into_iter();
        let records: Vec<Record<'_>> = all
            .chain(told.iter().copied())
            .map(|(kind, text)| Record {
                kind,
                outcome: Outcome::Done,
                object: Path::new(""),
                text: OsStr::new(text),
            })
            .collect();
        let names = self.with(|p| p.understood(&records))?;
        Some(names.into_iter().collect())
    }
}

const NOTHING: Option<Vec<String>> = Some(Vec::new());

#[test]
fn the_compiler_and_qwrap_are_known_and_nothing_else_is() {
    let g = Ground::new();
    let (rustc, qwrap, tool) = (
        g.path("sysroot/bin/rustc"),
        g.path("bin/qwrap"),
        g.path("bin/tool"),
    );
    let started =
        |name: &str, began: &str| g.understood(&[(Kind::Spawn, name), (Kind::Entered, began)]);
    assert_eq!(g.understood(&[]), NOTHING);
    assert_eq!(started(&rustc, &rustc), NOTHING);
    assert_eq!(started(&qwrap, &qwrap), NOTHING);
    assert_eq!(started("qwrap", &qwrap), NOTHING, "by PATH, as cargo does");
    for (name, began) in [
        (tool.as_str(), tool.as_str()),
        ("tool", &tool),
        ("rustc", &rustc),
        ("../sysroot/bin/rustc", &rustc),
        (&rustc, &tool),
        ("", &rustc),
        ("sh", &rustc),
    ] {
        assert_eq!(started(name, began), None, "{name} {began}");
    }
}

#[test]
fn a_name_is_nowhere_where_no_directory_of_path_has_it() {
    let mut g = Ground::new();
    let absent = |g: &Ground| g.understood(&[(Kind::Spawn, "emcc"), (Kind::NotStarted, "")]);
    assert_eq!(absent(&g), Some(vec!["emcc".to_owned()]));
    // What is there and cannot be run is there all the same.
    fs::write(g.path("bin/emcc"), "").unwrap();
    assert_eq!(absent(&g), None);
    fs::remove_file(g.path("bin/emcc")).unwrap();
    g.env.retain(|(name, _)| name != "PATH");
    assert_eq!(absent(&g), None, "no PATH");
    g.set("PATH", &format!("{}:here", g.path("bin")));
    assert_eq!(
        absent(&g),
        None,
        "a directory that goes with the working directory"
    );
}

#[test]
fn libraries_and_programs_are_looked_for_where_cargo_said() {
    let mut g = Ground::new();
    let ours = g.path("ws/t/debug/deps");
    g.set("LD_LIBRARY_PATH", &ours);
    let rustc = g.path("sysroot/bin/rustc");
    let given = |g: &Ground, text: &str| {
        let started = [(Kind::Spawn, rustc.as_str()), (Kind::Entered, &rustc)];
        g.understood(&[&started[..], &[(Kind::Given, text)]].concat())
    };
    let path = format!("PATH={}", g.path("bin"));
    assert_eq!(given(&g, &format!("LD_LIBRARY_PATH={ours}")), NOTHING);
    assert_eq!(given(&g, &path), NOTHING);
    for other in ["LD_LIBRARY_PATH=/usr/local/lib", "PATH=/bin", "LD_AUDIT=x"] {
        assert_eq!(given(&g, other), None, "{other}");
    }
    g.env.retain(|(name, _)| name != "LD_LIBRARY_PATH");
    g.set("LD_LIBRARY_PATH", "/usr/local/lib");
    assert_eq!(given(&g, &path), None, "cargo was told so itself");
}

#[test]
fn a_variable_leads_to_qwrap_by_whatever_name() {
    let mut g = Ground::new();
    let leads = |g: &Ground| g.with(|p| p.leads_to_wrapper("RUSTC_WRAPPER"));
    assert!(leads(&g), "by PATH");
    for (value, expected) in [("bin/qwrap", true), ("bin/tool", false), ("none", false)] {
        g.env.retain(|(name, _)| name != "RUSTC_WRAPPER");
        g.set("RUSTC_WRAPPER", &g.path(value));
        assert_eq!(leads(&g), expected, "{value}");
        assert!(!g.with(|p| p.leads_to_wrapper("RUSTC")));
    }
}
