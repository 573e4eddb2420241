//! When a load is ended early: because the service is overloaded, or fails, or falls ever further behind.
//!
//! The rules are judged on what all workers have told, second by second, and so by the same figures as the result; each
//! looks back over a window, so that one bad second ends nothing. A rule that speaks says with which figures, and the
//! result repeats it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::interval::SecondCounts;
use crate::trend::Trend;

/// Overload: more than this share of the first tokens came later than [`crate::SLOW_TTFT`].
const OVERLOAD_SHARE: f64 = 0.05;
/// Saturation: more than this share of the arrivals pile up.
const PILE_UP_SHARE: f64 = 0.05;
/// Saturation is looked for over at least this many seconds.
const MIN_TREND_SECONDS: u32 = 20;
/// A share of fewer requests than this ends nothing.
const MIN_REQUESTS: u64 = 20;

/// The rules of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StopRules {
    /// First tokens later than 3 s for more than 5 % of the requests.
    pub overload: bool,
    /// Failed requests above this share.
    pub error_rate: Option<f64>,
    /// Open loop: requests pile up, and go on to.
    pub saturation: bool,
    /// Over how many seconds shares are taken.
    pub window_s: u32,
}

/// Which rule spoke. The order is the wire format: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopRule {
    /// `StopRules::overload`.
    Overload,
    /// `StopRules::error_rate`.
    ErrorRate,
    /// `StopRules::saturation`.
    Saturation,
}

impl StopRule {
    /// The rule of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Overload, Self::ErrorRate, Self::Saturation];
        all.into_iter().find(|rule| rule.name() == name)
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::ErrorRate => "error_rate",
            Self::Saturation => "saturation",
        }
    }
}

/// A rule that spoke, and with which figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopReason {
    /// Which one.
    pub rule: StopRule,
    /// Index of the stage that it ended.
    pub stage: u16,
    /// First second of run time that it looked at.
    pub from_second: u32,
    /// The second after the last.
    pub to_second: u32,
    /// What it found: a share of requests, or the share of the arrivals that piled up.
    pub figure: f64,
    /// What it may be.
    pub limit: f64,
}

impl fmt::Display for StopReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from_second, to_second, figure, limit, .. } = self;
        let [figure, limit] = [figure, limit].map(|share| format!("{:.1} %", share * 100.0));
        match self.rule {
            StopRule::Overload => write!(
                formatter,
                "{figure} of the requests waited more than 3 s for their first token"
            ),
            StopRule::ErrorRate => write!(formatter, "{figure} of the requests failed"),
            StopRule::Saturation => write!(
                formatter,
                "{figure} of the arrivals piled up, and ever more were open (Mann-Kendall, p < 0.0005)"
            ),
        }?;
        write!(
            formatter,
            " in seconds {from_second} to {to_second} of run time; the limit is {limit}"
        )
    }
}

/// What the rules look at.
#[derive(Debug)]
pub struct StopView<'a> {
    /// The run by second, as far as everybody has told.
    pub seconds: &'a BTreeMap<u32, SecondCounts>,
    /// The stage that is offered.
    pub stage: u16,
    /// Its seconds that are over and told: from its first whole second on.
    pub told: Range<u32>,
    /// Its load is an open loop at one level, so that a trend is the service's.
    pub level_is_constant: bool,
    /// A cap holds requests back, so that they pile up in front of it.
    pub capped: bool,
    /// `e2e_latency` p99 of its requests; while they are younger than that, the number in flight grows by itself.
    pub e2e_p99: Option<Duration>,
}

impl StopRules {
    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        !self.overload && self.error_rate.is_none() && !self.saturation
    }

    /// The first rule that speaks, if one does.
    pub fn judge(&self, view: &StopView<'_>) -> Option<StopReason> {
        let shares = || self.overload(view).or_else(|| self.error_rate(view));
        shares().or_else(|| self.saturation(view))
    }

    fn overload(&self, view: &StopView<'_>) -> Option<StopReason> {
        let window = self.window(view).filter(|_| self.overload)?;
        let (first, slow) =
            sums(view.seconds, &window, |counts| (counts.first_tokens, counts.slow_first_tokens));
        above(StopRule::Overload, view.stage, &window, (slow, first), OVERLOAD_SHARE)
    }

    fn error_rate(&self, view: &StopView<'_>) -> Option<StopReason> {
        let (limit, window) = self.error_rate.zip(self.window(view))?;
        let (ended, failed) = sums(view.seconds, &window, |counts| {
            (counts.completed.saturating_add(counts.failed), counts.failed)
        });
        above(StopRule::ErrorRate, view.stage, &window, (failed, ended), limit)
    }

    /// Requests pile up where the number of open ones rises beyond doubt (Mann-Kendall over ten equal parts of the
    /// time), and by more than some share of the arrivals (the Theil-Sen slope against the offered rate): in a service
    /// that keeps up the slope is 0, in one that answers μ of λ requests a second it is λ − μ.
    fn saturation(&self, view: &StopView<'_>) -> Option<StopReason> {
        if !self.saturation || !view.level_is_constant {
            return None;
        }
        let young = u32::try_from(view.e2e_p99?.as_nanos().div_ceil(1_000_000_000)).ok()?;
        let window = view.told.start.saturating_add(young)..view.told.end;
        if window.end.saturating_sub(window.start) < MIN_TREND_SECONDS.max(self.window_s) {
            return None;
        }
        let trend = Trend::of(&open_requests(view, &window))?;
        let (due, _) = sums(view.seconds, &window, |counts| (counts.due, 0));
        let offered = due as f64 / f64::from(window.end - window.start);
        let figure = trend.slope_per_point / offered.max(f64::MIN_POSITIVE);
        (trend.is_rising() && figure > PILE_UP_SHARE).then_some(StopReason {
            rule: StopRule::Saturation,
            stage: view.stage,
            from_second: window.start,
            to_second: window.end,
            figure,
            limit: PILE_UP_SHARE,
        })
    }

    /// The last seconds, once the stage is as old as that.
    fn window(&self, view: &StopView<'_>) -> Option<Range<u32>> {
        let from = view.told.end.checked_sub(self.window_s)?;
        (from >= view.told.start).then_some(from..view.told.end)
    }
}

/// In flight second by second; in front of a cap those that wait for it are open too.
fn open_requests(view: &StopView<'_>, window: &Range<u32>) -> Vec<f64> {
    let mut open = 0.0;
    let of_second = |second| {
        let counts = view.seconds.get(&second).copied().unwrap_or_default();
        if !view.capped {
            return counts.in_flight_max as f64;
        }
        open += counts.due as f64 - counts.completed as f64 - counts.failed as f64;
        open
    };
    window.clone().map(of_second).collect()
}

fn sums(
    seconds: &BTreeMap<u32, SecondCounts>,
    window: &Range<u32>,
    of: impl Fn(&SecondCounts) -> (u64, u64),
) -> (u64, u64) {
    seconds.range(window.clone()).map(|(_, counts)| of(counts)).fold((0, 0), |sum, more| {
        (u64::saturating_add(sum.0, more.0), u64::saturating_add(sum.1, more.1))
    })
}

fn above(
    rule: StopRule,
    stage: u16,
    window: &Range<u32>,
    (part, whole): (u64, u64),
    limit: f64,
) -> Option<StopReason> {
    let figure = crate::books::share(part, whole)?;
    let (from_second, to_second) = (window.start, window.end);
    let speaks = whole >= MIN_REQUESTS && figure > limit;
    speaks.then_some(StopReason { rule, stage, from_second, to_second, figure, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> StopRules {
        StopRules { overload: true, error_rate: Some(0.2), saturation: true, window_s: 5 }
    }

    fn second(change: impl Fn(&mut SecondCounts)) -> SecondCounts {
        let mut counts = SecondCounts {
            due: 10,
            completed: 10,
            first_tokens: 10,
            in_flight_max: 20,
            ..SecondCounts::default()
        };
        change(&mut counts);
        counts
    }

    fn judged(seconds: &[SecondCounts], capped: bool) -> Option<StopReason> {
        let seconds: BTreeMap<u32, SecondCounts> = (0..).zip(seconds.iter().copied()).collect();
        let told = 0..u32::try_from(seconds.len()).unwrap();
        let e2e_p99 = Some(Duration::from_secs(2));
        let view = StopView {
            seconds: &seconds,
            stage: 1,
            told,
            level_is_constant: true,
            capped,
            e2e_p99,
        };
        rules().judge(&view)
    }

    #[test]
    fn a_service_that_keeps_up_is_left_alone() {
        let steady: Vec<_> =
            (0..300).map(|n: u64| second(|c| c.in_flight_max = 20 + n * 7 % 5)).collect();
        assert_eq!(judged(&steady, false), None);
        assert_eq!(judged(&[], false), None);
    }

    #[test]
    fn overload_is_more_than_a_twentieth_of_the_window() {
        // 2 of 50 are 4 %, 3 of 50 are 6 %.
        let with = |slow: u64| {
            let mut all = vec![second(|_| {}); 10];
            all[7].slow_first_tokens = slow;
            judged(&all, false)
        };
        assert_eq!(with(2), None);
        let reason = with(3).unwrap();
        assert_eq!(
            (reason.rule, reason.from_second, reason.to_second),
            (StopRule::Overload, 5, 10)
        );
        assert!((reason.figure - 0.06).abs() < 1e-12);
        assert_eq!(
            reason.to_string(),
            "6.0 % of the requests waited more than 3 s for their first token in seconds 5 to 10 of run time; the limit is 5.0 %"
        );
        // What is older than the window is forgotten.
        let mut old = vec![second(|_| {}); 20];
        old[3].slow_first_tokens = 10;
        assert_eq!(judged(&old, false), None);
    }

    #[test]
    fn failures_count_once_the_window_is_full_and_holds_enough() {
        let failing = second(|c| (c.completed, c.failed) = (7, 3));
        assert_eq!(judged(&[failing; 4], false), None, "4 of 5 s");
        assert_eq!(judged(&[failing; 5], false).unwrap().rule, StopRule::ErrorRate);
        let few = second(|c| (c.completed, c.failed) = (0, 3));
        assert_eq!(judged(&[few; 5], false), None, "15 requests");
    }

    #[test]
    fn requests_that_pile_up_end_the_load_and_those_that_are_only_young_do_not() {
        // One of ten arrivals a second is left over.
        let growing: Vec<_> = (0..40).map(|n| second(|c| c.in_flight_max = 20 + n)).collect();
        let reason = judged(&growing, false).unwrap();
        assert_eq!(
            (reason.rule, reason.from_second, reason.to_second),
            (StopRule::Saturation, 2, 40)
        );
        assert!((reason.figure - 0.1).abs() < 1e-9, "{reason:?}");
        assert_eq!(judged(&growing[..21], false), None, "19 s after the first answers are in");
        // 0.3 a second is 3 % of the arrivals: under the limit, however certain.
        let slow: Vec<_> =
            (0..200).map(|n| second(|c| c.in_flight_max = 20 + n * 3 / 10)).collect();
        assert_eq!(judged(&slow, false), None);
    }

    #[test]
    fn behind_a_cap_those_that_wait_for_it_pile_up() {
        let held: Vec<_> = (0..40).map(|_| second(|c| c.completed = 8)).collect();
        assert_eq!(judged(&held, false), None, "20 in flight throughout");
        assert_eq!(judged(&held, true).unwrap().rule, StopRule::Saturation);
    }
}
