//! Gives desks to requests.
//!
//! What enters: requests for one day, the floor, and a price for each. What
//! leaves: bookings, no desk twice. Several strategies are tried and the best
//! plan wins; each strategy is compiled on its own, which is where the crate's
//! compile time goes.

mod strategy;

pub use strategy::{Plan, best_plan};

#[cfg(test)]
mod tests {
    use super::*;
    use desk_floor::plan;
    use desk_model::{Day, Request, Role, Zone};

    fn requests(count: usize) -> Vec<Request> {
        let names = ["Ada", "Bo", "Cyd", "Dee", "Eli"];
        let people = names.iter().cycle().take(count).enumerate();
        let request = |(number, person): (usize, &&'static str)| Request {
            person,
            role: Role::Engineer,
            day: Day::from_date(2031, 5, 7),
            hour: (number % 24) as u8,
            zone: Zone::ALL[number % Zone::ALL.len()],
        };
        people.map(request).collect()
    }

    #[test]
    fn no_desk_is_given_twice() {
        let plan = best_plan(&requests(18), &plan());
        let mut desks: Vec<u16> = plan.seats.iter().map(|seat| seat.1.number).collect();
        desks.sort_unstable();
        desks.dedup();
        assert_eq!(desks.len(), plan.seats.len());
    }

    #[test]
    fn a_full_floor_leaves_the_rest_without_a_desk() {
        let places = plan();
        let plan = best_plan(&requests(places.len() + 5), &places);
        assert_eq!(plan.seats.len(), places.len());
    }

    #[test]
    fn nobody_wants_anything_on_an_empty_day() {
        assert!(best_plan(&[], &plan()).seats.is_empty());
    }
}
