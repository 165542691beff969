//! The command by which rustc ran the linker, as `--print=link-args=FILE` shows it.
//!
//! Enters: that text, and what the key holds. Leaves: the libraries that were asked for by name,
//! or the reason why the key does not hold all that was linked. Must never happen here: a file
//! of the command that nobody accounts for. What came from `-C link-arg` has been decided before
//! ([`argument_known`]); other options are rustc's own, and so part of the compiler's identity.

use crate::compiler::Bypass;
use crate::compiler::rustc::args::Unit;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Length of a linker's command: 20,000 arguments of 200 bytes.
pub const MAX_LINE: u64 = 4 << 20;

/// Options for the linker by which nothing is read that the key does not hold.
const OPTIONS: &[&str] = &[
    "-m64",
    "-no-pie",
    "-nodefaultlibs",
    "-nostartfiles",
    "-nostdlib",
    "-pie",
    "-pthread",
    "-rdynamic",
    "-s",
    "-static",
    "-static-libgcc",
    "-static-pie",
    "-fuse-ld=bfd",
    "-fuse-ld=gold",
    "-fuse-ld=ld",
    "-fuse-ld=lld",
    "-fuse-ld=mold",
];
/// The same behind `-Wl,`.
const PASSED: &[&str] = &[
    "--as-needed",
    "--allow-multiple-definition",
    "--build-id",
    "--build-id=none",
    "--build-id=sha1",
    "--eh-frame-hdr",
    "--export-dynamic",
    "--gc-sections",
    "--icf=all",
    "--icf=none",
    "--icf=safe",
    "--no-as-needed",
    "--no-eh-frame-hdr",
    "--no-gc-sections",
    "--no-undefined",
    "--strip-all",
    "--strip-debug",
    "-Bdynamic",
    "-Bstatic",
    "-Bsymbolic",
    "-Bsymbolic-functions",
    "-E",
    "-O0",
    "-O1",
    "-O2",
    "-S",
    "-s",
];
/// Options behind `-Wl,` whose value stands behind `=` and names no file.
const VALUED: &[&str] = &[
    "--compress-debug-sections",
    "--hash-style",
    "--threads",
    "--thread-count",
];

/// Whether an argument for the linker is known to read nothing that the key does not hold.
#[must_use]
pub fn argument_known(argument: &str) -> bool {
    if let Some(name) = argument.strip_prefix("-l") {
        // Found as every other library is.
        return crate::compiler::linker::is_plain(name);
    }
    let Some(passed) = argument.strip_prefix("-Wl,") else {
        return OPTIONS.contains(&argument);
    };
    let mut words = passed.split(',');
    while let Some(word) = words.next() {
        let known = match word {
            // Keywords, and names that are only written down.
            "-z" | "-soname" | "-h" => words.next().is_some_and(|value| !value.starts_with('-')),
            _ if word.starts_with("-soname=") => true,
            _ => match word.split_once('=') {
                Some((name, _)) if VALUED.contains(&name) => true,
                _ => PASSED.contains(&word),
            },
        };
        if !known {
            return false;
        }
    }
    true
}

/// What the key holds of a link.
pub struct Held<'a> {
    /// The unit.
    pub unit: &'a Unit,
    /// The caller's directory.
    pub cwd: &'a Path,
    /// The compiler's system root, which stands in its identity.
    pub sysroot: &'a Path,
    /// Names of the crates' files that stand in the key.
    pub crates: &'a dyn Fn(&str) -> bool,
    /// Whether a native archive stands in the key.
    pub archive: &'a dyn Fn(&Path) -> bool,
    /// The directories in which libraries were looked for.
    pub directories: &'a [PathBuf],
}

/// The libraries that a linker's command asks for by name, each once, sorted.
///
/// # Errors
/// The reason not to store the link.
pub fn libraries(line: &str, held: &Held<'_>) -> Result<Vec<String>, Bypass> {
    let words = words(line).ok_or(Bypass::LinkInput)?;
    let mut words = words.iter().map(String::as_str);
    let default = Path::new("cc");
    let linker = held.unit.linker.as_deref().unwrap_or(default);
    if words.next().map(Path::new) != Some(linker) {
        return Err(Bypass::LinkerUnidentified);
    }
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        if let Some(rest) = word.strip_prefix("-l") {
            let name = if rest.is_empty() {
                words.next()
            } else {
                Some(rest)
            };
            names.push(name.ok_or(Bypass::LinkLibrary)?.to_owned());
        } else if let Some(rest) = word.strip_prefix("-L") {
            let dir = if rest.is_empty() {
                words.next()
            } else {
                Some(rest)
            };
            held.directory(Path::new(dir.ok_or(Bypass::LinkInput)?))?;
        } else if word == "-o" {
            words.next();
        } else if word.starts_with('@') {
            return Err(Bypass::LinkInput);
        } else if !word.starts_with('-') {
            held.file(Path::new(word))?;
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

impl Held<'_> {
    fn directory(&self, dir: &Path) -> Result<(), Bypass> {
        let at = self.cwd.join(dir);
        let looked = self.directories.contains(&at);
        // `raw-dylibs` in rustc's own directory is made for other systems, and empty.
        if looked || self.temporary(dir) || at.starts_with(self.sysroot) {
            Ok(())
        } else {
            Err(Bypass::LinkInput)
        }
    }

    fn file(&self, path: &Path) -> Result<(), Bypass> {
        let at = self.cwd.join(path);
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        let stem = format!("{}{}.", self.unit.crate_name, self.unit.extra_filename);
        let made_here = extension == "o" && (name.starts_with(&stem) || self.temporary(path));
        let known = match extension {
            "rlib" | "so" if at.starts_with(self.sysroot) => true,
            // rustc may have copied a crate, without what it has taken out of it already.
            "rlib" | "so" => (self.crates)(name),
            "a" => (self.archive)(&at),
            _ => made_here,
        };
        if known {
            Ok(())
        } else {
            Err(Bypass::LinkInput)
        }
    }

    /// Whether a path lies in a directory that rustc made for this link.
    fn temporary(&self, path: &Path) -> bool {
        let made = |dir: &Path| {
            let name = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.starts_with("rustc") && name.len() == "rustc".len() + 6
        };
        path.ancestors().skip(1).take(2).any(made)
    }
}

/// The words of a command as Rust's own `Debug` writes it, without the variables before it.
fn words(line: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut chars = line.trim_end().chars().peekable();
    loop {
        while chars.next_if_eq(&' ').is_some() {}
        let mut plain = String::new();
        while let Some(c) = chars.next_if(|c| !" \"".contains(*c)) {
            plain.push(c);
        }
        if chars.next_if_eq(&'"').is_none() {
            let done = chars.peek().is_none() && plain.is_empty();
            return done.then_some(out);
        }
        let word = quoted(&mut chars)?;
        match plain.strip_suffix('=') {
            // A variable that is set for the command.
            Some(_) if out.is_empty() => {}
            None if plain.is_empty() => out.push(word),
            _ => return None,
        }
    }
}

/// A quoted word, its first quotation mark being read already.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut word = String::new();
    loop {
        word.push(match chars.next()? {
            '"' => return Some(word),
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '0' => '\0',
                'u' => {
                    chars.next_if_eq(&'{')?;
                    let mut digits = String::new();
                    while let Some(digit) = chars.next_if(char::is_ascii_hexdigit) {
                        digits.push(digit);
                    }
                    chars.next_if_eq(&'}')?;
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                c @ ('"' | '\\' | '\'') => c,
                _ => return None,
            },
            c => c,
        });
    }
}

#[cfg(test)]
#[path = "link_line_tests.rs"]
mod tests;
