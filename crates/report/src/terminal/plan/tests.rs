use metrics::Warning;

use super::*;
use crate::plan::{
    PlannedClass, PlannedCurve, PlannedLengths, PlannedPrefix, PlannedPrefixSize, PlannedPrompts,
    PlannedService, PlannedTarget, PlannedTokens, plan_json,
};

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn open_loop() -> PlanView {
    let stage = |name: &str, headline, start, end, level, requests| PlannedStage {
        name: name.to_owned(),
        headline,
        start: seconds(start),
        end: Some(seconds(end)),
        level,
        arrivals: "even".to_owned(),
        requests: Some(requests),
    };
    PlanView {
        name: "throughput-test".to_owned(),
        target: PlannedTarget {
            url: Some("http://gateway/v1/chat/completions".to_owned()),
            api: "chat",
            streamed: true,
            model: Some("llama-70b".to_owned()),
        },
        targets: Vec::new(),
        load: PlannedLoad::Open { arrivals: "even", cap: Some(100), drops: false },
        sessions: None,
        stages: vec![
            stage("ramp", false, 0.0, 150.0, PlannedLevel::Linear(0.0, 50.0), 3_750),
            stage("hold", true, 150.0, 300.0, PlannedLevel::Constant(50.0), 7_500),
        ],
        rules: Vec::new(),
        request_limit: None,
        requests: Some(11_250),
        last_due: None,
        drain: seconds(30.0),
        first_due: vec![Duration::ZERO, seconds(0.02), seconds(0.04)],
        prompts: PlannedPrompts {
            kind: "synthetic",
            file: None,
            records: None,
            shuffled: false,
            salted: false,
            prefix_ratio: 0.5,
            prefixes: Vec::new(),
            input: PlannedLengths::Drawn {
                distribution: "normal",
                mean: 500.0,
                stddev: 100.0,
                min: 1,
                max: None,
            },
            output: PlannedLengths::Drawn {
                distribution: "normal",
                mean: 200.0,
                stddev: 0.0,
                min: 1,
                max: Some(400),
            },
            tokenizer: "bundled (Qwen3)".to_owned(),
        },
        classes: Vec::new(),
        tokens: PlannedTokens {
            sampled: 1_000,
            each: InOut { input: Some(500.25), output: Some(200.0) },
            total: InOut { input: Some(5_627_812.0), output: Some(2_250_000.0) },
            per_s: InOut { input: Some(25_012.0), output: Some(10_000.0) },
        },
        shares: vec![
            PlannedShare { requests: Some(3_750), in_flight: Some(34) },
            PlannedShare { requests: Some(3_750), in_flight: Some(33) },
            PlannedShare { requests: Some(3_750), in_flight: Some(33) },
        ],
        curve: None,
        records: Some(PlannedRecords {
            share: 1.0,
            worker_bytes: Some(3.0e8),
            results_bytes: Some(1.2e9),
            limit_bytes: 1 << 30,
        }),
        cost: Some(PlannedCost {
            input_per_million: 0.5,
            output_per_million: 1.5,
            total: Some(6.19),
        }),
        warnings: vec![Warning::new("not_collected", "`queue_depth` is asked for")],
    }
}

/// Over a data set, ended by a number of requests.
fn closed_loop() -> PlanView {
    let open = open_loop();
    PlanView {
        name: "cache".to_owned(),
        target: PlannedTarget { url: None, model: None, ..open.target },
        load: PlannedLoad::Closed {
            slots: 32,
            stagger: PlannedStagger::Probed,
            pause: PlannedPause::None,
        },
        stages: vec![PlannedStage {
            name: "hold".to_owned(),
            headline: true,
            start: Duration::ZERO,
            end: None,
            level: PlannedLevel::Constant(32.0),
            arrivals: "even".to_owned(),
            requests: None,
        }],
        request_limit: Some(100),
        requests: Some(100),
        drain: Duration::ZERO,
        first_due: Vec::new(),
        prompts: PlannedPrompts {
            kind: "shareGPT",
            file: Some("talks.json".to_owned()),
            records: Some(1_234),
            prefix_ratio: 0.0,
            input: PlannedLengths::Recorded { max: Some(4_096) },
            output: PlannedLengths::Recorded { max: None },
            ..open.prompts
        },
        tokens: PlannedTokens {
            sampled: 100,
            each: InOut { input: Some(210.0), output: None },
            total: InOut { input: Some(21_000.0), output: None },
            per_s: InOut::default(),
        },
        shares: vec![PlannedShare { requests: None, in_flight: Some(32) }],
        curve: None,
        cost: None,
        records: None,
        warnings: Vec::new(),
        ..open
    }
}

#[test]
fn what_is_counted_of_sessions_is_sessions() {
    let mean = seconds(2.0);
    let pause = PlannedPause::Think { distribution: "exponential", mean };
    let sessions = Some(PlannedSessions { turns: 3.385, pause });
    let view = PlanView { sessions, request_limit: Some(40), ..open_loop() };
    let text = plan_text(&view, 100);
    for words in [
        "sessions     conversations of 3.4 turns on average",
        "the next asked about 2 s after the answer (exponential)",
        "5 min or 40 sessions, whichever comes first",
        "sessions/s",
        "about 500 a session",
        "each with 3,750 sessions",
    ] {
        assert!(
            text.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .contains(&words.split_whitespace().collect::<Vec<_>>().join(" ")),
            "no {words:?} in:\n{text}"
        );
    }
    assert!(!text.contains("requests/s") && !text.contains("a request"), "{text}");
    assert_eq!(plan_json(&view)["sessions"]["meanTurns"], 3.385);
}

#[test]
fn an_open_loop_with_a_ramp_over_three_workers() {
    insta::assert_snapshot!(plan_text(&open_loop(), 100), @"
    throughput-test: the plan; nothing was sent

    target       http://gateway/v1/chat/completions, model llama-70b (chat, streamed)
    load         open loop: requests start on schedule, evenly spaced, at most 100 in flight
    takes        5 min, then at most 30 s for answers still open

     stage          from           to   requests/s   requests
    ──────────────────────────────────────────────────────────
     ramp *          0 s   2 min 30 s       0 → 50      3,750
     hold     2 min 30 s        5 min           50      7,500
     total                                             11,250
    * not in the headline figures

    prompts      synthetic; 50 % of each is a prefix common to all; 500 ± 100 tokens in, 200 tokens out
                 (at most 400); tokenizer: bundled (Qwen3)
    tokens in    about 500 a request, 5.63 million in all, up to 25,000 a second
    tokens out   about 200 a request, 2.25 million in all, up to 10,000 a second
    cost         about 6.19 in all, at 0.5 and 1.5 a million tokens in and out
    records      of every request: about 286 MiB of disk a worker (at most 1,024 MiB), and 1,144 MiB in
                 the results
    workers      3, each with 3,750 requests, 33 to 34 in flight
    first due    0, 0.02, 0.04 … seconds after the start

    warning not_collected: `queue_depth` is asked for
    ");
}

#[test]
fn a_closed_loop_over_a_data_set() {
    insta::assert_snapshot!(plan_text(&closed_loop(), 80), @"
    cache: the plan; nothing was sent

    target       a simulator that the run starts itself, the first model of the
                 server's list (chat, streamed)
    load         closed loop: 32 users, each asks again when answered; they start
                 over about one request's time, which a probe measures
    takes        as long as 100 requests take; what is still open then is cancelled

     stage   from   to   users
    ───────────────────────────
     hold     0 s    –      32

    prompts      talks.json: 1,234 usable records, in file order and over again;
                 tokens in as recorded, up to 4,096, tokens out as recorded;
                 tokenizer: bundled (Qwen3)
    tokens in    210 a request, 21,000 in all
    tokens out   not known: not every record says
    ");
}

#[test]
fn the_load_is_drawn_over_a_line_of_the_stages() {
    let mut view = open_loop();
    // Up for the half of 300 s, as its stages are, then held.
    let values = (0..30).map(|step| f64::from(step.min(15)) * 50.0 / 15.0).collect();
    view.curve = Some(PlannedCurve { unit: "requests/s", step: seconds(10.0), values });
    let drawn = super::curve::drawn(&view, 34).unwrap();
    let lines: Vec<&str> = drawn.lines().collect();
    assert_eq!(lines.len(), 12, "{drawn}");
    assert_eq!(lines[0], "requests/s over time");
    let ink =
        |line: &str| line.chars().filter(|cell| ('\u{2801}'..='\u{28ff}').contains(cell)).count();
    let (top, bottom) = (ink(lines[1]), ink(lines[8]));
    assert!((14..=17).contains(&top) && (27..=30).contains(&bottom), "{drawn}");
    assert!(lines[1].starts_with("50 │") && lines[5].starts_with("25 │"), "{drawn}");
    assert_eq!(lines[10], "    ╵ramp          ╵hold");
    assert!(lines[11].starts_with("    0 s") && lines[11].ends_with("5 min"), "{drawn}");
    view.curve = None;
    assert_eq!(super::curve::drawn(&view, 34), None);
}

#[test]
fn waves_rounds_and_thoughts_are_told() {
    let sine = PlannedLevel::Sine { mean: 20.0, amplitude: 5.0, period: seconds(60.0) };
    assert_eq!(level(&sine), "20 ± 5 (a wave every 1 min)");
    let (on, off) = (seconds(10.0), seconds(20.0));
    let on_off = PlannedLevel::OnOff { level: 20.0, off_level: 0.0, on, off };
    assert_eq!(level(&on_off), "20 for 10 s, 0 for 20 s, in turn");
    assert_eq!(level(&PlannedLevel::Exponential(1.0, 64.0)), "1 → 64 (by factors)");
    let stagger = PlannedStagger::Over(Duration::ZERO);
    let closed = |pause| load(&PlannedLoad::Closed { slots: 3, stagger, pause });
    assert_eq!(
        closed(PlannedPause::Rounds { every: seconds(60.0) }),
        "closed loop in rounds: 3 users ask together, every 1 min, and who is not answered yet waits for the next round"
    );
    let mean = seconds(2.0);
    assert_eq!(
        closed(PlannedPause::Think { distribution: "exponential", mean }),
        "closed loop: 3 users, each asks again about 2 s after the answer (exponential); all start at once"
    );
    let open = PlannedLoad::Open { arrivals: "gamma", cap: Some(7), drops: true };
    assert!(load(&open).ends_with("at most 7 in flight, the rest dropped"));
}

#[test]
fn bursts_and_bounds_are_told() {
    let burst =
        PlannedLevel::Burst { mean: 2.5, size: 5, every: seconds(2.0), width: Duration::ZERO };
    assert_eq!(level(&burst), "2.5 (every 2 s: 5 at once)");
    let spread =
        PlannedLevel::Burst { mean: 20.0, size: 5, every: seconds(0.25), width: seconds(0.1) };
    assert_eq!(level(&spread), "20 (every 250 ms: 5 over 100 ms)");
    let bounded = PlannedLengths::Drawn {
        distribution: "normal",
        mean: 64.0,
        stddev: 8.5,
        min: 5,
        max: None,
    };
    assert_eq!(prompts::lengths(&bounded, "in"), "64 ± 8.5 tokens in (at least 5)");
}

#[test]
fn time_and_number_end_a_run_whichever_comes_first() {
    let mut view = open_loop();
    view.request_limit = Some(1_000);
    assert_eq!(
        takes(&view),
        "5 min or 1,000 requests, whichever comes first, then at most 30 s for answers still open"
    );
    view.last_due = Some(seconds(77.459));
    assert_eq!(
        takes(&view),
        "1,000 requests, the last due at 1 min 17 s, then at most 30 s for answers still open"
    );
}

#[test]
fn programs_get_the_same_figures_with_their_units_in_the_keys() {
    let json = plan_json(&open_loop());
    assert_eq!(json["schemaVersion"], 1);
    assert_eq!(json["stages"][0]["levelAtStart"], 0.0);
    assert_eq!(json["stages"][0]["levelAtEnd"], 50.0);
    assert_eq!(json["stages"][0]["endSeconds"], 150.0);
    assert_eq!(json["workers"][2]["maxInFlight"], 33);
    assert_eq!(json["firstDueSeconds"][1], 0.02);
    assert_eq!(json["tokens"]["total"]["output"], 2_250_000.0);
    let json = plan_json(&closed_loop());
    assert_eq!(json["target"]["simulated"], true);
    assert_eq!(json["load"]["loop"], "closed");
    assert_eq!(json["prompts"]["outputLength"]["recorded"], true);
}

#[test]
fn prefixes_in_groups_are_told_by_level() {
    let level = |name: &str, groups, size, zipf| PlannedPrefix {
        name: name.to_owned(),
        groups,
        size,
        zipf,
    };
    let mut view = open_loop();
    view.prompts.prefix_ratio = 2.0 / 3.0;
    view.prompts.prefixes = vec![
        level("tenant", 4, PlannedPrefixSize::Tokens(64), 1.0),
        level("system prompt", 5, PlannedPrefixSize::Tokens(192), 0.8),
    ];
    let told = plan_text(&view, 1_000);
    let line = told.lines().find(|line| line.starts_with("prompts ")).unwrap();
    insta::assert_snapshot!(line, @"prompts      synthetic; 66.7 % of the tokens are shared in groups: 4 × tenant (64 tokens, Zipf 1), in each 5 × system prompt (192 tokens, Zipf 0.8); 500 ± 100 tokens of its own in, 200 tokens out (at most 400); tokenizer: bundled (Qwen3)");
    let prompts = &plan_json(&view)["prompts"];
    assert_eq!(prompts["prefixes"][1]["name"], "system prompt");
    assert_eq!(
        (&prompts["prefixes"][1]["groups"], &prompts["prefixes"][1]["tokens"]),
        (&5.into(), &192.into())
    );

    view.prompts.prefixes = vec![level("team", 8, PlannedPrefixSize::Share(0.5), 0.0)];
    let told = plan_text(&view, 1_000);
    assert!(
        told.contains("in groups: 8 × team (50 % of its length, all alike); 500 ± 100 tokens in,"),
        "{told}"
    );
}

#[test]
fn each_of_several_targets_is_told_with_its_share() {
    let service = |name: &str, share, model: &str| PlannedService {
        name: name.to_owned(),
        share,
        url: format!("http://{name}/v1/chat/completions"),
        model: Some(model.to_owned()),
    };
    let mut view = open_loop();
    view.target.url = None;
    view.targets = vec![service("stable", 0.9, "llama-70b"), service("canary", 0.1, "llama-next")];
    let told = plan_text(&view, 1_000);
    let lines: Vec<_> = told.lines().filter(|line| line.starts_with("target ")).collect();
    assert_eq!(
        lines,
        [
            "target       stable, 90 % of the requests: http://stable/v1/chat/completions, model llama-70b (chat, streamed)",
            "target       canary, 10 % of the requests: http://canary/v1/chat/completions, model llama-next (chat, streamed)",
        ]
    );
    let json = plan_json(&view);
    assert_eq!(json["targets"][1]["name"], "canary");
    assert_eq!(json["targets"][1]["share"], 0.1);
    assert_eq!(json["targets"][1]["endpoint"], "http://canary/v1/chat/completions");
    assert_eq!(
        (&json["target"]["simulated"], &json["target"]["endpoint"]),
        (&false.into(), &().into())
    );
}

#[test]
fn each_class_is_told_with_its_share_and_lengths_in_place_of_the_runs() {
    let mut view = open_loop();
    let asks = |mean| PlannedPrompts {
        prefix_ratio: 0.0,
        input: PlannedLengths::Drawn {
            distribution: "normal",
            mean,
            stddev: 0.0,
            min: 1,
            max: None,
        },
        ..view.prompts.clone()
    };
    let class = |name: &str, share, model: Option<&str>, mean| PlannedClass {
        name: name.to_owned(),
        share,
        model: model.map(str::to_owned),
        prompts: asks(mean),
    };
    view.classes =
        vec![class("chat", 0.75, None, 120.0), class("batch", 0.25, Some("summaries"), 360.0)];
    let told = plan_text(&view, 1_000);
    let lines: Vec<_> = told.lines().filter(|line| line.starts_with("class ")).collect();
    let rest = "200 tokens out (at most 400); tokenizer: bundled (Qwen3)";
    assert_eq!(
        lines,
        [
            format!("class        chat, 75 % of the requests: synthetic; 120 tokens in, {rest}"),
            format!(
                "class        batch, 25 % of the requests, model summaries: synthetic; 360 tokens in, {rest}"
            ),
        ]
    );
    assert!(!told.contains("prompts ") && !told.contains("500 ± 100"), "{told}");
    let json = plan_json(&view);
    assert!(json["prompts"].is_null());
    assert_eq!(json["classes"][1]["name"], "batch");
    assert_eq!(
        (&json["classes"][1]["share"], &json["classes"][1]["model"]),
        (&0.25.into(), &"summaries".into())
    );
    assert_eq!(json["classes"][1]["prompts"]["inputLength"]["mean"], 360.0);
}
