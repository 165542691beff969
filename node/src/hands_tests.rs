//! Who passes for qwrap, and who does not.

use super::linux::executable;
use super::*;

const MAPS: &str = "\
55d0-55d1 r--p 00000000 fe:00 11 /opt/q/qwrap
55d1-55d2 r-xp 00001000 fe:00 11 /opt/q/qwrap
7f00-7f01 r-xp 00000000 fe:00 12 /usr/lib/libc.so.6
7f01-7f02 r-xp 00000000 fe:00 13 /tmp/with blank/evil.so (deleted)
7f02-7f03 rwxp 00000000 00:00 0 
7ffc-7ffd rw-p 00000000 00:00 0                          [stack]
7ffe-7fff r-xp 00000000 00:00 0                          [vdso]";

#[test]
fn what_is_executable_is_listed_with_what_has_no_file() {
    let found: Vec<&str> = executable(MAPS).collect();
    let evil = "/tmp/with blank/evil.so";
    assert_eq!(found, ["/opt/q/qwrap", "/usr/lib/libc.so.6", evil, ""]);
}

#[test]
fn this_test_is_another_program_than_qwrap_or_has_none_beside_it() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let why = Hands::default().look(&ours).unwrap_err();
    assert!(
        matches!(why, Foreign::Program | Foreign::NoWrapper),
        "{why}"
    );
}
