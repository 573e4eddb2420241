//! A run that goes on, on a whole terminal: the same view as the page's, redrawn once a second.
//!
//! Drawing is a function of the view, the messages and the size: who owns the terminal is the command's affair. A narrow
//! or low terminal loses what matters least first: charts, then the columns at the right, then the lower rows.

use std::time::Duration;

use metrics::{
    Live, LivePercentiles, LivePoint, LiveState, LiveTurn, LiveTurns, LiveWorker, Metric, Status,
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Block, Borders, Paragraph, Sparkline},
};

use super::progress::{ms, quantity_of, stage};
use crate::figures::{length, percent, quantity, thousands};

/// From this width on there are charts beside the figures.
const WIDE: u16 = 120;
/// The figures' part of a wide terminal.
const FIGURES_WIDTH: u16 = 82;
/// Reasons of the verdict that are shown.
const REASONS: usize = 2;
/// Messages that are shown.
const MESSAGES: usize = 3;

/// Whether colours are wanted (`NO_COLOR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// Bold and reversed text alone.
    Plain,
    /// Colours too; the terminal's own, so that they suit its background.
    Colours,
}

impl Palette {
    fn of(self, colour: Color) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Colours => Style::new().fg(colour),
        }
    }

    fn soft(self) -> Style {
        self.of(Color::DarkGray)
    }

    fn status(self, status: Status) -> Style {
        let colour = match status {
            Status::Valid => Color::Green,
            Status::Suspect => Color::Yellow,
            Status::Invalid => Color::Red,
        };
        self.of(colour).add_modifier(Modifier::BOLD)
    }

    fn state(self, state: LiveState) -> Style {
        match state {
            LiveState::Sending => self.of(Color::Green),
            LiveState::Silent => self.of(Color::Yellow).add_modifier(Modifier::BOLD),
            LiveState::Lost => self.of(Color::Red).add_modifier(Modifier::REVERSED),
            LiveState::Joined | LiveState::Spare | LiveState::Complete => Style::new(),
        }
    }
}

/// Draws the whole screen; of `messages` the last ones.
pub fn draw_screen(frame: &mut Frame<'_>, live: &Live, messages: &[String], palette: Palette) {
    let area = frame.area();
    let foot = foot(messages, palette);
    let foot_height = u16::try_from(foot.lines.len()).unwrap_or(1).min(area.height);
    let [body, bottom] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(foot_height)]).areas(area);
    frame.render_widget(Paragraph::new(foot), bottom);
    if area.width < WIDE {
        frame.render_widget(Paragraph::new(figures(live, palette, body.width)), body);
        return;
    }
    let [left, right] =
        Layout::horizontal([Constraint::Length(FIGURES_WIDTH), Constraint::Min(0)]).areas(body);
    frame.render_widget(Paragraph::new(figures(live, palette, left.width)), left);
    charts(frame, live, palette, right);
}

fn figures(live: &Live, palette: Palette, width: u16) -> Text<'static> {
    let mut lines = head(live, palette, width);
    lines.extend(load(live, palette));
    lines.push(Line::default());
    lines.extend(latencies(live, palette));
    lines.push(Line::default());
    lines.extend(workers(live, palette, width));
    Text::from(lines)
}

/// What runs, how far it is, and whether to trust it.
fn head(live: &Live, palette: Palette, width: u16) -> Vec<Line<'static>> {
    let title = Style::new().add_modifier(Modifier::BOLD);
    let name = if live.name.is_empty() { "tokenstorm".to_owned() } else { live.name.clone() };
    let about = if live.endpoint.is_empty() {
        String::new()
    } else {
        format!("{} at {}", live.model, live.endpoint)
    };
    let room = usize::from(width).saturating_sub(name.chars().count() + 3);
    let status = live.verdict.status;
    let mut lines = vec![
        Line::from(vec![
            Span::styled(name, title),
            Span::raw("  "),
            Span::styled(cut(&about, room), palette.soft()),
        ]),
        Line::from(vec![
            Span::styled(bar(live, 24), palette.of(Color::Cyan)),
            Span::raw(format!("  {}  {}", stage_of(live), clock(live))),
        ]),
        Line::from(vec![
            Span::raw("Verdict so far: "),
            match live.last {
                Some(_) => Span::styled(status.name(), palette.status(status)),
                None => Span::raw("–"),
            },
        ]),
    ];
    let room = usize::from(width).saturating_sub(3);
    for reason in live.verdict.reasons.iter().take(REASONS) {
        let text = cut(&format!("{}: {}", reason.code, reason.message), room);
        lines.push(Line::styled(format!("  {text}"), palette.status(reason.status)));
    }
    lines.push(Line::default());
    lines
}

fn stage_of(live: &Live) -> String {
    match &live.stage {
        Some(one) if one.of > 1 => format!("{} ({} of {})", one.name, one.index + 1, one.of),
        Some(_) | None => stage(live).to_owned(),
    }
}

/// Full at the load's end.
fn bar(live: &Live, width: usize) -> String {
    let share = match (live.run_time_ms, live.ends_at_ms) {
        (Some(at), Some(end)) if end > 0 => (at as f64 / end as f64).min(1.0),
        _ => 0.0,
    };
    let full = (share * width as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(width - full.min(width)))
}

fn clock(live: &Live) -> String {
    let time = |ms: u64| length(Duration::from_secs(ms / 1_000));
    match (live.run_time_ms, live.ends_at_ms, live.time_left_ms) {
        (None, ..) => "not begun".to_owned(),
        (Some(at), Some(end), Some(left)) if left > 0 => {
            format!("{} of {}, {} left", time(at), time(end), time(left.next_multiple_of(1_000)))
        }
        (Some(at), ..) => time(at),
    }
}

/// Rates of the last second, and what became of the requests.
fn load(live: &Live, palette: Palette) -> Vec<Line<'static>> {
    let of = |count: fn(&LivePoint) -> u64| {
        live.last.map_or_else(|| "–".to_owned(), |last| quantity_of(last.per_second(count(&last))))
    };
    let asked = match (live.asked_per_s, live.asked_in_flight) {
        (Some(rate), _) => format!("asked {} {}", quantity(rate), live.asked_unit()),
        (None, Some(users)) => format!("asked {} in flight", quantity(users)),
        (None, None) => "asked –".to_owned(),
    };
    // After sessions a number alone would be one of them.
    let requests = if live.turns.is_some() { " req/s" } else { "" };
    let books = &live.books;
    let failures = books.failed_by.iter().map(|(class, n)| format!("{class} {}", thousands(*n)));
    let failures: Vec<_> = failures.collect();
    let failed = if books.failed > 0 { palette.of(Color::Red) } else { Style::new() };
    let mut lines = vec![
        Line::from(format!(
            "Rate      {asked} · sent {}{requests} · completed {} · {} tok/s",
            of(|last| last.sent),
            of(|last| last.completed),
            of(|last| last.output_tokens)
        )),
        Line::from(vec![
            Span::raw(format!(
                "Requests  {} due · {} completed · {} in flight · ",
                thousands(books.due),
                thousands(books.completed),
                thousands(live.in_flight)
            )),
            Span::styled(format!("{} failed", thousands(books.failed)), failed),
            Span::raw(format!(" · {} not sent", thousands(books.not_sent))),
        ]),
    ];
    if !failures.is_empty() {
        lines.push(Line::styled(format!("          failed: {}", failures.join(", ")), failed));
    }
    lines
}

/// Of the last seconds beside those from the start.
fn latencies(live: &Live, palette: Palette) -> Vec<Line<'static>> {
    let shown = [
        Metric::Ttft,
        live.token_gap(),
        Metric::E2eLatency,
        Metric::ScheduleLag,
        Metric::GeneratorLag,
    ];
    let recent = match live.recent_seconds {
        0 => "last seconds".to_owned(),
        seconds => format!("last {seconds} s"),
    };
    let mut lines = vec![
        Line::styled(format!("{:<14}{recent:>24}{:>28}", "", "so far"), palette.soft()),
        Line::styled(
            format!(
                "{:<14}{:>8}{:>8}{:>8}    {:>8}{:>8}{:>8}",
                "ms", "p50", "p90", "p99", "p50", "p90", "p99"
            ),
            palette.soft(),
        ),
    ];
    for metric in shown {
        let Some((now, all)) = live.recent.get(metric).zip(live.so_far.get(metric)) else {
            continue;
        };
        lines.push(percentiles(metric.name(), now, all));
        if metric == Metric::Ttft {
            lines.extend(live.turns.iter().flat_map(turns));
        }
    }
    lines
}

/// The TTFT of the first turn, and of those that carry what was said before.
fn turns(turns: &LiveTurns) -> Vec<Line<'static>> {
    let line =
        |turn: &LiveTurn| percentiles(&format!("  {}", turn.name), &turn.recent, &turn.so_far);
    turns.each.iter().take(1).chain([&turns.later]).map(line).collect()
}

fn percentiles(name: &str, now: &LivePercentiles, all: &LivePercentiles) -> Line<'static> {
    let three =
        |f: &LivePercentiles| format!("{:>8}{:>8}{:>8}", ms(f.p50_us), ms(f.p90_us), ms(f.p99_us));
    Line::from(format!("{name:<14}{}    {}", three(now), three(all)))
}

/// A row each.
fn workers(live: &Live, palette: Palette, width: u16) -> Vec<Line<'static>> {
    let host_width = usize::from(width).saturating_sub(64).clamp(10, 24);
    let head = format!(
        "{:<8}{:<host_width$}{:<10}{:>7}{:>10}{:>8}{:>10}{:>9}",
        "worker", "host", "state", "share", "due", "failed", "in flight", "lag p99"
    );
    let mut lines = vec![Line::styled(head, palette.soft())];
    let row = |worker: &LiveWorker| {
        Line::from(vec![
            Span::raw(format!(
                "{:<8}{:<host_width$}",
                worker.ordinal,
                cut(&worker.host, host_width - 1)
            )),
            Span::styled(format!("{:<10}", worker.state.name()), palette.state(worker.state)),
            Span::raw(format!(
                "{:>7}{:>10}{:>8}{:>10}{:>9}",
                worker.share.map_or_else(|| "–".to_owned(), percent),
                thousands(worker.books.due),
                thousands(worker.books.failed),
                thousands(worker.in_flight),
                ms(worker.generator_lag_p99_us)
            )),
        ])
    };
    // Who is lost or silent is seen first, however many there are.
    let (well, ill): (Vec<_>, Vec<_>) = live
        .workers
        .iter()
        .partition(|one| !matches!(one.state, LiveState::Lost | LiveState::Silent));
    lines.extend(ill.into_iter().chain(well).map(row));
    if live.workers_here < live.workers_expected {
        let here = format!("{} of {} workers are here", live.workers_here, live.workers_expected);
        lines.push(Line::styled(here, palette.of(Color::Yellow)));
    }
    lines
}

/// As many seconds as there is room for, the newest at the right.
fn charts(frame: &mut Frame<'_>, live: &Live, palette: Palette, area: Rect) {
    type Value = fn(&LivePoint) -> Option<u64>;
    let shown: [(&str, Value); 4] = [
        ("sent, req/s", |p| Some(p.per_second(p.sent).round() as u64)),
        ("output, tok/s", |p| Some(p.per_second(p.output_tokens).round() as u64)),
        ("ttft p50, ms", |p| p.latencies.ttft.p50_us.map(|us| us / 1_000)),
        ("in flight", |p| Some(p.in_flight_max)),
    ];
    let areas: [Rect; 4] = Layout::vertical([Constraint::Fill(1); 4]).areas(area);
    for ((name, value), area) in shown.into_iter().zip(areas) {
        let room = usize::from(area.width.saturating_sub(2));
        let from = live.points.len().saturating_sub(room);
        let values: Vec<Option<u64>> = live.points[from..].iter().map(value).collect();
        let highest = values.iter().flatten().max().copied();
        let title = match (values.last().copied().flatten(), highest) {
            (Some(now), Some(most)) => {
                format!(" {name}: {} (most {}) ", thousands(now), thousands(most))
            }
            _ => format!(" {name} "),
        };
        let block = Block::new().borders(Borders::ALL).border_style(palette.soft()).title(title);
        let line = Sparkline::default()
            .block(block)
            .style(palette.of(Color::Cyan))
            .data(values.into_iter().map(Option::unwrap_or_default));
        frame.render_widget(line, area);
    }
}

fn foot(messages: &[String], palette: Palette) -> Text<'static> {
    let from = messages.len().saturating_sub(MESSAGES);
    let last = messages[from..].iter();
    let mut lines: Vec<_> =
        last.map(|text| Line::styled(text.clone(), palette.of(Color::Yellow))).collect();
    let keys = "q: stop, open requests are followed to their end · a: abort, they are cancelled";
    lines.push(Line::styled(keys, palette.soft()));
    Text::from(lines)
}

/// At most so many characters.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests;
