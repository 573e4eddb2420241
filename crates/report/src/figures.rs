//! Numbers as a person reads them: few digits, one unit a column, an absent figure shown as absent.

use std::time::Duration;

use metrics::{Metric, Percentile, WindowResult};

/// What stands where there is no figure.
pub(crate) const ABSENT: &str = "–";
/// What stands for a percentile that is null because answers were cut off.
pub(crate) const CENSORED: &str = "×";

/// The latencies that people ask for first.
pub(crate) const USUAL: [Metric; 9] = [
    Metric::Ttft,
    Metric::TtftScheduled,
    Metric::TtftHit,
    Metric::TtftMiss,
    Metric::Itl,
    Metric::Icl,
    Metric::Tpot,
    Metric::E2eLatency,
    Metric::GeneratorLag,
];

/// The usual latencies that say something of their own, with samples or a reason for having none: where an event is
/// one token, `icl` is `itl` over again; where all were hits of the server's cache, or all misses, theirs is `ttft`.
pub(crate) fn usual(window: &WindowResult) -> impl Iterator<Item = Metric> {
    let count = |metric| samples(window, metric);
    let one_token_events = count(Metric::Icl) == count(Metric::Itl);
    let all_alike = count(Metric::TtftHit) == 0 || count(Metric::TtftMiss) == 0;
    let is_twin = move |metric: Metric| {
        (one_token_events && metric == Metric::Icl) || (all_alike && metric.needs_cache())
    };
    USUAL.into_iter().filter(move |&metric| !is_twin(metric))
}

/// How many samples of a metric a window has.
pub(crate) fn samples(window: &WindowResult, metric: Metric) -> u64 {
    window.metrics.get(&metric).map_or(0, |summary| summary.count)
}

/// A figure in words, or what stands where there is none.
pub(crate) fn or_absent<T>(figure: Option<T>, words: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| ABSENT.to_owned(), words)
}

/// A percentile of a window's latency in milliseconds.
pub(crate) fn latency(window: &WindowResult, metric: Metric, percentile: Percentile) -> String {
    let value = window.metrics.get(&metric).and_then(|summary| summary.percentile(percentile));
    or_absent(value, |us| milliseconds(us as f64))
}

/// Microseconds as milliseconds with three significant digits: 0.512, 5.12, 51.2, 512, 5,120.
pub(crate) fn milliseconds(us: f64) -> String {
    match us / 1_000.0 {
        // Recorded in whole microseconds: 0 is less than one.
        ms if us < 0.5 && ms >= 0.0 => "<0.001".to_owned(),
        ms if ms < 9.995 => format!("{ms:.*}", if ms < 0.9995 { 3 } else { 2 }),
        ms if ms < 99.95 => format!("{ms:.1}"),
        ms => thousands(ms.round() as u64),
    }
}

/// A rate or count that need not be whole: three significant digits under 100, whole with separators above.
pub(crate) fn quantity(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => thousands(value.round() as u64),
    }
}

/// Digits in groups of three: 1,234,567.
pub(crate) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let first = digits.len() % 3;
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == first {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// An estimate, to three significant digits: 825, 761,000, 8.25 million, 1.20 billion.
pub(crate) fn rough(value: f64) -> String {
    match value {
        value if value < 999.5 => thousands(value.round() as u64),
        value if value < 9_995.0 => thousands((value / 10.0).round() as u64 * 10),
        value if value < 99_950.0 => thousands((value / 100.0).round() as u64 * 100),
        value if value < 999_500.0 => thousands((value / 1e3).round() as u64 * 1_000),
        value if value < 999.5e6 => format!("{} million", quantity(value / 1e6)),
        value => format!("{} billion", quantity(value / 1e9)),
    }
}

/// A share as percent: 0 %, 0.01 %, 0.25 %, 12.5 %, 99.97 %, 100 %; anything above nothing is more than 0 %, and all but
/// everything is less than 100 %.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent <= 0.0 => "0 %".to_owned(),
        percent if percent < 0.005 => "<0.01 %".to_owned(),
        percent if percent < 9.995 => format!("{percent:.2} %"),
        percent if percent < 99.95 => format!("{percent:.1} %"),
        percent if percent < 99.995 => format!("{percent:.2} %"),
        percent if percent < 100.0 => ">99.99 %".to_owned(),
        _ => "100 %".to_owned(),
    }
}

/// A length of time: 250 ms, 12.3 s, 4 min 05 s, 2 h 03 min.
pub(crate) fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if !duration.is_zero() => format!("{} ms", duration.as_millis()),
        0..60 => format!("{:.1} s", duration.as_secs_f64()).replace(".0 s", " s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// 1 worker, 2 workers.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(count))
}

/// Stands for a space where a line must not break.
pub(crate) const GLUE: char = '\u{a0}';

/// Lines of at most `width` characters, broken at spaces; lines after the first begin with `indent` spaces. A word
/// that is longer than a line stays whole.
pub(crate) fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines.replace(GLUE, " ")
}

/// `text` under a label, in a column of its own.
pub(crate) fn labelled(label: &str, text: &str, width: usize) -> String {
    const LABEL: usize = 13;
    let indent = " ".repeat(LABEL);
    let lines = wrapped(text, width.saturating_sub(LABEL), 0).replace('\n', &format!("\n{indent}"));
    format!("{label:<LABEL$}{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_three_significant_digits_and_one_unit() {
        let shown = [
            0.0, 1.0, 51.0, 512.0, 999.0, 1_000.0, 5_123.0, 9_996.0, 51_230.0, 99_960.0, 512_300.0,
        ]
        .map(milliseconds);
        let expected = [
            "<0.001", "0.001", "0.051", "0.512", "0.999", "1.00", "5.12", "10.0", "51.2", "100",
            "512",
        ];
        assert_eq!(shown, expected);
        assert_eq!(milliseconds(3_600_000_000.0), "3,600,000");
    }

    #[test]
    fn quantities_and_shares() {
        assert_eq!(
            [0.0, 9.99, 10.0, 99.9, 100.0, 12_345.6].map(quantity),
            ["0.00", "9.99", "10.0", "99.9", "100", "12,346"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 0.000_01, 0.0025, 0.5, 0.999_7, 0.999_99, 1.0].map(percent),
            ["0 %", "<0.01 %", "0.25 %", "50.0 %", "99.97 %", ">99.99 %", "100 %"]
        );
    }

    #[test]
    fn estimates_are_rough() {
        let shown = [0.4, 999.0, 1_234.0, 24_820.0, 761_403.0, 999_500.0, 8_249_876.0, 1.234e9];
        assert_eq!(
            shown.map(rough),
            [
                "0",
                "999",
                "1,230",
                "24,800",
                "761,000",
                "1.00 million",
                "8.25 million",
                "1.23 billion"
            ]
        );
    }

    #[test]
    fn lengths_of_time() {
        let shown = [0.25, 12.34, 20.0, 245.0, 7_385.0].map(|s| length(Duration::from_secs_f64(s)));
        assert_eq!(shown, ["250 ms", "12.3 s", "20 s", "4 min 05 s", "2 h 03 min"]);
    }

    #[test]
    fn long_text_breaks_at_spaces_under_its_indent() {
        assert_eq!(wrapped("a bb ccc dddd", 8, 2), "a bb ccc\n  dddd");
        assert_eq!(wrapped("averyveryverylongword x", 5, 1), "averyveryverylongword\n x");
        assert_eq!(wrapped(&format!("aaaa 1{GLUE}b"), 6, 0), "aaaa\n1 b");
        assert_eq!(labelled("word", "aaa bbb", 17), "word         aaa\n             bbb");
    }
}
