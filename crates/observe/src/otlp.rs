//! A run told to an OpenTelemetry collector: OTLP over HTTP, in protobuf (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! Histograms are those of the ledger, put into the collector's buckets when they are told; nothing is recorded a second time, which is
//! why the messages are made here and not by an SDK, whose histograms can only be recorded into. Spans are made after the fact,
//! from what is known when a request, a stage or the run is over. Everything waits in a queue of fixed length, and what
//! cannot be told is counted: a collector that is slow, wrong or away costs the run nothing but these lines.

mod exporter;
mod histogram;
mod measures;
mod message;
mod poster;
mod requests;
mod settings;
mod spans;

pub use exporter::{Exporter, SpanQueue, Told};
pub use measures::Service;
pub use requests::RequestPlace;
pub use settings::OtlpSettings;
pub use spans::{OtlpSpan, ServedSpan, run_spans};
