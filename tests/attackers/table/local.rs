//! Rows: processes of this machine, at the socket and in the target directory.
//!
//! Enters: the stage. Leaves: what is held open. Must never happen here: a process that is not
//! this test's, a change of another user's files.

use super::stage::Stage;
use super::{Noticed, Played, Row, Who, times};
use crate::attackers::socket::{header, say};
use crate::harness::{Dev, SOON};
use quarry_wrapper::ipc::protocol::PROTOCOL;
use rustix::io::Errno;
use rustix::process::Uid;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// What a row may cost in memory where nothing large is sent.
const LITTLE: u64 = 16;
/// A frame of 32 MiB is read before it is refused, and answers hold on to what they grew.
const FRAME: u64 = 96;
/// The user who owns nothing.
const NOBODY: u32 = 65534;

fn socket(dev: &Dev) -> PathBuf {
    dev.home().join("node.sock")
}

/// What another user gets from the node's socket: bytes, or what went wrong. A thread of its own
/// becomes that user, and ends as that user.
fn as_nobody(dev: &Dev) -> Result<usize, Errno> {
    let place = socket(dev);
    let other = std::thread::spawn(move || {
        let nobody = Uid::from_raw(NOBODY);
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody)?;
        let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
        let mut stream = UnixStream::connect(place).map_err(errno)?;
        stream.set_read_timeout(Some(SOON)).map_err(errno)?;
        stream.write_all(&header(PROTOCOL, 0)).map_err(errno)?;
        stream.read(&mut [0; 100]).map_err(errno)
    });
    other.join().unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn another_user(stage: &Stage) -> Played {
    if !is_root() {
        super::tell("skipped: becoming another user needs root");
        return Played::default();
    }
    let home = stage.bob.home();
    // The home keeps everybody else out.
    assert_eq!(as_nobody(&stage.bob), Err(Errno::ACCESS));
    // And were it open, the node would look who is there.
    let modes = |dir: u32, file: u32| {
        fs::set_permissions(&home, fs::Permissions::from_mode(dir)).unwrap();
        let parent = fs::Permissions::from_mode(dir);
        fs::set_permissions(home.parent().unwrap(), parent).unwrap();
        fs::set_permissions(socket(&stage.bob), fs::Permissions::from_mode(file)).unwrap();
    };
    modes(0o711, 0o666);
    let said = as_nobody(&stage.bob);
    modes(0o700, 0o600);
    let hung_up = [Ok(0), Err(Errno::CONNRESET), Err(Errno::PIPE)];
    assert!(hung_up.contains(&said), "{said:?}");
    Played::default()
}

fn garbage(stage: &Stage) -> Played {
    let bob = &stage.bob;
    say(bob, b"GET / HTTP/1.1\r\nHost: bob\r\n\r\n");
    say(bob, &[0; 100_000]);
    say(bob, &header(PROTOCOL, u32::MAX));
    // A vector of 2^60 elements, inside a frame of honest length.
    let vector = [&[1, 0, 0, 0, 1, 1][..], &(1_u64 << 60).to_le_bytes()].concat();
    let length = u32::try_from(vector.len()).unwrap();
    say(bob, &[header(PROTOCOL, length), vector].concat());
    // As much as a frame may hold, of nothing that is a request.
    say(
        bob,
        &[header(PROTOCOL, 32 << 20), vec![0xee; 32 << 20]].concat(),
    );
    Played::default()
}

fn slow(stage: &Stage) -> Played {
    let half = |n: usize| {
        let mut stream = UnixStream::connect(socket(&stage.bob)).unwrap();
        stream
            .write_all(&header(PROTOCOL, 1000)[..1 + n % 9])
            .unwrap();
        stream
    };
    let held: Vec<UnixStream> = (0..200).map(half).collect();
    Played::default().holding(held)
}

fn many(stage: &Stage) -> Played {
    let open = |_| UnixStream::connect(socket(&stage.bob)).unwrap();
    let held: Vec<UnixStream> = (0..times(1_200, 4_000)).map(open).collect();
    Played::default().holding(held)
}

/// Where a restore is to put its files lie links to somebody's letter.
fn links(stage: &Stage) -> Played {
    let (built, said) = stage.build("names-of-files");
    said.succeeded();
    let letter = stage.bob.path("letter");
    fs::write(&letter, "dear diary").unwrap();
    fs::set_permissions(&letter, fs::Permissions::from_mode(0o644)).unwrap();
    let planted = stage.upcoming().join("target/debug/deps");
    fs::create_dir_all(&planted).unwrap();
    for file in fs::read_dir(built.join("target/debug/deps")).unwrap() {
        let name = file.unwrap().file_name();
        // What is compiled is written by the compiler, which follows links, as it does without us.
        if name.to_string_lossy().contains("left") {
            symlink(&letter, planted.join(name)).unwrap();
        }
    }
    assert!(
        fs::read_dir(&planted).unwrap().count() >= 4,
        "there are names to plant"
    );
    let (kept, deps) = (letter.clone(), planted.clone());
    // All but the checkout in which they are planted.
    fs::remove_dir_all(&built).unwrap();
    stage.forget();
    Played::default().then(move |_| {
        assert_eq!(fs::read(&kept).unwrap(), b"dear diary");
        let mode = fs::metadata(&kept).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        for file in fs::read_dir(&deps).unwrap() {
            let file = file.unwrap();
            assert!(file.file_type().unwrap().is_file(), "{:?}", file.path());
        }
    })
}

macro_rules! row {
    ($name:literal, $holds:literal, $mib:expr, $noticed:expr, $play:ident) => {
        Row {
            name: $name,
            who: Who::Local,
            holds: $holds,
            mib: $mib,
            noticed: $noticed,
            play: $play,
        }
    };
}

/// See the module.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row!("socket: another user", "kept out by the home's mode, and hung up on besides", LITTLE, Noticed::Told, another_user),
    row!("socket: garbage, and frames that lie", "hung up on", FRAME, Noticed::Told, garbage),
    row!("socket: slow, half a header, 200 times", "builds are served meanwhile", LITTLE, Noticed::Not("given up after 10 s, or when others come"), slow),
    row!("socket: connections without number", "builds are served meanwhile", LITTLE, Noticed::Not("who is silent longest gives way"), many),
    row!("links where a restore puts its files", "the links are replaced; where they lead is left alone", LITTLE, Noticed::Not("a target directory is its owner's"), links),
];
