//! How many workers a plan needs, by what `tokenstorm calibrate` measured on this machine.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use workload::{Drive, Plan};

use crate::calibration::{
    Calibration, Demand, FILLED, Need, NoCalibration, STREAM_TOKENS_PER_S, lanes_per_worker,
};

/// What can be said.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Known {
        need: Need,
        assumed: Option<&'static str>,
        age: Duration,
    },
    /// Nobody says how long the answers are.
    UnknownLength,
    NotCalibrated(NoCalibration),
}

impl Answer {
    /// `output_tokens`: of a request, or of all `turns` of a session, on average.
    pub(super) fn of(plan: &Plan, output_tokens: Option<f64>, turns: f64) -> Self {
        let calibration = match Calibration::load() {
            Err(reason) => return Self::NotCalibrated(reason),
            Ok(calibration) => calibration,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age = now.saturating_sub(Duration::from_secs(calibration.measured_at_unix_s));
        Self::by(&calibration, plan, (output_tokens, turns), age)
    }

    fn by(
        calibration: &Calibration,
        plan: &Plan,
        (output, turns): (Option<f64>, f64),
        age: Duration,
    ) -> Self {
        let Some(output) = output.filter(|tokens| *tokens > 0.0) else {
            return Self::UnknownLength;
        };
        let (demand, assumed) = demand(plan, output, turns);
        let need = calibration.need(demand, lanes_per_worker(plan.client.lanes));
        Self::Known { need, assumed, age }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Known { need, assumed, age } => json!({
                "workers": need.workers,
                "lanesFilled": need.lanes,
                "lanesPerWorker": need.lanes_per_worker,
                "filledTo": FILLED,
                "assumed": assumed,
                "calibrationAgeSeconds": age.as_secs(),
            }),
            Self::UnknownLength | Self::NotCalibrated(_) => {
                json!({"workers": null, "reason": self.to_string()})
            }
        }
    }
}

/// The load at its peak. In a closed loop the server decides how fast the answers come: so readers are
/// assumed whose text comes about as fast as can be read.
fn demand(plan: &Plan, output_tokens: f64, turns: f64) -> (Demand, Option<&'static str>) {
    let arrivals_per_s = match plan.drive {
        Drive::Open { .. } => {
            plan.stages.iter().map(|stage| stage.offered.highest()).fold(0.0, f64::max)
        }
        Drive::Closed { slots, .. } => {
            let events_per_s = f64::from(slots.get()) * STREAM_TOKENS_PER_S;
            let requests_per_s = events_per_s / output_tokens * turns;
            let demand = Demand { requests_per_s, events_per_s };
            return (demand, Some("20 tokens a second of each stream"));
        }
    };
    let demand = Demand {
        requests_per_s: arrivals_per_s * turns,
        events_per_s: arrivals_per_s * output_tokens,
    };
    (demand, None)
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { need, assumed, age } => {
                write!(out, "Workers needed: {need}")?;
                if let Some(assumed) = assumed {
                    write!(out, "; assumed: {assumed}")?;
                }
                write!(out, " (calibrated {} ago)", rough(*age))
            }
            Self::UnknownLength => out.write_str(
                "Workers needed: not known, for the prompts do not say how long the answers are",
            ),
            Self::NotCalibrated(reason) => write!(out, "Workers needed: not known, {reason}"),
        }
    }
}

fn rough(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2_880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1_440),
    }
}

#[cfg(test)]
mod tests {
    use workload::{Config, PlanInputs, Sources};

    use super::*;

    fn plan(load: &[(&str, Value)]) -> Plan {
        let mut flags = vec![
            ("target.endpoint".to_owned(), json!("http://h")),
            ("client.lanes".to_owned(), json!(1)),
        ];
        flags.extend(load.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0
    }

    fn workers(load: &[(&str, Value)]) -> u64 {
        workers_of(load, 1.0)
    }

    fn workers_of(load: &[(&str, Value)], turns: f64) -> u64 {
        let calibration = Calibration {
            version: String::new(),
            processors: 2,
            measured_at_unix_s: 0,
            cpu_us_per_request: 100.0,
            cpu_us_per_event: 10.0,
            measured: Value::Null,
        };
        match Answer::by(&calibration, &plan(load), (Some(100.0), turns), Duration::ZERO) {
            Answer::Known { need, .. } => need.workers,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn an_open_loop_needs_workers_by_its_highest_rate() {
        // 1,000 requests a second: 0.1 s of CPU for them, 1 s for their events.
        assert_eq!(workers(&[("load.rate", json!(1_000))]), 3);
        assert_eq!(workers(&[("load.rate", json!(100))]), 1);
        let ramp = [("load.type", json!("ramp")), ("load.rate", json!(2_000))];
        assert_eq!(workers(&ramp), 5);
    }

    #[test]
    fn a_session_is_as_many_requests_as_it_has_turns() {
        // 1,000 sessions a second of 10 turns and 100 tokens in all: 1 s of CPU for each.
        assert_eq!(workers_of(&[("load.rate", json!(1_000))], 10.0), 4);
    }

    #[test]
    fn a_closed_loop_needs_workers_for_readers() {
        // 4,000 streams: 80,000 events and 800 requests a second, 0.88 s of CPU.
        assert_eq!(workers(&[("load.concurrency", json!(4_000))]), 2);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let reason = NoCalibration::None;
        let told = Answer::NotCalibrated(reason).to_string();
        assert!(told.contains("tokenstorm calibrate"), "{told}");
        assert!(Answer::UnknownLength.to_json()["workers"].is_null());
        assert_eq!(
            [59, 7_199, 7_200, 172_800].map(|s| rough(Duration::from_secs(s))),
            ["0 min", "119 min", "2 h", "2 days"]
        );
    }
}
