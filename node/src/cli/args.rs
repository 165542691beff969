//! The arguments of every command, as clap reads them. Their comments are the help.
//!
//! Enters: argv. Leaves: [`Cli`]. `--help` lists only what works. The names here are a promise
//! to scripts: extend them, do not rename them.

use super::print::FormatArg;
use super::projects::ProjectArgs;
use super::team_args::{RotateArgs, TeamCommand};
use crate::config::{parse_size, parse_span};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

/// A peer-to-peer build cache for teams: your node, and what can be asked of it
#[derive(Debug, Parser)]
#[command(
    name = "qnode",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 it could not be done, 2 usage.\n\
        All that a node owns lies under $QUARRY_HOME where that is set. `qnode doctor` checks \
        the set-up."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the node in the foreground, logging to stderr, until it is told to end
    Run {
        /// It was started in the background.
        #[arg(long, hide = true)]
        detached: bool,
        /// End when the process that started it ends.
        #[arg(long, hide = true)]
        with_parent: bool,
    },
    /// Start the node in the background; returns once it answers and listens
    Start {
        /// The caller holds the start lock already.
        #[arg(long, hide = true)]
        from_wrapper: bool,
    },
    /// End the node, once all that it captured is stored
    Stop,
    /// Stop the node, if one runs, and start it
    Restart,
    /// Say who and how the node is
    Status(FormatArg),
    /// Make cargo use qwrap, and start the node at login; asks first
    Setup(SetupArgs),
    /// Make a team; roles, the root key, charters, forks
    Team {
        /// What to do.
        #[command(subcommand)]
        command: TeamCommand,
    },
    /// Print a ticket that lets one newcomer in
    Invite(InviteArgs),
    /// Join a team with a ticket, or by address and an admin's approval
    Join(JoinArgs),
    /// List the team's members
    Members(FormatArg),
    /// Let in a newcomer who joins by address, after comparing a code
    Approve(ApproveArgs),
    /// Revoke a member: nothing it signed is believed any more
    Revoke {
        /// Any unambiguous prefix of its name, peer or builder
        member: String,
    },
    /// Open a project to some members alone, or close it to others
    Project(ProjectArgs),
    /// List the projects that are closed to some members
    Projects(FormatArg),
    /// Leave the team
    Leave,
    /// Give this node new keys; the team's entry for it follows
    Rotate(RotateArgs),
    /// Say who is connected, how fast, and what they hold
    Peers(FormatArg),
    /// Print the counters
    Stats {
        /// Start over from 0 after printing them
        #[arg(long)]
        reset: bool,
        /// How to print it.
        #[command(flatten)]
        format: FormatArg,
    },
    /// Show an entry: what it was made from, what came out, who signed it
    Show {
        /// A crate's name (its newest entry), or at least 4 hexadecimal digits of the action key
        /// or lookup key
        #[arg(value_name = "KEY|CRATE", value_parser = key_or_crate)]
        key: String,
        /// How to print it.
        #[command(flatten)]
        format: FormatArg,
    },
    /// Say why a compile hit, missed or was bypassed, down to the input that differed
    Why {
        /// The crate's name [default: whatever was no hit in this workspace lately]
        #[arg(value_name = "CRATE", value_parser = key_or_crate)]
        crate_name: Option<String>,
        /// All of its compiles that are remembered, not only the latest; without a crate, hits too
        #[arg(long)]
        all: bool,
        /// How to print it.
        #[command(flatten)]
        format: FormatArg,
    },
    /// Print the node's log, or the signed record of one entry
    Log {
        /// How many lines from its end
        #[arg(short = 'n', long, default_value_t = 50)]
        lines: usize,
        /// Go on printing what is appended
        #[arg(short, long)]
        follow: bool,
        /// Instead of the log the record of an entry: who built it, when, with what, from what,
        /// and who else did. As `qnode show`
        #[arg(long, value_name = "KEY|CRATE", value_parser = key_or_crate, conflicts_with = "follow")]
        entry: Option<String>,
        /// How to print a record.
        #[command(flatten)]
        format: FormatArg,
    },
    /// Say who built a file of a target directory: an in-toto statement, signed by this node
    Attest(AttestArgs),
    /// Free space: remove what was not used for longest, down to the limit
    Gc {
        /// Get down to this size instead of the setting's, as in 5GiB
        #[arg(long, value_parser = parse_size)]
        limit: Option<u64>,
    },
    /// Pack what no target directory has from the store: a third of the size, slower to restore
    Settle,
    /// Check everything that is stored
    Fsck {
        /// Remove what is broken
        #[arg(long)]
        repair: bool,
    },
    /// Remove entries from this node's store; of a builder's say first what they have reached
    Purge(PurgeArgs),
    /// Return when all that was captured is stored and announced
    Flush,
    /// Check the set-up and say how to mend it
    Doctor(FormatArg),
    /// Two nodes, two checkouts, one real build shared between them, on this machine
    Demo {
        /// Leave the nodes' directory in place to look at
        #[arg(long)]
        keep: bool,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// The name that this machine has in the team.
#[derive(Debug, Args)]
pub struct MemberName {
    /// Your name in the team [default: user@host]
    #[arg(long = "name", value_name = "NAME", id = "member-name")]
    pub name: Option<String>,
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Admits and revokes members, and builds
    Admin,
    /// Its entries are believed
    Builder,
    /// Restores what others built
    Reader,
}

impl RoleArg {
    /// The word for the node.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Admin => "admin",
            Self::Builder => "builder",
            Self::Reader => "reader",
        }
        .to_owned()
    }
}

/// `qnode setup`.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Only report; exits with 1 where something is missing
    #[arg(long, conflicts_with_all = ["undo", "yes"])]
    pub check: bool,
    /// Take back what setup did, and nothing else
    #[arg(long)]
    pub undo: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `qnode invite`.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// What the newcomer may do
    #[arg(long, value_enum, default_value = "builder")]
    pub role: RoleArg,
    /// How long the ticket can be used, as in 90s, 30m, 1h, 2d
    #[arg(long, value_parser = parse_span, default_value = "1h")]
    pub expires: u64,
}

/// `qnode join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// A ticket from `qnode invite`, host[:port] or a multiaddr [default: $QUARRY_TICKET]
    #[arg(value_name = "PEER|TICKET")]
    pub to: Option<String>,
    /// Who.
    #[command(flatten)]
    pub member: MemberName,
}

/// `qnode approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// A prefix of the newcomer's name, peer or builder [default: whoever knocks]
    pub member: Option<String>,
    /// What the newcomer may do
    #[arg(long, value_enum, default_value = "builder")]
    pub role: RoleArg,
    /// Approve only if this is the code; read it off the newcomer's screen
    #[arg(long, conflicts_with = "yes", value_parser = code)]
    pub code: Option<String>,
    /// Approve without comparing the code: only where nobody else can reach this machine
    #[arg(long)]
    pub yes: bool,
}

/// `qnode attest`.
#[derive(Debug, Args)]
pub struct AttestArgs {
    /// A file in a target directory; with --verify the file that the statement is about
    #[arg(required_unless_present = "verify")]
    pub file: Option<PathBuf>,
    /// Check a statement instead: its signature, the builder's record in it, whether both
    /// builders stand, and that FILE is what it is about
    #[arg(long, value_name = "STATEMENT", conflicts_with = "output")]
    pub verify: Option<PathBuf>,
    /// Write the statement to this file instead of stdout
    #[arg(short, long, value_name = "STATEMENT")]
    pub output: Option<PathBuf>,
}

/// `qnode purge`.
#[derive(Debug, Args)]
pub struct PurgeArgs {
    /// What goes.
    #[command(flatten)]
    pub what: PurgeWhat,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Only say what would go, and of a builder's entries what they have reached: crates,
    /// projects, files, other members' machines
    #[arg(long)]
    pub dry_run: bool,
    /// How to print it.
    #[command(flatten)]
    pub format: FormatArg,
}

/// Which entries go; exactly one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PurgeWhat {
    /// Those that this builder signed: a prefix of a member's name or of the key
    #[arg(long, value_name = "K", value_parser = NonEmptyStringValueParser::new())]
    pub builder: Option<String>,
    /// Those of this crate
    #[arg(long = "crate", value_name = "C", value_parser = NonEmptyStringValueParser::new())]
    pub crate_name: Option<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// What a key or a crate's name can be made of.
fn key_or_crate(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("give a crate's name, or hexadecimal digits of a key".to_owned())
    }
}

/// A code as it is read aloud: something of it must be there to be compared.
fn code(text: &str) -> Result<String, String> {
    if text.chars().any(|c| c.is_ascii_alphanumeric()) {
        Ok(text.to_owned())
    } else {
        Err("give the code that the newcomer's screen shows, as in K7QM-2X9D".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn clap_finds_no_fault_with_the_definitions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172_800)] {
            assert_eq!(parse_span(text), Ok(seconds));
        }
        for text in [
            "",
            "h",
            "0h",
            "1.5h",
            "-1h",
            "10",
            "1y",
            "99999999999999999d",
            "1hé",
        ] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn wrong_usage_ends_with_2() {
        for line in [
            "qnode",
            "qnode nonsense",
            "qnode purge",
            "qnode purge --all --crate serde",
            "qnode purge --all --yes --dry-run",
            "qnode purge --crate= --yes",
            "qnode purge --builder= --yes",
            "qnode approve --code=",
            "qnode approve --code=--",
            "qnode show xyz!",
            "qnode show",
            "qnode invite --role king",
            "qnode approve --code A --yes",
            "qnode setup --check --undo",
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        for line in ["qnode --help", "qnode --version", "qnode stats --help"] {
            assert_eq!(
                Cli::try_parse_from(line.split(' '))
                    .unwrap_err()
                    .exit_code(),
                0,
                "{line}"
            );
        }
    }

    #[test]
    fn the_public_surface_parses() {
        for line in [
            "qnode start --from-wrapper",
            "qnode team create desk --name alice",
            "qnode invite --role admin --expires 10m",
            "qnode join 10.0.0.7:4747 --name bob",
            "qnode join",
            "qnode approve bob --code K7QM-2X9D --role reader",
            "qnode stats --reset --format json",
            "qnode show 0123ABCD --format json",
            "qnode why",
            "qnode why serde_json --all --format json",
            "qnode log -n 5 -f",
            "qnode log --entry serde --format json",
            "qnode attest target/debug/app -o app.intoto.json",
            "qnode attest --verify app.intoto.json target/debug/app",
            "qnode gc --limit 5GiB",
            "qnode purge --crate serde --yes",
            "qnode purge --builder bob --dry-run --format json",
            "qnode completions zsh",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }

    #[test]
    fn help_lists_only_what_works() {
        let help = Cli::command().render_help().to_string();
        for absent in [" top", "from-wrapper", "detached"] {
            assert!(!help.contains(absent), "{absent} in\n{help}");
        }
    }
}
