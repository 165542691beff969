//! What looks show, without a compiler.

use super::*;

#[test]
fn a_listing_is_its_names_and_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("a"), "1").unwrap();
    let one = sight(at, Look::List).unwrap();
    fs::write(at.join("a"), "2").unwrap();
    assert_eq!(sight(at, Look::List), Some(one), "contents are not listed");
    fs::write(at.join("b"), "").unwrap();
    let two = sight(at, Look::List).unwrap();
    assert_ne!(one, two);
    fs::remove_file(at.join("b")).unwrap();
    fs::create_dir(at.join("b")).unwrap();
    assert_ne!(sight(at, Look::List), Some(two), "a directory is no file");
    assert_eq!(listing(at, 1), None, "more than may be listed");
}

#[test]
fn a_link_is_nothing_to_see() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    std::os::unix::fs::symlink("d", dir.path().join("l")).unwrap();
    let see = |name: &str| sight(&dir.path().join(name), Look::Kind);
    assert_eq!(see("d"), Some(Sight::Directory));
    assert_eq!(see("l"), None);
    assert_eq!(see("none"), None);
}

#[test]
fn a_peer_lists_so_much_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..=LISTING_MAX / 4 {
        fs::write(dir.path().join(n.to_string()), "").unwrap();
    }
    let looks = |count: usize| -> Vec<_> {
        let looks = (0..count).map(|n| (n.to_string(), Look::List));
        looks.collect()
    };
    let ask = |count, tier| predicted(&looks(count), tier, |_| Some(dir.path().to_owned()), sight);
    assert!(ask(3, Tier::Peers).is_some());
    assert!(ask(4, Tier::Peers).is_none());
    assert!(ask(4, Tier::Local).is_some());
}

#[test]
fn names_of_vouched_macros_are_whole() {
    let file = |name: &str| FileInput {
        name: name.into(),
        digest: Some(Digest::of(name.as_bytes())),
    };
    let observing = Observing::new(None, &["my-macro".into()]);
    let macros = [file("libmy_macro-0123.so"), file("libmy_macros-0123.so")];
    assert_eq!(observing.pure(&macros), [macros[0].digest.unwrap()]);
}

#[test]
fn what_the_kernel_makes_up_is_not_all_that_lies_below_dev() {
    for (path, made_up) in [
        ("/proc/self/stat", true),
        ("/dev/tty", true),
        ("/dev/shm/ws/a.txt", false),
        ("/development/a.txt", false),
    ] {
        assert_eq!(of_the_kernel(Path::new(path)), made_up, "{path}");
    }
}
