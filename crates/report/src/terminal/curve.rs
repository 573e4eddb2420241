//! The offered load over time in a terminal: braille dots, eight to a character, over a line of the stages.

use super::plan::{length, plain};
use crate::plan::{PlanView, PlannedCurve};

/// Lines of the drawing.
const LINES: u32 = 8;
/// Dots of a line.
const DOTS_UP: u32 = 4;
/// The bits of a character's two columns of dots, each from below.
const COLUMN_DOTS: [[u32; DOTS_UP as usize]; 2] =
    [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]];
/// Wider is not easier to read.
const WIDEST: usize = 100;

/// The drawing in so many columns; nothing where the load's course is not known.
pub(super) fn drawn(view: &PlanView, width: usize) -> Option<String> {
    let curve = view.curve.as_ref()?;
    let highest = curve.values.iter().copied().fold(0.0, f64::max);
    if highest <= 0.0 {
        return None;
    }
    let labels = [rounded(highest), rounded(highest / 2.0), "0".to_owned()];
    let left = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let columns = width.saturating_sub(left + 2).clamp(10, WIDEST);
    let mut lines = vec![format!("{} over time", curve.unit)];
    for (line, row) in (0_u32..).zip(rows(curve, highest, columns)) {
        let label = match line {
            0 => &labels[0],
            line if line == LINES / 2 => &labels[1],
            _ => "",
        };
        lines.push(format!("{label:>left$} │{row}"));
    }
    let indent = " ".repeat(left + 1);
    lines.push(format!("{:>left$} └{}", labels[2], "─".repeat(columns)));
    lines.push(format!("{indent} {}", stages(view, curve, columns)));
    let end = length(curve.end());
    lines.push(format!("{indent} 0 s{end:>rest$}", rest = columns.saturating_sub(3)));
    Some(lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"))
}

/// Three digits are enough for an axis.
fn rounded(level: f64) -> String {
    let unit = 10_f64.powf(level.log10().floor() - 2.0);
    plain((level / unit).round() * unit)
}

/// The area under the curve, in braille characters (Unicode's block from U+2800: a bit for each dot).
fn rows(curve: &PlannedCurve, highest: f64, columns: usize) -> Vec<String> {
    let across = columns * COLUMN_DOTS.len();
    let dots: Vec<u32> = (0..across)
        .map(|x| curve.at(x as f64 / across as f64) / highest * f64::from(LINES * DOTS_UP))
        .map(|height| height.round() as u32)
        .collect();
    let row = |line: u32| {
        let below = (LINES - 1 - line) * DOTS_UP;
        dots.chunks_exact(COLUMN_DOTS.len()).map(|pair| cell(pair, below)).collect()
    };
    (0..LINES).map(row).collect()
}

/// One character of the area: its dots that lie under the curve, `below` being how many dots are under it.
fn cell(heights: &[u32], below: u32) -> char {
    let mut bits = 0;
    for (height, dots) in heights.iter().zip(COLUMN_DOTS) {
        let filled = height.saturating_sub(below).min(DOTS_UP) as usize;
        bits |= dots[..filled].iter().fold(0, |bits, dot| bits | dot);
    }
    match bits {
        0 => ' ',
        bits => char::from_u32(0x2800 + bits).unwrap_or(' '),
    }
}

/// The stages' names where they begin, as far as there is room.
fn stages(view: &PlanView, curve: &PlannedCurve, columns: usize) -> String {
    let mut line: Vec<char> = vec![' '; columns];
    let place = |at: std::time::Duration| {
        let share = at.div_duration_f64(curve.end());
        (share * columns as f64).round() as usize
    };
    for stage in &view.stages {
        let (from, to) = (place(stage.start), stage.end.map_or(columns, place).min(columns));
        let room = to.saturating_sub(from);
        if room < 2 {
            continue;
        }
        line[from] = '╵';
        let name = stage.name.chars().take(room - 1);
        for (cell, letter) in line[from + 1..to].iter_mut().zip(name) {
            *cell = letter;
        }
    }
    line.into_iter().collect()
}
