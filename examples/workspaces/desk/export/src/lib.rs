//! Bookings as bytes, and back.
//!
//! What enters: values, or bytes from outside. What leaves: bytes, or values
//! that were read in full. Bytes that are short, long or wrong are refused, never
//! guessed at. Tuples of many shapes are compiled here once for all users: this
//! is where the crate's compile time goes.

mod shapes;
mod tuples;

pub use shapes::round_trips;

use desk_model::Booking;

/// Why bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// They end in the middle of a value.
    Short,
    /// Something follows the last value.
    Long,
    /// A tag or a character that does not exist.
    Wrong,
}

/// A value that has a form in bytes (little endian, fixed width).
pub trait Wire: Sized {
    /// Appends the value.
    fn put(&self, bytes: &mut Vec<u8>);
    /// Takes the value from the front.
    fn take(bytes: &mut &[u8]) -> Result<Self, Refused>;
}

/// The bytes of a value.
pub fn to_bytes<T: Wire>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.put(&mut bytes);
    bytes
}

/// The value of all these bytes.
pub fn from_bytes<T: Wire>(mut bytes: &[u8]) -> Result<T, Refused> {
    let value = T::take(&mut bytes)?;
    if bytes.is_empty() {
        Ok(value)
    } else {
        Err(Refused::Long)
    }
}

/// The bytes of a booking: day, desk, cents.
pub fn booking(booking: &Booking) -> Vec<u8> {
    to_bytes(&(booking.day.0, booking.desk, booking.price.minor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_returns_from_its_bytes() {
        let value = (7_u8, Some(-3_i32), vec![(1_u16, 'ß'), (2, 'q')]);
        assert_eq!(from_bytes(&to_bytes(&value)), Ok(value));
    }

    #[test]
    fn short_long_and_wrong_bytes_are_refused() {
        assert_eq!(from_bytes::<u32>(&[1, 2, 3]), Err(Refused::Short));
        assert_eq!(from_bytes::<u8>(&[1, 2]), Err(Refused::Long));
        assert_eq!(from_bytes::<Option<u8>>(&[9, 1]), Err(Refused::Wrong));
        assert_eq!(from_bytes::<char>(&[0, 0xD8, 0, 0]), Err(Refused::Wrong));
    }

    #[test]
    fn a_length_that_lies_costs_no_memory() {
        assert_eq!(from_bytes::<Vec<u64>>(&[0xFF; 4]), Err(Refused::Short));
    }

    #[test]
    fn every_shape_makes_the_round_trip() {
        let (good, all) = round_trips();
        assert_eq!(good, all);
        assert!(all > 50);
    }
}
