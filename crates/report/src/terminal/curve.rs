//! The offered load over time in a terminal: braille dots, eight to a character, over a line of the stages.

use drawille::Canvas;

use super::plan::{length, plain};
use crate::plan::{PlanView, PlannedCurve};

/// Lines of the drawing.
const LINES: u32 = 8;
/// Dots of a line, and of a character across.
const DOTS: (u32, u32) = (4, 2);
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

/// The area under the curve.
fn rows(curve: &PlannedCurve, highest: f64, columns: usize) -> Vec<String> {
    let across = u32::try_from(columns).unwrap_or(u32::MAX) * DOTS.1;
    let up = LINES * DOTS.0;
    let mut canvas = Canvas::new(across - 1, up - 1);
    for x in 0..across {
        let value = curve.at(f64::from(x) / f64::from(across));
        let height = (value / highest * f64::from(up)).round() as u32;
        for y in up - height.min(up)..up {
            canvas.set(x, y);
        }
    }
    canvas.rows()
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
