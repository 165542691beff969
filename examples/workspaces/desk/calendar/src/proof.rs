//! The calendar proves itself while it is compiled.
//!
//! What enters: nothing. What leaves: nothing; a day that does not return from
//! its date, or has the wrong weekday, stops the build. Each proof takes a few
//! decades only, because the compiler frowns upon long evaluations.

use super::Day;

/// Walks from one New Year to another, day by day.
const fn holds(from_year: i32, to_year: i32) -> bool {
    let end = Day::from_date(to_year, 1, 1).0;
    let mut day = Day::from_date(from_year, 1, 1);
    let mut weekday = day.weekday() as i32;
    while day.0 < end {
        let (year, month, number) = day.date();
        if Day::from_date(year, month, number).0 != day.0 || day.weekday() as i32 != weekday {
            return false;
        }
        day = day.plus(1);
        weekday = (weekday + 1) % 7;
    }
    true
}

macro_rules! proofs {
    ($($from:literal..$to:literal)*) => {
        $(const _: () = assert!(holds($from, $to));)*
    };
}

proofs! {
    1999..2016 2016..2033
}
