//! The floor: where the desks stand, and how far it is from one to another.
//!
//! What enters: the drawing in `data/plan.txt`, read at compile time. What
//! leaves: desks with their places. A drawing that is not a rectangle must never
//! become a floor: `plan` panics on it, and a test calls it.
//!
//! To compile, this crate needs the metadata of `desk-index` alone, and that is
//! ready long before `desk-index` itself is: the two are compiled side by side.

mod grid;

pub use grid::{Grid, area_sum};

use desk_index::Table;

/// The drawing: `q` quiet, `w` window, `p` plain, `s` standing, `#` wall.
pub const DRAWING: &str = include_str!("../data/plan.txt");

/// A desk on the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Counted from 1, row by row.
    pub number: u16,
    /// The letter in the drawing.
    pub mark: char,
    /// Row and column in the drawing, from 0.
    pub at: (u8, u8),
}

impl Place {
    /// Steps to another place: rows plus columns.
    pub fn distance(self, other: Place) -> u32 {
        let rows = self.at.0.abs_diff(other.at.0);
        let columns = self.at.1.abs_diff(other.at.1);
        u32::from(rows) + u32::from(columns)
    }
}

/// All desks of the drawing.
pub fn plan() -> Vec<Place> {
    let width = DRAWING.lines().next().map_or(0, str::len);
    let mut places = Vec::new();
    for (row, line) in (0_u8..).zip(DRAWING.lines()) {
        assert_eq!(line.len(), width, "data/plan.txt: line {row} sticks out");
        for (column, mark) in (0_u8..).zip(line.chars()) {
            if mark.is_ascii_lowercase() {
                let number = places.len() as u16 + 1;
                places.push(Place {
                    number,
                    mark,
                    at: (row, column),
                });
            }
        }
    }
    places
}

/// The places by their numbers.
pub fn directory(places: &[Place]) -> Table<u16, Place> {
    let rows = places.iter().map(|place| (place.number, *place));
    Table::from_rows(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_is_found_by_its_number() {
        let directory = directory(&plan());
        assert_eq!(directory.get(&18).map(|place| place.mark), Some('p'));
        assert_eq!(directory.get(&19), None);
    }

    #[test]
    fn the_drawing_has_eighteen_desks() {
        let places = plan();
        assert_eq!(places.len(), 18);
        assert_eq!(places[0].at, (1, 1));
        assert_eq!(places[17].number, 18);
    }

    #[test]
    fn distance_is_the_same_both_ways() {
        let places = plan();
        let (first, last) = (places[0], places[17]);
        assert_eq!(first.distance(last), last.distance(first));
        assert_eq!(first.distance(first), 0);
        assert_eq!(first.distance(last), 4 + 11);
    }

    #[test]
    fn every_grid_has_its_area() {
        let sizes: usize = (1..=20).sum();
        assert_eq!(area_sum(), sizes * sizes);
    }
}
