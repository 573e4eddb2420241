use super::*;
use crate::config::{Config, Sources};

const INPUTS: PlanInputs = PlanInputs { model: None, prompt_salt: 7 };

fn config(sets: &[&str]) -> Config {
    Config::load(Sources {
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        ..Sources::default()
    })
    .unwrap()
}

fn plan(sets: &[&str]) -> Plan {
    planned(sets).0
}

/// The plan and the codes of its warnings, against a target that is always there.
fn planned(sets: &[&str]) -> (Plan, Vec<String>) {
    let with_target: Vec<&str> =
        ["target.endpoint=http://t/v1"].iter().chain(sets).copied().collect();
    let (plan, warnings) = Plan::from_config(&config(&with_target), &INPUTS).unwrap();
    (plan, warnings.into_iter().map(|warning| warning.code).collect())
}

fn refusal(sets: &[&str]) -> Vec<String> {
    let problems = Plan::from_config(&config(sets), &INPUTS).expect_err("this plan is refused");
    problems.iter().map(std::string::ToString::to_string).collect()
}

fn seconds(stages: &[Stage]) -> Vec<(&str, u64, Option<u64>)> {
    stages
        .iter()
        .map(|stage| {
            (stage.name.as_str(), stage.start.as_secs(), stage.end.map(|end| end.as_secs()))
        })
        .collect()
}

#[test]
fn the_first_documented_file_loads_unmodified() {
    let yaml = r#"
benchmark: {name: "throughput-test", duration: 300, warmup: 30}          # seconds
target: {endpoint: "http://gateway/v1/chat/completions", model: "llama-70b"}
load: {type: "constant", concurrency: 100, rate: 50}                     # constant | ramp | burst
prompts:
  type: "synthetic"                                                      # synthetic | file | shareGPT
  inputLength: {mean: 500, stddev: 100}
  outputLength: {mean: 200, stddev: 50}
metrics:
  collect: [ttft, itl, throughput, errors]
  prometheus:
    endpoint: "http://prometheus:9090"
    queries: [{name: gpu_utilization, query: nvidia_gpu_duty_cycle}]
"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, yaml).unwrap();
    let config = Config::load(Sources { file: Some(file), ..Sources::default() }).unwrap();
    let (plan, warnings) = Plan::from_config(&config, &INPUTS).unwrap();
    assert_eq!(seconds(&plan.stages), [("warmup", 0, Some(30)), ("hold", 30, Some(330))]);
    assert_eq!(plan.drive, Drive::Open { cap: NonZeroU32::new(100), policy: CapPolicy::Hold });
    assert_eq!(plan.stages[1].offered, Offered::Constant { level: 50.0 });
    assert_eq!(plan.target.url, "http://gateway/v1/chat/completions");
    assert_eq!(plan.collect, ["ttft", "itl", "throughput", "error_rate"]);
    assert_eq!(plan.prompts.input_length, LengthPlan::normal(500.0, 100.0));
    assert_eq!(plan.mean_output_tokens(), 200.0);
    assert!(warnings.is_empty(), "{warnings:?}");
    let queries: Vec<_> = config.named_queries().collect();
    assert_eq!(queries, [("gpu_utilization".to_owned(), "nvidia_gpu_duty_cycle".to_owned())]);
    assert_eq!((plan.headline(0), plan.headline(1), plan.headline(2)), (false, true, false));
    assert_eq!(plan.stage_at(Duration::from_secs(30)), Some(1));
    assert_eq!(plan.stage_at(Duration::from_secs(330)), None);
    assert_eq!(
        (plan.end(), plan.duration()),
        (Some(Duration::from_secs(330)), Some(Duration::from_secs(300)))
    );
}

#[test]
fn the_second_documented_file_loads_with_a_target_from_the_environment() {
    let yaml = r#"
benchmark: {name: "cache-effectiveness", duration: 600}
load: {type: "shareGPT", dataset: "ShareGPT_V3_unfiltered.json", prefixRatio: 0.5}   # closed loop over a data set
metrics: {collect: [cache_hit_ratio, ttft, throughput]}                  # target comes from flags or environment
"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.yaml");
    std::fs::write(&file, yaml).unwrap();
    let env = vec![("OPENAI_API_BASE".to_owned(), "http://gateway/v1".to_owned())];
    let config = Config::load(Sources { file: Some(file), env, ..Sources::default() }).unwrap();
    let (plan, warnings) = Plan::from_config(&config, &INPUTS).unwrap();
    let slots = NonZeroU32::new(32).unwrap();
    assert_eq!(
        plan.drive,
        Drive::Closed {
            slots,
            ramp_up: Duration::ZERO,
            ramp_up_source: RampUp::Open,
            pause: Pause::None
        }
    );
    assert_eq!(
        plan.prompts.kind,
        PromptKind::ShareGpt { path: folder.path().join("ShareGPT_V3_unfiltered.json") }
    );
    assert_eq!(plan.prompts.prefix_ratio, 0.5);
    assert_eq!(plan.prompts.output_length, OutputLengths::Recorded { max: None });
    assert_eq!(warnings, []);
    assert_eq!(plan.prompt_salt, 7);
}

#[test]
fn a_compact_binary_codec_round_trips_every_part() {
    let sets = [
        "load.type=burst",
        "load.rate=10",
        "load.burst.width=100ms",
        "target.extraBody={a: 1}",
        "prompts.file=/tmp/a.csv",
        "prompts.tokenizer=/tmp/t.json",
        "client.lanes=3",
        "benchmark.requests=9",
        "target.headers.x-a=b",
    ];
    let plan = plan(&sets);
    let bytes = bincode::serde::encode_to_vec(&plan, bincode::config::standard()).unwrap();
    let (again, read): (Plan, usize) =
        bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
    assert_eq!((again, read), (plan, bytes.len()));
}

#[test]
fn a_ramp_takes_half_of_the_duration_and_is_held() {
    let ramp = plan(&[
        "load.type=ramp",
        "load.rate=80",
        "benchmark.duration=10",
        "benchmark.warmup=2",
        "load.ramp.from=20",
    ]);
    assert_eq!(
        seconds(&ramp.stages),
        [("warmup", 0, Some(2)), ("ramp", 2, Some(7)), ("hold", 7, Some(12))]
    );
    let loads: Vec<Offered> = ramp.stages.iter().map(|stage| stage.offered).collect();
    let linear = Offered::Linear { from: 20.0, to: 80.0 };
    assert_eq!(
        loads,
        [Offered::Constant { level: 20.0 }, linear, Offered::Constant { level: 80.0 }]
    );
    let (_, warnings) =
        planned(&["load.type=ramp", "load.rate=80", "benchmark.duration=10", "load.ramp.over=10"]);
    assert_eq!(warnings, ["no_headline"]);
    let (_, warnings) = planned(&["load.type=ramp", "load.rate=80", "benchmark.warmup=2"]);
    assert_eq!(warnings, ["warmup_idle"]);
}

#[test]
fn a_length_can_be_required_only_where_it_is_asked_of_the_server() {
    let required = ["load.rate=1", "answers.require=length"];
    for asked in ["target.ignoreEos=true", "target.minTokens=true"] {
        assert!(plan(&[&required[..], &[asked]].concat()).required.length);
    }
    assert!(!plan(&["load.rate=1"]).required.length);
    let refused = refusal(&required);
    assert!(refused.iter().any(|line| line.contains("target.ignoreEos")), "{refused:?}");
}

#[test]
fn requests_alone_leave_the_end_open() {
    let by_requests = plan(&["load.concurrency=4", "benchmark.requests=40"]);
    assert_eq!((by_requests.end(), by_requests.requests), (None, Some(40)));
    let by_both = plan(&["load.concurrency=4", "benchmark.requests=40", "benchmark.duration=5"]);
    assert_eq!(by_both.end(), Some(Duration::from_secs(5)));
    assert_eq!(plan(&["load.concurrency=4"]).end(), Some(Duration::from_secs(60)));
}

#[test]
fn the_stagger_is_the_users_or_the_probes() {
    let open = plan(&["load.concurrency=4", "benchmark.duration=10"]);
    assert!(open.needs_ramp_up());
    // More than a tenth of 10 s is too much.
    assert_eq!(open.ramp_up_for(Duration::from_millis(750)), Duration::from_millis(750));
    assert_eq!(open.ramp_up_for(Duration::from_millis(7_500)), Duration::from_secs(1));
    let fixed = open.with_ramp_up(Duration::from_secs(1));
    assert!(!fixed.needs_ramp_up());
    assert_eq!(fixed.slot_start(3), Some(Duration::from_millis(750)));
    let configured = plan(&["load.concurrency=4", "load.rampUp=2"]);
    assert_eq!(configured.clone().with_ramp_up(Duration::from_secs(9)), configured);
    assert!(!plan(&["load.type=ramp", "load.concurrency=4"]).needs_ramp_up());
}

#[test]
fn every_problem_of_a_plan_is_reported_at_once() {
    let lines = refusal(&[
        "load.type=burst",
        "load.concurrency=3",
        "prompts.type=file",
        "prompts.inputLength.mean=5",
        "prompts.inputLength.min=9",
    ]);
    assert_eq!(
        lines,
        [
            "no target: set `target.endpoint` (or OPENAI_API_BASE), or add a `simulator` section",
            "`load.type: burst` needs `load.rate`, its mean rate",
            "`prompts.type: file` needs a file: set `prompts.file`",
            "`prompts.inputLength.mean` is 5, outside of 9 … ∞: the mean must lie between `min` and `max`",
        ]
    );
}

#[test]
fn bounds_that_leave_nothing_are_named_themselves() {
    let bounds = ["prompts.inputLength.min=100", "prompts.inputLength.max=50"];
    let lines = refusal(&[&["target.endpoint=http://t/v1", "load.rate=1"], &bounds[..]].concat());
    assert_eq!(lines, ["`prompts.inputLength.min` is 100, above `prompts.inputLength.max` (50)"]);
}

#[test]
fn loads_that_make_no_sense_are_refused() {
    for (sets, words) in [
        (&["prompts.type=synthetic"][..], "no load: set `load.rate`"),
        (
            &["load.type=shareGPT", "load.dataset=a.json", "load.rate=5"],
            "`load.rate` does not go with `load.type: shareGPT`",
        ),
        (&["load.type=shareGPT"], "`prompts.type: shareGPT` needs a file: set `load.dataset`"),
        (
            &["load.type=ramp", "load.concurrency=4", "load.ramp.to=3.5"],
            "a whole number of requests in flight",
        ),
        (
            &[
                "load.type=ramp",
                "load.concurrency=4",
                "load.ramp.from=5",
                "benchmark.requests=9",
                "benchmark.duration=9",
            ],
            "users become fewer",
        ),
        (
            &["load.type=ramp", "load.rate=4", "load.ramp.over=90"],
            "`load.ramp.over` is 90s, longer than `benchmark.duration` (60s)",
        ),
        (
            &["load.type=ramp", "load.rate=4", "benchmark.requests=9"],
            "`load.ramp.over` or `benchmark.duration`",
        ),
        (
            &["load.type=burst", "load.rate=4", "load.burst.size=8", "load.burst.width=3"],
            "longer than the time between bursts (2s)",
        ),
        (
            &["load.type=burst", "load.rate=4", "load.arrivals=poisson"],
            "`load.arrivals: poisson` does not go with",
        ),
        (
            &["load.concurrency=4", "load.rampUp=60"],
            "`load.rampUp` is 60s, longer than the run (60s)",
        ),
        (&["load.type=sine", "load.rate=4", "load.sine.amplitude=5"], "would fall below 0"),
        (&["load.type=sine", "load.concurrency=4"], "`load.type: sine` needs `load.rate`"),
        (&["load.type=onOff", "load.rate=4", "load.onOff.on=5"], "`load.onOff.off`"),
        (&["load.rate=4", "load.arrivals=gamma"], "needs `load.burstiness`"),
        (
            &["load.type=ramp", "load.rate=4", "load.ramp.shape=exponential"],
            "`load.ramp.from` above 0",
        ),
        (&["load.type=ramp", "load.rate=4", "load.ramp.shape=steps"], "needs `load.ramp.steps`"),
        (
            &["load.type=ramp", "load.concurrency=4", "load.ramp.shape=steps", "load.ramp.steps=3"],
            "a whole number of requests in flight",
        ),
        (&["load.rounds.size=3"], "needs `load.rounds.minSeconds`"),
        (&["load.rounds={size: 3, minSeconds: 9}", "load.rate=3"], "a round's size is the number"),
        (
            &["load.concurrency=3", "load.thinkTime={distribution: uniform, min: 3, max: 2}"],
            "above `load.thinkTime.max`",
        ),
        (
            &["load.concurrency=3", "load.thinkTime={distribution: lognormal, mean: 3}"],
            "a `stddev`",
        ),
        (
            &["load.concurrency=3", "benchmark.requests=9", "benchmark.cooldown=1"],
            "`benchmark.cooldown` needs `benchmark.duration`",
        ),
        (&["load.rate=4", "prompts.file=a.txt", "prompts.dataset=b.json"], "name different files"),
        (
            &["load.rate=4", "prompts.type=synthetic", "prompts.file=a.txt"],
            "`prompts.file` does not go with",
        ),
        (&["load.rate=4", "prompts.file=a.pdf"], "must end in .txt, .jsonl, .json or .csv"),
        (&["load.rate=4", "prompts.file=a.txt", "prompts.prefixRatio=1"], "less than the whole"),
        (&["load.rate=4", "prompts.prefixRatio=0.1", "load.prefixRatio=0.2"], "set one of them"),
        (
            &["load.rate=4", "target.headers.content-length=3"],
            "`target.headers` has content-length",
        ),
    ] {
        let with_target: Vec<&str> =
            ["target.endpoint=http://t/v1"].iter().chain(sets).copied().collect();
        let lines = refusal(&with_target);
        assert!(lines.len() == 1 && lines[0].contains(words), "{sets:?}: {lines:?}");
    }
}

#[test]
fn keys_without_effect_are_warned_of() {
    let (_, warnings) =
        planned(&["load.rate=4", "load.burst.size=3", "load.rampUp=1", "prompts.shuffle=true"]);
    assert_eq!(warnings, ["key_unused"; 3]);
    let (_, warnings) = planned(&[
        "load.concurrency=4",
        "load.arrivals=poisson",
        "prompts.file=a.txt",
        "prompts.inputLength.mean=3",
    ]);
    assert_eq!(warnings, ["key_unused"; 2]);
}

#[test]
fn a_ramp_goes_by_factors_or_in_steps() {
    let ramp = ["load.type=ramp", "load.rate=80", "load.ramp.from=20", "benchmark.duration=12"];
    let exponential = plan(&[&ramp[..], &["load.ramp.shape=exponential"]].concat());
    assert_eq!(exponential.stages[0].offered, Offered::Exponential { from: 20.0, to: 80.0 });
    let steps = plan(
        &[&ramp[..], &["load.ramp.shape=steps", "load.ramp.steps=3", "load.ramp.over=9"]].concat(),
    );
    assert_eq!(
        seconds(&steps.stages),
        [
            ("ramp-1", 0, Some(3)),
            ("ramp-2", 3, Some(6)),
            ("ramp-3", 6, Some(9)),
            ("hold", 9, Some(12))
        ]
    );
    let levels: Vec<f64> = steps.stages.iter().map(|stage| stage.offered.starting()).collect();
    assert_eq!(levels, [20.0, 40.0, 60.0, 80.0]);
    assert!((0..3).all(|step| !steps.headline(step)) && steps.headline(3));
}

#[test]
fn a_cool_down_follows_the_duration_at_the_last_level() {
    let sets = ["load.type=ramp", "load.rate=80", "benchmark.duration=10", "benchmark.cooldown=4"];
    let cooled = plan(&sets);
    assert_eq!(
        seconds(&cooled.stages),
        [("ramp", 0, Some(5)), ("hold", 5, Some(10)), ("cooldown", 10, Some(14))]
    );
    assert_eq!(cooled.stages[2].offered, Offered::Constant { level: 80.0 });
    assert!(!cooled.headline(2));
    assert_eq!(cooled.duration(), Some(Duration::from_secs(10)));
}

#[test]
fn warm_up_and_cool_down_can_be_counted_in_requests() {
    let sets = [
        "load.rate=20",
        "benchmark.duration=10",
        "benchmark.warmupRequests=30",
        "benchmark.cooldownRequests=7",
    ];
    for more in [
        &[][..],
        &["load.arrivals=poisson"],
        &["load.burstiness=0.4"],
        &["load.type=burst", "load.burst.size=10"],
    ] {
        let counted = plan(&[&sets[..], more].concat());
        let mut by_stage = [0, 0, 0];
        for arrival in counted.arrivals(crate::Shard::WHOLE) {
            by_stage[usize::from(arrival.stage)] += 1;
        }
        assert_eq!((by_stage[0], by_stage[2]), (30, 7), "{more:?}");
        assert_eq!(counted.stages[1].length(), Some(Duration::from_secs(10)));
        assert_eq!(counted.duration(), Some(Duration::from_secs(10)));
        assert!(!counted.headline(0) && counted.headline(1) && !counted.headline(2));
    }
    let target = "target.endpoint=http://t/v1";
    let closed = refusal(&[target, "load.concurrency=3", "benchmark.warmupRequests=30"]);
    assert!(closed[0].contains("closed loop"), "{closed:?}");
    let both =
        refusal(&[target, "load.rate=3", "benchmark.cooldownRequests=30", "benchmark.cooldown=3"]);
    assert!(both[0].contains("does not go with `benchmark.cooldown`"), "{both:?}");
    let nothing = refusal(&[target, "load.type=ramp", "load.rate=3", "benchmark.warmupRequests=3"]);
    assert!(nothing[0].contains("load.ramp.from"), "{nothing:?}");
}

#[test]
fn processes_and_pauses_are_read() {
    let arrivals = |sets: &[&str]| plan(&[&["load.rate=4"], sets].concat()).stages[0].arrivals;
    assert_eq!(arrivals(&["load.burstiness=0.5"]), ArrivalProcess::Gamma { burstiness: 0.5 });
    assert_eq!(arrivals(&["load.arrivals=gamma", "load.burstiness=1"]), ArrivalProcess::Poisson);
    let pause = |sets: &[&str]| match plan(sets).drive {
        Drive::Closed { pause, slots, .. } => (pause, slots.get()),
        Drive::Open { .. } => panic!("open"),
    };
    let second = Duration::from_secs;
    assert_eq!(
        pause(&["load.concurrency=4", "load.thinkTime.mean=2"]),
        (Pause::Think(ThinkTime::Exponential { mean: second(2) }), 4)
    );
    assert_eq!(
        pause(&["load.rounds={size: 3, minSeconds: 60}"]),
        (Pause::Rounds { every: second(60) }, 3)
    );
    assert!(!plan(&["load.rounds={size: 3, minSeconds: 60}"]).needs_ramp_up());
    let dropping = plan(&["load.rate=4", "load.concurrency=2", "load.capPolicy=drop"]);
    assert_eq!(dropping.drive, Drive::Open { cap: NonZeroU32::new(2), policy: CapPolicy::Drop });
}

/// A list of stages above `load.arrivals: poisson`.
fn listed(stages: &str, sets: &[&str]) -> (Plan, Vec<String>) {
    let list = format!("stages={stages}");
    planned(&[&[list.as_str()], sets].concat())
}

#[test]
fn a_list_of_stages_is_laid_out_in_order_and_inherits_the_load() {
    let list = "[{name: low, rate: 5, duration: 10}, \
                 {name: up, type: ramp, ramp: {from: 5, to: 20}, rate: 20, duration: 6}, \
                 {name: high, rate: 20, duration: 10, burstiness: 0.5, arrivals: gamma}, \
                 {name: burst, type: burst, rate: 4, burst: {size: 8}, arrivals: even, duration: 4}, \
                 {type: ramp, ramp: {from: 4, over: 2s}, rate: 8, duration: 5}]";
    let sets = ["load.arrivals=poisson", "benchmark.warmup=3", "load.concurrency=50"];
    let (plan, warnings) = listed(list, &sets);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(
        seconds(&plan.stages),
        [
            ("warmup", 0, Some(3)),
            ("low", 3, Some(13)),
            ("up", 13, Some(19)),
            ("high", 19, Some(29)),
            ("burst", 29, Some(33)),
            ("stage-5-ramp", 33, Some(35)),
            ("stage-5", 35, Some(38)),
        ]
    );
    let headline: Vec<u16> = (0..7).filter(|stage| plan.headline(*stage)).collect();
    assert_eq!(headline, [1, 3, 4, 6]);
    assert_eq!(plan.stages[1].arrivals, ArrivalProcess::Poisson);
    assert_eq!(plan.stages[3].arrivals, ArrivalProcess::Gamma { burstiness: 0.5 });
    assert_eq!(plan.drive, Drive::Open { cap: NonZeroU32::new(50), policy: CapPolicy::Hold });
}

#[test]
fn chosen_stages_alone_are_the_headline() {
    let list =
        "[{name: a, rate: 5, duration: 10}, {name: b, rate: 9, duration: 10, headline: true}]";
    let (plan, _) = listed(list, &[]);
    assert_eq!((plan.headline(0), plan.headline(1)), (false, true));
    let list =
        "[{name: a, rate: 5, duration: 10, headline: false}, {name: b, rate: 9, duration: 10}]";
    let (plan, _) = listed(list, &[]);
    assert_eq!((plan.headline(0), plan.headline(1)), (false, true));
}

#[test]
fn a_closed_list_has_as_many_slots_as_its_largest_stage() {
    let list = "[{concurrency: 8, duration: 10}, {concurrency: 16, duration: 10}, {concurrency: 4, duration: 10}]";
    let (plan, _) = listed(list, &["load.rate=5"]);
    let Drive::Closed { slots, .. } = plan.drive else { panic!("open") };
    assert_eq!((slots.get(), plan.needs_ramp_up()), (16, true));
}

#[test]
fn a_duration_that_comes_first_cuts_the_list_and_says_so() {
    let list = "[{name: a, rate: 5, duration: 10}, {name: b, type: ramp, rate: 9, ramp: {from: 1}, duration: 10}, {name: c, rate: 9, duration: 10}]";
    let (plan, warnings) = listed(list, &["benchmark.duration=15"]);
    assert_eq!(warnings, ["stages_cut"]);
    assert_eq!(seconds(&plan.stages), [("a", 0, Some(10)), ("b", 10, Some(15))]);
    assert_eq!(plan.stages[1].offered, Offered::Linear { from: 1.0, to: 5.0 });
    let (_, warnings) = listed(list, &["benchmark.duration=45"]);
    assert_eq!(warnings, ["key_unused"]);
}

#[test]
fn every_problem_of_a_list_names_its_stage() {
    let list = "stages=[{name: a, rate: 5, duration: 1}, {name: a, concurrency: 3, duration: 5}, \
        {name: b, type: sine, rate: 4, sine: {amplitude: 9}, duration: 5}, {name: c, type: onOff, rate: 4, duration: 1, concurrency: 7}]";
    let lines = refusal(&["target.endpoint=http://t/v1", list]);
    let told = [
        "named `a`",
        "stage `b`: `load.sine.amplitude` is 9",
        "stage `c`: `load.type: onOff` needs `load.onOff.on`",
        "mixes an open loop",
        "stage `c` has another cap",
    ];
    for words in told {
        assert_eq!(
            lines.iter().filter(|line| line.contains(words)).count(),
            1,
            "{words}: {lines:#?}"
        );
    }
    assert_eq!(lines.len(), told.len(), "{lines:#?}");
}

#[test]
fn a_mistake_that_stages_inherit_is_told_once() {
    let of = |list: &str| {
        let load = ["target.endpoint=http://t/v1", "load.type=ramp", "load.ramp.shape=exponential"];
        refusal(&[&load[..], &[list]].concat())
    };
    let problem = "`load.ramp.shape: exponential` needs `load.ramp.from` above 0";
    let lines = of("stages=[{name: a, rate: 5, duration: 9}, {name: b, rate: 7, duration: 9}]");
    assert_eq!(lines, [format!("every stage: {problem}")]);
    let lines = of(
        "stages=[{name: a, rate: 5, duration: 9}, {name: b, rate: 7, duration: 9, type: constant}, \
        {name: c, rate: 7, duration: 9}]",
    );
    assert_eq!(lines, [format!("stages `a` and `c`: {problem}")]);
    let lines = of("stages=[{name: a, duration: 9}, {name: b, duration: 9}]");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].starts_with("every stage: no load"), "{lines:#?}");
}

#[test]
fn a_mean_alone_is_exact_and_bounds_alone_pull_the_default_inside() {
    let lengths =
        plan(&["load.rate=1", "prompts.outputLength.mean=64", "prompts.inputLength.max=100"])
            .prompts;
    assert_eq!(lengths.output_length, OutputLengths::Drawn(LengthPlan::normal(64.0, 0.0)));
    assert_eq!(
        lengths.input_length,
        LengthPlan { max: NonZeroU32::new(100), ..LengthPlan::normal(100.0, 150.0) }
    );
}

#[test]
fn lengths_are_of_the_distribution_that_the_keys_imply() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lengths.txt");
    std::fs::write(&file, "# tokens\n100\n\n20, 3\n100\n").unwrap();
    let named = format!("prompts.inputLength.file={}", file.display());
    let lengths = plan(&[
        "load.rate=1",
        &named,
        "prompts.outputLength.mixture=[{weight: 3, mean: 10}, {weight: 1, distribution: uniform, min: 5, max: 9}]",
    ])
    .prompts;
    let counted = |tokens, count| Counted { tokens: NonZeroU32::new(tokens).unwrap(), count };
    assert_eq!(
        lengths.input_length.shape,
        LengthShape::Empirical(vec![counted(20, 3), counted(100, 2)])
    );
    // (3 · 10 + 7) / 4
    assert_eq!(lengths.output_length.mean(), 9.25);
    let lognormal = plan(&[
        "load.rate=1",
        "prompts.inputLength={distribution: lognormal, mean: 400, stddev: 300}",
    ]);
    assert_eq!(
        lognormal.prompts.input_length.shape,
        LengthShape::LogNormal { mean: 400.0, stddev: 300.0 }
    );
    let (_, warnings) =
        planned(&["load.rate=1", "prompts.inputLength={distribution: fixed, mean: 4, stddev: 2}"]);
    assert_eq!(warnings, ["key_unused"]);
}

#[test]
fn impossible_lengths_are_refused_each_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lengths.txt");
    std::fs::write(&file, "0\n12\n-3\n4,0\n5,x\n1.5\nseven\n").unwrap();
    let named = format!("prompts.inputLength={{file: {}}}", file.display());
    let lines = refusal(&["target.endpoint=http://t/v1", "load.rate=1", &named]);
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert!(lines[0].contains("line 1: `0` is no length"), "{lines:?}");
    assert!(lines[5].ends_with("and 1 more lines like these"), "{lines:?}");
    for (set, words) in [
        ("prompts.inputLength={distribution: uniform, max: 5}", "needs `min` and `max`"),
        ("prompts.inputLength={distribution: empirical}", "needs `file`"),
        ("prompts.inputLength={distribution: mixture}", "needs `mixture`"),
        (
            "prompts.inputLength={distribution: normal, file: a.txt}",
            "`prompts.inputLength.file` does not go with lengths that are normal",
        ),
        (
            "prompts.inputLength={mixture: [{weight: 1}]}",
            "`prompts.inputLength.mixture[0]` needs `mean`",
        ),
        (
            "prompts.outputLength={max: 50, mixture: [{weight: 1, mean: 9}, {weight: 1, mean: 60}]}",
            "`prompts.outputLength.mixture[1].mean` is 60, outside of 1 … 50",
        ),
        ("prompts.inputLength={file: /nonexistent/lengths}", "No such file"),
    ] {
        let lines = refusal(&["target.endpoint=http://t/v1", "load.rate=1", set]);
        assert!(lines.len() == 1 && lines[0].contains(words), "{set}: {lines:?}");
    }
}

#[test]
fn a_simulator_gives_address_and_model() {
    let (plan, _) =
        Plan::from_config(&config(&["simulator.fixed=true", "load.rate=1"]), &INPUTS).unwrap();
    assert_eq!(plan.target.url, "http://127.0.0.1:0/v1/chat/completions");
    assert_eq!(plan.target.model.as_deref(), Some("simulated"));
}

#[test]
fn credentials_are_not_in_the_plan() {
    let plan = plan(&[
        "load.rate=1",
        "target.headers.authorization=Bearer geheim",
        "target.headers.x-team=blue",
    ]);
    assert_eq!(plan.target.headers, [("x-team".to_owned(), "blue".to_owned())]);
    assert!(!format!("{plan:?}").contains("geheim"));
}

#[test]
fn what_nobody_is_asked_for_is_not_collected() {
    let codes = |more: &[&str]| {
        planned(&[&["load.rate=1", "metrics.collect=[ttft, queue_depth]"], more].concat()).1
    };
    assert_eq!(codes(&[]), ["not_collected"]);
    assert!(codes(&["metrics.scrape=[target]"]).is_empty());
    assert!(codes(&["metrics.prometheus.endpoint=http://p:9090"]).is_empty());
}

#[test]
fn a_fixed_salt_warns_of_warm_caches() {
    let (plan, warnings) = planned(&["load.rate=1", "benchmark.promptSalt=99"]);
    assert_eq!((plan.prompt_salt, warnings), (99, vec!["prompt_salt_fixed".to_owned()]));
}

#[test]
fn every_file_in_configs_makes_a_plan() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
    let env = vec![("OPENAI_API_BASE".to_owned(), "http://gateway/v1".to_owned())];
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let sources = Sources { file: Some(file.clone()), env: env.clone(), ..Sources::default() };
        let config = Config::load(sources).unwrap_or_else(|problems| panic!("{problems:?}"));
        let (plan, warnings) =
            Plan::from_config(&config, &INPUTS).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert!(warnings.iter().all(|warning| warning.code == "not_collected"), "{warnings:?}");
        assert_eq!(Some(plan.name.as_str()), file.file_stem().and_then(std::ffi::OsStr::to_str));
        names.push(plan.name);
    }
    for known in ["cache-effectiveness", "closed-loop", "constant", "demo", "throughput-test"] {
        assert!(names.iter().any(|name| name == known), "{known} is not in {names:?}");
    }
}
