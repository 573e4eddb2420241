//! Records of single requests: who gathers them meets who writes them down.

use std::{io, path::Path};

use anyhow::Context;
use coordinator::{Coordinator, RecordsSink};
use metrics::{RecordsKept, RunResult, Warning};
use report::RecordFiles;
use workload::Plan;

/// The files of one run, as the coordinator sees them.
struct Files(RecordFiles);

impl RecordsSink for Files {
    fn take(&mut self, segment: &[u8]) -> io::Result<u64> {
        self.0.take(segment)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.finish()
    }
}

/// Has them gathered into the run's directory, if the plan wants any.
pub(crate) fn gather(
    coordinator: &mut Coordinator,
    plan: &Plan,
    directory: &Path,
) -> anyhow::Result<()> {
    let Some(records) = plan.records else { return Ok(()) };
    let files = RecordFiles::create(directory, records.gaps());
    let files =
        files.with_context(|| format!("no records can be kept in {}", directory.display()))?;
    coordinator.gather_records(records.share, Box::new(Files(files)));
    Ok(())
}

/// Adds what became of them; a run whose coordinator died has none, and says so.
pub(crate) fn describe(result: &mut RunResult, plan: &Plan, kept: Option<&RecordsKept>) {
    let Some(records) = plan.records else { return };
    let nobody = || RecordsKept {
        share: records.share,
        workers: Vec::new(),
        problem: Some("nobody was there to gather them when the run ended".to_owned()),
    };
    let kept = kept.cloned().unwrap_or_else(nobody);
    result.warnings.extend(incomplete(&kept));
    result.records = Some(kept);
}

/// What is missing, and why.
fn incomplete(kept: &RecordsKept) -> Option<Warning> {
    if kept.is_complete() {
        return None;
    }
    let of_workers = kept.workers.iter().filter_map(|worker| {
        let missing = worker.made() - worker.gathered.min(worker.made());
        let why = worker.problem.clone().or_else(|| {
            (worker.dropped_by_queue > 0).then(|| "they were written too slowly".to_owned())
        });
        let why = why.or_else(|| (missing > 0).then(|| "they were not gathered".to_owned()))?;
        Some(format!("worker {}: {missing} missing, {why}", worker.ordinal))
    });
    let reasons: Vec<_> = kept.problem.clone().into_iter().chain(of_workers).collect();
    let message = format!(
        "{} of {} records are in `records/`: {}",
        kept.gathered(),
        kept.made(),
        reasons.join("; ")
    );
    Some(Warning::new("records_incomplete", message))
}

#[cfg(test)]
mod tests {
    use metrics::RecordsOfWorker;

    use super::*;

    #[test]
    fn what_is_missing_is_told_by_worker_with_its_reason() {
        let whole = RecordsOfWorker { written: 10, gathered: 10, ..RecordsOfWorker::default() };
        let slow = RecordsOfWorker { ordinal: 1, dropped_by_queue: 3, ..whole.clone() };
        let cut = RecordsOfWorker {
            ordinal: 2,
            gathered: 4,
            problem: Some("it gave nothing for 30 s".to_owned()),
            ..whole.clone()
        };
        let mut kept = RecordsKept { share: 1.0, workers: vec![whole], problem: None };
        assert_eq!(incomplete(&kept), None);
        kept.workers.extend([slow, cut]);
        let warning = incomplete(&kept).unwrap();
        assert_eq!(
            warning.message,
            "24 of 33 records are in `records/`: worker 1: 3 missing, they were written too slowly; \
             worker 2: 6 missing, it gave nothing for 30 s"
        );
    }
}
