//! Data sets that only the coordinator has: workers on bare machines get them from it.

use std::fs;

use serde_json::json;

use crate::{
    fleet_support::{complaints, coordinator, port, read_json, results_in, worker_command},
    support::{Bench, assert_exit, number},
};

/// Each process's own folder, so that the coordinator finds the file there and no worker does: as on machines of their own.
const DATA_SET: &str = "/proc/self/cwd/ShareGPT_V3_unfiltered.json";
/// Talks of a kilobyte: more than one message carries.
const TALKS: usize = 600;

fn talks() -> String {
    let talk = |index: usize| {
        let question = format!("Question {index}: {}", "what is it about? ".repeat(60));
        let human = json!({"from": "human", "value": question});
        json!({"id": index.to_string(), "conversations": [human, {"from": "gpt", "value": "It is about time."}]})
    };
    json!((0..TALKS).map(talk).collect::<Vec<_>>()).to_string()
}

#[test]
fn three_workers_with_empty_directories_offer_a_sharegpt_run() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 1}));
    let data_set = talks();
    assert!(data_set.len() > 2 * protocol::MAX_CHUNK_BYTES, "one piece is no test");
    fs::write(bench.folder.path().join("ShareGPT_V3_unfiltered.json"), &data_set).unwrap();
    let config = bench.folder.path().join("sharegpt.yaml");
    let load = format!("load: {{type: shareGPT, dataset: {DATA_SET}, concurrency: 9}}");
    fs::write(&config, format!("benchmark: {{name: talks}}\n{load}\n")).unwrap();
    let config = config.display().to_string();
    let leading = coordinator(&bench, 3, &["--config", &config, "--requests", "90"]);
    let port = port(&leading);
    let machines = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let workers = machines.each_ref().map(|machine| {
        let mut command = worker_command(port, &["--cache", "fetched"]);
        command.current_dir(machine.path());
        crate::fleet_support::Process::start(command)
    });
    let ended = leading.finished();
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_exit(ended.code, 0, &summary, &ended.stderr);
    for (worker, machine) in workers.into_iter().zip(&machines) {
        let worker = worker.finished();
        assert_eq!((worker.code, complaints(&worker.stderr).len()), (Some(0), 0), "{worker:?}");
        let mut fetched = fs::read_dir(machine.path().join("fetched")).unwrap();
        let file = fetched.next().unwrap().unwrap().path();
        assert_eq!(fs::read_to_string(file).unwrap(), data_set);
        assert!(fetched.next().is_none(), "nothing half fetched is left");
    }
    assert_eq!(number(&summary, "/books/completed"), 90, "{summary:#}");
    assert_eq!(summary["workers"].as_array().unwrap().len(), 3);
    // And the probe.
    assert_eq!(bench.simulator.truth().received, 91);
}
