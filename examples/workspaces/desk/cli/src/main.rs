//! Prints one week's desk plan.
//!
//! What enters: nothing; the requests are listed below. What leaves: text on
//! stdout, the same on every machine and from every checkout.

use desk_calendar::Day;
use desk_model::{Person, Request, Role, Zone};

const PEOPLE: [Person; 6] = [
    person("Ada", Role::Engineer),
    person("Bo", Role::Designer),
    person("Cyd", Role::Support),
    person("Dee", Role::Visitor),
    person("Eli", Role::Engineer),
    person("Fay", Role::Support),
];

const fn person(name: &'static str, role: Role) -> Person {
    Person { name, role }
}

/// Every person asks for a few days of the week, each with habits of their own.
fn requests(monday: Day) -> Vec<Request> {
    let mut requests = Vec::new();
    for (number, person) in PEOPLE.iter().enumerate() {
        for day in (0..5).filter(|day| (day + number) % 3 != 0) {
            requests.push(Request {
                person: person.name,
                role: person.role,
                day: monday.plus(day as i32),
                hour: (7 + (number * 2 + day) % 11) as u8,
                zone: Zone::ALL[(number + day) % Zone::ALL.len()],
            });
        }
    }
    requests
}

/// Everything that the program prints.
fn output() -> String {
    let monday = Day::from_date(2031, 4, 28);
    let report = desk_report::week(monday, &requests(monday), &desk_floor::plan());
    format!(
        "{report}floor: {} cells, index: {}, currencies: {}, desk {}\n",
        desk_floor::area_sum(),
        desk_index::self_check(),
        desk_money::CODES.len(),
        env!("CARGO_PKG_VERSION"),
    )
}

fn main() {
    print!("{}", output());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_the_same_on_every_machine() {
        assert_eq!(output(), include_str!("../data/output.txt"));
    }

    #[test]
    fn everybody_asks_for_at_least_three_days() {
        let asked = requests(Day::from_date(2031, 4, 28));
        for person in &PEOPLE {
            let days = asked.iter().filter(|r| r.person == person.name).count();
            assert!(days >= 3, "{} asks for {days} days", person.name);
        }
    }
}
