//! The page of a run that goes on: the report's style and chart library, filled by the views that it asks for.
//!
//! It is one file as the report is, and may talk to nobody but the server that it came from. Its texts arrive as JSON and
//! are only ever set as text, so no name becomes markup.

use askama::Template;

use super::{LIBRARY_STYLE, STYLE, library, policy_hash};
use crate::directory::ReportError;

const SCRIPT: &str =
    concat!(include_str!("../../assets/axis.js"), include_str!("../../assets/live.js"));
const LIVE_STYLE: &str = include_str!("../../assets/live.css");

#[derive(Template)]
#[template(path = "live.html")]
struct Page<'a> {
    version: &'static str,
    library: &'a str,
    library_style: &'static str,
    script: &'static str,
    style: &'static str,
    live_style: &'static str,
}

/// The page, and the policy that it is to be served under.
#[derive(Debug, Clone)]
pub struct LivePage {
    /// The whole page.
    pub html: String,
    /// For the header `Content-Security-Policy`.
    pub policy: String,
}

/// Makes the page; it is the same for every run.
///
/// # Errors
/// The template cannot be filled: never seen.
pub fn live_page() -> Result<LivePage, ReportError> {
    let broken = |error: String| ReportError::Render { what: "the live page", error };
    let library = library().map_err(|error| broken(error.to_string()))?;
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        library: &library,
        library_style: LIBRARY_STYLE,
        script: SCRIPT,
        style: STYLE,
        live_style: LIVE_STYLE,
    };
    let scripts = format!("{} {}", policy_hash(&library), policy_hash(SCRIPT));
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src {scripts}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Ok(LivePage { html: page.render().map_err(|error| broken(error.to_string()))?, policy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_scripts_are_in_the_policy_and_nothing_is_fetched_from_elsewhere() {
        let page = live_page().unwrap();
        assert!(page.policy.contains(&policy_hash(SCRIPT)));
        assert!(page.html.contains(SCRIPT) && page.html.contains(&library().unwrap()));
        assert_eq!(page.html.matches("<script").count(), 2);
        for forbidden in ["src=\"http", "href=\"http", "@import", "url(http", "innerHTML"] {
            assert!(!page.html.contains(forbidden), "{forbidden}");
        }
    }
}
