//! The roots of one invocation, and the placeholders that stand for them elsewhere.
//!
//! A checkout lies where its owner put it; what is keyed, stored and shared must not say where.
//! Enters: paths, and texts with paths in them. Leaves: names (placeholder paths), texts with
//! placeholders, and the way back. Must never happen here: two paths with one name, a name that
//! leads out of its root, a replacement inside another name. The only I/O is asking the
//! filesystem what a root is really called and whether a marker file exists.

mod rewrite;
mod scan;
#[cfg(test)]
mod tests;

use crate::compiler::rustc::args::Unit;
use crate::invocation::Invocation;
use rewrite::{Rule, joins_name, rewrite};
pub use scan::Scanner;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// Every placeholder lies below this; no real path does, or it is escaped.
const PLACEHOLDERS: &str = "/quarry/";
/// Real paths that look like placeholders are named below this.
const ESCAPED: &str = "/quarry/literal";
/// Where rustc itself says that the sources of std lie; the commit's hash follows.
const STD_SOURCES: &str = "/rustc/";
/// Length of a name, in bytes: Linux's PATH_MAX.
pub const MAX_NAME: usize = 4096;
/// A root this long is looked for in outputs even where a name goes on behind it: a literal may
/// stand there without any mark between it and the next one. Shorter ones (`/app`) would be
/// found in half of all programs.
const DISTINCTIVE: usize = 16;

/// What a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RootKind {
    /// The workspace that is built.
    Workspace,
    /// Its target directory.
    Target,
    /// Cargo's home: registry and git sources.
    Cargo,
    /// The compiler's system root.
    Sysroot,
    /// The sources of std in the system root (the component rust-src).
    SysrootSource,
}

impl RootKind {
    /// Its word in messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Target => "target directory",
            Self::Cargo => "cargo home",
            Self::Sysroot => "sysroot",
            Self::SysrootSource => "std sources",
        }
    }
}

/// A path's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Named {
    /// Under a root: the name means the same file in every checkout.
    Rooted(RootKind, String),
    /// Under no root: the name means this path on this machine. Escaped where it looks like a
    /// placeholder.
    Literal(String),
    /// Not UTF-8: it has no name.
    Nameless(PathBuf),
}

impl Named {
    /// The name; `None` for a path that is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Rooted(_, text) | Self::Literal(text) => Some(text),
            Self::Nameless(_) => None,
        }
    }

    /// Whether the name means the same in every checkout.
    #[must_use]
    pub fn is_rooted(&self) -> bool {
        matches!(self, Self::Rooted(..))
    }
}

#[derive(Debug, Clone)]
struct Root {
    kind: RootKind,
    placeholder: String,
    /// As the command gives it, then as the filesystem calls it, if that differs.
    forms: Vec<String>,
}

/// The roots of one invocation.
#[derive(Debug, Clone)]
pub struct Roots {
    cwd: PathBuf,
    roots: Vec<Root>,
    /// (form, index of the root), longest form first.
    forms: Vec<(String, usize)>,
    normalising: OnceLock<Vec<Rule>>,
    localising: OnceLock<Vec<Rule>>,
}

impl Roots {
    /// The roots of an invocation of a compiler with this system root and commit.
    #[must_use]
    pub fn of(inv: &Invocation, unit: &Unit, sysroot: &Path, commit_hash: &str) -> Self {
        let cargo = cargo_home(inv);
        let mut list = Vec::new();
        if let Some(workspace) = workspace(inv, unit, cargo.as_deref()) {
            list.push((RootKind::Workspace, "/quarry/ws".to_owned(), workspace));
        }
        if let Some(target) = target_root(&inv.absolute(&unit.out_dir), unit.target.as_deref()) {
            list.push((RootKind::Target, "/quarry/target".to_owned(), target));
        }
        if let Some(cargo) = cargo {
            list.push((RootKind::Cargo, "/quarry/cargo".to_owned(), cargo));
        }
        list.extend(toolchain(sysroot, commit_hash));
        Self::from_list(inv.cwd.clone(), list)
    }

    /// The roots of a build script's run, whose OUT_DIR lies in this directory of cargo's. Cargo
    /// runs it in the package's directory and does not say where the workspace is: the nearest
    /// lock file above does, and where there is none (or below cargo's home) the package stands
    /// for itself.
    #[must_use]
    pub fn of_script(
        inv: &Invocation,
        out_dir: &Path,
        target: Option<&str>,
        sysroot: &Path,
        commit_hash: &str,
    ) -> Self {
        let cargo = cargo_home(inv);
        let mut list = Vec::new();
        let in_cargo = |home: &Path| forms(home).iter().any(|form| inv.cwd.starts_with(form));
        if !cargo.as_deref().is_some_and(in_cargo) {
            let above = inv.cwd.ancestors().take(64);
            let workspace = above
                .into_iter()
                .find(|dir| dir.join("Cargo.lock").is_file());
            let workspace = workspace.unwrap_or(&inv.cwd).to_owned();
            list.push((RootKind::Workspace, "/quarry/ws".to_owned(), workspace));
        }
        if let Some(target) = target_root(out_dir, target) {
            list.push((RootKind::Target, "/quarry/target".to_owned(), target));
        }
        if let Some(cargo) = cargo {
            list.push((RootKind::Cargo, "/quarry/cargo".to_owned(), cargo));
        }
        list.extend(toolchain(sysroot, commit_hash));
        Self::from_list(inv.cwd.clone(), list)
    }

    /// No roots at all.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::from_list("/".into(), Vec::new())
    }

    fn from_list(cwd: PathBuf, list: Vec<(RootKind, String, PathBuf)>) -> Self {
        let roots: Vec<Root> = list
            .into_iter()
            .map(|(kind, placeholder, path)| Root {
                kind,
                placeholder,
                forms: forms(&path),
            })
            .filter(|root| !root.forms.is_empty())
            .collect();
        let mut forms: Vec<(String, usize)> = roots
            .iter()
            .enumerate()
            .flat_map(|(i, root)| root.forms.iter().map(move |form| (form.clone(), i)))
            .collect();
        forms.sort_by_key(|(form, i)| (std::cmp::Reverse(form.len()), *i));
        Self {
            cwd,
            roots,
            forms,
            normalising: OnceLock::new(),
            localising: OnceLock::new(),
        }
    }

    /// Where a root lies, as the command gives it.
    #[must_use]
    pub fn root(&self, kind: RootKind) -> Option<&Path> {
        self.roots
            .iter()
            .find(|root| root.kind == kind)
            .map(|root| Path::new(&root.forms[0]))
    }

    /// A path's name. A relative path is one of the working directory. `..` stays in the name as
    /// long as it does not climb out of the root: behind a symlink only the filesystem knows
    /// where it leads.
    #[must_use]
    pub fn name(&self, path: &Path) -> Named {
        // Rebuilding from components drops `.`, doubled and trailing slashes, nothing else.
        let absolute: PathBuf = self.cwd.join(path).components().collect();
        let Some(text) = absolute.to_str() else {
            return Named::Nameless(absolute);
        };
        for (form, i) in &self.forms {
            if let Some(rest) = below(text, form)
                && contained(rest)
            {
                let root = &self.roots[*i];
                return Named::Rooted(root.kind, format!("{}{rest}", root.placeholder));
            }
        }
        if text.starts_with(PLACEHOLDERS) || text.starts_with(STD_SOURCES) {
            return Named::Literal(format!("{ESCAPED}{text}"));
        }
        Named::Literal(text.to_owned())
    }

    /// Every root's directory, as given and as the filesystem calls it.
    pub fn dirs(&self) -> impl Iterator<Item = PathBuf> {
        self.forms.iter().map(|(form, _)| PathBuf::from(form))
    }

    /// Whether a path begins in a root and climbs out of it. Its name is literal then, but the
    /// same sources lead elsewhere from another checkout: nothing may be found by such a name.
    #[must_use]
    pub fn climbs_out(&self, path: &Path) -> bool {
        let absolute: PathBuf = self.cwd.join(path).components().collect();
        let climbs = |text: &str| {
            let mut rests = self.forms.iter().filter_map(|(form, _)| below(text, form));
            rests.any(|rest| !contained(rest))
        };
        absolute.to_str().is_some_and(climbs)
    }

    /// Whether a path under no root may have been found by walking up from one: it lies below one
    /// of the directories above. From another checkout the same walk leads elsewhere.
    #[must_use]
    pub fn beside(&self, path: &Path) -> bool {
        let absolute = self.cwd.join(path);
        let top = |path: &Path| path.components().nth(1).map(|c| c.as_os_str().to_owned());
        let movable =
            |root: &&Root| !matches!(root.kind, RootKind::Sysroot | RootKind::SysrootSource);
        let mut forms = self.roots.iter().filter(movable).flat_map(|r| &r.forms);
        !self.name(&absolute).is_rooted()
            && forms.any(|form| top(Path::new(form)) == top(&absolute))
    }

    /// Whether a path is a directory above a root: one like it is above every checkout's.
    #[must_use]
    pub fn is_above(&self, path: &Path) -> bool {
        self.forms
            .iter()
            .any(|(form, _)| Path::new(form).starts_with(path))
    }

    /// Where the target directory lies below the workspace; `None` where it lies elsewhere.
    #[must_use]
    pub fn layout(&self) -> Option<&str> {
        let target = self.root(RootKind::Target)?;
        let below = target.strip_prefix(self.root(RootKind::Workspace)?);
        below.ok()?.to_str()
    }

    /// The path that a name means in this checkout. `None` for what is no name: relative, with
    /// empty or `.` components, climbing out of its root, under a placeholder that this
    /// invocation has no root for, too long.
    #[must_use]
    pub fn locate(&self, named: &str) -> Option<PathBuf> {
        self.locate_rooted(named).map(|(_, path)| path).or_else(|| {
            well_formed(named).then_some(())?;
            if let Some(real) = below(named, ESCAPED) {
                let looks = real.starts_with(PLACEHOLDERS) || real.starts_with(STD_SOURCES);
                return looks.then(|| PathBuf::from(real));
            }
            let placeholder = named.starts_with(PLACEHOLDERS) || named.starts_with(STD_SOURCES);
            (!placeholder).then(|| PathBuf::from(named))
        })
    }

    /// As [`Self::locate`], for names that a peer gave: only what really lies under a root once
    /// symlinks and `..` are followed, and of cargo's home (which holds credentials) only
    /// unpacked sources. Looks at the disk.
    #[must_use]
    pub fn locate_shared(&self, named: &str) -> Option<PathBuf> {
        let (kind, path) = self.locate_rooted(named)?;
        let root = fs::canonicalize(self.root(kind)?).ok()?;
        let real = real_path(&path)?;
        let allowed = match kind {
            RootKind::Cargo => ["registry/src", "git/checkouts"]
                .iter()
                .any(|sources| real.starts_with(root.join(sources))),
            _ => real.starts_with(&root),
        };
        allowed.then_some(path)
    }

    fn locate_rooted(&self, named: &str) -> Option<(RootKind, PathBuf)> {
        if !well_formed(named) {
            return None;
        }
        self.roots.iter().find_map(|root| {
            let rest = below(named, &root.placeholder).filter(|rest| contained(rest))?;
            Some((root.kind, [root.forms[0].as_str(), rest].concat().into()))
        })
    }

    /// The prefixes that rustc shall replace, in the order for its command line: the last match
    /// wins there, so the shortest comes first. The workspace becomes `.`: what cargo's users
    /// know of it are relative paths.
    #[must_use]
    pub fn remaps(&self) -> Vec<(PathBuf, String)> {
        let to = |root: &Root| match root.kind {
            RootKind::Workspace => ".".to_owned(),
            _ => root.placeholder.clone(),
        };
        let forms = self.forms.iter().rev();
        forms
            .map(|(form, i)| (PathBuf::from(form), to(&self.roots[*i])))
            .collect()
    }

    /// A text with this checkout's roots replaced by placeholders.
    #[must_use]
    pub fn normalise(&self, text: &[u8]) -> Vec<u8> {
        let rules = self.normalising.get_or_init(|| {
            let forms = self.forms.iter();
            let rule = |(form, i): &(String, usize)| Rule::new(form, &self.roots[*i].placeholder);
            forms.map(rule).collect()
        });
        rewrite(text, rules)
    }

    /// A text with placeholders replaced by this checkout's roots.
    #[must_use]
    pub fn localise(&self, text: &[u8]) -> Vec<u8> {
        let rules = self.localising.get_or_init(|| {
            let rule = |root: &Root| Rule::new(&root.placeholder, &root.forms[0]);
            self.roots.iter().map(rule).collect()
        });
        rewrite(text, rules)
    }

    /// Every real form of every root, longest first: what must not stand in a shared output.
    pub fn raw_needles(&self) -> impl Iterator<Item = (RootKind, &[u8])> {
        self.forms
            .iter()
            .map(|(form, i)| (self.roots[*i].kind, form.as_bytes()))
    }

    /// Placeholder → real path, for whoever shows the compiler's messages.
    #[must_use]
    pub fn rewrites(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pair = |root: &Root| {
            (
                root.placeholder.clone().into(),
                root.forms[0].clone().into(),
            )
        };
        self.roots.iter().map(pair).collect()
    }

    /// The root whose real path stands in an output, if one does. Blind to what is compressed,
    /// packed (LLVM bitcode) or derived from a path.
    #[must_use]
    pub fn scan(&self, bytes: &[u8]) -> Option<RootKind> {
        self.raw_needles()
            .find_map(|(kind, needle)| stands_in(bytes, needle).then_some(kind))
    }
}

/// The roots of a toolchain.
fn toolchain(sysroot: &Path, commit_hash: &str) -> Vec<(RootKind, String, PathBuf)> {
    let mut list = Vec::new();
    // A sysroot such as /usr is called the same everywhere, and holds half of the system.
    if sysroot.components().count() > 3 {
        list.push((
            RootKind::Sysroot,
            "/quarry/sysroot".to_owned(),
            sysroot.to_owned(),
        ));
    }
    let sources = sysroot.join("lib/rustlib/src/rust");
    // Without rust-src rustc cannot name a real path there, and a text must not either.
    if !commit_hash.is_empty() && sources.is_dir() {
        list.push((
            RootKind::SysrootSource,
            format!("{STD_SOURCES}{commit_hash}"),
            sources,
        ));
    }
    list
}

/// Whether a path stands in the bytes; a short one must end there, too.
fn stands_in(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find_iter(bytes, needle).any(|at| {
        needle.len() >= DISTINCTIVE
            || bytes
                .get(at + needle.len())
                .is_none_or(|next| !joins_name(*next))
    })
}

/// Replacements of paths in messages, as they travel to who shows them.
#[derive(Debug, Clone, Default)]
pub struct Rewrites(Vec<Rule>);

impl Rewrites {
    /// From (path, replacement) pairs; a pair that is not UTF-8 is left out.
    #[must_use]
    pub fn new(pairs: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let rule = |(from, to): &(Vec<u8>, Vec<u8>)| Some(Rule::new(&text(from)?, &text(to)?));
        Self(pairs.iter().filter_map(rule).collect())
    }

    /// A text with all replacements made.
    #[must_use]
    pub fn apply(&self, text: &[u8]) -> Vec<u8> {
        rewrite(text, &self.0)
    }
}

/// The target directory above an output directory that cargo laid: `T/[TRIPLE/]PROFILE/deps`,
/// `…/examples` or `…/build/PACKAGE-HASH`. The triple stands there only where `--target` is given.
#[must_use]
pub fn target_root(out_dir: &Path, target: Option<&str>) -> Option<PathBuf> {
    let parent = out_dir.parent()?;
    let profile = match out_dir.file_name()?.to_str()? {
        "deps" | "examples" => parent,
        _ if parent.file_name()? == "build" => parent.parent()?,
        _ => return None,
    };
    profile.file_name()?;
    let above = profile.parent()?;
    let with_triple = target.is_some_and(|t| above.file_name().is_some_and(|name| name == t));
    let root = if with_triple { above.parent()? } else { above };
    root.is_absolute().then(|| root.to_owned())
}

/// Cargo's home by the invocation's environment; `None` where it does not say.
#[must_use]
pub fn cargo_home(inv: &Invocation) -> Option<PathBuf> {
    let named = inv.nonempty_var("CARGO_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(inv.nonempty_var("HOME")?).join(".cargo"));
    named.or_else(home).filter(|path| path.is_absolute())
}

/// The workspace of a unit. Cargo compiles a member from the workspace's root by a relative
/// source path. Everything else it compiles from the package's own directory: a registry or git
/// package lies in cargo's home; a vendored one (cargo's marker is in it) lies in the workspace
/// whose lock file is the nearest above; a path dependency outside the workspace belongs to
/// none: its files would be mistaken for the workspace's.
fn workspace(inv: &Invocation, unit: &Unit, cargo: Option<&Path>) -> Option<PathBuf> {
    if unit.source.is_relative() {
        return Some(inv.cwd.clone());
    }
    if cargo.is_some_and(|home| forms(home).iter().any(|form| inv.cwd.starts_with(form))) {
        return None;
    }
    if !inv.cwd.join(".cargo-checksum.json").is_file() {
        return None;
    }
    let above = inv.cwd.ancestors().skip(1);
    above
        .take(64)
        .find(|dir| dir.join("Cargo.lock").is_file())
        .map(Path::to_owned)
}

/// A path with symlinks and `..` followed. Of what does not exist, the nearest directory that
/// does counts; the rest may not climb.
pub(crate) fn real_path(path: &Path) -> Option<PathBuf> {
    let found = path
        .ancestors()
        .find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    let (above, real) = found?;
    let rest = path.strip_prefix(above).ok()?;
    let plain = rest.components().all(|c| matches!(c, Component::Normal(_)));
    plain.then(|| real.join(rest))
}

/// A root as given and as the filesystem calls it. Nothing for `/`, for relative paths, and for
/// what is not UTF-8.
fn forms(path: &Path) -> Vec<String> {
    let given: PathBuf = path.components().collect();
    let real = fs::canonicalize(path).unwrap_or_else(|_| given.clone());
    let mut out: Vec<String> = Vec::new();
    for form in [given, real] {
        let Some(text) = form.to_str() else { continue };
        if form.is_absolute() && text.len() > 1 && !out.iter().any(|known| known == text) {
            out.push(text.to_owned());
        }
    }
    out
}

/// What follows `root` in `path`: empty, or beginning with a slash.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    path.strip_prefix(root)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the components of `rest` never climb above where they begin.
fn contained(rest: &str) -> bool {
    if !rest.contains("..") {
        return true;
    }
    let mut depth = 0_i32;
    for component in Path::new(rest.trim_start_matches('/')).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
        if depth < 0 {
            return false;
        }
    }
    true
}

fn well_formed(named: &str) -> bool {
    named.len() <= MAX_NAME
        && !named.contains('\0')
        && named.strip_prefix('/').is_some_and(|rest| {
            let plain = rest.split('/').all(|c| !c.is_empty() && c != ".");
            rest.is_empty() || (plain && contained(rest))
        })
}
