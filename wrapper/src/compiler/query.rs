//! Questions to a compiler whose answer is the same each time they are asked.
//!
//! Cargo asks for the version and for what a target is (`-vV`, `--print`) before it compiles
//! anything, several times in a build, and waits for it. Enters: an invocation. Leaves: what the
//! answer depends on beside the compiler's own files; nothing where that is not known. Must never
//! happen here: an option, a printed fact or a variable taken for harmless that nobody has looked
//! at.

use crate::compiler::environment;
use crate::compiler::rustc::codegen::{self, Verdict};
use crate::compiler::rustc::tokens::{self, Token};
use crate::invocation::Invocation;
use quarry_trust::canon::Writer;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Facts that depend on the compiler, the arguments and the environment alone.
const FACTS: &[&str] = &[
    "cfg",
    "crate-name",
    "file-names",
    "host-tuple",
    "split-debuginfo",
    "sysroot",
    "target-libdir",
];
/// Variables that say where and by whom something was started. Rustc reads none of them to say
/// what is asked here; by `PATH` it finds linkers, and nothing is linked. (Which rustc `PATH`
/// leads to is no part of the question either: its path and its content are the key's.)
const ELSEWHERE: &[&str] = &["OLDPWD", "PATH", "PWD", "SHLVL", "_"];

/// A question that can be answered from memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `--target`, a triple.
    pub target: Option<String>,
    /// Its source is what stands on stdin: known where that is empty.
    pub reads_stdin: bool,
    /// Arguments and variables, as bytes: another answer needs others.
    pub bytes: Vec<u8>,
}

/// Reads a command that asks. Looks at no file.
#[must_use]
pub fn question(inv: &Invocation) -> Option<Question> {
    let (compiler, arguments) = inv.argv.split_first()?;
    let compiler = Path::new(compiler);
    if compiler.file_name() != Some(OsStr::new("rustc")) {
        return None;
    }
    let set = inv.nonempty_var("RUST_TARGET_PATH").is_some();
    if set || environment::poison_of(inv, None, &[compiler]).is_some() {
        return None;
    }
    let mut question = Question {
        target: None,
        reads_stdin: false,
        bytes: bytes(inv),
    };
    let mut asked = false;
    let mut rest = Vec::with_capacity(arguments.len() + 1);
    rest.push(inv.argv[0].clone());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str()? {
            "-" => question.reads_stdin = true,
            "-V" | "-vV" | "-Vv" | "--version" => asked = true,
            "-v" | "--verbose" => {}
            "--print" => asked = is_fact(arguments.next()?.to_str()?)?,
            other => match other.strip_prefix("--print=") {
                Some(fact) => asked = is_fact(fact)?,
                None => rest.push(argument.clone()),
            },
        }
    }
    for placed in tokens::split(&rest, 1).ok()? {
        question.target = match placed.token {
            Token::Valued("--target", triple) => Some(plain(triple)?.to_owned()),
            Token::Valued(name, value) if harmless(name, value) => continue,
            _ => return None,
        };
    }
    if question.target.is_some() {
        // A compiler that takes targets from files looks for one here.
        question
            .bytes
            .extend_from_slice(inv.cwd.as_os_str().as_bytes());
    }
    // What asks nothing compiles.
    asked.then_some(question)
}

fn is_fact(printed: &str) -> Option<bool> {
    FACTS.contains(&printed).then_some(true)
}

/// A triple, and no file that describes one.
fn plain(triple: &str) -> Option<&str> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    triple.bytes().all(known).then_some(triple)
}

/// Whether an option reads no file.
fn harmless(name: &str, value: &str) -> bool {
    match name {
        "--allow" | "--cap-lints" | "--cfg" | "--check-cfg" | "--crate-name" | "--crate-type"
        | "--deny" | "--edition" | "--forbid" | "--force-warn" | "--warn" => true,
        "--codegen" => {
            let (name, value) = match value.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (value, None),
            };
            matches!(
                codegen::verdict(name, value),
                Verdict::Key | Verdict::KeyPaths
            )
        }
        _ => false,
    }
}

fn bytes(inv: &Invocation) -> Vec<u8> {
    let counts = |name: &OsStr| {
        let foreign =
            name.as_bytes().starts_with(b"CARGO_") || ELSEWHERE.iter().any(|n| name == *n);
        !foreign
    };
    let mut variables: Vec<_> = inv.env.iter().filter(|(name, _)| counts(name)).collect();
    // In the order of names; of two with one name the first counts, and stays the first.
    variables.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut w = Writer::default();
    w.count(inv.argv.len());
    for argument in &inv.argv {
        w.bytes(argument.as_bytes());
    }
    w.count(variables.len());
    for (name, value) in variables {
        w.bytes(name.as_bytes());
        w.bytes(value.as_bytes());
    }
    w.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inv(words: &str, env: &[(&str, &str)]) -> Invocation {
        Invocation {
            argv: words.split(' ').map(Into::into).collect(),
            env: env.iter().map(|(n, v)| (n.into(), v.into())).collect(),
            cwd: "/w".into(),
            started: Vec::new(),
        }
    }

    fn asked(words: &str) -> Option<Question> {
        question(&inv(words, &[]))
    }

    #[test]
    fn what_cargo_asks_is_repeatable() {
        let cargos = "/t/bin/rustc - --crate-name ___ --print=file-names --crate-type bin \
                      --crate-type proc-macro --print=sysroot --print=split-debuginfo \
                      --print=crate-name --print=cfg -Wwarnings";
        assert!(asked(cargos).unwrap().reads_stdin);
        assert!(!asked("rustc -vV").unwrap().reads_stdin);
        let flags =
            "rustc - --print cfg --target x86_64-unknown-linux-musl --cfg a -Ctarget-cpu=native";
        let target = asked(flags).unwrap().target;
        assert_eq!(target.as_deref(), Some("x86_64-unknown-linux-musl"));
    }

    #[test]
    fn what_may_read_a_file_or_write_one_is_not() {
        for words in [
            "rustc - --crate-name l --crate-type lib",
            "rustc - -v --crate-type lib",
            "rustc - --print=cfg --cfg @more",
            "rustc -vV @more",
            "rustc main.rs --print=cfg",
            "rustc - --print=cfg=out.txt",
            "rustc - --print=native-static-libs",
            "rustc - --print=cfg --target here.json",
            "rustc - --print=cfg --target ../x86",
            "rustc - --print=cfg -Cprofile-use=data",
            "rustc - --print=cfg -Zunstable-options",
            "rustc - --print=cfg --sysroot elsewhere",
            "rustc - --print=cfg -L native=lib",
            "rustc - --print=cfg --emit=link",
            "rustc - --print=cfg -o out",
            "rustc - --print=cfg --print",
            "gcc -v",
            "clippy-driver rustc -vV",
        ] {
            assert_eq!(asked(words), None, "{words}");
        }
    }

    #[test]
    fn variables_that_rustc_may_read_are_another_question() {
        let with = |env: &[(&str, &str)]| question(&inv("rustc -vV", env));
        let plain = with(&[]);
        assert!(plain.is_some());
        // A rustup proxy puts its cargo home's programs in front: another one's ask the same.
        let elsewhere = [("CARGO_HOME", "/c"), ("PATH", "/c/bin:/bin"), ("PWD", "/w")];
        assert_eq!(with(&elsewhere), plain);
        for (name, value) in [
            ("RUSTC_BOOTSTRAP", "1"),
            ("RUSTC_BOOTSTRAP", ""),
            ("CARGO", "/c"),
            ("TERM", "dumb"),
        ] {
            let asked = with(&[(name, value)]);
            assert!(asked.is_some() && asked != plain, "{name}={value}");
        }
        for (name, value) in [
            ("LD_PRELOAD", "/x.so"),
            ("RUSTC_LOG", "debug"),
            ("RUST_TARGET_PATH", "/t"),
            ("LD_LIBRARY_PATH", "lib"),
        ] {
            assert_eq!(with(&[(name, value)]), None, "{name}={value}");
        }
        let one = with(&[("A", "1"), ("B", "2")]);
        assert_eq!(with(&[("B", "2"), ("A", "1")]), one);
        assert_ne!(with(&[("A", "2"), ("B", "1")]), one);
    }
}
