//! A plan's load as the report shows it: how it is driven, its stages, and when its first requests are due.

use std::{num::NonZeroU32, time::Duration};

use report::{PlannedCurve, PlannedLevel, PlannedLoad, PlannedPause, PlannedStage, PlannedStagger};
use workload::{
    ArrivalProcess, CapPolicy, Drive, Offered, Pause, Plan, RampUp, Shard, Stage, StageKind,
    ThinkTime,
};

/// Due instants shown.
const FIRST_DUE: usize = 5;

pub(super) fn load(plan: &Plan) -> PlannedLoad {
    match plan.drive {
        Drive::Open { cap, policy } => PlannedLoad::Open {
            arrivals: process_of_all(plan),
            cap: cap.map(NonZeroU32::get),
            drops: policy == CapPolicy::Drop,
        },
        Drive::Closed { slots, ramp_up, ramp_up_source, pause } => PlannedLoad::Closed {
            pause: planned_pause(pause),
            slots: slots.get(),
            stagger: match ramp_up_source {
                RampUp::Configured | RampUp::Probed => PlannedStagger::Over(ramp_up),
                RampUp::Open => PlannedStagger::Probed,
                RampUp::NotNeeded => PlannedStagger::Ramp,
            },
        },
    }
}

pub(super) fn planned_stage(stage: &Stage, requests: Option<u64>) -> PlannedStage {
    let level = match stage.offered {
        Offered::Constant { level } => PlannedLevel::Constant(level),
        Offered::Linear { from, to } => PlannedLevel::Linear(from, to),
        Offered::Exponential { from, to } => PlannedLevel::Exponential(from, to),
        Offered::Sine { level, amplitude, period } => {
            PlannedLevel::Sine { mean: level, amplitude, period }
        }
        Offered::OnOff { level, off_level, on, off } => {
            PlannedLevel::OnOff { level, off_level, on, off }
        }
        Offered::Listed { level } => PlannedLevel::Constant(level),
        Offered::Burst { level, size, width } => PlannedLevel::Burst {
            mean: level,
            size: size.get(),
            every: Duration::try_from_secs_f64(f64::from(size.get()) / level)
                .unwrap_or(Duration::MAX),
            width,
        },
    };
    PlannedStage {
        name: stage.name.clone(),
        headline: stage.kind == StageKind::Hold,
        start: stage.start,
        end: stage.end,
        level,
        arrivals: match stage.arrivals {
            ArrivalProcess::Gamma { burstiness } => format!("gamma {burstiness}"),
            _ => process(stage).to_owned(),
        },
        requests,
    }
}

fn process(stage: &Stage) -> &'static str {
    match (stage.offered, stage.arrivals) {
        (Offered::Burst { .. }, _) => "burst",
        (Offered::Listed { .. }, _) => "schedule",
        (_, ArrivalProcess::Even) => "even",
        (_, ArrivalProcess::Poisson) => "poisson",
        (_, ArrivalProcess::Gamma { .. }) => "gamma",
    }
}

fn process_of_all(plan: &Plan) -> &'static str {
    let first = plan.stages.first().map_or("even", process);
    if plan.stages.iter().all(|stage| process(stage) == first) { first } else { "mixed" }
}

fn planned_pause(pause: Pause) -> PlannedPause {
    match pause {
        Pause::None => PlannedPause::None,
        Pause::Rounds { every } => PlannedPause::Rounds { every },
        Pause::Think(time) => thinks(time),
    }
}

pub(super) fn thinks(time: ThinkTime) -> PlannedPause {
    let (distribution, mean) = match time {
        ThinkTime::Fixed { time } => ("fixed", time),
        ThinkTime::Exponential { mean } => ("exponential", mean),
        ThinkTime::Lognormal { mean, .. } => ("lognormal", mean),
        ThinkTime::Uniform { min, max } => ("uniform", (min + max) / 2),
    };
    PlannedPause::Think { distribution, mean }
}

/// The highest rate of any stage, in a burst's mean; `None` in a closed loop.
pub(super) fn peak_rate(plan: &Plan) -> Option<f64> {
    let Drive::Open { .. } = plan.drive else { return None };
    plan.stages.iter().map(|stage| stage.offered.highest()).reduce(f64::max)
}

/// What comes by rate in a plan of sessions is sessions.
pub(super) fn named(curve: PlannedCurve, plan: &Plan) -> PlannedCurve {
    match (&plan.sessions, curve.unit) {
        (Some(_), "requests/s") => PlannedCurve { unit: "sessions/s", ..curve },
        _ => curve,
    }
}

/// Different instants; of a closed loop the slots' starts, unless a probe is still to spread them.
pub(super) fn first_due(plan: &Plan) -> Vec<Duration> {
    let mut instants = Vec::new();
    match plan.drive {
        Drive::Open { .. } => {
            for arrival in plan.arrivals(Shard::WHOLE) {
                if instants.len() == FIRST_DUE {
                    break;
                }
                if instants.last() != Some(&arrival.due) {
                    instants.push(arrival.due);
                }
            }
        }
        Drive::Closed { ramp_up_source: RampUp::Open, .. } => {}
        Drive::Closed { .. } => {
            instants.extend((0..).map_while(|slot| plan.slot_start(slot)).take(FIRST_DUE));
        }
    }
    instants
}
