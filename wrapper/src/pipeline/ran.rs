//! Programs that macros ran: what they said when a crate was compiled, and what they say now.
//!
//! What a program reads, and by what it judges, nobody knows (git compares times and inodes); what
//! it says is all that a macro gets of it. So it is run again, as the compile would run it, and
//! only where the compile would: everything else that was read is as it was, and so is what was
//! said by those before it. What it does besides, it does as it would have.
//!
//! Enters: reports of witnesses, predictions of this node's own. Leaves: what belongs into the key;
//! later, whether all of them say the same. Must never happen here: a program run that a peer named.

use super::{Bypass, Candidate, Recording, Tier, restore};
use crate::action::{Description, MAX_RAN, Prediction, Ran, Use};
use crate::child::{Child, JOBSERVER, Report};
use crate::paths::Roots;
use quarry_trust::Digest;
use quarry_trust::canon::Canonical;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;

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

/// Whether the programs of a prediction may be run: it is ours, and so are they. A prediction is
/// not signed; the description is, by this node, and never left it.
pub(super) fn may_be_asked(
    candidate: &Candidate,
    prediction: &Prediction,
    tier: Tier,
    cache: &dyn super::Cache,
) -> bool {
    let object = &candidate.entry.description;
    tier == Tier::Local
        && candidate.from.is_none()
        && cache.is_own(&candidate.entry)
        && restore::read_checked(cache, object, DESCRIPTION_MAX)
            .ok()
            .and_then(|bytes| Description::from_canon(&bytes).ok())
            .is_some_and(|described| described.ran == prediction.ran)
}

/// What the programs with these reports were and said, and which variables of the compile had other
/// values for them.
///
/// # Errors
/// `macro-spawns` where one of them cannot be asked again.
pub(super) fn recorded(
    r: &Recording,
    reports: &BTreeSet<String>,
) -> Result<(Vec<Ran>, BTreeSet<String>), Bypass> {
    let mut names = BTreeSet::new();
    let one = |number: &String| {
        let log = r.log.as_ref()?;
        let report: Report = log.report(number).ok()?;
        let said = report.said();
        let plain = |text: &Vec<u8>| r.roots.normalise(text) == *text;
        let placeless = plain(&report.stdout) && plain(&report.stderr);
        let mut child = report.child;
        child.env = others(child.env, r, &mut names)?;
        child.dir = child
            .dir
            .filter(|dir| dir != r.inv.cwd.as_os_str().as_bytes());
        // What is over a bound of the stored form is not kept.
        let fits = Child::from_canon(&child.to_canon()).is_ok();
        fits.then_some(Ran {
            child,
            how: Use::Literal,
            said,
            placeless,
        })
    };
    let ran: Option<Vec<Ran>> = reports.iter().map(one).collect();
    let ran = ran.filter(|ran| ran.len() <= MAX_RAN);
    Ok((ran.ok_or(Bypass::MacroSpawns)?, names))
}

/// The variables that the compile did not have so. `None` where one of its own was taken away: of
/// a variable that comes later nobody would know whether it were, too.
fn others(
    theirs: Vec<(Vec<u8>, Vec<u8>)>,
    r: &Recording,
    names: &mut BTreeSet<String>,
) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let of_jobserver = |name: &[u8]| JOBSERVER.iter().any(|j| j.as_bytes() == name);
    let mut theirs: BTreeMap<_, _> = theirs.into_iter().collect();
    theirs.retain(|name, _| !of_jobserver(name));
    for (name, value) in &r.inv.env {
        let name = name.as_bytes();
        if of_jobserver(name) {
            continue;
        }
        if theirs.get(name)? == value.as_bytes() {
            theirs.remove(name);
        } else {
            // What it was made of counts.
            names.insert(std::str::from_utf8(name).ok()?.to_owned());
        }
    }
    Some(theirs.into_iter().collect())
}

/// The same with placeholders.
pub(super) fn symbolic(ran: &Ran, roots: &Roots) -> Ran {
    Ran {
        child: each(&ran.child, |text| roots.normalise(text)),
        how: Use::Symbolic,
        ..ran.clone()
    }
}

/// Whether placeholders stand for just what was there.
pub(super) fn is_named(child: &Child, roots: &Roots) -> bool {
    texts(child).all(|text| roots.localise(&roots.normalise(text)) == *text)
}

/// All texts that may name a path.
pub(super) fn texts(child: &Child) -> impl Iterator<Item = &Vec<u8>> {
    let values = child.env.iter().map(|(_, value)| value);
    std::iter::once(&child.program)
        .chain(&child.argv)
        .chain(&child.dir)
        .chain(values)
}

/// With each of these texts as `rewritten`.
pub(super) fn each(child: &Child, rewritten: impl Fn(&[u8]) -> Vec<u8>) -> Child {
    let env = child.env.iter();
    Child {
        program: rewritten(&child.program),
        argv: child.argv.iter().map(|a| rewritten(a)).collect(),
        dir: child.dir.as_ref().map(|dir| rewritten(dir)),
        env: env.map(|(n, v)| (n.clone(), rewritten(v))).collect(),
    }
}
