//! Durations as people write them.

/// Seconds in `500ms`, `5m`, `1h30m`, or plain `30` (seconds); `None` if it is none of these.
pub(crate) fn parse_seconds(text: &str) -> Option<f64> {
    let trimmed = text.trim();
    if let Ok(seconds) = trimmed.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then_some(seconds);
    }
    let (mut rest, mut total_s) = (trimmed, 0.0);
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        total_s += number.parse::<f64>().ok()? * seconds_in(unit)?;
        rest = next;
    }
    (!trimmed.is_empty()).then_some(total_s)
}

fn seconds_in(unit: &str) -> Option<f64> {
    match unit.trim() {
        "ns" => Some(1e-9),
        "us" | "µs" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" | "min" => Some(60.0),
        "h" => Some(3600.0),
        "d" => Some(86_400.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        let cases = [
            ("500ms", 0.5),
            ("5m", 300.0),
            ("1h30m", 5400.0),
            ("2.5s", 2.5),
            ("30", 30.0),
            (" 1 d", 86_400.0),
            ("10 ms", 0.01),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse_seconds(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration() {
        for text in ["", "ms", "5 parsecs", "-3", "-3s", "1h-2m", "inf", "NaN", "5m x"] {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
    }
}
