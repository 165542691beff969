//! Every stable `-C` option of rustc 1.95 (`rustc -C help`), decided one by one.
//!
//! Enters: an option's name and value. Leaves: what it means for the cache. Must never happen
//! here: a default for an option that nobody has looked at.

use crate::compiler::Bypass;

/// What an option means for the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compiler) enum Verdict {
    /// Part of the key as it stands.
    Key,
    /// Part of the key; its text may hold paths, which are named.
    KeyPaths,
    /// Left out of the key, and of every command whose outputs may be shared.
    Incremental,
    /// Not cached.
    Bypass(Bypass),
}

/// The verdict on `-C name[=value]`. rustc takes `_` for `-` in names.
pub(in crate::compiler) fn verdict(name: &str, value: Option<&str>) -> Verdict {
    match name.replace('_', "-").as_str() {
        // Change code or metadata by their value alone.
        "code-model" | "codegen-units" | "collapse-macro-debuginfo" | "control-flow-guard"
        | "debug-assertions" | "debuginfo" | "dwarf-version" | "embed-bitcode"
        | "extra-filename" | "force-frame-pointers" | "force-unwind-tables" | "jump-tables"
        | "lto" | "metadata" | "no-prepopulate-passes" | "no-redzone" | "no-vectorize-loops"
        | "no-vectorize-slp" | "opt-level" | "overflow-checks" | "panic" | "prefer-dynamic"
        | "relocation-model" | "soft-float" | "strip" | "symbol-mangling-version" | "target-cpu"
        | "target-feature" | "unsafe-allow-abi-mismatch"
        // Deprecated, without effect.
        | "ar" | "inline-threshold" | "no-stack-check"
        // Concern links only. Cargo hands them to libraries too, where they do nothing.
        | "default-linker-libraries" | "link-dead-code" | "link-self-contained"
        | "linker-features" | "linker-flavor" | "relro-level" => Verdict::Key,
        "link-arg" | "link-args" | "linker" => Verdict::KeyPaths,
        "linker-plugin-lto" if is_flag(value) => Verdict::Key,
        "linker-plugin-lto" => Verdict::Bypass(Bypass::LinkerPlugin),
        "split-debuginfo" if matches!(value, Some("off" | "packed")) => Verdict::Key,
        "split-debuginfo" => Verdict::Bypass(Bypass::SplitDebuginfo),
        "incremental" => Verdict::Incremental,
        "rpath" if is_off(value) => Verdict::Key,
        "rpath" => Verdict::Bypass(Bypass::Rpath),
        "save-temps" if is_off(value) => Verdict::Key,
        "save-temps" => Verdict::Bypass(Bypass::SaveTemps),
        "instrument-coverage" if is_off(value) => Verdict::Key,
        "instrument-coverage" => Verdict::Bypass(Bypass::Coverage),
        "profile-generate" | "profile-use" => Verdict::Bypass(Bypass::Profile),
        "llvm-args" | "passes" => Verdict::Bypass(Bypass::LlvmArgs),
        "remark" => Verdict::Bypass(Bypass::Remark),
        "dlltool" => Verdict::Bypass(Bypass::RawDylib),
        _ => Verdict::Bypass(Bypass::UnknownCodegenOption),
    }
}

/// Whether a boolean option's value is one that rustc takes for a boolean (absent: on).
fn is_flag(value: Option<&str>) -> bool {
    matches!(
        value,
        None | Some("y" | "yes" | "on" | "true" | "n" | "no" | "off" | "false")
    )
}

fn is_off(value: Option<&str>) -> bool {
    matches!(value, Some("n" | "no" | "off" | "false"))
}
