//! Shares of a run's requests over time.
//!
//! `error_rate` and `ttft_over_3s` are of the requests *due* in the headline, followed through the drain, so seconds that
//! are counted inside of the headline alone need not add up to them: of requests that time out in the drain none is
//! there. The samples of their stages do, which are kept until the last of them ended. Requests that failed
//! before they were sent have no sample; then the seconds serve, if they add up to the figure. A test of anything else
//! than the figure that stands beside it would be worse than none.

use std::collections::BTreeMap;

use super::{Observed, Portion, in_headline, rates};
use crate::comparison::{Undecided, resolution};
use crate::distribution::{highest_of, place_of, whole_micros};
use crate::metric::Metric;
use crate::recorder::SLOW_TTFT;
use crate::slo::RateFigure;

const MICROS_PER_SECOND: u64 = 1_000_000;
/// The blocks may differ from the figure by this part of it, and by one request.
const TOLERANCE: f64 = 0.05;

/// # Errors
/// The share is not kept over time, or what is kept is not the figure of the whole run.
pub(super) fn portions(
    run: &Observed<'_>,
    share: RateFigure,
    value: f64,
) -> Result<Vec<Portion>, Undecided> {
    let one_request = 1.5 / resolution::requests_of(run.result, share).max(1.0);
    let adds_up = |portions: &Vec<Portion>| {
        whole(portions).is_some_and(|sum| (sum - value).abs() <= one_request.max(TOLERANCE * value))
    };
    if let Some(portions) = of_samples(run, share).filter(adds_up) {
        return Ok(portions);
    }
    let portions = rates(run, share)?;
    if adds_up(&portions) { Ok(portions) } else { Err(Undecided::OutsideOfBlocks) }
}

fn whole(portions: &[Portion]) -> Option<f64> {
    let sum = portions.iter().fold(Portion::default(), |sum, one| sum.plus(*one));
    (sum.denominator > 0.0).then(|| sum.numerator / sum.denominator)
}

/// By the second in which each was sent: when it ended less how long it took (a TTFT: its own, the rest is not known).
/// So what ends in the drain stands where it came from, and a block holds the requests of one stretch of load.
fn of_samples(run: &Observed<'_>, share: RateFigure) -> Option<Vec<Portion>> {
    let mut slots = Slots { width: longest(run)?, portions: BTreeMap::new() };
    let slow = highest_of(place_of(whole_micros(SLOW_TTFT)));
    match share {
        RateFigure::ErrorRate => {
            slots.add(run, Metric::E2eFailed, |_| true);
            slots.add(run, Metric::E2eLatency, |_| false);
        }
        RateFigure::TtftOver3s => slots.add(run, Metric::Ttft, |us| us > slow),
        _ => return None,
    }
    slots.in_order()
}

/// Seconds of the longest stretch: nothing is known of where within it something ended.
fn longest(run: &Observed<'_>) -> Option<u32> {
    let stretches = run.over_time?.series.samples(Metric::E2eLatency, |_| false);
    stretches.map(|(seconds, _)| seconds.end.saturating_sub(seconds.start).max(1)).max()
}

/// Stretches of equal length.
struct Slots {
    width: u32,
    portions: BTreeMap<u32, Portion>,
}

impl Slots {
    fn add(&mut self, run: &Observed<'_>, metric: Metric, is_counted: impl Fn(u64) -> bool) {
        let Some(over_time) = run.over_time else { return };
        let stretches = over_time.series.samples(metric, |stage| in_headline(run.result, stage));
        for (seconds, samples) in stretches {
            for (us, count) in samples.buckets() {
                let took = u32::try_from(us / MICROS_PER_SECOND).unwrap_or(u32::MAX);
                let sent = seconds.start.saturating_sub(took);
                let portion = self.portions.entry(sent / self.width).or_default();
                portion.denominator += count as f64;
                portion.numerator += if is_counted(us) { count as f64 } else { 0.0 };
            }
        }
    }

    /// Those without a request are time too.
    fn in_order(&self) -> Option<Vec<Portion>> {
        let (first, last) = self.portions.keys().next().zip(self.portions.keys().next_back())?;
        let at = |slot: u32| Portion {
            seconds: self.width,
            ..self.portions.get(&slot).copied().unwrap_or_default()
        };
        Some((*first..=*last).map(at).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::books::FailureClass;
    use crate::comparison::{RunOverTime, compare};
    use crate::interval::{Interval, Scope};
    use crate::recorder::{Completion, Recorder, StageWindow};
    use crate::result::{RunFacts, RunRecord, RunResult, StageDescription};
    use crate::series::Series;
    use crate::slo::{Figure, Slos};
    use crate::timeline::Timeline;

    const SECONDS: u64 = 60;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Four requests a second for a minute, of which those that `fails` picks time out 62 s after they were sent; the
    /// others answer after 100 ms, and after 4 s where `slow` picks them.
    fn run(fails: fn(u64) -> bool, slow: fn(u64) -> bool) -> (RunResult, RunOverTime) {
        let window = StageWindow { start: ms(0), end: Some(ms(SECONDS * 1_000)) };
        let mut recorder = Recorder::new(vec![window]);
        let scope = Scope { stage: 0, class: 0 };
        let (mut merged, mut series) = (Interval::default(), Series::new());
        let took = |n| {
            if fails(n) {
                62_000
            } else if slow(n) {
                4_000
            } else {
                100
            }
        };
        for second in 0..SECONDS + 70 {
            for n in (0..SECONDS * 4).filter(|&n| (n * 250 + took(n)) / 1_000 == second) {
                let (sent, ended) = (ms(n * 250), ms(n * 250 + took(n)));
                recorder.due(scope, sent);
                recorder.sent(scope, sent);
                if fails(n) {
                    recorder.failed(scope, FailureClass::Timeout, ended, Some(ended - sent), 0);
                    continue;
                }
                let timeline = Timeline {
                    scheduled: sent,
                    permitted: sent,
                    ready: sent,
                    connected: sent,
                    sent,
                    headers: ended,
                    first_token: Some(ended),
                    last_token: Some(ended),
                    finished: ended,
                    events: 1,
                    streamed: true,
                    ..Timeline::default()
                };
                recorder.completed(scope, &timeline, &Completion::default());
            }
            let interval = recorder.take();
            let at = u32::try_from(second).unwrap();
            series.push(at..at + 1, &interval);
            merged.merge(&interval).unwrap();
        }
        let stage = StageDescription {
            name: "hold".to_owned(),
            headline: true,
            window,
            slos: Slos::default(),
            stopped: None,
        };
        let record = RunRecord {
            facts: RunFacts { streamed: true, ..RunFacts::default() },
            stages: vec![stage],
            classes: Vec::new(),
            targets: Vec::new(),
            turns: Vec::new(),
            workers: Vec::new(),
            merged,
            series,
            warnings: Vec::new(),
            failures: Vec::new(),
            slos: Slos::default(),
            stopped: None,
        };
        (RunResult::build(record.clone()).unwrap(), record.into())
    }

    fn differ(
        before: &(RunResult, RunOverTime),
        after: &(RunResult, RunOverTime),
        share: RateFigure,
    ) -> crate::Difference {
        let side = |run| {
            let (result, over_time): &(RunResult, RunOverTime) = run;
            vec![Observed { result, over_time: Some(over_time) }]
        };
        compare(&side(before), &[side(after)], &[Figure::Rate(share)])[0][0].difference.unwrap()
    }

    #[test]
    fn failures_that_end_in_the_drain_are_of_the_load_that_sent_them() {
        let (good, bad) = (run(|_| false, |_| false), run(|n| n % 4 == 1, |_| false));
        let found = differ(&good, &bad, RateFigure::ErrorRate);
        assert!((found.absolute - 0.25).abs() < 1e-12, "{found:?}");
        assert!(found.is_real && found.absolute_ci95[0] > 0.2, "{found:?}");
        let same = differ(&good, &good, RateFigure::ErrorRate);
        let [low, high] = same.absolute_ci95;
        assert!(same.p > 0.99 && low < 0.0 && high > 0.0, "no interval without a width: {same:?}");
    }

    #[test]
    fn slow_first_tokens_are_those_of_the_figure() {
        let (fast, slow) = (run(|_| false, |_| false), run(|_| false, |n| n % 5 == 0));
        let found = differ(&fast, &slow, RateFigure::TtftOver3s);
        assert!((found.absolute - 0.2).abs() < 1e-12 && found.is_real, "{found:?}");
    }

    #[test]
    fn seconds_that_do_not_add_up_to_the_figure_decide_nothing() {
        let (good, bad) = (run(|_| false, |_| false), run(|n| n % 4 == 1, |_| false));
        let side = |result| vec![Observed { result, over_time: None }];
        let figure = [Figure::Rate(RateFigure::ErrorRate)];
        let found = compare(&side(&good.0), &[side(&bad.0)], &figure);
        assert_eq!(found[0][0].difference, Err(Undecided::OutsideOfBlocks));
        let found = compare(&side(&good.0), &[side(&good.0)], &figure);
        assert!(found[0][0].difference.is_ok());
    }
}
