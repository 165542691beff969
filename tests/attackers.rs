//! Bad input against a real node over a real socket: members who lie, strangers, garbage.
//!
//! Each attack must be refused, counted under its name, said in one clear line of the log, leave
//! nothing in a target directory, and cost the build a compile and no more than a few seconds.

mod entries;
mod mallory;
mod objects;
mod predictions;
mod silence;
mod socket;
mod strangers;
mod table;
mod wire;
