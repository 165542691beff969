//! What is to be measured: from the command line.

use std::path::PathBuf;

/// One project to build.
#[derive(Clone)]
pub struct Project {
    /// Its name in the tables.
    pub name: String,
    /// Its sources; never built in place.
    pub dir: PathBuf,
    /// What cargo is told beside `build`.
    pub args: Vec<String>,
}

/// The bench's options.
pub struct Options {
    /// What is built.
    pub projects: Vec<Project>,
    /// Rounds of each measurement.
    pub rounds: usize,
    /// Rounds that begin with an empty cache.
    pub cold: usize,
    /// `dev`, `release`, or both.
    pub profiles: Vec<String>,
    /// Tools to measure, by name; all that are installed where this is empty.
    pub tools: Vec<String>,
    /// Shapes to measure: `builds`, `six`, `settled`, `peer`, `hit`.
    pub shapes: Vec<String>,
    /// Where the results go.
    pub out: PathBuf,
}

/// Said where the command line makes no sense.
pub const USAGE: &str = "\
usage: cargo bench --bench table -- [OPTIONS] NAME=DIR[:CARGO ARGS]…
  --rounds N          of each measurement (5)
  --cold N            rounds that begin with an empty cache (as many as rounds)
  --profiles LIST     dev, release (dev)
  --tools LIST        alone, memo, quarry, mbx, kache, sccache, ccache (those installed)
  --shapes LIST       builds, six, settled, peer, hit (all)
  --out DIR           for table.txt, table.json and table.svg (target/bench)
example: cargo bench --bench table -- ripgrep=../ripgrep 'axum=../axum:--workspace --tests'";

impl Options {
    /// From the arguments of the process; what is wrong, in words.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            projects: Vec::new(),
            rounds: 5,
            cold: usize::MAX,
            profiles: vec!["dev".to_owned()],
            tools: Vec::new(),
            shapes: ["builds", "six", "settled", "peer", "hit"]
                .map(str::to_owned)
                .to_vec(),
            out: "target/bench".into(),
        };
        // cargo itself adds `--bench`.
        let mut args = args.filter(|a| a != "--bench");
        while let Some(arg) = args.next() {
            if !arg.starts_with("--") {
                options.projects.push(project(&arg)?);
                continue;
            }
            let value = args.next().ok_or(format!("{arg} needs a value"))?;
            let list = || value.split(',').map(str::to_owned).collect();
            match arg.as_str() {
                "--rounds" => options.rounds = number(&value)?,
                "--cold" => options.cold = number(&value)?,
                "--profiles" => options.profiles = list(),
                "--tools" => options.tools = list(),
                "--shapes" => options.shapes = list(),
                "--out" => options.out = value.into(),
                _ => return Err(format!("unknown option {arg}")),
            }
        }
        options.cold = options.cold.min(options.rounds);
        if options.projects.is_empty() {
            let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/workspaces/desk");
            options.projects.push(project(&format!("sample={sample}"))?);
        }
        Ok(options)
    }

    /// Whether a shape was asked for.
    pub fn wants(&self, shape: &str) -> bool {
        self.shapes.iter().any(|s| s == shape)
    }
}

fn number(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| *n > 0);
    number.ok_or(format!("{text} is no number of rounds"))
}

fn project(text: &str) -> Result<Project, String> {
    let (name, rest) = text
        .split_once('=')
        .ok_or(format!("{text} is not NAME=DIR"))?;
    let (dir, args) = rest.split_once(':').unwrap_or((rest, ""));
    let dir = PathBuf::from(dir);
    if !dir.join("Cargo.toml").is_file() {
        return Err(format!("{} holds no Cargo.toml", dir.display()));
    }
    Ok(Project {
        name: name.to_owned(),
        dir,
        args: args.split_whitespace().map(str::to_owned).collect(),
    })
}
