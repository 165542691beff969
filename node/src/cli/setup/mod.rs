//! setup: cargo uses qwrap from now on, and a node runs from login on.
//!
//! Enters: a person's yes. Leaves: one line in cargo's config and one service file, both marked
//! as ours, so that `--undo` takes back exactly those. Nothing is written before it was shown.

pub mod cargo_config;
mod login;

use super::args::SetupArgs;
use super::ask::{self, Line};
use super::{print, start, terminal};
use anyhow::{Result, anyhow, bail};
use cargo_config::is_qwrap;
use login::{Installed, Login};
use quarry_wrapper::home::Home;
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where everything lies that setup touches.
struct Place {
    node: PathBuf,
    config: PathBuf,
    text: String,
    home: Home,
    login: Login,
}

/// `qnode setup`.
///
/// # Errors
/// Why nothing, or not all, was set up.
pub fn run(args: &SetupArgs) -> Result<ExitCode> {
    let place = Place::look()?;
    if args.check {
        return place.check();
    }
    if args.undo {
        place.undo(args.yes)?;
    } else {
        place.set_up(args.yes)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// cargo's home: `$CARGO_HOME`, or `.cargo` in the user's.
#[must_use]
pub fn cargo_home() -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("CARGO_HOME")
        .filter(|p| p.is_absolute())
        .or_else(|| Some(set("HOME")?.join(".cargo")))
}

/// A wrapper that the environment names, which wins over every config: (variable, value).
#[must_use]
pub fn wrapper_in(variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    ["RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"]
        .into_iter()
        .find_map(|name| Some((name, variable(name).filter(|v| !v.is_empty())?)))
}

impl Place {
    fn look() -> Result<Self> {
        let cargo = cargo_home().ok_or_else(|| {
            anyhow!("neither CARGO_HOME nor HOME is set: cargo's config lies nowhere")
        })?;
        let config = cargo_config::file_in(&cargo);
        Ok(Self {
            node: env::current_exe().map_err(|e| anyhow!("cannot tell where qnode lies: {e}"))?,
            text: cargo_config::read(&config).map_err(|e| anyhow!("{e}"))?,
            config,
            home: ask::home()?,
            login: Login::here(),
        })
    }

    fn named(&self) -> Result<Option<String>> {
        cargo_config::wrapper(&self.config, &self.text).map_err(|e| anyhow!("{e}"))
    }

    fn check(&self) -> Result<ExitCode> {
        let named = self.named()?;
        let config = self.config.display();
        let cargo = match &named {
            Some(w) if is_qwrap(w) && Path::new(w).is_file() => {
                format!("cargo uses {w} ({config})")
            }
            Some(w) if is_qwrap(w) => {
                format!(
                    "cargo is told to use {w}, which is not there, so every build fails ({config})"
                )
            }
            Some(w) => format!("cargo uses another wrapper, {w} ({config})"),
            None => format!("cargo uses no wrapper ({config})"),
        };
        let good = named.is_some_and(|w| is_qwrap(&w) && Path::new(&w).is_file());
        let (service, served) = match self.login.installed(&self.node, &self.home)? {
            _ if self.login == Login::None => (NO_SERVICE.to_owned(), true),
            Installed::Yes => ("the login service is installed".to_owned(), true),
            Installed::Stale => (
                "the login service is for another qnode or home".to_owned(),
                false,
            ),
            Installed::No => ("the login service is not installed".to_owned(), false),
            Installed::Foreign => (
                "a service by that name was not written by setup".to_owned(),
                false,
            ),
        };
        print::line(print::clean_line(&cargo))?;
        print::line(service)?;
        if let Some((name, value)) = wrapper_in(|n| env::var(n).ok()) {
            print::line(print::clean_line(&format!(
                "{name}={value} in the environment wins over that"
            )))?;
        }
        Ok(if good && served {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn set_up(&self, yes: bool) -> Result<()> {
        let edited = self.edited()?;
        let installed = self.login.installed(&self.node, &self.home)?;
        let serve = self.login != Login::None && installed != Installed::Yes;
        if installed == Installed::Foreign {
            print::note(
                "a service by the name of quarry exists that setup did not write: it stays",
            );
        }
        let serve = serve && installed != Installed::Foreign;
        let mut steps = Vec::new();
        if edited.is_some() {
            steps.push(format!(
                "name qwrap as cargo's rustc-wrapper in {}",
                self.config.display()
            ));
        }
        if let (true, Some(file)) = (serve, self.login.file()) {
            steps.push(format!("start the node at login: {}", file.display()));
        }
        if steps.is_empty() {
            print::line("everything is set up already; `qnode doctor` checks more")?;
            return Ok(());
        }
        print::note(format!("Setup will\n  - {}", steps.join("\n  - ")));
        if !yes && !terminal::confirm("Go on?", "give --yes to go on without asking.")? {
            print::line("nothing was changed")?;
            return Ok(());
        }
        if let Some(text) = edited {
            cargo_config::write(&self.config, &text).map_err(|e| anyhow!("{e}"))?;
            print::line(format!(
                "cargo uses qwrap from now on ({})",
                self.config.display()
            ))?;
        }
        if serve {
            self.serve()?;
        } else if self.login == Login::None {
            print::line(NO_SERVICE)?;
        }
        print::line("`qnode setup --undo` takes this back")?;
        Ok(())
    }

    /// cargo's config with qwrap in it; `None` where it is there already.
    fn edited(&self) -> Result<Option<String>> {
        let wrap = start::wrapper_beside(&self.node).ok_or_else(|| {
            anyhow!(
                "qwrap does not lie beside {}: install both (`cargo install`)",
                self.node.display()
            )
        })?;
        let wrap = wrap.to_str().ok_or_else(|| {
            anyhow!(
                "{} is not UTF-8, so cargo's config cannot name it: move it",
                wrap.display()
            )
        })?;
        if let Some((name, value)) = wrapper_in(|n| env::var(n).ok())
            && !is_qwrap(&value)
        {
            bail!(
                "{name} names another wrapper, {value}: unset it first; setup does not replace it"
            );
        }
        match self.named()? {
            Some(w) if w == wrap => Ok(None),
            Some(w) if is_qwrap(&w) => {
                // Ours, for a qwrap that lay elsewhere: taken back and written anew.
                let bare =
                    cargo_config::remove(&self.config, &self.text).map_err(|e| anyhow!("{e}"))?;
                let bare = bare.unwrap_or_default();
                cargo_config::add(&self.config, &bare, wrap)
                    .map(Some)
                    .map_err(|e| anyhow!("{e}"))
            }
            Some(w) => bail!(
                "cargo uses another wrapper, {w}, by {}: remove that line first; setup does not replace it",
                self.config.display()
            ),
            None => cargo_config::add(&self.config, &self.text, wrap)
                .map(Some)
                .map_err(|e| anyhow!("{e}")),
        }
    }

    fn serve(&self) -> Result<()> {
        self.home.create().map_err(|e| anyhow!("{e}"))?;
        let runs = Line::open(&self.home)?.is_some();
        match self.login.install(&self.node, &self.home, !runs)? {
            Some(left) => print::line(left)?,
            None if cfg!(target_os = "macos") => {
                print::line(
                    "the node starts at login (launchd; this part of Quarry is unverified)",
                )?;
            }
            None => print::line("the node starts at login")?,
        }
        Ok(())
    }

    fn undo(&self, yes: bool) -> Result<()> {
        let bare = cargo_config::remove(&self.config, &self.text).map_err(|e| anyhow!("{e}"))?;
        let installed = self.login.installed(&self.node, &self.home)?;
        let served = matches!(installed, Installed::Yes | Installed::Stale);
        if bare.is_none() && !served {
            print::line("there is nothing of setup's to take back")?;
            return Ok(());
        }
        if !yes
            && !terminal::confirm(
                "Take back what setup did?",
                "give --yes to go on without asking.",
            )?
        {
            print::line("nothing was changed")?;
            return Ok(());
        }
        if let Some(text) = bare {
            cargo_config::write(&self.config, &text).map_err(|e| anyhow!("{e}"))?;
            print::line(format!(
                "cargo uses no wrapper any more ({})",
                self.config.display()
            ))?;
        }
        if self.login.remove()? {
            print::line("the node does not start at login any more")?;
        }
        Ok(())
    }
}

const NO_SERVICE: &str =
    "there is no systemd or launchd here: qwrap starts a node when a build needs one";
