//! What compilers are asked to do, and which of it can be cached.
//!
//! Enters: an invocation. Leaves: its class; for what can be cached, a unit in known terms; and
//! the rooms for a unit's inputs, its dep-info and the compiler's identity. Must never happen
//! here: taking for known what is not. An argument that Quarry has not decided about is a bypass.

mod bypass;
pub mod depinfo;
mod environment;
pub mod probe;
pub mod rustc;

pub use bypass::Bypass;
pub use environment::KEYED_VARIABLES;
pub use rustc::args::{Unit, UnitKind};

use crate::invocation::Invocation;
use std::ffi::OsStr;
use std::path::Path;

/// Arguments of one command that are looked at. A unit with a thousand dependencies has 4,000.
pub const MAX_ARGUMENTS: usize = 20_000;

/// What an invocation is.
#[derive(Debug, Clone)]
pub enum Class {
    /// A question to the compiler: version, print, stdin. Neither hit, miss nor bypass.
    Query,
    /// Runs untouched.
    Bypass(Bypass),
    /// Not cached yet only because of its kind: runs with our remaps and without incremental,
    /// since what depends on it would differ from checkout to checkout.
    Link(Bypass, Box<Unit>),
    /// Cached.
    Compile(Box<Unit>),
}

/// Classifies an invocation by argv and environment alone. Reads no file.
#[must_use]
pub fn classify(inv: &Invocation) -> Class {
    let Some(compiler) = inv.argv.first() else {
        return Class::Bypass(Bypass::UnknownCompiler);
    };
    if inv.argv.len() > MAX_ARGUMENTS {
        return Class::Bypass(Bypass::TooManyArguments);
    }
    if let Some(class) = question(&inv.argv[1..]) {
        return class;
    }
    match Path::new(compiler).file_stem().and_then(OsStr::to_str) {
        Some("rustc") => {}
        Some("clippy-driver") => return Class::Bypass(Bypass::Clippy),
        _ => return Class::Bypass(Bypass::UnknownCompiler),
    }
    let unit = match Unit::parse(inv) {
        Ok(unit) => Box::new(unit),
        Err(reason) => return Class::Bypass(reason),
    };
    if let Some(reason) = environment::poison(inv, &unit) {
        return Class::Bypass(reason);
    }
    match unit.kind.uncached(unit.emit) {
        None => Class::Compile(unit),
        Some(reason) if unit.emit.link => Class::Link(reason, unit),
        Some(reason) => Class::Bypass(reason),
    }
}

/// Version, help, print and stdin: whatever else stands in the command.
fn question(args: &[std::ffi::OsString]) -> Option<Class> {
    let mut prints = false;
    let mut also_compiles = false;
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        let Some(arg) = arg.to_str() else { continue };
        let next = args.peek().and_then(|next| next.to_str());
        let value = match arg {
            "-" | "-V" | "-vV" | "-Vv" | "--version" | "-h" | "--help" => {
                return Some(Class::Query);
            }
            "-Chelp" | "-Whelp" | "-Zhelp" | "--codegen=help" => return Some(Class::Query),
            "-C" | "-W" | "-Z" | "--codegen" if next == Some("help") => return Some(Class::Query),
            "--explain" => return Some(Class::Query),
            "--print" => next.unwrap_or_default(),
            _ if arg.starts_with("--explain=") => return Some(Class::Query),
            _ => match arg.strip_prefix("--print=") {
                Some(value) => value,
                None => continue,
            },
        };
        prints = true;
        // These two are facts about a link that does happen.
        also_compiles |= value.starts_with("native-static-libs") || value.starts_with("link-args");
    }
    match (prints, also_compiles) {
        (false, _) => None,
        (true, false) => Some(Class::Query),
        (true, true) => Some(Class::Bypass(Bypass::Print)),
    }
}
