//! What the tool says, in the languages of the office.
//!
//! What enters: a language and numbers. What leaves: sentences. A sentence must
//! never be missing in one language: the compiler sees to that.

mod warns_on_purpose;

pub use warns_on_purpose::banner;

/// A language of the office.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    English,
    German,
    French,
    Spanish,
}

impl Language {
    /// All languages, in the order in which they are printed.
    pub const ALL: [Language; 4] = [
        Language::English,
        Language::German,
        Language::French,
        Language::Spanish,
    ];
}

/// Writes one function for each sentence, with one arm for each language.
macro_rules! sentences {
    ($($(#[$doc:meta])* $name:ident($($value:ident: $kind:ty),*) {
        $($language:ident $sentence:literal)*
    })*) => { $(
        $(#[$doc])*
        pub fn $name(language: Language, $($value: $kind),*) -> String {
            match language {
                $(Language::$language => format!($sentence),)*
            }
        }
    )* };
}

sentences! {
    /// The title of a week's report.
    week_of(day: &str) {
        English "Desks in the week of {day}"
        German "Plätze in der Woche vom {day}"
        French "Bureaux de la semaine du {day}"
        Spanish "Puestos de la semana del {day}"
    }
    /// How many requests got a desk.
    seated(given: usize, asked: usize) {
        English "{given} of {asked} requests have a desk"
        German "{given} von {asked} Wünschen haben einen Platz"
        French "{given} demandes sur {asked} ont un bureau"
        Spanish "{given} de {asked} solicitudes tienen puesto"
    }
    /// A wish that a rule turned down.
    refused(wish: &str, why: &str) {
        English "{wish}: refused ({why})"
        German "{wish}: abgelehnt ({why})"
        French "{wish} : refusé ({why})"
        Spanish "{wish}: rechazado ({why})"
    }
    /// What the week costs.
    total(amount: &str) {
        English "Total {amount}"
        German "Summe {amount}"
        French "Total {amount}"
        Spanish "Total {amount}"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_names_the_numbers() {
        for language in Language::ALL {
            let text = seated(language, 7, 9);
            assert!(text.contains('7') && text.contains('9'), "{text}");
        }
    }

    #[test]
    fn the_banner_is_underlined_to_its_length() {
        assert_eq!(banner("Desk"), "Desk\n====\n");
    }
}
