//! Seconds since 1970 as a date and time of day.
//!
//! Enters: a number that may be anybody's. Leaves: text. Must never happen here: a clock.

/// As RFC 3339 has it, in UTC.
#[must_use]
pub fn rfc3339(since_1970: u64) -> String {
    // Days to a date after Howard Hinnant, "chrono-compatible low-level date algorithms".
    let (days, second) = (since_1970 / 86_400, since_1970 % 86_400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second % 3600 / 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
