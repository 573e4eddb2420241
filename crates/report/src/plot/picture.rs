//! Charts as PNG files.

use plotters::backend::BitMapBackend;
use plotters::prelude::{IntoDrawingArea, WHITE};

use super::{Sizes, draw, with_font};
use crate::chart::Chart;
use crate::directory::ReportError;
use crate::document::Document;
use crate::stored::StoredRun;

/// The pictures that a run writes to `plots/`, by the names of their charts.
const PLOTS: [&str; 4] =
    ["ttft_distribution", "itl_distribution", "throughput_over_time", "latency_percentiles"];

const WIDTH: u32 = 1_200;
const HEIGHT: u32 = 640;
const SIZES: Sizes = Sizes { text: 20.0, title: Some(28.0), stroke: 2 };

/// A chart as a PNG of 1,200 × 640 pixels.
///
/// # Errors
/// It cannot be drawn or encoded.
pub(crate) fn picture(chart: &Chart) -> Result<Vec<u8>, ReportError> {
    let broken = |error: String| ReportError::Render { what: chart.id, error };
    if !with_font() {
        return Err(broken("the bundled font cannot be read".to_owned()));
    }
    let mut pixels = vec![0_u8; (WIDTH * HEIGHT * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (WIDTH, HEIGHT)).into_drawing_area();
        area.fill(&WHITE).map_err(|error| broken(error.to_string()))?;
        draw(chart, &area, SIZES).map_err(|error| broken(error.to_string()))?;
        area.present().map_err(|error| broken(error.to_string()))?;
    }
    encoded(&pixels).map_err(|error| broken(error.to_string()))
}

fn encoded(pixels: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

/// A picture by its name.
pub type Plot = (&'static str, Vec<u8>);

/// The pictures of a run; what it has nothing to draw of is left out.
///
/// # Errors
/// One cannot be drawn.
pub fn plots(run: &StoredRun) -> Result<Vec<Plot>, ReportError> {
    let document = Document::of(run);
    let charts = document.charts().filter(|chart| PLOTS.contains(&chart.id));
    charts.map(|chart| Ok((chart.id, picture(chart)?))).collect()
}
