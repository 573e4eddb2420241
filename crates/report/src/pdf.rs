//! The report as a PDF: the same document as the page, on paper.
//!
//! Laying out is arithmetic on text widths and comes first; drawing only follows it. Charts are lines and text, not
//! pictures, so they stay sharp at any size.

mod layout;
mod surface;

use krilla::Document as Pdf;
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla::text::Font;

use crate::directory::ReportError;
use crate::document::Document;
use crate::plot::with_font;
use crate::stored::StoredRun;
use layout::{Item, PAGE, laid_out};
use surface::Brush;

/// The two cuts of the bundled font.
pub(crate) struct Fonts {
    regular: Font,
    bold: Font,
}

impl Fonts {
    fn load() -> Option<Self> {
        let regular = Font::new(dejavu::sans::regular().to_vec().into(), 0)?;
        let bold = Font::new(dejavu::sans::bold().to_vec().into(), 0)?;
        Some(Self { regular, bold })
    }
}

/// The report of a run on pages of A4, landscape.
///
/// # Errors
/// A font or a page cannot be made.
pub fn pdf(run: &StoredRun) -> Result<Vec<u8>, ReportError> {
    let broken = |error: String| ReportError::Render { what: "the PDF", error };
    let no_font = || broken("the bundled font cannot be read".to_owned());
    let fonts = Fonts::load().filter(|_| with_font()).ok_or_else(no_font)?;
    let document = Document::of(run);
    let pages = laid_out(&document);
    let mut pdf = Pdf::new();
    let metadata = Metadata::new()
        .title(format!("{}: {}", document.title, document.verdict.name))
        .creator(format!("tokenstorm {}", env!("CARGO_PKG_VERSION")));
    pdf.set_metadata(metadata);
    let settings = PageSettings::from_wh(PAGE.0, PAGE.1)
        .ok_or_else(|| broken("the page has no size".to_owned()))?;
    for items in &pages {
        let mut page = pdf.start_page_with(settings.clone());
        let mut surface = page.surface();
        let mut brush = Brush::new(&mut surface, &fonts);
        for item in items {
            match item {
                Item::Text(text) => brush.text(text),
                Item::Box { corner, size, colour } => brush.filled(*corner, *size, *colour),
                Item::Chart { corner, size, chart } => {
                    brush.chart(chart, *corner, *size).map_err(broken)?;
                }
            }
        }
        surface.finish();
        page.finish();
    }
    pdf.finish().map_err(|error| broken(format!("{error:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    #[test]
    fn every_run_becomes_a_pdf_even_one_with_strange_names() {
        for mut result in [example::one_stage(), example::troubled(), example::all_failed()] {
            result.facts.model = "模型 \u{202e}<b>\u{0} é 🚀".to_owned();
            let gaps = vec!["x".repeat(2_000)];
            let run = StoredRun { directory: "/x".into(), result, config: None, gaps };
            let file = pdf(&run).unwrap();
            assert!(file.starts_with(b"%PDF-"), "it begins as a PDF does");
            assert!(file.len() < 2_000_000, "{} bytes", file.len());
        }
    }
}
