//! The metrics of a run that goes on, by the conventions for generative AI where they have a name for it.
//!
//! The names are those of <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>, the buckets those that they recommend. What the
//! conventions call by `gen_ai.server.…` is here as a client sees it, the network included, as gateways tell it too; a server's own is
//! told apart by its `service.name`. What they have no name for is called as in METRICS.md, after `tokenstorm.`. All are cumulative from the run's
//! start, warm-up included. There is no percentile among them: a reader makes it from the buckets.

use std::collections::BTreeMap;

use metrics::{LATENCY_BOUNDS_US, Live, LiveState, Metric, Status};
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Gauge, Metric as Told, NumberDataPoint, Sum, metric::Data,
        number_data_point::Value,
    },
};

use super::{
    histogram::{self, Span},
    message::{count, text},
    settings::HistogramForm,
};

/// What requests are, in the conventions' words. What differs between the classes or targets of a run is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `chat` or `text_completion`.
    pub operation: &'static str,
    /// The model asked for.
    pub model: Option<String>,
    /// Host.
    pub address: Option<String>,
    /// Port.
    pub port: Option<u16>,
}

impl Service {
    /// Of requests to a URL, where they have one.
    #[must_use]
    pub fn new(operation: &'static str, model: Option<String>, url: Option<&str>) -> Self {
        let url = url.and_then(|url| reqwest::Url::parse(url).ok());
        let address = url.as_ref().and_then(|url| Some(url.host_str()?.to_owned()));
        let port = url.and_then(|url| url.port_or_known_default());
        Self { operation, model, address, port }
    }

    /// What all that is told of its requests has.
    pub(crate) fn attributes(&self) -> Vec<KeyValue> {
        // The API's, not the maker's: whoever speaks it.
        let mut told = vec![
            text("gen_ai.operation.name", self.operation),
            text("gen_ai.provider.name", "openai"),
        ];
        told.extend(self.model.as_ref().map(|model| text("gen_ai.request.model", model)));
        told.extend(self.address.as_ref().map(|address| text("server.address", address)));
        told.extend(self.port.map(|port| count("server.port", port.into())));
        told
    }
}

/// 10 ms to 82 s, each twice the one before: `gen_ai.client.operation.*`.
const OPERATION_US: [u64; 14] = [
    10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000, 1_280_000, 2_560_000, 5_120_000,
    10_240_000, 20_480_000, 40_960_000, 81_920_000,
];
/// `gen_ai.server.time_to_first_token`.
const FIRST_TOKEN_US: [u64; 16] = [
    1_000, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 250_000, 500_000, 750_000,
    1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
];
/// `gen_ai.server.time_per_output_token`.
const PER_TOKEN_US: [u64; 13] = [
    10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 500_000, 750_000,
    1_000_000, 2_500_000,
];
/// `gen_ai.client.token.usage`: powers of four.
const TOKENS: [u64; 14] = [
    1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216,
    67_108_864,
];

/// A latency under a name of the conventions, or ours.
struct Latency {
    name: &'static str,
    metric: Metric,
    bounds_us: &'static [u64],
    help: &'static str,
}

#[rustfmt::skip]
const LATENCIES: &[Latency] = &[
    Latency { name: "gen_ai.client.operation.duration", metric: Metric::E2eLatency, bounds_us: &OPERATION_US, help: "From the request's last byte sent to the end of its answer, of completed requests." },
    Latency { name: "gen_ai.client.operation.time_to_first_chunk", metric: Metric::Ttft, bounds_us: &OPERATION_US, help: "From the request's last byte sent to the first event with generated content." },
    Latency { name: "gen_ai.client.operation.time_per_output_chunk", metric: Metric::Icl, bounds_us: &OPERATION_US, help: "From one event with generated content to the next." },
    Latency { name: "gen_ai.server.time_to_first_token", metric: Metric::Ttft, bounds_us: &FIRST_TOKEN_US, help: "Time to the first token, as the client sees it." },
    Latency { name: "gen_ai.server.time_per_output_token", metric: Metric::Tpot, bounds_us: &PER_TOKEN_US, help: "Time per output token after the first, one value a request, as the client sees it." },
    Latency { name: "tokenstorm.itl", metric: Metric::Itl, bounds_us: &LATENCY_BOUNDS_US, help: "Time between two tokens, pooled over all requests." },
    Latency { name: "tokenstorm.schedule_lag", metric: Metric::ScheduleLag, bounds_us: &LATENCY_BOUNDS_US, help: "From when a request was due to when it was sent." },
    Latency { name: "tokenstorm.generator_lag", metric: Metric::GeneratorLag, bounds_us: &LATENCY_BOUNDS_US, help: "The part of it that is this program's own lateness." },
];

/// Everything that a view tells.
pub(crate) fn measures(
    live: &Live,
    service: &Service,
    form: HistogramForm,
    span: Span,
) -> Vec<Told> {
    let teller = Teller { live, attributes: service.attributes(), form, span };
    let mut told = teller.latencies();
    told.extend(teller.tokens());
    told.extend(teller.requests());
    told.extend(teller.run());
    told
}

struct Teller<'a> {
    live: &'a Live,
    attributes: Vec<KeyValue>,
    form: HistogramForm,
    span: Span,
}

impl Teller<'_> {
    fn latencies(&self) -> Vec<Told> {
        let latency = |latency: &Latency| {
            let samples = self.live.distributions.get(&latency.metric)?;
            let attributes = self.attributes.clone();
            let data =
                histogram::data(samples, latency.bounds_us, self.form, attributes, self.span);
            Some(metric(latency.name, "s", latency.help, data))
        };
        LATENCIES.iter().filter_map(latency).collect()
    }

    /// Both directions under one name, as the conventions have it.
    fn tokens(&self) -> Option<Told> {
        let of = |direction: &str, metric: Metric| {
            let samples = self.live.distributions.get(&metric)?;
            let mut attributes = self.attributes.clone();
            attributes.push(text("gen_ai.token.type", direction));
            Some(histogram::data(samples, &TOKENS, self.form, attributes, self.span))
        };
        let both = [of("input", Metric::InputTokens), of("output", Metric::OutputTokens)];
        let data = both.into_iter().flatten().reduce(joined)?;
        let help = "Tokens of completed requests.";
        Some(metric("gen_ai.client.token.usage", "{token}", help, data))
    }

    fn requests(&self) -> Vec<Told> {
        let books = &self.live.books;
        let by = |outcome: &str, reason: Option<(&str, &str)>, n: u64| {
            let mut attributes = self.attributes.clone();
            attributes.push(text("tokenstorm.outcome", outcome));
            attributes.extend(reason.map(|(key, value)| text(key, value)));
            self.point(attributes, Value::AsInt(whole(n)))
        };
        let each = |outcome: &'static str, key: &'static str, counts: &BTreeMap<String, u64>| {
            let point = |(name, n): (&String, &u64)| by(outcome, Some((key, name.as_str())), *n);
            counts.iter().map(point).collect::<Vec<_>>()
        };
        let mut outcomes =
            vec![by("completed", None, books.completed), by("cancelled", None, books.cancelled)];
        outcomes.extend(each("failed", "error.type", &books.failed_by));
        outcomes.extend(each("not_sent", "tokenstorm.reason", &books.not_sent_by));
        let with_service =
            |n: u64| vec![self.point(self.attributes.clone(), Value::AsInt(whole(n)))];
        vec![
            sum(
                "tokenstorm.requests.due",
                "{request}",
                "Requests due by the plan.",
                with_service(books.due),
            ),
            sum("tokenstorm.requests", "{request}", "Requests by what became of them.", outcomes),
            gauge(
                "tokenstorm.requests.in_flight",
                "{request}",
                "Requests in flight, by each worker's last report.",
                with_service(self.live.in_flight),
            ),
            sum(
                "tokenstorm.output_tokens",
                "{token}",
                "Output tokens that arrived.",
                with_service(self.live.output_tokens),
            ),
            sum(
                "tokenstorm.input_tokens",
                "{token}",
                "Input tokens of completed requests.",
                with_service(self.live.input_tokens),
            ),
        ]
    }

    fn run(&self) -> Vec<Told> {
        let live = self.live;
        let one = |value: Option<f64>| {
            value.map(|value| self.point(Vec::new(), Value::AsDouble(value))).into_iter().collect()
        };
        let seconds = live.run_time_ms.map(|ms| ms as f64 / 1_000.0);
        let verdicts = [Status::Valid, Status::Suspect, Status::Invalid].map(|status| {
            let says = i64::from(status == live.verdict.status);
            self.point(vec![text("tokenstorm.verdict", status.name())], Value::AsInt(says))
        });
        let workers = LiveState::ALL.map(|state| {
            let here = live.workers.iter().filter(|worker| worker.state == state).count();
            let attributes = vec![text("tokenstorm.state", state.name())];
            self.point(attributes, Value::AsInt(i64::try_from(here).unwrap_or(i64::MAX)))
        });
        let asked = "Requests a second that the plan asks for now.";
        let users = "Requests in flight that the plan asks for now, in a closed loop.";
        let all = [
            gauge("tokenstorm.run.time", "s", "Time since the load began.", one(seconds)),
            gauge("tokenstorm.rate.asked", "{request}/s", asked, one(live.asked_per_s)),
            gauge("tokenstorm.in_flight.asked", "{request}", users, one(live.asked_in_flight)),
            gauge(
                "tokenstorm.run.verdict",
                "1",
                "1 for what the rules say of the run so far.",
                verdicts.to_vec(),
            ),
            gauge("tokenstorm.workers", "{worker}", "Workers by what they do.", workers.to_vec()),
        ];
        all.into_iter().filter(has_points).collect()
    }

    fn point(&self, attributes: Vec<KeyValue>, value: Value) -> NumberDataPoint {
        NumberDataPoint {
            attributes,
            start_time_unix_nano: self.span.start_unix_ns,
            time_unix_nano: self.span.now_unix_ns,
            value: Some(value),
            ..NumberDataPoint::default()
        }
    }
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn metric(name: &str, unit: &str, help: &str, data: Data) -> Told {
    Told {
        name: name.to_owned(),
        description: help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Told::default()
    }
}

/// What only grows.
fn sum(name: &str, unit: &str, help: &str, data_points: Vec<NumberDataPoint>) -> Told {
    let aggregation_temporality = AggregationTemporality::Cumulative as i32;
    let data = Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true });
    metric(name, unit, help, data)
}

fn gauge(name: &str, unit: &str, help: &str, data_points: Vec<NumberDataPoint>) -> Told {
    metric(name, unit, help, Data::Gauge(Gauge { data_points }))
}

/// What is absent is not told.
fn has_points(told: &Told) -> bool {
    !matches!(&told.data, Some(Data::Gauge(gauge)) if gauge.data_points.is_empty())
}

/// Two histograms of one form as one of both.
fn joined(mut first: Data, second: Data) -> Data {
    match (&mut first, second) {
        (Data::Histogram(ours), Data::Histogram(theirs)) => {
            ours.data_points.extend(theirs.data_points);
        }
        (Data::ExponentialHistogram(ours), Data::ExponentialHistogram(theirs)) => {
            ours.data_points.extend(theirs.data_points);
        }
        _ => {}
    }
    first
}

#[cfg(test)]
mod tests {
    use metrics::LiveBooks;

    use super::*;
    use crate::exposition::tests::samples;

    const SPAN: Span = Span { start_unix_ns: 5, now_unix_ns: 9 };

    fn live() -> Live {
        Live {
            run_time_ms: Some(12_500),
            books: LiveBooks {
                due: 100,
                completed: 90,
                failed_by: BTreeMap::from([("status_503".to_owned(), 3)]),
                ..LiveBooks::default()
            },
            distributions: BTreeMap::from([
                (Metric::Ttft, samples(Metric::Ttft, &[15_000, 300_000])),
                (Metric::OutputTokens, samples(Metric::OutputTokens, &[7, 64])),
                (Metric::InputTokens, samples(Metric::InputTokens, &[500, 500])),
            ]),
            ..Live::default()
        }
    }

    fn service() -> Service {
        Service {
            operation: "chat",
            model: Some("m".to_owned()),
            address: Some("h".to_owned()),
            port: Some(80),
        }
    }

    fn told(form: HistogramForm) -> BTreeMap<String, Told> {
        let all = measures(&live(), &service(), form, SPAN);
        let count = all.len();
        let by_name: BTreeMap<_, _> =
            all.into_iter().map(|told| (told.name.clone(), told)).collect();
        assert_eq!(by_name.len(), count, "no name is told twice");
        by_name
    }

    #[test]
    fn latencies_have_the_conventions_names_units_and_bounds() {
        let told = told(HistogramForm::Explicit);
        let Some(Data::Histogram(ttft)) = &told["gen_ai.server.time_to_first_token"].data else {
            panic!("no histogram")
        };
        let point = &ttft.data_points[0];
        assert_eq!(
            (point.count, point.explicit_bounds[0], point.explicit_bounds[15]),
            (2, 0.001, 10.0)
        );
        assert_eq!((point.bucket_counts[3], point.bucket_counts[9]), (1, 1));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 9));
        assert_eq!(ttft.aggregation_temporality, 2);
        assert_eq!(told["gen_ai.server.time_to_first_token"].unit, "s");
        assert_eq!(point.attributes, service().attributes());
        assert!(told.contains_key("gen_ai.client.operation.time_to_first_chunk"));
        assert!(
            !told.contains_key("gen_ai.client.operation.duration"),
            "without samples there is none"
        );
    }

    #[test]
    fn tokens_of_both_directions_are_points_of_one_metric() {
        for form in [HistogramForm::Explicit, HistogramForm::Exponential] {
            let told = told(form);
            let types: Vec<_> = match &told["gen_ai.client.token.usage"].data {
                Some(Data::Histogram(data)) => data
                    .data_points
                    .iter()
                    .map(|p| (p.count, p.sum, p.attributes.clone()))
                    .collect(),
                Some(Data::ExponentialHistogram(data)) => data
                    .data_points
                    .iter()
                    .map(|p| (p.count, p.sum, p.attributes.clone()))
                    .collect(),
                other => panic!("{other:?}"),
            };
            assert_eq!((types[0].0, types[0].1, types[1].1), (2, Some(1_000.0), Some(71.0)));
            assert_eq!(types[1].2.last(), Some(&text("gen_ai.token.type", "output")));
        }
    }

    #[test]
    fn requests_are_counted_by_outcome_and_class() {
        let told = told(HistogramForm::Explicit);
        let Some(Data::Sum(requests)) = &told["tokenstorm.requests"].data else { panic!("no sum") };
        let failed = requests.data_points.last().unwrap();
        assert!(
            requests.is_monotonic && failed.attributes.contains(&text("error.type", "status_503"))
        );
        assert_eq!(failed.value, Some(Value::AsInt(3)));
        let Some(Data::Gauge(time)) = &told["tokenstorm.run.time"].data else { panic!("no gauge") };
        assert_eq!(time.data_points[0].value, Some(Value::AsDouble(12.5)));
        assert!(!told.contains_key("tokenstorm.rate.asked"), "absent is not 0");
    }
}
