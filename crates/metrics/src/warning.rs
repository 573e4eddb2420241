//! A doubt about the run that a person should read, with advice. Typed by its code, so that tools can filter.

use serde::{Deserialize, Serialize};

/// One warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Stable name, such as `prompts_repeat`.
    pub code: String,
    /// What was seen, with figures, and what to do.
    pub message: String,
}

impl Warning {
    /// A warning of that code.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}
