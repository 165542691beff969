//! invite, join, members, approve, leave: membership.
//!
//! Enters: names, tickets, codes that people compared. Leaves: requests to the node, which
//! decides. What scripts need (a ticket) goes to stdout alone; what people need, to stderr.

use super::args::{ApproveArgs, InviteArgs, JoinArgs};
use super::ask::{self, SOON};
use super::print::{self, Format};
use super::terminal;
use super::{life, lifecycle};
use crate::control::{
    ForkReport, InvitedReport, JoinedReport, KnockReport, LifeRequest, MemberReport, Request,
};
use crate::ticket::Ticket;
use anyhow::{Result, bail};
use quarry_trust::roster::check_typed;
use std::time::Duration;

/// How long to try with a ticket: its node is there and answers, or is not.
const TICKET_WITHIN_S: u64 = 60;
/// How long two people may take to call each other and compare a code.
const APPROVAL_WITHIN_S: u64 = 600;
/// What the node may take beyond that to say so.
const GRACE_S: u64 = 30;
/// Length of a member's name, in bytes, as rosters have it.
const NAME_MAX: usize = 64;

/// The name of this user on this machine.
pub fn default_name() -> String {
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        .unwrap_or_else(|| format!("uid{}", rustix::process::geteuid().as_raw()));
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    join_name(&user, &host)
}

/// `user@host`, shortened to what a roster takes.
fn join_name(user: &str, host: &str) -> String {
    let host = host
        .split('.')
        .next()
        .filter(|h| !h.is_empty())
        .unwrap_or("localhost");
    let printable = |c: &char| !c.is_control() && !c.is_whitespace();
    let mut name: String = format!("{user}@{host}").chars().filter(printable).collect();
    while name.len() > NAME_MAX {
        name.pop();
    }
    name
}

/// What entering a team came to, in a line.
pub fn joined_text(what: &str, member: &str, report: &JoinedReport) -> String {
    let mut text = format!("{what}: you are {member}, {}", report.role);
    if report.adopted > 0 {
        let adopted = print::count(report.adopted, "entry", "entries");
        text.push_str(&format!(
            "; {adopted} built here before can be used by the team"
        ));
    }
    print::clean_line(&text)
}

/// `qnode invite`: the ticket alone on stdout.
///
/// # Errors
/// Why there is no ticket.
pub fn invite(args: &InviteArgs) -> Result<()> {
    let request = Request::Invite {
        role: args.role.word(),
        expires_s: args.expires,
    };
    let made: InvitedReport = ask::report(&request, SOON)?;
    print::line(&made.ticket)?;
    print::note(format!(
        "This ticket lets one newcomer in as {}, within {}. They type: qnode join TICKET",
        print::clean_line(&made.role),
        print::seconds(made.expires_s)
    ));
    Ok(())
}

/// `qnode join`.
///
/// # Errors
/// Why this node is in no team.
pub fn join(args: JoinArgs) -> Result<()> {
    let from_env = || {
        std::env::var("QUARRY_TICKET")
            .ok()
            .filter(|t| !t.is_empty())
    };
    let Some(to) = args.to.or_else(from_env) else {
        bail!(
            "join whom? Give a ticket from `qnode invite` (or set QUARRY_TICKET), or host[:port] of an admin's node"
        );
    };
    let to = to.trim().to_owned();
    let member = args.member.name.unwrap_or_else(default_name);
    check_typed(&member)?;
    let home = ask::home()?;
    lifecycle::ensure(&home)?;
    let within_s = if Ticket::looks_like(&to) {
        TICKET_WITHIN_S
    } else {
        APPROVAL_WITHIN_S
    };
    let request = Request::Join {
        to,
        member: member.clone(),
        within_s,
    };
    let joined: JoinedReport = ask::report(&request, Duration::from_secs(within_s + GRACE_S))?;
    print::line(joined_text(
        &format!("joined the team {}", joined.team),
        &member,
        &joined,
    ))?;
    Ok(())
}

/// `qnode members`.
///
/// # Errors
/// Why they cannot be told.
pub fn members(format: Format) -> Result<()> {
    let value = ask::value(&Request::Members, SOON)?;
    if format == Format::Json {
        print::json(&value)?;
    } else {
        print::line(members_text(&ask::decode::<Vec<MemberReport>>(value)?))?;
        let fork: Option<ForkReport> = ask::report(&Request::Life(LifeRequest::Fork), SOON)?;
        if let Some(fork) = fork {
            print::line(format!("\n{}", life::fork_text(&fork)))?;
            print::note("an admin ends it with `qnode team merge`");
        }
    }
    Ok(())
}

fn members_text(members: &[MemberReport]) -> String {
    let rows: Vec<Vec<String>> = members
        .iter()
        .map(|m| {
            let here = match (m.here, m.connected) {
                (true, _) => "this node",
                (false, true) => "connected",
                (false, false) => "-",
            };
            let short = |id: &str| id.chars().take(16).collect::<String>();
            let builder = if m.builder.is_empty() {
                "-".to_owned()
            } else {
                short(&m.builder)
            };
            vec![
                m.name.clone(),
                m.role.clone(),
                m.standing.clone(),
                here.to_owned(),
                builder,
                m.peer_id.clone(),
            ]
        })
        .collect();
    print::table(
        &["NAME", "ROLE", "STANDING", "NOW", "BUILDER", "PEER"],
        &rows,
        &[],
    )
}

/// `qnode approve`.
///
/// # Errors
/// Why nobody was let in.
pub fn approve(args: &ApproveArgs) -> Result<()> {
    if args.code.is_none() && !args.yes && !terminal::is_there() {
        bail!(
            "there is no terminal to compare the code on: give --code CODE, read off the newcomer's screen"
        );
    }
    print::note("Waiting for a newcomer; they type: qnode join HOST");
    let request = Request::Knocks {
        member: args.member.clone().unwrap_or_default(),
        within_s: APPROVAL_WITHIN_S,
    };
    let within = Duration::from_secs(APPROVAL_WITHIN_S + GRACE_S);
    let knock: KnockReport = ask::report(&request, within)?;
    let name = print::clean_line(&knock.name);
    print::note(format!(
        "{name} knocks (peer {})",
        print::clean_line(&knock.peer_id)
    ));
    print::note(format!(
        "Compare this code with {name}'s screen: {}",
        print::clean_line(&knock.code)
    ));
    if !agreed(args, &knock, &name)? {
        ask::value(
            &Request::Deny {
                code: knock.code.clone(),
            },
            SOON,
        )?;
        bail!("{name} was turned away: the codes were not found equal");
    }
    let role = args.role.word();
    ask::value(
        &Request::Approve {
            code: knock.code,
            role: role.clone(),
        },
        SOON,
    )?;
    print::line(format!("{name} is in the team now, as {role}"))?;
    Ok(())
}

fn agreed(args: &ApproveArgs, knock: &KnockReport, name: &str) -> Result<bool> {
    match &args.code {
        Some(code) => Ok(same_code(code, &knock.code)),
        None if args.yes => Ok(true),
        None => terminal::confirm(
            &format!(
                "Does {name} see the same code, and shall they join as {}?",
                args.role.word()
            ),
            "give --code CODE.",
        ),
    }
}

/// Codes are compared as people say them: without regard to case, dashes and spaces.
fn same_code(given: &str, shown: &str) -> bool {
    let plain = |text: &str| -> String {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_uppercase())
            .collect()
    };
    let shown = plain(shown);
    !shown.is_empty() && plain(given) == shown
}

/// `qnode leave`.
///
/// # Errors
/// Why this node is still in its team.
pub fn leave() -> Result<()> {
    ask::value(&Request::Leave, SOON)?;
    print::line("left the team; this node believes its own key alone now")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_user_and_host_within_the_rosters_limit() {
        assert_eq!(join_name("alice", "desk.example.org"), "alice@desk");
        assert_eq!(join_name("al ice\n", ""), "alice@localhost");
        assert_eq!(join_name(&"é".repeat(60), "desk").len(), NAME_MAX);
        assert!(default_name().contains('@'));
    }

    #[test]
    fn a_code_is_equal_as_it_is_read_aloud() {
        assert!(same_code("k7qm 2x9d", "K7QM-2X9D"));
        assert!(!same_code("K7QM-2X9E", "K7QM-2X9D"));
        assert!(!same_code("", "K7QM-2X9D"));
        assert!(!same_code("", ""), "an empty code compares nothing");
    }

    #[test]
    fn members_stand_in_a_table() {
        let alice = MemberReport {
            name: "alice".into(),
            role: "admin".into(),
            peer_id: "12D3KooA".into(),
            builder: "0123456789abcdef0123".into(),
            standing: "stands".into(),
            here: true,
            connected: false,
        };
        assert_eq!(
            members_text(&[alice]),
            "NAME   ROLE   STANDING  NOW        BUILDER           PEER\n\
             alice  admin  stands    this node  0123456789abcdef  12D3KooA"
        );
    }

    #[test]
    fn what_was_built_before_is_told() {
        let report = JoinedReport {
            team: "desk".into(),
            team_id: String::new(),
            role: "builder".into(),
            adopted: 2,
        };
        assert_eq!(
            joined_text("joined the team desk", "bob", &report),
            "joined the team desk: you are bob, builder; 2 entries built here before can be used by the team"
        );
    }
}
