//! The fleet's shared secret: the second factor beside certificates, and the only one without them.
//!
//! Never from a command line, which every user of the machine can read; never in a log or message of ours.

use std::{fmt, path::Path};

/// Fewer characters could be guessed from a digest that a false coordinator collects.
const FEWEST_CHARACTERS: usize = 32;

/// A cookie cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// Its file cannot be read.
    #[error("the cookie file {path} cannot be read: {reason}")]
    File {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// It could be guessed.
    #[error(
        "the cookie has {0} characters: it needs at least {FEWEST_CHARACTERS} random ones (`openssl rand -hex 32`)"
    )]
    Short(usize),
}

/// See the module's documentation.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie(String);

impl Cookie {
    /// From a variable's value, or from anywhere but a command line.
    ///
    /// # Errors
    /// It is too short to be a secret.
    pub fn new(text: &str) -> Result<Self, CookieError> {
        let text = text.trim();
        if text.chars().count() < FEWEST_CHARACTERS {
            return Err(CookieError::Short(text.chars().count()));
        }
        Ok(Self(text.to_owned()))
    }

    /// From a file; white space around it does not count.
    ///
    /// # Errors
    /// The file cannot be read, or holds no secret.
    pub fn from_file(path: &Path) -> Result<Self, CookieError> {
        let text = std::fs::read_to_string(path).map_err(|error| CookieError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Self::new(&text)
    }

    /// One that everybody knows: for a fleet on one machine, by explicit choice.
    #[must_use]
    pub fn insecure() -> Self {
        Self("tokenstorm: no secret".to_owned())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_could_be_guessed_is_refused_and_none_is_shown() {
        assert_eq!(Cookie::new("secret\n"), Err(CookieError::Short(6)));
        let cookie = Cookie::new(&format!("  {}\n", "k".repeat(64))).unwrap();
        assert_eq!(cookie.reveal().len(), 64);
        assert!(!format!("{cookie:?}").contains('k'.to_string().repeat(4).as_str()));
        let missing = Cookie::from_file(Path::new("/nonexistent/cookie")).unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/cookie"));
    }
}
