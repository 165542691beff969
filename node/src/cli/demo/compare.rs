//! Two builds side by side: times, where things came from, and whether they are the same.
//!
//! Enters: both nodes' latest compiles, both target directories. Leaves: a table, and a verdict
//! on the libraries' bytes and the programs' output.

use super::Builds;
use super::build::Built;
use super::stage::Developer;
use crate::cli::print;
use crate::control::RecentReport;
use anyhow::{Result, anyhow, bail};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A row for each compile of Bob's, with Alice's time beside it.
#[must_use]
pub fn table(hers: &[RecentReport], his: &[RecentReport], (alice, bob): Builds<'_>) -> String {
    let mut earlier: HashMap<(&str, usize), &RecentReport> = HashMap::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut nth = |name| {
        let n = seen.entry(name).or_insert(0);
        *n += 1;
        *n
    };
    for report in hers {
        earlier.insert((&report.crate_name, nth(&report.crate_name)), report);
    }
    seen.clear();
    let mut rows = Vec::new();
    for report in his {
        let n = seen.entry(&report.crate_name).or_insert(0);
        *n += 1;
        let before = earlier.get(&(report.crate_name.as_str(), *n));
        rows.push(vec![
            report.crate_name.clone(),
            before.map_or_else(|| "-".to_owned(), |r| print::millis(r.ms)),
            print::millis(report.ms),
            source(report),
            report.signed_by.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let wall = |b: &Built| u64::try_from(b.took.as_millis()).unwrap_or(u64::MAX);
    rows.push(vec![
        "the whole build".to_owned(),
        print::millis(wall(alice)),
        print::millis(wall(bob)),
        ratio(wall(alice), wall(bob)),
        String::new(),
    ]);
    print::table(
        &["CRATE", "ALICE", "BOB", "BOB'S CAME FROM", "SIGNED BY"],
        &rows,
        &[1, 2],
    )
}

fn source(report: &RecentReport) -> String {
    match (report.outcome.as_str(), &report.from) {
        ("hit-peer", Some(from)) => format!("{from}, over the network"),
        ("hit-peer", None) => "a teammate, over the network".to_owned(),
        ("hit-local", _) => "his own store".to_owned(),
        ("bypass", _) if report.reason.is_empty() => "compiled here".to_owned(),
        ("bypass", _) => format!("compiled here: {}", report.reason),
        _ => "compiled here".to_owned(),
    }
}

fn ratio(alice: u64, bob: u64) -> String {
    if bob == 0 || alice == 0 {
        return String::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let (alice, bob) = (alice as f64, bob as f64);
    if alice >= bob {
        format!("{:.1} times as fast", alice / bob)
    } else {
        format!("{:.1} times as slow", bob / alice)
    }
}

/// Whether both builds came to the same.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Libraries with the same bytes.
    pub same: usize,
    /// Names of libraries that differ, or that one of them lacks.
    pub differ: Vec<String>,
    /// Programs that printed the same.
    pub programs: usize,
    /// Names of programs that did not.
    pub disagree: Vec<String>,
}

impl Verdict {
    /// What was compared, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![format!(
            "{} of {} libraries are the same, byte by byte; {} of {} programs print the same.",
            self.same,
            self.same + self.differ.len(),
            self.programs,
            self.programs + self.disagree.len()
        )];
        for name in self.differ.iter().chain(&self.disagree) {
            lines.push(format!("  not the same: {}", print::clean_line(name)));
        }
        lines.join("\n")
    }

    /// Fails where the builds came to something else.
    ///
    /// # Errors
    /// That they did.
    pub fn judge(&self) -> Result<()> {
        if !self.differ.is_empty() || !self.disagree.is_empty() {
            bail!(
                "the two builds differ: that must not be; please report it with `qnode demo --keep`"
            );
        }
        if self.same == 0 || self.programs == 0 {
            bail!("the builds left nothing to compare: `qnode demo --keep` leaves them to look at");
        }
        Ok(())
    }
}

/// Compares the libraries' bytes and runs the programs.
///
/// # Errors
/// That something cannot be read or run.
pub fn compare(alice: &Developer, bob: &Developer, (hers, his): Builds<'_>) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let deps = |who: &Developer| who.checkout.join("target/debug/deps");
    let mut names = libraries(&deps(alice))?;
    names.extend(libraries(&deps(bob))?);
    for name in names {
        let read = |who: &Developer| fs::read(deps(who).join(&name)).ok();
        if read(alice).is_some_and(|bytes| read(bob) == Some(bytes)) {
            verdict.same += 1;
        } else {
            verdict.differ.push(name);
        }
    }
    let programs = |built: &Built| -> BTreeSet<String> {
        let names = built
            .programs
            .iter()
            .filter_map(|p| p.file_name()?.to_str());
        names.map(str::to_owned).collect()
    };
    for name in programs(hers).union(&programs(his)) {
        let path = |who: &Developer| who.checkout.join("target/debug").join(name);
        if output(&path(alice))? == output(&path(bob))? {
            verdict.programs += 1;
        } else {
            verdict.disagree.push(name.clone());
        }
    }
    Ok(verdict)
}

fn libraries(deps: &Path) -> Result<BTreeSet<String>> {
    let listed =
        fs::read_dir(deps).map_err(|e| anyhow!("cannot look at {}: {e}", deps.display()))?;
    let names = listed.filter_map(|e| e.ok()?.file_name().into_string().ok());
    Ok(names.filter(|n| n.ends_with(".rlib")).collect())
}

/// What a program prints, and how it ends.
fn output(program: &Path) -> Result<(Vec<u8>, Option<i32>)> {
    let out = Command::new(program)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|e| anyhow!("cannot run {}: {e}", program.display()))?;
    Ok((out.stdout, out.status.code()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_wrapper::home::Home;
    use std::time::Duration;

    fn compile(name: &str, outcome: &str, ms: u64) -> RecentReport {
        RecentReport {
            crate_name: name.into(),
            outcome: outcome.into(),
            ms,
            ..RecentReport::default()
        }
    }

    #[test]
    fn rows_of_the_same_name_meet_in_their_order() {
        let hers = [
            compile("build_script_build", "bypass", 300),
            compile("desk_text", "miss", 1200),
            compile("build_script_build", "bypass", 400),
        ];
        let mut hit = compile("desk_text", "hit-peer", 12);
        hit.from = Some("alice".into());
        hit.signed_by = Some("alice".into());
        let mut link = compile("build_script_build", "bypass", 310);
        link.reason = "link".into();
        let his = [link, compile("build_script_build", "bypass", 390), hit];
        let took = |s| Built {
            took: Duration::from_secs(s),
            ..Built::default()
        };
        assert_eq!(
            table(&hers, &his, (&took(10), &took(4))),
            "CRATE                 ALICE     BOB  BOB'S CAME FROM          SIGNED BY\n\
             build_script_build   300 ms  310 ms  compiled here: link      -\n\
             build_script_build   400 ms  390 ms  compiled here            -\n\
             desk_text            1.20 s   12 ms  alice, over the network  alice\n\
             the whole build     10.00 s  4.00 s  2.5 times as fast"
        );
    }

    #[test]
    fn one_byte_makes_two_builds_differ() {
        let dir = tempfile::tempdir().unwrap();
        let developer = |name: &'static str, library: &[u8], says: &str| {
            let checkout = dir.path().join(name);
            fs::create_dir_all(checkout.join("target/debug/deps")).unwrap();
            fs::write(checkout.join("target/debug/deps/liba.rlib"), library).unwrap();
            fs::write(checkout.join("target/debug/deps/liba.rmeta"), name).unwrap();
            std::os::unix::fs::symlink("/bin/echo", checkout.join("target/debug").join(says))
                .unwrap();
            let home = Home::at(dir.path().to_owned()).unwrap();
            Developer {
                name,
                home,
                cargo_home: dir.path().to_owned(),
                checkout,
            }
        };
        let built = Built {
            programs: vec!["/t/desk".into()],
            ..Built::default()
        };
        let alice = developer("alice", b"library", "desk");
        let bob = developer("bob", b"library", "desk");
        let verdict = compare(&alice, &bob, (&built, &built)).unwrap();
        assert_eq!(
            verdict,
            Verdict {
                same: 1,
                programs: 1,
                ..Verdict::default()
            }
        );
        verdict.judge().unwrap();
        fs::write(bob.checkout.join("target/debug/deps/liba.rlib"), b"librarY").unwrap();
        fs::write(bob.checkout.join("target/debug/deps/libb.rlib"), b"").unwrap();
        let verdict = compare(&alice, &bob, (&built, &built)).unwrap();
        assert_eq!(verdict.differ, ["liba.rlib", "libb.rlib"]);
        assert!(verdict.judge().is_err());
    }

    #[test]
    fn nothing_to_compare_is_no_success() {
        assert!(Verdict::default().judge().is_err());
    }
}
