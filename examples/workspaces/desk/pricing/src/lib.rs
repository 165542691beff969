//! What a desk costs: a list for each zone and term, by day and hour.
//!
//! What enters: zone, term, day and hour. What leaves: an amount in euro. The
//! lists are computed while they are compiled, which is where this crate's
//! compile time goes; nothing here may depend on when that happens.

mod tariff;

use desk_calendar::{Day, Weekday};
use desk_model::Zone;
use desk_money::{Amount, EUR};

/// How long a desk is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    Morning,
    Afternoon,
    Day,
    Week,
    Month,
}

/// The price of a desk in that zone, from that hour on.
pub fn price(zone: Zone, term: Term, day: Day, hour: u8) -> Amount<EUR> {
    let new_year = Day::from_date(day.date().0, 1, 1);
    let day_of_year = day.0.abs_diff(new_year.0) as usize;
    let cents = i64::from(tariff::cents(zone, term, day_of_year, usize::from(hour)));
    let surcharge = match day.weekday() {
        Weekday::Tuesday | Weekday::Wednesday => cents / 10,
        _ => 0,
    };
    Amount::of_minor(cents + surcharge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_desk_costs_more_than_a_plain_one() {
        let day = Day::from_date(2031, 5, 5);
        for hour in 0..24 {
            let quiet = price(Zone::Quiet, Term::Day, day, hour);
            assert!(quiet > price(Zone::Plain, Term::Day, day, hour));
        }
    }

    #[test]
    fn no_hour_costs_less_than_half_the_zone() {
        let new_year = Day::from_date(2032, 1, 1);
        for (offset, hour) in (0..366).flat_map(|day| (0..24).map(move |hour| (day, hour))) {
            let cents = price(Zone::Plain, Term::Morning, new_year.plus(offset), hour).minor();
            assert!(
                (450..=990).contains(&cents),
                "{cents} on day {offset} at {hour}"
            );
        }
    }

    #[test]
    fn the_middle_of_the_week_has_a_surcharge() {
        let monday = Day::from_date(2031, 5, 5);
        let cheap = price(Zone::Window, Term::Week, monday, 9).minor();
        let dear = price(Zone::Window, Term::Week, monday.plus(1), 9).minor();
        assert!(dear > cheap + cheap / 20, "{dear} after {cheap}");
    }
}
