//! Launchers: what stands in place of a build script's program, so that its runs can be cached.
//!
//! Enters: the program that a compile left or a restore put there, and qwrap's path. Leaves: the
//! same program beside its place under a name of its own, and the launcher (`launch/launch.rs`,
//! embedded) in its place. Cargo links and runs that; it hands over to qwrap, or, where qwrap is
//! gone or `QUARRY=off`, becomes the program. Must never happen here: a moment in which nothing
//! that works stands in the place; a launcher stored or compared in place of the program.

use crate::busy;
use crate::pipeline::temporary;
use rustix::fs::Mode;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The program; empty where this platform has none.
static LAUNCHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/launch"));
/// Stands at the beginning of the slot; the names follow, each with a null, in places of a fixed
/// length.
const MARK: &[u8] = b"QUARRY-LAUNCH-1\0";
const NAME_MAX: usize = 256;
const QWRAP_MAX: usize = 4096;
/// What the script's own program is called: its place's name with this behind it.
const SUFFIX: &str = ".script";

/// The program's own place beside a launcher's.
#[must_use]
pub fn beside(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// The launcher for a script that lies beside it under this name. `None` where there is none for
/// this platform, or a name is too long.
fn launcher(name: &OsStr, qwrap: &Path) -> Option<Vec<u8>> {
    let at = memchr::memmem::find(LAUNCHER, MARK)?;
    let mut bytes = LAUNCHER.to_vec();
    let slot = bytes.get_mut(at + MARK.len()..)?;
    let (name_slot, rest) = slot.split_at_mut_checked(NAME_MAX)?;
    let qwrap_slot = rest.get_mut(..QWRAP_MAX)?;
    for (slot, text) in [
        (name_slot, name.as_bytes()),
        (qwrap_slot, qwrap.as_os_str().as_bytes()),
    ] {
        if text.is_empty() || text.len() >= slot.len() || text.contains(&0) {
            return None;
        }
        slot[..text.len()].copy_from_slice(text);
    }
    Some(bytes)
}

/// Whether a program can be given a launcher on this platform.
#[must_use]
pub fn exists() -> bool {
    !LAUNCHER.is_empty()
}

/// Puts the program that stands in `place` beside it, and a launcher there. Where anything fails
/// the program stays where it is.
///
/// # Errors
/// What the filesystem said; `Unsupported` where there is no launcher for this.
pub fn put(place: &Path, qwrap: &Path) -> io::Result<()> {
    let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
    let dir = place.parent().ok_or_else(unsupported)?;
    let real = beside(place);
    let name: OsString = real.file_name().ok_or_else(unsupported)?.to_owned();
    let bytes = launcher(&name, qwrap).ok_or_else(unsupported)?;
    let mode = fs::symlink_metadata(place)?.mode() & 0o777;
    let at = temporary(dir, "launch");
    let written = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).open(&at)?;
        file.write_all(&bytes)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        drop(file);
        match fs::remove_file(&real) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs::hard_link(place, &real)?;
        fs::rename(&at, place)?;
        busy::wait(place);
        Ok(())
    };
    written().inspect_err(|_| {
        let _ = fs::remove_file(&at);
    })
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    const WRAPPED: [(&str, &str); 1] = [("RUSTC_WRAPPER", "qwrap")];

    fn program(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn said(path: &Path, env: &[(&str, &str)]) -> String {
        let mut command = Command::new(path);
        let env = env.iter().copied();
        command
            .arg("one")
            .env_remove("QUARRY")
            .env_remove("RUSTC_WRAPPER")
            .envs(env);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }

    #[test]
    fn a_launcher_hands_over_to_qwrap_and_else_becomes_the_script() {
        let dir = tempfile::tempdir().unwrap();
        let (place, qwrap) = (dir.path().join("script-1"), dir.path().join("qwrap"));
        program(&place, "#!/bin/sh\necho the script $1");
        program(&qwrap, "#!/bin/sh\necho qwrap $1 $2 $3 $4");
        put(&place, &qwrap).unwrap();
        let linked = dir.path().join("build-script-build");
        fs::hard_link(&place, &linked).unwrap();
        let real = dir.path().join("script-1.script");
        assert_eq!(
            said(&linked, &WRAPPED),
            format!(
                "qwrap --script {} {} one\n",
                real.display(),
                linked.display()
            )
        );
        for env in [
            [].as_slice(),
            &[("RUSTC_WRAPPER", "")],
            &[WRAPPED[0], ("QUARRY", "off")],
        ] {
            assert_eq!(said(&linked, env), "the script one\n", "{env:?}");
        }
        fs::remove_file(&qwrap).unwrap();
        assert_eq!(said(&linked, &WRAPPED), "the script one\n");
        let moved = tempfile::tempdir().unwrap();
        for name in ["build-script-build", "script-1.script"] {
            fs::copy(dir.path().join(name), moved.path().join(name)).unwrap();
        }
        assert_eq!(
            said(&moved.path().join("build-script-build"), &WRAPPED),
            "the script one\n",
            "wherever it was copied to"
        );
    }

    #[test]
    fn names_that_do_not_fit_leave_the_program_alone() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("script");
        program(&place, "#!/bin/sh\necho mine");
        let long = PathBuf::from(format!("/{}", "x".repeat(QWRAP_MAX)));
        assert!(put(&place, &long).is_err());
        assert_eq!(said(&place, &WRAPPED), "mine\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
