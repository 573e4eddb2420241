//! Tables that fit into the terminal without breaking a figure or a word.
//!
//! A table that is too wide first gives up the air between its columns, then the one line of its headings, then the one
//! line of its long cells, and at last the columns that matter least, and says which. A figure in two lines reads as two
//! figures, so nothing is broken but prose, and that between words.

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle, Width,
};

use crate::figures::wrapped;

/// A line under the header and nothing else: figures need no cage.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
/// A cell of so many characters is a figure with its unit or a name, and stays whole; a longer one may be prose.
const WHOLE_CELL: usize = 12;
/// From the most air to the least.
const LAYOUTS: [Layout; 4] = [
    Layout { gap: 3, headings: Headings::Whole },
    Layout { gap: 2, headings: Headings::Whole },
    Layout { gap: 2, headings: Headings::Stacked },
    Layout { gap: 1, headings: Headings::Stacked },
];

/// How close a table's columns stand.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Characters between two columns, from 1 to 3.
    gap: u16,
    headings: Headings,
}

/// How a heading of several words stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Headings {
    /// In one line.
    Whole,
    /// A word a line.
    Stacked,
}

struct Grid {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// A table whose first column is words and whose others are figures.
pub(crate) fn aligned(header: &[&str], rows: Vec<Vec<String>>, width: u16) -> String {
    fitted(header, rows, &[], width)
}

/// The same without those of the columns `expendable` for which there is no room, the first of them left out first; a
/// line below names them.
pub(crate) fn fitted(
    header: &[&str],
    rows: Vec<Vec<String>>,
    expendable: &[&str],
    width: u16,
) -> String {
    let mut grid = Grid::new(header, rows);
    let mut left_out = Vec::new();
    let mut expendable = expendable.iter();
    let mut text = loop {
        if let Some(text) = grid.in_lines(width).or_else(|| grid.with_wrapped_cells(width)) {
            break text;
        }
        let Some(name) = expendable.find(|name| grid.leave_out(name)) else {
            break grid.squeezed(width);
        };
        left_out.push(*name);
    };
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        let note = format!("no room here for {names}: a wider terminal and the files have them");
        text.push('\n');
        text.push_str(&wrapped(&note, width.into(), 2));
    }
    text
}

/// Whether a table with all its columns has a line for each row, and air between the columns.
pub(crate) fn fits(header: &[&str], rows: Vec<Vec<String>>, width: u16) -> bool {
    let grid = Grid::new(header, rows);
    grid.layout(width).is_some_and(|layout| layout.gap > 1)
}

impl Grid {
    fn new(header: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self { header: header.iter().map(|&name| name.to_owned()).collect(), rows }
    }

    /// Whether there was such a column.
    fn leave_out(&mut self, name: &str) -> bool {
        let Some(place) = self.header.iter().position(|known| known == name) else { return false };
        let _heading = self.header.remove(place);
        for row in &mut self.rows {
            let _cell = row.remove(place);
        }
        true
    }

    /// A line a row, with as much air as there is room for.
    fn in_lines(&self, width: u16) -> Option<String> {
        let mut table = self.table(self.layout(width)?);
        let _table = table.set_content_arrangement(ContentArrangement::Disabled);
        Some(table.trim_fmt())
    }

    /// The one with the most air in which no cell is broken.
    fn layout(&self, width: u16) -> Option<Layout> {
        LAYOUTS.into_iter().find(|layout| {
            let widths = self.widths(layout.headings, |cell| cell.chars().count());
            layout.width(&widths) <= width.into()
        })
    }

    /// Long cells in several lines, broken between words.
    fn with_wrapped_cells(&self, width: u16) -> Option<String> {
        let (layout, least) = LAYOUTS.into_iter().find_map(|layout| {
            let least = self.widths(layout.headings, unbroken);
            (layout.width(&least) <= width.into()).then_some((layout, least))
        })?;
        let room = usize::from(width) - layout.width(&least);
        let wanted = self.widths(layout.headings, |cell| cell.chars().count());
        let widths = widened(least, &wanted, room);
        let mut table = self.table(layout);
        let _table = table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        for (column, content) in table.column_iter_mut().zip(widths) {
            let content = u16::try_from(content).unwrap_or(width);
            let fixed = Width::Fixed(content.saturating_add(layout.gap - 1));
            let _column = column.set_constraint(ColumnConstraint::Absolute(fixed));
        }
        Some(table.trim_fmt())
    }

    /// What is left where even the words are wider than the terminal.
    fn squeezed(&self, width: u16) -> String {
        let mut table = self.table(LAYOUTS[3]);
        let _table = table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        table.trim_fmt()
    }

    fn table(&self, layout: Layout) -> Table {
        let header = self.header.iter().map(|name| layout.headings.of(name));
        let mut table = Table::new();
        let _table = table.load_style(STYLE).set_header(header).add_rows(self.rows.clone());
        // A separator is a character wide, so the padding of two neighbours is the rest of the gap.
        let padding = (u16::from(layout.gap > 1), u16::from(layout.gap > 2));
        for (place, column) in table.column_iter_mut().enumerate() {
            let _column = column.set_padding(padding);
            if place > 0 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// Of each column the most characters of a heading's line and of what `of_cell` counts.
    fn widths(&self, headings: Headings, of_cell: impl Fn(&str) -> usize) -> Vec<usize> {
        let column = |(place, name): (usize, &String)| {
            let heading = headings.of(name).lines().map(|line| line.chars().count()).max();
            let cells = self.rows.iter().filter_map(|row| row.get(place)).map(|cell| of_cell(cell));
            cells.max().max(heading).unwrap_or(0)
        };
        self.header.iter().enumerate().map(column).collect()
    }
}

impl Layout {
    /// Characters of a line whose columns are that wide.
    fn width(self, columns: &[usize]) -> usize {
        let gaps = usize::from(self.gap) * columns.len();
        (columns.iter().sum::<usize>() + gaps).saturating_sub(1)
    }
}

impl Headings {
    fn of(self, name: &str) -> String {
        match self {
            Self::Whole => name.to_owned(),
            Self::Stacked => name.replace(' ', "\n"),
        }
    }
}

/// Characters that stay in one line.
fn unbroken(cell: &str) -> usize {
    let length = cell.chars().count();
    if length <= WHOLE_CELL {
        return length;
    }
    cell.split(' ').map(|word| word.chars().count()).max().unwrap_or(0)
}

/// `room` more characters, one by one to the narrowest column that wants more.
fn widened(mut widths: Vec<usize>, wanted: &[usize], room: usize) -> Vec<usize> {
    for _ in 0..room {
        let short = widths.iter_mut().zip(wanted).filter(|(width, wanted)| **width < **wanted);
        let Some((narrowest, _)) = short.min_by_key(|(width, _)| **width) else { break };
        *narrowest += 1;
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect()
    }

    /// Four columns of 5, 8, 8 and 6 characters: 27, and 26, 23 and 19 with the gaps.
    fn at(width: u16, expendable: &[&str]) -> String {
        let rows = rows(&[&["chat", "12.5", "1,234", "97.0 %"], &["batch", "0.025", "5", "0 %"]]);
        fitted(&["class", "ttft p50", "ttft p99", "errors"], rows, expendable, width)
    }

    #[test]
    fn a_narrow_table_loses_air_then_the_headings_line_then_columns() {
        insta::assert_snapshot!(at(38, &["ttft p50"]), @r"
         class   ttft p50   ttft p99   errors
        ──────────────────────────────────────
         chat        12.5      1,234   97.0 %
         batch      0.025          5      0 %
        ");
        insta::assert_snapshot!(at(34, &["ttft p50"]), @r"
         class  ttft p50  ttft p99  errors
        ──────────────────────────────────
         chat       12.5     1,234  97.0 %
         batch     0.025         5     0 %
        ");
        insta::assert_snapshot!(at(24, &["ttft p50"]), @r"
        class  ttft  ttft errors
                p50   p99
        ────────────────────────
        chat   12.5 1,234 97.0 %
        batch 0.025     5    0 %
        ");
        insta::assert_snapshot!(at(20, &["ttft p50"]), @r"
        class  ttft errors
                p99
        ──────────────────
        chat  1,234 97.0 %
        batch     5    0 %
        no room here for
          ttft p50: a wider
          terminal and the
          files have them
        ");
    }

    #[test]
    fn prose_is_broken_between_its_words_and_figures_are_not() {
        let rows = rows(&[&["ttft p99.9", "≤ 60.0 ms", "undecided: too few samples"]]);
        insta::assert_snapshot!(fitted(&["objective", "limit", ""], rows, &[], 40), @r"
         objective        limit
        ────────────────────────────────────────
         ttft p99.9   ≤ 60.0 ms      undecided:
                                        too few
                                        samples
        ");
    }

    #[test]
    fn room_goes_to_the_narrowest_column_that_wants_it() {
        assert_eq!(widened(vec![3, 5, 9], &[3, 9, 12], 5), [3, 9, 10]);
        assert_eq!(widened(vec![3, 5], &[4, 6], 9), [4, 6]);
    }
}
