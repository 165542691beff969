//! People, desks and bookings: the nouns that all other crates share.
//!
//! What enters: plain values. What leaves: records that describe themselves.
//! Nothing here decides anything.

use std::fmt;

pub use desk_calendar::{Day, Weekday};
pub use desk_describe::Describe;
use desk_money::{Amount, EUR};

/// Writes an enum with a list of all its values and their names.
macro_rules! named_enum {
    ($(#[$doc:meta])* $name:ident { $($value:ident $text:literal)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($value,)*
        }

        impl $name {
            /// All values, in order.
            pub const ALL: &'static [$name] = &[$($name::$value),*];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $($name::$value => $text,)*
                })
            }
        }
    };
}

named_enum! {
    /// A part of the floor.
    Zone { Quiet "quiet" Window "window" Plain "plain" Standing "standing" }
}

named_enum! {
    /// What a person does in the office.
    Role { Engineer "engineer" Designer "designer" Support "support" Visitor "visitor" }
}

impl Zone {
    /// The zone that a letter of the drawing stands for.
    pub fn from_mark(mark: char) -> Option<Zone> {
        match mark {
            'q' => Some(Zone::Quiet),
            'w' => Some(Zone::Window),
            'p' => Some(Zone::Plain),
            's' => Some(Zone::Standing),
            _ => None,
        }
    }
}

/// A person who books desks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Describe)]
pub struct Person {
    pub name: &'static str,
    pub role: Role,
}

/// A wish for a desk on one day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Describe)]
pub struct Request {
    pub person: &'static str,
    pub role: Role,
    pub day: Day,
    /// The hour of arrival, 0 to 23.
    pub hour: u8,
    pub zone: Zone,
}

/// A desk given to a person for a day.
#[derive(Clone, Debug, PartialEq, Eq, Describe)]
pub struct Booking {
    pub person: &'static str,
    pub day: Day,
    pub desk: u16,
    pub zone: Zone,
    pub price: Amount<EUR>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_booking_describes_itself() {
        let booking = Booking {
            person: "Ada",
            day: Day::from_date(2031, 5, 7),
            desk: 4,
            zone: Zone::Window,
            price: Amount::of_minor(1_250),
        };
        assert_eq!(
            booking.describe(),
            "Booking person=Ada day=2031-05-07 desk=4 zone=window price=12.50 EUR"
        );
        assert_eq!(Person::FIELDS, ["name", "role"]);
    }

    #[test]
    fn an_unknown_mark_is_no_zone() {
        assert_eq!(Zone::from_mark('q'), Some(Zone::Quiet));
        assert_eq!(Zone::from_mark('#'), None);
    }
}
