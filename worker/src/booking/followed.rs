//! What is noted of a request whose record is kept, while it runs.

use std::time::Duration;

use metrics::MOST_GAPS;

/// Gaps for which there is room at once.
const FIRST_ROOM: usize = 256;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Followed {
    last: Option<Duration>,
    gaps_us: Vec<u32>,
}

impl Followed {
    /// An event arrived; the time since the one before it.
    pub(super) fn event(&mut self, at: Duration) -> Option<Duration> {
        let gap = at.saturating_sub(self.last.replace(at)?);
        if self.gaps_us.capacity() == 0 {
            self.gaps_us.reserve(FIRST_ROOM);
        }
        if self.gaps_us.len() < MOST_GAPS {
            self.gaps_us.push(u32::try_from(gap.as_micros()).unwrap_or(u32::MAX));
        }
        Some(gap)
    }

    /// The last event so far.
    pub(super) fn last(&self) -> Option<Duration> {
        self.last
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
    fn the_gaps_of_a_stream_are_those_between_its_events_and_their_number_is_bounded() {
        let mut followed = Followed::default();
        let at = |us: u64| Duration::from_micros(us);
        assert_eq!(followed.event(at(5)), None);
        assert_eq!(followed.event(at(25)), Some(at(20)));
        assert_eq!(followed.event(at(25)), Some(Duration::ZERO), "one read brought both");
        (0..20_000).for_each(|n| assert!(followed.event(at(30 + n)).is_some()));
        assert_eq!(followed.last(), Some(at(20_029)));
        let gaps = followed.into_gaps();
        assert_eq!((gaps.len(), &gaps[..4]), (MOST_GAPS, &[20, 0, 5, 1][..]));
    }
}
