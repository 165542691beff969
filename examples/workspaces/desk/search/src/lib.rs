//! Questions about requests: who wants what, and when.
//!
//! What enters: requests. What leaves: how many match each prepared question. A
//! question is a type, put together from small ones; the compiler writes each
//! of them out, and this is where the crate's compile time goes.

mod question;

use desk_model::Request;
use question::questions;

/// A prepared question.
pub struct Question {
    /// Its parts, as written in the list.
    pub name: [&'static str; 3],
    /// How many requests match.
    pub count: fn(&[Request]) -> usize,
}

/// Every prepared question with its count, in the order of the list.
pub fn ask_all(requests: &[Request]) -> Vec<([&'static str; 3], usize)> {
    let asked = questions().into_iter();
    asked.map(|q| (q.name, (q.count)(requests))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use desk_model::{Day, Role, Zone};

    #[test]
    fn one_early_engineer_is_found_by_the_right_questions() {
        let requests = [Request {
            person: "Ada",
            role: Role::Engineer,
            day: Day::from_date(2031, 5, 7),
            hour: 8,
            zone: Zone::Quiet,
        }];
        let answers = ask_all(&requests);
        let count = |name: [&str; 3]| answers.iter().find(|a| a.0 == name).map(|a| a.1);
        assert_eq!(count(["Early", "InQuiet", "ByVisitor"]), Some(1));
        assert_eq!(count(["Late", "InQuiet", "ByVisitor"]), Some(0));
        assert_eq!(count(["Early", "InQuiet", "ByEngineer"]), Some(0));
    }
}
