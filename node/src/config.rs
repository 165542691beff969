//! The node's settings: `config.toml` in the home, each overridden by `QUARRY_<NAME>`.
//!
//! Enters: a file of at most 1 MiB and the environment. Leaves: a [`Config`] whose every value
//! was checked. An unknown key is refused with file, key and line. Must never happen here: a
//! default that hides a value somebody wrote wrongly.

use crate::rules::{self, RuleText, TrustSettings};
use crate::worker::recheck;
use libp2p::Multiaddr;
use quarry_trust::Digest;
use quarry_wrapper::digests::open_regular;
use quarry_wrapper::home::Home;
use serde::Deserialize;
use std::ffi::OsString;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use thiserror::Error;
use toml::{Spanned, Value};

/// The port on which nodes listen for teammates, unless a setting says otherwise: free of registered
/// services, and the neighbour of [`DOOR_PORT`].
pub const PORT: u16 = 4746;
/// The port on which a door listens, where it is free; assumed by `qnode join HOST`.
pub const DOOR_PORT: u16 = 4747;
/// The store's size limit where none is set, bytes: some twenty large projects.
pub const STORE_LIMIT: u64 = 20 << 30;
/// How long an object rests before it is packed where nothing is set: what a week's builds use
/// stays as it is.
pub const SETTLE_AFTER: u64 = 7 * 86_400;
/// Size of a config file, bytes: far above anything written by hand, small enough to hold.
const MAX_FILE: u64 = 1 << 20;
/// Addresses in one list: a machine's interfaces, a team's static peers.
const MAX_ADDRESSES: usize = 256;
/// Macros that are vouched for by name: a person has looked at each.
const MAX_PURE: usize = 256;

/// The settings of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Multiaddrs the main swarm listens on; empty: no swarm (`QUARRY_LISTEN=off`).
    pub listen: Vec<String>,
    /// Multiaddrs the joining swarm listens on while it is open.
    pub door_listen: Vec<String>,
    /// Whether teammates are looked for on the local network.
    pub mdns: bool,
    /// The store's size limit, bytes.
    pub store_limit: u64,
    /// How long nobody must have used an object before it is packed, seconds; `None`: never.
    pub settle_after: Option<u64>,
    /// Multiaddrs of teammates that are dialled beside those remembered.
    pub peers: Vec<String>,
    /// Crate names of procedural macros that the user vouches for: what they read while they run
    /// is not looked at.
    pub pure_macros: Vec<String>,
    /// Share of hits that are compiled again and compared, in parts of [`recheck::WHOLE`].
    pub verify: u64,
    /// Which of teammates' entries are believed.
    pub trust: TrustSettings,
    /// The digest of the file that was read; `None` where there was none.
    pub file: Option<Digest>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![format!("/ip4/0.0.0.0/tcp/{PORT}")],
            door_listen: vec![format!("/ip4/0.0.0.0/tcp/{DOOR_PORT}")],
            mdns: true,
            store_limit: STORE_LIMIT,
            settle_after: Some(SETTLE_AFTER),
            peers: Vec::new(),
            pure_macros: Vec::new(),
            verify: 0,
            trust: TrustSettings::default(),
            file: None,
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}; mend its permissions or remove it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is over 1 MiB.
    #[error("{0} is larger than 1 MiB: that is no config file of Quarry's, remove it")]
    Large(PathBuf),
    /// The file does not say what it should.
    #[error("{path}, line {line}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, what is wrong with it, and what is right.
        what: String,
    },
    /// A variable does not say what it should.
    #[error("the variable {name}: {what}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong with it, and what is right.
        what: String,
    },
}

/// The file as written: types are looked at by [`Config::read`], so that a wrong value is
/// reported with its key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    listen: Option<Spanned<Value>>,
    door_listen: Option<Spanned<Value>>,
    mdns: Option<Spanned<Value>>,
    store_limit: Option<Spanned<Value>>,
    settle_after: Option<Spanned<Value>>,
    peers: Option<Spanned<Value>>,
    pure_macros: Option<Spanned<Value>>,
    verify: Option<Spanned<Value>>,
    trust: Option<rules::Written>,
}

impl Config {
    /// The settings of the node in `home`: defaults, then its file, then the environment.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(home: &Home) -> Result<Self, ConfigError> {
        Self::load_with(home, |name| std::env::var_os(name))
    }

    /// As [`Config::load`], with the environment that `variable` answers for.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load_with(
        home: &Home,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let path = home.config();
        if let Some(text) = read_bounded(&path)? {
            config.read(&path, &text)?;
            config.file = Some(Digest::of(text.as_bytes()));
        }
        config.override_by(variable)?;
        Ok(config)
    }

    /// Whether the file in `home` is another than the one that these settings were read from: what
    /// it says is not in force then. Also where it cannot be read any more.
    #[must_use]
    pub fn is_outdated(&self, home: &Home) -> bool {
        let now = read_bounded(&home.config());
        now.map_or(true, |text| {
            text.map(|text| Digest::of(text.as_bytes())) != self.file
        })
    }

    fn read(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let wrong = |span: Option<Range<usize>>, what: String| ConfigError::File {
            path: path.to_owned(),
            line: line_of(text, span.map_or(0, |s| s.start)),
            what,
        };
        let written: Written = toml::from_str(text)
            .map_err(|e| wrong(e.span(), e.message().lines().collect::<Vec<_>>().join(" ")))?;
        let at = |key: &'static str, value: &Spanned<Value>| {
            let span = value.span();
            move |what: String| (span, format!("`{key}`: {what}"))
        };
        let lists = [
            ("listen", &written.listen, &mut self.listen),
            ("door_listen", &written.door_listen, &mut self.door_listen),
            ("peers", &written.peers, &mut self.peers),
        ];
        for (key, value, into) in lists {
            if let Some(value) = value {
                let located = at(key, value);
                *into = list_of(value.get_ref())
                    .map_err(located)
                    .map_err(|(span, what)| wrong(Some(span), what))?;
            }
        }
        if let Some(value) = &written.verify {
            self.verify = share_of(value.get_ref())
                .map_err(at("verify", value))
                .map_err(|(span, what)| wrong(Some(span), what))?;
        }
        if let Some(trust) = written.trust {
            self.trust = TrustSettings::of(trust)
                .map_err(|e| wrong(Some(e.at), format!("`trust`: {}", e.what)))?;
        }
        if let Some(value) = &written.pure_macros {
            self.pure_macros = crates_of(value.get_ref())
                .map_err(at("pure_macros", value))
                .map_err(|(span, what)| wrong(Some(span), what))?;
        }
        if let Some(value) = &written.mdns {
            self.mdns = switch_of(value.get_ref())
                .map_err(at("mdns", value))
                .map_err(|(span, what)| wrong(Some(span), what))?;
        }
        if let Some(value) = &written.settle_after {
            self.settle_after = rest_of(value.get_ref())
                .map_err(at("settle_after", value))
                .map_err(|(span, what)| wrong(Some(span), what))?;
        }
        if let Some(value) = &written.store_limit {
            self.store_limit = size_of(value.get_ref())
                .map_err(at("store_limit", value))
                .map_err(|(span, what)| wrong(Some(span), what))?;
        }
        Ok(())
    }

    fn override_by(
        &mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), ConfigError> {
        let set = |name: &'static str| -> Result<Option<String>, ConfigError> {
            let Some(value) = variable(name).filter(|v| !v.is_empty()) else {
                return Ok(None);
            };
            let what = "it is not UTF-8".to_owned();
            value
                .into_string()
                .map(Some)
                .map_err(|_| ConfigError::Variable { name, what })
        };
        let lists = [
            ("QUARRY_LISTEN", &mut self.listen),
            ("QUARRY_DOOR_LISTEN", &mut self.door_listen),
            ("QUARRY_PEERS", &mut self.peers),
        ];
        for (name, into) in lists {
            if let Some(value) = set(name)? {
                *into =
                    parse_addresses(&value).map_err(|what| ConfigError::Variable { name, what })?;
            }
        }
        if let Some(value) = set("QUARRY_VERIFY")? {
            self.verify = recheck::parse_share(&value).map_err(|what| ConfigError::Variable {
                name: "QUARRY_VERIFY",
                what,
            })?;
        }
        if let Some(value) = set("QUARRY_TRUST")? {
            self.trust.everywhere.general =
                RuleText::parse(&value).map_err(|what| ConfigError::Variable {
                    name: "QUARRY_TRUST",
                    what,
                })?;
        }
        if let Some(value) = set("QUARRY_PURE_MACROS")? {
            let names = value.split(',').map(str::trim).filter(|n| !n.is_empty());
            self.pure_macros =
                crate_names(names.collect()).map_err(|what| ConfigError::Variable {
                    name: "QUARRY_PURE_MACROS",
                    what,
                })?;
        }
        if let Some(value) = set("QUARRY_MDNS")? {
            self.mdns = parse_switch(&value).map_err(|what| ConfigError::Variable {
                name: "QUARRY_MDNS",
                what,
            })?;
        }
        if let Some(value) = set("QUARRY_SETTLE_AFTER")? {
            self.settle_after = parse_rest(&value).map_err(|what| ConfigError::Variable {
                name: "QUARRY_SETTLE_AFTER",
                what,
            })?;
        }
        if let Some(value) = set("QUARRY_STORE_LIMIT")? {
            self.store_limit = parse_size(&value).map_err(|what| ConfigError::Variable {
                name: "QUARRY_STORE_LIMIT",
                what,
            })?;
        }
        Ok(())
    }
}

/// For `fuzzing`: a file's text, and a variable's value in its place.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(text: &str, variable: Option<(&str, &str)>) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    config.read(Path::new("config.toml"), text)?;
    let value = |name: &str| variable.filter(|v| v.0 == name).map(|v| v.1.into());
    config.override_by(value)?;
    Ok(config)
}

/// The file's text, or `None` where there is no file.
fn read_bounded(path: &Path) -> Result<Option<String>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match open_regular(path) {
        Ok(file) => file,
        // A link to nothing is a mistake, not an absent file.
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            return Ok(None);
        }
        Err(e) => return Err(failed(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ConfigError::Large(path.to_owned()));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|e| ConfigError::File {
            path: path.to_owned(),
            line: 1 + e.as_bytes()[..e.utf8_error().valid_up_to()]
                .split(|b| *b == b'\n')
                .count()
                - 1,
            what: "it is not UTF-8".to_owned(),
        })
}

/// The line, from 1, that holds the byte at `at`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
}

fn list_of(value: &Value) -> Result<Vec<String>, String> {
    let usage = "give a list of multiaddrs, as in [\"/ip4/0.0.0.0/tcp/4746\"]";
    let items = value.as_array().ok_or(usage)?;
    let texts = items
        .iter()
        .map(|v| v.as_str().ok_or_else(|| usage.to_owned()));
    checked(texts.collect::<Result<Vec<_>, _>>()?)
}

fn crates_of(value: &Value) -> Result<Vec<String>, String> {
    let usage = "give a list of crate names, as in [\"my-macros\"]";
    let items = value.as_array().ok_or(usage)?;
    let texts = items
        .iter()
        .map(|v| v.as_str().ok_or_else(|| usage.to_owned()));
    crate_names(texts.collect::<Result<Vec<_>, _>>()?)
}

/// Names as cargo allows them.
fn crate_names(names: Vec<&str>) -> Result<Vec<String>, String> {
    if names.len() > MAX_PURE {
        return Err(format!(
            "{} names are over the limit of {MAX_PURE}",
            names.len()
        ));
    }
    let fits = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    for name in &names {
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!(
                "{name:?} is no crate's name; write it as in \"my-macros\""
            ));
        }
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn share_of(value: &Value) -> Result<u64, String> {
    match value {
        Value::Integer(_) | Value::Float(_) => recheck::parse_share(&value.to_string()),
        Value::String(text) => recheck::parse_share(text),
        other => Err(format!("it is {other}; give a share of hits, as in \"5%\"")),
    }
}

fn switch_of(value: &Value) -> Result<bool, String> {
    match value {
        Value::Boolean(on) => Ok(*on),
        Value::String(word) => parse_switch(word),
        other => Err(format!("it is {other}; give \"on\" or \"off\"")),
    }
}

fn rest_of(value: &Value) -> Result<Option<u64>, String> {
    let usage = || format!("it is {value}; give a span of time as in \"7d\", or \"off\"");
    parse_rest(value.as_str().ok_or_else(usage)?)
}

fn parse_rest(text: &str) -> Result<Option<u64>, String> {
    match text.trim() {
        "off" => Ok(None),
        span => parse_span(span).map(Some),
    }
}

/// A span of time in seconds: a number with `s`, `m`, `h` or `d`.
///
/// # Errors
/// How to write one.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let usage = || format!("{text:?} is no span of time: write it as in 90s, 30m, 1h, 2d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(usage()),
    };
    let number: u64 = digits.parse().map_err(|_| usage())?;
    number
        .checked_mul(unit)
        .filter(|s| *s > 0)
        .ok_or_else(usage)
}

fn size_of(value: &Value) -> Result<u64, String> {
    match value {
        Value::Integer(bytes) => {
            u64::try_from(*bytes).map_err(|_| format!("{bytes} is no size in bytes"))
        }
        Value::String(text) => parse_size(text),
        other => Err(format!(
            "it is {other}; give bytes, or a size as in \"20GiB\""
        )),
    }
}

/// Multiaddrs separated by commas; `off` is the empty list.
fn parse_addresses(text: &str) -> Result<Vec<String>, String> {
    if text.trim() == "off" {
        return Ok(Vec::new());
    }
    checked(
        text.split(',')
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .collect(),
    )
}

fn checked(addresses: Vec<&str>) -> Result<Vec<String>, String> {
    if addresses.len() > MAX_ADDRESSES {
        return Err(format!(
            "{} addresses are over the limit of {MAX_ADDRESSES}",
            addresses.len()
        ));
    }
    for address in &addresses {
        address.parse::<Multiaddr>().map_err(|e| {
            format!("{address:?} is no multiaddr ({e}); write it as in \"/ip4/192.0.2.1/tcp/4746\"")
        })?;
    }
    Ok(addresses.into_iter().map(str::to_owned).collect())
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text.trim() {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        other => Err(format!("it is {other:?}; give \"on\" or \"off\"")),
    }
}

/// A number of bytes: plain, or with a unit, binary (`KiB` to `TiB`, or `K` to `T`) or decimal
/// (`kB` to `TB`); a fraction and a space before the unit are allowed.
///
/// # Errors
/// A sentence that says what is right.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let usage = || format!("{text:?} is no size: give bytes, or as in \"20GiB\" or \"500 MB\"");
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(usage()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).ok_or_else(usage);
    }
    let fraction = number.parse::<f64>().map_err(|_| usage())?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction of a unit is rounded anyway"
    )]
    let bytes = fraction * unit as f64;
    // 2^53: beyond it a fraction means nothing.
    if !(0.0..9_007_199_254_740_992.0).contains(&bytes) {
        return Err(usage());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded above"
    )]
    let whole = bytes as u64;
    Ok(whole)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
