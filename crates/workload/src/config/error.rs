//! What can be wrong with a configuration.

/// One problem, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key that no table knows.
    #[error("unknown key `{key}`")]
    Unknown {
        /// The key as written.
        key: String,
    },
}
