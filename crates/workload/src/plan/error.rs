//! What can be wrong with a plan.

/// One problem, in one line.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to send to.
    #[error("no target: set `target.endpoint` (or OPENAI_API_BASE), or add a `simulator` section")]
    NoEndpoint,
}
