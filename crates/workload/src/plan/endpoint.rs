//! The complete URL of a target, from what users have at hand.
//!
//! A URL that names a path of the API is used as it is and picks the API. Anything shorter is taken
//! for what OpenAI's own clients call the base URL, to which `/chat/completions` or `/completions` is
//! added; a bare host has the usual base, `/v1`.

use super::{Api, PlanError};
use crate::config::is_secret_parameter;

const CHAT: &str = "/chat/completions";
const COMPLETIONS: &str = "/completions";

/// The URL to post to and its API; `wanted` is the configured API, where one is.
pub(super) fn complete(written: &str, wanted: Option<Api>) -> Result<(String, Api), PlanError> {
    let refuse = |reason: &str| {
        Err(PlanError::Endpoint { shown: without_user(written), reason: reason.to_owned() })
    };
    let Some((scheme, rest)) = written.split_once("://") else {
        return refuse(&format!(
            "write it with its scheme, such as http://{}",
            without_user(written)
        ));
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return refuse("only http:// and https:// can be measured");
    }
    let (address, query) =
        rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
    let (authority, path) =
        address.find('/').map_or((address, ""), |slash| address.split_at(slash));
    if let Some(reason) = authority_problem(authority).or_else(|| path_problem(path, query)) {
        return refuse(reason);
    }
    let (path, api) = complete_path(path.trim_end_matches('/'), wanted)?;
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    Ok((format!("{scheme}://{authority}{path}{query}"), api))
}

fn complete_path(path: &str, wanted: Option<Api>) -> Result<(String, Api), PlanError> {
    let named = if path.ends_with(CHAT) {
        Some((Api::Chat, CHAT))
    } else {
        path.ends_with(COMPLETIONS).then_some((Api::Completions, COMPLETIONS))
    };
    match (named, wanted) {
        (Some((api, end)), Some(wanted)) if api != wanted => {
            Err(PlanError::ApiConflict { api: wanted.name(), path: end })
        }
        (Some((api, _)), _) => Ok((path.to_owned(), api)),
        (None, wanted) => {
            let api = wanted.unwrap_or(Api::Chat);
            let base = if path.is_empty() { "/v1" } else { path };
            Ok((format!("{base}{}", if api == Api::Chat { CHAT } else { COMPLETIONS }), api))
        }
    }
}

fn authority_problem(authority: &str) -> Option<&'static str> {
    if authority.contains('@') {
        return Some(
            "no user or password belongs in a URL: put a credential into `target.headers` or OPENAI_API_KEY",
        );
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => return Some("the address in brackets does not end"),
        },
        None => {
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
        }
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("it has no host");
    }
    match port.map(str::parse::<u16>) {
        Some(Err(_)) => Some("its port is not a number from 0 to 65535"),
        Some(Ok(_)) | None => None,
    }
}

fn path_problem(path: &str, query: Option<&str>) -> Option<&'static str> {
    let whole = || path.chars().chain(query.unwrap_or_default().chars());
    if whole().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        return Some("it has a character that must be percent-encoded");
    }
    if whole().any(|c| c == '#') {
        return Some("a fragment (#…) is never sent: remove it");
    }
    let secret = |pair: &str| is_secret_parameter(pair.split('=').next().unwrap_or_default());
    if query.is_some_and(|query| query.split('&').any(secret)) {
        return Some(
            "its query looks like a credential, which would be written down: put it into `target.headers`",
        );
    }
    None
}

/// A URL as it may be shown: no user part, no query.
fn without_user(written: &str) -> String {
    let shown = written.split('?').next().unwrap_or_default();
    match (shown.find("://"), shown.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}…{}", &shown[..scheme + 3], &shown[at..])
        }
        (None, Some(at)) => format!("…{}", &shown[at..]),
        _ => shown.to_owned(),
    }
}

impl Api {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(written: &str) -> String {
        complete(written, None).map(|(url, _)| url).unwrap_or_else(|problem| problem.to_string())
    }

    #[test]
    fn urls_are_completed_as_documented() {
        assert_eq!(url("http://gateway/v1/chat/completions"), "http://gateway/v1/chat/completions");
        assert_eq!(
            url("https://gateway:8443/v1/completions"),
            "https://gateway:8443/v1/completions"
        );
        assert_eq!(url("http://gateway/v1"), "http://gateway/v1/chat/completions");
        assert_eq!(url("http://gateway/v1/"), "http://gateway/v1/chat/completions");
        assert_eq!(url("HTTP://gateway:80"), "http://gateway:80/v1/chat/completions");
        assert_eq!(url("http://[::1]:8000/"), "http://[::1]:8000/v1/chat/completions");
        assert_eq!(
            url("https://host/v1beta/openai/"),
            "https://host/v1beta/openai/chat/completions"
        );
        assert_eq!(
            url("https://host/v1?api-version=1"),
            "https://host/v1/chat/completions?api-version=1"
        );
    }

    #[test]
    fn the_url_and_the_configured_api_must_agree() {
        assert_eq!(complete("http://h/v1/completions", None).unwrap().1, Api::Completions);
        assert_eq!(
            complete("http://h/v1", Some(Api::Completions)).unwrap().0,
            "http://h/v1/completions"
        );
        assert_eq!(
            complete("http://h", Some(Api::Completions)).unwrap().0,
            "http://h/v1/completions"
        );
        let conflict =
            complete("http://h/v1/chat/completions", Some(Api::Completions)).unwrap_err();
        assert_eq!(
            conflict.to_string(),
            "`target.api` is completions, but `target.endpoint` ends in /chat/completions: set one of them"
        );
    }

    #[test]
    fn unusable_urls_say_why_and_repeat_no_secret() {
        for (written, words) in [
            ("localhost:8000", "such as http://localhost:8000"),
            ("ftp://host", "only http:// and https://"),
            ("http://", "no host"),
            ("http:///v1", "no host"),
            ("http://host:99999", "port"),
            ("http://host:", "port"),
            ("http://[::1", "does not end"),
            ("http://host/v1#x", "fragment"),
            ("http://host/a b", "percent-encoded"),
            ("http://me:geheim@host/v1", "no user or password"),
            ("me:geheim@host/v1", "with its scheme"),
            ("http://host/v1?api_key=geheim", "credential"),
        ] {
            let line = url(written);
            assert!(line.contains(words) && !line.contains("geheim"), "{written}: {line}");
        }
    }
}
