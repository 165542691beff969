//! The policies, and the proof that each leaves every role a way in.
//!
//! What enters: role, weekday and hour. What leaves: a verdict. A policy that
//! would lock a role out all year does not compile.

use desk_model::{Day, Role, Weekday};

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Welcome, with so many points towards a good desk.
    Allowed(u32),
    /// Not then, and why.
    Refused(&'static str),
}

impl Verdict {
    /// Both must allow; points add up.
    pub const fn and(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Allowed(left), Verdict::Allowed(right)) => Verdict::Allowed(left + right),
            (Verdict::Refused(why), _) | (_, Verdict::Refused(why)) => Verdict::Refused(why),
        }
    }
}

/// A named rule.
pub struct Policy {
    pub name: &'static str,
    pub verdict: fn(Role, Weekday, u8) -> Verdict,
}

/// The year for which the policies are proved, and its length in days.
const PROVED: (i32, i32) = (2031, 365);

/// Writes the list of policies, then a proof for each policy and role.
macro_rules! policies {
    ($($name:ident($role:ident, $weekday:ident, $hour:ident) $rule:block)*) => {
        $(const fn $name($role: Role, $weekday: Weekday, $hour: u8) -> Verdict $rule)*

        /// All policies, in the order in which they are asked.
        pub const POLICIES: &[Policy] = &[$(Policy {
            name: stringify!($name),
            verdict: $name,
        }),*];

        $(policies!(@proofs $name [Engineer Designer Support Visitor]);)*
    };
    (@proofs $name:ident [$($role:ident)*]) => { $(
        const _: () = {
            let mut welcome = 0_u32;
            let mut day = Day::from_date(PROVED.0, 1, 1);
            let end = day.plus(PROVED.1);
            while day.0 < end.0 {
                let mut hour = 0;
                while hour < 24 {
                    if let Verdict::Allowed(_) = $name(Role::$role, day.weekday(), hour) {
                        welcome += 1;
                    }
                    hour += 1;
                }
                day = day.plus(1);
            }
            assert!(welcome >= 1_000, "this policy locks a role out");
        };
    )* };
}

policies! {
    night(_role, _weekday, hour) {
        match hour {
            0..=5 | 23 => Verdict::Refused("night"),
            hour => Verdict::Allowed(24 - hour as u32),
        }
    }
    weekend(_role, weekday, _hour) {
        match weekday {
            Weekday::Saturday | Weekday::Sunday => Verdict::Refused("weekend"),
            day => Verdict::Allowed(5 - day as u32),
        }
    }
    reception(role, weekday, hour) {
        match (role, weekday, hour) {
            (Role::Visitor, Weekday::Friday, 14..) => Verdict::Refused("reception is closed"),
            (Role::Visitor, _, 9..=16) => Verdict::Allowed(1),
            (Role::Visitor, _, _) => Verdict::Refused("reception is closed"),
            _ => Verdict::Allowed(2),
        }
    }
    support_desk(role, weekday, _hour) {
        match (role, weekday) {
            (Role::Support, Weekday::Monday) => Verdict::Allowed(9),
            (Role::Support, _) => Verdict::Allowed(4),
            _ => Verdict::Allowed(0),
        }
    }
    cleaning(role, weekday, hour) {
        match (role, weekday, hour) {
            (Role::Support, _, _) => Verdict::Allowed(0),
            (_, Weekday::Friday, 18..=20) => Verdict::Refused("cleaning"),
            _ => Verdict::Allowed(1),
        }
    }
    design_review(role, weekday, hour) {
        match (role, weekday, hour) {
            (Role::Designer, Weekday::Thursday, 10..=11) => Verdict::Allowed(6),
            (Role::Engineer, Weekday::Thursday, 10..=11) => Verdict::Allowed(3),
            _ => Verdict::Allowed(0),
        }
    }
    fire_drill(_role, weekday, hour) {
        match (weekday, hour) {
            (Weekday::Wednesday, 12) => Verdict::Refused("fire drill"),
            _ => Verdict::Allowed(0),
        }
    }
}
