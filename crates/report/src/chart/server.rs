//! What the service said of itself, on the same axis as what was measured of it.

use metrics::{RunResult, ServerSeries};

use super::time::bands;
use super::{Axis, Chart, Scale, Series};

/// A chart for each unit: quantities of one unit can be compared, others cannot.
const CHARTS: [(&str, &str, &str); 10] = [
    ("requests", "server_requests", "Requests in the server"),
    ("share", "server_shares", "Shares of the server's caches"),
    ("tokens/s", "server_tokens", "Tokens of the server"),
    ("1/s", "server_preemptions", "Preemptions"),
    ("pods", "server_pods", "Ready pods"),
    ("s", "server_seconds", "Times of the gateway"),
    ("%", "server_gpu_utilization", "GPU utilization"),
    ("MiB", "server_gpu_memory", "GPU memory"),
    ("W", "server_gpu_power", "GPU power"),
    ("", "server_queries", "Your own queries"),
];

/// Those that have something to show.
pub(crate) fn server(result: &RunResult) -> Vec<Chart> {
    let chart = |(unit, id, title): (&'static str, &'static str, &str)| {
        let wanted: Vec<&ServerSeries> =
            result.server.series.iter().filter(|series| series.unit == unit).collect();
        of(wanted, unit, id, title, result)
    };
    let charts = CHARTS.into_iter().map(chart);
    charts.filter(|chart| !chart.is_empty()).collect()
}

fn of(
    wanted: Vec<&ServerSeries>,
    unit: &'static str,
    id: &'static str,
    title: &str,
    result: &RunResult,
) -> Chart {
    let all = wanted.iter().flat_map(|series| &series.points);
    let mut seconds: Vec<i64> = all.map(|point| second(point.at_ms)).collect();
    seconds.sort_unstable();
    seconds.dedup();
    let column = |series: &ServerSeries| {
        let mut values = vec![None; seconds.len()];
        for point in &series.points {
            if let Ok(place) = seconds.binary_search(&second(point.at_ms)) {
                values[place] = Some(point.value);
            }
        }
        Series::line(series.name.clone(), values)
    };
    Chart {
        id,
        title: title.to_owned(),
        note: "As the server says it; not measured by us.".to_owned(),
        x: Axis { label: "run time, s", scale: Scale::Linear },
        y: Axis { label: unit, scale: Scale::Linear },
        series: wanted.into_iter().map(column).collect(),
        at: seconds.iter().map(|second| *second as f64).collect(),
        bands: bands(result),
    }
}

/// Of two sources whose instants differ by less than a second the points stand together.
fn second(at_ms: i64) -> i64 {
    (at_ms + 500).div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use metrics::{ServerMetrics, ServerPoint};

    use super::*;
    use crate::terminal::example;

    #[test]
    fn quantities_of_one_unit_share_a_chart_and_its_seconds() {
        let series = |name: &str, unit: &str, points: &[(i64, f64)]| ServerSeries {
            name: name.to_owned(),
            unit: unit.to_owned(),
            of: String::new(),
            points: points.iter().map(|&(at_ms, value)| ServerPoint { at_ms, value }).collect(),
        };
        let mut result = example::one_stage();
        assert!(server(&result).is_empty());
        let series = vec![
            series("queue_depth", "requests", &[(0, 1.0), (1_010, 4.0)]),
            series("requests_running", "requests", &[(990, 9.0), (2_000, 8.0)]),
            series("mine", "", &[(0, 1.0), (1_000, 2.0)]),
        ];
        result.server = ServerMetrics { series, ..ServerMetrics::default() };
        let charts = server(&result);
        assert_eq!(charts.len(), 2);
        assert_eq!(charts[0].at, [0.0, 1.0, 2.0]);
        assert_eq!(charts[0].series[0].values, [Some(1.0), Some(4.0), None]);
        assert_eq!(charts[0].series[1].values, [None, Some(9.0), Some(8.0)]);
        assert_eq!(charts[1].id, "server_queries");
    }
}
