//! Passphrases: from the terminal, unseen, or from a file or descriptor that a script gives.
//!
//! Enters: what was typed. Leaves: bytes that are wiped when they are dropped. Must never happen
//! here: an echo, a passphrase from an argument or the environment, a terminal left mute.

use super::team_args::PassphraseArgs;
use crate::rootkey::PASSPHRASE;
use anyhow::{Context, Result, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// What Ctrl-C sends where the terminal makes no signal of it.
const INTERRUPT: u8 = 3;

/// A passphrase.
pub type Passphrase = Zeroizing<Vec<u8>>;

/// The passphrase of a key that is sealed already.
///
/// # Errors
/// No terminal and no file, or what the system said.
pub fn known(from: &PassphraseArgs) -> Result<Passphrase> {
    match &from.passphrase_file {
        Some(path) => read_file(path),
        None => typed("Passphrase of the root key: "),
    }
}

/// A new passphrase; typed twice.
///
/// # Errors
/// As [`known`]; the two differ.
pub fn new(from: &PassphraseArgs) -> Result<Passphrase> {
    if let Some(path) = &from.passphrase_file {
        return read_file(path);
    }
    let first = typed("New passphrase of the root key: ")?;
    if !PASSPHRASE.contains(&first.len()) {
        bail!(
            "a passphrase has {} to {} bytes: choose another",
            PASSPHRASE.start(),
            PASSPHRASE.end()
        );
    }
    if typed("The same once more: ")? != first {
        bail!("the two passphrases differ: nothing was done, try again");
    }
    Ok(first)
}

/// The first line of a file.
fn read_file(path: &Path) -> Result<Passphrase> {
    let said = || format!("reading the passphrase from {}", path.display());
    let file = File::open(path).with_context(said)?;
    first_line(&mut BufReader::new(file)).with_context(said)
}

fn first_line(from: &mut impl BufRead) -> io::Result<Passphrase> {
    let most = *PASSPHRASE.end() as u64 + 2;
    let mut line = Zeroizing::new(Vec::with_capacity(*PASSPHRASE.end() + 2));
    from.take(most).read_until(b'\n', &mut line)?;
    while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}

/// Restores a terminal's modes when it goes.
struct Mute<'a>(&'a File, Termios);

impl Drop for Mute<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.0, OptionalActions::Flush, &self.1);
        let _ = writeln!(&mut &*self.0);
    }
}

/// Asks on the terminal itself, whatever stdin is.
fn typed(prompt: &str) -> Result<Passphrase> {
    let Ok(terminal) = File::options().read(true).write(true).open("/dev/tty") else {
        bail!("there is no terminal to ask for the passphrase on: give --passphrase-file FILE");
    };
    write!(&mut &terminal, "{prompt}")?;
    let before = tcgetattr(&terminal)?;
    let mut mute = before.clone();
    // Ctrl-C must not end this process while the terminal is mute: it is read as a character.
    mute.local_modes &= !(LocalModes::ECHO | LocalModes::ISIG);
    tcsetattr(&terminal, OptionalActions::Flush, &mute)?;
    let muted = Mute(&terminal, before);
    let line = first_line(&mut BufReader::new(&terminal))?;
    drop(muted);
    if line.contains(&INTERRUPT) {
        bail!("given up: nothing was done");
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_the_first_line_and_bounded() {
        let mut two = io::Cursor::new(b"correct horse\r\nbattery\n");
        assert_eq!(*first_line(&mut two).unwrap(), b"correct horse");
        let mut endless = BufReader::new(io::repeat(b'x'));
        assert!(!PASSPHRASE.contains(&first_line(&mut endless).unwrap().len()));
    }
}
