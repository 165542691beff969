//! A record tells what it is, in one line.
//!
//! What enters: records. What leaves: `Kind field=value field=value`. The
//! derive lives in `desk-derive` and is handed on from here, so that users name
//! one crate.

pub use desk_derive::Describe;

// The derived code says `::desk_describe`, also inside this crate's own tests.
#[cfg(test)]
extern crate self as desk_describe;

/// One readable line for a record.
pub trait Describe {
    /// The record's name, as in the source.
    const KIND: &'static str;
    /// The names of its fields, in the order of the source.
    const FIELDS: &'static [&'static str];
    /// The record as `Kind field=value …`.
    fn describe(&self) -> String;
}

#[cfg(test)]
mod tests {
    use super::Describe;

    /// Attributes, visibility and types with commas must not be taken for fields.
    #[derive(Describe)]
    pub struct Lamp {
        /// In lumen.
        pub(crate) brightness: u32,
        pub colour: &'static str,
        broken: Wrapped<u8, u8>,
    }

    pub struct Wrapped<A, B>(A, B);

    impl std::fmt::Display for Wrapped<u8, u8> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{}/{}", self.0, self.1)
        }
    }

    #[test]
    fn a_lamp_describes_itself() {
        let lamp = Lamp {
            brightness: 800,
            colour: "warm",
            broken: Wrapped(1, 2),
        };
        assert_eq!(Lamp::KIND, "Lamp");
        assert_eq!(Lamp::FIELDS, ["brightness", "colour", "broken"]);
        assert_eq!(
            lamp.describe(),
            "Lamp brightness=800 colour=warm broken=1/2"
        );
    }
}
