//! Tokens that came at instants unknown between two that are known.

use std::{ops::Range, time::Duration};

/// Tokens spread evenly over a stretch, as so many at an instant of each second that it touches; all of them, and none
/// outside. Those of a stretch without length are at its start.
pub(super) fn evenly(
    stretch: Range<Duration>,
    tokens: u64,
) -> impl Iterator<Item = (Duration, u64)> {
    let Range { start, end } = stretch;
    let last = end.max(start);
    let by = move |at: Duration| match last.saturating_sub(start).as_nanos() {
        0 => tokens,
        length => {
            let share = u128::from(tokens) * at.saturating_sub(start).as_nanos() / length;
            u64::try_from(share).unwrap_or(tokens)
        }
    };
    let second = Duration::from_secs(1);
    let seconds = if tokens == 0 { 0..0 } else { start.as_secs()..last.as_secs() + 1 };
    seconds
        .map(move |number| {
            let begun = Duration::from_secs(number).max(start);
            let over = (Duration::from_secs(number) + second).min(last);
            let before = if begun == start { 0 } else { by(begun) };
            (begun, by(over) - before)
        })
        .filter(|part| part.1 > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spread(from_ms: u64, to_ms: u64, tokens: u64) -> Vec<(u64, u64)> {
        let stretch = Duration::from_millis(from_ms)..Duration::from_millis(to_ms);
        evenly(stretch, tokens).map(|(at, tokens)| (at.as_millis() as u64, tokens)).collect()
    }

    #[test]
    fn each_second_has_its_part() {
        assert_eq!(spread(500, 2_500, 8), [(500, 2), (1_000, 4), (2_000, 2)]);
        assert_eq!(spread(700, 700, 5), [(700, 5)]);
        assert_eq!(spread(900, 2_000, 0), []);
    }

    proptest! {
        #[test]
        fn none_is_lost_and_none_is_outside(from in 0_u64..5_000, length in 0_u64..5_000, tokens in 0_u64..1_000) {
            let parts = spread(from, from + length, tokens);
            prop_assert_eq!(parts.iter().map(|part| part.1).sum::<u64>(), tokens);
            prop_assert!(parts.iter().all(|part| (from..=from + length).contains(&part.0)));
        }
    }
}
