//! How far the coordinator's clock is ahead of ours.
//!
//! Of several questions the one with the shortest round trip is believed: whatever delayed the others
//! delayed one direction more than the other. Its error is at most half its round trip (RFC 5905 §8).

use protocol::grown_error_ns;

/// One question and its answer, nanoseconds of each side's CLOCK_BOOTTIME.
#[derive(Clone, Copy, Debug)]
pub struct ClockSample {
    /// Ours when the question left.
    pub asked_ns: u64,
    /// Ours when the answer came.
    pub answered_ns: u64,
    /// Theirs when they answered.
    pub coordinator_ns: u64,
}

/// What is believed of the coordinator's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// Coordinator minus ours, nanoseconds.
    pub offset_ns: i64,
    /// At most this wrong when it was measured, nanoseconds.
    pub error_ns: u64,
    /// When that was, nanoseconds of our clock.
    pub measured_at_ns: u64,
}

impl ClockSample {
    fn offset(&self) -> ClockOffset {
        let round_trip = self.answered_ns.saturating_sub(self.asked_ns);
        let middle = i128::from(self.asked_ns) + i128::from(round_trip / 2);
        let offset = i128::from(self.coordinator_ns) - middle;
        let bounded = offset.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        let offset_ns = i64::try_from(bounded).unwrap_or_default();
        let measured_at_ns = self.asked_ns.saturating_add(round_trip / 2);
        ClockOffset { offset_ns, error_ns: round_trip.div_ceil(2), measured_at_ns }
    }
}

/// The best of the samples; `None` without any.
#[must_use]
pub fn best_of(samples: &[ClockSample]) -> Option<ClockOffset> {
    samples.iter().map(ClockSample::offset).min_by_key(|offset| offset.error_ns)
}

impl ClockOffset {
    /// How wrong it may be by now, with the drift since it was measured.
    #[must_use]
    pub fn error_at(&self, now_ns: u64) -> u64 {
        grown_error_ns(self.error_ns, now_ns.saturating_sub(self.measured_at_ns))
    }

    /// An instant of the coordinator's clock on our CLOCK_MONOTONIC, which run time is counted on and which stood
    /// still for as long as this machine has slept.
    #[must_use]
    pub fn to_monotonic(&self, coordinator_ns: u64, slept_ns: u64) -> u64 {
        self.to_ours(coordinator_ns).saturating_sub(slept_ns)
    }

    /// An instant of the coordinator's clock on ours.
    #[must_use]
    pub fn to_ours(&self, coordinator_ns: u64) -> u64 {
        coordinator_ns.checked_add_signed(self.offset_ns.saturating_neg()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shortest_round_trip_is_believed() {
        // Theirs is 1,000 ahead. First: 10 there, 10 back. Second: 100 there, 10 back.
        let quick = ClockSample { asked_ns: 100, answered_ns: 120, coordinator_ns: 1_110 };
        let slow = ClockSample { asked_ns: 200, answered_ns: 310, coordinator_ns: 1_300 };
        assert_eq!(
            best_of(&[slow, quick]),
            Some(ClockOffset { offset_ns: 1_000, error_ns: 10, measured_at_ns: 110 })
        );
    }

    #[test]
    fn a_machine_that_has_slept_counts_run_time_without_its_sleep() {
        let clock = ClockOffset { offset_ns: 1_000, error_ns: 0, measured_at_ns: 0 };
        // Their 9,000 are 8,000 of our CLOCK_BOOTTIME, which is 500 ahead of CLOCK_MONOTONIC.
        assert_eq!(clock.to_monotonic(9_000, 500), 7_500);
    }

    proptest! {
        #[test]
        fn the_true_offset_lies_within_the_error(
            ahead in -1_000_000_i64..1_000_000, there in 0_u64..50_000, back in 0_u64..50_000,
        ) {
            let asked_ns = 10_000_000;
            let sample = ClockSample {
                asked_ns,
                answered_ns: asked_ns + there + back,
                coordinator_ns: (asked_ns + there).checked_add_signed(ahead).unwrap(),
            };
            let believed = best_of(&[sample]).unwrap();
            prop_assert!(believed.offset_ns.abs_diff(ahead) <= believed.error_ns);
        }
    }
}
