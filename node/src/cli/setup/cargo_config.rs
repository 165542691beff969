//! cargo's own config: which compiler wrapper it names, and the line that names qwrap.
//!
//! Enters: the text of a `config.toml` with somebody's settings and comments. Leaves: the same
//! text with one line more, or without it. Every edit is parsed again and compared before it is
//! used: what is not understood is left alone. Must never happen here: another wrapper replaced,
//! or a line touched that setup did not write.

use quarry_wrapper::digests::open_regular;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
use toml::{Table, Value};

/// What stands behind each line that setup wrote, so that undo finds it.
const MARK: &str = "# by `qnode setup`";
/// Size of a config that is read, bytes: far above what people write.
const MAX_FILE: u64 = 1 << 20;

/// Why cargo's config is left as it is.
#[derive(Debug, Error)]
pub enum EditError {
    /// It cannot be read or written.
    #[error("cannot use {path}: {source}; mend its permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// cargo would not understand it either.
    #[error("{path} does not parse ({why}): mend it, cargo reads it too")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        why: String,
    },
    /// No edit keeps everything else as it is.
    #[error(
        "{path} is written in a way that setup does not edit: add under [build] yourself: {line}"
    )]
    ByHand {
        /// The file.
        path: PathBuf,
        /// What is missing.
        line: String,
    },
    /// The wrapper in it is not setup's.
    #[error("the rustc-wrapper in {0} was not written by setup: remove that line yourself")]
    NotMarked(PathBuf),
}

/// The config file of a cargo home: `config.toml`, or the older name, which wins where it exists.
#[must_use]
pub fn file_in(cargo_home: &Path) -> PathBuf {
    let older = cargo_home.join("config");
    if older.is_file() {
        older
    } else {
        cargo_home.join("config.toml")
    }
}

/// The text of a config file; empty where there is none.
///
/// # Errors
/// [`EditError::Io`].
pub fn read(path: &Path) -> Result<String, EditError> {
    let failed = |source| EditError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(failed(io::Error::other("it is larger than 1 MiB")));
    }
    Ok(text)
}

fn parse(path: &Path, text: &str) -> Result<Table, EditError> {
    toml::from_str(text).map_err(|e| EditError::Syntax {
        path: path.to_owned(),
        why: e.message().to_owned(),
    })
}

/// The wrapper that a config names.
///
/// # Errors
/// [`EditError::Syntax`].
pub fn wrapper(path: &Path, text: &str) -> Result<Option<String>, EditError> {
    let table = parse(path, text)?;
    let build = table.get("build").and_then(Value::as_table);
    let named = build
        .and_then(|b| b.get("rustc-wrapper"))
        .and_then(Value::as_str);
    Ok(named.filter(|w| !w.is_empty()).map(str::to_owned))
}

/// The text with `wrapper` named as `rustc-wrapper`; the caller saw that none is.
///
/// # Errors
/// [`EditError::Syntax`], [`EditError::ByHand`].
pub fn add(path: &Path, text: &str, wrapper: &str) -> Result<String, EditError> {
    let line = format!("rustc-wrapper = {}", Value::String(wrapper.to_owned()));
    let mut wanted = parse(path, text)?;
    let build = wanted
        .entry("build")
        .or_insert_with(|| Value::Table(Table::new()));
    if let Some(build) = build.as_table_mut() {
        build.insert(
            "rustc-wrapper".to_owned(),
            Value::String(wrapper.to_owned()),
        );
    }
    let newline = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let ours = format!("{line} {MARK}\n");
    let candidates = [
        in_build_table(text, &ours),
        Some(format!("{text}{newline}[build] {MARK}\n{ours}")),
        Some(format!("build.{ours}{text}")),
    ];
    candidates
        .into_iter()
        .flatten()
        .find(|edited| parse(path, edited).is_ok_and(|t| t == wanted))
        .ok_or_else(|| EditError::ByHand {
            path: path.to_owned(),
            line,
        })
}

/// The line right below the header of the `[build]` table, where there is one.
fn in_build_table(text: &str, line: &str) -> Option<String> {
    let mut at = 0;
    for each in text.split_inclusive('\n') {
        at += each.len();
        let header = each.split('#').next().unwrap_or_default().trim();
        if header
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .is_some_and(|h| h.trim() == "build")
        {
            let newline = if each.ends_with('\n') { "" } else { "\n" };
            return Some(format!("{}{newline}{line}{}", &text[..at], &text[at..]));
        }
    }
    None
}

/// The text without what [`add`] wrote; `None` where it wrote nothing.
///
/// # Errors
/// [`EditError::Syntax`]; [`EditError::NotMarked`] where qwrap is named by another hand.
pub fn remove(path: &Path, text: &str) -> Result<Option<String>, EditError> {
    let marked = |line: &str| line.trim_end().ends_with(MARK);
    if !text.lines().any(marked) {
        let ours = wrapper(path, text)?.is_some_and(|w| is_qwrap(&w));
        return if ours {
            Err(EditError::NotMarked(path.to_owned()))
        } else {
            Ok(None)
        };
    }
    let mut wanted = parse(path, text)?;
    if let Some(build) = wanted.get_mut("build").and_then(Value::as_table_mut) {
        build.remove("rustc-wrapper");
    }
    let without = |keep_header: bool| -> String {
        text.split_inclusive('\n')
            .filter(|l| !marked(l) || (keep_header && l.trim_start().starts_with('[')))
            .collect()
    };
    let same = |edited: &str, wanted: &Table| parse(path, edited).is_ok_and(|t| t == *wanted);
    // Somebody may have added a setting below the header that we wrote: then it stays.
    let kept = without(true);
    if wanted
        .get("build")
        .and_then(Value::as_table)
        .is_some_and(Table::is_empty)
    {
        let bare = without(false);
        wanted.remove("build");
        if same(&bare, &wanted) {
            return Ok(Some(bare));
        }
        wanted.insert("build".to_owned(), Value::Table(Table::new()));
    }
    if same(&kept, &wanted) {
        return Ok(Some(kept.replace(&format!("[build] {MARK}"), "[build]")));
    }
    let line = format!("(remove the lines that end in {MARK:?})");
    Err(EditError::ByHand {
        path: path.to_owned(),
        line,
    })
}

/// Whether a wrapper's name or path is that of qwrap.
#[must_use]
pub fn is_qwrap(wrapper: &str) -> bool {
    Path::new(wrapper).file_name().is_some_and(|n| n == "qwrap")
}

/// Puts `text` into the file in one step, with the mode it had, through a link to where it lies;
/// an empty text removes the file.
///
/// # Errors
/// [`EditError::Io`].
pub fn write(path: &Path, text: &str) -> Result<(), EditError> {
    let failed = |source| EditError::Io {
        path: path.to_owned(),
        source,
    };
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if text.is_empty() {
        return match fs::remove_file(&real) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(e)),
            _ => Ok(()),
        };
    }
    let mode = fs::metadata(&real).map_or(0o644, |m| m.permissions().mode() & 0o777);
    if let Some(parent) = real.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let aside = real.with_extension(format!("quarry-{}", std::process::id()));
    let put = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(mode)
            .open(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, &real)
    };
    put().map_err(|e| {
        let _ = fs::remove_file(&aside);
        failed(e)
    })
}

#[cfg(test)]
#[path = "cargo_config_tests.rs"]
mod tests;
