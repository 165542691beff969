//! What an earlier restore put in its place stays there, as long as nobody touched it (31, 34).

use super::ground::Place;
use super::lent::{damage, inode, place, said};
use crate::harness::Dev;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

/// Something done to a file.
type Touch<'a> = &'a dyn Fn(&Path);

/// Saves the library's source without a change.
fn save(place: &Place<'_>) {
    let source = File::options().append(true).open(place.l("src/lib.rs"));
    source.unwrap().set_modified(SystemTime::now()).unwrap();
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

/// Compiles the library and restores it; one of its files.
fn restored(place: &Place<'_>) -> std::path::PathBuf {
    assert_eq!(place.fresh(), said("1 miss"));
    assert_eq!(place.fresh(), said("1 hit"));
    place.dep("libl-", ".rmeta")
}

#[test]
fn a_file_saved_without_a_change_gives_outputs_a_new_time_and_nothing_else() {
    let alice = Dev::new("alice");
    let (lent, mut copied) = (place(&alice, "lent"), place(&alice, "copied"));
    copied.args.clear();
    restored(&lent);
    assert_eq!(copied.fresh(), said("1 hit"));
    for here in [&lent, &copied] {
        let rmeta = here.dep("libl-", ".rmeta");
        let (was, at) = (inode(&rmeta), modified(&rmeta));
        save(here);
        assert_eq!(here.again(), said("1 hit"));
        assert_eq!(inode(&rmeta), was, "it was there");
        assert!(modified(&rmeta) > at, "and is new to cargo");
        here.nothing_left();
    }
}

#[test]
fn what_was_touched_is_put_in_place_anew() {
    let alice = Dev::new("alice");
    let mut here = place(&alice, "here");
    here.args.clear();
    let rmeta = restored(&here);
    let bytes = fs::read(&rmeta).unwrap();
    let moded = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    let named = |path: &Path| fs::hard_link(path, alice.path("another-name")).unwrap();
    let touches: [(&str, Touch<'_>); 3] = [
        ("written to", &damage),
        ("its mode", &moded),
        ("its name", &named),
    ];
    for (touched, touch) in touches {
        let was = inode(&rmeta);
        touch(&rmeta);
        save(&here);
        assert_eq!(here.again(), said("1 hit"), "{touched}");
        assert_ne!(inode(&rmeta), was, "{touched}");
        assert_eq!(fs::read(&rmeta).unwrap(), bytes, "{touched}");
        let mode = fs::metadata(&rmeta).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{touched}");
        here.nothing_left();
    }
}
