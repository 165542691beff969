//! Strategies: in which order people choose, and what they look for.
//!
//! What enters: requests and places. What leaves: one plan for each strategy, of
//! which the one with the most points is kept (the first of equals, so that two
//! machines agree).

use desk_floor::{Place, directory};
use desk_index::Table;
use desk_model::{Request, Zone};

/// Who sits where, and what the plan is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The strategy that made it.
    pub strategy: [&'static str; 3],
    /// The number of the request, and its place; by the number of the request.
    pub seats: Vec<(usize, Place)>,
    /// More is better.
    pub points: i64,
}

/// Who chooses first: the smallest.
trait Order {
    type Rank: Ord;
    fn rank(number: usize, request: &Request) -> Self::Rank;
}

/// How well a place suits a request.
trait Fit {
    fn points(request: &Request, place: &Place) -> i64;
}

/// What a place costs in view of those already given.
trait Spread {
    fn cost(place: &Place, taken: &[(usize, Place)]) -> i64;
}

macro_rules! orders {
    ($($name:ident: $rank:ty = |$number:ident, $request:ident| $value:expr;)*) => { $(
        struct $name;
        impl Order for $name {
            type Rank = $rank;
            fn rank($number: usize, $request: &Request) -> $rank {
                $value
            }
        }
    )* };
}

orders! {
    FirstCome: usize = |n, _r| n;
    LastCome: std::cmp::Reverse<usize> = |n, _r| std::cmp::Reverse(n);
    ByHour: (u8, usize) = |n, r| (r.hour, n);
    ByName: (&'static str, usize) = |n, r| (r.person, n);
    ByLength: (u8, Zone, usize) = |n, r| (r.person.len() as u8, r.zone, n);
    ByZone: (Zone, u8, usize) = |n, r| (r.zone, r.hour, n);
}

macro_rules! fits {
    ($($name:ident |$request:ident, $place:ident| $value:expr;)*) => { $(
        struct $name;
        impl Fit for $name {
            fn points($request: &Request, $place: &Place) -> i64 {
                $value
            }
        }
    )* };
}

fn same_zone(request: &Request, place: &Place) -> bool {
    Zone::from_mark(place.mark) == Some(request.zone)
}

fits! {
    ZoneOnly |r, p| if same_zone(r, p) { 10 } else { 0 };
    ZoneThenDoor |r, p| if same_zone(r, p) { 10 } else { 0 } - i64::from(p.at.1) / 4;
    ZoneThenWall |r, p| if same_zone(r, p) { 10 } else { 0 } + i64::from(p.at.1) / 4;
    LateNearWall |r, p| i64::from(r.hour) + i64::from(p.at.1);
    EarlyNearDoor |r, p| i64::from(24 - r.hour.min(24)) - i64::from(p.at.1);
}

macro_rules! spreads {
    ($($name:ident |$steps:ident| $value:expr;)*) => { $(
        struct $name;
        impl Spread for $name {
            fn cost(place: &Place, taken: &[(usize, Place)]) -> i64 {
                let nearest = taken.iter().map(|(_, other)| place.distance(*other)).min();
                nearest.map_or(0, |$steps| $value)
            }
        }
    )* };
}

spreads! {
    Anywhere |_steps| 0;
    Together |steps| i64::from(steps);
    InPairs |steps| i64::from(steps.abs_diff(2));
    Apart |steps| -i64::from(steps);
}

fn plan<O: Order, F: Fit, S: Spread>(
    requests: &[Request],
    places: &[Place],
) -> (Vec<(usize, Place)>, i64) {
    let mut order: Vec<_> = requests.iter().enumerate().collect();
    order.sort_by_key(|(number, request)| O::rank(*number, request));
    let mut free = directory(places);
    let mut seats = Vec::new();
    let mut points = 0;
    for (number, request) in order {
        let worth = |place: &Place| F::points(request, place) - S::cost(place, &seats);
        let open = free.rows().iter().map(|row| (worth(&row.1), row.1));
        let Some((gain, place)) = open.max_by_key(|(gain, place)| (*gain, u16::MAX - place.number))
        else {
            break;
        };
        points += gain + i64::from(same_zone(request, &place)) * 100;
        free.remove(&place.number);
        seats.push((number, place));
    }
    (Table::from_rows(seats).rows().to_vec(), points)
}

/// Tries every strategy, and keeps the best plan.
pub fn best_plan(requests: &[Request], places: &[Place]) -> Plan {
    let mut best: Option<Plan> = None;
    macro_rules! try_all {
        ([$($order:ident)*] $fits:tt $spreads:tt) => {
            $(try_all!(@order $order $fits $spreads);)*
        };
        (@order $order:ident [$($fit:ident)*] $spreads:tt) => {
            $(try_all!(@fit $order $fit $spreads);)*
        };
        (@fit $order:ident $fit:ident [$($spread:ident)*]) => { $(
            let (seats, points) = plan::<$order, $fit, $spread>(requests, places);
            if best.as_ref().is_none_or(|plan| points > plan.points) {
                let strategy = [stringify!($order), stringify!($fit), stringify!($spread)];
                best = Some(Plan { strategy, seats, points });
            }
        )* };
    }
    try_all! {
        [FirstCome LastCome ByHour ByName ByLength ByZone]
        [ZoneOnly ZoneThenDoor ZoneThenWall LateNearWall EarlyNearDoor]
        [Anywhere Together InPairs Apart]
    }
    best.unwrap_or(Plan {
        strategy: [""; 3],
        seats: Vec::new(),
        points: 0,
    })
}
