//! What was measured of this machine, and what `plan` makes of it.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::tokenstorm;

/// `plan --json` for 1,000 requests of 100 tokens a second, with this text as the kept calibration.
fn workers_needed(calibration: Option<&str>) -> Value {
    let cache = TempDir::new().unwrap();
    if let Some(text) = calibration {
        std::fs::create_dir(cache.path().join("tokenstorm")).unwrap();
        std::fs::write(cache.path().join("tokenstorm/calibration.json"), text).unwrap();
    }
    let mut command = tokenstorm();
    command.env("XDG_CACHE_HOME", cache.path());
    command.args(["plan", "--json", "--endpoint", "http://h", "--rate", "1000", "--duration", "1"]);
    command.args([
        "--set",
        "prompts.outputLength.mean=100",
        "--set",
        "prompts.outputLength.stddev=0",
    ]);
    let output = command.args(["--set", "client.lanes=1"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    plan["workersNeeded"].clone()
}

fn calibration(version: &str) -> String {
    let processors = std::thread::available_parallelism().unwrap().get();
    json!({"schemaVersion": 1, "tokenstormVersion": version, "processors": processors,
        "measuredAtUnixSeconds": 0, "cpuUsPerRequest": 100.0, "cpuUsPerEvent": 10.0})
    .to_string()
}

#[test]
fn a_plan_counts_workers_by_the_kept_calibration() {
    // 1,000 · 100 µs + 100,000 · 10 µs: 1.1 lanes, filled to a half.
    let need = workers_needed(Some(&calibration(env!("CARGO_PKG_VERSION"))));
    assert_eq!(need["workers"], json!(3), "{need}");
}

#[test]
fn without_a_usable_calibration_a_plan_says_what_to_do() {
    let reason = |text| {
        let need = workers_needed(text);
        assert!(need["workers"].is_null(), "{need}");
        need["reason"].as_str().unwrap().to_owned()
    };
    assert!(reason(None).contains("not calibrated"));
    assert!(reason(Some("{}")).contains("calibration.json is no calibration"));
    assert!(reason(Some(&calibration("0.0.0"))).contains("of version 0.0.0"));
}

#[test]
fn a_calibration_takes_no_endpoint() {
    let output = tokenstorm().args(["calibrate", "--endpoint", "http://h"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--endpoint"));
}

#[test]
#[ignore = "takes half a minute"]
fn a_calibration_is_kept_where_a_plan_finds_it() {
    let cache = TempDir::new().unwrap();
    let with_cache = |arguments: &[&str]| {
        let mut command = tokenstorm();
        let output = command.env("XDG_CACHE_HOME", cache.path()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let told = with_cache(&["calibrate", "--json"]);
    assert!(told["oneLane"]["eventsPerSecond"].as_f64().unwrap() > 0.0, "{told}");
    let plan =
        with_cache(&["plan", "--json", "--endpoint", "http://h", "--rate", "1", "--duration", "1"]);
    assert_eq!(plan["workersNeeded"]["workers"], json!(1), "{plan}");
}
