//! Lookup: from what is known to an entry that matches the files as they are now.
//!
//! Local predictions first, then local entries, then peers. A prediction only names inputs; they
//! are digested here, now. A peer's prediction may only name regular files under the
//! invocation's roots, bounded in number and bytes.

use super::believed::{Want, executes};
use super::observed::{self, DIRECTORY};
use super::{
    Base, Cache, Caller, Candidate, Hit, Pipeline, Tier, behind, digest_seen, links, ran,
    read_prediction, restore,
};
use crate::action::{
    Description, ExternInput, FileInput, Known, Observer, Prediction, Use, Value, Variable,
};
use crate::compiler::clippy;
use crate::compiler::probe::Compiler;
use crate::compiler::rustc::args::Unit;
use crate::compiler::rustc::native;
use crate::compiler::{Bypass, KEYED_VARIABLES};
use crate::digests::{FileDigests, Identity};
use crate::invocation::Invocation;
use crate::nearby::Nearby;
use crate::paths::{Named, Roots};
use quarry_trust::{ActionKey, Digest, Entry, LookupKey};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files that a peer's prediction may name, and their bytes together.
pub(super) const PEER_FILES_MAX: usize = 20_000;
pub(super) const PEER_BYTES_MAX: u64 = 1 << 30;

/// Digests what is known without a prediction.
pub(super) fn base(
    pipeline: &Pipeline,
    inv: &Invocation,
    unit: &Unit,
    roots: &Roots,
    compiler: &Arc<Compiler>,
    seen: &mut HashMap<PathBuf, Identity>,
) -> Result<Base, Bypass> {
    let digests = pipeline.digests.as_ref();
    let mut args = unit.key_args(roots);
    if unit.cpu_native {
        let cpu = pipeline
            .compilers
            .native_cpu(inv, compiler)
            .map_err(|_| Bypass::CompilerUnidentified)?;
        args.push([b"target-cpu=native:".as_slice(), cpu.as_bytes()].concat());
    }
    let mut lints = None;
    if unit.clippy.is_some() {
        let configuration = clippy::configuration(inv, roots, digests)?;
        args.push(configuration.clone());
        lints = Some(configuration);
    }
    let source = inv.cwd.join(&unit.source);
    let root = digest_seen(digests, &source, seen).map_err(|_| Bypass::UnreadableInput)?;
    let behind = behind::behind(pipeline, inv, unit, seen)?;
    let watched =
        !behind.macros.is_empty() && pipeline.observing.reaches(&compiler.verbose_version);
    let known = Known {
        compiler: clippy::identity(inv, unit, compiler, digests)?,
        compiler_version: compiler.verbose_version.clone(),
        observer: if watched {
            Observer::Preload
        } else {
            Observer::None
        },
        pure: if watched {
            pipeline.observing.pure(&behind.macros)
        } else {
            Vec::new()
        },
        args,
        root: FileInput {
            name: named(roots, &source)?,
            digest: Some(root),
        },
    };
    let externs = externs(digests, inv, unit, seen)?;
    let (link, linked) = links::base(pipeline, inv, unit, compiler, &behind, seen)?;
    let mut native_inputs = Vec::new();
    for path in native::archives(unit, inv)? {
        let digest = digest_seen(digests, &path, seen).map_err(|_| Bypass::UnreadableInput)?;
        let name = named(roots, &path)?;
        native_inputs.push(FileInput {
            name,
            digest: Some(digest),
        });
    }
    Ok(Base {
        compiler: Arc::clone(compiler),
        known,
        externs,
        macros: behind.macros.clone(),
        native: native_inputs,
        link,
        linked,
        lints,
        behind,
    })
}

fn externs(
    digests: &dyn FileDigests,
    inv: &Invocation,
    unit: &Unit,
    seen: &mut HashMap<PathBuf, Identity>,
) -> Result<Vec<ExternInput>, Bypass> {
    let mut externs = Vec::with_capacity(unit.externs.len());
    for e in &unit.externs {
        let (file, digest) = match &e.path {
            None => (String::new(), None),
            Some(path) => {
                let path = inv.cwd.join(path);
                let digest =
                    digest_seen(digests, &path, seen).map_err(|_| Bypass::UnreadableInput)?;
                (file_name(&path)?, Some(digest))
            }
        };
        externs.push(ExternInput {
            name: e.name.clone(),
            file,
            digest,
        });
    }
    Ok(externs)
}

/// The name of a file of this invocation.
pub(super) fn named(roots: &Roots, path: &Path) -> Result<String, Bypass> {
    roots
        .name(path)
        .text()
        .map(str::to_owned)
        .ok_or(Bypass::NotUtf8)
}

pub(super) fn file_name(path: &Path) -> Result<String, Bypass> {
    path.file_name()
        .and_then(OsStr::to_str)
        .map(str::to_owned)
        .ok_or(Bypass::NotUtf8)
}

/// Variables whose values may stand in the key in clear: cargo's own, which say what package and
/// target this is, and those that choose how rustc behaves.
pub(super) fn is_public(name: &str) -> bool {
    const PUBLIC: [&str; 10] = [
        "CARGO_CRATE_NAME",
        "CARGO_BIN_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "OUT_DIR",
        "TARGET",
        "HOST",
        "PROFILE",
        "OPT_LEVEL",
    ];
    name.starts_with("CARGO_PKG_") || PUBLIC.contains(&name) || KEYED_VARIABLES.contains(&name)
}

/// Whether a variable that looks like a secret was set when it was read: such an entry stays with
/// the node that made it.
#[must_use]
pub fn reads_a_secret(variables: &[Variable]) -> bool {
    variables
        .iter()
        .any(|v| v.value != Value::Unset && looks_secret(&v.name))
}

fn looks_secret(name: &str) -> bool {
    const MARKS: [&str; 7] = [
        "TICKET",
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "CREDENTIAL",
        "PRIVATE_KEY",
    ];
    let upper = name.to_ascii_uppercase();
    MARKS.iter().any(|m| upper.contains(m)) || upper.ends_with("_KEY") || upper.ends_with("APIKEY")
}

/// Stands among the variables for how the target directory lies to the workspace: of what was
/// found below the one from the other.
pub(super) const LAYOUT: &str = "=layout";

pub(super) fn value(
    inv: &Invocation,
    roots: &Roots,
    name: &str,
    how: Use,
    secret: &[u8; 32],
) -> Value {
    if name == LAYOUT {
        let below = roots.layout();
        return below.map_or(Value::Unset, |below| Value::Public(below.to_owned()));
    }
    if name == DIRECTORY {
        return match inv.cwd.to_str() {
            Some(text) => Value::Public(text.to_owned()),
            None => Value::Keyed(Digest::keyed(secret, inv.cwd.as_os_str().as_bytes())),
        };
    }
    let Some(raw) = inv.var(name) else {
        return Value::Unset;
    };
    if how == Use::Symbolic
        && let Named::Rooted(_, text) = roots.name(Path::new(raw))
    {
        return Value::Symbolic(text);
    }
    match raw.to_str() {
        Some(text) if is_public(name) => Value::Public(text.to_owned()),
        _ => Value::Keyed(Digest::keyed(
            secret,
            &[name.as_bytes(), b"=", raw.as_bytes()].concat(),
        )),
    }
}

/// The variables of a key: those that were read, those that always count, and, where macros run
/// that nobody observes, those in which cargo tells them about the package.
pub(super) fn variables(
    inv: &Invocation,
    roots: &Roots,
    base: &Base,
    read: &[(String, Use)],
    secret: &[u8; 32],
) -> Vec<Variable> {
    let mut uses: BTreeMap<&str, Use> = KEYED_VARIABLES
        .iter()
        .map(|name| (*name, Use::Literal))
        .collect();
    if !base.macros.is_empty() && base.known.observer == Observer::None {
        let told = inv.env.iter().filter_map(|(name, _)| name.to_str());
        uses.extend(
            told.filter(|n| n.starts_with("CARGO_PKG_") || *n == "CARGO_CRATE_NAME")
                .map(|n| (n, Use::Literal)),
        );
    }
    if base.lints.is_some() {
        uses.extend(clippy::variables(inv).map(|n| (n, Use::Literal)));
    }
    for (name, how) in read {
        // Who read the value has it, whoever else only named files by it.
        let known = uses.entry(name).or_insert(*how);
        *known = (*known).min(*how);
    }
    uses.into_iter()
        .map(|(name, how)| Variable {
            name: name.to_owned(),
            value: value(inv, roots, name, how, secret),
        })
        .collect()
}

/// An action that the files as they are lead to.
struct Wanted {
    key: ActionKey,
    /// Its description, canonical.
    description: Vec<u8>,
}

/// What peers offer under a key: what came before anybody asked, and only then what they answer.
pub(super) fn offers(
    cache: &dyn Cache,
    lookup: &LookupKey,
) -> impl Iterator<Item = Vec<Candidate>> {
    [true, false].into_iter().map(move |here| match here {
        true => cache.foreseen(lookup),
        false => cache.predict(lookup, Tier::Peers),
    })
}

/// One lookup.
pub(super) struct Trip<'a> {
    pub pipeline: &'a Pipeline,
    pub inv: &'a Invocation,
    pub unit: &'a Unit,
    pub roots: &'a Roots,
    pub base: &'a Base,
    pub cache: &'a dyn Cache,
    /// Programs that macros ran, asked again.
    pub asking: ran::Asking<'a>,
}

impl Trip<'_> {
    /// Finds an entry that matches and restores it.
    pub fn find(&self, caller: &Caller<'_>) -> Option<Hit> {
        self.asking.again();
        let lookup = self.base.known.lookup();
        let local = self.cache.predict(&lookup, Tier::Local);
        let keys = self.keys(&local, Tier::Local);
        // Every local candidate, then what peers hold under a key that we formed ourselves: with
        // what lies here, since several may have to agree.
        let mut held = Vec::with_capacity(keys.len());
        for key in &keys {
            let mut here = self.cache.get(&key.key, Tier::Local);
            if let Some(hit) = self.restore_one(&mut here, key, caller) {
                return Some(hit);
            }
            held.push(here);
        }
        for (key, mut all) in keys.iter().zip(held) {
            let theirs = self.cache.get(&key.key, Tier::Peers);
            if theirs.is_empty() {
                continue;
            }
            all.extend(theirs);
            if let Some(hit) = self.restore_one(&mut all, key, caller) {
                return Some(hit);
            }
        }
        // A key formed from a peer's prediction goes no further than the entries it came with.
        offers(self.cache, &lookup).find_map(|mut offered| {
            let keys = self.keys(&offered, Tier::Peers);
            let mut keys = keys.iter();
            keys.find_map(|key| self.restore_one(&mut offered, key, caller))
        })
    }

    /// The distinct actions that predictions lead to, given the files as they are.
    fn keys(&self, candidates: &[Candidate], tier: Tier) -> Vec<Wanted> {
        let mut tried = HashSet::new();
        let mut wanted: Vec<Wanted> = Vec::new();
        for candidate in candidates {
            if !tried.insert(&candidate.prediction) {
                continue;
            }
            let described = read_prediction(&candidate.prediction)
                .and_then(|p| self.describe(p, tier, &candidate.entry));
            let Some((key, description)) = described.map(|d| d.action()) else {
                continue;
            };
            if wanted.iter().all(|w| w.key != key) {
                wanted.push(Wanted { key, description });
            }
        }
        wanted
    }

    fn restore_one(
        &self,
        candidates: &mut Vec<Candidate>,
        wanted: &Wanted,
        caller: &Caller<'_>,
    ) -> Option<Hit> {
        let want = Want {
            cache: self.cache,
            caller,
            fits: &|c| c.entry.action == wanted.key && self.width_fits(c.entry.width),
            misfit: &|c| self.misfit(c, wanted),
            executes: executes(Some(self.unit)),
            restore: &|c| restore::restore(self, c, caller),
        };
        want.first(candidates)
    }

    /// What makes a signed entry unfit for this very command, before any object is asked for.
    fn misfit(&self, candidate: &Candidate, wanted: &Wanted) -> Option<&'static str> {
        if candidate.entry.description.digest != Digest::of(&wanted.description) {
            return Some("its description is not of this action");
        }
        let names = restore::names_match(self.unit, &candidate.entry.outputs);
        (!names).then_some("it names other files than this command writes")
    }

    fn width_fits(&self, width: Option<u16>) -> bool {
        width.is_none_or(|w| w == self.unit.width.unwrap_or(0))
    }

    /// Digests what a prediction names, and asks the programs that it names what they say, where
    /// they stand in this entry; `None` where something is not as it says.
    pub(super) fn describe(
        &self,
        prediction: Prediction,
        tier: Tier,
        entry: &Entry,
    ) -> Option<Description> {
        if prediction.rest.is_none() {
            return self.without_programs(prediction, tier);
        }
        let described = self.as_it_was(&prediction, tier)?;
        let may = ran::anybody_may_ask(&described, self.inv, self.roots)
            || (tier == Tier::Local && ran::may_be_asked(entry, &prediction, self.cache));
        let asked = may && self.asking.say_the_same(&prediction.ran);
        // One of them may have changed what was digested, as it would have before the compile read.
        (asked && self.again()?.as_it_was(&prediction, tier)? == described).then_some(described)
    }

    /// What a prediction says with its programs, where all else is as it was with them.
    pub(super) fn as_it_was(&self, prediction: &Prediction, tier: Tier) -> Option<Description> {
        let described = self.without_programs(prediction.clone(), tier)?;
        let same = prediction.rest.is_none_or(|rest| described.rest() == rest);
        let ran = prediction.ran.clone();
        same.then_some(Description { ran, ..described })
    }

    /// Compares what was digested before any prediction with what it is now.
    fn again(&self) -> Option<&Self> {
        let compiler = self.pipeline.identify(self.inv, self.unit).ok()?;
        let seen = &mut HashMap::new();
        let now = base(
            self.pipeline,
            self.inv,
            self.unit,
            self.roots,
            &compiler,
            seen,
        )
        .ok()?;
        let described = |base: &Base| base.with(Vec::new(), Vec::new(), Vec::new(), Vec::new());
        (described(&now) == described(self.base) && now.lints == self.base.lints).then_some(self)
    }

    /// As [`Self::describe`], but for the programs.
    pub(super) fn without_programs(
        &self,
        prediction: Prediction,
        tier: Tier,
    ) -> Option<Description> {
        let Prediction {
            files: present,
            absent,
            looks,
            variables: read,
            ..
        } = prediction;
        let named = present.len() + absent.len() + looks.len();
        if tier == Tier::Peers && named > PEER_FILES_MAX {
            return None;
        }
        let mut near = Nearby::default();
        let mut files = Vec::with_capacity(present.len() + absent.len());
        let mut file = |name, digest| files.push(FileInput { name, digest });
        let mut bytes = 0;
        let libraries = present.iter().filter_map(|n| links::library_of(n));
        if libraries.count() > links::LIBRARIES_MAX {
            return None;
        }
        for name in present {
            if let Some(library) = links::library_of(&name) {
                let found = self.base.linked.as_ref()?.library(self.pipeline, library)?;
                file(name, Some(found.digest));
                continue;
            }
            let path = self.locate(&name, tier)?;
            if tier == Tier::Peers {
                let m = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
                bytes += m.len();
                if bytes > PEER_BYTES_MAX {
                    return None;
                }
            }
            let digest = self.pipeline.digests.digest_near(&mut near, &path);
            file(name, Some(digest.ok()?));
        }
        if !self.nothing_stands_under(&absent, tier, &mut near) {
            return None;
        }
        absent.into_iter().for_each(|name| file(name, None));
        // Each list is in this order by itself, and what is there is not absent.
        files.sort_by(|one, other| one.name.cmp(&other.name));
        let looked = observed::predicted(
            &looks,
            tier,
            |name| self.locate(name, tier),
            observed::sight,
        )?;
        let secret = self.cache.value_secret();
        let variables = variables(self.inv, self.roots, self.base, &read, &secret);
        Some(self.base.with(files, looked, variables, Vec::new()))
    }

    fn nothing_stands_under(&self, names: &[String], tier: Tier, near: &mut Nearby) -> bool {
        if tier == Tier::Local {
            return self.pipeline.absences.hold(names, self.roots, near);
        }
        let mut paths = names.iter().map(|name| self.locate(name, tier));
        paths.all(|path| path.is_some_and(|path| near.lstat(&path).is_err()))
    }

    /// A named file of this checkout. A peer's prediction reaches only what is under a root.
    fn locate(&self, name: &str, tier: Tier) -> Option<PathBuf> {
        match tier {
            Tier::Local => self.roots.locate(name),
            Tier::Peers => self.roots.locate_shared(name),
        }
    }
}
