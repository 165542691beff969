//! The classifier and the unit, told by what cargo really passes.

use crate::compiler::rustc::args::{Emit, SearchKind, UnitKind};
use crate::compiler::{Bypass, Class, Unit, classify};
use crate::invocation::Invocation;
use crate::paths::Roots;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

const CAPTURED: &str = include_str!("captured.txt");
const SYSROOT: &str = "/home/alice/.rustup/toolchains/stable-x86_64-unknown-linux-gnu";

/// (class, name, invocation) of every captured unit, as `home` would have passed it.
fn captured_at(home: &str) -> Vec<(String, String, Invocation)> {
    let text = CAPTURED.replace("/home/alice", home);
    let mut lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut out = Vec::new();
    while let Some(head) = lines.next() {
        let (class, name) = head.split_once(": ").unwrap();
        let cwd = lines.next().unwrap().into();
        let command = lines.next().unwrap().trim_matches('\'');
        let argv: Vec<OsString> = command.split("' '").map(OsString::from).collect();
        let lib = format!(
            "{home}/out/debug/deps:{}/lib",
            SYSROOT.replace("/home/alice", home)
        );
        let env = vec![
            ("HOME".into(), home.into()),
            ("LD_LIBRARY_PATH".into(), lib.into()),
            (
                "RUSTUP_TOOLCHAIN".into(),
                "stable-x86_64-unknown-linux-gnu".into(),
            ),
        ];
        // Not every captured unit is one of the debug profile.
        let env = if command.contains("/out/debug/") {
            env
        } else {
            env[..1].to_vec()
        };
        out.push((
            class.into(),
            name.into(),
            Invocation {
                argv,
                env,
                cwd,
                started: Vec::new(),
            },
        ));
    }
    out
}

fn captured(name: &str) -> Invocation {
    let found = captured_at("/home/alice")
        .into_iter()
        .find(|(_, n, _)| n == name);
    found.unwrap_or_else(|| panic!("{name} is captured")).2
}

fn class_name(class: &Class) -> &'static str {
    match class {
        Class::Query => "query",
        Class::Compile(_) => "compile",
        Class::Bypass(reason) | Class::Link(reason, _) => reason.name(),
    }
}

fn unit(inv: &Invocation) -> Box<Unit> {
    match classify(inv) {
        Class::Compile(unit) | Class::Link(_, unit) => unit,
        other => panic!("{other:?} has no unit"),
    }
}

fn roots(inv: &Invocation, unit: &Unit) -> Roots {
    let home = inv.var("HOME").unwrap().to_str().unwrap();
    Roots::of(
        inv,
        unit,
        Path::new(&SYSROOT.replace("/home/alice", home)),
        &"5".repeat(40),
    )
}

#[test]
fn every_captured_command_is_what_it_is() {
    let all = captured_at("/home/alice");
    assert!(all.len() >= 16);
    for (class, name, inv) in all {
        let got = classify(&inv);
        assert_eq!(class_name(&got), class, "{name}");
    }
}

#[test]
fn a_registry_library_is_read_in_full() {
    let inv = captured("serde, registry library with a macro");
    let unit = unit(&inv);
    assert_eq!(unit.crate_name, "serde");
    assert_eq!(unit.kind, UnitKind::Lib);
    assert!(unit.source.is_absolute());
    assert_eq!(
        unit.emit,
        Emit {
            dep_info: true,
            metadata: true,
            link: true
        }
    );
    let names: Vec<_> = unit.externs.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["serde_core", "serde_derive"]);
    assert!(unit.externs[1].path.as_ref().unwrap().extension().unwrap() == "so");
    assert!(unit.search.iter().all(|s| s.kind == SearchKind::Dependency));
    assert!(unit.json_messages && !unit.cpu_native && unit.width.is_none());
    let outputs: Vec<_> = unit.outputs().into_iter().map(|o| o.name).collect();
    let stem = format!("serde{}", unit.extra_filename);
    assert_eq!(
        outputs,
        [
            format!("{stem}.d"),
            format!("lib{stem}.rmeta"),
            format!("lib{stem}.rlib")
        ]
    );
}

#[test]
fn a_check_writes_no_rlib() {
    let unit = unit(&captured("workspace member, checked"));
    let outputs: Vec<_> = unit.outputs().into_iter().map(|o| o.name).collect();
    assert_eq!(outputs.len(), 2);
    assert!(outputs.iter().all(|name| !name.ends_with(".rlib")));
}

#[test]
fn a_member_loses_incremental_and_nothing_else() {
    let inv = captured("workspace member");
    let unit = unit(&inv);
    let roots = roots(&inv, &unit);
    let run = unit.run_argv(&inv, &roots);
    let ours = roots.remaps().len();
    assert!(
        run[1..=ours]
            .iter()
            .all(|a| a.to_str().unwrap().starts_with("--remap-path-prefix="))
    );
    let mut expected = inv.argv.clone();
    let at = expected
        .iter()
        .position(|a| a.to_str().unwrap().starts_with("incremental="))
        .expect("cargo compiles members incrementally");
    expected.drain(at - 1..=at);
    assert_eq!(run[ours + 1..], expected[1..]);
}

#[test]
fn our_remaps_come_shortest_first_and_before_the_users() {
    let mut inv = captured("workspace member");
    inv.argv
        .push("--remap-path-prefix=/home/alice/ws=/mine".into());
    let unit = unit(&inv);
    let run = unit.run_argv(&inv, &roots(&inv, &unit));
    let remaps: Vec<_> = run
        .iter()
        .filter_map(|a| a.to_str().unwrap().strip_prefix("--remap-path-prefix="))
        .collect();
    assert_eq!(remaps.last(), Some(&"/home/alice/ws=/mine"));
    assert!(remaps.len() >= 4);
    assert!(remaps.contains(&"/home/alice/ws=."));
    assert!(remaps.contains(&"/home/alice/out=/quarry/target"));
    let lengths: Vec<_> = remaps[..remaps.len() - 1]
        .iter()
        .map(|r| r.split_once('=').unwrap().0.len())
        .collect();
    assert!(lengths.is_sorted(), "rustc: the last match wins");
}

#[test]
fn two_homes_give_one_key() {
    let alice = captured_at("/home/alice");
    let bob = captured_at("/srv/bob/deep er");
    for ((class, name, a), (_, _, b)) in alice.into_iter().zip(bob) {
        if class != "compile" {
            continue;
        }
        let (ua, ub) = (unit(&a), unit(&b));
        let (ka, kb) = (ua.key_args(&roots(&a, &ua)), ub.key_args(&roots(&b, &ub)));
        assert_eq!(ka, kb, "{name}");
        let text = String::from_utf8(ka.join(&b'\n')).unwrap();
        assert!(!text.contains("alice"), "{name}: {text}");
        for kept in [
            "--codegen metadata=",
            "--codegen extra-filename=",
            "--emit dep-info",
            "cwd=",
        ] {
            // What is linked for others to load has no hash in its name.
            let given = kept != "--codegen extra-filename=" || !ua.extra_filename.is_empty();
            assert!(!given || text.contains(kept), "{name} keeps {kept}");
        }
        for dropped in ["incremental", "out-dir", "dependency"] {
            assert!(!text.contains(dropped), "{name} drops {dropped}");
        }
    }
}

/// The class of a member's command with arguments added.
fn with(arguments: &[&str]) -> String {
    let mut inv = captured("workspace member");
    inv.argv.extend(arguments.iter().map(OsString::from));
    class_name(&classify(&inv)).to_owned()
}

#[test]
fn arguments_that_nobody_has_decided_about_are_not_cached() {
    let table: &[(&[&str], &str)] = &[
        (&["-Copt-level=3"], "compile"),
        (&["--codegen", "opt_level=3"], "compile"),
        (&["-Cincremental=/x"], "compile"),
        (&["-C", "link-arg=-fuse-ld=mold"], "compile"),
        (&["-C", "link-arg=-T", "-Cdebuginfo=0"], "compile"),
        (&["-Clinker-plugin-lto"], "compile"),
        (&["-Clinker-plugin-lto=/plugin.so"], "linker-plugin"),
        (&["-Csplit-debuginfo=packed"], "compile"),
        (&["-Csplit-debuginfo=unpacked"], "split-debuginfo"),
        (&["-Cinstrument-coverage"], "coverage"),
        (&["-Cprofile-use=/p"], "profile"),
        (&["-Cllvm-args=-x"], "llvm-args"),
        (&["-Cremark=all"], "remark"),
        (&["-Csave-temps"], "save-temps"),
        (&["-Crpath"], "rpath"),
        (&["-Cbrand-new=1"], "unknown-codegen-option"),
        (&["-Zunpretty=hir"], "unstable-option"),
        (&["-Z", "threads=8"], "unstable-option"),
        (&["--brand-new=1"], "unknown-argument"),
        (&["-x"], "unknown-argument"),
        (&["-v"], "unknown-argument"),
        (&["--cfg"], "unknown-argument"),
        (&["@args"], "response-file"),
        (&["other.rs"], "no-input"),
        (&["-o", "/x"], "output-file"),
        (&["--emit=asm"], "emit-kind"),
        (&["--emit=link=/x"], "emit-path"),
        (&["--sysroot=/x"], "sysroot"),
        (&["--target", "spec.json"], "target-file"),
        (&["--error-format=human"], "messages-not-json"),
        (&["--remap-path-scope=diagnostics"], "remap-path-scope"),
        (&["--remap-path-scope=all"], "compile"),
        (&["--extern", "alloc"], "compile"),
        (&["--extern", "noprelude:dep=/x/libdep.rmeta"], "compile"),
        (&["--extern", "dep"], "extern-without-path"),
        (&["--extern", "odd:dep=/x"], "extern-options"),
        (&["-lstatic=z"], "compile"),
        (&["-l", "link-arg=x"], "native-library"),
        (&["-Lnative=/x"], "compile"),
        (&["--out-dir", "/somewhere"], "out-dir-layout"),
        (&["--crate-type", "staticlib"], "compile"),
        (&["--crate-type=dylib"], "compile"),
        (
            &["--crate-type=dylib", "--crate-type=cdylib"],
            "link-several",
        ),
        (&["--crate-type=cdylib", "-Clink-arg=-T"], "link-argument"),
        (
            &["--crate-type=cdylib", "-Clink-args=-s -Wl,-rpath,/x"],
            "link-argument",
        ),
        (
            &["--crate-type=cdylib", "-Clinker-flavor=ld"],
            "link-argument",
        ),
        (&["--crate-type=cdylib", "-Clinker=clang"], "compile"),
        (
            &["--crate-type=cdylib", "-Csplit-debuginfo=packed"],
            "split-debuginfo",
        ),
        (&["--print=native-static-libs"], "print"),
        (&["--print", "cfg"], "query"),
        (&["-C", "help"], "query"),
        (&["--explain", "E0001"], "query"),
    ];
    for (arguments, class) in table {
        assert_eq!(with(arguments), *class, "{arguments:?}");
    }
}

#[test]
fn every_codegen_option_of_this_compiler_has_been_decided() {
    let help = std::process::Command::new("rustc")
        .args(["-C", "help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let mut names = Vec::new();
    for line in help.lines() {
        let Some(rest) = line.trim().strip_prefix("-C ") else {
            continue;
        };
        names.push(rest.trim().split('=').next().unwrap().to_owned());
    }
    assert!(names.len() > 40, "the help is read");
    for name in names.iter().filter(|name| *name != "help") {
        let class = with(&[&format!("-C{name}=off")]);
        assert_ne!(class, Bypass::UnknownCodegenOption.name(), "{name}");
    }
}

#[test]
fn what_changes_an_output_changes_the_key() {
    let key = |arguments: &[&str]| {
        let mut inv = captured("workspace member");
        inv.argv.extend(arguments.iter().map(OsString::from));
        let unit = unit(&inv);
        unit.key_args(&roots(&inv, &unit))
    };
    let plain = key(&[]);
    for same in [
        &["--diagnostic-width=99"][..],
        &["-C", "incremental=/other"],
        &["-L", "dependency=/other"],
    ] {
        assert_eq!(key(same), plain, "{same:?}");
    }
    for other in [
        &["--cfg", "x"][..],
        &["--check-cfg", "cfg(x)"],
        &["-Aunused"],
        &["-L", "native=/other"],
        &["--remap-path-prefix=/a=/b"],
        &["-Ctarget-cpu=native"],
        &["-Clink-arg=x"],
    ] {
        assert_ne!(key(other), plain, "{other:?}");
    }
    assert_ne!(key(&["-Aunused"]), key(&["-Dunused"]));
    assert_ne!(
        key(&["--cfg", "a", "--cfg", "b"]),
        key(&["--cfg", "b", "--cfg", "a"])
    );
    assert_ne!(
        key(&["--remap-path-prefix=/home/alice/ws/x=/b"]),
        key(&["--remap-path-prefix=x=/b"]),
        "a relative prefix is compared with relative names"
    );
    assert_eq!(
        key(&["-Copt-level=3"]),
        key(&["--codegen", "opt-level=3"]),
        "one spelling"
    );
}

#[test]
fn the_last_target_cpu_counts() {
    let cpu = |arguments: &[&str]| {
        let mut inv = captured("workspace member");
        inv.argv.extend(arguments.iter().map(OsString::from));
        unit(&inv).cpu_native
    };
    assert!(cpu(&["-Ctarget-cpu=native"]));
    assert!(cpu(&["-C", "target_cpu=native"]));
    assert!(!cpu(&["-Ctarget-cpu=native", "-Ctarget-cpu=x86-64-v3"]));
}

#[test]
fn a_poisoned_environment_is_stayed_away_from() {
    let class = |name: &str, value: &str| {
        let mut inv = captured("workspace member");
        inv.env.retain(|(n, _)| n != name);
        inv.env.push((name.into(), value.into()));
        class_name(&classify(&inv))
    };
    assert_eq!(class("LD_PRELOAD", "/x.so"), "env-preload");
    assert_eq!(class("LD_PRELOAD", ""), "compile");
    assert_eq!(class("LD_AUDIT", "/x.so"), "env-preload");
    assert_eq!(class("COMPILER_PATH", "/x"), "env-tool-path");
    assert_eq!(class("GCC_EXEC_PREFIX", "/x"), "env-tool-path");
    assert_eq!(class("RUSTC_LOG", "info"), "env-compiler-log");
    assert_eq!(class("RUSTC_OVERRIDE_VERSION_STRING", "1"), "env-compiler");
    assert_eq!(
        class("LD_LIBRARY_PATH", "/opt/cuda/lib64"),
        "env-library-path"
    );
    assert_eq!(
        class("LD_LIBRARY_PATH", "/home/alice/out/debug/deps"),
        "compile"
    );
    assert_eq!(
        class("LD_LIBRARY_PATH", "/home/alice/out/../x"),
        "env-library-path"
    );
    assert_eq!(
        class("LD_LIBRARY_PATH", "/home/alice/out/debug/deps:"),
        "env-library-path",
        "an empty component is the working directory"
    );
    assert_eq!(
        class("LD_LIBRARY_PATH", &format!("{SYSROOT}/lib")),
        "compile"
    );
}

#[test]
fn what_is_not_rustc_runs_untouched() {
    let mut inv = captured("workspace member");
    inv.argv[0] = "/opt/my-rustc-wrapper".into();
    assert_eq!(class_name(&classify(&inv)), "unknown-compiler");
    inv.argv.clear();
    assert_eq!(class_name(&classify(&inv)), "unknown-compiler");
    let mut inv = captured("workspace member");
    inv.argv.push(OsString::from_vec(b"--cfg=\xff".to_vec()));
    assert_eq!(class_name(&classify(&inv)), "not-utf8");
}
