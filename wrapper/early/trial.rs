//! Whether `early.rs`, as this compiler and linker made it, does what it should before anybody
//! relies on it: a hit is shown without `main`, and where the answer is another one `main` has it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

#[path = "../src/ipc/version.rs"]
mod version;

const WITHIN: Duration = Duration::from_secs(5);
/// An answer other than a hit: that the command is to be run as it came.
const UNTOUCHED: &[u8] = &[5, 0, 0, 0];

unsafe extern "C" {
    safe fn quarry_early_socket() -> i32;
}

fn main() {
    let socket = quarry_early_socket();
    if socket >= 0 {
        // SAFETY: it is a descriptor, and nobody else knows of it.
        let mut socket = unsafe { UnixStream::from_raw_fd(socket) };
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        let heard: &[u8] = if answer.ends_with(UNTOUCHED) {
            b"heard"
        } else {
            b"lost"
        };
        std::io::stdout().write_all(heard).unwrap();
        return;
    }
    assert!(env::args_os().len() == 1, "nobody was asked");
    // A trial that was killed may have left one of the same number.
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let name = format!("quarry-trial-{}-{}", std::process::id(), since.as_nanos());
    let home = env::temp_dir().join(name);
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let tried = std::panic::catch_unwind(|| {
        let mut hit = vec![4, 0, 0, 0];
        for text in ["shown", "said"] {
            hit.extend((text.len() as u64).to_le_bytes());
            hit.extend(text.as_bytes());
        }
        let shown = asked(&home, &hit);
        assert!(shown.stdout == b"shown" && shown.stderr == b"said");
        assert!(asked(&home, UNTOUCHED).stdout == b"heard");
    });
    fs::remove_dir_all(&home).unwrap();
    tried.unwrap();
}

/// This program again, asking a node that answers so.
fn asked(home: &Path, body: &[u8]) -> Output {
    let socket = home.join("node.sock");
    let _ = fs::remove_file(&socket);
    let node = UnixListener::bind(&socket).unwrap();
    node.set_nonblocking(true).unwrap();
    let child = Command::new(env::current_exe().unwrap())
        .args(["rustc", "-vV"])
        .env_clear()
        .env("QUARRY_HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + WITHIN;
    let mut stream = loop {
        match node.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("nobody asked: {error}"),
        }
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let mut header = [0; 10];
    stream.read_exact(&mut header).unwrap();
    let length = u32::from_le_bytes(header[6..].try_into().unwrap());
    let mut request = vec![0; length as usize];
    stream.read_exact(&mut request).unwrap();
    let name = OsString::from("rustc").into_encoded_bytes();
    assert!(request.windows(name.len()).any(|at| at == name));
    let mut answer = b"QRY\0".to_vec();
    answer.extend(version::PROTOCOL.to_le_bytes());
    answer.extend((body.len() as u32).to_le_bytes());
    answer.extend(body);
    stream.write_all(&answer).unwrap();
    drop(stream);
    child.wait_with_output().unwrap()
}
