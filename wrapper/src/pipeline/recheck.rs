//! Recheck: compiles once more, out of the way, what was restored, and compares the bytes.
//!
//! Enters: an invocation that was a hit, the entry that was restored, a private directory. Leaves:
//! whether the compiler makes the same of it here, and where it does in everything, an entry of
//! our own. Nothing is written outside that directory.
//! Must never happen here: a verdict about inputs that have changed since.

use super::find::Trip;
use super::ran::Asking;
use super::{Cache, Pipeline, Tier, UnsignedEntry, evidence, read_prediction, restore, stays_here};
use crate::child::{Child as Started, JOBSERVER};
use crate::compiler::rustc::metadata::same_but_for_own_hash;
use crate::compiler::{Class, classify};
use crate::digests::{FileDigests, open_regular};
use crate::invocation::Invocation;
use crate::paths::Roots;
use crate::run::dies_with_us;
use crate::stopped::Watch;
use quarry_trust::{Entry, ObjectRef, OutputKind};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often the end of a compile is looked for.
const POLL: Duration = Duration::from_millis(50);
/// The niceness of such compiles.
const LOWEST: i32 = 19;
/// Outputs that are compared byte by byte where their digests differ; larger ones differ.
const COMPARED_MAX: u64 = 256 << 20;
/// Why nothing is said of a compile during which somebody was stopped.
pub(super) const STOPPED: &str = "the compiler, or the node, was stopped meanwhile";

/// What compiling again showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rechecked {
    /// The same bytes.
    Same,
    /// The same in everything, messages too: an entry of our own says so now.
    Agreed,
    /// Other bytes in this output, by its file name.
    Differs(String),
    /// Nothing, and why: an input changed meanwhile, the compile failed or took too long.
    Unknown(&'static str),
}

impl Pipeline {
    /// Compiles again what `entry` was restored for, into `scratch` (a private, empty directory),
    /// within `within`, and compares. With `sign`, what is the same in everything and may be
    /// shared is put as our own entry. Blocks.
    pub fn recheck(
        &self,
        inv: &Invocation,
        (entry, prediction, sign): (&Entry, &[u8], bool),
        scratch: &Path,
        within: Duration,
        cache: &dyn Cache,
    ) -> Rechecked {
        let Class::Compile(unit) = classify(inv) else {
            return Rechecked::Unknown("the command is not cached any more");
        };
        let Ok(compiler) = self.identify(inv, &unit) else {
            return Rechecked::Unknown("the compiler is gone");
        };
        let roots = Roots::of(inv, &unit, &compiler.sysroot, &compiler.commit_hash);
        let argv = elsewhere(unit.run_argv(inv, &roots), scratch);
        let Ok(streams) = evidence::streams(scratch) else {
            return Rechecked::Unknown("the directory cannot be written to");
        };
        let watch = Watch::begin();
        let began = Instant::now();
        match run(inv, &argv, within, streams) {
            Ok(Some(status)) if status.success() => {}
            Ok(Some(_)) => return Rechecked::Unknown("the compile failed"),
            Ok(None) => return Rechecked::Unknown("the compile took too long"),
            Err(_) => return Rechecked::Unknown("the compiler could not be run"),
        }
        let took = began.elapsed();
        let mut seen = HashMap::new();
        let Ok(base) = self.base(inv, &unit, &roots, &compiler, &mut seen) else {
            return Rechecked::Unknown("an input is gone");
        };
        let ask = |child: &Started| child.ask_for(inv);
        let trip = Trip {
            pipeline: self,
            inv,
            unit: &unit,
            roots: &roots,
            base: &base,
            cache,
            asking: Asking::new(&ask, &roots),
        };
        let described =
            read_prediction(prediction).and_then(|p| trip.describe(p, Tier::Local, entry));
        let Some(described) = described.filter(|d| d.action().0 == entry.action) else {
            return Rechecked::Unknown("an input changed meanwhile");
        };
        let found = compare(entry, scratch, self.digests.as_ref(), cache);
        if watch.stopped() {
            return Rechecked::Unknown(STOPPED);
        }
        if !sign || found != Rechecked::Same || stays_here(&described) {
            return found;
        }
        let compiled = evidence::Compiled {
            unit: &unit,
            roots: &roots,
            scratch,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        let ours = compiled.same_as(entry, self.digests.as_ref());
        if watch.stopped() {
            return Rechecked::Unknown(STOPPED);
        }
        let prediction = prediction.to_owned();
        let put = ours.map(|ours| cache.put(UnsignedEntry { prediction, ..ours }));
        match put {
            Some(Ok(_)) => Rechecked::Agreed,
            Some(Err(_)) | None => found,
        }
    }
}

/// The command with another output directory.
pub(super) fn elsewhere(mut argv: Vec<OsString>, scratch: &Path) -> Vec<OsString> {
    for at in 0..argv.len() {
        if argv[at] == "--out-dir" && at + 1 < argv.len() {
            argv[at + 1] = scratch.into();
        } else if argv[at].as_encoded_bytes().starts_with(b"--out-dir=") {
            let mut arg = OsString::from("--out-dir=");
            arg.push(scratch);
            argv[at] = arg;
        }
    }
    argv
}

/// Runs a command, its streams to where they are given; `None` where it was ended for taking too long.
pub(super) fn run(
    inv: &Invocation,
    argv: &[OsString],
    within: Duration,
    (out, err): (Stdio, Stdio),
) -> io::Result<Option<ExitStatus>> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&inv.cwd)
        .env_clear()
        .envs(inv.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    // Ours are not the caller's.
    for name in JOBSERVER {
        command.env_remove(name);
    }
    let mut child = Ended(dies_with_us(&mut command).spawn()?);
    // Whoever builds meanwhile goes first.
    if let Some(pid) = rustix::process::Pid::from_raw(child.0.id().cast_signed()) {
        let _ = rustix::process::setpriority_process(Some(pid), LOWEST);
    }
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if let Some(status) = child.0.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(POLL);
    }
    Ok(None)
}

/// A child that does not outlive this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail where it has ended, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Dep-info files name paths and are not compared; a crate's own hash covers more than anybody
/// takes from it, and may differ.
pub(super) fn compare(
    entry: &Entry,
    scratch: &Path,
    digests: &dyn FileDigests,
    cache: &dyn Cache,
) -> Rechecked {
    let compared = entry
        .outputs
        .iter()
        .filter(|o| o.kind != OutputKind::DepInfo);
    for output in compared {
        let again = scratch.join(output.name.as_str());
        match digests.digest(&again) {
            Ok(digest) if digest == output.object.digest => {}
            Ok(_) if is_the_same_crate(entry, &output.object, &again, cache) => {}
            Ok(_) => return Rechecked::Differs(output.name.as_str().to_owned()),
            Err(_) => return Rechecked::Unknown("an output is missing"),
        }
    }
    Rechecked::Same
}

/// Whether a stored output and a file are the same but for the crate's own hash.
fn is_the_same_crate(entry: &Entry, stored: &ObjectRef, again: &Path, cache: &dyn Cache) -> bool {
    let Ok(stored) = restore::read_checked(cache, stored, COMPARED_MAX) else {
        return false;
    };
    let mut bytes = Vec::new();
    let read = open_regular(again)
        .and_then(|file| file.take(stored.len() as u64 + 1).read_to_end(&mut bytes));
    read.is_ok() && same_but_for_own_hash(&stored, &bytes, &entry.crate_name)
}
