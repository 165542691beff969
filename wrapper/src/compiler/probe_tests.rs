//! Compilers told apart, on a copy of the real sysroot.

use super::{Compilers, ProbeError};
use crate::compiler::rustc::testing::{Checkout, sysroot};
use crate::digests::FileDigests;
use crate::invocation::Invocation;
use quarry_trust::Digest;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Real digests, counted.
#[derive(Default)]
struct Counting(AtomicUsize);

impl FileDigests for Counting {
    fn digest(&self, path: &Path) -> io::Result<Digest> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Digest::of(&fs::read(path)?))
    }
}

/// Copies every file of the sysroot that a compiler consists of.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &copy);
        } else {
            // A hardlink would change the times of what other tests look at.
            fs::copy(&source, &copy).unwrap();
        }
    }
}

fn copy_of_sysroot(to: &Path) {
    copy_tree(&sysroot().join("lib"), &to.join("lib"));
    fs::create_dir_all(to.join("bin")).unwrap();
    fs::copy(sysroot().join("bin/rustc"), to.join("bin/rustc")).unwrap();
}

fn invocation(checkout: &Checkout, compiler: &Path) -> Invocation {
    let mut inv = checkout.invocation();
    inv.argv[0] = compiler.into();
    inv
}

#[test]
fn a_compiler_is_its_files_wherever_they_lie() {
    let checkout = Checkout::new("p", &[("src/lib.rs", "")]);
    let copy = checkout.path().join("tool chain");
    copy_of_sysroot(&copy);
    let (compilers, files) = (Compilers::new(), Counting::default());
    let unit = checkout.unit().0;
    let identify = |compiler: PathBuf| {
        compilers
            .identify(&invocation(&checkout, &compiler), &unit, &files)
            .unwrap()
    };
    let real = identify(sysroot().join("bin/rustc"));
    let asked = files.0.load(Ordering::Relaxed);
    assert!(asked > 20, "rustc, driver, LLVM, std");
    assert_eq!(identify(sysroot().join("bin/rustc")), real);
    assert_eq!(files.0.load(Ordering::Relaxed), asked, "remembered");
    let moved = identify(copy.join("bin/rustc"));
    assert_eq!(moved.sysroot, copy);
    assert_eq!(moved.identity, real.identity, "the same compiler elsewhere");
    assert_eq!(moved.commit_hash.len(), 40);
    assert!(moved.verbose_version.contains(&moved.release));

    // One library of std changes behind the same version string.
    let std = copy.join("lib/rustlib").join(&real.host).join("lib");
    let library = fs::read_dir(&std)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("libcfg_if")
        })
        .unwrap();
    let mut bytes = fs::read(&library).unwrap();
    fs::remove_file(&library).unwrap();
    bytes.push(0);
    fs::write(&library, bytes).unwrap();
    let changed = identify(copy.join("bin/rustc"));
    assert_eq!(changed.verbose_version, real.verbose_version);
    assert_ne!(changed.identity, real.identity);

    // A backend comes beside it.
    let backends = copy
        .join("lib/rustlib")
        .join(&real.host)
        .join("codegen-backends");
    fs::create_dir_all(&backends).unwrap();
    fs::write(backends.join("librustc_codegen_other.so"), "x").unwrap();
    assert_ne!(identify(copy.join("bin/rustc")).identity, changed.identity);
    assert_eq!(
        identify(sysroot().join("bin/rustc")).identity,
        real.identity
    );
}

#[test]
fn the_system_that_a_compiler_runs_on_is_no_further_target() {
    let checkout = Checkout::new("p", &[("src/lib.rs", "")]);
    let (compilers, files) = (Compilers::new(), Counting::default());
    let path = sysroot().join("bin/rustc");
    let inv = invocation(&checkout, &path);
    let identify = |compilers: &Compilers, target: Option<&str>| {
        compilers.identify_named(&inv, path.as_os_str(), target, &files)
    };
    let own = identify(&compilers, None).unwrap();
    let digested = files.0.load(Ordering::Relaxed);
    let named = identify(&compilers, Some(&own.host)).unwrap();
    assert!(
        Arc::ptr_eq(&named, &own),
        "it is the one that is remembered"
    );
    assert_eq!(files.0.load(Ordering::Relaxed), digested);
    assert_eq!(*identify(&Compilers::new(), Some(&own.host)).unwrap(), *own);
    let other = identify(&compilers, Some("none-unknown-none"));
    assert!(matches!(other, Err(ProbeError::Files { .. })), "{other:?}");
}

#[test]
fn the_caller_decides_which_compiler_a_bare_name_means() {
    let checkout = Checkout::new("p", &[("src/lib.rs", "")]);
    let (compilers, files) = (Compilers::new(), Counting::default());
    let unit = checkout.unit().0;
    let mut inv = checkout.invocation();
    let by_name = compilers.identify(&inv, &unit, &files).unwrap();
    assert_eq!(
        by_name.sysroot,
        sysroot(),
        "through the caller's PATH, proxy or not"
    );
    inv.env.retain(|(name, _)| name != "PATH");
    inv.env.push(("PATH".into(), checkout.path().into()));
    let got = compilers.identify(&inv, &unit, &files);
    assert!(matches!(got, Err(ProbeError::NotFound(_))));
}

#[test]
fn a_script_in_front_of_a_compiler_is_not_that_compiler() {
    use std::os::unix::fs::PermissionsExt;
    let checkout = Checkout::new("p", &[("src/lib.rs", "")]);
    let script = checkout.path().join("rustc");
    let real = sysroot().join("bin/rustc");
    fs::write(
        &script,
        format!("#!/bin/sh\nexec '{}' \"$@\"\n", real.display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let inv = invocation(&checkout, &script);
    let got = Compilers::new().identify(&inv, &checkout.unit().0, &Counting::default());
    assert!(matches!(got, Err(ProbeError::InFront { .. })), "{got:?}");
    fs::write(&script, "#!/bin/sh\nexit 3\n").unwrap();
    let got = Compilers::new().identify(&inv, &checkout.unit().0, &Counting::default());
    assert!(matches!(got, Err(ProbeError::Answer { .. })), "{got:?}");
}

#[test]
fn native_means_this_cpu() {
    let checkout = Checkout::new("p", &[("src/lib.rs", "")]);
    let (compilers, files) = (Compilers::new(), Counting::default());
    let inv = checkout.invocation();
    let compiler = compilers
        .identify(&inv, &checkout.unit().0, &files)
        .unwrap();
    let cpu = compilers.native_cpu(&inv, &compiler).unwrap();
    assert!(cpu.lines().any(|line| line.starts_with("native")), "{cpu}");
    assert!(
        cpu.lines().any(|line| line.starts_with("target_feature")),
        "{cpu}"
    );
    assert_eq!(compilers.native_cpu(&inv, &compiler).unwrap(), cpu);
}
