//! A Prometheus is asked once, after the run: range queries over the run's own time.
//!
//! It keeps what it scraped, so nothing of this disturbs the load. Instants are steps of the run's axis; between two of
//! its own scrapes a Prometheus repeats the older value.

use std::time::Duration;

use metrics::{ServerMetrics, ServerPoint, ServerSeries};
use reqwest::Client;
use serde::Deserialize;

use crate::known::{KNOWN, Sums};

/// Points that a query may have; Prometheus itself refuses above 11,000.
const MOST_POINTS: u64 = 1_200;
/// What is wrong by then stays wrong.
const PATIENCE: Duration = Duration::from_secs(10);
/// Series of one query of the user's that are kept: a query without an aggregation may have thousands.
const MOST_SERIES: usize = 50;

/// A query of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedQuery {
    /// What it is called in the result.
    pub name: String,
    /// PromQL.
    pub query: String,
}

/// A stretch of Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunWindow {
    /// The run's start, nanoseconds.
    pub start_unix_ns: i64,
    /// Its end.
    pub end_unix_ns: i64,
}

impl RunWindow {
    /// Whole seconds, wide enough that there are not too many points.
    fn step_s(self) -> u64 {
        let length_ns = u64::try_from(self.end_unix_ns - self.start_unix_ns).unwrap_or(0);
        (length_ns / 1_000_000_000).div_ceil(MOST_POINTS).max(1)
    }

    pub(crate) fn at_ms(self, unix_s: f64) -> i64 {
        (unix_s * 1_000.0 - self.start_unix_ns as f64 / 1e6).round() as i64
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: Option<String>,
    data: Option<Matrix>,
}

#[derive(Deserialize)]
struct Matrix {
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    metric: std::collections::BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Asks for the known metrics and the user's own; what fails is a line of the answer.
pub async fn ask_prometheus(
    endpoint: &str,
    queries: &[NamedQuery],
    window: RunWindow,
) -> ServerMetrics {
    let mut found =
        ServerMetrics { sources: vec![endpoint.to_owned()], ..ServerMetrics::default() };
    let asker = Asker { client: Client::new(), endpoint, window };
    if let Err(problem) = asker.known(&mut found).await {
        // Who does not answer one question is not asked twenty more.
        found.problems.push(format!("{endpoint} was not asked further: {problem}"));
        return found;
    }
    for named in queries {
        match asker.range(&named.query).await {
            Ok(rows) => own(named, rows, window, &mut found),
            Err(problem) => found.problems.push(format!("query {}: {problem}", named.name)),
        }
    }
    found
}

/// A series of its own for each row; labels tell them apart.
fn own(named: &NamedQuery, rows: Vec<Row>, window: RunWindow, found: &mut ServerMetrics) {
    if rows.is_empty() {
        found.problems.push(format!("query {}: it has no data in the run's time", named.name));
    }
    if rows.len() > MOST_SERIES {
        let (count, name) = (rows.len(), &named.name);
        found.problems.push(format!(
            "query {name}: {count} series, the first {MOST_SERIES} are kept; add an aggregation such as sum(…)"
        ));
    }
    let one = rows.len() == 1;
    for row in rows.into_iter().take(MOST_SERIES) {
        let labels: Vec<_> = row
            .metric
            .iter()
            .filter(|(name, _)| *name != "__name__")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let name = if one || labels.is_empty() {
            named.name.clone()
        } else {
            format!("{}{{{}}}", named.name, labels.join(","))
        };
        let points = points(&row, window);
        if !points.is_empty() {
            let of = named.query.clone();
            found.series.push(ServerSeries { name, unit: String::new(), of, points });
        }
    }
}

/// NaN (0/0 of a query) is no value.
fn points(row: &Row, window: RunWindow) -> Sums {
    let point = |(unix_s, value): &(f64, String)| {
        let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite())?;
        Some(ServerPoint { at_ms: window.at_ms(*unix_s), value })
    };
    row.values.iter().filter_map(point).collect()
}

struct Asker<'a> {
    client: Client,
    endpoint: &'a str,
    window: RunWindow,
}

impl Asker<'_> {
    /// What no server has is left out without a word.
    async fn known(&self, found: &mut ServerMetrics) -> Result<(), String> {
        for known in KNOWN {
            let mut sums = Vec::new();
            for query in known.queries() {
                let rows = self.range(&query).await?;
                sums.push(rows.first().map(|row| points(row, self.window)).unwrap_or_default());
            }
            found.series.extend(known.series(&sums));
        }
        Ok(())
    }

    async fn range(&self, query: &str) -> Result<Vec<Row>, String> {
        let url = format!("{}/api/v1/query_range", self.endpoint.trim_end_matches('/'));
        let seconds = |ns: i64| format!("{:.3}", ns as f64 / 1e9);
        let form = [
            ("query", query.to_owned()),
            ("start", seconds(self.window.start_unix_ns)),
            ("end", seconds(self.window.end_unix_ns)),
            ("step", format!("{}s", self.window.step_s())),
        ];
        let request = self.client.get(&url).query(&form).timeout(PATIENCE);
        let answer = request.send().await.map_err(|error| reason(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| reason(&error))?;
        let Ok(answer) = serde_json::from_str::<Answer>(&text) else {
            return Err(format!(
                "status {status} and no answer of a Prometheus; set `metrics.prometheus.endpoint` to its base URL"
            ));
        };
        match (answer.data, answer.error) {
            (Some(matrix), None) => Ok(matrix.result),
            (_, error) => Err(error.unwrap_or_else(|| format!("status {status}"))),
        }
    }
}

/// The innermost cause: the others only say that there is one.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() { format!("no answer in time ({cause})") } else { cause.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use axum::{Json, Router, extract::Query, routing::get};
    use serde_json::{Value, json};

    use super::*;

    /// 2024-02-29 12:00:00 UTC, and 10 s later.
    const WINDOW: RunWindow = RunWindow {
        start_unix_ns: 1_709_208_000_000_000_000,
        end_unix_ns: 1_709_208_010_000_000_000,
    };

    async fn answer(Query(asked): Query<HashMap<String, String>>) -> Json<Value> {
        assert_eq!(asked["start"], "1709208000.000");
        assert_eq!((asked["end"].as_str(), asked["step"].as_str()), ("1709208010.000", "1s"));
        let row = |metric: Value, values: Value| json!({"metric": metric, "values": values});
        let at = 1_709_208_000;
        let rows = match asked["query"].as_str() {
            "sum(vllm:num_requests_waiting)" => {
                vec![row(json!({}), json!([[at, "0"], [at + 1, "7"]]))]
            }
            "sum(vllm:prompt_tokens_total)" => {
                vec![row(json!({}), json!([[at, "100"], [at + 2, "300"]]))]
            }
            "power" => vec![
                row(json!({"__name__": "p", "gpu": "0"}), json!([[at, "250.5"], [at + 1, "NaN"]])),
                row(json!({"__name__": "p", "gpu": "1"}), json!([[at, "251"]])),
            ],
            "broken(" => {
                return Json(json!({"status": "error", "error": "parse error: unclosed"}));
            }
            _ => Vec::new(),
        };
        Json(json!({"status": "success", "data": {"resultType": "matrix", "result": rows}}))
    }

    async fn stand_in() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/api/v1/query_range", get(answer));
        let _server = tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn named(name: &str, query: &str) -> NamedQuery {
        NamedQuery { name: name.to_owned(), query: query.to_owned() }
    }

    #[tokio::test]
    async fn known_metrics_and_own_queries_are_on_the_runs_axis() {
        let queries =
            [named("gpu_power", "power"), named("bad", "broken("), named("none", "absent")];
        let found = ask_prometheus(&stand_in().await, &queries, WINDOW).await;
        let named: Vec<_> = found.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(named, ["queue_depth", "prompt_tokens", "gpu_power{gpu=0}", "gpu_power{gpu=1}"]);
        let point = |at_ms, value| ServerPoint { at_ms, value };
        assert_eq!(found.series[0].points, [point(0, 0.0), point(1_000, 7.0)]);
        assert_eq!(found.series[1].points, [point(2_000, 100.0)], "tokens a second");
        assert_eq!(found.series[2].points, [point(0, 250.5)], "NaN is no value");
        assert_eq!(found.problems.len(), 2, "{:?}", found.problems);
        assert!(found.problems[0].contains("bad: parse error"));
        assert!(found.problems[1].contains("none: it has no data"));
    }

    #[tokio::test]
    async fn nobody_there_is_one_line() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let found = ask_prometheus(&format!("http://{closed}"), &[named("a", "b")], WINDOW).await;
        assert!(found.series.is_empty());
        assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
        assert!(found.problems[0].contains("refused"), "{:?}", found.problems);
    }

    #[test]
    fn a_long_run_has_wider_steps() {
        let hours = |h: i64| RunWindow { start_unix_ns: 0, end_unix_ns: h * 3_600_000_000_000 };
        assert_eq!((hours(0).step_s(), hours(1).step_s(), hours(24).step_s()), (1, 3, 72));
    }
}
