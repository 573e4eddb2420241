//! Objectives as they are written: `slos: {ttft: {p95: 500ms}, error_rate: 0.01, perRequest: {ttft: 500ms}}`.
//!
//! A metric takes a map of statistics with their limits, a rate or share takes its limit alone. Limits are written as
//! everywhere: a latency as a duration, the rest as numbers. Whether more or less is better belongs to the figure.

use metrics::{Figure, Kind, Metric, RateFigure, RequestLimit, Slo, Slos, Statistic};
use serde_json::{Map, Value};

use super::PlanError;
use super::build::Builder;
use crate::config::{nearest_word, seconds};

/// The key under which each request's limits stand.
const PER_REQUEST: &str = "perRequest";
/// No latency is longer: it is the bound of the histograms.
const LONGEST_S: f64 = 3_600.0;

impl Builder<'_> {
    /// The objectives of the whole run.
    pub(super) fn run_slos(&mut self) -> Slos {
        let written = self.config.get("slos").and_then(Value::as_object).cloned();
        written.map_or_else(Slos::default, |map| self.slos("slos", &map))
    }

    /// Objectives that stand under `path`; each problem is refused by itself.
    pub(super) fn slos(&mut self, path: &str, map: &Map<String, Value>) -> Slos {
        let mut slos = Slos::default();
        for (name, value) in map {
            let path = format!("{path}.{name}");
            if name == PER_REQUEST {
                slos.per_request = self.per_request(&path, value);
            } else if let Some(rate) = rate_named(name) {
                slos.limits.extend(self.rate_limit(&path, rate, value));
            } else if let Some(metric) = metric_named(name) {
                self.metric_limits(&path, metric, value, &mut slos.limits);
            } else {
                self.refuse_slo(&path, unknown(name, "metric", &figure_names()));
            }
        }
        self.check_goodput(path, &slos);
        slos
    }

    fn rate_limit(&mut self, path: &str, rate: RateFigure, value: &Value) -> Option<Slo> {
        let most = if rate.is_share() { 1.0 } else { 1e12 };
        let limit = number(value).filter(|limit| (0.0..=most).contains(limit));
        if limit.is_none() {
            let allowed = if rate.is_share() {
                "a share from 0 to 1"
            } else {
                "a number per second, at least 0"
            };
            self.refuse_slo(path, format!("is {}: give {allowed}", shown(value)));
        }
        Some(Slo { figure: Figure::Rate(rate), limit: limit? })
    }

    fn metric_limits(&mut self, path: &str, metric: Metric, value: &Value, limits: &mut Vec<Slo>) {
        let Some(map) = value.as_object().filter(|map| !map.is_empty()) else {
            let example = if metric.kind() == Kind::Latency { "{p95: 500ms}" } else { "{p50: 20}" };
            let problem = format!("is {}: name the statistic, such as `{example}`", shown(value));
            return self.refuse_slo(path, problem);
        };
        if !self.can_have(path, metric) {
            return;
        }
        for (name, value) in map {
            let path = format!("{path}.{name}");
            let Some(statistic) = Statistic::from_name(name) else {
                let words = ["p50", "p90", "p95", "p99", "p99.9", "mean", "median", "min", "max"];
                self.refuse_slo(&path, unknown(name, "statistic", &words));
                continue;
            };
            if let Some(limit) = self.limit(&path, metric.kind(), value) {
                limits.push(Slo { figure: Figure::Of(metric, statistic), limit });
            }
        }
    }

    fn per_request(&mut self, path: &str, value: &Value) -> Vec<RequestLimit> {
        let Some(map) = value.as_object().filter(|map| !map.is_empty()) else {
            let example = "{ttft: 500ms, itl: 50ms, e2e: 10s}";
            let problem = format!("is {}: give a map such as `{example}`", shown(value));
            self.refuse_slo(path, problem);
            return Vec::new();
        };
        let mut limits: Vec<RequestLimit> = Vec::new();
        for (name, value) in map {
            let path = format!("{path}.{name}");
            let Some(metric) = request_metric_named(name) else {
                self.refuse_slo(&path, unknown(name, "metric of a request", &request_names()));
                continue;
            };
            if limits.iter().any(|known| known.metric == metric) {
                let problem = format!("sets a second limit to `{}`: set one", metric.name());
                self.refuse_slo(&path, problem);
            } else if self.can_have(&path, metric)
                && let Some(limit) = self.limit(&path, metric.kind(), value)
            {
                let recorded = limit * f64::from(metric.kind().units_per_shown());
                limits.push(RequestLimit { metric, limit: recorded.round() as u64 });
            }
        }
        limits
    }

    /// In the unit that is shown: µs, tokens, per second.
    fn limit(&mut self, path: &str, kind: Kind, value: &Value) -> Option<f64> {
        let (limit, allowed) = match kind {
            Kind::Latency => {
                let seconds = seconds(value).filter(|s| *s > 0.0 && *s <= LONGEST_S);
                let micros = seconds.map(|seconds| (seconds * 1e6).round().max(1.0));
                (
                    micros,
                    "a duration above 0 and up to an hour, such as `500ms` (a number is of seconds)",
                )
            }
            Kind::Count | Kind::Rate => {
                (number(value).filter(|limit| *limit > 0.0 && *limit <= 1e9), "a number above 0")
            }
        };
        if limit.is_none() {
            self.refuse_slo(path, format!("is {}: give {allowed}", shown(value)));
        }
        limit
    }

    /// Without a stream there are no single tokens to time.
    fn can_have(&mut self, path: &str, metric: Metric) -> bool {
        let streamed = self.config.get("target.stream").and_then(Value::as_bool).unwrap_or(true);
        let can = streamed || !metric.needs_stream();
        if !can {
            let problem = "needs streamed answers: remove it, or set `target.stream: true`";
            self.refuse_slo(path, problem.to_owned());
        }
        can
    }

    fn check_goodput(&mut self, path: &str, slos: &Slos) {
        let by_request = |slo: &Slo| match slo.figure {
            Figure::Rate(rate) => {
                matches!(rate, RateFigure::Goodput | RateFigure::SloAttainment).then(|| rate.name())
            }
            Figure::Of(..) => None,
        };
        let needed: Vec<_> = slos.limits.iter().filter_map(by_request).collect();
        // Those of a stage or a class are counted by the run's.
        let run = self.config.get("slos").and_then(|run| run.get(PER_REQUEST)?.as_object());
        let counted = run.is_some_and(|limits| !limits.is_empty());
        for name in needed.into_iter().filter(|_| !counted) {
            let problem = format!("counts requests by `slos.{PER_REQUEST}`: set that too");
            self.refuse_slo(&format!("{path}.{name}"), problem);
        }
    }

    fn refuse_slo(&mut self, path: &str, problem: String) {
        self.refuse(PlanError::Slo { path: path.to_owned(), problem });
    }
}

/// `tpot` by the name that people give a request's own mean.
fn request_metric_named(name: &str) -> Option<Metric> {
    match name {
        "itl" => Some(Metric::Tpot),
        _ => metric_named(name).filter(|metric| metric.per_request()),
    }
}

fn metric_named(name: &str) -> Option<Metric> {
    match name {
        "e2e" | "e2el" => Some(Metric::E2eLatency),
        _ => Metric::from_name(name),
    }
}

fn rate_named(name: &str) -> Option<RateFigure> {
    match name {
        "errors" | "errorRate" => Some(RateFigure::ErrorRate),
        "ttftOver3s" => Some(RateFigure::TtftOver3s),
        _ => RateFigure::from_name(name),
    }
}

fn figure_names() -> Vec<&'static str> {
    let metrics = Metric::ALL.into_iter().map(Metric::name);
    let rates = RateFigure::all().map(RateFigure::name);
    ["e2e", PER_REQUEST].into_iter().chain(metrics).chain(rates).collect()
}

fn request_names() -> Vec<&'static str> {
    let own = Metric::ALL.into_iter().filter(|metric| metric.per_request()).map(Metric::name);
    ["itl", "e2e"].into_iter().chain(own).collect()
}

fn unknown(name: &str, what: &str, words: &[&str]) -> String {
    let usual: Vec<_> = words.iter().take(9).map(|word| format!("`{word}`")).collect();
    let more = if words.len() > usual.len() { ", …" } else { "" };
    match nearest_word(name, words) {
        Some(meant) => format!("is no {what}: did you mean `{meant}`?"),
        None => format!("is no {what}: give one of {}{more}", usual.join(", ")),
    }
}

/// A number, also one that was written as text.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|n: &f64| n.is_finite())
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { text.chars().take(60).chain(['…']).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Plan, PlanInputs};
    use crate::{Config, Sources};

    fn planned(slos: serde_json::Value) -> Result<Plan, Vec<String>> {
        let flags =
            [("target.endpoint", json!("http://t/v1")), ("load.rate", json!(1)), ("slos", slos)];
        let flags = flags.map(|(key, value)| (key.to_owned(), value)).to_vec();
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        let inputs = PlanInputs { model: None, prompt_salt: 1 };
        let plan = Plan::from_config(&config, &inputs);
        plan.map(|(plan, _)| plan).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn objectives_as_people_write_them() {
        let slos = planned(json!({
            "ttft": {"p95": "500ms", "p99": 1},
            "itl": {"p99.9": "50ms"},
            "token_rate_per_user": {"p5": 20},
            "error_rate": 0.01,
            "goodput": 5,
            "perRequest": {"ttft": "500ms", "itl": "50ms", "e2e": "10s"},
        }))
        .unwrap()
        .slos;
        let shown: Vec<_> =
            slos.limits.iter().map(|slo| format!("{} {}", slo.figure, slo.limit)).collect();
        assert_eq!(
            shown,
            [
                "ttft p95 500000",
                "ttft p99 1000000",
                "itl p99.9 50000",
                "token_rate_per_user p5 20",
                "error_rate 0.01",
                "goodput 5"
            ]
        );
        let each: Vec<_> =
            slos.per_request.iter().map(|one| (one.metric.name(), one.limit)).collect();
        assert_eq!(each, [("ttft", 500_000), ("tpot", 50_000), ("e2e_latency", 10_000_000)]);
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_what_was_meant() {
        let problems = planned(json!({
            "tfft": {"p95": 1},
            "ttft": {"p100": 1, "p95": "soon", "p50": 0},
            "itl": "50ms",
            "error_rate": 1.5,
            "throughput": "many",
            "goodput": 3,
            "perRequest": {},
        }))
        .unwrap_err();
        assert_eq!(
            problems,
            [
                "`slos.tfft` is no metric: did you mean `ttft`?",
                "`slos.ttft.p100` is no statistic: give one of `p50`, `p90`, `p95`, `p99`, `p99.9`, `mean`, `median`, `min`, `max`",
                "`slos.ttft.p95` is \"soon\": give a duration above 0 and up to an hour, such as `500ms` (a number is of seconds)",
                "`slos.ttft.p50` is 0: give a duration above 0 and up to an hour, such as `500ms` (a number is of seconds)",
                "`slos.itl` is \"50ms\": name the statistic, such as `{p95: 500ms}`",
                "`slos.error_rate` is 1.5: give a share from 0 to 1",
                "`slos.throughput` is \"many\": give a number per second, at least 0",
                "`slos.perRequest` is {}: give a map such as `{ttft: 500ms, itl: 50ms, e2e: 10s}`",
                "`slos.goodput` counts requests by `slos.perRequest`: set that too",
            ]
        );
        let problems = planned(json!({"perRequest": {"itl": 1, "tpot": 1, "icl": 1}})).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn one_limit_is_set_from_the_command_line() {
        let sets = ["target.endpoint=http://t/v1", "load.rate=1", "slos.ttft.p99.9=1s"];
        let sets = sets.map(str::to_owned).to_vec();
        let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
        let (plan, _) =
            Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap();
        assert_eq!(plan.slos.limits[0].figure.to_string(), "ttft p99.9");
    }
}
