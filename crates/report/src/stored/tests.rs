use super::*;
use crate::ResultsDirectory;
use crate::metrics_json::metrics_value;
use crate::summary_json::summary_value;
use crate::terminal::example;

fn written(result: &RunResult) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = ResultsDirectory::create(root.path(), "demo", 1_709_210_096).unwrap();
    directory.write_config("benchmark: {name: demo}\n").unwrap();
    directory.write_result(result).unwrap();
    let path = directory.path().to_owned();
    (root, path)
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn what_is_read_is_what_was_written() {
    for result in example::all() {
        let (_root, path) = written(&result);
        let run = StoredRun::read(&path).unwrap();
        assert_eq!(run.gaps, Vec::<String>::new());
        assert_eq!(run.config.as_deref(), Some("benchmark: {name: demo}\n"));
        assert_eq!(summary_value(&run.result), summary_value(&result));
        assert_eq!(metrics_value(&run.result), metrics_value(&result));
    }
}

#[test]
fn keys_that_an_older_version_did_not_write_are_named_once() {
    let (_root, path) = written(&example::troubled());
    edit(&path.join(SUMMARY_FILE), |summary| {
        for stage in summary["stages"].as_array_mut().unwrap() {
            drop(stage["notes"].as_object_mut().unwrap().remove("clockSteps"));
        }
        drop(summary.as_object_mut().unwrap().remove("warnings"));
    });
    let run = StoredRun::read(&path).unwrap();
    let line = "summary.json lacks `stages[].notes.clockSteps`, `warnings` (written by another \
                version?): shown as absent";
    assert_eq!(run.gaps, [line]);
    assert_eq!(run.result.books, example::troubled().books);
}

#[test]
fn a_missing_stage_leaves_the_others() {
    let (_root, path) = written(&example::troubled());
    edit(&path.join(METRICS_FILE), |metrics| {
        drop(metrics["stages"].as_array_mut().unwrap().remove(1));
    });
    let run = StoredRun::read(&path).unwrap();
    assert_eq!(run.gaps, ["metrics.json has no stage 1 (low): its distributions are not shown"]);
    assert!(run.result.stages[1].distributions.is_empty());
    assert!(!run.result.stages[2].distributions.is_empty());
}

#[test]
fn without_metrics_and_configuration_the_summary_is_still_shown() {
    let (_root, path) = written(&example::one_stage());
    let whole = fs::read(path.join(METRICS_FILE)).unwrap();
    fs::write(path.join(METRICS_FILE), &whole[..whole.len() / 2]).unwrap();
    fs::remove_file(path.join(CONFIG_FILE)).unwrap();
    let run = StoredRun::read(&path).unwrap();
    assert_eq!(run.gaps.len(), 2, "{:?}", run.gaps);
    assert!(run.gaps[0].contains("cut off") && run.gaps[0].contains("not shown"));
    assert!(run.gaps[1].contains("config.yaml"));
    assert_eq!(run.result.books.due, 2_000);
}

#[test]
fn what_is_no_summary_of_ours_is_refused_with_the_reason() {
    let (_root, path) = written(&example::one_stage());
    let words = |text: &str| {
        fs::write(path.join(SUMMARY_FILE), text).unwrap();
        StoredRun::read(&path).unwrap_err().to_string()
    };
    assert!(words("{\"schemaVersion\": 7}").contains("schema 7, this program reads 1"));
    assert!(words("{\"results\": []}").contains("no `schemaVersion`"));
    assert!(words("{\"schemaVersion\": 1}").contains("no `run`"));
    assert!(words("{\"schemaVersion\": 1, \"run\"").contains("cut off"));
    fs::remove_file(path.join(SUMMARY_FILE)).unwrap();
    fs::write(path.join("journal"), "").unwrap();
    assert!(matches!(StoredRun::read(&path), Err(ReadError::Unfinished(_))));
}
