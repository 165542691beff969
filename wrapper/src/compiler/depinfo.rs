//! The dep-info file (`.d`) that rustc writes and cargo reads.
//!
//! Enters: the file's bytes, from rustc or from a store. Leaves: the input files and the
//! variables that it names; the stored form, in which paths are names and variables have no
//! values (they travel as digests only); the file for another checkout. Must never happen here:
//! a value of a variable in the stored form, a path that the stored form made up.
//!
//! The format is rustc's own (`rustc_interface::passes::write_out_deps`): a line
//! `OUTPUT: INPUT INPUT…` for each output, in which only spaces of an input are escaped, by a
//! backslash; a line `INPUT:` for each input; a line `# env-dep:NAME[=VALUE]` for each variable,
//! with `\n`, `\r` and `\\` escaped. Cargo reads the inputs of the first line, and the variables.

use crate::paths::{Named, Roots};
use std::ffi::OsString;
use std::path::Path;
use thiserror::Error;

/// Size of a dep-info file, in bytes. A thousand outputs and inputs with the longest paths fit.
pub const MAX_BYTES: usize = 16 << 20;
/// Input files of one compile. The largest crates have some ten thousand.
pub const MAX_FILES: usize = 50_000;
/// Outputs of one compile: rustc writes a handful.
pub const MAX_OUTPUTS: usize = 1_000;
/// Variables of one compile.
pub const MAX_VARIABLES: usize = 1_000;

const ENV_DEP: &str = "# env-dep:";

/// Why a dep-info file is not used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DepInfoError {
    /// Larger than is looked at.
    #[error(
        "the dep-info file exceeds {MAX_BYTES} bytes, {MAX_OUTPUTS} outputs, {MAX_FILES} files or {MAX_VARIABLES} variables; the compile is not cached"
    )]
    TooLarge,
    /// Not UTF-8.
    #[error("the dep-info file is not UTF-8; the compile is not cached")]
    NotUtf8,
    /// A line that rustc does not write.
    #[error("line {0} of the dep-info file is none that rustc writes; the compile is not cached")]
    Line(usize),
    /// A stored name that means no path here.
    #[error("a name in a stored dep-info file means no path in this checkout; it is compiled here")]
    Name,
    /// A path without a name.
    #[error("a path in the dep-info file has no name; the compile is not cached")]
    Nameless,
}

/// A dep-info file, taken apart. All paths unescaped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DepInfo {
    /// The outputs, in order, each depending on every input.
    pub outputs: Vec<String>,
    /// The inputs, in order.
    pub files: Vec<String>,
    /// The variables that were read; `None` for one that was not set.
    pub env: Vec<(String, Option<String>)>,
}

impl DepInfo {
    /// Reads what rustc wrote.
    ///
    /// # Errors
    /// Any [`DepInfoError`] but those of names.
    pub fn parse(bytes: &[u8]) -> Result<Self, DepInfoError> {
        if bytes.len() > MAX_BYTES {
            return Err(DepInfoError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| DepInfoError::NotUtf8)?;
        let mut out = Self::default();
        // Not `lines`, which takes a carriage return for a part of the line's end: it is the end
        // of a file's name.
        for (number, line) in (1..).zip(text.split('\n')) {
            let wrong = || DepInfoError::Line(number);
            if let Some(variable) = line.strip_prefix(ENV_DEP) {
                let (name, value) = variable
                    .split_once('=')
                    .map_or((variable, None), |(n, v)| (n, Some(v)));
                let value = value.map(unescaped).transpose().map_err(|()| wrong())?;
                out.env
                    .push((unescaped(name).map_err(|()| wrong())?, value));
            } else if line.is_empty() || line.starts_with('#') {
                // Empty lines part the sections; other comments mean nothing to cargo.
            } else if let Some((output, inputs)) = line.split_once(": ") {
                let inputs = files(inputs);
                // Every output has the same inputs: another list is a line torn by its names.
                if !out.outputs.is_empty() && inputs != out.files {
                    return Err(wrong());
                }
                out.files = inputs;
                out.outputs.push(output.to_owned());
            } else if !line.ends_with(':') {
                return Err(wrong());
            }
            let outputs = out.outputs.len() > MAX_OUTPUTS;
            if outputs || out.files.len() > MAX_FILES || out.env.len() > MAX_VARIABLES {
                return Err(DepInfoError::TooLarge);
            }
        }
        if out.outputs.is_empty() {
            Err(DepInfoError::Line(0))
        } else {
            Ok(out)
        }
    }

    /// The file as rustc writes it.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut out = String::new();
        let inputs: Vec<String> = self
            .files
            .iter()
            .map(|file| file.replace(' ', "\\ "))
            .collect();
        let joined = inputs.join(" ");
        for output in &self.outputs {
            out.push_str(&format!("{output}: {joined}\n\n"));
        }
        for input in &inputs {
            out.push_str(&format!("{input}:\n"));
        }
        if !self.env.is_empty() {
            out.push('\n');
        }
        for (name, value) in &self.env {
            let value = value
                .as_ref()
                .map(|v| format!("={}", escaped(v)))
                .unwrap_or_default();
            out.push_str(&format!("{ENV_DEP}{}{value}\n", escaped(name)));
        }
        out.into_bytes()
    }

    /// The stored form: absolute paths are names, variables have no values.
    ///
    /// # Errors
    /// [`DepInfoError::Nameless`] where a path cannot be named.
    pub fn to_stored(&self, roots: &Roots) -> Result<Vec<u8>, DepInfoError> {
        let name = |path: &String| named(path, roots);
        let stored = Self {
            outputs: self.outputs.iter().map(name).collect::<Result<_, _>>()?,
            files: self.files.iter().map(name).collect::<Result<_, _>>()?,
            env: self
                .env
                .iter()
                .map(|(variable, _)| (variable.clone(), None))
                .collect(),
        };
        Ok(stored.render())
    }

    /// The file for this checkout, from its stored form. The values of the variables are the
    /// caller's: the key has made sure that they are what the entry was compiled with.
    ///
    /// # Errors
    /// Any [`DepInfoError`].
    pub fn restore(
        stored: &[u8],
        roots: &Roots,
        var: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Vec<u8>, DepInfoError> {
        let stored = Self::parse(stored)?;
        let path = |name: &String| located(name, roots);
        let value = |(name, _): &(String, Option<String>)| {
            let value = var(name).map(|v| v.into_string().map_err(|_| DepInfoError::NotUtf8));
            Ok((name.clone(), value.transpose()?))
        };
        let here = Self {
            outputs: stored.outputs.iter().map(path).collect::<Result<_, _>>()?,
            files: stored.files.iter().map(path).collect::<Result<_, _>>()?,
            env: stored.env.iter().map(value).collect::<Result<_, _>>()?,
        };
        Ok(here.render())
    }
}

/// A relative path is the same everywhere: it stays as it is.
fn named(path: &str, roots: &Roots) -> Result<String, DepInfoError> {
    if !Path::new(path).is_absolute() {
        return Ok(path.to_owned());
    }
    match roots.name(Path::new(path)) {
        Named::Rooted(_, text) | Named::Literal(text) => Ok(text),
        Named::Nameless(_) => Err(DepInfoError::Nameless),
    }
}

fn located(name: &str, roots: &Roots) -> Result<String, DepInfoError> {
    if !Path::new(name).is_absolute() {
        return Ok(name.to_owned());
    }
    let path = roots.locate(name).ok_or(DepInfoError::Name)?;
    path.into_os_string()
        .into_string()
        .map_err(|_| DepInfoError::NotUtf8)
}

/// The inputs of a line: parted by single spaces, spaces inside escaped. Of too many, one too
/// many.
fn files(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut parts = line.split(' ');
    while let Some(part) = parts.next() {
        if out.len() > MAX_FILES {
            break;
        }
        let mut file = part.to_owned();
        while file.ends_with('\\') {
            let Some(more) = parts.next() else { break };
            file.pop();
            file.push(' ');
            file.push_str(more);
        }
        if !file.is_empty() {
            out.push(file);
        }
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
}

fn unescaped(text: &str) -> Result<String, ()> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('r') => '\r',
                _ => return Err(()),
            },
            c => c,
        });
    }
    Ok(out)
}

#[cfg(test)]
#[path = "depinfo_tests.rs"]
mod tests;
