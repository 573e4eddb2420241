//! `/metrics`: the run in Prometheus' text format, version 0.0.4.
//!
//! Names follow Prometheus' conventions: base units in the name (seconds, not milliseconds), `_total` for what only grows.
//! Latencies are cumulative histograms, which Prometheus can add up over coordinators and over time; there is no gauge of
//! a percentile, because people would average it. The format is a few lines of text, so it is written here and not by a
//! registry library, whose metrics would be a second copy of what the ledger holds.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use metrics::{
    Distribution, Kind, LATENCY_BOUNDS_US, Live, LiveState, LiveTurn, LiveWorker, Phase, Status,
};

/// The whole text.
pub fn exposition(live: &Live, version: &str) -> String {
    let mut page = Page::default();
    run(&mut page, live, version);
    requests(&mut page, live);
    let latencies = live.distributions.iter().filter(|(metric, _)| metric.kind() == Kind::Latency);
    for (metric, samples) in latencies {
        page.histogram(
            &format!("{}_seconds", metric.name()),
            metric.definition(),
            [(None, samples)],
        );
    }
    if let Some(turns) = &live.turns {
        let help = "The same as ttft_seconds, of each turn of sessions.";
        let label = |turn: &LiveTurn| turn.name.trim_start_matches("turn ").to_owned();
        let labels: Vec<_> = turns.each.iter().map(label).collect();
        let labelled = labels.iter().zip(&turns.each);
        let series = labelled.map(|(label, turn)| (Some(("turn", label.as_str())), &turn.ttft));
        page.histogram("turn_ttft_seconds", help, series);
    }
    workers(&mut page, live);
    page.text
}

fn run(page: &mut Page, live: &Live, version: &str) {
    page.head("build_info", "gauge", "The version that runs.");
    page.sample("build_info", &[("version", version)], 1);
    page.head("run_info", "gauge", "What is measured.");
    let about = [("run", live.name.as_str()), ("model", &live.model), ("endpoint", &live.endpoint)];
    page.sample("run_info", &about, 1);
    page.head("run_phase", "gauge", "1 for the phase in which the run is.");
    for phase in Phase::ALL {
        page.sample("run_phase", &[("phase", phase.name())], u8::from(phase == live.phase));
    }
    page.head("run_verdict", "gauge", "1 for what the rules say of the run so far.");
    for status in [Status::Valid, Status::Suspect, Status::Invalid] {
        let says = u8::from(status == live.verdict.status);
        page.sample("run_verdict", &[("status", status.name())], says);
    }
    let seconds = |ms: Option<u64>| ms.map(|ms| ms as f64 / 1_000.0);
    page.gauge("run_time_seconds", "Time since the load began.", seconds(live.run_time_ms));
    page.gauge("run_time_left_seconds", "Time until the load ends.", seconds(live.time_left_ms));
    if let Some(stage) = &live.stage {
        page.head("stage_info", "gauge", "The stage that runs.");
        page.sample("stage_info", &[("stage", &stage.name)], 1);
    }
    let asked = "Requests a second, or sessions, that the plan asks for now.";
    page.gauge("asked_requests_per_second", asked, live.asked_per_s);
    let asked = "Requests in flight that the plan asks for now, in a closed loop.";
    page.gauge("asked_requests_in_flight", asked, live.asked_in_flight);
}

fn requests(page: &mut Page, live: &Live) {
    let books = &live.books;
    page.counter("requests_due_total", "Requests due by the plan.", books.due);
    page.counter("requests_completed_total", "Requests answered to the end.", books.completed);
    page.counter("requests_cancelled_total", "Requests cancelled by the run.", books.cancelled);
    page.by("requests_failed_total", "Requests that failed.", "class", &books.failed_by);
    let why = "Requests due and never sent.";
    page.by("requests_not_sent_total", why, "reason", &books.not_sent_by);
    let open = "Requests due without an outcome yet, those of lost workers included.";
    page.gauge("requests_open", open, Some(books.open));
    let flying = "Requests in flight, by each worker's last report.";
    page.gauge("requests_in_flight", flying, Some(live.in_flight));
    page.counter("output_tokens_total", "Output tokens that arrived.", live.output_tokens);
    let input = "Input tokens of completed requests.";
    page.counter("input_tokens_total", input, live.input_tokens);
}

fn workers(page: &mut Page, live: &Live) {
    page.gauge("workers_expected", "Workers that own the load.", Some(live.workers_expected));
    page.head("workers", "gauge", "Workers by what they do.");
    for state in LiveState::ALL {
        let count = live.workers.iter().filter(|worker| worker.state == state).count();
        page.sample("workers", &[("state", state.name())], count);
    }
    page.each("worker_requests_due_total", "counter", "Requests due of its share.", live, |w| {
        w.books.due as f64
    });
    page.each("worker_requests_completed_total", "counter", "Of these, completed.", live, |w| {
        w.books.completed as f64
    });
    page.each("worker_requests_failed_total", "counter", "Of these, failed.", live, |w| {
        w.books.failed as f64
    });
    page.each("worker_requests_in_flight", "gauge", "At its last report.", live, |w| {
        w.in_flight as f64
    });
    page.each("worker_cpu_seconds_total", "counter", "CPU time of its lanes.", live, |w| {
        w.cpu_ms as f64 / 1_000.0
    });
    page.each("worker_lost", "gauge", "1 if it is counted as lost.", live, |w| {
        f64::from(u8::from(w.state == LiveState::Lost))
    });
}

/// Names get `tokenstorm_` before them.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(arguments);
        self.text.push('\n');
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP tokenstorm_{name} {help}"));
        self.line(format_args!("# TYPE tokenstorm_{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let pair = |(name, value): &(&str, &str)| format!("{name}=\"{}\"", escaped(value));
        let labels: Vec<_> = labels.iter().map(pair).collect();
        match labels[..] {
            [] => self.line(format_args!("tokenstorm_{name} {value}")),
            [..] => self.line(format_args!("tokenstorm_{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// Nothing, where there is no value.
    fn gauge(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.head(name, "gauge", help);
            self.sample(name, &[], value);
        }
    }

    fn by(&mut self, name: &str, help: &str, label: &str, counts: &BTreeMap<String, u64>) {
        self.head(name, "counter", help);
        for (value, count) in counts {
            self.sample(name, &[(label, value)], count);
        }
    }

    /// A series of each worker: an incarnation that took an ordinal again goes on with the ordinal's series.
    fn each(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        live: &Live,
        value: impl Fn(&LiveWorker) -> f64,
    ) {
        let mut series: BTreeMap<(String, &str), f64> = BTreeMap::new();
        for worker in &live.workers {
            let key = (worker.ordinal.to_string(), worker.host.as_str());
            let slot = series.entry(key).or_default();
            *slot = if kind == "counter" { *slot + value(worker) } else { value(worker) };
        }
        self.head(name, kind, help);
        for ((ordinal, host), value) in &series {
            self.sample(name, &[("worker", ordinal), ("host", host)], value);
        }
    }

    /// Of one or several series, each with a label where there are several.
    fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Option<(&'a str, &'a str)>, &'a Distribution)>,
    ) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (label, samples) in series {
            let counts = samples.cumulative(&LATENCY_BOUNDS_US);
            for (bound_us, count) in LATENCY_BOUNDS_US.into_iter().zip(counts) {
                let bound = (bound_us as f64 / 1e6).to_string();
                self.sample(&bucket, &labelled(label, Some(&bound)), count);
            }
            self.sample(&bucket, &labelled(label, Some("+Inf")), samples.count());
            let sum_us = samples.sum().unwrap_or(u64::MAX);
            self.sample(&format!("{name}_sum"), &labelled(label, None), sum_us as f64 / 1e6);
            self.sample(&format!("{name}_count"), &labelled(label, None), samples.count());
        }
    }
}

/// A series' own label, and the bucket's bound.
fn labelled<'a>(
    label: Option<(&'a str, &'a str)>,
    bound: Option<&'a str>,
) -> Vec<(&'a str, &'a str)> {
    label.into_iter().chain(bound.map(|bound| ("le", bound))).collect()
}

/// A label's value, as the text format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
pub(crate) mod tests {
    use metrics::{LiveBooks, LiveTurns, Metric, SparseHistogram};

    use super::*;

    fn worker(ordinal: u32, state: LiveState, due: u64) -> LiveWorker {
        let books = LiveBooks { due, ..LiveBooks::default() };
        LiveWorker { ordinal, host: "pod-\"a\"".to_owned(), state, books, ..LiveWorker::default() }
    }

    pub(crate) fn samples(metric: Metric, values: &[u64]) -> Distribution {
        let mut samples = Distribution::new(metric.kind());
        values.iter().for_each(|value| samples.record(*value));
        samples
    }

    fn live() -> Live {
        Live {
            name: "demo".to_owned(),
            phase: Phase::Running,
            run_time_ms: Some(12_500),
            books: LiveBooks {
                due: 100,
                failed_by: BTreeMap::from([("status_503".to_owned(), 3)]),
                ..LiveBooks::default()
            },
            workers: vec![worker(0, LiveState::Sending, 40), worker(1, LiveState::Lost, 60)],
            distributions: BTreeMap::from([
                (Metric::Ttft, samples(Metric::Ttft, &[200_000, 300_000, 2_000_000])),
                (Metric::OutputTokens, samples(Metric::OutputTokens, &[7])),
            ]),
            ..Live::default()
        }
    }

    #[test]
    fn names_have_units_and_values_are_those_of_the_view() {
        let text = exposition(&live(), "1.2.3");
        for line in [
            "tokenstorm_build_info{version=\"1.2.3\"} 1",
            "tokenstorm_run_phase{phase=\"running\"} 1",
            "tokenstorm_run_phase{phase=\"draining\"} 0",
            "tokenstorm_run_verdict{status=\"VALID\"} 1",
            "tokenstorm_run_time_seconds 12.5",
            "# TYPE tokenstorm_requests_due_total counter",
            "tokenstorm_requests_due_total 100",
            "tokenstorm_requests_failed_total{class=\"status_503\"} 3",
            "# TYPE tokenstorm_ttft_seconds histogram",
            "tokenstorm_ttft_seconds_bucket{le=\"0.0005\"} 0",
            "tokenstorm_ttft_seconds_bucket{le=\"1\"} 2",
            "tokenstorm_ttft_seconds_bucket{le=\"+Inf\"} 3",
            "tokenstorm_ttft_seconds_sum 2.5",
            "tokenstorm_ttft_seconds_count 3",
            "tokenstorm_workers{state=\"lost\"} 1",
            "tokenstorm_worker_lost{worker=\"1\",host=\"pod-\\\"a\\\"\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("run_time_left"), "absent is not 0");
        assert!(!text.contains("output_tokens_seconds"), "tokens are no time");
    }

    fn turns() -> LiveTurns {
        let turn = |name: &str, values: &[u64]| {
            LiveTurn::new(name, &SparseHistogram::default(), samples(Metric::Ttft, values))
        };
        let each =
            vec![turn("turn 1", &[200_000]), turn("turn 2 and later", &[300_000, 2_000_000])];
        LiveTurns { each, later: turn("later turns", &[300_000, 2_000_000]) }
    }

    #[test]
    fn each_turn_is_a_series_that_adds_up_to_all() {
        let text = exposition(&Live { turns: Some(turns()), ..live() }, "1");
        for line in [
            "# TYPE tokenstorm_turn_ttft_seconds histogram",
            "tokenstorm_turn_ttft_seconds_bucket{turn=\"1\",le=\"0.25\"} 1",
            "tokenstorm_turn_ttft_seconds_bucket{turn=\"2 and later\",le=\"+Inf\"} 2",
            "tokenstorm_turn_ttft_seconds_sum{turn=\"2 and later\"} 2.3",
            "tokenstorm_turn_ttft_seconds_count{turn=\"1\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("# TYPE tokenstorm_turn_ttft_seconds ").count(), 1);
        assert!(!exposition(&live(), "1").contains("turn_ttft"), "single requests have no turns");
    }

    #[test]
    fn no_series_is_told_twice() {
        let mut twice = Live { turns: Some(turns()), ..live() };
        twice.workers.push(worker(1, LiveState::Sending, 5));
        let text = exposition(&twice, "1");
        let series: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(series, _)| series)
            .collect();
        let unique: std::collections::BTreeSet<_> = series.iter().collect();
        assert_eq!(series.len(), unique.len());
        assert!(text.contains("due_total{worker=\"1\",host=\"pod-\\\"a\\\"\"} 65\n"), "{text}");
    }
}
