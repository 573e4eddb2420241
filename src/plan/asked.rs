//! What a plan would ask of whom, for the report to show: targets and classes with their shares, and the prompts of each.

use std::num::NonZeroU32;

use report::{
    PlannedClass, PlannedLengths, PlannedPrefix, PlannedPrefixSize, PlannedPrompts, PlannedService,
    PlannedTarget,
};
use workload::{
    Api, ClassText, LengthPlan, LengthShape, OutputLengths, Plan, PrefixLevel, PrefixSize,
    PromptKind, PromptPlan, PromptSource, SaltPlacement,
};

use crate::limits::Service;

/// Where requests go; of several places what they have in common.
pub(super) fn target(plan: &Plan, service: Service) -> PlannedTarget {
    let target = &plan.target;
    let is_one = service == Service::Elsewhere && plan.targets.is_empty();
    PlannedTarget {
        url: is_one.then(|| target.url.clone()),
        api: match target.api {
            Api::Chat => "chat",
            Api::Completions => "completions",
        },
        streamed: target.stream,
        model: target.model.clone(),
    }
}

/// Several services, each with its share of the requests.
pub(super) fn targets(plan: &Plan) -> Vec<PlannedService> {
    let all: f64 = plan.targets.iter().map(|target| target.weight).sum();
    let services = plan.targets.iter().map(|target| PlannedService {
        name: target.name.clone(),
        share: target.weight / all,
        url: target.url.clone(),
        model: target.model.clone().or_else(|| plan.target.model.clone()),
    });
    services.collect()
}

/// The kinds of requests, each with its share of them.
pub(super) fn classes(plan: &Plan, source: &PromptSource) -> Vec<PlannedClass> {
    let all: f64 = plan.classes.iter().map(|class| class.weight).sum();
    let classes = plan.classes.iter().zip(source.by_class()).map(|(class, text)| PlannedClass {
        name: class.name.clone(),
        share: class.weight / all,
        model: class.model.clone(),
        prompts: of_class(&class.prompts, text),
    });
    classes.collect()
}

/// What the run asks, where it has no classes.
pub(super) fn prompts(prompts: &PromptPlan, source: &PromptSource) -> PlannedPrompts {
    of_class(prompts, ClassText { wraps_at: source.wraps_at(), tokenizer: source.tokenizer_name() })
}

fn of_class(prompts: &PromptPlan, text: ClassText) -> PlannedPrompts {
    let (kind, path) = match &prompts.kind {
        PromptKind::Synthetic => ("synthetic", None),
        PromptKind::File { path, .. } => ("file", Some(path)),
        PromptKind::ShareGpt { path } => ("shareGPT", Some(path)),
    };
    let input = match path {
        None => drawn(&prompts.input_length),
        Some(_) => PlannedLengths::Recorded { max: prompts.max_input_tokens.map(u32::from) },
    };
    let output = match &prompts.output_length {
        OutputLengths::Drawn(length) => drawn(length),
        OutputLengths::Recorded { max } => PlannedLengths::Recorded { max: max.map(u32::from) },
    };
    PlannedPrompts {
        kind,
        file: path.map(|path| path.display().to_string()),
        records: text.wraps_at,
        shuffled: prompts.shuffle,
        salted: prompts.salt == SaltPlacement::Prepend,
        prefix_ratio: prompts.shared(),
        prefixes: prompts.prefixes.iter().map(prefix).collect(),
        input,
        output,
        tokenizer: text.tokenizer,
    }
}

fn prefix(level: &PrefixLevel) -> PlannedPrefix {
    PlannedPrefix {
        name: level.name.clone(),
        groups: level.groups.get(),
        size: match level.size {
            PrefixSize::Tokens(tokens) => PlannedPrefixSize::Tokens(tokens.get()),
            PrefixSize::Share(share) => PlannedPrefixSize::Share(share),
        },
        zipf: level.zipf,
    }
}

fn drawn(length: &LengthPlan) -> PlannedLengths {
    let distribution = match &length.shape {
        LengthShape::Normal { .. } => "normal",
        LengthShape::LogNormal { .. } => "lognormal",
        LengthShape::Uniform => "uniform",
        LengthShape::Empirical(_) => "empirical",
        LengthShape::Mixture(_) => "mixture",
    };
    PlannedLengths::Drawn {
        distribution,
        mean: length.mean(),
        stddev: length.stddev(),
        min: length.min.get(),
        max: length.max.map(NonZeroU32::get),
    }
}

#[cfg(test)]
mod tests {
    use workload::{Config, PlanInputs, Sources};

    use super::*;

    fn plan(sets: &[&str]) -> Plan {
        let sets = [&["load.rate=1"], sets].concat();
        let sets = sets.into_iter().map(str::to_owned).collect();
        let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
        Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 0 }).unwrap().0
    }

    #[test]
    fn several_targets_have_their_shares_and_the_models_that_they_are_asked_for() {
        let plan = plan(&[
            "target.model=m",
            "targets=[{name: a, endpoint: http://a/v1, weight: 9}, {endpoint: http://b:1/v1, model: other}]",
        ]);
        let shown = targets(&plan);
        let told: Vec<_> = shown
            .iter()
            .map(|it| (it.name.as_str(), it.share, it.url.as_str(), it.model.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("a", 0.9, "http://a/v1/chat/completions", Some("m")),
                ("b:1", 0.1, "http://b:1/v1/chat/completions", Some("other")),
            ]
        );
        assert_eq!(target(&plan, Service::Elsewhere).url, None, "no one address is that of all");
    }

    #[test]
    fn each_class_has_its_share_and_its_own_lengths() {
        let plan = plan(&[
            "target.endpoint=http://a/v1",
            "prompts.inputLength.mean=7",
            "classes=[{name: chat, weight: 3, prompts: {inputLength: {mean: 10}}}, {name: batch, weight: 1, model: x}]",
        ]);
        let (source, _) = PromptSource::open(&plan).unwrap();
        let shown = classes(&plan, &source);
        let mean = |class: &PlannedClass| match class.prompts.input {
            PlannedLengths::Drawn { mean, .. } => mean,
            PlannedLengths::Recorded { .. } => f64::NAN,
        };
        let told: Vec<_> = shown
            .iter()
            .map(|it| (it.name.as_str(), it.share, it.model.as_deref(), mean(it)))
            .collect();
        assert_eq!(told, [("chat", 0.75, None, 10.0), ("batch", 0.25, Some("x"), 7.0)]);
    }
}
