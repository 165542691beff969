//! Answers the command line's requests: one to a connection, worked on by a blocking thread.
//!
//! Enters: JSON in a control frame. Leaves: progress and one final reply. Nothing is printed
//! here, and nothing is decided that membership, store or policy decide.

use super::agree;
use super::attest;
use super::belief;
use super::blast;
use super::inspect;
use super::life;
use super::projects;
use super::settle;
use super::why;
use super::{CheckReport, FreedReport, Progress, Reply, Request};
use crate::find::Find;
use crate::ipc_server;
use crate::runtime::Node;
use crate::store::{Fault, Purge, Select};
use quarry_trust::{BuilderId, Member, Roster};
use quarry_wrapper::ipc::frame::FrameError;
use quarry_wrapper::ipc::protocol::FromNode;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Progress that has not been written yet.
const PROGRESS_MAX: usize = 16;
/// Size of a request, bytes: the longest is a signed charter in hexadecimal.
const REQUEST_MAX: usize = 4 << 20;
/// How long `leave` waits for a peer to take notice.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// How long `join` and `approve` may wait, at most: a day.
const WAIT_MOST_S: u64 = 24 * 60 * 60;

/// Reads the request, works on it, writes replies until the final one.
///
/// # Errors
/// [`FrameError`] where the connection breaks.
pub async fn converse(
    stream: &mut UnixStream,
    node: &Arc<Node>,
    bytes: &[u8],
) -> Result<(), FrameError> {
    let request = if bytes.len() > REQUEST_MAX {
        Err("the request is too large".to_owned())
    } else {
        serde_json::from_slice::<Request>(bytes).map_err(|e| {
            format!("the node does not know this request ({e}): is it another version? run `qnode restart`")
        })
    };
    let request = match request {
        Ok(request) => request,
        Err(why) => return send(stream, &Reply::Failed(why)).await,
    };
    let stop = request == Request::Stop;
    let rotates = matches!(request, Request::Life(super::LifeRequest::Rotate { .. }));
    let (say, mut said) = mpsc::channel::<Reply>(PROGRESS_MAX);
    let worker = node.clone();
    let working = tokio::task::spawn_blocking(move || {
        let progress = say.clone();
        let reply = answer(&worker, request, &mut |p| {
            // Never waits: a request may be inside a runtime of its own when it has news.
            if progress.try_send(Reply::Progress(p)).is_err() {
                tracing::debug!("progress was dropped: nobody reads it");
            }
        });
        let _ = say.blocking_send(reply.unwrap_or_else(Reply::Failed));
    });
    while let Some(reply) = said.recv().await {
        send(stream, &reply).await?;
    }
    if working.await.is_err() {
        let why = "the node failed at this request: `qnode log` says why".to_owned();
        send(stream, &Reply::Failed(why)).await?;
    }
    if stop {
        node.stop();
    }
    // Who we are now is read from the keys at the start.
    if rotates {
        node.renew_keys();
    }
    Ok(())
}

async fn send(stream: &mut UnixStream, reply: &Reply) -> Result<(), FrameError> {
    let bytes = serde_json::to_vec(reply).map_err(|_| FrameError::Body)?;
    ipc_server::write(stream, &FromNode::Control(bytes)).await
}

/// The final reply, or why there is none.
type Answer = Result<Reply, String>;

fn done(report: &impl Serialize) -> Answer {
    serde_json::to_value(report)
        .map(Reply::Done)
        .map_err(|e| e.to_string())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn answer(node: &Arc<Node>, request: Request, say: &mut dyn FnMut(Progress)) -> Answer {
    let joining = &node.joining;
    match request {
        Request::Status => done(&inspect::status(node)),
        Request::Stats { reset } => {
            let stats = node.counters.stats();
            if reset {
                node.counters.reset();
            }
            done(&stats)
        }
        Request::Trust { workspace } => done(&belief::trust(node, &workspace)),
        Request::Peers => done(&inspect::peers(node)),
        Request::Members => done(&inspect::members(node)?),
        Request::Show { key } => done(&inspect::show(node, &key)?),
        Request::Recent => done(&node.counters.recent()),
        Request::Why {
            crate_name,
            workspace,
            all,
        } => done(&why::why(node, crate_name.as_deref(), &workspace, all)?),
        Request::Health => done(&inspect::health(node)),
        Request::Agree => done(&agree::notes(node)),
        Request::TeamCreate { name, member } => done(&joining.found(&name, &member).map_err(text)?),
        Request::Invite { role, expires_s } => {
            done(&joining.invite(&role, expires_s).map_err(text)?)
        }
        Request::Join {
            to,
            member,
            within_s,
        } => {
            let within = Duration::from_secs(within_s.min(WAIT_MOST_S));
            done(&joining.join(&to, &member, within, say).map_err(text)?)
        }
        Request::Knocks { member, within_s } => done(
            &joining
                .knocks(&member, within_s.min(WAIT_MOST_S), say)
                .map_err(text)?,
        ),
        Request::Approve { code, role } => done(&joining.approve(&code, &role).map_err(text)?.0),
        Request::Deny { code } => done(&joining.deny(&code).map_err(text)?.0),
        Request::Revoke { member } => {
            let taken = joining.revoke(&member).map_err(text)?;
            done(&life::taken_report(node, taken))
        }
        Request::Life(request) => life::answer(node, request),
        Request::Project(request) => done(&projects::answer(node, &request)?),
        Request::Leave => leave(node, say),
        Request::Gc { limit } => gc(node, limit),
        Request::Settle => done(&settle::everything(node).map_err(text)?),
        Request::Fsck { repair } => fsck(node, repair),
        Request::Purge {
            builder,
            crate_name,
            all,
            dry_run,
        } => purge(node, builder.as_deref(), crate_name, all, dry_run),
        Request::Attest { digest } => done(&attest::attest(node, &digest)?),
        Request::Judge { builder, entry } => done(&attest::judge(node, &builder, entry)?),
        Request::Blast { builder } => done(&blast::blast(node, find_builder(node, &builder)?)?),
        Request::Flush => flush(node),
        Request::Stop => {
            node.worker.flush().map_err(text)?;
            done(&std::process::id())
        }
    }
}

fn leave(node: &Node, say: &mut dyn FnMut(Progress)) -> Answer {
    let left = node.joining.leave(LEAVE_WITHIN).map_err(text)?;
    if !left.told {
        say(Progress::Line(
            "no teammate was reached: ask an admin to `qnode revoke` this member".to_owned(),
        ));
    }
    done(&left.team)
}

fn flush(node: &Node) -> Answer {
    node.worker.wait_loosened();
    node.worker.flush().map_err(text)?;
    node.swarm.publish();
    done(&node.store.counts().map_err(text)?.entries)
}

fn freed(node: &Node, report: crate::store::GcReport) -> Answer {
    done(&FreedReport {
        entries: report.entries,
        objects: report.objects,
        bytes: report.bytes,
        left: node.store.counts().map_err(text)?.bytes,
    })
}

fn gc(node: &Node, limit: Option<u64>) -> Answer {
    let report = node
        .store
        .gc(limit.unwrap_or(node.config.store_limit))
        .map_err(text)?;
    if report.entries > 0 {
        node.swarm.roster_changed();
    }
    freed(node, report)
}

fn fsck(node: &Node, repair: bool) -> Answer {
    let report = node.store.fsck(repair).map_err(text)?;
    done(&CheckReport {
        entries: report.entries,
        objects: report.objects,
        problems: report.faults.iter().map(fault_line).collect(),
        found: report.faults_total,
        repaired: if report.repaired {
            report.faults_total
        } else {
            0
        },
    })
}

/// One fault in words.
fn fault_line(fault: &Fault) -> String {
    match fault {
        Fault::ObjectMissing(object) => format!("object {object} is not here"),
        Fault::ObjectDamaged(object) => format!("object {object} is damaged"),
        Fault::EntryUnreadable(action) => format!("an entry under {action} cannot be read"),
        Fault::EntryIncomplete(action, _, object) => {
            format!("the entry under {action} names object {object}, which is missing or damaged")
        }
        Fault::LookupBroken => "a row of the lookup index belongs to no entry".to_owned(),
        Fault::StrayFile(path) => format!("no entry knows the file {}", path.display()),
        Fault::CountsWrong => "the kept counts are not what a recount finds".to_owned(),
        Fault::DatabaseDamaged(why) => format!("the database itself is damaged: {why}"),
    }
}

fn purge(
    node: &Node,
    builder: Option<&str>,
    crate_name: Option<String>,
    all: bool,
    dry_run: bool,
) -> Answer {
    let select = match (builder, crate_name, all) {
        (Some(builder), None, false) => Select::Builder(find_builder(node, builder)?),
        (None, Some(name), false) => Select::Crate(name),
        (None, None, true) => Select::All,
        _ => return Err("purge takes exactly one of --builder, --crate and --all".to_owned()),
    };
    let report = node.store.purge(&Purge { select, dry_run }).map_err(text)?;
    if !dry_run && report.entries > 0 {
        node.swarm.roster_changed();
    }
    freed(node, report)
}

/// A builder by its whole key, by a prefix of ours, or by what names a present or former member.
fn find_builder(node: &Node, wanted: &str) -> Result<BuilderId, String> {
    if let Some(builder) = BuilderId::from_hex(wanted) {
        return Ok(builder);
    }
    let own = node.team.builder();
    if wanted.len() >= 4 && own.to_hex().starts_with(wanted) {
        return Ok(own);
    }
    // One look at the roster: between two of them a member may be revoked, and be found by neither.
    let found = node.team.roster(|r| match former(r, wanted) {
        Some(builder) => Ok(builder),
        None => r.find(wanted).map(|m| m.builder),
    });
    match found {
        Some(found) => found.map_err(text),
        None => Err(format!(
            "no builder is called {wanted:?}: give the whole key, as `qnode show` prints it"
        )),
    }
}

/// The one former member of this name, or whose name or key begins like that; where a present one
/// is called so, too, it is that one who is meant.
fn former(roster: &Roster, wanted: &str) -> Option<BuilderId> {
    let mut exact = roster.former().filter(|(m, _)| m.name == wanted);
    if let Some((member, _)) = exact.next() {
        return Some(member.builder);
    }
    if roster.find(wanted).is_ok() {
        return None;
    }
    let fits = |m: &Member| {
        let key = wanted.len() >= 4 && m.builder.to_hex().starts_with(wanted);
        key || m.name.starts_with(wanted)
    };
    let mut found = roster.former().filter(|(m, _)| fits(m));
    let (member, _) = found.next()?;
    found.next().is_none().then_some(member.builder)
}
