//! What can be told without the node: home, settings, programs, cargo, traces of trouble.
//!
//! Enters: a [`Look`], which tests fabricate. Leaves: findings.

use super::Finding;
use crate::cli::setup::cargo_config::{self, is_qwrap};
use crate::cli::setup::{cargo_home, wrapper_in};
use crate::cli::start::{tail, wrapper_beside};
use crate::cli::{lifecycle, print};
use crate::config::Config;
use quarry_wrapper::home::{Home, HomeError, START_PAUSE};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The longest path that a socket's address holds, bytes; Linux reaches longer ones through a
/// descriptor of the directory.
const SOCKET_PATH_MAX: usize = 107;
/// Free space below which a store soon fails, bytes: the outputs of a large build.
const DISK_LOW: u64 = 1 << 30;

/// Where to look.
pub struct Look {
    /// The home, where there is one.
    pub home: Option<Home>,
    /// Why there is none.
    pub no_home: Option<String>,
    /// Our own executable.
    pub exe: Option<PathBuf>,
    /// The environment, as far as it is text.
    pub env: BTreeMap<String, String>,
    /// cargo's home.
    pub cargo_home: Option<PathBuf>,
    /// The working directory: cargo reads configs from here upwards.
    pub cwd: Option<PathBuf>,
}

impl Look {
    /// At this process's own surroundings.
    #[must_use]
    pub fn here() -> Self {
        let home = Home::from_env();
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            no_home: home.as_ref().err().map(HomeError::to_string),
            home: home.ok(),
            exe: std::env::current_exe().ok(),
            env: std::env::vars_os().filter_map(text).collect(),
            cargo_home: cargo_home(),
            cwd: std::env::current_dir().ok(),
        }
    }

    /// All that can be told.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        match &self.home {
            None => found.push(Finding::wrong(
                "home",
                self.no_home.clone().unwrap_or_default(),
                "set QUARRY_HOME to an absolute path of yours",
            )),
            Some(home) => {
                found.push(home_is_ours(home));
                found.push(socket_fits(home, cfg!(target_os = "linux")));
                found.push(self.settings(home));
                found.push(disk(home));
                found.push(traces(home));
            }
        }
        found.push(self.programs());
        found.push(self.wrapper());
        found.extend(self.variables());
        found
    }

    fn var(&self, name: &str) -> Option<String> {
        self.env.get(name).filter(|v| !v.is_empty()).cloned()
    }

    fn settings(&self, home: &Home) -> Finding {
        match Config::load_with(home, |name| self.var(name).map(OsString::from)) {
            Ok(_) if home.config().exists() => {
                Finding::well("config", home.config().display().to_string())
            }
            Ok(_) => Finding::well("config", "defaults (there is no config.toml)"),
            Err(e) => Finding::wrong(
                "config",
                e.to_string(),
                "mend that place; until then no node starts, and builds compile as without one",
            ),
        }
    }

    fn programs(&self) -> Finding {
        const NAME: &str = "programs";
        let Some(exe) = &self.exe else {
            return Finding::wrong(NAME, "cannot tell where qnode lies", "install it again");
        };
        let Some(wrap) = wrapper_beside(exe) else {
            let detail = format!("qwrap does not lie beside {}", exe.display());
            return Finding::wrong(
                NAME,
                detail,
                "install both: `cargo install --locked --path .`",
            );
        };
        let ours = env!("CARGO_PKG_VERSION");
        match version_of(&wrap) {
            Some(theirs) if theirs == ours => {
                let folder = exe.parent().unwrap_or(exe);
                Finding::well(
                    NAME,
                    format!("qnode and qwrap {ours} in {}", folder.display()),
                )
            }
            Some(theirs) => Finding::wrong(
                NAME,
                format!("{} is version {theirs}, qnode is {ours}", wrap.display()),
                "install both: `cargo install --locked --path .`",
            ),
            None => Finding::wrong(
                NAME,
                format!("{} does not run", wrap.display()),
                "install it again: `cargo install --locked --path .`",
            ),
        }
    }

    /// Which wrapper cargo would use here: the environment's, or that of the nearest config.
    fn wrapper(&self) -> Finding {
        const NAME: &str = "wrapper";
        let named = wrapper_in(|n| self.var(n))
            .map(|(name, value)| Ok((format!("{name} in the environment"), value)))
            .or_else(|| self.wrapper_in_configs());
        let (place, value) = match named {
            None => {
                return Finding::wrong(
                    NAME,
                    "cargo uses no compiler wrapper, so builds do not ask Quarry",
                    "`qnode setup`, or RUSTC_WRAPPER=qwrap for one build",
                );
            }
            Some(Err(detail)) => return Finding::wrong(NAME, detail, "mend that file"),
            Some(Ok(named)) => named,
        };
        if !is_qwrap(&value) {
            return Finding::wrong(
                NAME,
                format!("cargo uses another wrapper, {value} ({place})"),
                "remove it there, then `qnode setup`; cargo takes one wrapper",
            );
        }
        if !self.is_there(&value) {
            return Finding::wrong(
                NAME,
                format!("{place} names {value}, which is not there: every build fails"),
                "install Quarry again, or `qnode setup --undo`",
            );
        }
        Finding::well(NAME, format!("cargo uses {value} ({place})"))
    }

    fn wrapper_in_configs(&self) -> Option<Result<(String, String), String>> {
        let above = self
            .cwd
            .iter()
            .flat_map(|c| c.ancestors())
            .map(|d| d.join(".cargo"));
        for folder in above.chain(self.cargo_home.clone()) {
            let file = cargo_config::file_in(&folder);
            let found = cargo_config::read(&file).and_then(|t| cargo_config::wrapper(&file, &t));
            match found {
                Ok(None) => {}
                Ok(Some(value)) => return Some(Ok((file.display().to_string(), value))),
                Err(e) => return Some(Err(e.to_string())),
            }
        }
        None
    }

    fn is_there(&self, program: &str) -> bool {
        if program.contains('/') {
            return Path::new(program).is_file();
        }
        self.var("PATH")
            .is_some_and(|p| std::env::split_paths(&p).any(|d| d.join(program).is_file()))
    }

    /// Variables that change what is cached.
    fn variables(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.var("QUARRY").is_some_and(|v| v == "off") {
            let detail = "QUARRY=off is set: qwrap does nothing";
            found.push(Finding::wrong("switched-off", detail, "unset QUARRY"));
        }
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_RUSTFLAGS",
        ] {
            if let Some(value) = self.var(name) {
                let detail = format!(
                    "{name}={}: only teammates with the same flags share",
                    value.replace('\u{1f}', " ")
                );
                found.push(Finding::hint(
                    "flags",
                    detail,
                    "put flags for all into the project's .cargo/config.toml",
                ));
            }
        }
        for name in [
            "LD_PRELOAD",
            "LD_AUDIT",
            "RUSTC_LOG",
            "GCC_EXEC_PREFIX",
            "COMPILER_PATH",
        ] {
            if self.var(name).is_some() {
                let detail = format!("{name} is set: every compile is bypassed");
                found.push(Finding::wrong("bypass", detail, format!("unset {name}")));
            }
        }
        if self.var("CARGO_INCREMENTAL").is_some_and(|v| v != "0") {
            let detail = "CARGO_INCREMENTAL is set: it is left out of what is shared";
            found.push(Finding::hint(
                "incremental",
                detail,
                "unset CARGO_INCREMENTAL",
            ));
        }
        found
    }
}

fn home_is_ours(home: &Home) -> Finding {
    const NAME: &str = "home";
    if let Err(e) = home.check() {
        let mend = "run as its owner, or set QUARRY_HOME to a directory of your own";
        return Finding::wrong(NAME, e.to_string(), mend);
    }
    let path = home.path().display();
    match fs::metadata(home.path()) {
        Err(_) => Finding::well(NAME, format!("{path} (made by the first start)")),
        Ok(m) if !m.is_dir() => Finding::wrong(
            NAME,
            format!("{path} is no directory"),
            "move it away, or set QUARRY_HOME",
        ),
        Ok(m) if m.permissions().mode() & 0o077 != 0 => Finding::wrong(
            NAME,
            format!(
                "others may enter {path} (mode {:o})",
                m.permissions().mode() & 0o777
            ),
            format!("chmod 700 '{path}'"),
        ),
        Ok(_) => Finding::well(NAME, path.to_string()),
    }
}

fn socket_fits(home: &Home, linux: bool) -> Finding {
    let length = home.socket().as_os_str().len();
    if length <= SOCKET_PATH_MAX {
        Finding::well(
            "socket",
            format!("{} ({length} bytes)", home.socket().display()),
        )
    } else if linux {
        Finding::well(
            "socket",
            format!("its path has {length} bytes and is reached a shorter way"),
        )
    } else {
        Finding::wrong(
            "socket",
            format!("its path has {length} bytes, over the limit of {SOCKET_PATH_MAX}"),
            "set QUARRY_HOME to a shorter path",
        )
    }
}

fn disk(home: &Home) -> Finding {
    let there = home
        .path()
        .ancestors()
        .find(|p| p.exists())
        .unwrap_or(Path::new("/"));
    let Ok(space) = rustix::fs::statvfs(there) else {
        return Finding::wrong(
            "disk",
            format!("cannot look at {}", there.display()),
            "is it mounted?",
        );
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let detail = format!("{} free at {}", print::bytes(free), there.display());
    if free < DISK_LOW {
        Finding::wrong(
            "disk",
            detail,
            "free some space, or `qnode gc --limit 5GiB`",
        )
    } else {
        Finding::well("disk", detail)
    }
}

/// Stamps of failed starts and of nodes that did not answer, and what the log said last.
fn traces(home: &Home) -> Finding {
    const NAME: &str = "last-trouble";
    let age = |path: PathBuf| {
        fs::metadata(path)
            .and_then(|m| m.modified())
            .ok()?
            .elapsed()
            .ok()
    };
    let failed = age(home.start_failed());
    let stuck = age(home.path().join("node.stuck"));
    let said = last_error(home).map_or_else(String::new, |line| format!("; the log: {line}"));
    let ago = |age: std::time::Duration| print::seconds(age.as_secs());
    if let Some(age) = failed.filter(|_| lifecycle::is_free(home)) {
        let detail = format!("a start failed {} ago{said}", ago(age));
        return Finding::wrong(NAME, detail, "`qnode start` says why");
    }
    if let Some(age) = stuck {
        let detail = format!("the node did not answer a build {} ago{said}", ago(age));
        return if age < START_PAUSE {
            Finding::wrong(
                NAME,
                detail,
                "builds compile by themselves meanwhile; `qnode restart` ends it",
            )
        } else {
            Finding::hint(
                NAME,
                detail,
                "should it happen again: `qnode log`, `qnode restart`",
            )
        };
    }
    match last_error(home) {
        Some(line) => Finding::hint(NAME, format!("the log: {line}"), "`qnode log` has more"),
        None => Finding::well(NAME, "none"),
    }
}

/// The last line of the log that tells of an error.
fn last_error(home: &Home) -> Option<String> {
    let text = tail(&home.log(), 0)?;
    let error = |line: &&str| line.starts_with("qnode: ") || line.contains(" ERROR ");
    text.lines().rev().find(error).map(str::to_owned)
}

/// What a qwrap says of its version. It answers that without a node.
fn version_of(wrap: &Path) -> Option<String> {
    let mut asked = Command::new(wrap);
    asked.arg("--version").stdin(Stdio::null());
    let mut said = asked.output();
    for _ in 0..20 {
        // An installation under way, or a child that still holds a copy of a file just written.
        if !matches!(&said, Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        said = asked.output();
    }
    let out = said.ok()?;
    let said = String::from_utf8(out.stdout).ok()?;
    said.trim().strip_prefix("qwrap ").map(str::to_owned)
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
