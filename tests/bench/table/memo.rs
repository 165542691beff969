//! The floor: a compiler wrapper that knows the exact command and nothing else.
//!
//! Compiled by the bench with `rustc -O`, so that nothing but the standard library is linked. It
//! remembers a command by a hash of its arguments and directory, and gives back by hardlink what
//! the command left in its `--out-dir` the first time. It looks at no source and checks nothing:
//! no build cache may be as careless, so none can be expected to be as fast.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let argv: Vec<_> = env::args_os().skip(1).collect();
    let value = |name: &str| {
        let at = argv.iter().position(|a| a == name)?;
        argv.get(at + 1)
    };
    let (Some(out), Some(name)) = (value("--out-dir"), value("--crate-name")) else {
        let error = Command::new(&argv[0]).args(&argv[1..]).exec();
        panic!("{error}");
    };
    let mut hasher = DefaultHasher::new();
    argv.hash(&mut hasher);
    env::current_dir().expect("a directory").hash(&mut hasher);
    let memo = PathBuf::from(env::var_os("MEMO_DIR").expect("MEMO_DIR"));
    let memo = memo.join(format!("{}-{:016x}", name.display(), hasher.finish()));
    let suffix = argv.iter().find_map(|a| {
        a.as_bytes()
            .strip_prefix(b"extra-filename=")
            .map(|s| String::from_utf8_lossy(s).into_owned())
    });
    let stem = format!("{}{}", name.display(), suffix.unwrap_or_default());
    if memo.join("stderr").exists() {
        return restore(&memo, Path::new(out));
    }
    run(&argv, &memo, Path::new(out), &stem)
}

fn restore(memo: &Path, out: &Path) -> ExitCode {
    for entry in fs::read_dir(memo.join("files")).expect("files") {
        let entry = entry.expect("an entry");
        let to = out.join(entry.file_name());
        let _ = fs::remove_file(&to);
        fs::hard_link(entry.path(), &to).expect("a link");
    }
    let said = fs::read(memo.join("stderr")).expect("stderr");
    let _ = std::io::stderr().write_all(&said);
    ExitCode::SUCCESS
}

fn run(argv: &[std::ffi::OsString], memo: &Path, out: &Path, stem: &str) -> ExitCode {
    let mut child = Command::new(&argv[0])
        .args(&argv[1..])
        .stderr(Stdio::piped())
        .spawn()
        .expect("rustc");
    let mut said = Vec::new();
    let mut chunk = [0; 4096];
    let mut from = child.stderr.take().expect("stderr");
    while let Ok(n) = from.read(&mut chunk)
        && n > 0
    {
        let _ = std::io::stderr().write_all(&chunk[..n]);
        said.extend_from_slice(&chunk[..n]);
    }
    let status = child.wait().expect("an end");
    if !status.success() {
        return ExitCode::FAILURE;
    }
    let files = memo.join("files");
    fs::create_dir_all(&files).expect("a directory");
    for entry in fs::read_dir(out).expect("outputs") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let bare = name.strip_prefix("lib").unwrap_or(&name);
        let rest = bare.strip_prefix(stem).or_else(|| name.strip_prefix(stem));
        if rest.is_some_and(|r| r.is_empty() || r.starts_with('.')) {
            fs::hard_link(entry.path(), files.join(&name)).expect("a link");
        }
    }
    fs::write(memo.join("stderr"), said).expect("stderr");
    ExitCode::SUCCESS
}
