//! Every reason for which a compile is deliberately not cached, in one table.
//!
//! Enters: nothing. Leaves: a reason, its stable name (`stats` and `why` show it) and a line for
//! people. Must never happen here: a reason without a name, or a name that changes.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $why:literal;)*) => {
        /// Why a compile is deliberately not cached.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bypass {
            $(#[doc = $why] $variant,)*
        }

        impl Bypass {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable name, in kebab case.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One line for people.
            #[must_use]
            pub const fn why(&self) -> &'static str {
                match self { $(Self::$variant => $why,)* }
            }
        }
    };
}

reasons! {
    LinkTarget = "link-target", "Linked for or on another system than Linux with glibc, or for another target than the host's.";
    LinkSeveral = "link-several", "One command runs the linker more than once.";
    LinkArgument = "link-argument", "An argument for the linker that Quarry does not know.";
    LinkInput = "link-input", "The linker was given a file that the key does not hold.";
    LinkLibrary = "link-library", "A library for the linker was not found where it looks, or refers to files that were not.";
    LinkerUnidentified = "linker-unidentified", "The linker's own files could not be told apart from others.";
    EnvLinker = "env-linker", "A variable changes what the linker does.";
    ClippyCargo = "clippy-cargo", "Lints that look at more than this package (clippy::cargo).";
    UnknownCompiler = "unknown-compiler", "The command is not rustc.";
    CompilerUnidentified = "compiler-unidentified", "The compiler's own files could not be told apart from others.";
    NotUtf8 = "not-utf8", "An argument or the working directory is not UTF-8.";
    TooManyArguments = "too-many-arguments", "The command has more arguments than are looked at.";
    UnknownArgument = "unknown-argument", "An argument that Quarry does not know.";
    UnknownCodegenOption = "unknown-codegen-option", "A -C option that Quarry does not know.";
    UnstableOption = "unstable-option", "A -Z option: its effects are not promised.";
    ResponseFile = "response-file", "Arguments come from a file (@path).";
    Probe = "probe", "A trial compile without -C metadata, as build scripts do.";
    Print = "print", "A compile that also prints facts about itself.";
    MessagesNotJson = "messages-not-json", "Messages go straight to a terminal, not through cargo.";
    NoCrateType = "no-crate-type", "The command does not say what it builds.";
    NoInput = "no-input", "The command does not name one source file.";
    NoOutDir = "no-out-dir", "The command does not name an output directory.";
    OutDirLayout = "out-dir-layout", "The output directory does not lie as cargo lays it.";
    OutputFile = "output-file", "The output's file name is given (-o).";
    EmitKind = "emit-kind", "More than dep-info, metadata and link is emitted, or no dep-info.";
    EmitPath = "emit-path", "An emitted file's path is given (--emit kind=path).";
    Sysroot = "sysroot", "The system root is given (--sysroot).";
    TargetFile = "target-file", "The target is described by a file.";
    RemapScope = "remap-path-scope", "Paths are remapped in part of the outputs only.";
    Coverage = "coverage", "Coverage needs the real local paths.";
    Profile = "profile", "Profiles are written or read.";
    LlvmArgs = "llvm-args", "Arguments or passes are handed to LLVM.";
    Remark = "remark", "Optimisation remarks are printed.";
    SaveTemps = "save-temps", "Temporary files are kept.";
    Rpath = "rpath", "Run-time search paths name this machine's directories.";
    SplitDebuginfo = "split-debuginfo", "Debug information goes to files of its own.";
    LinkerPlugin = "linker-plugin", "A linker plugin is given by its path.";
    RawDylib = "dlltool", "Import libraries are made by an outside tool.";
    ExternWithoutPath = "extern-without-path", "A crate from outside the sysroot is named without its file.";
    ExternOptions = "extern-options", "An extern carries options that Quarry does not know.";
    NativeLibrary = "native-library", "A native library is named in a way that Quarry does not know.";
    CrateDirectory = "crate-directory", "Crates may be found in a directory other than -L dependency.";
    NativeDirectory = "native-directory", "A native search directory cannot be read.";
    NativeDirectoryTooLarge = "native-directory-too-large", "A native search directory holds more than is looked at.";
    ThinArchive = "thin-archive", "A native archive only refers to its members.";
    EnvPreload = "env-preload", "Libraries are loaded into the compiler (LD_PRELOAD, LD_AUDIT and the like).";
    EnvLibraryPath = "env-library-path", "LD_LIBRARY_PATH names directories that are neither cargo's nor the toolchain's.";
    EnvToolPath = "env-tool-path", "GCC_EXEC_PREFIX or COMPILER_PATH redirects the tools.";
    EnvCompilerLog = "env-compiler-log", "The compiler logs (RUSTC_LOG).";
    OutputDirectory = "output-directory", "The output directory cannot be written to.";
    UnreadableInput = "unreadable-input", "An input could not be read.";
    NoDepInfo = "no-dep-info", "The compiler left no list of its inputs that can be read.";
    ChangedWhileCompiling = "changed-while-compiling", "An input changed at or after the compile's start.";
    ForeignClock = "foreign-clock", "An input lies on a filesystem that keeps time of its own.";
    FailedCompile = "failed-compile", "The compile failed.";
    Interrupted = "interrupted", "Nobody heard how the compile ended.";
    MessagesTooLarge = "messages-too-large", "The compiler said more than is kept.";
    MissingOutput = "missing-output", "An output that the command asks for is not there.";
    OutputTooLarge = "output-too-large", "An output is larger than what is kept.";
    PathInOutput = "path-in-output", "An output holds a path of this checkout that the key does not.";
    InputOutside = "input-outside", "An input is reached by climbing out of the workspace, cargo's home or the target directory.";
    AssemblerInput = "assembler-input", "Assembly names a file to read (.incbin, .include), which the compiler does not report.";
    StoreUnavailable = "store-unavailable", "The store took no entry: the disk is full, or it cannot be written.";
    MacroEnviron = "macro-environ", "A macro can read the whole environment at once, and not only to start programs.";
    MacroSpawns = "macro-spawns", "A macro started a process that cannot be asked again.";
    MacroSockets = "macro-sockets", "A macro used the network.";
    MacroWrites = "macro-writes", "A macro changed files or the compiler's environment.";
    MacroRawCalls = "macro-raw-calls", "A macro makes system calls that cannot be watched.";
    MacroMachine = "macro-machine", "A macro asked for facts of this machine or user.";
    MacroLink = "macro-link", "A macro asked where a symbolic link leads.";
    MacroSpecialFile = "macro-special-file", "A macro read what is neither file nor directory, or may not be read.";
    MacroLibrary = "macro-library", "A macro is linked with libraries besides the C library.";
    ObserverIncomplete = "observer-incomplete", "What the macros did was not seen to the end.";
    Edited = "edited", "It was in place here before, and its own sources have changed since: compiled incrementally, for this checkout alone.";
    BuiltOnEdited = "built-on-edited", "It consumes a crate that is being edited here, so it is this checkout's alone, too.";
    ScriptSurroundings = "script-surroundings", "A build script was not run as cargo runs it.";
    ScriptFailed = "script-failed", "A build script failed.";
    ScriptUnobserved = "script-unobserved", "What a build script, or a program that it started, did was not seen to the end.";
    ScriptRawCalls = "script-raw-calls", "A build script has code in it that makes system calls which cannot be watched.";
    ScriptGit = "script-git", "A build script asked git, or read its metadata.";
    ScriptWrites = "script-writes", "A build script changed files outside OUT_DIR, or tried to where it could in another checkout.";
    ScriptAlways = "script-always", "A build script asks to be run each time: it names a file that is not there, or one of its own.";
    ScriptLeftovers = "script-leftovers", "OUT_DIR held files of an earlier run when a build script began.";
    ScriptInput = "script-input", "What a build script reads cannot be read again, or is more than is looked at.";
    ScriptInputChanged = "script-input-changed", "What a build script reads changed at or after its start.";
    ScriptOutLink = "script-out-link", "A link in OUT_DIR leads out of it, or what lies there is neither file, directory nor link.";
    ScriptOutTooLarge = "script-out-too-large", "OUT_DIR holds more than is kept.";
    ScriptMessages = "script-messages", "What a build script said cannot be said again with other paths.";
    Stopped = "stopped", "The compiler, or who waited for it or took its outputs, was stopped meanwhile (SIGSTOP, Ctrl-Z).";
    ForeignCaller = "foreign-caller", "Who reported the compile is not this node's own qwrap, undisturbed.";
    EnvCompiler = "env-compiler", "A variable changes what the compiler says of itself.";
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_kebab_case() {
        let mut names: Vec<_> = Bypass::ALL.iter().map(Bypass::name).collect();
        for name in &names {
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{name}"
            );
        }
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
