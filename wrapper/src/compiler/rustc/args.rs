//! A unit of rustc: what one command builds, of what, and where.
//!
//! Enters: an invocation. Leaves: the unit in known terms; the command that Quarry runs for it;
//! the arguments that enter the key; the files that it writes. Must never happen here: a file
//! read, an argument dropped from the key that can change an output.

use crate::compiler::Bypass;
use crate::compiler::rustc::codegen::{self, Verdict};
use crate::compiler::rustc::tokens::{self, Placed, Token};
use crate::invocation::Invocation;
use crate::paths::{Roots, target_root};
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// A Rust library: `lib` or `rlib` and nothing else.
    Lib,
    /// A procedural macro.
    ProcMacro,
    /// A program.
    Bin,
    /// An example's program.
    Example,
    /// A build script's program.
    BuildScript,
    /// A test harness.
    Test,
    /// A Rust dynamic library, perhaps beside an rlib.
    Dylib,
    /// A C dynamic library, perhaps beside an rlib.
    Cdylib,
    /// A C static library, perhaps beside an rlib.
    Staticlib,
}

/// What a unit emits. Dep-info always is among it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Emit {
    /// The list of inputs.
    pub dep_info: bool,
    /// The rmeta.
    pub metadata: bool,
    /// The rlib or the linked file.
    pub link: bool,
}

/// A crate given by `--extern`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extern {
    /// The name under which the unit knows it.
    pub name: String,
    /// Its file as given; `None` for a crate of the sysroot.
    pub path: Option<PathBuf>,
    /// What stands before the name, up to a colon (`priv`, `noprelude`, …), as given.
    pub options: Option<String>,
}

/// The kind of a search directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchKind {
    /// Crates that dependencies need.
    Dependency,
    /// Crates.
    Crate,
    /// Native libraries.
    Native,
    /// Apple's frameworks.
    Framework,
    /// Everything (`all`, or no kind at all).
    All,
}

/// A directory given by `-L`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// What is looked for there.
    pub kind: SearchKind,
    /// The directory as given.
    pub path: PathBuf,
}

/// A library given by `-l`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeLib {
    /// `static`, `dylib`, `framework`; `None` where it is left open.
    pub kind: Option<String>,
    /// The modifiers as given (`+bundle`, `-whole-archive`, …).
    pub modifiers: Vec<String>,
    /// Its name, with `:RENAME` where there is one.
    pub name: String,
}

/// One argument that enters the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyArg {
    /// As it stands.
    Plain(String),
    /// A text, then a path.
    Path(String, PathBuf),
    /// A text that may hold paths.
    Text(String),
}

/// What one rustc command builds.
#[derive(Debug, Clone)]
pub struct Unit {
    /// The compiler as the command names it.
    pub compiler: OsString,
    /// What stands in front of it, as `cargo clippy` does it: `clippy-driver rustc …`.
    pub clippy: Option<OsString>,
    /// `--crate-name`.
    pub crate_name: String,
    /// What is built; of several crate types the one that is linked.
    pub kind: UnitKind,
    /// What the command's crate types make of it; empty where `--test` says it all.
    pub types: Vec<CrateType>,
    /// Arguments for the linker (`-C link-arg`, `-C link-args`), as given.
    pub link_args: Vec<String>,
    /// `-C linker`, as given.
    pub linker: Option<PathBuf>,
    /// `-C linker-flavor` is given: rustc talks to the linker in a way of its own.
    pub linker_flavor: bool,
    /// `-C split-debuginfo=packed`: a link leaves a file beside its output.
    pub packed_debuginfo: bool,
    /// The root file as given: relative for a workspace's members.
    pub source: PathBuf,
    /// `--out-dir` as given.
    pub out_dir: PathBuf,
    /// `-C extra-filename`, empty where it is not given.
    pub extra_filename: String,
    /// What is emitted.
    pub emit: Emit,
    /// Direct dependencies, in the order of the command.
    pub externs: Vec<Extern>,
    /// Search directories, in the order of the command.
    pub search: Vec<Search>,
    /// Native libraries, in the order of the command.
    pub native_libs: Vec<NativeLib>,
    /// `--target`, a triple.
    pub target: Option<String>,
    /// `-C target-cpu=native`: the key needs the CPU ([`super::super::probe::Compilers::native_cpu`]).
    pub cpu_native: bool,
    /// `--diagnostic-width`: not in the key, but in the entry.
    pub width: Option<u16>,
    /// Messages come as JSON. Always so for what is cached.
    pub json_messages: bool,
    /// Object code is LLVM bitcode alone (`-C linker-plugin-lto`): [`Roots::scan`] is blind to it.
    pub bitcode_only: bool,
    pub(super) key: Vec<KeyArg>,
    /// Where `-C incremental` stands: not run where the outputs may be shared.
    pub(super) incremental: Vec<Range<usize>>,
}

/// One `--crate-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrateType {
    /// `lib` or `rlib`.
    Rlib,
    /// `proc-macro`.
    ProcMacro,
    /// `dylib`.
    Dylib,
    /// `cdylib`.
    Cdylib,
    /// `staticlib`.
    Staticlib,
    /// `bin`.
    Bin,
}

/// Crates of the sysroot that may be named without a file.
const SYSROOT_CRATES: &[&str] = &["alloc", "core", "proc_macro", "std", "test"];

impl Unit {
    /// Reads a command. Looks at no file.
    ///
    /// # Errors
    /// The reason for which a command is not one that Quarry knows all about.
    pub fn parse(inv: &Invocation) -> Result<Self, Bypass> {
        if inv.cwd.to_str().is_none() {
            return Err(Bypass::NotUtf8);
        }
        let mut read = Reading::default();
        let first = inv.argv.first();
        let clippy = first.filter(|program| Path::new(program).ends_with("clippy-driver"));
        let compiler = usize::from(clippy.is_some());
        for placed in tokens::split(&inv.argv, compiler + 1)? {
            read.take(placed)?;
        }
        let mut unit = read.finish(inv)?;
        unit.compiler = inv.argv.get(compiler).cloned().unwrap_or_default();
        unit.clippy = clippy.cloned();
        Ok(unit)
    }

    /// Whether the command asks for an incremental compile.
    #[must_use]
    pub fn is_incremental(&self) -> bool {
        !self.incremental.is_empty()
    }

    /// The command whose outputs may be shared: the caller's, without incremental, with our
    /// remaps first, so that the user's, which come later, win over them (rustc: the last match
    /// wins).
    #[must_use]
    pub fn run_argv(&self, inv: &Invocation, roots: &Roots) -> Vec<OsString> {
        self.argv(inv, roots, &self.incremental)
    }

    /// The command whose outputs are this checkout's alone: incremental where the caller asked
    /// for that, with our remaps all the same.
    #[must_use]
    pub fn private_argv(&self, inv: &Invocation, roots: &Roots) -> Vec<OsString> {
        self.argv(inv, roots, &[])
    }

    fn argv(&self, inv: &Invocation, roots: &Roots, without: &[Range<usize>]) -> Vec<OsString> {
        let mut out = Vec::with_capacity(inv.argv.len() + 8);
        let first = 1 + usize::from(self.clippy.is_some());
        out.extend(inv.argv.iter().take(first).cloned());
        for (from, to) in roots.remaps() {
            let mut arg = OsString::from("--remap-path-prefix=");
            arg.push(from);
            arg.push("=");
            arg.push(to);
            out.push(arg);
        }
        let kept = |at: &usize| !without.iter().any(|range| range.contains(at));
        out.extend(
            (first..inv.argv.len())
                .filter(kept)
                .map(|at| inv.argv[at].clone()),
        );
        out
    }

    /// The arguments that matter, in order, one spelling each, paths as names.
    #[must_use]
    pub fn key_args(&self, roots: &Roots) -> Vec<Vec<u8>> {
        let one = |arg: &KeyArg| match arg {
            KeyArg::Plain(text) => text.clone().into_bytes(),
            KeyArg::Path(text, path) => {
                let named = roots.name(path);
                // All arguments are UTF-8, and so is every path made of them.
                [text.as_bytes(), named.text().unwrap_or_default().as_bytes()].concat()
            }
            KeyArg::Text(text) => roots.normalise(text.as_bytes()),
        };
        self.key.iter().map(one).collect()
    }

    /// The dep-info file's path as the command gives it.
    #[must_use]
    pub fn dep_info_path(&self) -> PathBuf {
        self.out_dir
            .join(format!("{}{}.d", self.crate_name, self.extra_filename))
    }
}

/// A command half read.
#[derive(Default)]
struct Reading {
    crate_name: Option<String>,
    crate_types: Vec<String>,
    source: Option<PathBuf>,
    out_dir: Option<PathBuf>,
    metadata: bool,
    extra_filename: String,
    emit: Emit,
    externs: Vec<Extern>,
    search: Vec<Search>,
    native_libs: Vec<NativeLib>,
    target: Option<String>,
    cpu_native: bool,
    width: Option<u16>,
    json: bool,
    test: bool,
    bitcode_only: bool,
    link_args: Vec<String>,
    linker: Option<PathBuf>,
    linker_flavor: bool,
    packed_debuginfo: bool,
    key: Vec<KeyArg>,
    incremental: Vec<Range<usize>>,
}

impl Reading {
    fn take(&mut self, placed: Placed<'_>) -> Result<(), Bypass> {
        match placed.token {
            Token::Input(path) => {
                if self.source.replace(path.into()).is_some() {
                    return Err(Bypass::NoInput);
                }
                // rustc calls the files of a relative root otherwise than those of an absolute one.
                let how = if Path::new(path).is_absolute() {
                    "absolute"
                } else {
                    "relative"
                };
                self.key
                    .push(KeyArg::Path(format!("source {how}="), path.into()));
            }
            Token::Flag(flag) => {
                self.test |= flag == "--test";
                self.key.push(KeyArg::Plain(flag.into()));
            }
            Token::Valued(name, value) => self.valued(name, value, placed.place)?,
        }
        Ok(())
    }

    fn valued(&mut self, name: &str, value: &str, place: Range<usize>) -> Result<(), Bypass> {
        match name {
            "--codegen" => return self.codegen(value, place),
            "--extern" => return self.extern_crate(value),
            "--emit" => self.emitted(value)?,
            "-L" => return self.search_dir(value),
            "-l" => self.native_lib(value)?,
            "--out-dir" => {
                self.out_dir = Some(value.into());
                return Ok(());
            }
            "--diagnostic-width" => {
                self.width = Some(value.parse().map_err(|_| Bypass::UnknownArgument)?);
                return Ok(());
            }
            "--remap-path-prefix" => {
                let (from, to) = value.rsplit_once('=').ok_or(Bypass::UnknownArgument)?;
                // A relative prefix is compared with relative names: it is no path of the cwd.
                self.key.push(if Path::new(from).is_absolute() {
                    KeyArg::Path(format!("{name} {to}="), from.into())
                } else {
                    KeyArg::Plain(format!("{name} {value}"))
                });
                return Ok(());
            }
            "--target" if value.ends_with(".json") || value.contains('/') => {
                return Err(Bypass::TargetFile);
            }
            "--target" => self.target = Some(value.into()),
            "--crate-name" => self.crate_name = Some(value.into()),
            "--crate-type" => self.crate_types.extend(value.split(',').map(str::to_owned)),
            "--error-format" => self.json = value == "json",
            "--remap-path-scope" if !value.split(',').any(|scope| scope == "all") => {
                return Err(Bypass::RemapScope);
            }
            "--sysroot" => return Err(Bypass::Sysroot),
            "-Z" => return Err(Bypass::UnstableOption),
            "-o" => return Err(Bypass::OutputFile),
            _ => {}
        }
        self.key.push(KeyArg::Plain(format!("{name} {value}")));
        Ok(())
    }

    fn codegen(&mut self, option: &str, place: Range<usize>) -> Result<(), Bypass> {
        let (name, value) = option
            .split_once('=')
            .map_or((option, None), |(n, v)| (n, Some(v)));
        let text = format!("--codegen {option}");
        match codegen::verdict(name, value) {
            Verdict::Key => self.key.push(KeyArg::Plain(text)),
            Verdict::KeyPaths => self.key.push(KeyArg::Text(text)),
            Verdict::Incremental => self.incremental.push(place),
            Verdict::Bypass(reason) => return Err(reason),
        }
        match (name.replace('_', "-").as_str(), value) {
            ("metadata", Some(_)) => self.metadata = true,
            ("extra-filename", Some(value)) => {
                if value.contains('/') {
                    return Err(Bypass::OutputFile);
                }
                self.extra_filename = value.to_owned();
            }
            ("link-arg", Some(value)) => self.link_args.push(value.into()),
            ("link-args", Some(value)) => {
                self.link_args
                    .extend(value.split_whitespace().map(str::to_owned));
            }
            ("linker", Some(value)) => self.linker = Some(value.into()),
            ("linker-flavor", _) => self.linker_flavor = true,
            ("split-debuginfo", value) => self.packed_debuginfo = value == Some("packed"),
            ("target-cpu", value) => self.cpu_native = value == Some("native"),
            ("linker-plugin-lto", value) => {
                self.bitcode_only = !matches!(value, Some("n" | "no" | "off" | "false"));
            }
            _ => {}
        }
        Ok(())
    }

    fn extern_crate(&mut self, value: &str) -> Result<(), Bypass> {
        let (left, path) = value
            .split_once('=')
            .map_or((value, None), |(n, p)| (n, Some(p)));
        let (options, name) = left
            .split_once(':')
            .map_or((None, left), |(o, n)| (Some(o), n));
        let known = |o: &str| matches!(o, "priv" | "noprelude" | "nounused" | "force");
        if options.is_some_and(|all| !all.split(',').all(known)) {
            return Err(Bypass::ExternOptions);
        }
        if path.is_none() && !SYSROOT_CRATES.contains(&name) {
            return Err(Bypass::ExternWithoutPath);
        }
        self.key.push(match path {
            Some(path) => KeyArg::Path(format!("--extern {left}="), path.into()),
            None => KeyArg::Plain(format!("--extern {left}")),
        });
        self.externs.push(Extern {
            name: name.into(),
            path: path.map(PathBuf::from),
            options: options.map(str::to_owned),
        });
        Ok(())
    }

    fn emitted(&mut self, value: &str) -> Result<(), Bypass> {
        for kind in value.split(',') {
            match kind {
                "dep-info" => self.emit.dep_info = true,
                "metadata" => self.emit.metadata = true,
                "link" => self.emit.link = true,
                _ if kind.contains('=') => return Err(Bypass::EmitPath),
                _ => return Err(Bypass::EmitKind),
            }
        }
        Ok(())
    }

    fn search_dir(&mut self, value: &str) -> Result<(), Bypass> {
        let (kind, path) = match value.split_once('=') {
            Some(("dependency", path)) => (SearchKind::Dependency, path),
            Some(("crate", path)) => (SearchKind::Crate, path),
            Some(("native", path)) => (SearchKind::Native, path),
            Some(("framework", path)) => (SearchKind::Framework, path),
            Some(("all", path)) => (SearchKind::All, path),
            _ => (SearchKind::All, value),
        };
        // `@RUSTC_BUILTIN` and other names that are no directories.
        if path.is_empty() || path.starts_with('@') {
            return Err(Bypass::UnknownArgument);
        }
        if kind != SearchKind::Dependency {
            self.key
                .push(KeyArg::Path(format!("-L {kind:?}="), path.into()));
        }
        self.search.push(Search {
            kind,
            path: path.into(),
        });
        Ok(())
    }

    fn native_lib(&mut self, value: &str) -> Result<(), Bypass> {
        let (left, name) = value
            .split_once('=')
            .map_or((None, value), |(l, n)| (Some(l), n));
        let (kind, modifiers) = match left {
            None => (None, Vec::new()),
            Some(left) => {
                let (kind, rest) = left.split_once(':').unwrap_or((left, ""));
                let modifiers = rest.split(',').filter(|m| !m.is_empty()).map(str::to_owned);
                (Some(kind.to_owned()), modifiers.collect())
            }
        };
        let known = ["static", "dylib", "framework"];
        // A name that is a path is looked for there, not in the search directories.
        if name.contains('/') || kind.as_ref().is_some_and(|k| !known.contains(&k.as_str())) {
            return Err(Bypass::NativeLibrary);
        }
        self.native_libs.push(NativeLib {
            kind,
            modifiers,
            name: name.into(),
        });
        Ok(())
    }

    fn finish(self, inv: &Invocation) -> Result<Unit, Bypass> {
        let source = self.source.ok_or(Bypass::NoInput)?;
        let (Some(crate_name), true) = (self.crate_name, self.metadata) else {
            return Err(Bypass::Probe);
        };
        if crate_name.is_empty() || crate_name.contains('/') {
            return Err(Bypass::UnknownArgument);
        }
        if !self.json {
            return Err(Bypass::MessagesNotJson);
        }
        if !self.emit.dep_info || !(self.emit.metadata || self.emit.link) {
            return Err(Bypass::EmitKind);
        }
        let out_dir = self.out_dir.ok_or(Bypass::NoOutDir)?;
        if target_root(&inv.absolute(&out_dir), self.target.as_deref()).is_none() {
            return Err(Bypass::OutDirLayout);
        }
        let types = types(&self.crate_types, self.test)?;
        let kind = kind(&types, &crate_name, &out_dir);
        let mut key = self.key;
        // Debug information says where the compile ran.
        key.push(KeyArg::Path("cwd=".into(), inv.cwd.clone()));
        Ok(Unit {
            compiler: OsString::new(),
            clippy: None,
            crate_name,
            kind,
            types,
            link_args: self.link_args,
            linker: self.linker,
            linker_flavor: self.linker_flavor,
            packed_debuginfo: self.packed_debuginfo,
            source,
            out_dir,
            extra_filename: self.extra_filename,
            emit: self.emit,
            externs: self.externs,
            search: self.search,
            native_libs: self.native_libs,
            target: self.target,
            cpu_native: self.cpu_native,
            width: self.width,
            json_messages: self.json,
            bitcode_only: self.bitcode_only,
            key,
            incremental: self.incremental,
        })
    }
}

/// The crate types of a command, each once; none where `--test` says it all.
fn types(given: &[String], test: bool) -> Result<Vec<CrateType>, Bypass> {
    if test {
        return Ok(Vec::new());
    }
    if given.is_empty() {
        return Err(Bypass::NoCrateType);
    }
    let mut types = Vec::with_capacity(given.len());
    for name in given {
        let one = match name.as_str() {
            "lib" | "rlib" => CrateType::Rlib,
            "proc-macro" => CrateType::ProcMacro,
            "dylib" => CrateType::Dylib,
            "cdylib" => CrateType::Cdylib,
            "staticlib" => CrateType::Staticlib,
            "bin" => CrateType::Bin,
            _ => return Err(Bypass::UnknownArgument),
        };
        if !types.contains(&one) {
            types.push(one);
        }
    }
    Ok(types)
}

/// What is built. Of several crate types the last one that is linked decides.
fn kind(types: &[CrateType], name: &str, out_dir: &Path) -> UnitKind {
    let mut kind = if types.is_empty() {
        UnitKind::Test
    } else {
        UnitKind::Lib
    };
    // `build/PACKAGE-HASH`.
    let above = out_dir.parent().and_then(Path::file_name);
    let in_build = above.is_some_and(|dir| dir == "build");
    for ty in types {
        kind = match ty {
            CrateType::Rlib => kind,
            CrateType::ProcMacro => UnitKind::ProcMacro,
            CrateType::Dylib => UnitKind::Dylib,
            CrateType::Cdylib => UnitKind::Cdylib,
            CrateType::Staticlib => UnitKind::Staticlib,
            // A program may be called so, too; cargo lays that elsewhere.
            CrateType::Bin if name.starts_with("build_script_") && in_build => {
                UnitKind::BuildScript
            }
            CrateType::Bin if out_dir.file_name().is_some_and(|d| d == "examples") => {
                UnitKind::Example
            }
            CrateType::Bin => UnitKind::Bin,
        };
    }
    kind
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
