//! The metrics of inference servers, gateways and GPUs that are collected without being asked for.
//!
//! Each known quantity is made of one or two sums over all instances. Both sources, a Prometheus and the servers' own
//! pages, deliver those sums over time, and what is derived (a rate, a ratio) is derived here for both, so that the two
//! give the same. Names and their older spellings: vLLM's, the Gateway API inference extension's, DCGM's.

use metrics::{ServerPoint, ServerSeries};

use crate::text::Sample;

/// How a quantity is made of its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// A gauge, summed over instances.
    Sum,
    /// A gauge, averaged over instances.
    Mean,
    /// A counter's growth per second, over all instances.
    Rate,
    /// The growth of one counter over that of another.
    Ratio(&'static [&'static str]),
}

/// One quantity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// The metric, and what it was called before.
    pub(crate) metrics: &'static [&'static str],
    pub(crate) made: Made,
}

const fn known(
    name: &'static str,
    unit: &'static str,
    made: Made,
    metrics: &'static [&'static str],
) -> Known {
    Known { name, unit, metrics, made }
}

#[rustfmt::skip]
pub(crate) const KNOWN: &[Known] = &[
    known("queue_depth", "requests", Made::Sum, &["vllm:num_requests_waiting"]),
    known("requests_running", "requests", Made::Sum, &["vllm:num_requests_running"]),
    known("kv_cache_usage", "share", Made::Mean, &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"]),
    known("cache_hit_ratio", "share", Made::Ratio(&["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"]), &["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"]),
    known("prompt_tokens", "tokens/s", Made::Rate, &["vllm:prompt_tokens_total"]),
    known("generation_tokens", "tokens/s", Made::Rate, &["vllm:generation_tokens_total"]),
    known("preemptions", "1/s", Made::Rate, &["vllm:num_preemptions_total"]),
    known("pool_kv_cache_usage", "share", Made::Mean, &["inference_pool_average_kv_cache_utilization"]),
    known("pool_queue_size", "requests", Made::Mean, &["inference_pool_average_queue_size"]),
    known("pool_ready_pods", "pods", Made::Sum, &["inference_pool_ready_pods"]),
    known("gateway_scheduling_mean", "s", Made::Ratio(&["inference_extension_scheduler_e2e_duration_seconds_count"]), &["inference_extension_scheduler_e2e_duration_seconds_sum"]),
    known("gpu_utilization", "%", Made::Mean, &["DCGM_FI_DEV_GPU_UTIL"]),
    known("gpu_memory_used", "MiB", Made::Sum, &["DCGM_FI_DEV_FB_USED"]),
    known("gpu_power", "W", Made::Sum, &["DCGM_FI_DEV_POWER_USAGE"]),
];

/// A sum over all instances at instants of run time.
pub(crate) type Sums = Vec<ServerPoint>;

impl Known {
    /// The sums that it is made of, the first spelling of each that exists deciding: PromQL for a Prometheus.
    pub(crate) fn queries(&self) -> Vec<String> {
        let over = |names: &[&str]| {
            let function = if self.made == Made::Mean { "avg" } else { "sum" };
            let each: Vec<_> = names.iter().map(|name| format!("{function}({name})")).collect();
            each.join(" or ")
        };
        match self.made {
            Made::Sum | Made::Mean | Made::Rate => vec![over(self.metrics)],
            Made::Ratio(below) => vec![over(self.metrics), over(below)],
        }
    }

    /// The same sums of samples that were read at one instant; `None` where one is missing.
    pub(crate) fn sums_of(&self, samples: &[&Sample]) -> Option<Vec<f64>> {
        let over = |names: &[&str]| {
            names.iter().find_map(|name| {
                let values: Vec<f64> =
                    samples.iter().filter(|s| s.name == *name).map(|s| s.value).collect();
                let sum: f64 = values.iter().sum();
                let whole = if self.made == Made::Mean { sum / values.len() as f64 } else { sum };
                (!values.is_empty()).then_some(whole)
            })
        };
        match self.made {
            Made::Sum | Made::Mean | Made::Rate => Some(vec![over(self.metrics)?]),
            Made::Ratio(below) => Some(vec![over(self.metrics)?, over(below)?]),
        }
    }

    /// The quantity over time; `None` where there is no point of it.
    pub(crate) fn series(&self, sums: &[Sums]) -> Option<ServerSeries> {
        let points = match (self.made, sums) {
            (Made::Sum | Made::Mean, [values]) => values.clone(),
            (Made::Rate, [counts]) => {
                let per_second = |(from, to): (&ServerPoint, &ServerPoint)| {
                    let seconds = (to.at_ms - from.at_ms) as f64 / 1_000.0;
                    grown(from, to).filter(|_| seconds > 0.0).map(|growth| growth / seconds)
                };
                steps(counts, per_second)
            }
            (Made::Ratio(_), [above, below]) => ratio(above, below),
            _ => Vec::new(),
        };
        (!points.is_empty()).then(|| ServerSeries {
            name: self.name.to_owned(),
            unit: self.unit.to_owned(),
            of: self.queries().join(" / "),
            points,
        })
    }
}

/// A counter that fell was reset with its process: what it grew by is not known.
fn grown(from: &ServerPoint, to: &ServerPoint) -> Option<f64> {
    Some(to.value - from.value).filter(|growth| *growth >= 0.0)
}

/// What each step between neighbours gives, at its end.
fn steps(
    counts: &[ServerPoint],
    value: impl Fn((&ServerPoint, &ServerPoint)) -> Option<f64>,
) -> Vec<ServerPoint> {
    let pairs = counts.iter().zip(counts.iter().skip(1));
    pairs
        .filter_map(|(from, to)| Some(ServerPoint { at_ms: to.at_ms, value: value((from, to))? }))
        .collect()
}

/// Growth over growth; nothing where the second did not grow.
fn ratio(above: &[ServerPoint], below: &[ServerPoint]) -> Vec<ServerPoint> {
    let at = |at_ms: i64| {
        let place = below.binary_search_by_key(&at_ms, |point| point.at_ms).ok()?;
        below.get(place)
    };
    steps(above, |(from, to)| {
        let whole = grown(at(from.at_ms)?, at(to.at_ms)?).filter(|growth| *growth > 0.0)?;
        Some(grown(from, to)? / whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::samples;

    fn named(name: &str) -> Known {
        *KNOWN.iter().find(|known| known.name == name).unwrap()
    }

    fn points(values: &[f64]) -> Sums {
        (0..)
            .zip(values)
            .map(|(n, value)| ServerPoint { at_ms: n * 2_000, value: *value })
            .collect()
    }

    fn values(series: &ServerSeries) -> Vec<f64> {
        series.points.iter().map(|point| point.value).collect()
    }

    #[test]
    fn a_rate_is_the_growth_and_a_reset_is_no_growth() {
        // 10, 16, then a restart at 1, 5: every 2 s.
        let series = named("prompt_tokens").series(&[points(&[10.0, 16.0, 1.0, 5.0])]).unwrap();
        assert_eq!(values(&series), [3.0, 2.0]);
        assert_eq!((series.points[0].at_ms, series.points[1].at_ms), (2_000, 6_000));
    }

    #[test]
    fn a_ratio_is_growth_over_growth() {
        let hits = points(&[0.0, 5.0, 5.0, 20.0]);
        let queries = points(&[0.0, 10.0, 10.0, 30.0]);
        let series = named("cache_hit_ratio").series(&[hits, queries]).unwrap();
        // Nothing was asked in the second step.
        assert_eq!(values(&series), [0.5, 0.75]);
    }

    #[test]
    fn instances_are_added_up_or_averaged() {
        let page = "vllm:num_requests_waiting{pod=\"a\"} 3\nvllm:num_requests_waiting{pod=\"b\"} 4\n\
                    vllm:gpu_cache_usage_perc{pod=\"a\"} 0.2\nvllm:gpu_cache_usage_perc{pod=\"b\"} 0.4\n";
        let (samples, _) = samples(page);
        let samples: Vec<&Sample> = samples.iter().collect();
        assert_eq!(named("queue_depth").sums_of(&samples), Some(vec![7.0]));
        let usage = named("kv_cache_usage").sums_of(&samples).unwrap();
        assert!((usage[0] - 0.3).abs() < 1e-12, "the older name is found");
        assert_eq!(named("gpu_power").sums_of(&samples), None, "absent is not 0");
        assert_eq!(named("gpu_power").series(&[Vec::new()]), None);
    }

    #[test]
    fn the_queries_ask_for_the_same_sums() {
        assert_eq!(
            named("kv_cache_usage").queries(),
            ["avg(vllm:kv_cache_usage_perc) or avg(vllm:gpu_cache_usage_perc)"]
        );
        assert_eq!(named("cache_hit_ratio").queries().len(), 2);
    }
}
