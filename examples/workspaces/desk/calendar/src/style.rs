//! Every combination of language, order and separator that an office asked for.
//!
//! What enters: a day. What leaves: its text. Each combination is a type of its
//! own, so the compiler writes each formatter separately: this is where the
//! crate's compile time goes.

use super::Day;

/// One way to write a date.
pub struct Style {
    /// Its language, order and separator.
    pub name: [&'static str; 3],
    /// Writes a day in this style.
    pub write: fn(Day) -> String,
}

trait Language {
    const WEEKDAYS: [&'static str; 7];
}

trait Order {
    fn arrange(year: String, month: String, day: String) -> [String; 3];
}

trait Separator {
    const MARK: &'static str;
}

fn write<L: Language, O: Order, S: Separator>(day: Day) -> String {
    let (year, month, number) = day.date();
    let parts = O::arrange(
        format!("{year:04}"),
        format!("{month:02}"),
        format!("{number:02}"),
    );
    let mut text = String::from(L::WEEKDAYS[day.weekday() as usize]);
    for (place, part) in parts.iter().enumerate() {
        text.push_str(if place == 0 { " " } else { S::MARK });
        text.extend(part.chars().filter(|c| c.is_ascii_digit()));
    }
    text
}

macro_rules! languages {
    ($($name:ident: $days:expr;)*) => { $(
        struct $name;
        impl Language for $name {
            const WEEKDAYS: [&'static str; 7] = $days;
        }
    )* };
}

languages! {
    Danish: ["man", "tir", "ons", "tor", "fre", "lør", "søn"];
    Dutch: ["ma", "di", "wo", "do", "vr", "za", "zo"];
    English: ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    Finnish: ["ma", "ti", "ke", "to", "pe", "la", "su"];
    French: ["lun", "mar", "mer", "jeu", "ven", "sam", "dim"];
    German: ["Mo", "Di", "Mi", "Do", "Fr", "Sa", "So"];
    Italian: ["lun", "mar", "mer", "gio", "ven", "sab", "dom"];
    Polish: ["pon", "wto", "śro", "czw", "pią", "sob", "nie"];
    Portuguese: ["seg", "ter", "qua", "qui", "sex", "sáb", "dom"];
    Spanish: ["lun", "mar", "mié", "jue", "vie", "sáb", "dom"];
}

macro_rules! orders {
    ($($name:ident: |$y:ident, $m:ident, $d:ident| $parts:expr;)*) => { $(
        struct $name;
        impl Order for $name {
            fn arrange($y: String, $m: String, $d: String) -> [String; 3] {
                $parts
            }
        }
    )* };
}

orders! {
    YearFirst: |y, m, d| [y, m, d];
    DayFirst: |y, m, d| [d, m, y];
    MonthFirst: |y, m, d| [m, d, y];
    ShortYear: |y, m, d| [d, m, y[2..].to_owned()];
}

macro_rules! separators {
    ($($name:ident: $mark:literal;)*) => { $(
        struct $name;
        impl Separator for $name {
            const MARK: &'static str = $mark;
        }
    )* };
}

separators! {
    Dash: "-";
    Slash: "/";
    Dot: ".";
    Space: " ";
}

/// Pairs every language with every order and separator.
macro_rules! styles {
    ([$($language:ident)*] $orders:tt $separators:tt) => {
        vec![$(styles!(@language $language $orders $separators)),*]
    };
    (@language $language:ident [$($order:ident)*] $separators:tt) => {
        vec![$(styles!(@order $language $order $separators)),*]
    };
    (@order $language:ident $order:ident [$($separator:ident)*]) => {
        vec![$(Style {
            name: [stringify!($language), stringify!($order), stringify!($separator)],
            write: write::<$language, $order, $separator>,
        }),*]
    };
}

/// All styles, language by language.
pub fn all_styles() -> Vec<Style> {
    let nested = styles! {
        [Danish Dutch English Finnish French German Italian Polish Portuguese Spanish]
        [YearFirst DayFirst MonthFirst ShortYear]
        [Dash Slash Dot Space]
    };
    nested.into_iter().flatten().flatten().collect()
}
