//! The server's own metrics in files: figures of the headline in summary.json, all points in `server_metrics.json`.

use metrics::{RunResult, ServerMetrics, ServerSeries};
use serde_json::{Map, Value, json};

use crate::summary_json::SCHEMA_VERSION;

/// For summary.json; `null` where nobody was asked.
pub(crate) fn summary(result: &RunResult) -> Value {
    let server = &result.server;
    if server.is_empty() {
        return Value::Null;
    }
    let figures = |series: &ServerSeries| {
        let inside = in_headline(series, result);
        let value = json!({
            "unit": series.unit,
            "of": series.of,
            "points": inside.points.len(),
            "mean": inside.mean(),
            "min": inside.min(),
            "max": inside.max(),
        });
        (series.name.clone(), value)
    };
    let metrics: Map<String, Value> = server.series.iter().map(figures).collect();
    json!({ "sources": server.sources, "metrics": metrics, "problems": server.problems })
}

/// What the server said while the headline was measured.
pub(crate) fn in_headline(series: &ServerSeries, result: &RunResult) -> ServerSeries {
    let ms = |at: std::time::Duration| i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    series.within(ms(result.overall.start), ms(result.overall.end))
}

/// The whole file.
pub(crate) fn points(server: &ServerMetrics) -> Value {
    let series = server.series.iter().map(|series| {
        let points = series.points.iter().map(|point| json!([point.at_ms, point.value]));
        json!({
            "name": series.name,
            "unit": series.unit,
            "of": series.of,
            "points": points.collect::<Vec<_>>(),
        })
    });
    json!({
        "schemaVersion": SCHEMA_VERSION,
        "axis": "[milliseconds of run time, value]",
        "sources": server.sources,
        "series": series.collect::<Vec<_>>(),
        "problems": server.problems,
    })
}

/// The inverse of [`points`]: `None` where it is no such file. What a later version added is passed over.
pub(crate) fn read(value: &Value) -> Option<ServerMetrics> {
    let texts = |value: &Value| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let series = |value: &Value| -> Option<ServerSeries> {
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let point = |pair: &Value| {
            let (at_ms, value) = (pair.get(0)?.as_i64()?, pair.get(1)?.as_f64()?);
            Some(metrics::ServerPoint { at_ms, value })
        };
        let points = value.get("points")?.as_array()?.iter().map(point);
        Some(ServerSeries {
            name: text("name")?,
            unit: text("unit")?,
            of: text("of")?,
            points: points.collect::<Option<_>>()?,
        })
    };
    let all = value.get("series")?.as_array()?.iter().map(series);
    Some(ServerMetrics {
        sources: texts(value.get("sources")?)?,
        series: all.collect::<Option<_>>()?,
        problems: texts(value.get("problems")?)?,
    })
}

#[cfg(test)]
pub(crate) fn example() -> ServerMetrics {
    let points = [(0, 2.0), (4_000, 4.0), (900_000_000, 50.0)];
    let points = points.map(|(at_ms, value)| metrics::ServerPoint { at_ms, value }).to_vec();
    let [name, unit, of] = ["queue_depth", "requests", "sum(vllm:num_requests_waiting)"];
    let [name, unit, of] = [name, unit, of].map(str::to_owned);
    ServerMetrics {
        sources: vec!["http://10.0.0.1:8000/metrics".to_owned()],
        series: vec![ServerSeries { name, unit, of, points }],
        problems: vec!["a page did not answer".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    #[test]
    fn what_is_written_is_read_back() {
        let server = super::example();
        assert_eq!(read(&points(&server)).as_ref(), Some(&server));
        assert_eq!(read(&json!({"series": 1})), None);
    }

    #[test]
    fn the_summary_has_the_headlines_figures() {
        let mut result = example::one_stage();
        assert_eq!(summary(&result), Value::Null, "nobody was asked");
        result.server = super::example();
        result.overall.start = std::time::Duration::from_secs(1);
        result.overall.end = std::time::Duration::from_secs(10);
        let value = summary(&result);
        // The point of 4 s alone is inside.
        assert_eq!(value["metrics"]["queue_depth"]["mean"], 4.0);
        assert_eq!(value["metrics"]["queue_depth"]["points"], 1);
        assert_eq!(value["problems"][0], "a page did not answer");
    }
}
