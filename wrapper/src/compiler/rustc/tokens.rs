//! rustc's command line, split into options: the low half of the parser.
//!
//! Enters: argv without the compiler. Leaves: each option with its value and its place in argv,
//! one spelling for each. Must never happen here: a decision about what an option means, or an
//! option that rustc would read otherwise.

use crate::compiler::Bypass;
use std::ffi::OsString;
use std::ops::Range;

/// One option, or the source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::compiler) enum Token<'a> {
    /// The source file.
    Input(&'a str),
    /// An option without a value, in its long spelling where it has one.
    Flag(&'static str),
    /// An option with a value, in its long spelling where it has one.
    Valued(&'static str, &'a str),
}

/// A token and the arguments that it was made of (indices into argv, the compiler being 0).
#[derive(Debug, Clone)]
pub(in crate::compiler) struct Placed<'a> {
    pub token: Token<'a>,
    pub place: Range<usize>,
}

/// Long options that take a value (`rustc --help -v`).
const VALUED: &[&str] = &[
    "--allow",
    "--cap-lints",
    "--cfg",
    "--check-cfg",
    "--codegen",
    "--color",
    "--crate-name",
    "--crate-type",
    "--deny",
    "--diagnostic-width",
    "--edition",
    "--emit",
    "--error-format",
    "--extern",
    "--forbid",
    "--force-warn",
    "--json",
    "--out-dir",
    "--remap-path-prefix",
    "--remap-path-scope",
    "--sysroot",
    "--target",
    "--warn",
];
/// Short options that take a value, with their long spelling where they have one.
const SHORT: &[(&str, &str)] = &[
    ("-A", "--allow"),
    ("-C", "--codegen"),
    ("-D", "--deny"),
    ("-F", "--forbid"),
    ("-L", "-L"),
    ("-W", "--warn"),
    ("-Z", "-Z"),
    ("-l", "-l"),
    ("-o", "-o"),
];

/// Splits the arguments from `first` on: those that follow the compiler.
pub(in crate::compiler) fn split(
    argv: &[OsString],
    first: usize,
) -> Result<Vec<Placed<'_>>, Bypass> {
    let mut out = Vec::with_capacity(argv.len());
    let mut at = first;
    while at < argv.len() {
        let arg = text(&argv[at])?;
        let (token, used) = one(arg, argv.get(at + 1))?;
        out.push(Placed {
            token,
            place: at..at + used,
        });
        at += used;
    }
    Ok(out)
}

/// Reads one token at `arg`; says how many arguments it took.
fn one<'a>(arg: &'a str, next: Option<&'a OsString>) -> Result<(Token<'a>, usize), Bypass> {
    if arg.starts_with('@') {
        return Err(Bypass::ResponseFile);
    }
    if !arg.starts_with('-') {
        return Ok((Token::Input(arg), 1));
    }
    let flag = match arg {
        "--test" => Some("--test"),
        "-O" => Some("-O"),
        "-g" => Some("-g"),
        _ => None,
    };
    if let Some(flag) = flag {
        return Ok((Token::Flag(flag), 1));
    }
    // The compiler reads such a file before it looks at what stands before it.
    let plain = |value: &'a str| match value.starts_with('@') {
        true => Err(Bypass::ResponseFile),
        false => Ok(value),
    };
    let follows = || {
        next.ok_or(Bypass::UnknownArgument)
            .and_then(text)
            .and_then(plain)
    };
    if arg.starts_with("--") {
        let (name, value) = arg
            .split_once('=')
            .map_or((arg, None), |(n, v)| (n, Some(v)));
        let name = VALUED
            .iter()
            .find(|known| **known == name)
            .ok_or(Bypass::UnknownArgument)?;
        return Ok(match value {
            Some(value) => (Token::Valued(name, value), 1),
            None => (Token::Valued(name, follows()?), 2),
        });
    }
    let (short, name) = SHORT
        .iter()
        .find(|(short, _)| arg.starts_with(short))
        .ok_or(Bypass::UnknownArgument)?;
    Ok(match &arg[short.len()..] {
        "" => (Token::Valued(name, follows()?), 2),
        value => (Token::Valued(name, value), 1),
    })
}

fn text(arg: &OsString) -> Result<&str, Bypass> {
    arg.to_str().ok_or(Bypass::NotUtf8)
}
