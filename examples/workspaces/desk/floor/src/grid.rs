//! Rooms as grids whose size the compiler knows.
//!
//! What enters: width and height as type parameters. What leaves: a walk over
//! the cells. Every size is compiled separately: this is where the crate's
//! compile time goes.

/// A room of `W` by `H` cells, each with a step count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid<const W: usize, const H: usize> {
    cells: [[u16; W]; H],
}

impl<const W: usize, const H: usize> Grid<W, H> {
    /// A room in which no cell was reached yet.
    pub fn new() -> Self {
        Grid {
            cells: [[u16::MAX; W]; H],
        }
    }

    /// Walks from one corner, row by row, and notes the steps to each cell.
    pub fn walk(mut self) -> Self {
        for row in 0..H {
            for column in 0..W {
                let above = row.checked_sub(1).map(|r| self.cells[r][column]);
                let left = column.checked_sub(1).map(|c| self.cells[row][c]);
                let nearest = [above, left].into_iter().flatten().min();
                self.cells[row][column] = nearest.map_or(0, |steps| steps + 1);
            }
        }
        self
    }

    /// The room turned by a quarter.
    pub fn turned(&self) -> Grid<H, W> {
        let mut turned = Grid::<H, W>::new();
        for (row, line) in self.cells.iter().enumerate() {
            for (column, &steps) in line.iter().enumerate() {
                turned.cells[column][row] = steps;
            }
        }
        turned
    }

    /// How many cells a walk reaches.
    pub fn reached(&self) -> usize {
        let cells = self.cells.iter().flatten();
        cells.filter(|&&steps| steps != u16::MAX).count()
    }
}

impl<const W: usize, const H: usize> Default for Grid<W, H> {
    fn default() -> Self {
        Grid::new()
    }
}

macro_rules! areas {
    ([$($width:literal)*] $heights:tt) => {
        0 $(+ areas!(@row $width $heights))*
    };
    (@row $width:literal [$($height:literal)*]) => {
        0 $(+ Grid::<$width, $height>::new().walk().turned().reached())*
    };
}

/// The cells of all rooms up to 20 by 20, counted by walking them.
pub fn area_sum() -> usize {
    areas!([1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20] [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20])
}
