//! What goes wrong for one request, decided before it is answered.
//!
//! All draws come from (seed, request number) and are taken in one fixed order, so that the same
//! seed fails the same requests, and switching one fault on does not move the others.

use std::time::Duration;

use crate::config::FaultConfig;
use crate::seeded::{Purpose, Seeded};

/// The faults of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FaultPlan {
    pub(crate) status: Option<u16>,
    pub(crate) slow_headers: Option<Duration>,
    pub(crate) empty: bool,
    pub(crate) no_done: bool,
    pub(crate) short: bool,
    /// Each strikes before the token of that index, in order.
    interruptions: Vec<(u64, Interruption)>,
}

/// Something that happens between two tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Interruption {
    Stall(Duration),
    Malformed,
    InBandError,
    Cut,
}

impl FaultPlan {
    /// The faults of request `number` (from 1) whose answer would have `output_tokens`.
    pub(crate) fn draw(config: &FaultConfig, seed: u64, number: u64, output_tokens: u64) -> Self {
        let mut draws = Seeded::new(seed, Purpose::Faults, number);
        let mut strikes = |rate: crate::Rate| rate.strikes(number, draws.uniform());
        let status = strikes(config.status.rate);
        let stall = strikes(config.stall.rate);
        let cut = strikes(config.cut.rate);
        let malformed = strikes(config.malformed.rate);
        let in_band_error = strikes(config.in_band_error.rate);
        let slow_headers = strikes(config.slow_headers.rate);
        let no_done = strikes(config.no_done.rate);
        let empty = strikes(config.empty.rate);
        let short = strikes(config.short.rate);

        let last = output_tokens.saturating_sub(1);
        let middle = output_tokens / 2;
        let pause = Duration::from_secs_f64(config.stall.seconds);
        let possible = [
            (stall, config.stall.after_tokens.min(last), Interruption::Stall(pause)),
            (malformed, middle, Interruption::Malformed),
            (in_band_error, middle, Interruption::InBandError),
            (cut, config.cut.after_tokens.min(last), Interruption::Cut),
        ];
        let struck = possible.into_iter().filter(|(strikes, ..)| *strikes);
        let mut interruptions: Vec<_> = struck.map(|(_, before, what)| (before, what)).collect();
        interruptions.sort_by_key(|(before, _)| *before);
        Self {
            status: status.then_some(config.status.code),
            slow_headers: slow_headers
                .then(|| Duration::from_secs_f64(config.slow_headers.seconds)),
            empty,
            no_done,
            short,
            interruptions,
        }
    }

    /// The next interruption due before token `index`, taken out of the plan.
    pub(crate) fn next_before(&mut self, index: u64) -> Option<Interruption> {
        let (before, what) = *self.interruptions.first()?;
        if before > index {
            return None;
        }
        let _taken = self.interruptions.remove(0);
        Some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rate;

    fn always() -> Rate {
        Rate::Probability(1.0)
    }

    #[test]
    fn no_rates_no_faults() {
        let config = FaultConfig::default();
        assert!(
            (1..1_000)
                .all(|number| FaultPlan::draw(&config, 42, number, 8) == FaultPlan::default())
        );
    }

    #[test]
    fn interruptions_come_in_the_order_of_their_tokens() {
        let mut config = FaultConfig::default();
        (config.cut.rate, config.cut.after_tokens) = (always(), 7);
        (config.stall.rate, config.stall.after_tokens) = (always(), 2);
        config.malformed.rate = always();
        let mut plan = FaultPlan::draw(&config, 42, 1, 10);
        assert_eq!(plan.next_before(1), None);
        assert_eq!(plan.next_before(2), Some(Interruption::Stall(Duration::from_secs(30))));
        assert_eq!(plan.next_before(4), None);
        assert_eq!(plan.next_before(5), Some(Interruption::Malformed));
        assert_eq!(plan.next_before(9), Some(Interruption::Cut));
        assert_eq!(plan.next_before(9), None);
    }

    #[test]
    fn a_short_answer_is_still_cut_before_its_end() {
        let mut config = FaultConfig::default();
        (config.cut.rate, config.cut.after_tokens) = (always(), 100);
        assert_eq!(FaultPlan::draw(&config, 42, 1, 3).next_before(2), Some(Interruption::Cut));
        assert_eq!(FaultPlan::draw(&config, 42, 1, 1).next_before(0), Some(Interruption::Cut));
    }

    #[test]
    fn one_fault_in_five_strikes_about_a_fifth_and_leaves_the_others_alone() {
        let mut config = FaultConfig::default();
        config.empty.rate = Rate::Probability(0.2);
        let empties = |config: &FaultConfig| -> Vec<u64> {
            (1..=5_000).filter(|number| FaultPlan::draw(config, 42, *number, 8).empty).collect()
        };
        let struck = empties(&config);
        // 1,000 expected, standard deviation √(5,000 · 0.2 · 0.8) = 28.
        assert!((880..1_120).contains(&struck.len()), "{}", struck.len());
        config.status.rate = Rate::Probability(0.5);
        assert_eq!(struck, empties(&config));
    }
}
