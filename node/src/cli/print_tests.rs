//! How things look.

use super::*;

#[test]
fn columns_line_up_and_numbers_stand_to_the_right() {
    let rows = vec![
        vec!["alice@desk".to_owned(), "7".to_owned(), "admin".to_owned()],
        vec!["bob".to_owned(), "1234".to_owned(), String::new()],
    ];
    let expected = "NAME        KEYS  ROLE\n\
                    alice@desk     7  admin\n\
                    bob         1234";
    assert_eq!(table(&["NAME", "KEYS", "ROLE"], &rows, &[1]), expected);
}

#[test]
fn a_table_without_rows_is_its_head() {
    assert_eq!(table(&["A", "B"], &[], &[]), "A  B");
}

#[test]
fn a_member_cannot_write_on_the_terminal_with_its_name() {
    let name = "mallory\u{1b}[2J\u{202e}\r\nadmin";
    assert_eq!(clean_line(name), "mallory\u{fffd}[2J\u{fffd}\u{fffd} admin");
    assert!(!table(&["N"], &[vec![name.to_owned()]], &[]).contains('\u{1b}'));
}

#[test]
fn sizes_and_times_read_well() {
    assert_eq!(bytes(0), "0 B");
    assert_eq!(bytes(1023), "1023 B");
    assert_eq!(bytes(1536), "1.5 KiB");
    assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
    assert_eq!(bytes(20 << 30), "20.0 GiB");
    assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    assert_eq!(millis(999), "999 ms");
    assert_eq!(millis(1_050), "1.05 s");
    assert_eq!(millis(61_000), "1 min 1 s");
    assert_eq!(seconds(90_000), "1 d 1 h");
    assert_eq!(seconds(3_600), "1 h");
    assert_eq!(count(1, "entry", "entries"), "1 entry");
    assert_eq!(count(0, "entry", "entries"), "0 entries");
}

#[test]
fn dates_are_those_of_the_calendar() {
    assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
    assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
    assert_eq!(date(1_735_689_599), "2024-12-31 23:59:59 UTC");
}

#[test]
fn pairs_line_up() {
    assert_eq!(
        pairs(&[("pid", "1".into()), ("team", "desk".into())]),
        "pid   1\nteam  desk"
    );
}
