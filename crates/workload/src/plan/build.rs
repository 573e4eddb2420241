//! From configuration to plan.

use metrics::Warning;

use super::{Plan, PlanError};
use crate::config::Config;

/// What the plan needs and the configuration may lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanInputs {
    /// The model's name where `target.model` has none: from the server's list.
    pub model: Option<String>,
    /// The salt where `benchmark.promptSalt` has none: a fresh random number.
    pub prompt_salt: u64,
}

impl Plan {
    /// Proves a configuration and makes it a plan.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn from_config(config: &Config, inputs: &PlanInputs) -> Result<(Self, Vec<Warning>), Vec<PlanError>> {
        let _ = (config, inputs);
        Err(Vec::new())
    }
}
