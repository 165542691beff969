//! The arguments of `qnode team …` and `qnode rotate`, as clap reads them. Their comments are the
//! help.
//!
//! Enters: argv. Leaves: plain data. A passphrase is never an argument: every user of the machine
//! reads those.

use super::args::{MemberName, RoleArg};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `qnode team …`.
#[derive(Debug, Subcommand)]
pub enum TeamCommand {
    /// Make a team with this node as its first admin
    Create(CreateArgs),
    /// Give a member another role
    Role {
        /// Any unambiguous prefix of its name, peer or builder
        member: String,
        /// What it may do from now on
        #[arg(value_enum)]
        role: RoleArg,
    },
    /// Retire a member: a machine that is gone, a person who left. What it built goes on counting
    Retire {
        /// Any unambiguous prefix of its name, peer or builder
        member: String,
    },
    /// End a fork of the membership: shows what waits, and asks
    Merge {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Say whose the root key is; move it to a safe place, or make one
    Root(RootArgs),
    /// Write an unsigned charter for the root to sign: admins, revocations
    Draft(DraftArgs),
    /// Show what a drafted charter would change, and sign it with the root key. Needs no node and
    /// no network
    Sign(SignArgs),
    /// Take a signed charter into this node, which passes it on
    Adopt {
        /// What `qnode team sign` wrote
        file: PathBuf,
        /// Also where it undoes what the team has learnt since it was drafted
        #[arg(long)]
        yes: bool,
    },
}

/// `qnode team create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The team's name
    pub name: String,
    /// Who.
    #[command(flatten)]
    pub member: MemberName,
    /// Sign with the root key in this file, and keep none in the home
    #[arg(long, value_name = "KEYFILE")]
    pub root: Option<PathBuf>,
    /// Seal the new root key with a passphrase
    #[arg(long, conflicts_with = "root")]
    pub passphrase: bool,
    /// The passphrase.
    #[command(flatten)]
    pub from: PassphraseArgs,
}

/// Where a passphrase comes from.
#[derive(Debug, Args)]
pub struct PassphraseArgs {
    /// Read the passphrase from a file or descriptor (/dev/fd/3) instead of the terminal
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `qnode team root`.
#[derive(Debug, Args)]
pub struct RootArgs {
    /// Move the key in the home to this new file: a stick, say. Checks the copy, then wipes the
    /// first
    #[arg(long, value_name = "FILE", conflicts_with = "new")]
    pub to: Option<PathBuf>,
    /// Make a root key in this new file, for a team that is not founded yet
    #[arg(long, value_name = "FILE")]
    pub new: Option<PathBuf>,
    /// Seal it there with a passphrase
    #[arg(long)]
    pub passphrase: bool,
    /// The passphrase.
    #[command(flatten)]
    pub from: PassphraseArgs,
}

/// `qnode team draft`.
#[derive(Debug, Args)]
pub struct DraftArgs {
    /// Who is to be an admin, and nobody else; may be repeated [default: those of today]
    #[arg(long, value_name = "MEMBER")]
    pub admin: Vec<String>,
    /// Who is to be a builder; may be repeated
    #[arg(long, value_name = "MEMBER")]
    pub builder: Vec<String>,
    /// Who is to be revoked; may be repeated
    #[arg(long, value_name = "MEMBER")]
    pub revoke: Vec<String>,
    /// The first charter of a new team of this name, with this node as its admin
    #[arg(long, value_name = "NAME", requires = "root_id", conflicts_with_all = ["admin", "builder", "revoke"])]
    pub found: Option<String>,
    /// That team's root: the 64 digits that `qnode team root` prints
    #[arg(long, value_name = "HEX")]
    pub root_id: Option<String>,
    /// Who.
    #[command(flatten)]
    pub member: MemberName,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `qnode team sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// What `qnode team draft` wrote
    pub file: PathBuf,
    /// The root key [default: root.key in the home]
    #[arg(long, value_name = "KEYFILE")]
    pub root: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// The passphrase.
    #[command(flatten)]
    pub from: PassphraseArgs,
}

/// `qnode rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// A new peer key as well
    #[arg(long)]
    pub peer: bool,
    /// The old key may be in others' hands: nothing that it signed counts any more
    #[arg(long)]
    pub compromised: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}
