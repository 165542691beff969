//! The parts of a question, and the list of all questions.
//!
//! What enters: a request. What leaves: whether it matches. A question reads:
//! the first part holds, and the second does or nobody of the third kind asks.

use std::marker::PhantomData;

use super::Question;
use desk_model::{Request, Role, Weekday, Zone};

trait Matches {
    fn matches(request: &Request) -> bool;
}

struct And<A, B>(PhantomData<(A, B)>);
struct Or<A, B>(PhantomData<(A, B)>);
struct Not<A>(PhantomData<A>);

impl<A: Matches, B: Matches> Matches for And<A, B> {
    fn matches(request: &Request) -> bool {
        A::matches(request) && B::matches(request)
    }
}

impl<A: Matches, B: Matches> Matches for Or<A, B> {
    fn matches(request: &Request) -> bool {
        A::matches(request) || B::matches(request)
    }
}

impl<A: Matches> Matches for Not<A> {
    fn matches(request: &Request) -> bool {
        !A::matches(request)
    }
}

macro_rules! parts {
    ($($name:ident |$request:ident| $holds:expr;)*) => { $(
        struct $name;
        impl Matches for $name {
            fn matches($request: &Request) -> bool {
                $holds
            }
        }
    )* };
}

parts! {
    Early |r| r.hour < 9;
    Late |r| r.hour > 15;
    AtDawn |r| r.hour < 7;
    AtNight |r| r.hour > 19;
    AtNoon |r| (11..=13).contains(&r.hour);
    OnMonday |r| r.day.weekday() == Weekday::Monday;
    OnTuesday |r| r.day.weekday() == Weekday::Tuesday;
    OnWednesday |r| r.day.weekday() == Weekday::Wednesday;
    OnThursday |r| r.day.weekday() == Weekday::Thursday;
    OnFriday |r| r.day.weekday() == Weekday::Friday;
    InQuiet |r| r.zone == Zone::Quiet;
    InWindow |r| r.zone == Zone::Window;
    InPlain |r| r.zone == Zone::Plain;
    InStanding |r| r.zone == Zone::Standing;
    ByEngineer |r| r.role == Role::Engineer;
    ByDesigner |r| r.role == Role::Designer;
    BySupport |r| r.role == Role::Support;
    ByVisitor |r| r.role == Role::Visitor;
}

fn count<Q: Matches>(requests: &[Request]) -> usize {
    let mut matching: Vec<_> = requests.iter().filter(|r| Q::matches(r)).collect();
    matching.sort_by_key(|r| r.person);
    matching.dedup_by_key(|r| (r.person, r.day));
    matching.len()
}

/// Pairs every first part with every second and third one.
macro_rules! all_questions {
    ([$($when:ident)*] $places:tt $people:tt) => {
        vec![$(all_questions!(@when $when $places $people)),*]
    };
    (@when $when:ident [$($place:ident)*] $people:tt) => {
        vec![$(all_questions!(@place $when $place $people)),*]
    };
    (@place $when:ident $place:ident [$($who:ident)*]) => {
        vec![$(Question {
            name: [stringify!($when), stringify!($place), stringify!($who)],
            count: count::<And<$when, And<Or<$place, Not<$who>>, Not<$who>>>>,
        }),*]
    };
}

pub(crate) fn questions() -> Vec<Question> {
    let nested = all_questions! {
        [Early Late AtDawn AtNight AtNoon OnMonday OnTuesday OnWednesday OnThursday OnFriday]
        [InQuiet InWindow InPlain InStanding]
        [ByEngineer ByDesigner BySupport ByVisitor]
    };
    nested.into_iter().flatten().flatten().collect()
}
