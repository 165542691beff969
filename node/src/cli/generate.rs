//! Pages for shells and for `man`, made from the definitions of the arguments.

use super::args::Cli;
use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::{self, Write};

/// Prints completions.
///
/// # Errors
/// What writing said.
pub fn completions(shell: Shell) -> Result<()> {
    let mut page = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "qnode", &mut page);
    put(&page)
}

/// Prints the manual page: of `qnode`, then of each command.
///
/// # Errors
/// What writing said.
pub fn man() -> Result<()> {
    let mut page = Vec::new();
    let mut command = Cli::command();
    command.build();
    let whole = clap_mangen::Man::new(command.clone());
    whole.render(&mut page)?;
    for sub in command
        .get_subcommands()
        .filter(|s| !s.is_hide_set() && s.get_name() != "help")
    {
        // One page: the parts of each command follow as a section with its name.
        let part = clap_mangen::Man::new(sub.clone());
        writeln!(page, ".SH \"QNODE {}\"", sub.get_name().to_uppercase())?;
        part.render_description_section(&mut page)?;
        part.render_synopsis_section(&mut page)?;
        part.render_options_section(&mut page)?;
    }
    put(&page)
}

fn put(page: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(page)?;
    out.flush()?;
    Ok(())
}
