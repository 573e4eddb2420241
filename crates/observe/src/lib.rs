//! A run seen from outside while it goes on, and the service that it measures seen through its own metrics.
//!
//! Out goes a page, JSON, and what Prometheus scrapes: all made from one [`metrics::Live`] value that the coordinator replaces once a second; nothing here reaches
//! into the run, and nothing that is asked of this server costs the run more than reading that value. In come the server's metrics, from a Prometheus or from the servers' own pages; what cannot be
//! collected is a line of the result. And a collector of OpenTelemetry is told the same view, and spans of what is over.

#![deny(missing_docs, unused_results)]

mod exposition;
mod known;
mod otlp;
mod promql;
mod scrape;
mod server;
mod text;

pub use exposition::exposition;
pub use otlp::{
    Exporter, OtlpSettings, OtlpSpan, RequestPlace, ServedSpan, Service, SpanQueue, Told, run_spans,
};
pub use promql::{NamedQuery, RunWindow, ask_prometheus};
pub use scrape::Scraper;
pub use server::{LiveServer, ServeError, Views};
