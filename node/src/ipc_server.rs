//! The node's socket: accepts, bounds, hands to the worker or to control.
//!
//! Enters: frames from qwrap and the command line, of our own user only. Leaves: answers. One
//! task to a connection; a connection that ends while its compile runs ends that compile's job.
//! Must never happen here: a decision, a blocking call on the runtime's threads.

use crate::control;
use crate::hands::{self, Foreign, Hands};
use crate::runtime::Node;
use crate::started;
use crate::view;
use crate::worker::{Answer, Started};
use quarry_wrapper::invocation::Invocation;
use quarry_wrapper::ipc::client::{check_peer, with_short_path};
use quarry_wrapper::ipc::frame::{self, FrameError, HEADER_LEN};
use quarry_wrapper::ipc::protocol::{
    CompileRequest, Ended, Finished, FromNode, PROTOCOL, RunPlan, Surroundings, ToNode,
};
use quarry_wrapper::paths::Rewrites;
use quarry_wrapper::pipeline::Caller;
use quarry_wrapper::{run, shim, surroundings};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};

/// Conversations at a time: more than the widest build on a large machine. Who comes beyond is
/// told so at once, and compiles without us.
const CONNECTIONS_MAX: usize = 1024;
/// Connections that have not said what they want yet. Ours say it at once; where more are held
/// open, the one that has been silent longest gives way.
const SILENT_MAX: usize = 256;
/// How long a new connection may take to say what it wants.
const FIRST_WITHIN: Duration = Duration::from_secs(10);

/// Binds the socket, in place of one that a dead node left. Mode 0600.
///
/// # Errors
/// What the system said.
pub fn bind(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = with_short_path(socket, |path| std::os::unix::net::UnixListener::bind(path))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    Hands::prepare(&listener)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Which socket lies at a path: device and inode; `None` where there is none.
#[must_use]
pub fn identity(socket: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let m = fs::symlink_metadata(socket).ok()?;
    Some((m.dev(), m.ino()))
}

/// Accepts until the node stops.
pub async fn serve(listener: UnixListener, node: Arc<Node>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut silent = Silent::default();
    loop {
        let stream = tokio::select! {
            () = node.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                let (node, places) = (node.clone(), places.clone());
                let give_way = silent.admit();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &node, &places, give_way).await {
                        tracing::debug!(%error, "a conversation on the socket ended early");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: wait for some to come back.
                tracing::warn!(%error, "the socket took no connection; `ulimit -n` may be too low");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Connections that have not said what they want, oldest first. A connection holds the other
/// end of its place until it has.
#[derive(Default)]
struct Silent(VecDeque<Weak<Notify>>);

impl Silent {
    /// A place for one more; the oldest is told to give way where there is none.
    fn admit(&mut self) -> Arc<Notify> {
        if self.0.len() >= SILENT_MAX {
            self.0.retain(|place| place.strong_count() > 0);
        }
        if self.0.len() >= SILENT_MAX
            && let Some(oldest) = self.0.pop_front().and_then(|place| place.upgrade())
        {
            oldest.notify_one();
        }
        let place = Arc::new(Notify::new());
        self.0.push_back(Arc::downgrade(&place));
        place
    }
}

async fn converse(
    mut stream: UnixStream,
    node: &Arc<Node>,
    places: &Semaphore,
    give_way: Arc<Notify>,
) -> Result<(), FrameError> {
    check_peer(&stream)?;
    let first = tokio::select! {
        first = tokio::time::timeout(FIRST_WITHIN, read(&mut stream)) => {
            first.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        }
        () = give_way.notified() => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    };
    drop(give_way);
    let Ok(_place) = places.try_acquire() else {
        return write(&mut stream, &FromNode::Busy).await;
    };
    match first {
        Ok(ToNode::Compile(request)) => {
            let _busy = node.busy();
            compile(&mut stream, node, *request).await
        }
        Ok(ToNode::Control(bytes)) => control::answer::converse(&mut stream, node, &bytes).await,
        Ok(ToNode::Finished(_) | ToNode::Said(_)) => Err(FrameError::Body),
        Err(FrameError::Version(theirs)) => {
            // The header tells the other side our version; it then does without us.
            write(&mut stream, &FromNode::Busy).await?;
            if theirs > PROTOCOL && node.idle() {
                tracing::info!("a newer wrapper came: this older node gives way");
                node.stop();
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Reads one frame.
///
/// # Errors
/// [`FrameError`].
pub async fn read(stream: &mut UnixStream) -> Result<ToNode, FrameError> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).await?;
    let length = frame::body_length(&header)?;
    // A header alone allocates no more than what hardly any request exceeds.
    let mut body = Vec::with_capacity(length.min(frame::USUAL));
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    frame::decode(&body)
}

/// Writes one frame.
///
/// # Errors
/// [`FrameError`].
pub async fn write(stream: &mut UnixStream, message: &FromNode) -> Result<(), FrameError> {
    stream.write_all(&frame::encode(message)?).await?;
    Ok(())
}

async fn compile(
    stream: &mut UnixStream,
    node: &Arc<Node>,
    request: CompileRequest,
) -> Result<(), FrameError> {
    let (umask, around) = (request.umask, request.surroundings.clone());
    let (inv, answer) = begin(stream, node, request).await?;
    match answer {
        Answer::Replay(replay) => write(stream, &FromNode::Replay(replay)).await,
        Answer::Untouched => write(stream, &FromNode::Untouched).await,
        Answer::Run(plan, started) => match around.filter(confined_alike) {
            Some(around) => {
                let fds = match descriptors(stream).await {
                    Ok(fds) => fds,
                    Err(error) => {
                        node.worker.abandoned(*started);
                        return Err(error);
                    }
                };
                let spawn = Spawn {
                    inv,
                    umask,
                    around,
                    fds,
                    plan,
                };
                run_here(stream, node, spawn, *started).await
            }
            None => run_there(stream, node, plan, *started).await,
        },
    }
}

/// Looks, and has the caller told meanwhile that we do.
async fn begin(
    stream: &mut UnixStream,
    node: &Arc<Node>,
    request: CompileRequest,
) -> Result<(Arc<Invocation>, Answer), FrameError> {
    let line = stream.as_fd().try_clone_to_owned()?;
    let told = stream.as_fd().try_clone_to_owned()?;
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let here = node.clone();
    let look = move || {
        let place = here.waiting.begin(told);
        let same = same_view(&request) && pid.is_some_and(view::same_mounts);
        let above = pid.and_then(started::above);
        let (above, directories) = above.map(|a| (a.pid, a.directories)).unzip();
        let wrapper = request.wrapper.as_deref();
        let wrapper = wrapper.map(|path| PathBuf::from(OsStr::from_bytes(path)));
        let script = request.script;
        let caller = Caller {
            umask: request.umask,
            waits: &|| waits(&line),
            queued: &|queued| place.queue(queued),
            wrapper: wrapper.as_deref(),
            pid,
            above,
            no_stdin: request.no_stdin,
            ask: &|child| place.ask(child),
        };
        let inv = Arc::new(invocation(request, directories.unwrap_or_default()));
        let answer = match (same, script) {
            (false, _) => {
                let cwd = inv.cwd.to_string_lossy().into_owned();
                here.worker.declined("other-filesystem", cwd);
                Answer::Untouched
            }
            (true, true) => here.worker.begin_script(&inv, &caller),
            (true, false) => here.worker.begin(&inv, &caller),
        };
        (inv, answer)
    };
    // On this very thread, which costs no change to another one and back; where many are looked up
    // already, the rest wait for a thread, so that some are left for everything else.
    match node.looks.try_acquire() {
        Ok(_look) => Ok(tokio::task::block_in_place(look)),
        Err(_) => blocking(look).await,
    }
}

/// Whether the other end is still there. One that asked has nothing to say until it is answered.
fn waits(line: &OwnedFd) -> bool {
    use rustix::net::{RecvFlags, recv};
    let mut byte = [0];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    !matches!(recv(line, &mut byte, flags), Ok((0, _)))
}

/// The caller compiles; we hear how it ended, or that it is gone.
async fn run_there(
    stream: &mut UnixStream,
    node: &Arc<Node>,
    mut plan: RunPlan,
    started: Started,
) -> Result<(), FrameError> {
    if !plan.record {
        return write(stream, &FromNode::Run(plan)).await;
    }
    let before = Instant::now();
    let looked = tokio::task::block_in_place(|| node.hands.look(stream));
    tracing::debug!(took = ?before.elapsed(), "looked at who compiles");
    let hand = match looked {
        Ok(hand) => hand,
        Err(why) => {
            disown(node, started, why);
            plan.record = false;
            return write(stream, &FromNode::Run(plan)).await;
        }
    };
    let finished = match write(stream, &FromNode::Run(plan)).await {
        Ok(()) => hands::read_from(stream).await,
        Err(error) => Err(error),
    };
    match finished {
        Ok((ToNode::Finished(finished), sender)) => {
            // Of a compile that failed nothing is stored, and qwrap does not wait for an answer; of
            // a script that failed it does.
            let ours = || !finished.success && started.added_to_it();
            let as_it_came = tokio::task::block_in_place(ours);
            let again = || match finished.success {
                true => node.hands.look_again(hand, sender),
                false => Ok(()),
            };
            match tokio::task::block_in_place(again) {
                Ok(()) => record_blocking(node, started, finished).await?,
                Err(why) => disown(node, started, why),
            }
            let answer = match as_it_came {
                true => FromNode::Untouched,
                false => FromNode::Recorded,
            };
            write(stream, &answer).await
        }
        Ok(_) => {
            node.worker.abandoned(started);
            Err(FrameError::Body)
        }
        Err(error) => {
            node.worker.abandoned(started);
            Err(error)
        }
    }
}

/// Counts a compile that is not ours to vouch for.
fn disown(node: &Node, started: Started, why: Foreign) {
    node.hands
        .strange
        .warn(|| format!("a compile was reported by a stranger and is not stored: {why}"));
    node.worker.disowned(started);
}

async fn record_blocking(
    node: &Arc<Node>,
    started: Started,
    finished: Finished,
) -> Result<(), FrameError> {
    let node = node.clone();
    blocking(move || node.worker.record(started, &finished)).await?;
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FrameError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| io::Error::other(e).into())
}

/// Whether paths mean the same to the caller as to us.
fn same_view(request: &CompileRequest) -> bool {
    shim::file_id(Path::new("/")) == Some(request.root_id)
        && shim::file_id(Path::new(OsStr::from_bytes(&request.cwd))) == Some(request.cwd_id)
}

fn invocation(request: CompileRequest, started: Vec<PathBuf>) -> Invocation {
    let os = OsString::from_vec;
    Invocation {
        argv: request.argv.into_iter().map(os).collect(),
        env: request
            .env
            .into_iter()
            .map(|(k, v)| (os(k), os(v)))
            .collect(),
        cwd: PathBuf::from(os(request.cwd)),
        started,
    }
}

/// Whether a compiler that we spawn would be confined as the caller is.
fn confined_alike(around: &Surroundings) -> bool {
    surroundings::confinement().as_deref() == Some(&around.confinement)
}

/// The caller's descriptors: at least stdin, stdout and stderr.
async fn descriptors(stream: &mut UnixStream) -> Result<Vec<OwnedFd>, FrameError> {
    write(stream, &FromNode::Descriptors).await?;
    let receive = stream.async_io(tokio::io::Interest::READABLE, || {
        surroundings::receive_descriptors(&*stream)
    });
    let received = tokio::time::timeout(FIRST_WITHIN, receive).await;
    Ok(received.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??)
}

/// What spawning a compiler here takes.
struct Spawn {
    inv: Arc<Invocation>,
    umask: u32,
    around: Surroundings,
    fds: Vec<OwnedFd>,
    plan: RunPlan,
}

/// Runs the compiler here, with the caller's descriptors. If the caller goes away, so does it.
async fn run_here(
    stream: &mut UnixStream,
    node: &Arc<Node>,
    spawn: Spawn,
    started: Started,
) -> Result<(), FrameError> {
    let record = spawn.plan.record;
    let child = Arc::new(AtomicU64::new(0));
    let (pid, gone) = (child.clone(), child);
    write(stream, &FromNode::Spawned(spawn.plan.clone())).await?;
    let mut running = tokio::task::spawn_blocking(move || run_dressed(&spawn, &pid));
    let mut byte = [0];
    let outcome = tokio::select! {
        outcome = &mut running => outcome,
        _ = stream.read(&mut byte) => {
            end_group(&gone);
            running.await
        }
    };
    let outcome = match outcome.map_err(io::Error::other).and_then(|o| o) {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(%error, "the compiler could not be run here; its caller runs it");
            node.worker.abandoned(started);
            return write(stream, &FromNode::Untouched).await;
        }
    };
    let ended = Ended::from(outcome.status);
    if record {
        let finished = Finished {
            success: outcome.status.success(),
            stdout: outcome.stdout,
            stderr: outcome.stderr,
            duration_ms: u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX),
            // The compiler is a child of ours, and the job watches those itself.
            stopped: false,
        };
        record_blocking(node, started, finished).await?;
    }
    write(stream, &FromNode::Compiled(ended)).await
}

/// Blocks until the compiler has ended. The thread lives as long as the child, as the child's
/// death signal requires.
fn run_dressed(spawn: &Spawn, pid: &AtomicU64) -> io::Result<run::Outcome> {
    let Some((program, arguments)) = spawn.plan.argv.split_first() else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let mut command = Command::new(OsStr::from_bytes(program));
    command
        .args(arguments.iter().map(|a| OsStr::from_bytes(a)))
        .current_dir(&spawn.inv.cwd);
    surroundings::dress(
        &mut command,
        &spawn.inv.env,
        spawn.umask,
        &spawn.around,
        &spawn.fds,
    )?;
    let env = spawn.plan.env.iter();
    command.envs(env.map(|(k, v)| (OsStr::from_bytes(k), OsStr::from_bytes(v))));
    let showing = run::Showing {
        rewrites: Rewrites::new(&spawn.plan.rewrites),
        swallow_notifications: false,
    };
    let mut out = File::from(spawn.fds[1].try_clone()?);
    let mut err = File::from(spawn.fds[2].try_clone()?);
    let outcome = run::run_noting(&mut command, &showing, &mut out, &mut err, |id| {
        if pid.swap(u64::from(id), Ordering::SeqCst) == CALLER_GONE {
            pid.store(u64::from(id), Ordering::SeqCst);
            end_group(pid);
        }
    });
    pid.store(0, Ordering::SeqCst);
    outcome
}

/// Stands in place of a process id when the caller went away before there was one.
const CALLER_GONE: u64 = u64::MAX;

/// Kills the process group of a compiler that has nobody to compile for.
fn end_group(pid: &AtomicU64) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let raw = i32::try_from(pid.swap(CALLER_GONE, Ordering::SeqCst)).unwrap_or(0);
    if let Some(group) = Pid::from_raw(raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}
