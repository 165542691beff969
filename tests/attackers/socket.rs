//! The node's own socket, under whatever else runs as the same user.

use crate::harness::{Dev, SOON, projects, wait_for};
use quarry_wrapper::ipc::protocol::PROTOCOL;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Connections that are held open: twice what a node talks to at once.
const HELD: usize = 2000;
/// What a build may take meanwhile: alone it takes one to three seconds here. Silence on the
/// socket is given up after ten, which nobody else may have to wait for.
const PATIENCE: Duration = Duration::from_secs(8);

fn connect(dev: &Dev) -> UnixStream {
    UnixStream::connect(dev.home().join("node.sock")).unwrap()
}

/// A frame's header, with a version and a length of one's choice.
pub fn header(version: u16, length: u32) -> Vec<u8> {
    [b"QRY\0", &version.to_le_bytes()[..], &length.to_le_bytes()].concat()
}

/// The node still answers, and a build is cached.
fn all_is_well(dev: &Dev, pid: u32) {
    let checkout = dev.path("checkout");
    if !checkout.exists() {
        projects::small(&checkout);
    }
    let began = Instant::now();
    dev.build(&checkout, &["build"]).succeeded();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let ran = dev.run(&mut dev.command(checkout.join("target/debug/app")));
    assert_eq!(ran.out, "hello, desk\n");
    assert_eq!(dev.pid(), pid, "it is the same node");
    assert_eq!(dev.count("misses"), 3, "{}", dev.stats());
}

/// Says something and hears the node hang up.
pub fn say(dev: &Dev, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(dev);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    // The node may hang up in the middle of it.
    let _ = stream.write_all(bytes);
    let mut back = Vec::new();
    let ended = stream.read_to_end(&mut back);
    let waits = ended.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    assert!(
        !waits,
        "{} bytes of garbage are not hung up on",
        bytes.len()
    );
    back
}

#[test]
fn garbage_and_endless_frames() {
    let dev = Dev::new("alice");
    dev.start();
    let pid = dev.pid();
    say(&dev, b"GET / HTTP/1.1\r\nHost: alice\r\n\r\n");
    say(&dev, &[0; 100_000]);
    say(&dev, &header(PROTOCOL, u32::MAX));
    say(
        &dev,
        &[header(PROTOCOL, 4), b"\xff\xff\xff\xff".to_vec()].concat(),
    );
    // A vector of 2^60 elements, inside a frame of honest length.
    let vector = [&[1, 0, 0, 0, 1, 1][..], &(1_u64 << 60).to_le_bytes()].concat();
    let length = u32::try_from(vector.len()).unwrap();
    say(&dev, &[header(PROTOCOL, length), vector].concat());
    // As much as a frame may hold, of nothing that is a request.
    let whole = vec![0xee; 32 << 20];
    say(&dev, &[header(PROTOCOL, 32 << 20), whole].concat());
    all_is_well(&dev, pid);
}

#[test]
fn half_a_frame_is_waited_for_and_then_given_up() {
    let dev = Dev::new("alice");
    dev.start();
    let pid = dev.pid();
    let mut halves: Vec<UnixStream> = (1..10)
        .map(|length| {
            let mut stream = connect(&dev);
            stream.write_all(&header(PROTOCOL, 1000)[..length]).unwrap();
            stream
        })
        .collect();
    let mut body = connect(&dev);
    body.write_all(&header(PROTOCOL, 1000)).unwrap();
    body.write_all(&[0; 999]).unwrap();
    halves.push(body);
    all_is_well(&dev, pid);
    for mut half in halves {
        half.set_read_timeout(Some(SOON)).unwrap();
        let mut back = Vec::new();
        assert!(half.read_to_end(&mut back).is_ok(), "it was not given up");
    }
}

#[test]
fn another_version_of_the_protocol_is_told_ours() {
    let dev = Dev::new("alice");
    dev.start();
    let pid = dev.pid();
    let back = say(&dev, &header(0, 0));
    assert_eq!(
        &back[..6],
        &header(PROTOCOL, 0)[..6],
        "the header has our version"
    );
    all_is_well(&dev, pid);
}

#[test]
fn a_newer_version_makes_an_idle_node_give_way_and_the_build_starts_the_next() {
    let dev = Dev::new("alice");
    dev.start();
    let pid = dev.pid();
    say(&dev, &header(PROTOCOL + 1, 0));
    let socket = dev.home().join("node.sock");
    wait_for("the node to give way", || (!socket.exists()).then_some(()));
    let checkout = dev.path("checkout");
    projects::small(&checkout);
    dev.build(&checkout, &["build"]).succeeded();
    assert_eq!(dev.count("misses"), 3, "{}", dev.stats());
    assert_ne!(dev.pid(), pid);
}

#[test]
fn two_thousand_connections_held_open() {
    let dev = Dev::new("alice");
    dev.start();
    let pid = dev.pid();
    let held = dev.home().join("node.sock");
    // Connecting blocks where nobody accepts: so this happens beside the build.
    let (done, all) = std::sync::mpsc::channel();
    let holding = std::thread::spawn(move || {
        let mut streams: Vec<UnixStream> = Vec::new();
        while streams.len() < HELD {
            streams.push(UnixStream::connect(&held).unwrap());
        }
        done.send(()).unwrap();
        streams
    });
    all.recv_timeout(SOON).expect("all of them connect");
    all_is_well(&dev, pid);
    drop(holding.join().unwrap());
}
