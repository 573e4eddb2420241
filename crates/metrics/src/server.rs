//! What the service said of itself while it was measured, on the run's own time axis.
//!
//! These figures are the server's and are taken as they are: they explain a latency, they are not one. A series holds
//! instants of run time and values; what is missing is missing, and why is said in `problems`.

use serde::{Deserialize, Serialize};

/// One value at an instant of run time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerPoint {
    /// Run time; negative before the start.
    pub at_ms: i64,
    /// The value, in the series' unit.
    pub value: f64,
}

/// One quantity over time, over all instances of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerSeries {
    /// Such as `queue_depth`; the user's own name for a query of theirs.
    pub name: String,
    /// Its unit: `requests`, `tokens/s`, `share`, …; empty where nobody said.
    pub unit: String,
    /// What was asked or read, in the source's words.
    pub of: String,
    /// Ascending.
    pub points: Vec<ServerPoint>,
}

impl ServerSeries {
    /// Arithmetic mean of its points; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.points.iter().map(|point| point.value).sum();
        (!self.points.is_empty()).then(|| sum / self.points.len() as f64)
    }

    /// The smallest value.
    pub fn min(&self) -> Option<f64> {
        self.points.iter().map(|point| point.value).reduce(f64::min)
    }

    /// The largest value.
    pub fn max(&self) -> Option<f64> {
        self.points.iter().map(|point| point.value).reduce(f64::max)
    }

    /// The points within these bounds of run time, which the headline is.
    #[must_use]
    pub fn within(&self, from_ms: i64, to_ms: i64) -> Self {
        let inside = |point: &&ServerPoint| (from_ms..=to_ms).contains(&point.at_ms);
        let points = self.points.iter().filter(inside).copied().collect();
        Self { points, ..self.clone() }
    }
}

/// Everything that was collected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerMetrics {
    /// The addresses that were asked.
    pub sources: Vec<String>,
    /// What they had.
    pub series: Vec<ServerSeries>,
    /// What could not be collected, a line each.
    pub problems: Vec<String>,
}

impl ServerMetrics {
    /// Whether nobody was asked.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.series.is_empty() && self.problems.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_the_points_within() {
        let points = [(-500, 9.0), (0, 1.0), (1_000, 2.0), (2_000, 6.0)];
        let points = points.map(|(at_ms, value)| ServerPoint { at_ms, value }).to_vec();
        let (name, unit, of) = (String::new(), String::new(), String::new());
        let series = ServerSeries { name, unit, of, points }.within(0, 2_000);
        assert_eq!((series.mean(), series.min(), series.max()), (Some(3.0), Some(1.0), Some(6.0)));
        assert_eq!(series.within(10_000, 20_000).mean(), None);
    }
}
