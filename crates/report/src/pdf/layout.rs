//! Where each text, box and chart of the PDF stands. Points from the top left corner of a page.

use metrics::Status;
use plotters::style::{FontStyle, IntoFont};

use crate::chart::Chart;
use crate::document::{Block, Document, Section, Table};
use crate::plot::FONT;

/// A4, landscape.
pub(super) const PAGE: (f32, f32) = (842.0, 595.0);
const MARGIN: f32 = 36.0;
const WIDTH: f32 = PAGE.0 - 2.0 * MARGIN;
const BOTTOM: f32 = PAGE.1 - MARGIN - 10.0;
/// Text of tables, and the least that a wide one is shrunk to.
const CELL: f32 = 7.5;
const LEAST_CELL: f32 = 5.0;
const GAP: f32 = 8.0;
const CHART: (f32, f32) = ((WIDTH - 14.0) / 2.0, 190.0);

/// Red, green, blue.
pub(super) type Colour = [u8; 3];
const INK: Colour = [27, 31, 36];
const SOFT: Colour = [91, 101, 112];
const RULE: Colour = [217, 221, 227];
const PANEL: Colour = [246, 247, 249];

/// How thick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    Bold,
}

/// A line of text; `at` is the left end of its base line.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) at: (f32, f32),
    pub(super) size: f32,
    pub(super) weight: Weight,
    pub(super) colour: Colour,
    pub(super) words: String,
}

/// A thing on a page.
#[derive(Debug)]
pub(super) enum Item<'a> {
    Text(Text),
    Box { corner: (f32, f32), size: (f32, f32), colour: Colour },
    Chart { corner: (f32, f32), size: (f32, f32), chart: &'a Chart },
}

/// Widths of text are measured at this size and scaled: the library measures in whole units.
const MEASURED_AT: f64 = 200.0;
/// The library's size is the font's height, ours its em.
pub(super) const HEIGHT_OF_EM: f32 = 1.164;

/// The width of a line of text in points.
fn width(words: &str, size: f32, weight: Weight) -> f32 {
    let style = if weight == Weight::Bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = (FONT, MEASURED_AT * f64::from(HEIGHT_OF_EM)).into_font().style(style);
    let measured = font.box_size(words).map_or(0, |(width, _)| width);
    measured as f32 / MEASURED_AT as f32 * size
}

/// The pages of a document.
pub(super) fn laid_out(document: &Document) -> Vec<Vec<Item<'_>>> {
    let mut flow = Flow { pages: vec![Vec::new()], y: MARGIN };
    heading(&mut flow, document);
    for section in &document.sections {
        flow.section(section);
    }
    let count = flow.pages.len();
    for (place, page) in flow.pages.iter_mut().enumerate() {
        let words = format!("{} · page {} of {count}", printable(&document.title), place + 1);
        let at = (MARGIN, PAGE.1 - MARGIN + 8.0);
        page.push(Item::Text(Text { at, size: 7.0, weight: Weight::Regular, colour: SOFT, words }));
    }
    flow.pages
}

fn heading(flow: &mut Flow<'_>, document: &Document) {
    let verdict = &document.verdict;
    flow.paragraph(&document.title, 18.0, Weight::Bold, INK);
    flow.paragraph(&document.subtitle, 9.0, Weight::Regular, SOFT);
    flow.y += 4.0;
    let colour = match verdict.status {
        Status::Valid => [26, 127, 66],
        Status::Suspect => [154, 103, 0],
        Status::Invalid => [196, 36, 43],
    };
    flow.paragraph(&format!("{}: {}", verdict.name, verdict.meaning), 12.0, Weight::Bold, colour);
    for reason in &verdict.reasons {
        let words = format!("• {} {}: {}", reason.label, reason.code, reason.message);
        flow.paragraph(&words, 8.5, Weight::Regular, INK);
    }
    for gap in &document.gaps {
        flow.paragraph(&format!("• not whole: {gap}"), 8.5, Weight::Regular, INK);
    }
    tiles(flow, document);
}

fn tiles(flow: &mut Flow<'_>, document: &Document) {
    const HEIGHT: f32 = 50.0;
    flow.need(HEIGHT + 12.0);
    flow.y += 8.0;
    let count = document.tiles.len().max(1) as f32;
    let wide = (WIDTH - GAP * (count - 1.0)) / count;
    for (place, tile) in document.tiles.iter().enumerate() {
        let left = MARGIN + place as f32 * (wide + GAP);
        let top = flow.y;
        flow.put(Item::Box { corner: (left, top), size: (wide, HEIGHT), colour: PANEL });
        let x = left + 8.0;
        flow.line((x, top + 13.0), 8.0, Weight::Regular, SOFT, &tile.label);
        flow.line((x, top + 31.0), 16.0, Weight::Bold, INK, &tile.value);
        let after = x + width(&tile.value, 16.0, Weight::Bold) * 1.08 + 4.0;
        flow.line((after, top + 31.0), 8.0, Weight::Regular, SOFT, tile.unit);
        let note = wrapped(&tile.note, wide - 12.0, 7.0, Weight::Regular).into_iter().next();
        flow.line((x, top + 43.0), 7.0, Weight::Regular, SOFT, &note.unwrap_or_default());
    }
    flow.y += HEIGHT + 8.0;
}

/// What has been set so far.
struct Flow<'a> {
    pages: Vec<Vec<Item<'a>>>,
    /// Where the next thing begins.
    y: f32,
}

impl<'a> Flow<'a> {
    fn put(&mut self, item: Item<'a>) {
        if let Some(page) = self.pages.last_mut() {
            page.push(item);
        }
    }

    /// Begins a page unless there is so much room on this one.
    fn need(&mut self, height: f32) {
        if self.y + height > BOTTOM && self.y > MARGIN {
            self.pages.push(Vec::new());
            self.y = MARGIN;
        }
    }

    fn line(&mut self, at: (f32, f32), size: f32, weight: Weight, colour: Colour, words: &str) {
        let words = printable(words);
        self.put(Item::Text(Text { at, size, weight, colour, words }));
    }

    fn paragraph(&mut self, words: &str, size: f32, weight: Weight, colour: Colour) {
        for line in wrapped(words, WIDTH, size, weight) {
            let height = size * 1.35;
            self.need(height);
            self.line((MARGIN, self.y + size), size, weight, colour, &line);
            self.y += height;
        }
    }

    fn section(&mut self, section: &'a Section) {
        let first = section.blocks.first();
        let room = if matches!(first, Some(Block::Chart(_))) { CHART.1 + 40.0 } else { 60.0 };
        self.need(26.0 + room);
        self.y += 12.0;
        self.paragraph(section.title, 13.0, Weight::Bold, INK);
        self.put(Item::Box { corner: (MARGIN, self.y), size: (WIDTH, 0.7), colour: RULE });
        self.y += 6.0;
        let mut charts = Vec::new();
        for block in &section.blocks {
            if let Block::Chart(chart) = block {
                charts.push(chart);
                continue;
            }
            self.charts(std::mem::take(&mut charts));
            match block {
                Block::Table(table) => self.table(table),
                Block::Lines(lines) => {
                    for line in lines {
                        self.paragraph(&format!("• {line}"), 8.5, Weight::Regular, INK);
                    }
                }
                Block::Verbatim(text) => {
                    self.y += 4.0;
                    for line in text.lines() {
                        self.paragraph(line, 7.5, Weight::Regular, INK);
                    }
                }
                Block::Chart(_) => {}
            }
        }
        self.charts(charts);
    }

    /// Two in a row.
    fn charts(&mut self, charts: Vec<&'a Chart>) {
        for pair in charts.chunks(2) {
            let height = CHART.1 + 30.0;
            self.need(height);
            for (place, chart) in pair.iter().enumerate() {
                let left = MARGIN + place as f32 * (CHART.0 + 14.0);
                let top = self.y;
                self.line((left, top + 10.0), 9.0, Weight::Bold, INK, &chart.title);
                let note = wrapped(&chart.note, CHART.0, 7.0, Weight::Regular);
                for (row, words) in note.iter().take(2).enumerate() {
                    let at = (left, top + 19.0 + 8.5 * row as f32);
                    self.line(at, 7.0, Weight::Regular, SOFT, words);
                }
                self.put(Item::Chart { corner: (left, top + 30.0), size: CHART, chart });
            }
            self.y += height + 4.0;
        }
    }

    fn table(&mut self, table: &Table) {
        let grid = Grid::of(table);
        self.y += 4.0;
        if table.has_header() {
            self.header(table, &grid);
        }
        for row in &table.rows {
            let lines = grid.lines(row);
            let height =
                lines.iter().map(Vec::len).max().unwrap_or(1) as f32 * grid.leading() + 2.0;
            if self.y + height > BOTTOM {
                self.need(height);
                if table.has_header() && self.y == MARGIN {
                    self.header(table, &grid);
                }
            }
            self.row(&lines, &grid, Weight::Regular, INK);
            self.y += height;
            let rule = (grid.widths.iter().sum(), 0.4);
            self.put(Item::Box { corner: (MARGIN, self.y - 1.0), size: rule, colour: RULE });
        }
        self.y += 3.0;
        for note in &table.notes {
            self.paragraph(note, 7.5, Weight::Regular, SOFT);
        }
        self.y += 6.0;
    }

    fn header(&mut self, table: &Table, grid: &Grid) {
        let cells: Vec<Vec<String>> =
            table.header.iter().map(|&cell| vec![cell.to_owned()]).collect();
        self.row(&cells, grid, Weight::Regular, SOFT);
        self.y += grid.leading() + 3.0;
    }

    fn row(&mut self, cells: &[Vec<String>], grid: &Grid, weight: Weight, colour: Colour) {
        let mut left = MARGIN;
        for (column, lines) in cells.iter().enumerate() {
            for (row, words) in lines.iter().enumerate() {
                let y = self.y + grid.size + row as f32 * grid.leading();
                let x = if grid.words[column] {
                    left
                } else {
                    left + grid.widths[column] - GAP - width(words, grid.size, weight)
                };
                self.line((x, y), grid.size, weight, colour, words);
            }
            left += grid.widths[column];
        }
    }
}

/// How wide each column of a table is, and how large its text.
struct Grid {
    size: f32,
    widths: Vec<f32>,
    words: Vec<bool>,
}

impl Grid {
    /// Natural widths where they fit. Else columns of words are narrowed, which wraps them; else the text shrinks.
    fn of(table: &Table) -> Self {
        let columns = table.header.len();
        let words: Vec<bool> = (0..columns).map(|c| c < table.words || table.is_prose(c)).collect();
        let natural: Vec<f32> = (0..columns).map(|column| natural_width(table, column)).collect();
        let mut size = CELL;
        loop {
            let scaled = |column: usize| natural[column] * size / CELL + GAP;
            let fixed: f32 = (0..columns).filter(|c| !words[*c]).map(scaled).sum();
            let flexible: f32 = (0..columns).filter(|c| words[*c]).map(scaled).sum();
            let room = (WIDTH - fixed).max(0.0);
            let squeeze = if flexible > 0.0 { (room / flexible).min(1.0) } else { 1.0 };
            // Narrow words wrap well down to a third of their width; a column of figures cannot wrap at all.
            if squeeze > 0.3 && fixed <= WIDTH || size <= LEAST_CELL {
                let place =
                    |c: usize| if words[c] { (scaled(c) * squeeze).max(20.0) } else { scaled(c) };
                return Self { size, widths: (0..columns).map(place).collect(), words };
            }
            size -= 0.5;
        }
    }

    fn leading(&self) -> f32 {
        self.size * 1.35
    }

    fn lines(&self, row: &[String]) -> Vec<Vec<String>> {
        let lines = |(column, cell): (usize, &String)| {
            if self.words[column] {
                wrapped(cell, self.widths[column] - GAP, self.size, Weight::Regular)
            } else {
                vec![cell.clone()]
            }
        };
        row.iter().enumerate().map(lines).collect()
    }
}

/// The widest cell, up to what nobody reads in one line.
fn natural_width(table: &Table, column: usize) -> f32 {
    let cells = table.rows.iter().map(|row| row[column].as_str()).chain([table.header[column]]);
    let widest = cells.flat_map(str::lines).map(|line| width(line, CELL, Weight::Regular));
    widest.fold(0.0, f32::max).min(WIDTH * 0.9)
}

/// Lines that are not wider than `most`, broken at spaces, and inside a word that is wider than a line.
fn wrapped(text: &str, most: f32, size: f32, weight: Weight) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let indent: String = paragraph.chars().take_while(|c| *c == ' ').collect();
        line.push_str(&indent);
        for word in paragraph.split_whitespace() {
            let joined = if line.trim().is_empty() {
                format!("{line}{word}")
            } else {
                format!("{line} {word}")
            };
            if width(&joined, size, weight) <= most {
                line = joined;
                continue;
            }
            if !line.trim().is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            line = broken(word, most, size, weight, &mut lines);
        }
        lines.push(line);
    }
    lines
}

/// Pushes what of a long word fills whole lines; the rest begins the next one.
fn broken(word: &str, most: f32, size: f32, weight: Weight, lines: &mut Vec<String>) -> String {
    let mut line = String::new();
    for character in word.chars() {
        line.push(character);
        if width(&line, size, weight) > most && line.chars().count() > 1 {
            let _last = line.pop();
            lines.push(std::mem::replace(&mut line, character.to_string()));
        }
    }
    line
}

/// Without characters that control a line or turn its direction.
fn printable(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::with_font;

    #[test]
    fn text_breaks_at_spaces_and_long_words_inside() {
        assert!(with_font());
        let lines = wrapped("short words and averyveryverylongword", 60.0, 8.0, Weight::Regular);
        assert!(lines.iter().all(|line| width(line, 8.0, Weight::Regular) <= 60.0), "{lines:?}");
        assert_eq!(lines.join("").replace(' ', ""), "shortwordsandaveryveryverylongword");
        assert_eq!(wrapped("  a: b\nc", 100.0, 8.0, Weight::Regular), ["  a: b", "c"]);
    }

    #[test]
    fn a_wide_table_fits_the_page() {
        assert!(with_font());
        let table = Table {
            header: vec!["name", "figure", "for example"],
            rows: vec![vec!["x".to_owned(), "1,234,567".to_owned(), "word ".repeat(300)]],
            words: 1,
            notes: Vec::new(),
        };
        let grid = Grid::of(&table);
        assert!(grid.widths.iter().sum::<f32>() <= WIDTH + 0.1);
        assert!(grid.lines(&table.rows[0])[2].len() > 3);
    }
}
