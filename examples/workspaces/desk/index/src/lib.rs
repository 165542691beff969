//! A sorted table, made ready for each pair of key and value the tool uses.
//!
//! What enters: rows. What leaves: rows in order, and a checksum over them.
//! The source is short, so its metadata is ready early; the many instantiations
//! below keep the code generator busy long after that. A crate that depends on
//! this one can therefore start well before this one has ended, and what stands
//! between compiler and cargo must not delay it.

mod instances;

pub use instances::self_check;

/// Rows sorted by key; a key occurs once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table<K, V> {
    rows: Vec<(K, V)>,
}

impl<K: Ord + Clone, V: Clone + Ord> Table<K, V> {
    /// From rows in any order; of equal keys the last one holds.
    pub fn from_rows(rows: Vec<(K, V)>) -> Table<K, V> {
        let mut sorted = rows;
        sorted.reverse();
        sorted.sort_by(|left, right| left.0.cmp(&right.0));
        sorted.dedup_by(|later, earlier| later.0 == earlier.0);
        Table { rows: sorted }
    }

    /// Puts a row in, and gives back the value that it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.rows.binary_search_by(|row| row.0.cmp(&key)) {
            Ok(place) => Some(std::mem::replace(&mut self.rows[place].1, value)),
            Err(place) => {
                self.rows.insert(place, (key, value));
                None
            }
        }
    }

    /// The value under a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let place = self.rows.binary_search_by(|row| row.0.cmp(key)).ok()?;
        Some(&self.rows[place].1)
    }

    /// Takes a row out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.rows.binary_search_by(|row| row.0.cmp(key)).ok()?;
        Some(self.rows.remove(place).1)
    }

    /// The rows, by key.
    pub fn rows(&self) -> &[(K, V)] {
        &self.rows
    }

    /// The rows, by value, then by key.
    pub fn by_value(&self) -> Vec<(K, V)> {
        let mut rows = self.rows.clone();
        rows.sort_by(|left, right| (&left.1, &left.0).cmp(&(&right.1, &right.0)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_keys_the_last_one_holds() {
        let table = Table::from_rows(vec![(2, 'b'), (1, 'a'), (2, 'c')]);
        assert_eq!(table.rows(), [(1, 'a'), (2, 'c')]);
    }

    #[test]
    fn what_was_inserted_is_found_until_it_is_removed() {
        let mut table = Table::default();
        assert_eq!(table.insert("desk", 4), None);
        assert_eq!(table.insert("desk", 5), Some(4));
        assert_eq!(table.get(&"desk"), Some(&5));
        assert_eq!(table.remove(&"desk"), Some(5));
        assert_eq!(table.get(&"desk"), None);
    }

    #[test]
    fn the_sum_over_all_instances_is_known() {
        assert_eq!(self_check(), 1_656_761);
    }
}
