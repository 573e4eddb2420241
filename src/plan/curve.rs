//! The offered load over time, counted from the schedule itself in equal steps; where the answers decide,
//! the schedule is too long to be gone through, or its arrivals keep to their rate, the level that the stages have.
//!
//! Even arrivals are counted in steps as one more or less by turns, as steps and arrivals are out of step: a square wave
//! that nobody offers.

use std::time::Duration;

use report::PlannedCurve;
use workload::{ArrivalProcess, Drive, Offered, Plan, Shard, Stage};

/// Steps of a curve at the most.
const MOST: u64 = 240;
/// And at the least, however few requests there are.
const LEAST: u64 = 24;
/// Requests that a step should have, so that the curve is that of the load and not of its chance.
const IN_A_STEP: u64 = 10;

/// Counts what is due in each step.
pub(super) struct Bins {
    step: Duration,
    steps: u64,
    /// Steps done; one more than `steps` when what may be left was counted too.
    done: u64,
    counts: Vec<u64>,
    /// In place of counts, the rate of each step where arrivals keep to it.
    rates: Option<Vec<f64>>,
}

impl Bins {
    /// For a schedule of about so many requests.
    pub(super) fn of(plan: &Plan, expected: u64) -> Self {
        let steps = (expected / IN_A_STEP).clamp(LEAST, MOST);
        // Where a number of requests ends the run, the last of them does.
        let end = plan.end().filter(|_| plan.requests.is_none()).or_else(|| {
            let last = plan.arrivals(Shard::WHOLE).last()?;
            Some(last.due + Duration::from_nanos(1))
        });
        let step = end.unwrap_or_default().div_f64(steps as f64).max(Duration::from_nanos(1));
        let keep = plan.stages.iter().all(|stage| keeps_to_its_rate(stage, step));
        let rates = keep.then(|| levels(plan, step, steps));
        Self { step, steps, done: 0, counts: Vec::new(), rates }
    }

    /// Until when the next step is to be counted; the last one has no end. `None` after it.
    pub(super) fn until(&self) -> Option<Duration> {
        let next = self.done + 1;
        match next {
            next if next < self.steps => Some(self.step.mul_f64(next as f64)),
            next if next == self.steps => Some(Duration::MAX),
            _ => None,
        }
    }

    pub(super) fn take(&mut self, requests: u64) {
        self.counts.push(requests);
        self.done += 1;
    }

    /// Requests a second.
    pub(super) fn curve(self) -> Option<PlannedCurve> {
        let step_s = self.step.as_secs_f64();
        let counted = || self.counts.iter().map(|count| *count as f64 / step_s).collect();
        let values: Vec<f64> = self.rates.unwrap_or_else(counted);
        (!values.is_empty()).then_some(PlannedCurve { unit: "requests/s", step: self.step, values })
    }
}

/// The stages' levels; nothing where no time ends the run.
pub(super) fn of_levels(plan: &Plan) -> Option<PlannedCurve> {
    let unit = match plan.drive {
        Drive::Open { .. } => "requests/s",
        Drive::Closed { .. } => "users",
    };
    let step = plan.end()?.div_f64(MOST as f64);
    Some(PlannedCurve { unit, step, values: levels(plan, step, MOST) })
}

/// The level in the middle of each step.
fn levels(plan: &Plan, step: Duration, steps: u64) -> Vec<f64> {
    let level = |index: u64| {
        let at = step.mul_f64(index as f64 + 0.5);
        let stage = plan.stage_at(at).and_then(|stage| plan.stages.get(usize::from(stage)));
        stage.map_or(0.0, |stage| stage.level_at(at - stage.start))
    };
    (0..steps).map(level).collect()
}

/// Whether a stage's arrivals are as its rate says at every instant, and a step's middle says what the step has.
fn keeps_to_its_rate(stage: &Stage, step: Duration) -> bool {
    let is_smooth = match stage.offered {
        Offered::Constant { .. } | Offered::Linear { .. } | Offered::Exponential { .. } => true,
        Offered::Burst { .. }
        | Offered::Sine { .. }
        | Offered::OnOff { .. }
        | Offered::Listed { .. } => false,
    };
    let is_long = stage.end.is_none_or(|end| end.saturating_sub(stage.start) >= step);
    is_smooth && is_long && stage.arrivals == ArrivalProcess::Even
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;
    use workload::{Config, PlanInputs, Sources};

    use super::*;

    pub(crate) fn plan(sets: &[&str]) -> Plan {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        let target = ("target.endpoint".to_owned(), json!("http://127.0.0.1:9"));
        let sources = Sources { sets, flags: vec![target], ..Sources::default() };
        let inputs = PlanInputs { model: None, prompt_salt: 0 };
        Plan::from_config(&Config::load(sources).unwrap(), &inputs).unwrap().0
    }

    fn counted(plan: &Plan) -> PlannedCurve {
        let mut bins = Bins::of(plan, plan.expected_arrivals().unwrap());
        let mut counts = plan.due_counts(std::num::NonZeroU32::MIN);
        while let Some(until) = bins.until() {
            bins.take(counts.advance(until).iter().map(|(_, _, requests)| requests).sum());
        }
        bins.curve().unwrap()
    }

    #[test]
    fn every_request_of_the_schedule_is_in_a_step() {
        for sets in [
            &["load.rate=20", "load.arrivals=poisson", "benchmark.duration=60"][..],
            &["load.rate=20", "load.arrivals=poisson", "benchmark.requests=77"],
            &["load.type=burst", "load.rate=3", "benchmark.duration=7"],
        ] {
            let plan = plan(sets);
            let curve = counted(&plan);
            let sum: f64 = curve.values.iter().sum::<f64>() * curve.step.as_secs_f64();
            assert_eq!(sum.round() as usize, plan.arrivals(Shard::WHOLE).count(), "{sets:?}");
        }
    }

    #[test]
    fn even_arrivals_are_drawn_as_the_rate_that_they_keep_to() {
        // At 3 and at 7 a second no step has a whole number of them.
        for (rate, end) in [("3", "benchmark.duration=60"), ("7", "benchmark.requests=500")] {
            let curve = counted(&plan(&[&format!("load.rate={rate}"), end]));
            let rate: f64 = rate.parse().unwrap();
            assert!(curve.values.iter().all(|value| *value == rate), "{curve:?}");
        }
        let ramp = ["load.type=ramp", "load.rate=12", "benchmark.duration=20"];
        let ramp = counted(&plan(&[&ramp[..], &["load.ramp.over=10"]].concat()));
        assert!(ramp.values.is_sorted(), "{ramp:?}");
        // Waves that a step's middle could miss are counted.
        let waves = [
            "load.type=onOff",
            "load.rate=40",
            "load.onOff.on=1",
            "load.onOff.off=1",
            "benchmark.duration=600",
        ];
        let waves = counted(&plan(&waves));
        let mean = waves.values.iter().sum::<f64>() / waves.values.len() as f64;
        assert!((mean - 20.0).abs() < 0.1, "{mean}");
    }

    #[test]
    fn users_are_those_of_the_stages() {
        let ramp =
            of_levels(&plan(&["load.type=ramp", "load.concurrency=8", "benchmark.duration=8"]));
        let ramp = ramp.unwrap();
        assert_eq!((ramp.unit, ramp.values.len(), ramp.values[239]), ("users", 240, 8.0));
        assert!(ramp.values[0] < 0.1);
        assert_eq!(of_levels(&plan(&["load.concurrency=8", "benchmark.requests=8"])), None);
    }
}
