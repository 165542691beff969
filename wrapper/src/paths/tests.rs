//! Roots and names: properties, and the layouts that people really have.

use super::{Named, RootKind, Roots, target_root};
use crate::compiler::rustc::testing::Checkout;
use crate::compiler::{Class, classify};
use crate::invocation::Invocation;
use proptest::prelude::*;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

fn fixed(list: &[(RootKind, &str, &str)], cwd: &str) -> Roots {
    let list = list
        .iter()
        .map(|(kind, to, path)| (*kind, (*to).to_owned(), PathBuf::from(path)));
    Roots::from_list(cwd.into(), list.collect())
}

/// Nothing of it exists: what is given is what counts. The target lies in the workspace.
fn alice() -> Roots {
    fixed(
        &[
            (RootKind::Workspace, "/quarry/ws", "/nope/alice/ws"),
            (RootKind::Target, "/quarry/target", "/nope/alice/ws/target"),
            (RootKind::Cargo, "/quarry/cargo", "/nope/alice/.cargo"),
        ],
        "/nope/alice/ws",
    )
}

/// A quote and a backslash in the workspace's path, the target elsewhere, cargo's home inside.
fn bob() -> Roots {
    fixed(
        &[
            (RootKind::Workspace, "/quarry/ws", "/nope/b\"o\\b/w s"),
            (RootKind::Target, "/quarry/target", "/nope/tgt"),
            (RootKind::Cargo, "/quarry/cargo", "/nope/b\"o\\b/w s/cargo"),
        ],
        "/nope/b\"o\\b/w s",
    )
}

fn text(roots: &Roots, path: &str) -> String {
    roots.name(Path::new(path)).text().unwrap().to_owned()
}

#[test]
fn the_longest_root_names_a_path() {
    let roots = alice();
    assert_eq!(
        text(&roots, "/nope/alice/ws/src/lib.rs"),
        "/quarry/ws/src/lib.rs"
    );
    assert_eq!(text(&roots, "src/lib.rs"), "/quarry/ws/src/lib.rs");
    assert_eq!(text(&roots, "./src//lib.rs/"), "/quarry/ws/src/lib.rs");
    assert_eq!(
        text(&roots, "/nope/alice/ws/target/debug"),
        "/quarry/target/debug"
    );
    assert_eq!(text(&roots, "/nope/alice/ws"), "/quarry/ws");
    assert_eq!(text(&roots, "/nope/alice/ws-old/x"), "/nope/alice/ws-old/x");
    assert_eq!(text(&bob(), "/nope/b\"o\\b/w s/cargo/x"), "/quarry/cargo/x");
}

#[test]
fn climbing_stays_in_a_name_only_below_its_root() {
    let roots = alice();
    assert_eq!(
        text(&roots, "a/src/../../x.txt"),
        "/quarry/ws/a/src/../../x.txt"
    );
    assert_eq!(text(&roots, "target/../x"), "/quarry/ws/target/../x");
    let out = roots.name(Path::new("a/../../x"));
    assert_eq!(out, Named::Literal("/nope/alice/ws/a/../../x".into()));
    assert!(!out.is_rooted());
}

#[test]
fn names_lead_back_and_never_out() {
    let roots = alice();
    for path in [
        "/nope/alice/ws/a/../b",
        "/nope/alice/.cargo/registry/x",
        "/etc/hosts",
        "/quarry/ws/x",
        "/rustc/1/x",
        "/",
    ] {
        let name = text(&roots, path);
        assert_eq!(roots.locate(&name), Some(path.into()), "{name}");
    }
    for bad in [
        "",
        "x",
        "./x",
        "/quarry",
        "/quarry/",
        "/quarry/other/x",
        "/quarry/ws/../x",
        "/quarry/ws//x",
        "/quarry/ws/./x",
        "/quarry/ws/a/../../x",
        "/quarry/sysroot/x",
        "/quarry/literal/etc/x",
        "/quarry/literal",
        "/../x",
        "/quarry/ws/x\0",
        "/rustc/abc/x",
    ] {
        let got = roots.locate(bad);
        assert_eq!(got.filter(|_| bad != "/quarry"), None, "{bad:?}");
    }
    assert_eq!(
        roots.locate(&format!("/quarry/ws/{}", "x".repeat(super::MAX_NAME))),
        None
    );
}

/// Directories that exist: a workspace with a way out in it, and a cargo home with a secret.
fn on_disk() -> (tempfile::TempDir, Roots) {
    let dir = tempfile::tempdir().unwrap();
    let below = |path: &str| dir.path().join(path);
    for sub in ["ws/src", "ws/a/a", "cargo/registry/src/i/serde/src"] {
        fs::create_dir_all(below(sub)).unwrap();
    }
    for file in ["ws/src/lib.rs", "cargo/credentials.toml", "secret"] {
        fs::write(below(file), "x").unwrap();
    }
    fs::write(below("cargo/registry/src/i/serde/README.md"), "x").unwrap();
    std::os::unix::fs::symlink(dir.path(), below("ws/out")).unwrap();
    let root = |kind, to: &str, path| (kind, to.to_owned(), below(path));
    let list = vec![
        root(RootKind::Workspace, "/quarry/ws", "ws"),
        root(RootKind::Cargo, "/quarry/cargo", "cargo"),
    ];
    let roots = Roots::from_list(below("ws"), list);
    (dir, roots)
}

#[test]
fn a_peer_names_files_under_the_roots_alone() {
    let (_dir, roots) = on_disk();
    for good in [
        "/quarry/ws/src/lib.rs",
        "/quarry/ws/src/not/there.rs",
        "/quarry/ws/src/../a",
        "/quarry/cargo/registry/src/i/serde/src/../README.md",
    ] {
        assert!(roots.locate_shared(good).is_some(), "{good}");
    }
    for bad in [
        "/etc/passwd",
        "/quarry/cargo/credentials.toml",
        "/quarry/cargo/registry/src/../../credentials.toml",
        "/quarry/ws/../../etc/passwd",
        "/quarry/ws/out/secret",
        "/quarry/ws/out/not-there",
        "/quarry/ws/src/no/../../../out/secret",
        "/quarry/literal/quarry/x",
    ] {
        assert_eq!(roots.locate_shared(bad), None, "{bad}");
    }
}

#[test]
fn texts_are_rewritten_by_token() {
    let roots = alice();
    let check = |from: &str, to: &str| {
        let got = roots.normalise(from.as_bytes());
        assert_eq!(String::from_utf8(got).unwrap(), to);
        assert_eq!(
            String::from_utf8(roots.localise(to.as_bytes())).unwrap(),
            from
        );
    };
    check("--> /nope/alice/ws/a.rs:1:2\n", "--> /quarry/ws/a.rs:1:2\n");
    check("`/nope/alice/ws`", "`/quarry/ws`");
    check("/nope/alice/ws/target/debug", "/quarry/target/debug");
    check("\x1b[0m/nope/alice/ws/a", "\x1b[0m/quarry/ws/a");
    check(
        "{\"r\":\"\\u001b[0m/nope/alice/ws\\n\"}",
        "{\"r\":\"\\u001b[0m/quarry/ws\\n\"}",
    );
    check(
        "{\"r\":\"x\\n/nope/alice/ws/a\"}",
        "{\"r\":\"x\\n/quarry/ws/a\"}",
    );
    check(
        "a=/nope/alice/.cargo:/nope/alice/ws",
        "a=/quarry/cargo:/quarry/ws",
    );
    for same in [
        "/nope/alice/ws-old",
        "/x/nope/alice/ws/a",
        "/nope/alice/wsx",
        "/nope/alice/ws.bak",
    ] {
        check(same, same);
    }
}

#[test]
fn a_hit_speaks_of_the_readers_own_files() {
    let stored = alice().normalise(b"{\"f\":\"/nope/alice/ws/a.rs\"}\n/nope/alice/ws/a.rs\n");
    assert_eq!(
        String::from_utf8(bob().localise(&stored)).unwrap(),
        "{\"f\":\"/nope/b\\\"o\\\\b/w s/a.rs\"}\n/nope/b\"o\\b/w s/a.rs\n"
    );
}

#[test]
fn roots_in_outputs_are_found() {
    let roots = alice();
    assert_eq!(
        roots.scan(b"\0/nope/alice/ws/src\0"),
        Some(RootKind::Workspace)
    );
    assert_eq!(roots.scan(b"x/nope/alice/.cargo"), Some(RootKind::Cargo));
    assert_eq!(roots.scan(b"/quarry/ws ./src/lib.rs"), None);
    let short = fixed(&[(RootKind::Workspace, "/quarry/ws", "/zapp")], "/zapp");
    assert_eq!(
        short.scan(b"./src/zappend.rs"),
        None,
        "a short root needs an end"
    );
    assert_eq!(short.scan(b"x/zapp/src"), Some(RootKind::Workspace));
    assert_eq!(short.scan(b"x/zapp"), Some(RootKind::Workspace));
}

#[test]
fn the_target_directory_is_above_the_profile() {
    let t = |out: &str, target| {
        target_root(Path::new(out), target).map(|p| p.to_str().unwrap().to_owned())
    };
    assert_eq!(
        t("/w/target/debug/deps", None).as_deref(),
        Some("/w/target")
    );
    assert_eq!(
        t("/w/target/debug/examples/", None).as_deref(),
        Some("/w/target")
    );
    assert_eq!(
        t("/w/target/release/build/x-1", None).as_deref(),
        Some("/w/target")
    );
    assert_eq!(
        t("/w/t/arm/debug/deps", Some("arm")).as_deref(),
        Some("/w/t")
    );
    assert_eq!(
        t("/w/arm/debug/deps", None).as_deref(),
        Some("/w/arm"),
        "a host's unit"
    );
    assert_eq!(t("/w/t/debug/deps", Some("arm")).as_deref(), Some("/w/t"));
    for bad in ["/deps", "/w/t", "debug/deps", "/"] {
        assert_eq!(t(bad, None), None, "{bad}");
    }
}

/// An invocation for a package in `cwd`, with a real directory for everything.
fn invocation(base: &Path, cwd: &str, source: &str, target: &str) -> Invocation {
    let words =
        "--crate-name x --crate-type lib --error-format=json --emit=dep-info,link -Cmetadata=1";
    let mut argv: Vec<OsString> = vec!["rustc".into(), source.into()];
    argv.extend(words.split(' ').map(OsString::from));
    argv.push("--out-dir".into());
    argv.push(base.join(target).join("debug/deps").into());
    let cwd = base.join(cwd);
    fs::create_dir_all(&cwd).unwrap();
    fs::create_dir_all(base.join(target)).unwrap();
    let env = vec![("CARGO_HOME".into(), base.join("ws/home").into())];
    Invocation {
        argv,
        env,
        cwd,
        started: Vec::new(),
    }
}

fn roots_of(inv: &Invocation) -> Roots {
    let Class::Compile(unit) = classify(inv) else {
        panic!("cacheable")
    };
    Roots::of(inv, &unit, Path::new("/nope/tool/chains/it"), "")
}

#[test]
fn whose_workspace_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let base = fs::canonicalize(dir.path()).unwrap();
    let workspace = |cwd: &str, source: &str| {
        let source = if source == "abs" {
            base.join(cwd).join("l.rs")
        } else {
            source.into()
        };
        let inv = invocation(&base, cwd, source.to_str().unwrap(), "ws/target");
        roots_of(&inv).root(RootKind::Workspace).map(Path::to_owned)
    };
    fs::create_dir_all(base.join("ws/vendor/v")).unwrap();
    fs::write(base.join("ws/Cargo.lock"), "").unwrap();
    fs::write(base.join("ws/vendor/v/Cargo.lock"), "").unwrap();
    assert_eq!(
        workspace("ws", "src/lib.rs"),
        Some(base.join("ws")),
        "a member"
    );
    assert_eq!(
        workspace("ws/home/registry/src/p", "abs"),
        None,
        "a registry package"
    );
    assert_eq!(
        workspace("outside", "abs"),
        None,
        "a path dependency outside"
    );
    assert_eq!(
        workspace("ws/vendor/v", "abs"),
        None,
        "not vendored by cargo"
    );
    fs::write(base.join("ws/vendor/v/.cargo-checksum.json"), "").unwrap();
    assert_eq!(
        workspace("ws/vendor/v", "abs"),
        Some(base.join("ws")),
        "a vendored package"
    );
}

#[test]
fn a_symlinked_target_and_an_unresolved_one_are_known_under_all_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let base = fs::canonicalize(dir.path()).unwrap();
    fs::create_dir_all(base.join("real")).unwrap();
    std::os::unix::fs::symlink(base.join("real"), base.join("link")).unwrap();
    let roots = roots_of(&invocation(&base, "ws", "src/lib.rs", "ws/../link"));
    for form in ["ws/../link/debug", "real/debug"] {
        assert_eq!(
            text(&roots, base.join(form).to_str().unwrap()),
            "/quarry/target/debug",
            "{form}"
        );
    }
    assert_eq!(
        roots.locate("/quarry/target/x"),
        Some(base.join("ws/../link/x"))
    );
    let froms: Vec<_> = roots.remaps().into_iter().map(|(from, _)| from).collect();
    assert!(froms.contains(&base.join("real")) && froms.contains(&base.join("ws/../link")));
    assert!(froms.is_sorted_by_key(|from| from.as_os_str().len()));
}

#[test]
fn a_root_that_is_everything_is_none() {
    let roots = fixed(&[(RootKind::Workspace, "/quarry/ws", "/")], "/");
    assert_eq!(roots.remaps(), []);
    assert_eq!(text(&roots, "/etc/x"), "/etc/x");
}

#[test]
fn std_sources_are_called_by_the_commit() {
    let checkout = Checkout::new("c", &[("src/lib.rs", "")]);
    let (unit, inv) = checkout.unit();
    let sysroot = checkout.path().join("tool/chain");
    let hash = "5".repeat(40);
    let without = Roots::of(&inv, &unit, &sysroot, &hash);
    assert_eq!(
        without.root(RootKind::SysrootSource),
        None,
        "without rust-src"
    );
    let sources = sysroot.join("lib/rustlib/src/rust");
    fs::create_dir_all(&sources).unwrap();
    let with = Roots::of(&inv, &unit, &sysroot, &hash);
    let path = sources.join("library/core/src/lib.rs");
    assert_eq!(
        text(&with, path.to_str().unwrap()),
        format!("/rustc/{hash}/library/core/src/lib.rs")
    );
    assert!(
        with.remaps()
            .contains(&(sources.clone(), format!("/rustc/{hash}")))
    );
    let shown = format!("--> /rustc/{hash}/library/core/src/lib.rs:1");
    assert_eq!(without.localise(shown.as_bytes()), shown.as_bytes());
    let here = format!("--> {}:1", path.to_str().unwrap());
    assert_eq!(
        String::from_utf8(with.localise(shown.as_bytes())).unwrap(),
        here
    );
}

/// Texts of words, separators and real roots, without placeholders.
fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-z/.: \"`'=\\\\n(){}-]{0,6}",
        Just("/nope/alice/ws".to_owned()),
        Just("/nope/alice/ws/target".to_owned()),
        Just("/nope/alice/.cargo".to_owned()),
        Just("\\u001b[0m".to_owned()),
        Just("\n{\"".to_owned()),
        Just("\n".to_owned()),
        Just("é".to_owned()),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn localise_undoes_normalise(text in words()) {
        let roots = alice();
        let there = roots.normalise(text.as_bytes());
        prop_assert_eq!(String::from_utf8(roots.localise(&there)).unwrap(), text);
    }

    #[test]
    fn normalise_is_done_once(text in words()) {
        let roots = alice();
        let once = roots.normalise(text.as_bytes());
        prop_assert_eq!(roots.normalise(&once), once);
    }

    #[test]
    fn names_lead_back(parts in prop::collection::vec("[a-z.]{1,3}|\\.\\.|quarry|ws|literal|é \"\\\\", 1..7), root in 0..5_usize) {
        let base = ["/nope/alice/ws", "/nope/alice/ws/target", "/nope/alice/.cargo", "/quarry", "/etc"][root];
        let path: PathBuf = Path::new(base).join(parts.join("/")).components().collect();
        let roots = alice();
        let name = roots.name(&path);
        match roots.locate(name.text().unwrap()) {
            Some(back) => prop_assert_eq!(back, path),
            None => prop_assert!(path.components().any(|c| c.as_os_str() == ".."), "only climbing is refused"),
        }
    }

    #[test]
    fn two_paths_never_share_a_name(a in "/(nope/alice/(ws|\\.cargo)|quarry|quarry/literal)(/(ws|cargo|literal|quarry|x|\\.\\.)){0,4}", b in "/(nope/alice/(ws|\\.cargo)|quarry|quarry/literal)(/(ws|cargo|literal|quarry|x|\\.\\.)){0,4}") {
        let roots = alice();
        let (na, nb) = (roots.name(Path::new(&a)), roots.name(Path::new(&b)));
        prop_assert_eq!(na.text() == nb.text(), a == b);
    }

    #[test]
    fn no_name_leads_out(name in "/quarry/(ws|cargo|cargo/registry/src)(/(\\.\\.|a|src|out|secret|cargo)){0,6}") {
        let (dir, roots) = on_disk();
        if let Some(path) = roots.locate_shared(&name)
            && let Ok(real) = fs::canonicalize(&path)
        {
            let inside = ["ws", "cargo/registry/src"]
                .iter()
                .any(|root| real.starts_with(dir.path().join(root)));
            prop_assert!(inside, "{name} leads to {}", real.display());
        }
    }
}

#[test]
fn what_lies_beside_a_root_is_told_from_what_lies_anywhere() {
    let roots = fixed(
        &[
            (RootKind::Workspace, "/quarry/ws", "/home/a/ws"),
            (RootKind::Target, "/quarry/target", "/home/a/ws/target"),
            (RootKind::Sysroot, "/quarry/sysroot", "/opt/tool"),
        ],
        "/home/a/ws",
    );
    for (path, beside, above) in [
        ("/home/a/ws/src/lib.rs", false, false),
        ("/home/a/.env", true, false),
        ("../proto/x", true, false),
        ("/home/b/x", true, false),
        ("/home/a", true, true),
        ("/usr/include/x.h", false, false),
        ("/opt/other/x", false, false),
    ] {
        let path = Path::new(path);
        assert_eq!(roots.beside(path), beside, "{path:?}");
        assert_eq!(roots.is_above(path), above, "{path:?}");
    }
    assert_eq!(roots.layout(), Some("target"));
    let apart = fixed(
        &[
            (RootKind::Workspace, "/quarry/ws", "/home/a/ws"),
            (RootKind::Target, "/quarry/target", "/home/a/target"),
        ],
        "/home/a/ws",
    );
    assert_eq!(apart.layout(), None);
}
