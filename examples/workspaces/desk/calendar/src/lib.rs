//! Days, weekdays, weeks, and the many ways in which people write a date.
//!
//! What enters: numbers. What leaves: numbers and text. It must never ask for
//! today's date: the same input gives the same text, on every desk.

mod proof;
mod style;

pub use style::{Style, all_styles};

use std::fmt;

/// A day, counted from 1970-01-01 of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All seven, Monday first (ISO 8601).
    pub const ALL: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
}

impl Day {
    /// From year, month (1 to 12) and day of the month (1 to 31).
    /// The arithmetic is Howard Hinnant's `days_from_civil`.
    pub const fn from_date(year: i32, month: u32, day: u32) -> Day {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let shifted = (month as i32 + 9) % 12;
        let day_of_year = (153 * shifted + 2) / 5 + day as i32 - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Day(era * 146_097 + day_of_era - 719_468)
    }

    /// Year, month and day of the month (`civil_from_days`).
    pub const fn date(self) -> (i32, u32, u32) {
        let shifted = self.0 + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
        let month = (month_shifted + 2) % 12 + 1;
        let year = era * 400 + year_of_era + (month <= 2) as i32;
        (year, month as u32, day as u32)
    }

    /// The day of the week; 1970-01-01 was a Thursday.
    pub const fn weekday(self) -> Weekday {
        Weekday::ALL[(self.0 + 3).rem_euclid(7) as usize]
    }

    /// The Monday of this day's week.
    pub const fn monday(self) -> Day {
        Day(self.0 - self.weekday() as i32)
    }

    /// So many days later.
    pub const fn plus(self, days: i32) -> Day {
        Day(self.0 + days)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_a_thursday() {
        assert_eq!(Day::from_date(1970, 1, 1), Day(0));
        assert_eq!(Day(0).weekday(), Weekday::Thursday);
    }

    #[test]
    fn a_leap_day_is_followed_by_march() {
        assert_eq!(
            Day::from_date(2032, 2, 29).plus(1).to_string(),
            "2032-03-01"
        );
    }

    #[test]
    fn every_style_writes_day_and_year() {
        let day = Day::from_date(2031, 5, 7);
        let styles = all_styles();
        assert!(styles.len() > 50);
        for style in styles {
            let text = (style.write)(day);
            assert!(text.contains('7') && text.contains("31"), "{text}");
        }
    }
}
