//! A run seen from outside while it goes on: a page, JSON, and what Prometheus scrapes.
//!
//! All of it is made from one [`metrics::Live`] value that the coordinator replaces once a second; nothing here reaches
//! into the run, and nothing that is asked of this server costs the run more than reading that value.

#![deny(missing_docs, unused_results)]

mod exposition;
mod server;

pub use exposition::exposition;
pub use server::{LiveServer, ServeError, Views};
