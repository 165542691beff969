//! The observer's library on disk.

use super::*;

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("home")).unwrap();
    home.create().unwrap();
    (dir, home)
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn the_library_is_put_in_place_once_and_mended() {
    let (_dir, home) = home();
    let observer = Observer::install(&home).unwrap().expect("built here");
    let mode = fs::metadata(&observer.library).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o500);
    let again = Observer::install(&home).unwrap().unwrap();
    let known = |observer: &Observer| *observer.identity.lock().unwrap();
    assert_eq!(known(&again), known(&observer), "left as it was");
    // As perf does with what it has seen run.
    fs::hard_link(&observer.library, home.observer().join("linked")).unwrap();
    again.log().unwrap();
    fs::set_permissions(&observer.library, Permissions::from_mode(0o700)).unwrap();
    fs::write(&observer.library, b"something else").unwrap();
    assert!(again.log().is_err(), "nobody loads what was changed");
    let mended = Observer::install(&home).unwrap().unwrap();
    assert_eq!(fs::read(&mended.library).unwrap(), LIBRARY);
    mended.log().unwrap();
    // What an earlier node observes still, it writes nowhere.
    assert!(observer.log().is_err());
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn logs_are_private_and_go_with_their_compile() {
    let (_dir, home) = home();
    let observer = Observer::install(&home).unwrap().unwrap();
    let (one, two) = (observer.log().unwrap(), observer.log().unwrap());
    assert_ne!(one.path, two.path);
    let mode = fs::metadata(&one.path).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let path = one.path.clone();
    drop(one);
    assert!(!path.exists());
    assert_eq!(two.read().unwrap(), b"");
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn a_home_that_the_loader_would_split_has_no_observer() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("my home")).unwrap();
    home.create().unwrap();
    assert!(matches!(
        Observer::install(&home),
        Err(ObserverError::Path(_))
    ));
}
