//! Programs that macros ran: what they said when a crate was compiled, and what they say now.
//!
//! What a program reads, and by what it judges, nobody knows (git compares times and inodes); what
//! it says is all that a macro gets of it. So it is run again, as the compile would run it, and
//! only where the compile would: everything else that was read is as it was, and so is what was
//! said by those before it. What it does besides, it does as it would have.
//!
//! Enters: reports of witnesses, predictions of this node's own. Leaves: what belongs into the key;
//! later, whether all of them say the same. Must never happen here: a program run that a peer named.

use super::{Bypass, Recording, restore};
use crate::action::{Description, MAX_RAN, Prediction, Ran, Use};
use crate::child::{Child, Report, environment};
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

/// Who runs a program as a compile would: it gives the digest of what that said.
pub(super) type Ask<'a> = &'a dyn Fn(&Child) -> Option<Digest>;

/// What programs say, each asked once in one look.
pub(super) struct Asking<'a> {
    ask: Ask<'a>,
    said: RefCell<HashMap<Child, Option<Digest>>>,
}

impl<'a> Asking<'a> {
    pub fn new(ask: Ask<'a>) -> Self {
        let said = RefCell::default();
        Self { ask, said }
    }

    /// Nobody is asked, and nobody answers.
    pub fn nobody() -> Self {
        Self::new(&|_| None)
    }

    /// From now on everything is asked anew.
    pub fn again(&self) {
        self.said.borrow_mut().clear();
    }

    /// Whether all of them say what they said: asked in turn, up to the first that does not.
    pub fn say_the_same(&self, ran: &[Ran], roots: &Roots) -> bool {
        ran.iter().all(|one| {
            let child = match one.how {
                Use::Literal => one.child.clone(),
                Use::Symbolic => each(&one.child, |text| roots.localise(text)),
            };
            self.said(child) == Some(one.said)
        })
    }

    fn said(&self, child: Child) -> Option<Digest> {
        if let Some(known) = self.said.borrow().get(&child) {
            return *known;
        }
        if self.said.borrow().len() >= MAX_RAN {
            return None;
        }
        let said = (self.ask)(&child);
        self.said.borrow_mut().insert(child, said);
        said
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
        let said = report.said();
        let plain = |text: &Vec<u8>| r.roots.normalise(text) == *text;
        let placeless = report.heard.iter().all(plain);
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
/// same by them.
pub(super) fn are_the_same(log: &Log, cwd: &Path, expected: &[(Child, Digest)]) -> bool {
    let numbers = || {
        let bytes = log.read().ok()?;
        let records = log::parse(&bytes)?;
        let started = records.iter().filter(|r| r.kind == Kind::Spawn);
        let numbers = started.map(|r| r.text.to_str().filter(|n| !n.is_empty()));
        numbers
            .map(|n| n.map(str::to_owned))
            .collect::<Option<BTreeSet<_>>>()
    };
    let told = |number: &String| {
        let report = log.report(number).ok()?;
        let said = report.said();
        Some((here(report.child, cwd), said))
    };
    let all: Option<Vec<_>> = numbers().and_then(|all| all.iter().map(told).collect());
    all.is_some_and(|all| all == expected)
}

/// The same with placeholders.
pub(super) fn symbolic(ran: &Ran, roots: &Roots) -> Ran {
    Ran {
        child: each(&ran.child, |text| roots.normalise(text)),
        how: Use::Symbolic,
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
