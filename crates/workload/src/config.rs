//! The configuration: from file, environment and flags, refused with every problem at once.
//!
//! One table of keys drives reading, the advice for misspelt keys, the environment's names and the
//! reference in `docs/configuration.md`, so that they cannot disagree.

mod error;

use std::path::PathBuf;

use serde_json::Value;

pub use error::ConfigError;

/// Where settings come from, weakest last: flags, `--set`, environment, file.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The YAML file.
    pub file: Option<PathBuf>,
    /// The environment, or as much of it as may be read.
    pub env: Vec<(String, String)>,
    /// Texts such as `load.rate=80`.
    pub sets: Vec<String>,
    /// Keys (by path) with the values that flags of the command line give them.
    pub flags: Vec<(String, Value)>,
}

/// The merged configuration: known keys with values of their kind and range.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {}

impl Config {
    /// Reads and merges all sources.
    ///
    /// # Errors
    /// Every problem of every source.
    pub fn load(sources: Sources) -> Result<Self, Vec<ConfigError>> {
        let _ = sources;
        Ok(Self {})
    }

    /// Sets a key to what the run has decided (a fresh salt, the simulator's address).
    ///
    /// # Errors
    /// The key is unknown, or the value is not of its kind.
    pub fn set(&mut self, path: &str, value: Value) -> Result<(), ConfigError> {
        let _ = (path, value);
        Ok(())
    }

    /// The configuration as run, in YAML, without secrets.
    pub fn to_yaml(&self) -> String {
        String::new()
    }

    /// The section `simulator`, if the configuration has one.
    pub fn simulator(&self) -> Option<Value> {
        None
    }

    /// Where the API key is read from, if a file is named.
    pub fn api_key_file(&self) -> Option<PathBuf> {
        None
    }

    /// Headers whose names look like a credential's; they are in no plan.
    pub fn credential_headers(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}
