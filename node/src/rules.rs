//! Rules of belief as people write them: `[trust]` in `config.toml`, in `quarry.toml`, and
//! `QUARRY_TRUST`.
//!
//! Enters: TOML values and short texts; the roster, against which names are resolved. Leaves: a
//! [`Policy`]. Must never happen here: a rule that cannot be read or names nobody, and is believed
//! to ask for less than it says.

use quarry_trust::policy::{MAX_AGREE, Policy, Rule};
use quarry_trust::roster::{Gone, Member, check_name};
use quarry_trust::{BuilderId, Roster};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::ops::Range;
use std::path::{Path, PathBuf};
use thiserror::Error;
use toml::Spanned;

/// Builders that one rule can name: a team's machines that build for everybody.
const MAX_NAMED: usize = 64;
/// Projects with rules of their own in one file.
const MAX_PROJECTS: usize = 64;
/// Hexadecimal digits that name a builder, at least: 64 bits, so that nobody makes a key that
/// begins like another's.
const HEX_LEAST: usize = 16;

/// Why a rule names nobody for certain. Nothing of teammates is believed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RuleError {
    /// The roster has no such member, or none any more.
    #[error(
        "no member in force is called {0:?}, so nothing of teammates is believed: `qnode members` lists them"
    )]
    Unknown(String),
    /// Several members have the name.
    #[error(
        "several members are called {0:?}, so nothing of teammates is believed: name the builder by {HEX_LEAST} digits of its key, as `qnode members --format json` prints it"
    )]
    Ambiguous(String),
}

/// One rule, names as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleText {
    /// Names of members, or beginnings of builder keys; `None` for every builder.
    pub builders: Option<BTreeSet<String>>,
    /// Members that must agree; `None` where nothing is said.
    pub agree: Option<NonZeroU8>,
}

/// A rule for everything, and one for what executes while building, which holds beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// For everything.
    pub general: RuleText,
    /// For macros, build scripts and programs besides.
    pub executing: RuleText,
}

/// All of a node's own rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustSettings {
    /// What holds everywhere.
    pub everywhere: Trust,
    /// What holds besides in projects below these directories.
    pub projects: Vec<(PathBuf, Trust)>,
}

/// What is wrong with a table `trust`, and where in the file's text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct Misread {
    /// The bytes of the value, or of the table.
    pub at: Range<usize>,
    /// The key, and what is wrong with it.
    pub what: String,
}

/// `builders` and `agree`, as TOML has them.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `builders` and `agree`, as in `[trust.executing]`"
)]
struct WrittenRule {
    builders: Option<Spanned<Vec<String>>>,
    agree: Option<Spanned<i64>>,
}

/// A table `trust`, as TOML has it.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table: `[trust]`, and below it `builders = [\"NAME\"]` (of nobody: `[]`), `agree = 2` (words like \"own\" are for the variable QUARRY_TRUST)"
)]
pub struct Written {
    builders: Option<Spanned<Vec<String>>>,
    agree: Option<Spanned<i64>>,
    executing: Option<WrittenRule>,
    root: Option<Spanned<PathBuf>>,
    project: Option<Spanned<Vec<Spanned<Written>>>>,
}

impl RuleText {
    fn of(builders: Option<Vec<String>>, agree: Option<i64>) -> Result<Self, String> {
        Ok(Self {
            builders: builders.map(builders_of).transpose()?,
            agree: agree.map(agree_of).transpose()?,
        })
    }

    fn written(
        builders: Option<Spanned<Vec<String>>>,
        agree: Option<Spanned<i64>>,
    ) -> Result<Self, Misread> {
        Ok(Self {
            builders: builders.map(|b| located(b, builders_of)).transpose()?,
            agree: agree.map(|n| located(n, agree_of)).transpose()?,
        })
    }

    /// Reads the short form: `all`, `own`, or names and `agree=N` with commas between them.
    ///
    /// # Errors
    /// What is right instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let usage =
            "give `all`, `own`, or names of members and `agree=2`, with commas between them";
        let (mut names, mut agree) = (Vec::new(), None);
        for word in text.split(',').map(str::trim) {
            match word.strip_prefix("agree=") {
                Some(n) if agree.is_none() => {
                    agree = Some(n.parse().map_err(|_| format!("{word:?}: {usage}"))?);
                }
                None if key_of(word).is_some() => {
                    return Err(format!(
                        "{word:?}: there is no such key; the only one is `agree`, as in `agree=2`. {usage}"
                    ));
                }
                None if !word.is_empty() => names.push(word.to_owned()),
                _ => return Err(format!("{text:?}: {usage}")),
            }
        }
        let builders = match names.as_slice() {
            [] => None,
            [word] if word == "all" => None,
            [word] if word == "own" => Some(Vec::new()),
            all if all.iter().any(|n| n == "all" || n == "own") => {
                return Err(format!("{text:?}: {usage}"));
            }
            _ => Some(names),
        };
        Self::of(builders, agree)
    }

    fn rule(&self, roster: &Roster) -> Result<Rule, RuleError> {
        let builders = self.builders.as_ref().map(|names| {
            let mut these = BTreeSet::new();
            for name in names {
                these.extend(named(name, roster)?);
            }
            Ok(these)
        });
        Ok(Rule {
            builders: builders.transpose()?,
            agree: self.agree.unwrap_or(NonZeroU8::MIN),
        })
    }

    /// In words, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let whose = match &self.builders {
            None => "every builder".to_owned(),
            Some(names) if names.is_empty() => return "nobody but this node".to_owned(),
            Some(names) => names.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        match self.agree.map_or(1, NonZeroU8::get) {
            1 => whose,
            n => format!("{whose}; {n} members must agree"),
        }
    }

    /// Why nothing of teammates can ever meet the rule, where that is so by mistake.
    fn unmeetable(&self) -> Option<String> {
        let named = self
            .builders
            .as_ref()
            .filter(|names| !names.is_empty())?
            .len();
        let agree = usize::from(self.agree.map_or(1, NonZeroU8::get));
        (named < agree).then(|| {
            format!(
                "{agree} members must agree and {named} count, so nothing of teammates is believed"
            )
        })
    }
}

/// The key of what looks like a setting: a name of a member may hold `=`, but not behind a word
/// of letters alone, as keys are written.
fn key_of(word: &str) -> Option<&str> {
    let (key, _) = word.split_once('=')?;
    let key = key.trim_end();
    key.bytes()
        .all(|b| b.is_ascii_alphabetic() || b == b'_')
        .then_some(key)
}

fn agree_of(n: i64) -> Result<NonZeroU8, String> {
    let wanted = u8::try_from(n).ok().and_then(NonZeroU8::new);
    let wanted = wanted.filter(|n| n.get() <= MAX_AGREE);
    wanted.ok_or_else(|| format!("`agree` is {n}; give 1 to {MAX_AGREE}"))
}

fn builders_of(names: Vec<String>) -> Result<BTreeSet<String>, String> {
    if names.len() > MAX_NAMED {
        let count = names.len();
        return Err(format!(
            "`builders`: {count} are over the limit of {MAX_NAMED}"
        ));
    }
    if let Some(name) = names.iter().find(|n| check_name(n).is_err()) {
        return Err(format!(
            "`builders`: {name:?} can be no member's name and no key"
        ));
    }
    Ok(names.into_iter().collect())
}

/// What `read` makes of a value, or where in the text it refuses it.
fn located<T, U>(
    value: Spanned<T>,
    read: impl FnOnce(T) -> Result<U, String>,
) -> Result<U, Misread> {
    let at = value.span();
    read(value.into_inner()).map_err(|what| Misread { at, what })
}

/// The builder keys of one member: its key, and keys that it retired. A beginning of a key never
/// means a name: names are chosen by who has them.
fn named(name: &str, roster: &Roster) -> Result<BTreeSet<BuilderId>, RuleError> {
    let by_key = name.len() >= HEX_LEAST && name.bytes().all(|b| b.is_ascii_hexdigit());
    let hex = name.to_ascii_lowercase();
    let meant = |m: &&Member| match by_key {
        true => m.builder.to_hex().starts_with(&hex),
        false => m.name == name,
    };
    let mut found = roster.members().filter(meant);
    let member = found
        .next()
        .ok_or_else(|| RuleError::Unknown(name.into()))?;
    if found.next().is_some() {
        return Err(RuleError::Ambiguous(name.into()));
    }
    let retired = roster
        .former()
        .filter(|(former, gone)| *gone == Gone::Retired && former.peer == member.peer);
    let retired = retired.map(|(former, _)| former.builder);
    Ok(retired.chain([member.builder]).collect())
}

impl Trust {
    /// Takes a table `trust` as it is written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(written: Written) -> Result<Self, Misread> {
        let root = written.root.as_ref().map(Spanned::span);
        if let Some(at) = root.or(written.project.as_ref().map(Spanned::span)) {
            let what = "`root` and `project` stand in config.toml alone".to_owned();
            return Err(Misread { at, what });
        }
        written.trust()
    }

    /// The policy that this amounts to. Without a roster nothing of anybody else is believed
    /// anyway.
    ///
    /// # Errors
    /// [`RuleError`]: then [`Policy::own_only`] holds.
    pub fn policy(&self, roster: Option<&Roster>) -> Result<Policy, RuleError> {
        let Some(roster) = roster else {
            return Ok(Policy::own_only());
        };
        let general = self.general.rule(roster)?;
        Ok(Policy::new(general, &self.executing.rule(roster)?))
    }

    /// In words, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let general = self.general.words();
        if self.executing == RuleText::default() {
            return general;
        }
        format!(
            "{general}; what executes while building: {} besides",
            self.executing.words()
        )
    }

    /// Whether it asks for nothing at all.
    #[must_use]
    pub fn is_widest(&self) -> bool {
        *self == Self::default()
    }

    /// Why nothing of teammates can ever meet it, where that is so by mistake.
    #[must_use]
    pub fn unmeetable(&self) -> Option<String> {
        self.general
            .unmeetable()
            .or_else(|| self.executing.unmeetable())
    }
}

impl TrustSettings {
    /// Takes the table `trust` of `config.toml` as it is written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(mut written: Written) -> Result<Self, Misread> {
        if let Some(root) = &written.root {
            let what = "`root` stands in `[[trust.project]]`".to_owned();
            return Err(Misread {
                at: root.span(),
                what,
            });
        }
        let mut projects = Vec::new();
        if let Some(all) = written.project.take() {
            let (at, all) = (all.span(), all.into_inner());
            if all.len() > MAX_PROJECTS {
                let count = all.len();
                let what = format!("{count} projects are over the limit of {MAX_PROJECTS}");
                return Err(Misread { at, what });
            }
            for project in all {
                projects.push(project_of(project)?);
            }
        }
        Ok(Self {
            everywhere: written.trust()?,
            projects,
        })
    }

    /// The rules that hold besides for a project with these directories.
    pub fn of_project<'s>(
        &'s self,
        dirs: &'s [&Path],
    ) -> impl Iterator<Item = (&'s Path, &'s Trust)> {
        let all = self.projects.iter();
        let here = all.filter(|(root, _)| {
            let real = root.canonicalize();
            let real = real.as_ref().unwrap_or(root);
            dirs.iter()
                .any(|dir| dir.starts_with(root) || dir.starts_with(real))
        });
        here.map(|(root, trust)| (root.as_path(), trust))
    }
}

/// One `[[trust.project]]`.
fn project_of(project: Spanned<Written>) -> Result<(PathBuf, Trust), Misread> {
    let (at, mut written) = (project.span(), project.into_inner());
    if let Some(inner) = &written.project {
        let what = "`project` stands in `[trust]` alone".to_owned();
        return Err(Misread {
            at: inner.span(),
            what,
        });
    }
    let usage = "`[[trust.project]]` needs `root`, an absolute path";
    let root = written.root.take().ok_or_else(|| Misread {
        at,
        what: usage.to_owned(),
    })?;
    let root = located(root, |root| match root.is_absolute() {
        true => Ok(root),
        false => Err(usage.to_owned()),
    })?;
    Ok((root, written.trust()?))
}

impl Written {
    fn trust(self) -> Result<Trust, Misread> {
        let executing = self.executing.unwrap_or_default();
        Ok(Trust {
            general: RuleText::written(self.builders, self.agree)?,
            executing: RuleText::written(executing.builders, executing.agree)?,
        })
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
