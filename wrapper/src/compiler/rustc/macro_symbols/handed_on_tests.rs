//! Programs by rustc and the C compiler, looked through.

use super::super::standard::tests::own_standard;
use super::*;
use std::process::Command;

fn compiled(with: &[&str], name: &str, text: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), text).unwrap();
    let mut command = Command::new(with[0]);
    command.args(&with[1..]).args(["-o", "m", name]);
    let done = command.current_dir(dir.path()).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    std::fs::read(dir.path().join("m")).unwrap()
}

/// What a program with this in `main` does, with and without optimisation.
#[track_caller]
fn hands_on(main: &str, expected: bool) {
    let text = format!("use std::process::Command;\nfn main() {{ {main} }}\n");
    for with in [&["rustc"][..], &["rustc", "-O"], &["rustc", "-g"]] {
        let program = compiled(with, "m.rs", &text);
        let handed_on = only_handed_on(&program, &|| None);
        assert_eq!(handed_on, expected, "{with:?}: {main}");
        let mut stripped = with.to_vec();
        stripped.push("-Cstrip=symbols");
        let program = compiled(&stripped, "m.rs", &text);
        assert!(!only_handed_on(&program, &|| None), "{stripped:?}: {main}");
        let handed_on = only_handed_on(&program, &|| Some(own_standard()));
        assert_eq!(handed_on, expected, "{stripped:?}: {main}");
    }
}

const STARTING: &str = "let mut c = Command::new(\"true\");\n\
    c.env(\"A\", \"b\").env_remove(\"C\"); println!(\"{:?}\", c.output());\n\
    let _ = (Command::new(\"x\").status(), Command::new(\"x\").spawn());\n\
    use std::os::unix::process::CommandExt; println!(\"{}\", Command::new(\"y\").exec());";

#[test]
fn starting_programs_hands_the_environment_on() {
    hands_on("let _ = Command::new(\"true\").status();", true);
    hands_on(STARTING, true);
}

#[test]
fn looking_at_all_variables_is_something_else() {
    for way in [
        "println!(\"{}\", std::env::vars().count());",
        "println!(\"{:?}\", std::env::vars_os());",
        "let f: fn() -> _ = std::env::vars_os; println!(\"{}\", std::hint::black_box(f)().count());",
        "static F: fn() -> std::env::VarsOs = std::env::vars_os;\n\
         println!(\"{}\", std::hint::black_box(&F)().count());",
        "unsafe extern \"C\" { static environ: *const *const u8; }\n\
         println!(\"{:?}\", unsafe { environ });",
        "unsafe extern \"C\" { static environ: *const *const u8; }\n\
         struct P(*const *const *const u8); unsafe impl Sync for P {}\n\
         static E: P = P(&raw const environ); println!(\"{:?}\", std::hint::black_box(&E).0);",
        "unsafe extern \"C\" { static environ: *const *const u8; }\n\
         struct P(*const *const *const u8); unsafe impl Sync for P {}\n\
         static E: [P; 2] = [P(std::ptr::null()), P(&raw const environ)];\n\
         println!(\"{:?}\", std::hint::black_box(&E)[std::env::args().count()].0);",
    ] {
        hands_on(way, false);
        hands_on(&format!("{STARTING}\n{way}"), false);
    }
}

#[test]
fn what_is_not_understood_hands_nothing_on() {
    let whole = "#include <unistd.h>\nextern char **environ; int main(void) { return !environ; }";
    let only_handed_on = |program: &[u8]| only_handed_on(program, &|| Some(own_standard()));
    assert!(!only_handed_on(&compiled(&["cc"], "m.c", whole)));
    let fixed = compiled(&["cc", "-no-pie"], "m.c", whole);
    assert!(!only_handed_on(&fixed));
    assert!(!only_handed_on(b""));
    let text = "fn main() { let _ = std::process::Command::new(\"true\").status(); }";
    let whole = compiled(&["rustc"], "m.rs", text);
    assert!(only_handed_on(&whole));
    let stripped = compiled(&["rustc", "-Cstrip=symbols"], "m.rs", text);
    assert!(only_handed_on(&stripped));
    damaged(&whole, &only_handed_on);
    damaged(&stripped, &only_handed_on);
}

fn damaged(whole: &[u8], only_handed_on: &dyn Fn(&[u8]) -> bool) {
    for cut in (0..whole.len()).step_by(whole.len() / 53) {
        assert!(!only_handed_on(&whole[..cut]), "cut to {cut}");
        let mut damaged = whole.to_vec();
        let until = damaged.len().min(cut + 8);
        damaged[cut..until].fill(0xff);
        let _ = only_handed_on(&damaged);
    }
}
