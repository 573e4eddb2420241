//! Counts summed over time and over values: any stretch of time's count of samples up to any value is one difference.
//!
//! A resample of blocks is then never put together: its percentile is a binary search over sums.

use super::Stretch;

/// See the module.
#[derive(Debug)]
pub(crate) struct CumulativeTable {
    /// Ascending; the columns.
    pub(crate) values: Vec<u64>,
    /// `values.len()` columns a row; row t is the sum of the first t units.
    cells: Vec<u64>,
}

/// Rows [from, to): the units of one block.
pub(crate) type Rows = (usize, usize);

impl CumulativeTable {
    pub(crate) fn of(units: &[Stretch]) -> Self {
        let mut values: Vec<u64> =
            units.iter().flat_map(|unit| unit.samples.buckets()).map(|(value, _)| value).collect();
        values.sort_unstable();
        values.dedup();
        let width = values.len();
        let mut cells = vec![0_u64; width];
        for unit in units {
            let before = cells.len() - width;
            let (mut buckets, mut in_unit) = (unit.samples.buckets().peekable(), 0);
            for (column, &value) in values.iter().enumerate() {
                in_unit += buckets.next_if(|&(bucket, _)| bucket == value).map_or(0, |(_, n)| n);
                cells.push(cells[before + column] + in_unit);
            }
        }
        Self { values, cells }
    }

    pub(crate) fn rows(&self) -> usize {
        self.cells.len().checked_div(self.values.len()).unwrap_or(1)
    }

    pub(crate) fn total(&self) -> u64 {
        self.cells.last().copied().unwrap_or(0)
    }

    /// Samples in `rows` with a value of at most `values[column]`.
    pub(crate) fn count(&self, rows: Rows, column: usize) -> u64 {
        let width = self.values.len();
        self.cells[rows.1 * width + column] - self.cells[rows.0 * width + column]
    }

    pub(crate) fn count_all(&self, blocks: &[Rows], column: usize) -> u64 {
        blocks.iter().map(|&rows| self.count(rows, column)).sum()
    }

    /// The smallest value with at least `rank` samples up to it: a binary search over the columns.
    pub(crate) fn value_at_rank(&self, blocks: &[Rows], rank: u64) -> u64 {
        self.values[self.column_at_rank(blocks, rank)]
    }

    /// The column of that value.
    pub(crate) fn column_at_rank(&self, blocks: &[Rows], rank: u64) -> usize {
        let (mut low, mut high) = (0, self.values.len() - 1);
        while low < high {
            let middle = low.midpoint(high);
            if self.count_all(blocks, middle) < rank {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}
