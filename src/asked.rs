//! What a run ordered, for files of other tools that say it: from the plan in its journal.

use std::num::NonZeroU32;

use coordinator::Stretches;
use report::{Asked, AskedLength, AskedStage, LengthForm, StoredRun, TextSource};
use workload::{
    ArrivalProcess, Drive, LengthPlan, LengthShape, Offered, OutputLengths, Plan, PromptKind,
    Stage, StageKind,
};

use crate::exit::Exit;

/// What the journal's plan says; without a journal only the exit code is known, and that is told.
pub(crate) fn asked(run: &StoredRun) -> Asked {
    let exit_code = Some(Exit::of(&run.result).code());
    match Stretches::open(&run.directory.join("journal")) {
        Ok(stretches) => Asked { exit_code, ..of(stretches.plan()) },
        Err(error) => {
            eprintln!("what was asked for (lengths, rate, concurrency) is not known: {error}");
            Asked { exit_code, ..Asked::default() }
        }
    }
}

fn of(plan: &Plan) -> Asked {
    let (is_closed, in_flight) = match plan.drive {
        Drive::Open { cap, .. } => (false, cap),
        Drive::Closed { slots, .. } => (true, Some(slots)),
    };
    // Kinds of requests have lengths of their own.
    let one_kind = plan.classes.is_empty();
    Asked {
        input: input(plan).filter(|_| one_kind),
        output: output(plan).filter(|_| one_kind),
        source: source(plan),
        burstiness: burstiness(plan),
        max_concurrency: in_flight.map(NonZeroU32::get),
        is_closed_loop: Some(is_closed),
        stages: plan.stages.iter().map(|stage| asked_stage(stage, is_closed)).collect(),
        exit_code: None,
    }
}

fn asked_stage(stage: &Stage, is_closed: bool) -> AskedStage {
    let level = match stage.offered {
        Offered::Constant { level } | Offered::Listed { level } | Offered::Burst { level, .. } => {
            Some(level)
        }
        Offered::Linear { .. }
        | Offered::Exponential { .. }
        | Offered::Sine { .. }
        | Offered::OnOff { .. } => None,
    };
    if is_closed {
        AskedStage { rate: None, concurrency: level }
    } else {
        AskedStage { rate: level, concurrency: None }
    }
}

/// Of made-up text: a data set has the lengths that it has.
fn input(plan: &Plan) -> Option<AskedLength> {
    let prompts = &plan.prompts;
    let length = length(&prompts.input_length);
    let shared = u32::try_from(prompts.prefix_tokens()).ok()?;
    (prompts.kind == PromptKind::Synthetic).then(|| AskedLength {
        mean: length.mean + f64::from(shared),
        min: length.min.saturating_add(shared),
        max: length.max.map(|max| max.saturating_add(shared)),
        ..length
    })
}

fn output(plan: &Plan) -> Option<AskedLength> {
    match &plan.prompts.output_length {
        OutputLengths::Drawn(drawn) => Some(length(drawn)),
        OutputLengths::Recorded { .. } => None,
    }
}

fn length(plan: &LengthPlan) -> AskedLength {
    let form = match &plan.shape {
        LengthShape::Normal { stddev: 0.0, .. } => LengthForm::Fixed,
        LengthShape::Normal { .. } => LengthForm::Normal,
        LengthShape::Uniform => LengthForm::Uniform,
        LengthShape::LogNormal { .. } | LengthShape::Empirical(_) | LengthShape::Mixture(_) => {
            LengthForm::Other
        }
    };
    AskedLength {
        form,
        mean: plan.mean(),
        stddev: plan.stddev(),
        min: plan.min.get(),
        max: plan.max.map(NonZeroU32::get),
    }
}

fn source(plan: &Plan) -> TextSource {
    let of = |kind: &PromptKind| match kind {
        PromptKind::Synthetic => TextSource::Random,
        PromptKind::File { .. } | PromptKind::ShareGpt { .. } => TextSource::Sampled,
    };
    let mut all = plan.classes.iter().map(|class| of(&class.prompts.kind));
    match all.next() {
        None => of(&plan.prompts.kind),
        Some(first) if all.all(|other| other == first) => first,
        Some(_) => TextSource::Unknown,
    }
}

/// One for all measured stages, or none.
fn burstiness(plan: &Plan) -> Option<f64> {
    let Drive::Open { .. } = plan.drive else { return None };
    let of = |stage: &Stage| match (stage.offered, stage.arrivals) {
        (Offered::Burst { .. } | Offered::Listed { .. }, _) | (_, ArrivalProcess::Even) => None,
        (_, ArrivalProcess::Poisson) => Some(1.0),
        (_, ArrivalProcess::Gamma { burstiness }) => Some(burstiness),
    };
    let mut measured = plan.stages.iter().filter(|stage| stage.kind == StageKind::Hold).map(of);
    let first = measured.next()??;
    measured.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use workload::{Config, PlanInputs, Sources};

    use super::*;

    fn asked_of(sets: &[&str]) -> Asked {
        let always = ["target.endpoint=http://t/v1", "target.model=m"];
        let sets = always.iter().chain(sets).map(|set| (*set).to_owned()).collect();
        let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
        let inputs = PlanInputs { model: None, prompt_salt: 1 };
        of(&Plan::from_config(&config, &inputs).unwrap().0)
    }

    #[test]
    fn an_open_loop_has_a_rate_and_a_burstiness() {
        let asked = asked_of(&["load.rate=5", "load.arrivals=poisson", "load.concurrency=9"]);
        assert_eq!((asked.is_closed_loop, asked.burstiness), (Some(false), Some(1.0)));
        assert_eq!(asked.max_concurrency, Some(9));
        assert_eq!(asked.stages, [AskedStage { rate: Some(5.0), concurrency: None }]);
        let input = asked.input.unwrap();
        assert_eq!((input.form, input.mean, input.min), (LengthForm::Normal, 550.0, 1));
        assert_eq!(asked_of(&["load.rate=5"]).burstiness, None, "even gaps have none");
    }

    #[test]
    fn a_closed_loop_has_its_slots_and_shared_beginnings_count() {
        let sets = [
            "load.concurrency=4",
            "prompts.inputLength={mean: 100, stddev: 0}",
            "prompts.prefixes=[{groups: 2, tokens: 30}]",
        ];
        let asked = asked_of(&sets);
        assert_eq!((asked.is_closed_loop, asked.max_concurrency), (Some(true), Some(4)));
        assert_eq!(asked.stages.last().unwrap().concurrency, Some(4.0));
        let input = asked.input.unwrap();
        assert_eq!((input.form, input.mean), (LengthForm::Fixed, 130.0));
    }

    #[test]
    fn kinds_of_requests_have_no_length_in_common() {
        let asked =
            asked_of(&["load.rate=5", "classes=[{name: a, weight: 1}, {name: b, weight: 1}]"]);
        assert_eq!((asked.input, asked.output, asked.source), (None, None, TextSource::Random));
    }
}
