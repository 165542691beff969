//! Programs that macros ran: what they said when a crate was compiled, and what they say now.
//!
//! What a program reads, and by what it judges, nobody knows (git compares times and inodes); what
//! it says is all that a macro gets of it. So it is run again, as the compile would run it, and
//! only where the compile would: everything else that was read is as it was, and so is what was
//! said by those before it. What it does besides, it does as it would have.
//!
//! Enters: reports of witnesses, predictions of this node's own; of others', questions to cargo
//! itself. Leaves: what belongs into the key; later, whether all of them say the same. Must never
//! happen here: a program run that a peer named.

use super::{Bypass, Recording, restore};
use crate::action::{Description, MAX_RAN, Prediction, Ran, Use, Value};
use crate::child::{Child, Report, Said, environment};
use crate::invocation::Invocation;
use crate::observer::Log;
use crate::observer::log::{self, Kind};
use crate::paths::Roots;
use quarry_trust::canon::Canonical;
use quarry_trust::{Digest, Entry};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A description that is read to see which programs stand in it.
const DESCRIPTION_MAX: u64 = 64 << 20;

/// How macros ask cargo for the manifest of a workspace, up to the name of a package's own: cargo
/// reads manifests and its configuration to say so, starts nothing and writes nothing.
const LOCATE: [&[u8]; 3] = [b"locate-project", b"--workspace", b"--message-format=plain"];
const OF_MANIFEST: &[u8] = b"--manifest-path=";
const MANIFEST: &[u8] = b"/Cargo.toml";
/// Where cargo says what it is called itself, and where the package lies.
pub(super) const CARGO: &str = "CARGO";
pub(super) const PACKAGE: &str = "CARGO_MANIFEST_DIR";
/// How often macros may have asked this in one compile.
const OF_CARGO_MAX: usize = 16;

/// Who runs a program as a compile would: it gives what that said.
pub(super) type Ask<'a> = &'a dyn Fn(&Child) -> Option<Said>;

/// What programs say, each asked once in one look.
pub(super) struct Asking<'a> {
    ask: Ask<'a>,
    roots: &'a Roots,
    said: RefCell<HashMap<Child, Option<Told>>>,
}

/// What a program said, as it stands in keys.
#[derive(Clone, Copy)]
struct Told {
    literal: Digest,
    /// With placeholders, where they stand for just that.
    symbolic: Option<Digest>,
}

impl<'a> Asking<'a> {
    pub fn new(ask: Ask<'a>, roots: &'a Roots) -> Self {
        let said = RefCell::default();
        Self { ask, roots, said }
    }

    /// Nobody is asked, and nobody answers.
    pub fn nobody(roots: &'a Roots) -> Self {
        Self::new(&|_| None, roots)
    }

    /// From now on everything is asked anew.
    pub fn again(&self) {
        self.said.borrow_mut().clear();
    }

    /// Whether all of them say what they said: asked in turn, up to the first that does not.
    pub fn say_the_same(&self, ran: &[Ran]) -> bool {
        ran.iter().all(|one| match one.how {
            Use::Literal => self
                .said(one.child.clone())
                .is_some_and(|told| told.literal == one.said),
            Use::Symbolic => self
                .said(each(&one.child, |text| self.roots.localise(text)))
                .is_some_and(|told| told.symbolic == Some(one.said)),
        })
    }

    fn said(&self, child: Child) -> Option<Told> {
        if let Some(known) = self.said.borrow().get(&child) {
            return *known;
        }
        if self.said.borrow().len() >= MAX_RAN {
            return None;
        }
        let told = (self.ask)(&child).map(|said| Told {
            literal: said.digest(),
            symbolic: with_placeholders(&said, self.roots).map(|named| named.digest()),
        });
        self.said.borrow_mut().insert(child, told);
        told
    }
}

/// Whether the programs of a prediction may be run: they, and what must be as it was, stand so in
/// the description of an entry that this very node signed. A prediction itself is signed by nobody.
pub(super) fn may_be_asked(
    entry: &Entry,
    prediction: &Prediction,
    cache: &dyn super::Cache,
) -> bool {
    cache.is_own(entry)
        && restore::read_checked(cache, &entry.description, DESCRIPTION_MAX)
            .ok()
            .and_then(|bytes| Description::from_canon(&bytes).ok())
            .is_some_and(|d| d.ran == prediction.ran && Some(d.rest()) == prediction.rest)
}

/// Whether all that was run is a question to cargo itself that means the same in every checkout:
/// where the workspace of this very package is. Whoever would compile asks it just so.
pub(super) fn is_of_cargo(description: &Description) -> bool {
    let named = |name: &str| {
        let mut all = description.variables.iter();
        let found = all.find(|v| v.name == name)?;
        match &found.value {
            Value::Symbolic(text) => Some(text.as_bytes()),
            _ => None,
        }
    };
    let asks = |one: &Ran| {
        one.how == Use::Symbolic && asks_cargo(&one.child, named(CARGO), named(PACKAGE))
    };
    description.ran.len() <= OF_CARGO_MAX && description.ran.iter().all(asks)
}

/// Whether this cargo is asked for the workspace of the package in this directory, and nothing else.
fn asks_cargo(child: &Child, cargo: Option<&[u8]>, package: Option<&[u8]>) -> bool {
    let (Some(cargo), Some(package)) = (cargo, package) else {
        return false;
    };
    let manifest = [OF_MANIFEST, package, MANIFEST].concat();
    let words = [cargo].into_iter().chain(LOCATE).chain([&*manifest]);
    child.program == cargo && child.argv.iter().eq(words) && child.dir.is_none()
}

/// Whether it does not matter who named what was run: here it is put to the very cargo that started
/// this compile, about the package that this compile is of.
pub(super) fn anybody_may_ask(described: &Description, inv: &Invocation, roots: &Roots) -> bool {
    let own = |name| inv.var(name).map(OsStrExt::as_bytes);
    let asks = |one: &Ran| {
        let child = each(&one.child, |text| roots.localise(text));
        asks_cargo(&child, own(CARGO), own(PACKAGE))
    };
    is_of_cargo(described) && described.ran.iter().all(asks)
}

/// With placeholders, where those stand for just what was said.
fn with_placeholders(said: &Said, roots: &Roots) -> Option<Said> {
    said.map(|text| {
        let named = roots.normalise(text);
        (roots.localise(&named) == text).then_some(named)
    })
}

/// What the programs with these reports were and said.
///
/// # Errors
/// `macro-spawns` where one of them cannot be asked again.
pub(super) fn recorded(r: &Recording, reports: &BTreeSet<String>) -> Result<Vec<Ran>, Bypass> {
    let one = |number: &String| {
        let log = r.log.as_ref()?;
        let report: Report = log.report(number).ok()?;
        // Else somebody between qwrap and the macro changed it, and would again.
        let same = report.env == *environment(&r.inv.env).as_bytes();
        let said = report.said.digest();
        let plain = |text: &Vec<u8>| r.roots.normalise(text) == *text;
        let placeless = report.said.heard.iter().all(plain);
        let child = here(report.child, &r.inv.cwd);
        // What is over a bound of the stored form is not kept.
        let fits = Child::from_canon(&child.to_canon()).is_ok();
        (same && fits).then_some(Ran {
            child,
            how: Use::Literal,
            said,
            placeless,
        })
    };
    let ran: Option<Vec<Ran>> = reports.iter().map(one).collect();
    let ran = ran.filter(|ran| ran.len() <= MAX_RAN);
    ran.ok_or(Bypass::MacroSpawns)
}

/// As a question says it: without the directory of the compile.
fn here(mut child: Child, cwd: &Path) -> Child {
    child.dir = child.dir.filter(|dir| dir != cwd.as_os_str().as_bytes());
    child
}

/// Whether a compile in this directory started these very programs and no others, and was told the
/// same by them, but for the place: what each said, with placeholders. `back` gives what the first
/// compile would have been told there.
pub(super) fn told_the_same(
    log: &Log,
    cwd: &Path,
    expected: &[(Child, Digest)],
    roots: &Roots,
    back: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<Digest>> {
    let bytes = log.read().ok()?;
    let records = log::parse(&bytes)?;
    let started = records.iter().filter(|r| r.kind == Kind::Spawn);
    let numbers = started.map(|r| r.text.to_str().filter(|n| !n.is_empty()));
    let numbers: BTreeSet<_> = numbers.collect::<Option<_>>()?;
    if numbers.len() != expected.len() {
        return None;
    }
    let told = |(number, (child, said)): (&str, &(Child, Digest))| {
        let report = log.report(number).ok()?;
        let first = report.said.map(&back)?;
        let same = here(report.child, cwd) == *child && first.digest() == *said;
        let named = with_placeholders(&first, roots).filter(|_| same)?;
        Some(named.digest())
    };
    numbers.into_iter().zip(expected).map(told).collect()
}

/// The same with placeholders, in what it was asked with and in what it said.
pub(super) fn symbolic(ran: &Ran, said: Digest, roots: &Roots) -> Ran {
    Ran {
        child: each(&ran.child, |text| roots.normalise(text)),
        how: Use::Symbolic,
        said,
        ..ran.clone()
    }
}

/// With each of its texts as `rewritten`, where all can be.
pub(super) fn all(child: &Child, rewritten: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Child> {
    let argv = child.argv.iter().map(|a| rewritten(a));
    let dir = child.dir.as_ref().map(|dir| rewritten(dir));
    Some(Child {
        program: rewritten(&child.program)?,
        argv: argv.collect::<Option<_>>()?,
        dir: dir.map_or(Some(None), |dir| dir.map(Some))?,
        hears: child.hears,
    })
}

/// With each of its texts as `rewritten`.
fn each(child: &Child, rewritten: impl Fn(&[u8]) -> Vec<u8>) -> Child {
    Child {
        program: rewritten(&child.program),
        argv: child.argv.iter().map(|a| rewritten(a)).collect(),
        dir: child.dir.as_ref().map(|dir| rewritten(dir)),
        hears: child.hears,
    }
}
