//! What is noted of a request whose record is kept, while it runs.

use std::time::Duration;

use metrics::MOST_GAPS;

/// Gaps for which there is room from the first event on.
const FIRST_ROOM: usize = 256;

/// The gaps between a request's events, in microseconds; see the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Followed {
    gaps_us: Vec<u32>,
}

impl Followed {
    /// Its first event has arrived: a request that never gets one takes no memory for gaps.
    pub(super) fn begin(&mut self) {
        self.gaps_us.reserve(FIRST_ROOM);
    }

    /// Another event has arrived, so long after the one before it. Once a token: arithmetic in 32 bits, and inline.
    #[inline]
    pub(super) fn gap(&mut self, gap: Duration) {
        if self.gaps_us.len() < MOST_GAPS {
            let seconds = u32::try_from(gap.as_secs()).unwrap_or(u32::MAX);
            self.gaps_us
                .push(seconds.saturating_mul(1_000_000).saturating_add(gap.subsec_micros()));
        }
    }

    /// The gaps between the events.
    pub(super) fn into_gaps(self) -> Vec<u32> {
        self.gaps_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_kept_in_order_and_their_number_is_bounded() {
        let mut followed = Followed::default();
        followed.begin();
        [20, 0, 2_000_005].map(Duration::from_micros).into_iter().for_each(|gap| followed.gap(gap));
        (0..20_000).for_each(|_| followed.gap(Duration::from_secs(5_000)));
        let gaps = followed.into_gaps();
        assert_eq!((gaps.len(), &gaps[..4]), (MOST_GAPS, &[20, 0, 2_000_005, u32::MAX][..]));
    }
}
