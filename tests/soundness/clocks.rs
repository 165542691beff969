//! Filesystems whose clock ticks in whole seconds (33): ext4 with small inodes, as ext3, FAT and
//! HFS+ are. A file can change there and look as it did.
//!
//! The filesystem is a real one, in a file, mounted where this test and its programs alone see it.

use super::ground::Place;
use crate::harness::{Dev, wait_for};
use quarry_wrapper::stamps;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

/// How often each story is told: what must not happen happens only within one second.
const ROUNDS: usize = 3;

/// A developer with a directory on such a filesystem.
struct Slow {
    dev: Dev,
    // Ended after the developer's node: the mount goes with it.
    holder: Holder,
}

/// The process that the mount lives by.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Slow {
    /// `None`, said aloud, where nothing can be mounted.
    fn new() -> Option<Self> {
        Self::at("here/l/slow")
    }

    fn at(place: &str) -> Option<Self> {
        let mut dev = Dev::new("alice");
        let (image, at) = (dev.path("image"), dev.path(place));
        fs::create_dir_all(&at).unwrap();
        // Inodes of 128 bytes have no room for parts of a second.
        let script = format!(
            "truncate -s 256M '{image}' && mkfs.ext4 -q -I 128 '{image}' >&2 && \
             mount -o loop '{image}' '{at}' && echo mounted && exec cat",
            image = image.display(),
            at = at.display()
        );
        let holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut holder = Holder(holder.ok()?);
        let mut line = String::new();
        let said = BufReader::new(holder.0.stdout.as_mut()?).read_line(&mut line);
        if said.is_err() || line != "mounted\n" {
            eprintln!("SKIPPED: no filesystem can be mounted here");
            return None;
        }
        let enter = format!(
            "exec nsenter --mount=/proc/{}/ns/mnt --wdns=\"$PWD\" \"$@\"",
            holder.0.id()
        );
        dev.prefix = ["sh", "-c", &enter, "sh"].map(str::to_owned).into();
        Some(Self { dev, holder })
    }

    /// Saves a file there.
    fn save(&self, name: &str, text: &str) {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.0.id()));
        let below = self.dev.path("here/l/slow").join(name);
        fs::write(root.join(below.strip_prefix("/").unwrap()), text).unwrap();
    }
}

/// Waits until a second begins, so that what follows falls into it.
fn a_second_begins() {
    wait_for("a second to begin", || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        (now.unwrap().subsec_nanos() < Duration::from_millis(60).subsec_nanos()).then_some(())
    });
}

#[test]
fn a_slow_clock_keeps_no_time_that_tells_states_apart() {
    let Some(slow) = Slow::new() else { return };
    let root = PathBuf::from(format!("/proc/{}/root", slow.holder.0.id()));
    let below = slow.dev.path("here/l/slow/restored");
    let file = File::create(root.join(below.strip_prefix("/").unwrap())).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    assert!(!stamps::stamp(&file));
    assert!(!stamps::stamp_before_tick(&file, 0));
    assert!(file.metadata().unwrap().modified().unwrap() >= written);
}

#[test]
fn a_library_in_its_place_on_a_slow_clock_is_hit() {
    let Some(slow) = Slow::at("here/target") else {
        return;
    };
    let mut here = Place::lib(&slow.dev, "here", "pub fn said() -> u8 { 1 }");
    here.args = vec!["-p".to_owned(), "l".to_owned()];
    let build = || here.counted(|| drop(here.build().succeeded()));
    assert_eq!(build(), "1 miss");
    for _ in 0..ROUNDS {
        let source = File::options().append(true).open(here.l("src/lib.rs"));
        source.unwrap().set_modified(SystemTime::now()).unwrap();
        // What was changed within the tick of a slow clock is not looked up.
        std::thread::sleep(Duration::from_millis(2100));
        assert_eq!(build(), "1 hit");
    }
}

#[test]
fn a_file_saved_twice_in_one_tick_of_a_slow_clock_is_read_twice() {
    let Some(slow) = Slow::new() else { return };
    slow.save("word.txt", "first");
    let lib = "pub fn said() -> &'static str { include_str!(\"../slow/word.txt\") }";
    let here = Place::new(&slow.dev, "here", &[("src/lib.rs", lib)]);
    assert_eq!(here.fresh().0, "first");
    for round in 0..ROUNDS {
        a_second_begins();
        for half in ["a", "b"] {
            let word = format!("{half}{round}");
            slow.save("word.txt", &word);
            assert_eq!(here.fresh().0, word);
        }
    }
    // Once it has rested it is kept as everything is.
    let last = format!("b{}", ROUNDS - 1);
    wait_for("the file to be trusted", || {
        let (said, how) = here.fresh();
        assert_eq!(said, last);
        (how == "1 hit").then_some(())
    });
}

#[test]
fn a_file_saved_during_the_compile_on_a_slow_clock_is_not_kept() {
    let Some(slow) = Slow::new() else { return };
    slow.save("word.txt", "a0");
    let lib = |round: usize| {
        format!(
            "const W: &str = include_str!(\"../slow/word.txt\"); gate::wait!(); // {round}\n\
             pub fn said() -> &'static str {{ W }}"
        )
    };
    let here = Place::gated(&slow.dev, "here", &[("src/lib.rs", &lib(0))]);
    assert_eq!(here.fresh().0, "a0");
    for round in 1..=ROUNDS {
        let (before, after) = (format!("a{round}"), format!("b{round}"));
        here.write(&[("src/lib.rs", &lib(round))]);
        slow.save("word.txt", &before);
        here.clean();
        a_second_begins();
        let how = here.counted(|| {
            drop(
                here.while_compiling(|| slow.save("word.txt", &after))
                    .succeeded(),
            );
        });
        assert_eq!(here.run(), before, "the compile had read it");
        assert_eq!(how, "1 changed-while-compiling");
        assert_eq!(here.fresh().0, after);
    }
}
