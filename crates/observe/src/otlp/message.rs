//! The parts that all messages share: attributes, who tells, and the two requests.

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    metrics::v1::{Metric, ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};

/// The version of the conventions that names follow; those for GenAI are in development.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

pub(crate) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

pub(crate) fn count(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

pub(crate) fn number(key: &str, value: f64) -> KeyValue {
    attribute(key, Value::DoubleValue(value))
}

pub(crate) fn truth(key: &str, value: bool) -> KeyValue {
    attribute(key, Value::BoolValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Who tells. Of attributes with one name the last counts.
pub(crate) fn resource(attributes: &[(String, String)]) -> Resource {
    let mut told: Vec<KeyValue> = Vec::new();
    for (key, value) in attributes {
        told.retain(|known| known.key != *key);
        told.push(text(key, value));
    }
    Resource { attributes: told, ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "tokenstorm".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

pub(crate) fn of_spans(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope()), spans, schema_url: SCHEMA.to_owned() }];
    let resource_spans = vec![ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans,
        schema_url: SCHEMA.to_owned(),
    }];
    ExportTraceServiceRequest { resource_spans }
}

pub(crate) fn of_metrics(resource: &Resource, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope()), metrics, schema_url: SCHEMA.to_owned() }];
    let resource_metrics = vec![ResourceMetrics {
        resource: Some(resource.clone()),
        scope_metrics,
        schema_url: SCHEMA.to_owned(),
    }];
    ExportMetricsServiceRequest { resource_metrics }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_name_the_last_counts() {
        let pairs = [("service.name", "tokenstorm"), ("host.name", "h"), ("service.name", "mine")];
        let told = resource(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(told.attributes, [text("host.name", "h"), text("service.name", "mine")]);
    }
}
