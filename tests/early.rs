//! What qwrap does before its C library starts: what it asks is what it asks afterwards, and
//! whatever a node answers comes out alike. The node is played here.

use crate::harness::{qwrap, wait_for};
use quarry_wrapper::ipc::client::with_short_path;
use quarry_wrapper::ipc::frame;
use quarry_wrapper::ipc::protocol::{CompileRequest, FromNode, Replay, RunPlan, ToNode};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(20);

/// A home with a node that is played.
struct Played {
    home: TempDir,
    socket: UnixListener,
}

impl Played {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(home: TempDir) -> Self {
        fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
        let path = home.path().join("node.sock");
        let socket = with_short_path(&path, |path| UnixListener::bind(path)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { home, socket }
    }

    /// A node whose socket's path is longer than an address: it is asked late.
    fn far() -> Self {
        let long = format!("quarry-{}-", "x".repeat(90));
        Self::at(tempfile::Builder::new().prefix(&long).tempdir().unwrap())
    }

    /// Notes that it was found stuck, so many seconds ago.
    fn stuck(&self, ago: u64) {
        let stamp = File::create(self.home.path().join("node.stuck")).unwrap();
        let then = SystemTime::now() - Duration::from_secs(ago);
        stamp.set_modified(then).unwrap();
    }

    /// qwrap for a compile.
    fn qwrap(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(qwrap());
        command
            .args(arguments)
            .env("QUARRY_HOME", self.home.path())
            .env_remove("QUARRY_COMPILE")
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Takes one request.
    fn asked(&self) -> (UnixStream, CompileRequest) {
        let (mut stream, _) = wait_for("qwrap to ask", || self.socket.accept().ok());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        match frame::read(&mut stream).unwrap() {
            ToNode::Compile(request) => (stream, *request),
            other => panic!("{other:?}"),
        }
    }

    /// What comes of it where the node answers so.
    fn answered(&self, answer: impl FnOnce(&mut UnixStream)) -> Output {
        let child = self.qwrap(&["sh", "-c", "echo ran"]).spawn().unwrap();
        let (mut stream, _) = self.asked();
        answer(&mut stream);
        drop(stream);
        child.wait_with_output().unwrap()
    }
}

/// How a command is changed, and its arguments.
type Case<'c> = (&'c dyn Fn(&mut Command), &'c [&'c str]);

/// What a node is asked early and late.
fn both(change: impl Fn(&mut Command), arguments: &[&str]) -> [CompileRequest; 2] {
    let (early, late) = (Played::new(), Played::far());
    [&early, &late].map(|node| {
        let mut command = node.qwrap(arguments);
        command.env("QUARRY_HOME", node.home.path());
        command.current_dir("/usr/bin");
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let (stream, mut request) = node.asked();
        drop(stream);
        child.wait().unwrap();
        let home = node.home.path().as_os_str().as_bytes();
        let place = request.env.iter().position(|(_, v)| v == home).unwrap();
        request.env.remove(place);
        request
    })
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
fn it_is_there() {
    let with_a_loader = std::env::var_os("QUARRY_DYNAMIC_QWRAP").is_some();
    if with_a_loader {
        eprintln!("SKIPPED: qwrap was asked to be built with a loader");
    }
    #[cfg(not(quarry_early))]
    assert!(with_a_loader, "it could not be built, or tried");
}

#[test]
fn the_same_is_asked_early_and_late() {
    let nothing = |_: &mut Command| {};
    let odd = |command: &mut Command| {
        command
            .env("EMPTY", "")
            .env("SIGNS", "a=b=c")
            .env("QUARRY_TICKET", "secret")
            .env("QUARRY_TICKETS", "none")
            .env("ODD", OsStr::from_bytes(b"\xff\xfe"));
    };
    let piped = |command: &mut Command| {
        command.stdin(Stdio::piped());
    };
    let masked = |command: &mut Command| {
        let program = "umask 027 && cd /tmp/.. && exec \"$0\" rustc x";
        *command = {
            let mut sh = Command::new("sh");
            sh.args(["-c", program]).arg(qwrap());
            let home = command.get_envs().find(|(name, _)| *name == "QUARRY_HOME");
            sh.env("QUARRY_HOME", home.unwrap().1.unwrap());
            sh
        };
    };
    let cases: [Case; 8] = [
        (&nothing, &["rustc", "--crate-name", "x", "", "ü"]),
        (&odd, &["rustc"]),
        (&nothing, &["rustc", "-", "--print=cfg"]),
        (&piped, &["rustc", "-", "--print=cfg"]),
        (&nothing, &["rustc", "--", "-x"]),
        (&nothing, &["--script", "/bin/true", "name", "one", "-"]),
        (&nothing, &["--script", "/bin/true", "name"]),
        (&masked, &[]),
    ];
    for (change, arguments) in cases {
        let [early, late] = both(change, arguments);
        assert_eq!(early, late, "{arguments:?}");
        assert!(early.env.iter().all(|(name, _)| name != b"QUARRY_TICKET"));
    }
    let [nothing_there, _] = both(nothing, &["rustc", "-"]);
    let [something, _] = both(piped, &["rustc", "-"]);
    assert!(nothing_there.no_stdin && !something.no_stdin);
}

fn hit(stdout: &[u8], stderr: &[u8]) -> Vec<u8> {
    let (stdout, stderr) = (stdout.to_vec(), stderr.to_vec());
    frame::encode(&FromNode::Replay(Replay { stdout, stderr })).unwrap()
}

#[test]
fn a_hit_is_shown_whole_however_it_comes() {
    let long = vec![b'x'; 300_000];
    let longer = vec![b'y'; 700_000];
    let cases: [(&[u8], &[u8]); 5] = [
        (b"", b""),
        (b"{}\n", b""),
        (b"", b"warning\n"),
        (&long, b"and more"),
        (b"more than fits", &longer),
    ];
    for (stdout, stderr) in cases {
        for piece in [11, 4096, usize::MAX] {
            let output = Played::new().answered(|stream| {
                let answer = hit(stdout, stderr);
                let (first, rest) = answer.split_at(piece.min(answer.len()));
                stream.write_all(first).unwrap();
                std::thread::sleep(Duration::from_millis(20));
                stream.write_all(rest).unwrap();
            });
            assert!(output.status.success());
            assert!(output.stdout == stdout && output.stderr == stderr);
        }
    }
}

#[test]
fn every_other_answer_is_heard_afterwards() {
    let ran = |output: &Output| {
        assert!(output.status.success());
        assert_eq!(output.stdout, b"ran\n");
    };
    let sends = |answers: &[FromNode]| {
        let answers: Vec<_> = answers.iter().map(|a| frame::encode(a).unwrap()).collect();
        move |stream: &mut UnixStream| {
            for answer in answers {
                stream.write_all(&answer).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    };
    ran(&Played::new().answered(sends(&[FromNode::Untouched])));
    ran(&Played::new().answered(sends(&[FromNode::Busy])));
    ran(&Played::new().answered(sends(&[FromNode::Working, FromNode::Untouched])));
    ran(&Played::new().answered(|_| {}));
    ran(&Played::new()
        .answered(|stream| stream.write_all(b"QRY\0rubbish, and enough of it").unwrap()));
    let plan = RunPlan {
        argv: ["sh", "-c", "echo planned"].map(|a| a.into()).to_vec(),
        env: vec![],
        rewrites: vec![],
        record: false,
    };
    let planned = Played::new().answered(sends(&[FromNode::Run(plan)]));
    assert_eq!(planned.stdout, b"planned\n");
    let working = Played::new().answered(|stream| {
        let at_it = frame::encode(&FromNode::Working).unwrap();
        stream.write_all(&at_it).unwrap();
        stream.write_all(&hit(b"shown", b"")).unwrap();
    });
    assert_eq!(working.stdout, b"shown");
    // Nothing is answered until the first patience is over.
    let late = Played::new().answered(|stream| {
        std::thread::sleep(Duration::from_millis(1300));
        stream.write_all(&hit(b"late", b"")).unwrap();
    });
    assert_eq!(late.stdout, b"late");
}

#[test]
#[cfg(quarry_early)]
fn a_hit_that_breaks_off_is_asked_for_again_and_nothing_is_shown_twice() {
    let node = Played::new();
    let lies = {
        // More on stdout than the whole answer has.
        let mut frame = hit(b"shown", b"said");
        frame[14] = 200;
        frame
    };
    let whole = hit(b"shown", b"said");
    for first in [&whole[..whole.len() - 3], &lies] {
        let child = node.qwrap(&["sh", "-c", "echo ran"]).spawn().unwrap();
        let (mut stream, request) = node.asked();
        stream.write_all(first).unwrap();
        drop(stream);
        let (mut stream, again) = node.asked();
        assert_eq!(request, again);
        stream.write_all(&whole).unwrap();
        drop(stream);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"shown");
        assert_eq!(output.stderr, b"said");
    }
}

#[test]
fn closed_streams_and_readers_who_left_are_no_trouble() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let node = Played::new();
        let script = format!("exec \"$0\" rustc -vV {closed}");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .arg(qwrap())
            .env("QUARRY_HOME", node.home.path())
            .env_remove("QUARRY_COMPILE")
            .spawn()
            .unwrap();
        let (mut stream, _) = node.asked();
        stream.write_all(&hit(b"", b"")).unwrap();
        // What is shown goes to nobody, and never to the node.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "{closed}");
        assert!(child.wait().unwrap().success(), "{closed}");
    }
    let node = Played::new();
    let mut child = node.qwrap(&["rustc"]).spawn().unwrap();
    let (mut stream, _) = node.asked();
    drop(child.stdout.take());
    stream.write_all(&hit(b"shown", b"")).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn nobody_is_asked_in_an_open_home_of_a_node_that_was_stuck_or_where_quarry_is_off() {
    let node = Played::new();
    let unasked = |mode, variable: &str| {
        fs::set_permissions(node.home.path(), Permissions::from_mode(mode)).unwrap();
        let mut command = node.qwrap(&["sh", "-c", "echo ran"]);
        let output = command.env(variable, "off").output().unwrap();
        assert_eq!(output.stdout, b"ran\n");
        assert!(node.socket.accept().is_err(), "{mode:o} {variable}");
    };
    unasked(0o755, "NONE");
    node.stuck(5);
    unasked(0o700, "NONE");
    node.stuck(3600);
    unasked(0o700, "QUARRY");
    unasked(0o700, "QUARRY_OBSERVE_RUN");
    let child = node.qwrap(&["sh", "-c", "echo ran"]).spawn().unwrap();
    node.asked().0.write_all(&hit(b"shown", b"")).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"shown");
}
