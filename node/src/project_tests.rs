//! Where a repository's file is looked for, and what it may say.

use super::*;
use std::fs::File;

struct Desk {
    dir: tempfile::TempDir,
    projects: Projects,
}

impl Desk {
    /// A workspace `ws` with a lock file, and a package of cargo's home.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let projects = Projects::default();
        let desk = Self { dir, projects };
        desk.write("ws/Cargo.lock", "");
        desk.write("cargo/registry/src/index/dep-1.0.0/Cargo.lock", "");
        desk
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn inv(&self, cwd: &str, source: &str, out_dir: &str) -> Invocation {
        let out_dir = self.path(out_dir);
        let argv = ["rustc", "--crate-name", "x", source, "--out-dir"];
        let argv = argv.map(OsString::from).into_iter();
        Invocation {
            argv: argv.chain([out_dir.into()]).collect(),
            env: vec![("CARGO_HOME".into(), self.path("cargo").into())],
            cwd: self.path(cwd),
            started: Vec::new(),
        }
    }

    /// The compile of a package of cargo's home, with this target directory.
    fn dependency(&self, target: &str) -> Invocation {
        let package = "cargo/registry/src/index/dep-1.0.0";
        let source = self.path(package).join("src/lib.rs");
        self.inv(
            package,
            source.to_str().unwrap(),
            &format!("{target}/debug/deps"),
        )
    }

    fn root(&self, inv: &Invocation) -> Option<PathBuf> {
        self.projects.of(inv, false).root
    }

    fn read(&self) -> Option<Said> {
        self.projects.read(&self.path("ws"))
    }

    fn scopes(&self, inv: &Invocation) -> Vec<String> {
        self.projects.of(inv, false).scopes.into_iter().collect()
    }

    fn said(&self, text: &str) -> Result<Project, ProjectError> {
        self.write("ws/quarry.toml", text);
        self.read().unwrap().as_ref().clone()
    }
}

#[test]
fn a_member_is_compiled_from_the_root_and_a_dependency_s_target_directory_lies_in_it() {
    let desk = Desk::new();
    let ws = Some(desk.path("ws"));
    assert_eq!(desk.root(&desk.dependency("ws/target")), ws);
    let member = desk.inv("ws", "app/src/main.rs", "ws/target/debug/deps");
    assert_eq!(desk.root(&member), ws);
}

#[test]
fn with_a_target_directory_elsewhere_a_member_or_the_shell_tells() {
    let desk = Desk::new();
    let ws = Some(desk.path("ws"));
    assert_eq!(
        desk.root(&desk.dependency("built")),
        None,
        "nothing tells yet"
    );
    let mut started = desk.dependency("built");
    desk.write("ws/app/src/lib.rs", "");
    started.env.push(("PWD".into(), desk.path("ws/app").into()));
    assert_eq!(desk.root(&started), ws);

    let desk = Desk::new();
    let ws = Some(desk.path("ws"));
    let member = desk.inv("ws", "app/src/main.rs", "built/debug/deps");
    assert_eq!(desk.root(&member), ws);
    assert_eq!(
        desk.root(&desk.dependency("built")),
        ws,
        "as its neighbours"
    );
}

#[test]
fn a_dependency_belongs_to_the_closed_workspace_that_cargo_was_started_in() {
    let desk = Desk::new();
    desk.write("ws/pay/Cargo.lock", "");
    desk.write("ws/pay/quarry.toml", "scope = \"pay\"\n");
    // The target directory lies in the open workspace around it.
    let open = desk.dependency("ws/target");
    assert_eq!(desk.scopes(&open), [""; 0]);
    let mut by_shell = open.clone();
    by_shell
        .env
        .push(("PWD".into(), desk.path("ws/pay").into()));
    assert_eq!(desk.scopes(&by_shell), ["pay"]);
    // `--manifest-path pay/Cargo.toml`, typed in the open one.
    let mut by_manifest = open.clone();
    by_manifest.started = vec![desk.path("ws"), desk.path("ws/pay")];
    assert_eq!(desk.scopes(&by_manifest), ["pay"]);
}

#[test]
fn a_workspace_within_a_closed_one_is_closed_unless_it_says_for_whom_it_is() {
    let desk = Desk::new();
    desk.write("ws/quarry.toml", "scope = \"pay\"\n[trust]\nagree = 2\n");
    // What `cargo package` unpacks, what lies in `fuzz/`: each with a lock file of its own.
    for nested in ["ws/target/package/app-0.1.0", "ws/fuzz"] {
        desk.write(&format!("{nested}/Cargo.lock"), "");
        let out = format!("{nested}/target/debug/deps");
        let inv = desk.inv(nested, "src/main.rs", &out);
        let here = desk.projects.of(&inv, false);
        assert_eq!(here.root, Some(desk.path(nested)));
        assert!(here.scopes.contains("pay") && here.files.len() == 1);
    }
    desk.write("ws/fuzz/quarry.toml", "scope = \"fuzz\"\n");
    let inv = desk.inv("ws/fuzz", "src/main.rs", "ws/fuzz/target/debug/deps");
    assert_eq!(desk.scopes(&inv), ["fuzz"], "the nearest that says");
    let both = desk.projects.of(&inv, false).files;
    assert_eq!(both.len(), 2, "the rules of both hold");
}

#[test]
fn a_package_that_lies_in_a_closed_workspace_takes_its_scope_along() {
    let desk = Desk::new();
    desk.write("pay/quarry.toml", "scope = \"pay\"\n");
    desk.write("pay/ledger/src/lib.rs", "");
    let source = desk.path("pay/ledger/src/lib.rs");
    let source = source.to_str().unwrap();
    let mut inv = desk.inv("pay/ledger", source, "ws/target/debug/deps");
    inv.env.push(("PWD".into(), desk.path("ws").into()));
    assert_eq!(
        desk.scopes(&inv),
        ["pay"],
        "a path dependency of an open one"
    );
    desk.write("ws/quarry.toml", "scope = \"web\"\n");
    assert_eq!(
        desk.scopes(&inv),
        ["pay", "web"],
        "and of another closed one"
    );
    // A file that was published with a package says nothing here.
    desk.write(
        "cargo/registry/src/index/dep-1.0.0/quarry.toml",
        "scope = \"theirs\"\n",
    );
    assert_eq!(desk.scopes(&desk.dependency("ws/target")), ["web"]);
}

#[test]
fn the_run_of_a_build_script_belongs_to_its_workspace() {
    let desk = Desk::new();
    desk.write("ws/app/Cargo.toml", "");
    for package in ["ws/app", "cargo/registry/src/index/dep-1.0.0"] {
        let mut inv = desk.inv(package, "", "");
        let out = desk.path("ws/target/debug/build/app-1/out");
        inv.env.push(("OUT_DIR".into(), out.into()));
        let root = desk.projects.of(&inv, true).root;
        assert_eq!(root, Some(desk.path("ws")), "{package}");
    }
}

#[test]
fn a_repository_says_whom_it_believes_and_where_it_belongs() {
    let desk = Desk::new();
    assert_eq!(desk.read(), None, "no file, nothing said");
    let said = desk
        .said("scope = \"closed\"\n[trust]\nagree = 2\n")
        .unwrap();
    assert_eq!(said.scope.as_deref(), Some("closed"));
    assert_eq!(said.trust.unwrap().general.agree.unwrap().get(), 2);
    assert_eq!(desk.said(""), Ok(Project::default()));
}

#[test]
fn a_changed_file_counts_from_the_next_compile_on() {
    let desk = Desk::new();
    for agree in [2, 3, 4, 2] {
        // The same length within one tick: nothing but the bytes tells them apart.
        let said = desk.said(&format!("[trust]\nagree = {agree}\n")).unwrap();
        assert_eq!(said.trust.unwrap().general.agree.unwrap().get(), agree);
    }
    // Long ago, and then again with another time.
    let path = desk.path("ws/quarry.toml");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let stamp = |time| {
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
    };
    stamp(old).unwrap();
    assert!(desk.read().unwrap().is_ok());
    fs::write(&path, "[trust]\nagree = 9\n").unwrap();
    stamp(old).unwrap();
    assert!(desk.read().unwrap().is_err());
}

#[test]
fn what_cannot_be_read_or_understood_is_not_taken_for_silence() {
    let desk = Desk::new();
    for (text, wrong) in [
        ("trsut = {}", "unknown field"),
        ("[trust]\nagree = 0", "agree"),
        ("\n[trust]\nproject = []", "line 3"),
        ("scope = \"a\"\n[trust]\nagree = 0", "line 3"),
        ("trust = \"own\"", "`[trust]`"),
        ("[trust", "line 1"),
        ("scope = \"\"", "scope"),
        ("scope = 3", "line 1"),
    ] {
        let error = desk.said(text).unwrap_err().to_string();
        assert!(error.contains(wrong), "{text}: {error}");
    }
    let large = "#".repeat(usize::try_from(MAX_FILE).unwrap() + 1);
    let file = desk.path("ws/quarry.toml");
    assert_eq!(desk.said(&large), Err(ProjectError::Large(file.clone())));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let read = desk.read().unwrap();
    assert!(matches!(*read, Err(ProjectError::Read(..))), "{read:?}");
    fs::remove_dir(&file).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();
    let read = desk.read().unwrap();
    assert!(matches!(*read, Err(ProjectError::Read(..))), "{read:?}");
}
