//! What requests say of themselves to others: their traces.

use super::TelemetryPlan;
use super::build::Builder;

/// One in a hundred: of 500 requests a second five spans, which every collector takes.
const SAMPLE: f64 = 0.01;

impl Builder<'_> {
    pub(super) fn telemetry(&self) -> TelemetryPlan {
        TelemetryPlan {
            trace_context: self.config.switch("telemetry.traceContext"),
            sample: self.config.number("telemetry.sample").unwrap_or(SAMPLE),
        }
    }
}
