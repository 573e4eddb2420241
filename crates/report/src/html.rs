//! The report as one file that a browser opens without a network.
//!
//! Chart library, style and data are inside. Every text goes through the template's escaping or, as data of a chart, is
//! JSON without a single `<`; the page's policy permits only the two scripts that it names by their hash. So a model's
//! name or a server's error message cannot become markup, and nothing is ever fetched.

mod live;

pub use live::{LivePage, live_page};

use std::io::Read;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use metrics::Status;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::chart::Chart;
use crate::directory::ReportError;
use crate::document::{Block, Document, Section};
use crate::stored::StoredRun;

/// `dist/uPlot.iife.min.js` of the npm package `uplot@1.6.32`.
const LIBRARY: &[u8] = include_bytes!("../assets/uplot-1.6.32/uPlot.iife.min.js.gz");
const LIBRARY_STYLE: &str = include_str!("../assets/uplot-1.6.32/uPlot.min.css");
const SCRIPT: &str =
    concat!(include_str!("../assets/axis.js"), include_str!("../assets/report.js"));
const STYLE: &str = include_str!("../assets/report.css");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    document: &'a Document,
    verdict_class: &'static str,
    made_from: &'a str,
    version: &'static str,
    script_hashes: String,
    library: &'a str,
    library_style: &'static str,
    script: &'static str,
    style: &'static str,
    charts: String,
}

impl Section {
    fn has_charts(&self) -> bool {
        self.blocks.iter().any(|block| matches!(block, Block::Chart(_)))
    }
}

/// The page of a run.
///
/// # Errors
/// The template cannot be filled: never seen, and no reason to end a run.
pub fn html(run: &StoredRun) -> Result<String, ReportError> {
    page(&Document::of(run), &run.result.facts.id)
}

/// The page of any document, made from what is named so.
pub(crate) fn page(document: &Document, made_from: &str) -> Result<String, ReportError> {
    let broken = |error: String| ReportError::Render { what: "the page", error };
    let library = library().map_err(|error| broken(error.to_string()))?;
    let page = Page {
        verdict_class: match document.verdict.status {
            Status::Valid => "valid",
            Status::Suspect => "suspect",
            Status::Invalid => "invalid",
        },
        made_from,
        version: env!("CARGO_PKG_VERSION"),
        script_hashes: format!("{} {}", policy_hash(&library), policy_hash(SCRIPT)),
        library: &library,
        library_style: LIBRARY_STYLE,
        script: SCRIPT,
        style: STYLE,
        charts: without_markup(&document.charts().map(Chart::to_json).collect()),
        document,
    };
    page.render().map_err(|error| broken(error.to_string()))
}

fn library() -> std::io::Result<String> {
    let mut text = String::new();
    let _bytes = GzDecoder::new(LIBRARY).read_to_string(&mut text)?;
    Ok(text)
}

/// As a content security policy names an inline script.
fn policy_hash(script: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(script)))
}

/// JSON that can stand in a script element: the characters that could end it are escaped as JSON permits.
fn without_markup(value: &Value) -> String {
    let escapes = [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ];
    let text = value.to_string();
    escapes.into_iter().fold(text, |text, (character, escape)| text.replace(character, escape))
}

#[cfg(test)]
mod tests;
