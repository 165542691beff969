//! What lowers the hit rate, read off the latest compiles: `doctor`'s notes.
//!
//! Enters: the latest outcomes. Leaves: a line for each cause, with the crates that it met and
//! what to do. Only looks.

use super::RecentReport;
use std::collections::{BTreeMap, BTreeSet};

/// Crates that one note names; the others are counted.
const CRATES_NAMED: usize = 5;

/// One line for each cause among the latest compiles, the most frequent first.
pub(super) fn notes(recent: &[RecentReport]) -> Vec<String> {
    let mut met: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    // What has no name is a build script's trial compile.
    for compile in recent.iter().filter(|c| !c.crate_name.is_empty()) {
        let reason = (compile.outcome == "bypass").then_some(compile.reason.as_str());
        let causes = reason
            .into_iter()
            .chain(compile.hindrances.iter().map(String::as_str));
        for cause in causes.filter(|cause| advice(cause).is_some()) {
            met.entry(cause).or_default().insert(&compile.crate_name);
        }
    }
    let mut met: Vec<_> = met.into_iter().collect();
    met.sort_by_key(|(_, crates)| std::cmp::Reverse(crates.len()));
    met.into_iter()
        .filter_map(|(cause, crates)| {
            Some(format!("{} ({cause}): {}", names(&crates), advice(cause)?))
        })
        .collect()
}

fn names(crates: &BTreeSet<&str>) -> String {
    let named: Vec<&str> = crates.iter().take(CRATES_NAMED).copied().collect();
    let named = named.join(", ");
    match crates.len().saturating_sub(CRATES_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// What a cause means for teammates, and what to do; `None` for what nobody can help.
fn advice(cause: &str) -> Option<&'static str> {
    Some(match cause {
        "outside" => {
            "a path dependency outside the workspace is called by another path in each checkout, so nobody shares it: move it into the workspace, or depend on it by git or registry"
        }
        "native-cpu" => {
            "`-C target-cpu=native` shares only with machines of the same CPU: name a common one, as in target-cpu=x86-64-v3"
        }
        "path-in-output" => {
            "an output names a directory of this checkout, so nobody shares it: C compiled with debug information is the usual cause (`debug = false` for that package's build script helps)"
        }
        "macro-spawns" | "macro-environ" | "macro-sockets" | "macro-writes" | "macro-raw-calls"
        | "macro-machine" | "macro-link" | "macro-special-file" | "macro-library" => {
            "a procedural macro does what cannot be observed or repeated: if what it makes does not depend on that, name it in `pure_macros`"
        }
        "linker-unidentified" => {
            "something stands in front of the linker, or it is no gcc or clang, so links are not cached: name the real driver with `linker` in cargo's config"
        }
        "link-argument" => {
            "an argument for the linker names files or paths of this machine, so the link is not cached: `qnode why CRATE` shows which compile"
        }
        "env-preload" | "env-library-path" | "env-tool-path" | "env-compiler-log"
        | "env-linker" | "env-compiler" => {
            "a variable of the build's environment changes what compilers or linkers do: unset it for builds"
        }
        "foreign-clock" => {
            "sources lie on a filesystem that keeps time of its own (a network's): build from a local disk"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(crate_name: &str, reason: &str, hindrances: &[&str]) -> RecentReport {
        RecentReport {
            crate_name: crate_name.into(),
            outcome: if reason.is_empty() { "miss" } else { "bypass" }.into(),
            reason: reason.into(),
            hindrances: hindrances.iter().map(|&h| h.into()).collect(),
            ..RecentReport::default()
        }
    }

    #[test]
    fn each_cause_is_one_line_with_its_crates() {
        let found = notes(&[
            compile("a", "macro-spawns", &[]),
            compile("b", "macro-spawns", &[]),
            compile("b", "macro-spawns", &["native-cpu"]),
            compile("c", "probe", &[]),
            compile("d", "", &[]),
            compile("", "probe", &["outside"]),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a, b (macro-spawns): "));
        assert!(found[1].starts_with("b (native-cpu): "));
    }

    #[test]
    fn many_crates_are_counted() {
        let many: Vec<RecentReport> = (0..8)
            .map(|n| compile(&format!("c{n}"), "", &["outside"]))
            .collect();
        assert!(notes(&many)[0].starts_with("c0, c1, c2, c3, c4 and 3 more (outside): "));
    }

    #[test]
    fn the_causes_are_reasons_that_exist() {
        use quarry_wrapper::compiler::Bypass;
        let known = |cause: &str| Bypass::ALL.iter().any(|b| b.name() == cause);
        for cause in [
            "macro-spawns",
            "path-in-output",
            "linker-unidentified",
            "foreign-clock",
        ] {
            assert!(known(cause) && advice(cause).is_some(), "{cause}");
        }
        for bypass in Bypass::ALL
            .iter()
            .filter(|b| b.name().starts_with("macro-"))
        {
            assert!(advice(bypass.name()).is_some(), "{bypass}");
        }
    }
}
