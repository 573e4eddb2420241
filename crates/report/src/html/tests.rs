use metrics::RunResult;

use super::*;
use crate::ResultsDirectory;
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

#[test]
fn an_hour_of_ten_stages_and_fifty_workers_is_a_small_page() {
    let page = html(&run(example::an_hour())).unwrap();
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
    if let Some(path) = std::env::var_os("TOKENSTORM_KEEP_PAGE") {
        std::fs::write(path, page).unwrap();
    }
}

/// Where there is a browser. The page tells how long after its request the last chart was drawn.
#[test]
#[ignore = "long mode: needs chromium"]
fn it_opens_within_two_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let stored = ResultsDirectory::create(folder.path(), "hour", 1_709_210_096).unwrap();
    stored.write_config("benchmark: {name: hour}\n").unwrap();
    stored.write_result(&example::an_hour()).unwrap();
    let read = StoredRun::read(stored.path()).unwrap();
    assert_eq!((read.result.stages.len(), read.result.workers.len()), (10, 50));
    let path = stored.path().join("report.html");
    std::fs::write(&path, html(&read).unwrap()).unwrap();
    let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
    let address = format!("file://{}", path.display());
    let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"];
    let browser = std::process::Command::new("chromium")
        .args(flags)
        .args(["--disable-background-networking", &profile, "--dump-dom", &address])
        .output();
    let Ok(output) = browser else {
        eprintln!("skipped: there is no chromium");
        return;
    };
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let drawn = dom.split("data-drawn-ms=\"").nth(1).unwrap().split('"').next().unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    eprintln!("{bytes} bytes, drawn after {drawn} ms");
    assert!(drawn.parse::<u64>().unwrap() < 2_000, "{drawn} ms");
}
