//! A week's plan as text.
//!
//! What enters: requests and the floor. What leaves: the report that the program
//! prints. The same requests must give the same text everywhere.

use std::fmt::Write as _;

use desk_calendar::{Day, all_styles};
use desk_floor::Place;
use desk_model::{Booking, Describe, Request, Zone};
use desk_money::{Amount, CHF, EUR, Exchange, USD};
use desk_planner::best_plan;
use desk_pricing::{Term, price};
use desk_rules::{Verdict, decide};
use desk_text::Language;

/// The whole report for the week of that Monday.
pub fn week(monday: Day, requests: &[Request], places: &[Place]) -> String {
    let mut text = desk_text::banner(&desk_text::week_of(Language::English, &monday.to_string()));
    let mut bookings = Vec::new();
    for offset in 0..5 {
        let day = monday.plus(offset);
        text.push_str(&one_day(day, requests, places, &mut bookings));
    }
    text.push('\n');
    let total = bookings
        .iter()
        .try_fold(Amount::of_minor(0), |sum, b| b.price.plus(sum));
    for language in Language::ALL {
        let seated = desk_text::seated(language, bookings.len(), requests.len());
        let amount = total.map_or_else(|| "?".to_owned(), in_three_currencies);
        line(
            &mut text,
            &format!("{seated}. {}", desk_text::total(language, &amount)),
        );
    }
    text.push_str(&figures(monday, requests, &bookings));
    text
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

fn in_three_currencies(total: Amount<EUR>) -> String {
    let dollars: Option<Amount<USD>> = total.exchange();
    let francs: Option<Amount<CHF>> = total.exchange();
    match (dollars, francs) {
        (Some(dollars), Some(francs)) => format!("{total} = {dollars} = {francs}"),
        _ => total.to_string(),
    }
}

/// One day: refusals by rule, then the seats of the best plan.
fn one_day(
    day: Day,
    requests: &[Request],
    places: &[Place],
    bookings: &mut Vec<Booking>,
) -> String {
    let mut text = String::new();
    let mut welcome = Vec::new();
    for request in requests.iter().filter(|request| request.day == day) {
        match decide(request) {
            Verdict::Allowed(_) => welcome.push(request.clone()),
            Verdict::Refused(why) => {
                let said = desk_text::refused(Language::English, &request.describe(), why);
                line(&mut text, &said);
            }
        }
    }
    let plan = best_plan(&welcome, places);
    for (number, place) in &plan.seats {
        let request = &welcome[*number];
        let zone = Zone::from_mark(place.mark).unwrap_or(request.zone);
        let booking = Booking {
            person: request.person,
            day,
            desk: place.number,
            zone,
            price: price(zone, Term::Day, day, request.hour),
        };
        line(&mut text, &booking.describe());
        bookings.push(booking);
    }
    text
}

/// Checksums over what the other crates compute, so that the program depends
/// on every one of them.
fn figures(monday: Day, requests: &[Request], bookings: &[Booking]) -> String {
    let mut text = String::new();
    let bytes = bookings.iter().flat_map(desk_export::booking);
    let checksum = bytes.fold(7_u32, |sum, byte| sum.rotate_left(5) ^ u32::from(byte));
    let styles = all_styles();
    let written: usize = styles.iter().map(|style| (style.write)(monday).len()).sum();
    let answers = desk_search::ask_all(requests);
    let matches: usize = answers.iter().map(|answer| answer.1).sum();
    let (good, all) = desk_export::round_trips();
    let _ = writeln!(text, "dates: {} styles, {written} bytes", styles.len());
    let _ = writeln!(
        text,
        "questions: {} asked, {matches} matches",
        answers.len()
    );
    let _ = writeln!(
        text,
        "export: {good} of {all} shapes, checksum {checksum:08x}"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use desk_model::Role;

    #[test]
    fn a_holiday_has_no_booking() {
        let labour_day = Day::from_date(2031, 5, 1);
        let requests = [Request {
            person: "Ada",
            role: Role::Engineer,
            day: labour_day,
            hour: 9,
            zone: Zone::Quiet,
        }];
        let text = week(labour_day.monday(), &requests, &desk_floor::plan());
        assert!(text.contains("refused (Labour Day)"), "{text}");
        assert!(text.contains("0 of 1 requests have a desk"), "{text}");
    }
}
