//! Which requests are recorded one by one.
//!
//! A pure function of (seed, number), so that any number of workers records the same requests, and what is drawn at a
//! smaller share is among what is drawn at a larger one.

use metrics::Gaps;
use serde::{Deserialize, Serialize};

use super::Plan;
use super::build::Builder;
use crate::random::{Purpose, Random};

/// The share that `sample` takes, where none is set.
const DEFAULT_SHARE: f64 = 0.01;
/// What a worker's records may take of its disk, where nothing is set.
const DEFAULT_DISK_MIB: u64 = 1024;
/// Bytes of a record as it is kept and travels (compressed lines), without the list of its gaps. Measured: 75 of a
/// request that was answered, 12 of one that was never sent.
const BYTES_A_RECORD: f64 = 75.0;
/// Bytes of one listed gap, compressed.
const BYTES_A_GAP: f64 = 2.0;

/// Which requests are recorded, and how.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordPlan {
    /// Share of the requests, above 0 and at most 1.
    pub share: f64,
    /// Every gap between a request's events is written.
    pub lists_gaps: bool,
    /// What a worker's records may take of its disk, in bytes.
    pub most_bytes: u64,
}

/// Draws requests by their numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    seed: u64,
    share: f64,
}

impl Sampling {
    /// This share of the requests, 0 to 1.
    pub fn new(seed: u64, share: f64) -> Self {
        Self { seed, share }
    }

    /// Is the request with this number drawn?
    pub fn takes(self, number: u64) -> bool {
        self.share >= 1.0
            || (self.share > 0.0
                && Random::new(self.seed, Purpose::Records, number).unit() <= self.share)
    }

    /// Draws every request that one of the two does.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { share: self.share.max(other.share), ..self }
    }
}

impl RecordPlan {
    /// How gaps are written.
    pub fn gaps(self) -> Gaps {
        if self.lists_gaps { Gaps::Listed } else { Gaps::Summed }
    }

    /// About how many bytes the records of so many requests take, each of so many output tokens.
    pub fn expected_bytes(self, requests: f64, output_tokens: f64) -> f64 {
        let gaps = if self.lists_gaps { output_tokens.max(0.0) * BYTES_A_GAP } else { 0.0 };
        requests * self.share * (BYTES_A_RECORD + gaps)
    }
}

impl Plan {
    /// Draws the requests that are recorded; `None` where none are.
    pub fn recorded(&self) -> Option<Sampling> {
        self.records.map(|records| Sampling::new(self.seed, records.share))
    }
}

impl Builder<'_> {
    /// What `records` and `recordOptions` say.
    pub(super) fn records(&mut self) -> Option<RecordPlan> {
        let word = self.config.text("records").unwrap_or("none");
        let configured = self.config.number("recordOptions.share");
        let share = match word {
            "all" => 1.0,
            "sample" => configured.unwrap_or(DEFAULT_SHARE),
            _ => 0.0,
        };
        if configured.is_some() && word != "sample" {
            let line = "`recordOptions.share` has no effect: `records` is not `sample`";
            self.warn("key_unused", line);
        }
        let disk_mib = self.config.integer("recordOptions.maxDisk").unwrap_or(DEFAULT_DISK_MIB);
        (share > 0.0).then(|| RecordPlan {
            share,
            lists_gaps: self.config.switch("recordOptions.gaps"),
            most_bytes: disk_mib.saturating_mul(1 << 20),
        })
    }
}

#[cfg(test)]
mod tests {
    use metrics::Warning;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{Config, PlanInputs, Sources};

    fn plan(sets: &[(&str, serde_json::Value)]) -> (Plan, Vec<Warning>) {
        let mut flags = vec![
            ("target.endpoint".to_owned(), json!("http://t/v1")),
            ("load.rate".to_owned(), json!(10)),
        ];
        flags.extend(sets.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap()
    }

    #[test]
    fn nothing_is_recorded_unless_it_is_asked_for() {
        assert_eq!(plan(&[]).0.recorded(), None);
        assert_eq!(plan(&[("records", json!("none"))]).0.records, None);
        let all = plan(&[("records", json!("all")), ("recordOptions.gaps", json!(true))]).0;
        let expected = RecordPlan { share: 1.0, lists_gaps: true, most_bytes: 1 << 30 };
        assert_eq!(all.records, Some(expected));
        let sample = plan(&[("records", json!("sample")), ("recordOptions.maxDisk", json!(3))]).0;
        let expected = RecordPlan { share: 0.01, lists_gaps: false, most_bytes: 3 << 20 };
        assert_eq!(sample.records, Some(expected));
    }

    #[test]
    fn a_share_that_nothing_reads_is_said() {
        let (_, warnings) = plan(&[("records", json!("all")), ("recordOptions.share", json!(0.5))]);
        assert!(warnings.iter().any(|w| w.message.contains("recordOptions.share")), "{warnings:?}");
    }

    #[test]
    fn a_sample_has_its_share() {
        let sampling = Sampling::new(42, 0.1);
        let drawn = (0..20_000).filter(|number| sampling.takes(*number)).count();
        // Five standard errors: 5 · √(20,000 · 0.1 · 0.9) = 212.
        assert!((1_788..=2_212).contains(&drawn), "{drawn}");
        assert!(!Sampling::new(42, 0.0).takes(3) && Sampling::new(42, 1.0).takes(3));
    }

    #[test]
    fn room_is_foreseen_by_number_share_and_gaps() {
        let all = RecordPlan { share: 1.0, lists_gaps: false, most_bytes: 1 };
        assert_eq!(all.expected_bytes(1_000.0, 150.0), 75_000.0);
        let listed = RecordPlan { share: 0.5, lists_gaps: true, most_bytes: 1 };
        assert_eq!(listed.expected_bytes(1_000.0, 150.0), 500.0 * 375.0);
    }

    proptest! {
        #[test]
        fn a_smaller_share_is_part_of_a_larger_one(
            seed in any::<u64>(), number in any::<u64>(), few in 0.0..1.0_f64, more in 0.0..1.0_f64,
        ) {
            let (few, more) = (few.min(more), few.max(more));
            let (small, large) = (Sampling::new(seed, few), Sampling::new(seed, more));
            prop_assert!(!small.takes(number) || large.takes(number));
            prop_assert_eq!(small.or(large).takes(number), large.takes(number));
        }
    }
}
