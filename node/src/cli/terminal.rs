//! Asking a person: one question, one answer on the terminal.
//!
//! Enters: a question. Leaves: yes or no. Without a terminal nothing is assumed: the command
//! fails and names the option that answers for a script.

use anyhow::{Result, bail};
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// Length of an answer that is read, bytes.
const MAX_ANSWER: u64 = 256;

/// Whether a person can be asked.
#[must_use]
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on stderr, reads from stdin; only `y` or `yes` is yes.
///
/// # Errors
/// Without a terminal: says `otherwise`, the option to give instead.
pub fn confirm(question: &str, otherwise: &str) -> Result<bool> {
    if !is_there() {
        bail!("{question} There is no terminal to ask on: {otherwise}");
    }
    let mut err = io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(MAX_ANSWER).read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
