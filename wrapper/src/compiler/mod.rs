//! What compilers are asked to do, and which of it can be cached.
//!
//! Enters: an invocation. Leaves: its class; for what can be cached, a unit in known terms; and
//! the rooms for a unit's inputs, its dep-info and the compiler's identity. Must never happen
//! here: taking for known what is not. An argument that Quarry has not decided about is a bypass.

mod bypass;
pub mod clippy;
pub mod depinfo;
mod environment;
pub mod linker;
pub mod probe;
pub mod query;
pub mod rustc;

pub use bypass::Bypass;
pub use environment::KEYED_VARIABLES;
pub(crate) use environment::library_path_leads_elsewhere;
pub use rustc::args::{Unit, UnitKind};
use rustc::link_line;
use rustc::outputs::Linking;

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
    /// Not cached only because of how it is linked: runs with our remaps and, but for programs,
    /// without incremental, since what depends on it would differ from checkout to checkout.
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
        Some("clippy-driver") => {
            let next = inv.argv.get(1).map(|a| Path::new(a).file_stem());
            if next != Some(Some(OsStr::new("rustc"))) {
                return Class::Bypass(Bypass::UnknownCompiler);
            }
        }
        _ => return Class::Bypass(Bypass::UnknownCompiler),
    }
    let unit = match Unit::parse(inv) {
        Ok(unit) => Box::new(unit),
        Err(reason) => return Class::Bypass(reason),
    };
    if let Some(reason) = environment::poison(inv, &unit) {
        return Class::Bypass(reason);
    }
    if let Some(reason) = clippy::refused(inv, &unit) {
        return Class::Bypass(reason);
    }
    match unlinkable(&unit) {
        None => Class::Compile(unit),
        Some(reason) => Class::Link(reason, unit),
    }
}

/// Why a link is not cached; `None` for what is linked in known ways, and for what is not linked.
fn unlinkable(unit: &Unit) -> Option<Bypass> {
    match unit.linking() {
        Linking::None | Linking::Archive => return None,
        Linking::Several => return Some(Bypass::LinkSeveral),
        Linking::Linker => {}
    }
    if unit.packed_debuginfo {
        return Some(Bypass::SplitDebuginfo);
    }
    let known = unit
        .link_args
        .iter()
        .all(|arg| link_line::argument_known(arg));
    (unit.linker_flavor || !known).then_some(Bypass::LinkArgument)
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
