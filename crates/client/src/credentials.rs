//! What proves who we are to the server measured. It is sent, and shown nowhere.

use std::fmt;

/// The shortest text that is looked for when words are cleaned: a shorter one would tear holes into
/// words that have nothing to do with it.
const SHORTEST_SECRET_BYTES: usize = 6;

/// An API key and headers that are credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Sent as `Authorization: Bearer …`.
    pub api_key: Option<String>,
    /// Sent as they are, in place of headers of the same name.
    pub headers: Vec<(String, String)>,
}

impl Credentials {
    /// The text with every credential in it replaced: servers like to repeat a wrong key.
    pub fn redact(&self, text: &str) -> String {
        self.secrets().fold(text.to_owned(), |text, secret| text.replace(secret, "[redacted]"))
    }

    /// The secret texts; of a header like `Bearer abc` the part after the scheme too.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let of_headers = self.headers.iter().flat_map(|(_, value)| {
            let bare = value.split_once(' ').map(|(_, secret)| secret.trim());
            [Some(value.trim()), bare].into_iter().flatten()
        });
        self.api_key
            .iter()
            .map(|key| key.trim())
            .chain(of_headers)
            .filter(|secret| secret.len() >= SHORTEST_SECRET_BYTES)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        formatter
            .debug_struct("Credentials")
            .field("api_key", &self.api_key.as_ref().map(|_| "[redacted]"))
            .field("headers", &names)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            api_key: Some("sk-secret-1".into()),
            headers: vec![
                ("cookie".into(), "session=abcdef".into()),
                ("authorization".into(), "Basic Zm9vOmJhcg==".into()),
            ],
        }
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let shown = format!("{:?}", credentials());
        assert!(
            !shown.contains("secret") && !shown.contains("abcdef") && !shown.contains("Zm9"),
            "{shown}"
        );
    }

    #[test]
    fn a_key_that_the_server_repeats_is_taken_out_of_its_words() {
        let words = credentials()
            .redact("invalid key sk-secret-1, cookie session=abcdef, basic Zm9vOmJhcg==");
        assert_eq!(words, "invalid key [redacted], cookie [redacted], basic [redacted]");
    }
}
