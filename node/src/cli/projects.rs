//! `qnode project`, `qnode projects`: what is closed to some members.

use super::ask::{self, SOON};
use super::print::{self, Format};
use crate::control::{ProjectReport, ProjectRequest, Request};
use anyhow::Result;
use clap::Args;

/// `qnode project`.
#[derive(Debug, Args)]
pub struct ProjectArgs {
    /// The project's name, as `scope` in its quarry.toml
    name: String,
    /// Who may see it, besides those who may already: a prefix of a name, peer or builder
    #[arg(long, value_name = "MEMBER")]
    open_to: Vec<String>,
    /// Who may not see any more what is compiled for it from now on
    #[arg(long, value_name = "MEMBER")]
    close_to: Vec<String>,
}

/// `qnode projects`.
///
/// # Errors
/// Why they cannot be told.
pub fn list(format: Format) -> Result<()> {
    let value = ask::value(&Request::Project(ProjectRequest::List), SOON)?;
    if format == Format::Json {
        print::json(&value)?;
    } else {
        print::line(text(&ask::decode::<Vec<ProjectReport>>(value)?))?;
    }
    Ok(())
}

/// `qnode project`.
///
/// # Errors
/// Why nothing was changed.
pub fn set(args: ProjectArgs) -> Result<()> {
    let request = ProjectRequest::Set {
        name: args.name.clone(),
        open_to: args.open_to,
        close_to: args.close_to,
    };
    let mut projects: Vec<ProjectReport> = ask::report(&Request::Project(request), SOON)?;
    projects.retain(|project| project.name == args.name);
    if projects.is_empty() {
        print::line(format!(
            "{} is open to nobody now, and is no more",
            print::clean_line(&args.name)
        ))?;
    } else {
        print::line(text(&projects))?;
        print::note(format!(
            "a workspace belongs to it whose quarry.toml says: scope = {:?}",
            print::clean_line(&args.name)
        ));
    }
    Ok(())
}

fn text(projects: &[ProjectReport]) -> String {
    if projects.is_empty() {
        return "no project is closed to anybody; `qnode project NAME --open-to MEMBER` makes one"
            .to_owned();
    }
    let rows: Vec<Vec<String>> = projects
        .iter()
        .map(|project| {
            let here = match (project.here, project.ready) {
                (true, true) => "in it",
                (true, false) => "waits for its secret",
                (false, _) => "-",
            };
            vec![
                project.name.clone(),
                here.to_owned(),
                project.members.join(", "),
            ]
        })
        .collect();
    print::table(&["PROJECT", "THIS NODE", "OPEN TO"], &rows, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_stand_in_a_table() {
        let pay = ProjectReport {
            name: "pay".into(),
            members: vec!["alice".into(), "bob".into()],
            here: true,
            ready: false,
        };
        assert_eq!(
            text(&[pay]),
            "PROJECT  THIS NODE             OPEN TO\n\
             pay      waits for its secret  alice, bob"
        );
        assert!(text(&[]).contains("qnode project NAME"));
    }
}
