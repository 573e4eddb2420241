use metrics::RunResult;

use super::*;
use crate::terminal::example;

const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}";

fn run(result: RunResult) -> StoredRun {
    StoredRun {
        directory: "/nowhere".into(),
        result,
        config: Some("benchmark: {name: demo}\n".to_owned()),
        gaps: Vec::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_library_is_what_npm_holds() {
    assert_eq!(
        hex(library().unwrap().as_bytes()),
        "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
    );
    assert_eq!(
        hex(LIBRARY_STYLE.as_bytes()),
        "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"
    );
    assert!(!library().unwrap().contains("</script"));
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let mut result = example::troubled();
    let hostile = || HOSTILE.to_owned();
    result.facts.name = hostile();
    result.facts.model = hostile();
    result.facts.endpoint = hostile();
    result.stages[1].name = hostile();
    result.workers[0].host = hostile();
    result.warnings[0].message = hostile();
    result.verdict.reasons[0].message = hostile();
    result.failures = vec![metrics::FailureSample {
        class: metrics::FailureClass::Status(503),
        detail: hostile(),
        at: std::time::Duration::from_secs(1),
    }];
    let point = result.seconds[0].clone();
    result.seconds.push(point);
    let mut run = run(result);
    run.config = Some(HOSTILE.to_owned());
    run.gaps = vec![hostile()];
    let page = html(&run).unwrap();
    assert!(!page.contains("<script>alert") && !page.contains("<img"));
    assert_eq!(page.matches("<script").count(), 3);
    assert_eq!(page.matches("</script>").count(), 3);
    assert!(page.matches("&#60;/script&#62;").count() >= 9, "it is shown as what it is");
    assert!(page.contains("\\u003c/script\\u003e"), "and in the charts' data");
}

#[test]
fn the_page_asks_no_one_for_anything() {
    let page = html(&run(example::troubled())).unwrap();
    let head = page.split("<style>").next().unwrap();
    assert!(head.contains("default-src 'none'"));
    for forbidden in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for script in [library().unwrap().as_str(), SCRIPT] {
        assert!(page.contains(script) && head.contains(&policy_hash(script)));
    }
}

#[test]
fn every_section_of_a_run_with_troubles_is_there() {
    let page = html(&run(example::troubled())).unwrap();
    for id in ["latency", "load", "requests", "workers", "warnings", "run", "definitions"] {
        assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
    assert!(page.contains("INVALID") && page.contains("status_503"));
    assert!(page.contains("chart-latency_percentiles") && page.contains("chart-ttft_distribution"));
}
