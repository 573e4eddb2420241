//! How a run, its stages and its requests are called in traces.
//!
//! A request's trace is a pure function of seed, salt and number: any worker draws the same one, a record's number leads to
//! its trace, and a trace to its record. Runs have different salts, so their traces differ; where the salt is fixed by hand
//! a repeated run repeats its traces' names as well. Each request is a trace of its own: a trace of a million spans would be
//! of use to nobody.

use metrics::TraceContext;

use crate::plan::{Plan, Sampling};
use crate::random::{Purpose, Random};

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traces {
    key: u64,
    sampling: Sampling,
}

impl Traces {
    /// Those of a plan's run.
    pub fn of(plan: &Plan) -> Self {
        Self::new(plan.seed, plan.prompt_salt, plan.telemetry.sample)
    }

    fn new(seed: u64, salt: u64, sample: f64) -> Self {
        let key = Random::new(seed, Purpose::TraceKey, salt).bits();
        Self { key, sampling: Sampling::new(seed, sample) }
    }

    /// The run.
    pub fn run(&self) -> TraceContext {
        let mut random = Random::new(self.key, Purpose::RunTrace, 0);
        TraceContext {
            trace_id: trace_id(&mut random),
            span_id: span_id(&mut random),
            sampled: true,
        }
    }

    /// A stage, in the run's trace.
    pub fn stage(&self, index: u16) -> TraceContext {
        let mut random = Random::new(self.key, Purpose::RunTrace, u64::from(index) + 1);
        TraceContext { span_id: span_id(&mut random), ..self.run() }
    }

    /// A request; `telemetry.sample` of them are sampled, drawn as those that are recorded are.
    pub fn request(&self, number: u64) -> TraceContext {
        self.turn(number, 0)
    }

    /// A turn of the session with this number: all turns of a session are in one trace.
    pub fn turn(&self, number: u64, turn: u32) -> TraceContext {
        let mut random = Random::new(self.key, Purpose::Traces, number);
        let sampled = self.sampling.takes(number);
        let trace_id = trace_id(&mut random);
        random.seek(TRACE_ID_DRAWS + u64::from(turn));
        TraceContext { trace_id, span_id: span_id(&mut random), sampled }
    }
}

/// Draws that a trace's name takes; those behind them are its spans'.
const TRACE_ID_DRAWS: u64 = 2;

/// All zeros would be no name.
fn trace_id(random: &mut Random) -> [u8; 16] {
    let bits = (u128::from(random.bits()) << 64) | u128::from(random.bits());
    bits.max(1).to_be_bytes()
}

fn span_id(random: &mut Random) -> [u8; 8] {
    random.bits().max(1).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_request_has_one_name_whoever_draws_it() {
        let traces = Traces::new(42, 7, 0.5);
        assert_eq!(traces.request(9), Traces::new(42, 7, 0.5).request(9));
        let others = [
            Traces::new(42, 8, 0.5).request(9),
            Traces::new(43, 7, 0.5).request(9),
            traces.request(10),
            traces.run(),
        ];
        assert!(others.iter().all(|other| other.trace_id != traces.request(9).trace_id));
    }

    #[test]
    fn golden_names() {
        // A name that changes with a release would no longer lead from an older record to its trace. These were computed by
        // a ChaCha8 of its own, in Python.
        assert_eq!(Traces::new(42, 1, 1.0).request(0).to_string(), GOLDEN_REQUEST);
        assert_eq!(Traces::new(42, 1, 1.0).run().to_string(), GOLDEN_RUN);
    }

    const GOLDEN_REQUEST: &str = "00-80c31ed3ea752af0e7411f15998bfaf2-d813f7b7fce474b8-01";
    const GOLDEN_RUN: &str = "00-54f01fbaffd1181df956670c89cc4d34-1992b3c64abf653c-01";

    #[test]
    fn turns_of_a_session_are_spans_of_one_trace() {
        let traces = Traces::new(42, 7, 0.5);
        assert_eq!(traces.turn(9, 0), traces.request(9));
        let spans: BTreeSet<_> = (0..50).map(|turn| traces.turn(9, turn).span_id).collect();
        assert_eq!(spans.len(), 50);
        assert!((0..50).all(|turn| traces.turn(9, turn).trace_id == traces.request(9).trace_id));
    }

    #[test]
    fn stages_are_in_the_runs_trace_under_names_of_their_own() {
        let traces = Traces::new(42, 7, 0.0);
        let spans: BTreeSet<_> = (0..100).map(|index| traces.stage(index).span_id).collect();
        assert_eq!(spans.len(), 100);
        assert!(!spans.contains(&traces.run().span_id));
        assert!((0..100).all(|index| traces.stage(index).trace_id == traces.run().trace_id));
        assert!(traces.run().sampled, "whatever the share of the requests");
    }

    #[test]
    fn the_share_is_kept_and_its_ends_are_nobody_and_everybody() {
        let sampled = |share: f64| {
            let traces = Traces::new(1, 2, share);
            (0..20_000).filter(|&number| traces.request(number).sampled).count()
        };
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 20_000));
        // Five standard errors: 5 √(20,000 · 0.1 · 0.9) = 212.
        assert!((1_788..2_212).contains(&sampled(0.1)), "{}", sampled(0.1));
    }

    #[test]
    fn a_larger_share_has_all_of_a_smaller_one() {
        let (few, many) = (Traces::new(1, 2, 0.1), Traces::new(1, 2, 0.3));
        assert!((0..5_000).all(|n| !few.request(n).sampled || many.request(n).sampled));
    }
}
