//! What macros did while a compile ran, and what of it belongs into the key.
//!
//! Enters: the observer's log, the macros behind the unit. Leaves: files that were read, paths
//! that had to be absent, directories that were listed or asked about, variables; or the reason
//! why the compile cannot be kept. Later, for a lookup: what the same looks show now. Must never
//! happen here: a record that is left out because it does not fit.

use super::moved::Ways;
use super::{Pipeline, Recording, Tier, ran};
use crate::action::{FileInput, Look, Looked, Ran, Sight, Use};
use crate::compiler::Bypass;
use crate::compiler::rustc::macro_symbols::{self, LIBRARY_MAX, Standards};
use crate::digests::{Identity, local_clock, open_regular};
use crate::observer::log::{self, Kind, Outcome, Record};
use crate::observer::{Log, Observer};
use crate::paths::Roots;
use quarry_trust::Digest;
use quarry_trust::digest::Hasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries of one listed directory. Assets of a site are some thousands.
const LISTING_MAX: usize = 20_000;
/// Verdicts about macro libraries kept in memory; beyond it they start over.
const VERDICTS_MAX: usize = 10_000;
/// Stands among the variables for what the working directory is called. No variable has an equals
/// sign in its name.
pub(super) const DIRECTORY: &str = "=directory";

/// Variables as a run plan carries them.
type Environment = Vec<(Vec<u8>, Vec<u8>)>;

/// What a process needs to observe macros.
#[derive(Default)]
pub(super) struct Observing {
    observer: Option<Observer>,
    /// Crate names of macros that the user vouches for.
    pure: Vec<String>,
    verdicts: Mutex<HashMap<Digest, Option<Bypass>>>,
    /// The qwrap that came last.
    witness: Mutex<Option<PathBuf>>,
}

impl Observing {
    pub(super) fn new(observer: Option<Observer>, pure: &[String]) -> Self {
        Self {
            observer,
            pure: pure.iter().map(|name| name.replace('-', "_")).collect(),
            verdicts: Mutex::default(),
            witness: Mutex::default(),
        }
    }

    /// Whether macros in a compiler for this host are observed.
    pub(super) fn reaches(&self, verbose_version: &str) -> bool {
        let gnu = |line: &str| line.starts_with("host: ") && line.contains("-linux-gnu");
        self.observer.is_some() && verbose_version.lines().any(gnu)
    }

    /// Those of the macros that the user vouches for, in ascending order.
    pub(super) fn pure(&self, macros: &[FileInput]) -> Vec<Digest> {
        let vouched = macros.iter().filter(|m| {
            let name = m.name.strip_prefix("lib").unwrap_or(&m.name);
            let of = |crate_name: &str| {
                let rest = name.strip_prefix(crate_name);
                rest.is_some_and(|r| r.starts_with('-') || r.starts_with('.'))
            };
            self.pure.iter().any(|p| of(p))
        });
        let digests: BTreeSet<Digest> = vouched.filter_map(|m| m.digest).collect();
        digests.into_iter().collect()
    }

    /// A log for a compile, and the variables that lead to it.
    /// Where a witness is given, the programs that macros start run beside it.
    pub(super) fn begin(&self, witness: Option<&Path>) -> Option<(Log, Environment)> {
        let observer = self.observer.as_ref()?;
        let log = observer.log().ok()?;
        let mut env = observer.environment(&log);
        if let Some(witness) = witness {
            env.push(Observer::witness(witness));
            *self.last_witness() = Some(witness.into());
        }
        Some((log, env))
    }

    fn last_witness(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for a compile of a copy: macros are told when the originals came to be.
    pub(super) fn begin_moved(&self, copied: Option<(&Path, &Path)>) -> Option<(Log, Environment)> {
        let witness = self.last_witness().clone();
        let (log, mut env) = self.begin(witness.as_deref())?;
        env.extend(copied.map(|(copy, from)| Observer::originals(copy, from)));
        Some((log, env))
    }

    /// A log for the run of a build script, and the variables that lead to it.
    pub(super) fn begin_run(&self, arguments: &[Vec<u8>]) -> Option<(Log, Environment)> {
        let observer = self.observer.as_ref()?;
        let log = observer.run_log().ok()?;
        let env = observer.run_environment(&log, arguments);
        Some((log, env))
    }

    /// Whether there is an observer.
    pub(super) const fn is_there(&self) -> bool {
        self.observer.is_some()
    }

    /// What speaks against keeping what was compiled with this macro library.
    fn verdict(&self, path: &Path, digest: Digest, standard: Standards<'_>) -> Option<Bypass> {
        let lock = || self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&digest) {
            return *known;
        }
        let mut bytes = Vec::new();
        let read = open_regular(path)
            .and_then(|f| f.take(LIBRARY_MAX + 1).read_to_end(&mut bytes))
            .is_ok_and(|n| n as u64 <= LIBRARY_MAX && Digest::of(&bytes) == digest);
        if !read {
            return Some(Bypass::ObserverIncomplete);
        }
        let verdict = macro_symbols::unseen(&bytes, standard);
        let mut verdicts = lock();
        if verdicts.len() >= VERDICTS_MAX {
            verdicts.clear();
        }
        verdicts.insert(digest, verdict);
        verdict
    }
}

/// What macros asked for, as paths of this checkout.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Files that were read, or whose size could have been.
    pub files: BTreeSet<PathBuf>,
    /// Paths where nothing was.
    pub absent: BTreeSet<PathBuf>,
    /// Directories that were listed or asked about.
    looks: BTreeSet<(PathBuf, Look)>,
    /// Variables, by their values.
    pub variables: Vec<(String, Use)>,
    /// Numbers of the reports on programs that were started.
    reports: BTreeSet<String>,
    /// These programs.
    pub ran: Vec<Ran>,
}

/// What the macros of a finished compile asked for. Nothing where none was observed.
///
/// # Errors
/// The reason why the compile cannot be kept.
pub(super) fn observed(pipeline: &Pipeline, r: &Recording) -> Result<Observed, Bypass> {
    let mut all = Observed::default();
    if r.base.known.observer == crate::action::Observer::None {
        return Ok(all);
    }
    let bytes = r.log.as_ref().and_then(|log| log.read().ok());
    let bytes = bytes.ok_or(Bypass::ObserverIncomplete)?;
    let records = log::parse(&bytes).ok_or(Bypass::ObserverIncomplete)?;
    let mut variables = BTreeSet::new();
    let mut verdict = None;
    for record in records {
        if record.kind == Kind::Loaded {
            verdict = verdict.or(loaded(pipeline, r, Path::new(record.text))?);
        } else if !vouched(r, record.object) {
            all.take(&record, r, &mut variables)?;
        }
    }
    // What was seen to happen says more than what could have happened unseen.
    if let Some(reason) = verdict {
        return Err(reason);
    }
    let ran = ran::recorded(r, &all.reports)?;
    if ran.iter().any(|one| !one.placeless) {
        // A macro that was told a path knows it.
        variables.insert(DIRECTORY.to_owned());
    }
    all.ran = ran;
    all.variables = variables.into_iter().map(|v| (v, Use::Literal)).collect();
    Ok(all)
}

/// The entry of a macro library of this name in the key.
fn known_macro<'r>(r: &'r Recording, path: &Path) -> Option<&'r FileInput> {
    let name = path.file_name()?.to_str()?;
    r.base.macros.iter().find(|m| m.name == name)
}

/// Whether the user vouches for what this object does.
fn vouched(r: &Recording, object: &Path) -> bool {
    let digest = known_macro(r, object).and_then(|m| m.digest);
    digest.is_some_and(|d| r.base.known.pure.contains(&d))
}

/// What speaks against a library that the compiler loaded.
fn loaded(pipeline: &Pipeline, r: &Recording, path: &Path) -> Result<Option<Bypass>, Bypass> {
    if vouched(r, path) {
        return Ok(None);
    }
    if let Some(digest) = known_macro(r, path).and_then(|m| m.digest) {
        let standard = || pipeline.compilers.standard(&r.base.compiler);
        return Ok(pipeline.observing.verdict(path, digest, &standard));
    }
    // The compiler's own, or the system's by a bare name; anything else ran without being keyed.
    let own = r.roots.name(path).text().is_some_and(|name| {
        name.starts_with("/quarry/sysroot/") || !path.is_absolute() || path.starts_with("/usr/lib")
    });
    if own {
        Ok(None)
    } else {
        Err(Bypass::ObserverIncomplete)
    }
}

impl Observed {
    /// Every path that was asked about.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let looks = self.looks.iter().map(|(path, _)| path);
        self.files.iter().chain(&self.absent).chain(looks)
    }

    fn take(
        &mut self,
        record: &Record<'_>,
        r: &Recording,
        variables: &mut BTreeSet<String>,
    ) -> Result<(), Bypass> {
        // Doubled and trailing slashes and `.` go.
        let path: PathBuf = Path::new(record.text).components().collect();
        match (record.kind, record.outcome) {
            (Kind::Spawn, _) => match record.text.to_str() {
                Some(number) if !number.is_empty() => {
                    self.reports.insert(number.to_owned());
                    Ok(())
                }
                _ => Err(Bypass::MacroSpawns),
            },
            (Kind::Socket, _) => Err(Bypass::MacroSockets),
            // All but the first two are said of build scripts' runs alone.
            (Kind::Raw | Kind::Loaded, _)
            | (Kind::Entered | Kind::NotStarted | Kind::Given | Kind::Tried | Kind::Told, _) => {
                Err(Bypass::MacroRawCalls)
            }
            (Kind::Machine, _) => Err(Bypass::MacroMachine),
            (Kind::Link, _) => Err(Bypass::MacroLink),
            (Kind::Read | Kind::Write, _) if nothing_to_know(&path) => Ok(()),
            (Kind::Write, _) => Err(Bypass::MacroWrites),
            (Kind::Directory, _) => {
                variables.insert(DIRECTORY.to_owned());
                Ok(())
            }
            (Kind::Variable, _) => {
                let name = record.text.to_str().ok_or(Bypass::NotUtf8)?;
                variables.insert(name.to_owned());
                Ok(())
            }
            (_, Outcome::Failed) => Err(Bypass::MacroSpecialFile),
            (_, _) if of_the_kernel(&path) => Err(Bypass::MacroSpecialFile),
            (kind, Outcome::Absent) => self.nothing(path, kind),
            (Kind::Resolve, Outcome::Done) => self.resolved(&path, &r.roots),
            (Kind::List, Outcome::Done) => {
                self.looks.insert((path, Look::List));
                Ok(())
            }
            (Kind::Read, Outcome::Done) => match fs::metadata(&path) {
                Ok(m) if m.is_dir() => {
                    self.looks.insert((path, Look::List));
                    Ok(())
                }
                Ok(m) if m.is_file() => {
                    self.files.insert(path);
                    Ok(())
                }
                Ok(_) => Err(Bypass::MacroSpecialFile),
                Err(_) => Err(Bypass::ChangedWhileCompiling),
            },
            (Kind::Look, Outcome::Done) => self.there(path),
        }
    }

    /// Something was said to be at a path.
    fn there(&mut self, path: PathBuf) -> Result<(), Bypass> {
        let m = fs::symlink_metadata(&path).map_err(|_| Bypass::ChangedWhileCompiling)?;
        if m.is_symlink() {
            // One who asks may see the link or what is behind it.
            return Err(Bypass::MacroLink);
        }
        if m.is_dir() {
            self.looks.insert((path, Look::Kind));
        } else if m.is_file() {
            // Its size is told with its presence: the content counts.
            self.files.insert(path);
        } else {
            return Err(Bypass::MacroSpecialFile);
        }
        Ok(())
    }

    /// Nothing was said to be at a path, or no directory where one was to be listed.
    fn nothing(&mut self, path: PathBuf, kind: Kind) -> Result<(), Bypass> {
        match fs::symlink_metadata(&path) {
            Err(_) => {
                self.absent.insert(path);
                Ok(())
            }
            Ok(m) if m.is_symlink() => Err(Bypass::MacroLink),
            Ok(m) if kind == Kind::List && m.is_file() => self.there(path),
            Ok(_) => Err(Bypass::ChangedWhileCompiling),
        }
    }

    /// A path's name without links was told. Only where it has none does it say nothing new; and
    /// nothing on the way may become one.
    fn resolved(&mut self, path: &Path, roots: &Roots) -> Result<(), Bypass> {
        let plain = lexical(path);
        let real = fs::canonicalize(path).map_err(|_| Bypass::ChangedWhileCompiling)?;
        if real != plain {
            return Err(Bypass::MacroLink);
        }
        for at in plain.ancestors() {
            let is_root = roots.dirs().any(|dir| dir == at);
            if is_root || at.parent().is_none() {
                break;
            }
            self.there(at.to_owned())?;
        }
        Ok(())
    }

    /// What the looks show, all of it as it was when the compile began.
    pub(super) fn sights(&self, r: &Recording, ways: &mut Ways<'_>) -> Result<Vec<Looked>, Bypass> {
        let mut all = BTreeMap::new();
        for (path, look) in &self.looks {
            if r.roots.climbs_out(path) {
                return Err(Bypass::InputOutside);
            }
            ways.rested(path)?;
            let rested = |path: &Path| -> io::Result<bool> {
                let dir = File::open(path)?;
                let identity = Identity::of(&dir.metadata()?);
                Ok(local_clock(&dir) && (*look == Look::Kind || identity.modified < r.started))
            };
            if !rested(path).map_err(|_| Bypass::UnreadableInput)? {
                return Err(Bypass::ChangedWhileCompiling);
            }
            let seen = sight(path, *look).ok_or(Bypass::MacroSpecialFile)?;
            let name = super::find::named(&r.roots, path)?;
            all.insert((name, *look), seen);
        }
        let looked = |((name, _), sight)| Looked { name, sight };
        Ok(all.into_iter().map(looked).collect())
    }
}

/// Whether a file tells nothing of the machine, or chance alone.
pub(super) fn nothing_to_know(path: &Path) -> bool {
    ["/dev/null", "/dev/urandom", "/dev/random"]
        .iter()
        .any(|known| path == Path::new(known))
}

/// Whether the kernel makes up what lies there.
pub(super) fn of_the_kernel(path: &Path) -> bool {
    // A filesystem in memory like others.
    let shared_memory = path.starts_with("/dev/shm");
    let made_up = ["/proc", "/sys", "/dev"];
    !shared_memory && made_up.iter().any(|d| path.starts_with(d))
}

/// A path with `..` taken for the step back that it is where there are no links.
pub(super) fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    plain
}

/// What is to be seen at a path; `None` for links, for what is neither file nor directory, and
/// for a directory of more than `most` entries.
pub(super) fn sight(path: &Path, look: Look) -> Option<Sight> {
    match look {
        Look::List => listing(path, LISTING_MAX).map(Sight::Listing),
        Look::Kind => {
            let m = fs::symlink_metadata(path).ok()?;
            if m.is_dir() {
                Some(Sight::Directory)
            } else {
                m.is_file().then_some(Sight::File)
            }
        }
        // Said of build scripts' runs alone, which know what to call the other end.
        Look::Link => None,
    }
}

/// The digest of a directory's names, each with what it is.
fn listing(path: &Path, most: usize) -> Option<Digest> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).ok()? {
        let entry = entry.ok()?;
        let kind = entry.file_type().ok()?;
        let kind = match (kind.is_file(), kind.is_dir(), kind.is_symlink()) {
            (true, ..) => b'f',
            (_, true, _) => b'd',
            (.., true) => b'l',
            _ => b'o',
        };
        entries.push((entry.file_name(), kind));
        if entries.len() > most {
            return None;
        }
    }
    entries.sort();
    let mut hasher = Hasher::new();
    for (name, kind) in &entries {
        hasher.update(name.as_bytes());
        // No name holds a slash.
        hasher.update(&[b'/', *kind]);
    }
    Some(hasher.finish())
}

/// What a prediction's looks show now, where `locate` says that they may lead.
pub(super) fn predicted(
    looks: &[(String, Look)],
    tier: Tier,
    locate: impl Fn(&str) -> Option<PathBuf>,
    sight: impl Fn(&Path, Look) -> Option<Sight>,
) -> Option<Vec<Looked>> {
    let mut left = LISTING_MAX;
    let mut all = Vec::with_capacity(looks.len());
    for (name, look) in looks {
        let path = locate(name)?;
        if tier == Tier::Peers && *look == Look::List {
            // All lists of a peer's prediction together are as long as one may be.
            left = left.checked_sub(fs::read_dir(&path).ok()?.take(left + 1).count())?;
        }
        all.push(Looked {
            name: name.clone(),
            sight: sight(&path, *look)?,
        });
    }
    Some(all)
}

#[cfg(test)]
#[path = "observed_tests.rs"]
mod tests;
