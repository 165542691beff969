//! What makes two actions differ, in words: what `why` shows.
//!
//! Enters: two descriptions, an earlier one and one of now. Leaves: one line for each input that
//! is not the same, the weightiest first. Only compares; must never happen here: a key.

use crate::action::{Description, ExternInput, FileInput, Looked, Ran, Sight, Value, Variable};
use quarry_trust::Digest;
use std::collections::BTreeMap;

/// Characters of a digest that are shown: enough to tell two apart.
const DIGEST_SHOWN: usize = 12;

/// One input that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What kind of input: `compiler`, `argument`, `root`, `dependency`, `macro`, `native`,
    /// `link`, `file`, `look`, `variable`, `program` or `observation`. These names are stable.
    pub what: &'static str,
    /// Which of that kind; empty where there is only one.
    pub name: String,
    /// What it was in the earlier action; empty where it was not there.
    pub before: String,
    /// What it is now; empty where it is not there.
    pub now: String,
}

impl Difference {
    /// How much it weighs when the nearest of several actions is looked for: another compiler is
    /// further away than another file.
    #[must_use]
    pub fn weight(&self) -> u64 {
        match self.what {
            "compiler" => 10_000,
            "argument" | "observation" => 100,
            // A changed dependency changed for a reason of its own.
            "dependency" | "macro" | "link" | "native" => 2,
            _ => 1,
        }
    }
}

/// How far apart two actions are: 0 where they are the same.
#[must_use]
pub fn distance(differences: &[Difference]) -> u64 {
    differences.iter().map(Difference::weight).sum()
}

/// Every input in which `now` is not `before`.
#[must_use]
pub fn differences(before: &Description, now: &Description) -> Vec<Difference> {
    let mut all = Vec::new();
    compilers(before, now, &mut all);
    arguments(before, now, &mut all);
    observation(before, now, &mut all);
    let root = |d: &Description| BTreeMap::from([(String::new(), file(&d.known.root))]);
    named("root", &root(before), &root(now), &mut all);
    let externs = |d: &Description| d.externs.iter().map(dependency).collect();
    named("dependency", &externs(before), &externs(now), &mut all);
    let files = |list: &[FileInput]| list.iter().map(|f| (f.name.clone(), file(f))).collect();
    for (what, was, is) in [
        ("macro", &before.macros, &now.macros),
        ("native", &before.native, &now.native),
        ("link", &before.link, &now.link),
        ("file", &before.files, &now.files),
    ] {
        named(what, &files(was), &files(is), &mut all);
    }
    let looks = |d: &Description| d.looked.iter().map(look).collect();
    named("look", &looks(before), &looks(now), &mut all);
    let variables = |d: &Description| d.variables.iter().map(variable).collect();
    named("variable", &variables(before), &variables(now), &mut all);
    let programs = |d: &Description| d.ran.iter().map(program).collect();
    named("program", &programs(before), &programs(now), &mut all);
    all.sort_by_key(|d| std::cmp::Reverse(d.weight()));
    all
}

fn compilers(before: &Description, now: &Description, all: &mut Vec<Difference>) {
    if before.known.compiler == now.known.compiler {
        return;
    }
    let (was, is) = (&before.known.compiler_version, &now.known.compiler_version);
    let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let (mut was_text, mut is_text) = (first(was), first(is));
    if was == is {
        // One version string over other files: a patched or half-updated toolchain.
        for (text, d) in [(&mut was_text, before), (&mut is_text, now)] {
            *text = format!("{text} (files {})", short(&d.known.compiler));
        }
    }
    all.push(Difference {
        what: "compiler",
        name: String::new(),
        before: was_text,
        now: is_text,
    });
}

/// Arguments as a set: order alone is shown only where nothing else differs. Externs are compared
/// as dependencies.
fn arguments(before: &Description, now: &Description, all: &mut Vec<Difference>) {
    let words = |d: &Description| -> Vec<String> {
        let texts = d.known.args.iter().map(|a| String::from_utf8_lossy(a));
        texts
            .filter(|a| !a.starts_with("--extern "))
            .map(Into::into)
            .collect()
    };
    let (was, is) = (words(before), words(now));
    let gone = was.iter().filter(|a| !is.contains(a));
    let come = is.iter().filter(|a| !was.contains(a));
    let found = all.len();
    // An option with another value is one difference, not two.
    let option = |a: &str| a.split_inclusive('=').next().unwrap_or_default().to_owned();
    let mut come: Vec<&String> = come.collect();
    for argument in gone {
        let same = |c: &&String| argument.contains('=') && option(c) == option(argument);
        let now = come.iter().position(same).map(|at| come.remove(at));
        all.push(Difference {
            what: "argument",
            name: String::new(),
            before: argument.clone(),
            now: now.cloned().unwrap_or_default(),
        });
    }
    all.extend(come.into_iter().map(|argument| Difference {
        what: "argument",
        name: String::new(),
        before: String::new(),
        now: argument.clone(),
    }));
    if all.len() == found && was != is {
        all.push(Difference {
            what: "argument",
            name: "order".to_owned(),
            before: was.join(" "),
            now: is.join(" "),
        });
    }
}

fn observation(before: &Description, now: &Description, all: &mut Vec<Difference>) {
    let rules = |d: &Description| {
        let pure: Vec<String> = d.known.pure.iter().map(short).collect();
        format!("{:?}, vouched for: [{}]", d.known.observer, pure.join(", "))
    };
    let (was, is) = (rules(before), rules(now));
    if was != is {
        all.push(Difference {
            what: "observation",
            name: String::new(),
            before: was,
            now: is,
        });
    }
}

/// Compares two maps from names to what stands for the content.
fn named(
    what: &'static str,
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
    all: &mut Vec<Difference>,
) {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    for name in names {
        let (was, is) = (before.get(name), now.get(name));
        if was != is {
            all.push(Difference {
                what,
                name: name.clone(),
                before: was.cloned().unwrap_or_default(),
                now: is.cloned().unwrap_or_default(),
            });
        }
    }
}

fn short(digest: &Digest) -> String {
    let mut hex = digest.to_hex();
    hex.truncate(DIGEST_SHOWN);
    hex
}

fn file(f: &FileInput) -> String {
    f.digest
        .as_ref()
        .map_or_else(|| "absent".to_owned(), |d| format!("content {}", short(d)))
}

fn dependency(e: &ExternInput) -> (String, String) {
    let content = match &e.digest {
        Some(digest) => format!("{} {}", e.file, short(digest)),
        None => "from the sysroot".to_owned(),
    };
    (e.name.clone(), content)
}

fn look(l: &Looked) -> (String, String) {
    match &l.sight {
        Sight::Listing(digest) => (
            format!("{} (its names)", l.name),
            format!("names {}", short(digest)),
        ),
        Sight::File => (l.name.clone(), "a file".to_owned()),
        Sight::Directory => (l.name.clone(), "a directory".to_owned()),
        Sight::Link(digest) => (
            format!("{} (where it leads)", l.name),
            format!("link {}", short(digest)),
        ),
    }
}

fn program(ran: &Ran) -> (String, String) {
    (ran.child.shown(), format!("says {}", short(&ran.said)))
}

fn variable(v: &Variable) -> (String, String) {
    let value = match &v.value {
        Value::Unset => "unset".to_owned(),
        Value::Public(text) => format!("{text:?}"),
        // Values that are not public are not kept, so nobody can show them.
        Value::Keyed(digest) => format!("a value with digest {}", short(digest)),
        Value::Symbolic(text) => format!("names files under {text}"),
    };
    (v.name.clone(), value)
}

#[cfg(test)]
#[path = "difference_tests.rs"]
mod tests;
