use super::*;
use crate::plan::{LengthPlan, OutputLengths, PlanInputs};
use crate::{Config, Sources};

const INPUTS: PlanInputs = PlanInputs { model: None, prompt_salt: 7 };

const TWO: &str = "classes=[{name: chat, weight: 3, model: adapter-a, priority: -1, headers: {X-Llm-D-Inference-Objective: high}, \
     prompts: {inputLength: {mean: 10}}}, {name: batch, weight: 1, extraBody: {temperature: 0}}]";

fn load(sets: &[&str]) -> Config {
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::load(Sources { sets, ..Sources::default() }).unwrap()
}

fn plan(sets: &[&str]) -> Plan {
    Plan::from_config(&load(&[&["load.rate=10"], sets].concat()), &INPUTS).unwrap().0
}

fn refusal(sets: &[&str]) -> Vec<String> {
    let config = load(&[&["load.rate=10"], sets].concat());
    let problems = Plan::from_config(&config, &INPUTS).expect_err("this plan is refused");
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_class_is_the_runs_settings_with_its_own_in_their_place() {
    let plan = plan(&[
        "target.endpoint=http://t/v1",
        "target.extraBody={temperature: 1, top_k: 5}",
        "target.headers={x-llm-d-inference-objective: low, x-team: blue}",
        "prompts.inputLength.mean=20",
        "prompts.outputLength.mean=8",
        TWO,
    ]);
    let of = |class: usize| &plan.classes[class];
    assert_eq!((of(0).name.as_str(), of(0).weight, of(1).weight), ("chat", 3.0, 1.0));
    assert_eq!(of(0).prompts.input_length, LengthPlan::normal(10.0, 0.0));
    assert_eq!(of(1).prompts.input_length, LengthPlan::normal(20.0, 0.0));
    assert_eq!(of(0).prompts.output_length, OutputLengths::Drawn(LengthPlan::normal(8.0, 0.0)));
    // (3 · 10 + 20) / 4
    assert_eq!(plan.averaged(PromptPlan::mean_input_tokens), 12.5);
    let (chat, batch) = (plan.target_of(0), plan.target_of(1));
    assert_eq!((chat.model.as_deref(), batch.model), (Some("adapter-a"), None));
    assert_eq!(
        chat.headers,
        [("x-team", "blue"), ("x-llm-d-inference-objective", "high")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(chat.extra_body.as_deref(), Some(r#"{"temperature":1,"top_k":5,"priority":-1}"#));
    assert_eq!(batch.extra_body.as_deref(), Some(r#"{"temperature":0,"top_k":5}"#));
}

#[test]
fn classes_and_targets_come_by_their_weights_independently_of_each_other() {
    let plan = plan(&[
        "targets=[{endpoint: http://a:1/v1, weight: 1}, {endpoint: http://b/v1, weight: 1, name: second, model: other}]",
        TWO,
    ]);
    assert_eq!((plan.cells(), plan.target.url.as_str()), (4, "http://a:1/v1/chat/completions"));
    let names: Vec<_> = plan.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["a:1", "second"]);
    let mut counts = [0u32; 4];
    (0..16_000).for_each(|number| counts[usize::from(plan.cell_of(number))] += 1);
    // 6,000 and 2,000 a cell; five standard deviations: 5 × √(16,000 × 3/8 × 5/8) = 306.
    for (count, expected) in counts.into_iter().zip([6_000u32, 6_000, 2_000, 2_000]) {
        assert!(count.abs_diff(expected) < 306, "{counts:?}");
    }
    assert_eq!(plan.cell(3), Cell { class: 1, target: 1, turn: 0 });
    assert_eq!(plan.target_of(3).url, "http://b/v1/chat/completions");
    assert_eq!(plan.target_of(3).model.as_deref(), Some("other"));
    assert_eq!(plan.target_of(1).model.as_deref(), Some("adapter-a"), "the class's own wins");
    let arrivals: Vec<_> = plan.arrivals(crate::Shard::WHOLE).take(50).collect();
    assert!(arrivals.iter().all(|arrival| arrival.class == plan.cell_of(arrival.number)));
}

#[test]
fn impossible_classes_and_targets_are_refused_each_in_a_line() {
    let target = "target.endpoint=http://t/v1";
    for (sets, words) in [
        (
            vec![target, "classes=[{name: a, weight: 1}, {name: a, weight: 1}]"],
            "`classes` has two named `a`",
        ),
        (
            vec![target, "classes=[{name: a, weight: 1, headers: {x-api-key: geheim}}]"],
            "`classes[0].headers` has x-api-key, which looks like a credential",
        ),
        (
            vec![target, "classes=[{name: a, weight: 1, extraBody: {deep: {password: geheim}}}]"],
            "`classes[0].extraBody` has deep, which looks like a credential",
        ),
        (
            vec![target, "classes=[{name: a, weight: 1, prompts: {type: file}}]"],
            "classes[0]: `prompts.type: file` needs a file",
        ),
        (
            vec![target, "targets=[{endpoint: http://a/v1, weight: 1}]"],
            "`targets` does not go with `target.endpoint`",
        ),
        (
            vec![
                "targets=[{endpoint: http://a/v1/completions, weight: 1}, {endpoint: http://b/v1/chat/completions, weight: 1}]",
            ],
            "`targets[1]`: `target.api` is completions",
        ),
        (vec!["targets=[{endpoint: 'a:1', weight: 1}]"], "`targets[0]`: "),
        (
            vec!["targets=[{endpoint: http://a/v1, name: x}, {endpoint: http://b/v1, name: x}]"],
            "`targets` has two named `x`: give each a `name` of its own",
        ),
        (
            // Without names both are called by their host.
            vec![
                "targets=[{endpoint: http://a:1/v1}, {endpoint: http://a:1/v1/chat/completions}, {endpoint: http://a:1/v2}]",
            ],
            "`targets` has two named `a:1`: give each a `name` of its own",
        ),
    ] {
        let lines = refusal(&sets);
        assert!(lines.len() == 1 && lines[0].contains(words), "{sets:?}: {lines:?}");
        assert!(!lines[0].contains("geheim"));
    }
    let sets = vec!["classes=[{name: a, weight: -1}, {weight: 1}]".to_owned()];
    let problems = Config::load(Sources { sets, ..Sources::default() }).unwrap_err();
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(
        lines[0].contains("`classes[0].weight` is -1")
            && lines[1].contains("`classes[1].name` is missing"),
        "{lines:?}"
    );
}

#[test]
fn a_plan_with_classes_goes_through_a_compact_codec() {
    let plan =
        plan(&["target.endpoint=http://t/v1", TWO, "prompts.prefixes=[{tokens: 5, groups: 3}]"]);
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(&plan, config).unwrap();
    assert_eq!(bincode::serde::decode_from_slice::<Plan, _>(&bytes, config).unwrap().0, plan);
}
