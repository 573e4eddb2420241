//! The view of a run that goes on: a line a second on stderr, under a bar where it is a terminal.

use std::{io::IsTerminal, time::Duration};

use coordinator::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use report::{ProgressView, progress_line};
use tokio::sync::watch;
use workload::{Drive, Plan, Stage};

/// Shows each new view until the run is over.
pub(crate) async fn show(mut views: watch::Receiver<Progress>, plan: Plan) {
    let bar = std::io::stderr().is_terminal().then(|| bar(&plan));
    let mut shown = None;
    while views.changed().await.is_ok() {
        let progress = views.borrow_and_update().clone();
        let Some((second, line)) = line(&progress, &plan) else { continue };
        if shown.replace(second) == Some(second) {
            continue;
        }
        match &bar {
            Some(bar) => {
                bar.set_position(u64::from(second));
                bar.set_message(line);
            }
            None => eprintln!("{line}"),
        }
    }
}

/// In seconds of run time; a spinner where only the number of requests ends the run.
fn bar(plan: &Plan) -> ProgressBar {
    let (bar, template) = match plan.end() {
        Some(end) => (ProgressBar::new(end.as_secs()), "{wide_bar}\n{msg}"),
        None => (ProgressBar::new_spinner(), "{spinner}\n{msg}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The last reported second, in words; `None` before there is one.
fn line(progress: &Progress, plan: &Plan) -> Option<(u32, String)> {
    let (second, last_second) = progress.second?;
    let at = Duration::from_secs(second.into());
    let stage = plan.stage_at(at).and_then(|stage| plan.stages.get(usize::from(stage)));
    let view = ProgressView {
        elapsed: at + Duration::from_secs(1),
        total: plan.end(),
        stage: stage.map_or("drain", |stage| &stage.name),
        asked_per_s: stage.and_then(|stage| asked(plan, stage, at.saturating_sub(stage.start))),
        last_second,
        ttft: progress.ttft,
        itl_p50: progress.itl.map(|(p50, _)| p50),
        generator_lag_p99: progress.generator_lag_p99,
        failed: progress.books.failed_total(),
        workers: progress.workers,
    };
    Some((second, progress_line(&view)))
}

/// Requests a second that the schedule has at an instant of a stage; `None` in a closed loop.
fn asked(plan: &Plan, stage: &Stage, into: Duration) -> Option<f64> {
    let Drive::Open { .. } = plan.drive else { return None };
    Some(stage.level_at(into))
}
