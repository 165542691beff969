//! The days on which the office is closed.
//!
//! What enters: the table that the build script wrote from `data/holidays.txt`.
//! What leaves: an answer for a day. The table is named by a path under
//! `OUT_DIR` and the path itself must never become part of the program.

use desk_calendar::{Day, Weekday};

include!(concat!(env!("OUT_DIR"), "/holidays.rs"));

/// The name of the holiday on that day, if it is one.
pub fn holiday(day: Day) -> Option<&'static str> {
    let (year, month, number) = day.date();
    HOLIDAYS
        .binary_search_by_key(&(year, month, number), |&(y, m, d, _)| (y, m, d))
        .ok()
        .map(|place| HOLIDAYS[place].3)
}

/// Whether the office is open: no weekend, no holiday.
pub fn is_open(day: Day) -> bool {
    !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) && holiday(day).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn christmas_is_closed_and_the_day_before_is_open() {
        let christmas = Day::from_date(2031, 12, 25);
        assert_eq!(holiday(christmas), Some("Christmas Day"));
        assert!(!is_open(christmas));
        assert!(is_open(christmas.plus(-1)));
    }

    #[test]
    fn every_holiday_is_found() {
        for &(year, month, day, name) in HOLIDAYS {
            assert_eq!(holiday(Day::from_date(year, month, day)), Some(name));
        }
    }
}
