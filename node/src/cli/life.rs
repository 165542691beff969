//! team role, team retire, revoke, team merge, rotate: a membership between joining and leaving.
//!
//! Enters: names. Leaves: requests to the node, which decides, and what came of them in words.

use super::ask::{self, Line, SOON};
use super::team_args::RotateArgs;
use super::{print, terminal};
use crate::control::{
    EndedReport, ForkReport, LifeRequest, MergedReport, Request, RotatedReport, Status, TakenReport,
};
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How long a node may take to begin again with its new keys.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(50);

/// `qnode team role`.
///
/// # Errors
/// Why the role is what it was.
pub fn role(member: String, role: String) -> Result<()> {
    let request = LifeRequest::Role {
        member,
        role: role.clone(),
    };
    let taken: TakenReport = ask::report(&Request::Life(request), SOON)?;
    print::line(format!("{} is {role} now", print::clean_line(&taken.name)))?;
    say_ended(&taken)
}

/// `qnode team retire`.
///
/// # Errors
/// Why nobody was retired.
pub fn retire(member: String) -> Result<()> {
    let taken: TakenReport = ask::report(&Request::Life(LifeRequest::Retire { member }), SOON)?;
    print::line(format!(
        "retired {}: it is admitted no longer, and what it built before goes on counting",
        print::clean_line(&taken.name)
    ))?;
    say_ended(&taken)?;
    print::note(
        "where its key may be in others' hands, `qnode revoke` it; a new machine joins by `qnode invite`",
    );
    Ok(())
}

/// `qnode revoke`.
///
/// # Errors
/// Why nobody was revoked.
pub fn revoke(member: String) -> Result<()> {
    let taken: TakenReport = ask::report(&Request::Revoke { member }, SOON)?;
    let name = print::clean_line(&taken.name);
    if taken.already {
        print::line(format!("{name} is revoked already: there is nothing to do"))?;
        return Ok(());
    }
    print::line(format!(
        "revoked {name}: nothing it signed is believed any more"
    ))?;
    say_ended(&taken)?;
    print::note(format!(
        "what it signed stops hitting on each node that hears of it, and leaves its disk within a \
         minute; `qnode purge --builder {name} --dry-run` says what it reached"
    ));
    Ok(())
}

/// What became of the fork that was open.
fn say_ended(taken: &TakenReport) -> Result<()> {
    if let Some(ended) = &taken.ended {
        print::line(ended_text(ended))?;
    }
    Ok(())
}

fn ended_text(ended: &EndedReport) -> String {
    let mut lines = vec![match &ended.open {
        None => "the membership had forked: the fork is ended".to_owned(),
        Some(why) => format!(
            "the membership has forked, and the fork is open still ({why}): end it with `qnode team merge`"
        ),
    }];
    let signed = ended.signed.iter().map(|w| ("holds", w));
    let left_out = ended.left_out.iter().map(|w| ("left out", w));
    for (what_of_it, (name, what)) in signed.chain(left_out) {
        lines.push(format!("{what_of_it:<10} {name} {what}"));
    }
    if ended.open.is_none() && !ended.left_out.is_empty() {
        lines.push("what was left out was given by somebody who is no admin now: invite again whom you know".to_owned());
    }
    let lines: Vec<String> = lines.iter().map(|l| print::clean_line(l)).collect();
    lines.join("\n")
}

/// The fork, in words.
pub fn fork_text(fork: &ForkReport) -> String {
    let mut lines = vec!["the membership has forked: retirements and revocations of all branches hold, additions and roles of none".to_owned()];
    for (signer, at) in &fork.heads {
        lines.push(format!(
            "branch     signed by {signer}, {}",
            print::date(*at)
        ));
    }
    for (name, what) in &fork.waiting {
        lines.push(format!("waits      {name} {what}"));
    }
    let lines: Vec<String> = lines.iter().map(|l| print::clean_line(l)).collect();
    lines.join("\n")
}

/// `qnode team merge`.
///
/// # Errors
/// Why the fork is open.
pub fn merge(yes: bool) -> Result<()> {
    let fork: Option<ForkReport> = ask::report(&Request::Life(LifeRequest::Fork), SOON)?;
    let Some(fork) = fork else {
        print::line("the membership has not forked: there is nothing to merge")?;
        return Ok(());
    };
    print::line(fork_text(&fork))?;
    let question = "End the fork, and let in who waits?";
    if !yes && !terminal::confirm(question, "give --yes.")? {
        bail!(
            "the fork is open still; where a branch is a stolen key's, `qnode revoke` that first"
        );
    }
    let merged: MergedReport = ask::report(&Request::Life(LifeRequest::Merge), SOON)?;
    print::line("the fork is ended")?;
    for (name, what) in &merged.signed {
        print::line(print::clean_line(&format!("holds      {name} {what}")))?;
    }
    Ok(())
}

/// `qnode rotate`.
///
/// # Errors
/// Why the keys are what they were.
pub fn rotate(args: &RotateArgs) -> Result<()> {
    let question = match args.compromised {
        true => "New keys for this node, and nothing that the old one signed counts any more?",
        false => "New keys for this node? What the old one signed counts as of a retired member.",
    };
    if !args.yes && !terminal::confirm(question, "give --yes.")? {
        bail!("the keys are what they were");
    }
    let before: Status = ask::report(&Request::Status, SOON)?;
    let request = LifeRequest::Rotate {
        peer: args.peer,
        compromised: args.compromised,
    };
    let rotated: RotatedReport = ask::report(&Request::Life(request), SOON)?;
    if !rotated.done {
        let wait = "new keys are made, and wait for an admin's node to sign them in; until then the old ones serve";
        let (line, who) = match rotated.admins.join(", ") {
            none if none.is_empty() => (
                "new keys are made, and wait until a teammate knows them; until then the old ones serve",
                "a teammate's node".to_owned(),
            ),
            admins => (wait, format!("the node of {}", print::clean_line(&admins))),
        };
        print::line(line)?;
        print::note(format!("this happens by itself once {who} has heard of it"));
        return Ok(());
    }
    let now = wait_for_other_key(&before.builder)?;
    print::line(format!("this node signs as {} now", now.builder))?;
    if args.compromised {
        print::note(
            "whoever has the old key had it until now: look at `qnode members` for names that you do not know",
        );
    }
    Ok(())
}

/// The node begins again; waits until it answers under another key.
fn wait_for_other_key(before: &str) -> Result<Status> {
    let home = ask::home()?;
    let deadline = Instant::now() + BEGINS_WITHIN;
    loop {
        let line = Line::open(&home).ok().flatten();
        let status = line.and_then(|l| l.ask(&Request::Status, SOON, |_| {}).ok());
        let status = status.and_then(|v| ask::decode::<Status>(v).ok());
        if let Some(status) = status.filter(|s| s.builder != before) {
            return Ok(status);
        }
        if Instant::now() > deadline {
            bail!("the new keys are in place, and the node does not answer: `qnode restart`");
        }
        std::thread::sleep(POLL);
    }
}
