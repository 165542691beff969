//! What in an environment makes a compile unfit for the cache.
//!
//! Enters: the caller's environment. Leaves: a reason to stay away, or none. Must never happen
//! here: a look at this process's own environment.

use crate::compiler::{Bypass, Unit};
use crate::invocation::Invocation;
use crate::paths::target_root;
use std::path::{Path, PathBuf};

/// Variables that rustc itself reads and that change what it makes: always in the key, unset
/// told from empty. (The deployment targets count for Apple's platforms, the target path for
/// targets described by files.)
pub const KEYED_VARIABLES: &[&str] = &[
    "IPHONEOS_DEPLOYMENT_TARGET",
    "LLVM_OVERRIDE_PRODUCER",
    "MACOSX_DEPLOYMENT_TARGET",
    "RUSTC_BOOTSTRAP",
    "RUSTC_FORCE_RUSTC_VERSION",
    "RUST_TARGET_PATH",
    "TVOS_DEPLOYMENT_TARGET",
    "VISIONOS_DEPLOYMENT_TARGET",
    "WATCHOS_DEPLOYMENT_TARGET",
];

/// Variables that are a reason by being set and not empty.
const POISON: &[(&str, Bypass)] = &[
    ("LD_PRELOAD", Bypass::EnvPreload),
    ("LD_AUDIT", Bypass::EnvPreload),
    ("DYLD_INSERT_LIBRARIES", Bypass::EnvPreload),
    ("DYLD_LIBRARY_PATH", Bypass::EnvLibraryPath),
    ("DYLD_FRAMEWORK_PATH", Bypass::EnvLibraryPath),
    ("GCC_EXEC_PREFIX", Bypass::EnvToolPath),
    ("COMPILER_PATH", Bypass::EnvToolPath),
    ("RUSTC_LOG", Bypass::EnvCompilerLog),
    ("RUSTC_CTFE_BACKTRACE", Bypass::EnvCompilerLog),
    ("RUSTC_OVERRIDE_VERSION_STRING", Bypass::EnvCompiler),
];

/// The first reason that the environment gives to stay away.
pub(super) fn poison(inv: &Invocation, unit: &Unit) -> Option<Bypass> {
    let target = target_root(&inv.absolute(&unit.out_dir), unit.target.as_deref());
    let programs = std::iter::once(&unit.compiler).chain(&unit.clippy);
    let programs: Vec<&Path> = programs.map(Path::new).collect();
    poison_of(inv, target, &programs)
}

/// The same for these programs and a target directory.
pub(super) fn poison_of(
    inv: &Invocation,
    target: Option<PathBuf>,
    programs: &[&Path],
) -> Option<Bypass> {
    let set = POISON
        .iter()
        .find(|(name, _)| inv.nonempty_var(name).is_some());
    if let Some((_, reason)) = set {
        return Some(*reason);
    }
    library_path_leads_elsewhere(inv, target, programs).then_some(Bypass::EnvLibraryPath)
}

/// Whether the dynamic loader would look anywhere but in this target directory and the toolchains
/// of these programs. Cargo adds `deps` and the OUT_DIRs of build scripts that asked for it, rustup
/// the toolchain's `lib`. An empty component means the working directory.
pub fn library_path_leads_elsewhere(
    inv: &Invocation,
    target: Option<PathBuf>,
    programs: &[&Path],
) -> bool {
    let Some(paths) = inv.nonempty_var("LD_LIBRARY_PATH") else {
        return false;
    };
    let mut ours: Vec<PathBuf> = target.into_iter().collect();
    for program in programs {
        if program.is_absolute() {
            let root = program.parent().and_then(Path::parent);
            ours.extend(root.map(|root| root.join("lib")));
        }
    }
    let home = || Some(PathBuf::from(inv.nonempty_var("HOME")?).join(".rustup"));
    let rustup = inv
        .nonempty_var("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(home);
    if let (Some(rustup), Some(toolchain)) = (rustup, inv.nonempty_var("RUSTUP_TOOLCHAIN")) {
        ours.push(rustup.join("toolchains").join(toolchain).join("lib"));
    }
    std::env::split_paths(paths).any(|path| {
        let climbs = path
            .components()
            .any(|c| c == std::path::Component::ParentDir);
        climbs || !ours.iter().any(|root| path.starts_with(root))
    })
}
