//! Who may come when: the office's rules, several policies, asked in turn.
//!
//! What enters: a request. What leaves: a verdict with its reason. The
//! policies are proved for every role and hour of a year while they are compiled,
//! which is where this crate's compile time goes. A day on which the office is
//! closed is never allowed.

mod policy;

pub use policy::{POLICIES, Verdict};

use desk_holidays::{holiday, is_open};
use desk_model::Request;

/// The verdict of all policies together: the first refusal, or the last word.
pub fn decide(request: &Request) -> Verdict {
    if let Some(name) = holiday(request.day) {
        return Verdict::Refused(name);
    }
    if !is_open(request.day) {
        return Verdict::Refused("weekend");
    }
    let verdicts = POLICIES
        .iter()
        .map(|policy| (policy.verdict)(request.role, request.day.weekday(), request.hour));
    let mut last = Verdict::Allowed(0);
    for verdict in verdicts {
        last = last.and(verdict);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use desk_model::{Role, Zone};

    fn request(month: u32, day: u32, hour: u8) -> Request {
        Request {
            person: "Ada",
            role: Role::Engineer,
            day: desk_day(month, day),
            hour,
            zone: Zone::Quiet,
        }
    }

    fn desk_day(month: u32, day: u32) -> desk_model::Day {
        desk_model::Day::from_date(2031, month, day)
    }

    #[test]
    fn a_holiday_is_refused_by_name() {
        assert_eq!(decide(&request(5, 1, 9)), Verdict::Refused("Labour Day"));
    }

    #[test]
    fn a_sunday_is_refused() {
        assert_eq!(decide(&request(5, 4, 9)), Verdict::Refused("weekend"));
    }

    #[test]
    fn a_morning_is_allowed_and_the_night_is_not() {
        assert!(matches!(decide(&request(5, 7, 9)), Verdict::Allowed(_)));
        assert_eq!(decide(&request(5, 7, 3)), Verdict::Refused("night"));
    }
}
