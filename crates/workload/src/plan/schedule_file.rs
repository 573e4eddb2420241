//! A load that goes by a file of rows: what the file decides, nothing else does.

use std::time::Duration;

use super::build::Builder;
use super::stages::Part;
use super::windows::one_after_the_other;
use super::{Offered, PlanError, Stage, StageKind};
use crate::schedule::{ScheduleFile, ScheduleFormat, detect};

/// Keys that a schedule overrides, and by what.
const OVERRIDDEN: [(&str, &str); 13] = [
    ("load.rate", "its rows say when requests are due"),
    ("load.arrivals", "its rows say when requests are due"),
    ("load.burstiness", "its rows say when requests are due"),
    ("load.rampUp", "its rows say when requests are due"),
    ("load.thinkTime.mean", "its rows say when requests are due"),
    ("load.rounds.size", "its rows say when requests are due"),
    ("benchmark.warmup", "its first row is the first request"),
    ("benchmark.cooldown", "its last row is the last request"),
    ("benchmark.warmupRequests", "its first row is the first request"),
    ("benchmark.cooldownRequests", "its last row is the last request"),
    ("stages", "its rows are one stage"),
    ("prompts.inputLength.mean", "its rows say how long prompts are"),
    ("prompts.outputLength.mean", "its rows say how many tokens are ordered"),
];

impl Builder<'_> {
    /// The one stage of a schedule, and the schedule.
    pub(super) fn scheduled(&mut self) -> Option<(Vec<Stage>, ScheduleFile)> {
        if let Some(shape) = self.config.text("load.type").filter(|shape| *shape != "schedule") {
            let advice = "a file's rows are the shape of its load";
            let second = match shape {
                "shareGPT" => "load.type: shareGPT",
                _ => "load.type of another shape",
            };
            self.refuse(PlanError::Excluded { first: "load.schedule", second, advice });
        }
        let Some(path) = self.config.path("load.schedule") else {
            self.refuse(PlanError::Needs {
                what: "load.type: schedule",
                needs: "`load.schedule`, a file",
            });
            return None;
        };
        let format = match self.config.text("load.scheduleFormat") {
            Some("csv") => Ok(ScheduleFormat::Csv),
            Some("mooncake") => Ok(ScheduleFormat::Mooncake),
            Some("azure") => Ok(ScheduleFormat::Azure),
            Some("burstGPT") => Ok(ScheduleFormat::BurstGpt),
            _ => detect(&path),
        };
        let format = format.map_err(|problem| self.refuse(PlanError::Schedule(problem))).ok()?;
        let time_scale = self.config.number("load.timeScale").unwrap_or(1.0);
        let mut file = ScheduleFile { path, format, time_scale, rows: None, input: None };
        match file.read() {
            Ok(warnings) => warnings.iter().for_each(|one| self.warn(&one.code, &*one.message)),
            Err(problems) => {
                problems.into_iter().for_each(|problem| self.refuse(PlanError::Schedule(problem)));
                return None;
            }
        }
        self.warn_of_overridden(&file);
        let stages = self.stage_of(&file)?;
        Some((stages, file))
    }

    fn warn_of_overridden(&mut self, file: &ScheduleFile) {
        let tells_lengths = file.rows.as_ref().is_some_and(|rows| rows.tell_lengths());
        for (key, reason) in OVERRIDDEN {
            let is_of_lengths = key.starts_with("prompts.");
            if self.config.has(key) && (tells_lengths || !is_of_lengths) {
                self.warn(
                    "key_unused",
                    format!("`{key}` has no effect beside `load.schedule`: {reason}"),
                );
            }
        }
    }

    /// Until the end of the second of its last row, or of `benchmark.duration`.
    fn stage_of(&mut self, file: &ScheduleFile) -> Option<Vec<Stage>> {
        let rows = file.rows.as_ref()?;
        let last = Duration::from_nanos(rows.due_ns(rows.len().checked_sub(1)?)?);
        let whole = Duration::from_secs(last.as_secs() + 1);
        let configured = self.config.duration("benchmark.duration");
        let length = configured.map_or(whole, |most| most.min(whole));
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let used = rows.before(length_ns);
        if used < rows.len() {
            let left_out = rows.len() - used;
            self.warn("schedule_cut", format!("`benchmark.duration` ({length:?}) ends before the schedule: {left_out} of its {} rows are left out", rows.len()));
        }
        let level = used as f64 / length.as_secs_f64();
        let mut part = Part::new(StageKind::Hold, Some(length), Offered::Listed { level });
        part.name = "schedule".to_owned();
        Some(one_after_the_other(vec![part]))
    }
}
