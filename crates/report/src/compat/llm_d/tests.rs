use std::collections::BTreeSet;

use metrics::Statistic;

use super::*;
use crate::compat::AskedStage;
use crate::terminal::example;

fn asked() -> Asked {
    let length =
        |mean| AskedLength { form: LengthForm::Normal, mean, stddev: 5.0, min: 1, max: None };
    Asked {
        input: Some(length(16.0)),
        output: None,
        source: TextSource::Random,
        is_closed_loop: Some(false),
        stages: vec![AskedStage { rate: Some(100.0), concurrency: None }; 3],
        exit_code: Some(4),
        ..Asked::default()
    }
}

fn exported(result: metrics::RunResult, asked: &Asked) -> Vec<(String, Value)> {
    let mut run = StoredRun::of(Path::new("/x"), result, Vec::new());
    run.config = Some("target: {headers: {x: y}, apiKey: sk-secret}\n".to_owned());
    let files = export(&run, asked).unwrap().files.into_iter();
    files.map(|file| (file.name, serde_saphyr::from_str(&file.text).unwrap())).collect()
}

fn seconds(mut result: metrics::RunResult) -> metrics::RunResult {
    let point = result.seconds[0].clone();
    result.seconds = (0..10)
        .map(|second| metrics::SeriesPoint { second, seconds: 1, ..point.clone() })
        .collect();
    result
}

/// Every path of keys in a value; elements of a list share one.
fn paths(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let path = format!("{at}/{key}");
                paths(value, &path, into);
                let _new = into.insert(path);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|value| paths(value, at, into)),
        _ => {}
    }
}

/// FORMATS.md §6: nothing but these keys may be there.
#[test]
fn no_key_is_one_that_the_schema_refuses() {
    const STATISTICS: &str =
        "units mean mode stddev min p0p1 p1 p5 p10 p25 p50 p75 p90 p95 p99 p99p9 max";
    let mut known: BTreeSet<String> = [
        "/version",
        "/run",
        "/run/uid",
        "/run/time",
        "/run/time/start",
        "/run/time/end",
        "/run/time/duration",
        "/run/description",
        "/run/keywords",
        "/scenario",
        "/scenario/load",
        "/results",
        "/results/request_performance",
        "/results/request_performance/aggregate",
        "/results/request_performance/time_series",
    ]
    .map(str::to_owned)
    .into();
    let mut add = |at: &str, keys: &str| {
        known.extend(keys.split(' ').map(|key| format!("{at}/{key}")));
    };
    let load = "/scenario/load";
    add(load, "metadata standardized native native/config");
    add(&format!("{load}/metadata"), "schema_version cfg_id description");
    let standardized = format!("{load}/standardized");
    add(
        &standardized,
        "tool tool_version parallelism source stage input_seq_len output_seq_len rate_qps concurrency",
    );
    for length in ["input_seq_len", "output_seq_len"] {
        add(&format!("{standardized}/{length}"), "distribution value std_dev min max");
    }
    let aggregate = "/results/request_performance/aggregate";
    add(aggregate, "requests latency throughput");
    add(&format!("{aggregate}/requests"), "total failures incomplete input_length output_length");
    let names = LATENCIES.map(|(name, _, _)| name).join(" ");
    let rates = "input_token_rate output_token_rate total_token_rate request_rate";
    add(&format!("{aggregate}/latency"), &names);
    add(&format!("{aggregate}/throughput"), rates);
    let series = "/results/request_performance/time_series";
    add(series, "latency throughput");
    for (at, names) in [("latency", names.as_str()), ("throughput", rates)] {
        add(&format!("{series}/{at}"), names);
        for name in names.split(' ') {
            add(&format!("{aggregate}/{at}/{name}"), STATISTICS);
            add(&format!("{series}/{at}/{name}"), "units series");
            add(&format!("{series}/{at}/{name}/series"), &format!("ts value {STATISTICS}"));
        }
    }
    for name in ["input_length", "output_length"] {
        add(&format!("{aggregate}/requests/{name}"), STATISTICS);
    }
    for (name, value) in exported(seconds(example::troubled()), &asked()) {
        let mut found = BTreeSet::new();
        paths(&value, "", &mut found);
        let free = format!("{load}/native/config/");
        let strange: Vec<_> =
            found.difference(&known).filter(|path| !path.starts_with(&free)).collect();
        assert!(strange.is_empty() || name == "run_metadata.yaml", "{name}: {strange:?}");
    }
}

#[test]
fn a_stage_says_what_was_asked_and_what_it_came_to() {
    let files = exported(seconds(example::one_stage()), &asked());
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["benchmark_report_v0.2.1_stage_0.yaml", "run_metadata.yaml"]);
    let report = &files[0].1;
    assert_eq!(
        (&report["version"], &report["run"]["uid"]),
        (&json!("0.2.1"), &json!("0123456789abcdef"))
    );
    assert_eq!(report["run"]["time"]["duration"], "PT20S");
    assert_eq!(report["run"]["time"]["start"], "2024-02-29T12:34:56.250000Z");
    let load = &report["scenario"]["load"]["standardized"];
    assert_eq!(load["input_seq_len"]["distribution"], "gaussian");
    let output = &load["output_seq_len"];
    assert_eq!(
        (&output["distribution"], &output["value"]),
        (&json!("other"), &json!(8.0)),
        "as seen"
    );
    assert_eq!(load["rate_qps"], 100.0);
    let config = &report["scenario"]["load"]["native"]["config"];
    assert!(!config.to_string().contains("sk-secret"), "{config}");
    let performance = &report["results"]["request_performance"];
    let ttft = &performance["aggregate"]["latency"]["time_to_first_token"];
    assert_eq!((&ttft["units"], ttft["p0p1"].is_number()), (&json!("s"), true));
    assert_eq!(performance["aggregate"]["requests"]["total"], 2_000);
    let series = &performance["time_series"]["latency"]["time_to_first_token"]["series"];
    assert_eq!(series.as_array().unwrap().len(), 10);
    assert_eq!(series[1]["ts"], "2024-02-29T12:34:57.250000Z");
    assert_eq!(
        (&files[1].1["harness_rc"], &files[1].1["harness_delta"]),
        (&json!(4), &json!("PT21.75S"))
    );
}

#[test]
fn a_stage_without_a_success_has_no_latencies_and_one_without_lengths_no_scenario() {
    let files = exported(example::all_failed(), &Asked::default());
    let report = &files[0].1;
    assert_eq!(report.get("scenario"), None, "no lengths are known, and they have to be there");
    let aggregate = &report["results"]["request_performance"]["aggregate"];
    assert_eq!(aggregate.get("latency"), None);
    let requests = &aggregate["requests"];
    assert_eq!((&requests["total"], &requests["failures"]), (&json!(4), &json!(4)));
}

#[test]
fn what_is_read_back_is_what_was_written_whatever_the_unit() {
    let result = example::one_stage();
    let files = exported(result.clone(), &asked());
    let mut object = files[0].1.as_object().unwrap().clone();
    assert!(recognises(&object));
    let p99 = Figure::Of(Metric::Ttft, Statistic::Percentile(9_900));
    let ours = result.overall.metrics[&Metric::Ttft].p99.unwrap() as f64;
    let read = import(Path::new("r.yaml"), &object);
    assert!((read.figure(p99).unwrap() - ours).abs() < 1e-6 * ours);
    assert!(read.figure(Figure::Of(Metric::Ttft, Statistic::Percentile(9_990))).is_some(), "p99p9");
    let latency =
        object["results"].pointer_mut("/request_performance/aggregate/latency/time_to_first_token");
    *latency.unwrap() = json!({"units": "ms", "mean": 50.0, "p99": 80.0});
    assert_eq!(import(Path::new("r.yaml"), &object).figure(p99), Some(80_000.0));
}
