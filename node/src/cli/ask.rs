//! Asking the node: one request to a connection, any number of progress reports, one answer.
//!
//! Enters: a [`Request`]. Leaves: its report, decoded. Connects by itself instead of through the
//! wrapper's client, because a person may well wait for a node that the wrapper gave up for a
//! while, and because a slow answer to a person must not make wrappers give up.

use crate::control::{Progress, Reply, Request};
use anyhow::{Result, anyhow, bail};
use quarry_wrapper::home::Home;
use quarry_wrapper::ipc::client::{check_peer, is_absent, with_short_path};
use quarry_wrapper::ipc::frame;
use quarry_wrapper::ipc::protocol::{FromNode, ToNode};
use serde::de::DeserializeOwned;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long a node may take for what it only has to look up. It answers these in milliseconds;
/// a busy disk may stall it for seconds.
pub const SOON: Duration = Duration::from_secs(20);
/// How long a node may take for what reads or removes a whole store, or waits for people.
pub const EVENTUALLY: Duration = Duration::from_secs(3600);

/// The home that the environment names, checked to be ours.
///
/// # Errors
/// Why there is none.
pub fn home() -> Result<Home> {
    let home = Home::from_env().map_err(|e| anyhow!("{e}"))?;
    home.check().map_err(|e| anyhow!("{e}"))?;
    Ok(home)
}

/// The connection ended before there was an answer: its node has ended, or just ends.
#[derive(Debug, thiserror::Error)]
#[error("the node went away before it answered ({0}): `qnode log` may say why")]
pub struct WentAway(String);

/// A connection to the node, for one request.
pub struct Line(UnixStream);

impl Line {
    /// Connects to the node of `home`; `None` where none runs.
    ///
    /// # Errors
    /// What the system said, and what to do.
    pub fn open(home: &Home) -> Result<Option<Self>> {
        let opened = with_short_path(&home.socket(), |path| UnixStream::connect(path))
            .and_then(|stream| check_peer(&stream).map(|()| stream));
        match opened {
            Ok(stream) => Ok(Some(Self(stream))),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => bail!(
                "cannot reach the node through {}: {e}; `qnode doctor` says more",
                home.socket().display()
            ),
        }
    }

    /// Asks, shows progress with `show`, and returns the report as it came. Waits at most
    /// `within` for each step.
    ///
    /// # Errors
    /// The node's own words where it could not do it; else why there is no answer.
    pub fn ask(
        self,
        request: &Request,
        within: Duration,
        mut show: impl FnMut(Progress),
    ) -> Result<serde_json::Value> {
        let mut stream = &self.0;
        let body = serde_json::to_vec(request)?;
        self.0.set_write_timeout(Some(SOON))?;
        self.0.set_read_timeout(Some(within))?;
        frame::write(&mut stream, &ToNode::Control(body)).map_err(|e| broken(&e))?;
        loop {
            let reply = match frame::read(&mut stream).map_err(|e| broken(&e))? {
                FromNode::Control(bytes) => serde_json::from_slice::<Reply>(&bytes),
                FromNode::Busy => bail!("the node is busy: try again in a moment"),
                _ => bail!("the node's answer is none to this request: `qnode restart`"),
            };
            match reply {
                Ok(Reply::Progress(progress)) => show(progress),
                Ok(Reply::Done(value)) => return Ok(value),
                Ok(Reply::Failed(why)) => bail!("{}", super::print::clean(&why)),
                Err(e) => bail!("cannot read the node's answer ({e}): `qnode restart`"),
            }
        }
    }
}

fn broken(error: &frame::FrameError) -> anyhow::Error {
    match error {
        frame::FrameError::Io(e)
            if matches!(
                e.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ) =>
        {
            anyhow!(
                "the node did not answer in time: `qnode log` may say why, `qnode restart` ends it"
            )
        }
        frame::FrameError::Io(e) => WentAway(e.to_string()).into(),
        other => anyhow!("{other}"),
    }
}

/// Asks the node that runs; a progress line goes to stderr.
///
/// # Errors
/// That none runs, or as [`Line::ask`].
pub fn value(request: &Request, within: Duration) -> Result<serde_json::Value> {
    let home = home()?;
    let Some(line) = Line::open(&home)? else {
        bail!("{}", none_runs(&home))
    };
    line.ask(request, within, show)
}

/// As [`value`], decoded.
///
/// # Errors
/// As [`value`].
pub fn report<T: DeserializeOwned>(request: &Request, within: Duration) -> Result<T> {
    decode(value(request, within)?)
}

/// A report as its type.
///
/// # Errors
/// That the node is of another version.
pub fn decode<T: DeserializeOwned>(value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| {
        anyhow!("the node's report is not of this version ({e}): `qnode restart` runs this one")
    })
}

/// What to say where no node runs.
#[must_use]
pub fn none_runs(home: &Home) -> String {
    format!(
        "no node runs in {}: start one with `qnode start`",
        home.path().display()
    )
}

/// Progress as a line on stderr.
pub fn show(progress: Progress) {
    match progress {
        Progress::Line(text) => super::print::note(super::print::clean(&text)),
        Progress::Code { code, team, with } => super::print::note(super::print::clean(&format!(
            "Compare this code with {with}'s screen (team {team}): {code}"
        ))),
    }
}
