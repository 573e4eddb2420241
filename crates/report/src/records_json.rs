//! What was kept of single requests, in summary.json: how many of how many, of each worker.

use metrics::{RecordsKept, RecordsOfWorker};
use serde_json::{Value, json};

use crate::records::{LINES_FILE, RECORDS_FOLDER, TABLE_FILE};

/// For summary.json.
pub(crate) fn summary(kept: &RecordsKept) -> Value {
    let worker = |worker: &RecordsOfWorker| {
        json!({
            "ordinal": worker.ordinal,
            "incarnation": worker.incarnation,
            "written": worker.written,
            "droppedByQueue": worker.dropped_by_queue,
            "droppedByDisk": worker.dropped_by_disk,
            "gathered": worker.gathered,
            "problem": worker.problem,
        })
    };
    let files = [LINES_FILE, TABLE_FILE].map(|name| format!("{RECORDS_FOLDER}/{name}"));
    json!({
        "share": kept.share,
        "made": kept.made(),
        "gathered": kept.gathered(),
        "complete": kept.is_complete(),
        "files": files,
        "problem": kept.problem,
        "workers": kept.workers.iter().map(worker).collect::<Vec<_>>(),
    })
}

/// The inverse; `None` where it is no such value.
pub(crate) fn read(value: &Value) -> Option<RecordsKept> {
    let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
    let worker = |value: &Value| {
        let count = |key: &str| value.get(key)?.as_u64();
        Some(RecordsOfWorker {
            ordinal: u32::try_from(count("ordinal")?).ok()?,
            incarnation: count("incarnation")?,
            written: count("written")?,
            dropped_by_queue: count("droppedByQueue")?,
            dropped_by_disk: count("droppedByDisk")?,
            gathered: count("gathered")?,
            problem: text(value, "problem"),
        })
    };
    Some(RecordsKept {
        share: value.get("share")?.as_f64()?,
        problem: text(value, "problem"),
        workers: value.get("workers")?.as_array()?.iter().map(worker).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let worker = RecordsOfWorker {
            ordinal: 2,
            incarnation: 7,
            written: 100,
            dropped_by_queue: 1,
            dropped_by_disk: 2,
            gathered: 90,
            problem: Some("cut".to_owned()),
        };
        let kept = RecordsKept { share: 0.5, workers: vec![worker], problem: None };
        let value = summary(&kept);
        assert_eq!(read(&value), Some(kept));
        assert_eq!((&value["made"], &value["complete"]), (&103.into(), &false.into()));
        assert_eq!(read(&Value::Null), None);
    }
}
