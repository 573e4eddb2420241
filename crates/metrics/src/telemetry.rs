//! What was told to an OpenTelemetry collector, and what could not be.
//!
//! Telemetry is beside the run: whether it arrived changes no figure, and is said.

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TelemetryOut {
    /// Where it went, without credentials; `None`: nowhere, as the problems say.
    pub endpoint: Option<String>,
    /// The trace of the run and its stages, in hexadecimal.
    pub trace_id: String,
    /// Spans that the collector took.
    pub spans_sent: u64,
    /// Spans that it did not take, or that did not fit into the queue.
    pub spans_lost: u64,
    /// Exports of metrics that it took.
    pub exports_sent: u64,
    /// Exports of metrics that it did not take; the next one told the same and more.
    pub exports_lost: u64,
    /// What went wrong, a line each.
    pub problems: Vec<String>,
}
