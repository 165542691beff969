//! The login service: a node that runs from login on, under systemd or launchd.
//!
//! Enters: where qnode and the home lie. Leaves: one unit file of ours, and the service's own
//! command told about it. Where there is neither system nothing is lost: qwrap starts a node
//! when a build needs one. The launchd part is written with care and unverified. Must never
//! happen here: a file overwritten or removed that setup did not write.

use anyhow::{Result, anyhow, bail};
use quarry_wrapper::home::Home;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What stands in each file that setup wrote.
const MARK: &str = "written by `qnode setup`";
const UNIT: &str = "quarry.service";
const LABEL: &str = "quarry.qnode";

/// The service system of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// systemd, with the unit's path.
    Systemd(PathBuf),
    /// launchd, with the property list's path. Unverified.
    Launchd(PathBuf),
    /// Neither.
    None,
}

/// Whether the service is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// As setup would write it now.
    Yes,
    /// By setup, but for another qnode or home.
    Stale,
    /// Not at all.
    No,
    /// A file of that name by another hand.
    Foreign,
}

impl Login {
    /// What this machine has.
    #[must_use]
    pub fn here() -> Self {
        let set = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let Some(home) = set("HOME") else {
            return Self::None;
        };
        if cfg!(target_os = "macos") {
            return Self::Launchd(
                home.join("Library/LaunchAgents")
                    .join(format!("{LABEL}.plist")),
            );
        }
        if !Path::new("/run/systemd/system").is_dir() {
            return Self::None;
        }
        let config = set("XDG_CONFIG_HOME").filter(|p| p.is_absolute());
        let config = config.unwrap_or_else(|| home.join(".config"));
        Self::Systemd(config.join("systemd/user").join(UNIT))
    }

    /// The file that holds the service.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Systemd(path) | Self::Launchd(path) => Some(path),
            Self::None => None,
        }
    }

    /// What the file is to say.
    fn text(&self, node: &Path, home: &Home) -> Result<String> {
        let plain = |path: &Path| -> Result<String> {
            let text = path
                .to_str()
                .filter(|t| !t.contains(|c: char| c.is_control()));
            Ok(text
                .ok_or_else(|| anyhow!("{path:?} cannot stand in a service file: move it"))?
                .to_owned())
        };
        let (node, place, log) = (plain(node)?, plain(home.path())?, plain(&home.log())?);
        Ok(match self {
            Self::Launchd(_) => plist(&node, &place, &log),
            Self::Systemd(_) | Self::None => unit(&node, &place, &log),
        })
    }

    /// Whether it is installed for this qnode and home.
    ///
    /// # Errors
    /// Paths that no service file can hold.
    pub fn installed(&self, node: &Path, home: &Home) -> Result<Installed> {
        let Some(path) = self.file() else {
            return Ok(Installed::No);
        };
        Ok(match fs::read_to_string(path) {
            Err(_) => Installed::No,
            Ok(text) if !text.contains(MARK) => Installed::Foreign,
            Ok(text) if text == self.text(node, home)? => Installed::Yes,
            Ok(_) => Installed::Stale,
        })
    }

    /// Installs it, and starts it now where no node runs (`now`). Returns what remains to be
    /// done by hand, if anything.
    ///
    /// # Errors
    /// Why the file is not there.
    pub fn install(&self, node: &Path, home: &Home, now: bool) -> Result<Option<String>> {
        let Some(path) = self.file() else {
            return Ok(None);
        };
        if self.installed(node, home)? == Installed::Foreign {
            bail!(
                "{} was not written by setup: move it away first",
                path.display()
            );
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .map_err(|e| anyhow!("cannot make {}: {e}", parent.display()))?;
        }
        fs::write(path, self.text(node, home)?)
            .map_err(|e| anyhow!("cannot write {}: {e}", path.display()))?;
        let path = path.display().to_string();
        let told = match self {
            Self::Systemd(_) => {
                let mut enable = vec!["--user", "enable", UNIT];
                if now {
                    enable.push("--now");
                }
                tell("systemctl", &["--user", "daemon-reload"])
                    .and_then(|()| tell("systemctl", &enable))
            }
            Self::Launchd(_) => tell("launchctl", &["load", "-w", &path]),
            Self::None => Ok(()),
        };
        Ok(told
            .err()
            .map(|e| format!("the service is written but not enabled: {e}")))
    }

    /// Takes it back; `false` where there is nothing of ours.
    ///
    /// # Errors
    /// Why the file is still there.
    pub fn remove(&self) -> Result<bool> {
        let Some(path) = self.file() else {
            return Ok(false);
        };
        if !fs::read_to_string(path).is_ok_and(|text| text.contains(MARK)) {
            return Ok(false);
        }
        let shown = path.display().to_string();
        // A service that was never enabled cannot be disabled: the file goes all the same.
        let _ = match self {
            Self::Systemd(_) => tell("systemctl", &["--user", "disable", "--now", UNIT]),
            Self::Launchd(_) => tell("launchctl", &["unload", "-w", &shown]),
            Self::None => Ok(()),
        };
        fs::remove_file(path).map_err(|e| anyhow!("cannot remove {shown}: {e}"))?;
        if matches!(self, Self::Systemd(_)) {
            let _ = tell("systemctl", &["--user", "daemon-reload"]);
        }
        Ok(true)
    }
}

fn tell(program: &str, args: &[&str]) -> Result<()> {
    let out = Command::new(program)
        .args(args)
        .output()
        .map_err(|e| anyhow!("cannot run {program}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    let said = said
        .lines()
        .find(|l| !l.trim().is_empty())
        .unwrap_or("it said nothing");
    bail!("`{program} {}` failed: {said}", args.join(" "))
}

/// A systemd unit; quoting after systemd.syntax(7) and systemd.service(5).
fn unit(node: &str, home: &str, log: &str) -> String {
    let quoted = |text: &str| {
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('%', "%%")
            .replace('$', "$$")
    };
    // Environment= expands specifiers, not variables.
    let assigned = |text: &str| {
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('%', "%%")
    };
    format!(
        "# {MARK}; `qnode setup --undo` removes it\n\
         [Unit]\n\
         Description=Quarry, a peer-to-peer build cache: this user's node\n\
         After=network.target\n\n\
         [Service]\n\
         ExecStart=\"{}\" run\n\
         Environment=\"QUARRY_HOME={}\"\n\
         StandardOutput=append:{log}\n\
         StandardError=append:{log}\n\
         Restart=on-failure\n\
         RestartSec=30\n\n\
         [Install]\n\
         WantedBy=default.target\n",
        quoted(node),
        assigned(home),
        log = log.replace('%', "%%"),
    )
}

/// A launchd property list. Unverified.
fn plist(node: &str, home: &str, log: &str) -> String {
    let text = |t: &str| {
        t.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    let (node, home, log) = (text(node), text(home), text(log));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!-- {MARK}; `qnode setup - -undo` removes it -->\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\"><dict>\n\
         <key>Label</key><string>{LABEL}</string>\n\
         <key>ProgramArguments</key><array><string>{node}</string><string>run</string></array>\n\
         <key>EnvironmentVariables</key><dict><key>QUARRY_HOME</key><string>{home}</string></dict>\n\
         <key>RunAtLoad</key><true/>\n\
         <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>\n\
         <key>StandardOutPath</key><string>{log}</string>\n\
         <key>StandardErrorPath</key><string>{log}</string>\n\
         </dict></plist>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(dir: &Path) -> (Login, PathBuf, Home) {
        let home = Home::at(dir.join("home")).unwrap();
        (Login::Systemd(dir.join(UNIT)), dir.join("bin/qnode"), home)
    }

    #[test]
    fn a_unit_names_this_node_and_this_home() {
        let text = unit("/o p/50%/q$n\"ode", "/h 1%", "/h 1%/node.log");
        assert!(
            text.contains("ExecStart=\"/o p/50%%/q$$n\\\"ode\" run\n"),
            "{text}"
        );
        assert!(
            text.contains("Environment=\"QUARRY_HOME=/h 1%%\"\n"),
            "{text}"
        );
        assert!(
            text.contains("StandardError=append:/h 1%%/node.log\n"),
            "{text}"
        );
    }

    #[test]
    fn a_service_of_another_home_is_stale_and_one_by_hand_is_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let (login, node, home) = there(dir.path());
        let file = dir.path().join(UNIT);
        assert_eq!(login.installed(&node, &home).unwrap(), Installed::No);
        fs::write(&file, login.text(&node, &home).unwrap()).unwrap();
        assert_eq!(login.installed(&node, &home).unwrap(), Installed::Yes);
        let other = Home::at(dir.path().join("other")).unwrap();
        assert_eq!(login.installed(&node, &other).unwrap(), Installed::Stale);
        fs::write(&file, "[Service]\n").unwrap();
        assert_eq!(login.installed(&node, &home).unwrap(), Installed::Foreign);
        assert!(login.install(&node, &home, false).is_err());
        assert!(!login.remove().unwrap());
        assert!(file.exists(), "a file by another hand stays");
    }

    #[test]
    fn without_a_service_system_there_is_nothing_to_do() {
        let home = Home::at("/nowhere".into()).unwrap();
        assert_eq!(
            Login::None
                .install(Path::new("/qnode"), &home, true)
                .unwrap(),
            None
        );
        assert!(!Login::None.remove().unwrap());
    }
}
