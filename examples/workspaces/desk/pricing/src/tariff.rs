//! The price lists: one for each zone and term, by day of the year and hour.
//!
//! What enters: zone, term, day of the year (from 0) and hour. What leaves:
//! cents. The lists are computed while this file is compiled; the program only
//! looks them up.

use super::Term;
use desk_model::Zone;

/// The days of the longest year.
pub(crate) const DAYS: usize = 366;
/// The hours of a day.
pub(crate) const HOURS: usize = 24;

type List = [[u32; HOURS]; DAYS];

/// How busy the office is on a day of the year, in percent: summer is quiet.
const fn season(day: usize) -> u32 {
    let from_midsummer = day.abs_diff(196) as u32;
    let percent = 85 + from_midsummer / 8;
    if percent > 100 { 100 } else { percent }
}

/// How wanted an hour is, in percent: late in the morning most of all.
const fn demand(hour: usize) -> u32 {
    let distance = hour.abs_diff(11) as u32;
    100 - 4 * distance
}

/// A full list. `times` and `discount` (percent) belong to the term.
const fn list(cents: u32, times: u32, discount: u32) -> List {
    let mut list = [[0; HOURS]; DAYS];
    let mut day = 0;
    while day < DAYS {
        let mut hour = 0;
        while hour < HOURS {
            let base = cents * times * (100 - discount) / 100;
            let price = base * season(day) / 100 * demand(hour) / 100;
            list[day][hour] = if price < cents / 2 { cents / 2 } else { price };
            hour += 1;
        }
        day += 1;
    }
    list
}

/// Writes one list for each pair of zone and term, and the way to find it.
macro_rules! lists {
    ([$($zone:ident $cents:literal)*] $terms:tt) => {
        /// The cell of the price list, in cents.
        pub(crate) fn cents(zone: Zone, term: Term, day: usize, hour: usize) -> u32 {
            let list = match zone {
                $(Zone::$zone => lists!(@terms $cents term $terms),)*
            };
            list[day % DAYS][hour % HOURS]
        }
    };
    (@terms $cents:literal $chosen:ident [$($term:ident $times:literal $discount:literal)*]) => {
        match $chosen {
            $(Term::$term => {
                static LIST: List = list($cents, $times, $discount);
                &LIST
            })*
        }
    };
}

lists! {
    [Quiet 1_400 Window 1_250 Plain 900 Standing 1_000]
    [Morning 1 0 Afternoon 1 5 Day 2 10 Week 10 20 Month 40 30]
}
