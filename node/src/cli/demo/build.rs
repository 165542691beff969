//! One developer's build: cargo with qwrap, watched while it goes.
//!
//! Enters: a stage and a developer. Leaves: how long it took, how many units, which programs
//! came out. A line on the terminal follows the build; where there is none it stays away.

use super::desk_files;
use super::stage::{Developer, Stage, transcript};
use crate::cli::print;
use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// How long a build may take: many times what it takes on a slow laptop.
const BUILD_WITHIN: Duration = Duration::from_secs(600);
/// How often the line is drawn anew.
const DRAW: Duration = Duration::from_millis(100);
/// Messages of cargo on their way to the line.
const MESSAGES: usize = 64;
/// Lines of cargo's own words shown where it fails.
const SHOWN: usize = 30;

/// A build that went through.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Built {
    /// Wall time of cargo.
    pub took: Duration,
    /// Units that cargo reported.
    pub units: usize,
    /// Programs, as cargo named them.
    pub programs: Vec<PathBuf>,
}

impl Built {
    /// One line about it.
    #[must_use]
    pub fn summary(&self) -> String {
        let ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        format!(
            "{} in {}",
            print::count(self.units as u64, "unit", "units"),
            print::millis(ms)
        )
    }
}

/// What cargo says of one unit; the fields that matter here.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    target: Option<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

/// Builds a developer's checkout.
///
/// # Errors
/// The end of what cargo said, where it failed.
pub fn build(stage: &Stage, who: &Developer) -> Result<Built> {
    let words = stage.place().join(format!("{}-cargo.txt", who.name));
    let mut cargo = stage.cargo(who);
    cargo
        .args([
            "build",
            "--offline",
            "--message-format=json-render-diagnostics",
            "--target-dir",
        ])
        .arg(who.checkout.join("target"))
        .stdout(std::process::Stdio::piped())
        .stderr(transcript(&words)?);
    let started = Instant::now();
    let mut child = cargo.spawn().map_err(|e| {
        anyhow!("cannot run cargo: {e}; the demo needs it in PATH (https://rustup.rs)")
    })?;
    let messages = child.stdout.take().map(follow);
    let mut built = Built::default();
    let line = LiveLine::new(&format!("{} builds", who.title()));
    while let Some(messages) = &messages {
        match messages.recv_timeout(DRAW) {
            Ok(message) => built.take(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        line.draw(&built, started.elapsed());
        if started.elapsed() > BUILD_WITHIN || stage.pause(Duration::ZERO).is_err() {
            break;
        }
    }
    let succeeded = stage.wait(&mut child, BUILD_WITHIN.saturating_sub(started.elapsed()));
    line.clear();
    if !succeeded? {
        bail!("{} build failed:\n{}", who.possessive(), last_words(&words));
    }
    built.took = started.elapsed();
    Ok(built)
}

impl Built {
    fn take(&mut self, message: Message) {
        if message.reason != "compiler-artifact" {
            return;
        }
        self.units += 1;
        // A build script is an executable, too, but not one to run by hand.
        let script = message
            .target
            .is_some_and(|t| t.name == "build-script-build");
        if let Some(program) = message.executable
            && !script
        {
            self.programs.push(program);
        }
    }
}

/// cargo's messages, as they come; lines that are none are left out.
fn follow(stdout: ChildStdout) -> Receiver<Message> {
    let (send, receive) = sync_channel(MESSAGES);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(io::Result::ok) {
            if let Ok(message) = serde_json::from_str(&line)
                && send.send(message).is_err()
            {
                return;
            }
        }
    });
    receive
}

/// How many units the bundled workspace has: a target for each package, and the build scripts.
fn units_expected() -> usize {
    let is_unit = |path: &str| path.ends_with("/Cargo.toml") || path.ends_with("/build.rs");
    desk_files::FILES
        .iter()
        .filter(|(path, _)| is_unit(path))
        .count()
}

/// A line that is drawn over itself on a terminal, and nowhere else.
struct LiveLine {
    what: String,
    terminal: bool,
}

impl LiveLine {
    fn new(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            terminal: io::stderr().is_terminal(),
        }
    }

    fn draw(&self, built: &Built, since: Duration) {
        if self.terminal {
            let text = progress(&self.what, built.units, units_expected(), since);
            let _ = write!(io::stderr(), "\r\x1b[2K{text}");
        }
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

fn progress(what: &str, done: usize, all: usize, since: Duration) -> String {
    const WIDTH: usize = 24;
    let all = all.max(done).max(1);
    let filled = done * WIDTH / all;
    let bar: String = (0..WIDTH)
        .map(|at| if at < filled { '█' } else { '·' })
        .collect();
    format!(
        "  {what:<16} {bar} {done} of {all} units, {:.1} s",
        since.as_secs_f32()
    )
}

fn last_words(words: &Path) -> String {
    let text = fs::read(words)
        .map(|b| String::from_utf8_lossy(&b).into_owned())
        .unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_messages_are_counted() {
        let mut built = Built::default();
        for line in [
            r#"{"reason":"compiler-artifact","target":{"name":"desk_text"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"build-script-build"},"executable":"/t/b"}"#,
            r#"{"reason":"build-script-executed","package_id":"x"}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"desk"},"executable":"/t/desk"}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ] {
            built.take(serde_json::from_str(line).unwrap());
        }
        assert_eq!(built.units, 3);
        assert_eq!(built.programs, [PathBuf::from("/t/desk")]);
    }

    #[test]
    fn the_line_fills_and_never_overflows() {
        let second = Duration::from_millis(1250);
        assert!(progress("Bob builds", 0, 10, second).contains("··· 0 of 10 units, 1.2 s"));
        assert!(progress("Bob builds", 12, 10, second).contains("███ 12 of 12 units"));
        assert!(progress("Bob builds", 0, 0, second).contains("0 of 1"));
    }

    #[test]
    fn the_workspace_has_the_units_that_the_line_counts_to() {
        assert!(units_expected() > 3, "{}", units_expected());
    }
}
