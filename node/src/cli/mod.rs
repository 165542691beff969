//! The command line: what is asked of `qnode`, and everything that it prints.
//!
//! Enters: arguments, the environment. Leaves: text on stdout and stderr, and an exit code: 0
//! done, 1 it could not be done, 2 usage. Each group of commands has a file of its own; what
//! they do is asked of the running node, over its socket. Must never happen here: a decision
//! that belongs to the node, or a panic as an answer.

mod args;
mod ask;
mod attest;
mod charters;
mod demo;
mod doctor;
mod generate;
mod inspect;
mod life;
mod lifecycle;
mod print;
mod projects;
mod purge;
mod secret;
mod setup;
mod start;
mod team;
mod team_args;
mod terminal;
mod upkeep;
mod why;

use anyhow::Result;
use args::{Cli, Command};
use clap::Parser;
use std::io;
use std::process::ExitCode;
use team_args::TeamCommand;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(cli.command) {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            print::note(format!("qnode: {}", print::clean(&whole(&e))));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    let done = |result: Result<()>| result.map(|()| ExitCode::SUCCESS);
    match command {
        Command::Run {
            detached,
            with_parent,
        } => done(lifecycle::run(detached, with_parent)),
        Command::Start { from_wrapper } => done(lifecycle::start(from_wrapper)),
        Command::Stop => done(lifecycle::stop()),
        Command::Restart => done(lifecycle::restart()),
        Command::Status(format) => done(lifecycle::status(format.format)),
        Command::Setup(setup) => setup::run(&setup),
        Command::Team { command } => done(dispatch_team(command)),
        Command::Rotate(rotate) => done(life::rotate(&rotate)),
        Command::Invite(invite) => done(team::invite(&invite)),
        Command::Join(join) => done(team::join(join)),
        Command::Members(format) => done(team::members(format.format)),
        Command::Approve(approve) => done(team::approve(&approve)),
        Command::Revoke { member } => done(life::revoke(member)),
        Command::Project(args) => done(projects::set(args)),
        Command::Projects(format) => done(projects::list(format.format)),
        Command::Leave => done(team::leave()),
        Command::Peers(format) => done(inspect::peers(format.format)),
        Command::Stats { reset, format } => done(inspect::stats(reset, format.format)),
        Command::Show { key, format } => done(inspect::show(key, format.format)),
        Command::Why {
            crate_name,
            all,
            format,
        } => done(why::why(crate_name, all, format.format)),
        Command::Log {
            entry: Some(key),
            format,
            ..
        } => done(inspect::show(key, format.format)),
        Command::Log { lines, follow, .. } => done(inspect::log(lines, follow)),
        Command::Attest(args) => done(attest::run(&args)),
        Command::Gc { limit } => done(upkeep::gc(limit)),
        Command::Settle => done(upkeep::settle()),
        Command::Fsck { repair } => upkeep::fsck(repair),
        Command::Purge(purge) => done(purge::purge(purge)),
        Command::Flush => done(upkeep::flush()),
        Command::Doctor(format) => doctor::run(format.format),
        Command::Demo { keep } => done(demo::run(keep)),
        Command::Completions { shell } => done(generate::completions(shell)),
        Command::Man => done(generate::man()),
    }
}

fn dispatch_team(command: TeamCommand) -> Result<()> {
    match command {
        TeamCommand::Create(create) => charters::create(create),
        TeamCommand::Role { member, role } => life::role(member, role.word()),
        TeamCommand::Retire { member } => life::retire(member),
        TeamCommand::Merge { yes } => life::merge(yes),
        TeamCommand::Root(root) => charters::root(&root),
        TeamCommand::Draft(draft) => charters::draft(draft),
        TeamCommand::Sign(sign) => charters::sign(&sign),
        TeamCommand::Adopt { file, yes } => charters::adopt(&file, yes),
    }
}

/// An error with its causes, each once: many say their own cause already.
fn whole(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
