//! Keys, socket and signatures, against everything else on the machine: other users, and what
//! runs in a build and speaks for qwrap.

use crate::harness::{Dev, Said, files, projects, qwrap, wait_connected, wait_for, write_program};
use quarry_wrapper::ipc::frame;
use quarry_wrapper::ipc::protocol::{CompileRequest, Finished, FromNode, ToNode};
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The user that owns nothing.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    rustix_uid() == 0
}

fn rustix_uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

/// Compiles one of the C programs of this chapter.
fn c_program(dev: &Dev, name: &str, options: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guarded");
    let out = dev.path(name);
    let mut cc = Command::new("cc");
    cc.args(options).arg("-o").arg(&out);
    let made = cc.arg(source.join(format!("{name}.c"))).status().unwrap();
    assert!(made.success());
    out
}

/// A script that stands for qwrap.
fn script(dev: &Dev, name: &str, text: &str) -> PathBuf {
    let path = dev.path(name);
    write_program(&path, format!("#!/bin/sh\n{text}\n"));
    path
}

/// Builds with another wrapper, from nothing.
#[track_caller]
fn build_with(dev: &Dev, wrapper: &Path, env: &[(&str, &OsStr)]) {
    let checkout = dev.path("checkout");
    let _ = fs::remove_dir_all(&checkout);
    projects::small(&checkout);
    let mut cargo = dev.cargo(&checkout, &["build"]);
    cargo
        .env("RUSTC_WRAPPER", wrapper)
        .envs(env.iter().copied());
    Said::of(&cargo.output().unwrap()).succeeded();
    let ran = dev.run(&mut dev.command(checkout.join("target/debug/app")));
    assert_eq!(ran.out, "hello, desk\n");
}

#[track_caller]
fn disowned(dev: &Dev, why: &str) {
    dev.flush();
    let stats = dev.stats();
    assert_eq!(stats["bypass_reasons"]["foreign-caller"], 3, "{stats}");
    assert_eq!(
        dev.json(&["status"])["store"]["entries"],
        0,
        "nothing was signed"
    );
    assert!(dev.log().contains(why), "{why:?} in {}", dev.log());
    let told = dev.qnode(&["why", "words"]).succeeded().out;
    assert!(told.contains("foreign-caller"), "{told}");
}

#[test]
fn another_program_than_the_nodes_own_qwrap_has_nothing_signed_and_a_copy_has() {
    let dev = Dev::new("alice");
    dev.start();
    let other = dev.path("other-qwrap");
    fs::copy(qwrap(), &other).unwrap();
    let mut file = fs::File::options().append(true).open(&other).unwrap();
    file.write_all(b"x").unwrap();
    drop(file);
    build_with(&dev, &other, &[]);
    disowned(&dev, "not the qwrap that belongs to this node");
    let copy = dev.path("copied-qwrap");
    fs::copy(qwrap(), &copy).unwrap();
    build_with(&dev, &copy, &[]);
    assert_eq!(dev.count("misses"), 3, "{}", dev.stats());
}

#[test]
fn a_qwrap_with_a_library_preloaded_has_nothing_signed_even_if_that_hides() {
    for (hide, why) in [
        (false, "preloads a library"),
        (true, "code is mapped in it"),
    ] {
        let dev = Dev::new("alice");
        dev.start();
        let library = c_program(&dev, "preload", &["-shared", "-fPIC"]);
        let hides = if hide { "QUARRY_TEST_HIDE=1" } else { "" };
        let line = format!(
            "exec env {hides} LD_PRELOAD={} {} \"$@\"",
            library.display(),
            qwrap().display()
        );
        let wrapper = script(&dev, "wrapper", &line);
        build_with(&dev, &wrapper, &[]);
        if is_loaded(qwrap()) {
            disowned(&dev, why);
        } else {
            // Nothing is preloaded into what has no loader, and nothing hides the variable.
            dev.flush();
            assert_eq!(
                dev.count("bypass_reasons.env-preload"),
                3,
                "{}",
                dev.stats()
            );
            assert_eq!(dev.json(&["status"])["store"]["entries"], 0);
        }
    }
}

/// Whether a program is started by the dynamic loader: it names one.
fn is_loaded(program: &Path) -> bool {
    let bytes = fs::read(program).unwrap();
    // /lib64/ld-linux-x86-64.so.2 and the like stand near the beginning.
    bytes.windows(9).take(4096).any(|name| name == b"/ld-linux")
}

#[test]
fn a_qwrap_under_a_debugger_has_nothing_signed() {
    let dev = Dev::new("alice");
    dev.start();
    let tracer = c_program(&dev, "trace", &[]);
    let line = format!("exec {} {} \"$@\"", tracer.display(), qwrap().display());
    let wrapper = script(&dev, "wrapper", &line);
    build_with(&dev, &wrapper, &[]);
    disowned(&dev, "it is being traced");
}

/// A process that the kernel calls qwrap at the other end of the socket, and whose child speaks.
struct Relay(Child);

impl Relay {
    fn new(dev: &Dev) -> Self {
        // The real qwrap, kept waiting by a node that never answers.
        let stuck = dev.path("stuck");
        fs::create_dir(&stuck).unwrap();
        fs::set_permissions(&stuck, fs::Permissions::from_mode(0o700)).unwrap();
        let silent = std::os::unix::net::UnixListener::bind(stuck.join("node.sock")).unwrap();
        let relay = c_program(dev, "relay", &[]);
        let mut command = dev.command(&relay);
        command
            .arg(dev.home().join("node.sock"))
            .arg(qwrap())
            .args(["sleep", "1000"])
            .env("QUARRY_HOME", &stuck)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        let exe = format!("/proc/{}/exe", child.id());
        wait_for("the process to be qwrap", || {
            (fs::read_link(&exe).ok()? == qwrap()).then_some(())
        });
        // It gives a silent node up after seconds: it is stopped before.
        let _held = silent.accept().unwrap();
        let stop = ["-STOP", &child.id().to_string()].map(str::to_owned);
        assert!(Command::new("kill").args(stop).status().unwrap().success());
        Self(child)
    }

    fn send(&mut self, messages: &[ToNode]) {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.extend(frame::encode(message).unwrap());
        }
        self.0.stdin.as_mut().unwrap().write_all(&bytes).unwrap();
    }

    fn receive(&mut self) -> FromNode {
        frame::read(self.0.stdout.as_mut().unwrap()).unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What cargo would have asked of `words`, and what a liar says became of it.
fn forged(dev: &Dev) -> (ToNode, ToNode) {
    let checkout = dev.path("checkout");
    projects::small(&checkout);
    let log = script(
        dev,
        "note",
        "case \"$*\" in *'--crate-name words'*) printf '%s\\0' \"$@\" > \"$NOTED\"; env -0 > \"$NOTED.env\";; esac; exec \"$@\"",
    );
    let noted = dev.path("noted");
    let mut cargo = dev.cargo(&checkout, &["build", "-p", "words"]);
    cargo.env("RUSTC_WRAPPER", log).env("NOTED", &noted);
    Said::of(&cargo.output().unwrap()).succeeded();
    let argv = fs::read(&noted).unwrap();
    let argv = argv.split(|b| *b == 0).filter(|a| !a.is_empty());
    let id = |p: &Path| quarry_wrapper::shim::file_id(p).unwrap();
    let env = fs::read(dev.path("noted.env")).unwrap();
    let env = env.split(|b| *b == 0).filter_map(|v| {
        let at = v.iter().position(|b| *b == b'=')?;
        Some((v[..at].to_vec(), v[at + 1..].to_vec()))
    });
    let request = CompileRequest {
        argv: argv.map(<[u8]>::to_vec).collect(),
        script: false,
        wrapper: None,
        env: env.collect(),
        cwd_id: id(&checkout),
        root_id: id(Path::new("/")),
        cwd: checkout.as_os_str().as_bytes().to_vec(),
        umask: 0o022,
        no_stdin: false,
        surroundings: None,
    };
    let lie = Finished {
        success: true,
        stdout: Some(vec![]),
        stderr: Some(vec![]),
        duration_ms: 1,
        stopped: false,
    };
    (ToNode::Compile(Box::new(request)), ToNode::Finished(lie))
}

#[track_caller]
fn not_stored(dev: &Dev, why: &str) {
    wait_for("the lie to be counted", || {
        let stats = dev.stats();
        (stats["bypass_reasons"]["foreign-caller"] == 1).then_some(())
    });
    assert_eq!(dev.json(&["status"])["store"]["entries"], 0);
    assert!(dev.log().contains(why), "{why:?} in {}", dev.log());
}

#[test]
fn who_borrows_the_name_of_qwrap_for_a_connection_has_nothing_signed() {
    let dev = Dev::new("alice");
    dev.start();
    let (request, lie) = forged(&dev);
    let mut relay = Relay::new(&dev);
    relay.send(&[request]);
    loop {
        match relay.receive() {
            FromNode::Working => {}
            FromNode::Run(plan) => {
                assert!(plan.record, "the process passes for qwrap so far");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    relay.send(&[lie]);
    assert_eq!(relay.receive(), FromNode::Recorded, "nobody is told more");
    not_stored(&dev, "another process reported");
}

#[test]
fn who_reports_before_it_was_asked_has_nothing_signed() {
    let dev = Dev::new("alice");
    dev.start();
    let (request, lie) = forged(&dev);
    let mut relay = Relay::new(&dev);
    relay.send(&[request, lie]);
    not_stored(&dev, "spoke before it was asked");
}

#[test]
fn a_home_or_a_key_that_others_can_read_is_refused_with_what_to_type() {
    let dev = Dev::new("alice");
    dev.start();
    dev.qnode(&["stop"]).succeeded();
    let (home, key) = (dev.home(), dev.home().join("builder.key"));
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&home, 0o755);
    for command in [&["start"][..], &["status"], &["team", "create", "desk"]] {
        let said = dev.qnode(command);
        assert_eq!(said.code, Some(1), "{command:?}");
        let typed = format!("chmod 700 {}", home.display());
        assert!(said.err.contains(&typed), "{}", said.err);
    }
    // A build does without.
    let checkout = dev.path("checkout");
    projects::small(&checkout);
    dev.build(&checkout, &["build"]).succeeded();
    assert!(!home.join("node.sock").exists());
    mode(&home, 0o700);
    for file in ["builder.key", "peer.key", "team.bin"] {
        mode(&home.join(file), 0o644);
        let said = dev.qnode(&["start"]);
        assert_eq!(said.code, Some(1), "{file}");
        assert!(
            said.err.contains("chmod 600") && said.err.contains(file),
            "{}",
            said.err
        );
        mode(&home.join(file), 0o600);
    }
    let real = dev.path("real.key");
    fs::rename(&key, &real).unwrap();
    std::os::unix::fs::symlink(&real, &key).unwrap();
    let said = dev.qnode(&["start"]);
    assert!(said.err.contains("no regular file"), "{}", said.err);
    fs::remove_file(&key).unwrap();
    fs::rename(&real, &key).unwrap();
    dev.start();
}

#[test]
fn no_secret_is_logged_stored_or_dumped() {
    let (mut alice, bob) = (Dev::new("alice"), Dev::new("bob"));
    alice.env.push(("RUST_LOG".into(), "trace".into()));
    alice
        .qnode(&["team", "create", "desk", "--name", "alice"])
        .succeeded();
    let ticket = alice.qnode(&["invite"]).succeeded().out;
    bob.qnode(&["join", ticket.trim(), "--name", "bob"])
        .succeeded();
    wait_connected(&bob, 1);
    let checkout = alice.path("checkout");
    projects::small(&checkout);
    alice.build(&checkout, &["build"]).succeeded();
    alice.flush();
    let home = alice.home();
    assert_eq!(fs::metadata(&home).unwrap().mode() & 0o777, 0o700);
    let mut secrets: Vec<Vec<u8>> = Vec::new();
    for name in ["builder.key", "peer.key", "root.key", "team.bin"] {
        assert_eq!(
            fs::metadata(home.join(name)).unwrap().mode() & 0o777,
            0o600,
            "{name}"
        );
        let bytes = fs::read(home.join(name)).unwrap();
        // Of the team file the secret: 32 bytes behind its schema.
        let secret = if name == "team.bin" {
            &bytes[2..34]
        } else {
            &bytes[..]
        };
        let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
        let list = format!("{:?}", secret);
        secrets.extend([secret.to_vec(), hex.into_bytes(), list.into_bytes()]);
    }
    secrets.push(ticket.trim().as_bytes().to_vec());
    let log = alice.log();
    assert!(log.contains("TRACE"), "the log says all that it can");
    let own = ["builder.key", "peer.key", "root.key", "team.bin"];
    let keep = |p: &Path| p.is_file() && !own.iter().any(|n| p.ends_with(n));
    let all = files(&home, &keep);
    assert!(all.iter().any(|(name, _)| name.ends_with("node.log")));
    for (name, bytes) in all {
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|w| w == &secret[..]);
            assert!(!found, "a secret lies in {}", name.display());
        }
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", alice.pid())).unwrap();
    let core = limits
        .lines()
        .find(|l| l.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

/// A developer whose processes are another user's than ours; `None` where we may not become one.
fn nobody(name: &str) -> Option<Dev> {
    if !is_root() {
        return None;
    }
    let mut dev = Dev::new(name);
    let chown = |path: &Path| std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    chown(&dev.path(""));
    chown(&dev.home());
    let uid = NOBODY.to_string();
    let setpriv = [
        "setpriv",
        "--reuid",
        &uid,
        "--regid",
        &uid,
        "--clear-groups",
    ];
    dev.prefix = setpriv.iter().map(|s| (*s).to_owned()).collect();
    let reached = Command::new("setpriv")
        .args(&setpriv[1..])
        .arg(crate::harness::qnode())
        .arg("--version")
        .output();
    reached.is_ok_and(|out| out.status.success()).then_some(dev)
}

#[test]
fn a_running_node_is_closed_to_other_programs_of_its_user() {
    let Some(dev) = nobody("carol") else { return };
    dev.start();
    let pid = dev.pid();
    // The kernel gives what is closed to root.
    for name in ["environ", "mem", "maps"] {
        let path = format!("/proc/{pid}/{name}");
        assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "{name}");
        let mut peek = dev.command("head");
        let said = dev.run(peek.args(["-c", "1", &path]));
        assert!(!said.ok, "{name} can be read");
    }
}

#[test]
fn another_users_process_is_not_heard_even_where_it_reaches_the_socket() {
    let Some(carol) = nobody("carol") else { return };
    let alice = Dev::new("alice");
    alice.start();
    let relay = c_program(&alice, "relay", &[]);
    let said = carol.qnode(&["status"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    // Even with every mode open.
    let socket = alice.home().join("node.sock");
    for path in [alice.path(""), alice.home(), socket.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let ask = |dev: &Dev| {
        let mut child = dev
            .command(&relay)
            .arg(&socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let request = frame::encode(&ToNode::Control(b"\"status\"".to_vec())).unwrap();
        let _ = child.stdin.as_mut().unwrap().write_all(&request);
        let mut back = vec![0; 1];
        let n = child.stdout.as_mut().unwrap().read(&mut back).unwrap();
        let _ = child.kill();
        child.wait().unwrap();
        n
    };
    assert_eq!(ask(&alice), 1, "its own user is answered");
    assert_eq!(ask(&carol), 0, "another one is hung up on");
    fs::set_permissions(alice.home(), fs::Permissions::from_mode(0o700)).unwrap();
}
