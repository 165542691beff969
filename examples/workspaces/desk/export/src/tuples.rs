//! The form of numbers, characters, options, lists and tuples.
//!
//! What enters and leaves: as in the crate. Memory is asked for only as bytes
//! actually arrive.

use super::{Refused, Wire};

fn front<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Refused> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Refused::Short)?;
    *bytes = rest;
    Ok(taken)
}

macro_rules! numbers {
    ($($number:ty)*) => { $(
        impl Wire for $number {
            fn put(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
            fn take(bytes: &mut &[u8]) -> Result<Self, Refused> {
                let taken = front(bytes, size_of::<$number>())?;
                let fixed = taken.try_into().map_err(|_| Refused::Short)?;
                Ok(<$number>::from_le_bytes(fixed))
            }
        }
    )* };
}

numbers!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128);

impl Wire for char {
    fn put(&self, bytes: &mut Vec<u8>) {
        u32::from(*self).put(bytes);
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, Refused> {
        char::from_u32(u32::take(bytes)?).ok_or(Refused::Wrong)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            None => bytes.push(0),
            Some(value) => {
                bytes.push(1);
                value.put(bytes);
            }
        }
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, Refused> {
        match u8::take(bytes)? {
            0 => Ok(None),
            1 => T::take(bytes).map(Some),
            _ => Err(Refused::Wrong),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        (self.len() as u32).put(bytes);
        for value in self {
            value.put(bytes);
        }
    }
    fn take(bytes: &mut &[u8]) -> Result<Self, Refused> {
        let length = u32::take(bytes)?;
        let mut values = Vec::new();
        for _ in 0..length {
            values.push(T::take(bytes)?);
        }
        Ok(values)
    }
}

macro_rules! tuples {
    ($(($($name:ident $place:tt)*))*) => { $(
        impl<$($name: Wire),*> Wire for ($($name,)*) {
            fn put(&self, bytes: &mut Vec<u8>) {
                $(self.$place.put(bytes);)*
            }
            fn take(bytes: &mut &[u8]) -> Result<Self, Refused> {
                Ok(($($name::take(bytes)?,)*))
            }
        }
    )* };
}

tuples! {
    (A 0)
    (A 0 B 1)
    (A 0 B 1 C 2)
    (A 0 B 1 C 2 D 3)
    (A 0 B 1 C 2 D 3 E 4)
}
