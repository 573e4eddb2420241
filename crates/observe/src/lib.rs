//! A run seen from outside while it goes on, and the service that it measures seen through its own metrics.
//!
//! Out goes a page, JSON, and what Prometheus scrapes: all made from one [`metrics::Live`] value that the coordinator replaces once a second; nothing here reaches
//! into the run, and nothing that is asked of this server costs the run more than reading that value. In come the server's metrics, from a Prometheus or from the servers' own pages; what cannot be
//! collected is a line of the result.

#![deny(missing_docs, unused_results)]

mod exposition;
mod known;
mod promql;
mod scrape;
mod server;
mod text;

pub use exposition::exposition;
pub use promql::{NamedQuery, RunWindow, ask_prometheus};
pub use scrape::Scraper;
pub use server::{LiveServer, ServeError, Views};
