//! Charts drawn by a library: into pictures and onto the pages of the PDF.
//!
//! Both draw the same [`Chart`] as the page does, through one function, so the three cannot tell different stories. The
//! font is inside the program: a container without fonts draws the same picture.

mod picture;
mod ruler;

pub(crate) use picture::picture;
pub use picture::{Plot, plots};

use std::sync::OnceLock;

use plotters::prelude::*;
use plotters::style::{FontTransform, register_font};

use crate::chart::{Chart, Series, Shape, Visible};
use ruler::Ruler;

/// The name under which the bundled font is known.
pub(crate) const FONT: &str = "sans-serif";
/// The colours of series in their order, legible on white.
const PALETTE: [RGBColor; 11] = [
    RGBColor(31, 111, 208),
    RGBColor(217, 87, 15),
    RGBColor(43, 138, 75),
    RGBColor(147, 54, 180),
    RGBColor(184, 134, 11),
    RGBColor(194, 37, 92),
    RGBColor(12, 133, 153),
    RGBColor(95, 107, 122),
    RGBColor(122, 75, 30),
    RGBColor(59, 91, 219),
    RGBColor(132, 99, 88),
];
const SOFT: RGBColor = RGBColor(91, 101, 112);
const RULE: RGBColor = RGBColor(217, 221, 227);
const BAND: RGBColor = RGBColor(244, 245, 247);

/// How large things are, in the drawing's own units.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Text of axes and legend.
    pub(crate) text: f64,
    /// The title; none without one.
    pub(crate) title: Option<f64>,
    /// Width of a line.
    pub(crate) stroke: u32,
}

/// Makes the bundled font known to the library, once.
pub(crate) fn with_font() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        let regular = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        let bold = register_font(FONT, FontStyle::Bold, dejavu::sans::bold());
        regular.is_ok() && bold.is_ok()
    })
}

/// Draws what of the chart is visible at first.
pub(crate) fn draw<B: DrawingBackend>(
    chart: &Chart,
    area: &DrawingArea<B, plotters::coord::Shift>,
    sizes: Sizes,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let visible: Vec<&Series> =
        chart.series.iter().filter(|series| series.visible == Visible::AtFirst).collect();
    let text = (FONT, sizes.text).into_font().color(&SOFT);
    let x = Ruler::across(chart);
    let y = Ruler::up(chart, &visible);
    let em = sizes.text as u32;
    let mut builder = ChartBuilder::on(area);
    let _builder = builder.margin(em).margin_right(em * 2);
    if let Some(size) = sizes.title {
        let _builder = builder.caption(&chart.title, (FONT, size).into_font());
    }
    let _builder = builder.x_label_area_size(em * 3).y_label_area_size(em * 6);
    let mut context = builder.build_cartesian_2d(x.clone(), y.clone())?;
    bands(chart, &mut context, &x, &y, sizes)?;
    context
        .configure_mesh()
        .axis_style(SOFT)
        .bold_line_style(RULE)
        .light_line_style(TRANSPARENT)
        .x_desc(chart.x.label)
        .y_desc(chart.y.label)
        .label_style(text.clone())
        .axis_desc_style(text.clone())
        .draw()?;
    for (place, series) in visible.iter().enumerate() {
        one_series(chart, series, PALETTE[place % PALETTE.len()], &mut context, sizes)?;
    }
    // A lone line that is named like its axis needs no legend, which would hide the names of stages.
    if let [only] = visible[..]
        && only.name == chart.y.label
    {
        return Ok(());
    }
    context
        .configure_series_labels()
        .label_font(text)
        .background_style(WHITE.mix(0.8))
        .border_style(RULE)
        .legend_area_size(em * 2)
        .position(if chart.bands.is_empty() && chart.x.scale == crate::chart::Scale::Percentile {
            SeriesLabelPosition::LowerRight
        } else {
            SeriesLabelPosition::UpperRight
        })
        .draw()
}

type Context<'a, B> = ChartContext<'a, B, Cartesian2d<Ruler, Ruler>>;
type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// Every second stage is shaded; a stage's name stands at its beginning where there is room.
fn bands<B: DrawingBackend>(
    chart: &Chart,
    context: &mut Context<'_, B>,
    x: &Ruler,
    y: &Ruler,
    sizes: Sizes,
) -> Drawn<B> {
    let (bottom, top) = y.ends();
    let width = f64::from(context.plotting_area().dim_in_pixel().0);
    for (place, band) in chart.bands.iter().enumerate() {
        let (from, to) = (x.within(band.from), x.within(band.to));
        if place % 2 == 0 {
            let shade = Rectangle::new([(from, bottom), (to, top)], BAND.filled());
            let _drawn = context.draw_series(std::iter::once(shade))?;
        }
        let room = x.share(from, to) * width;
        if room > band.name.chars().count() as f64 * sizes.text * 0.65 {
            let style =
                (FONT, sizes.text * 0.9).into_font().transform(FontTransform::None).color(&SOFT);
            let name = Text::new(format!(" {}", band.name), (from, top), style);
            let _drawn = context.draw_series(std::iter::once(name))?;
        }
    }
    Ok(())
}

fn one_series<B: DrawingBackend>(
    chart: &Chart,
    series: &Series,
    colour: RGBColor,
    context: &mut Context<'_, B>,
    sizes: Sizes,
) -> Drawn<B> {
    let line = colour.stroke_width(sizes.stroke);
    let em = sizes.text as i32;
    let drawn = if series.shape == Shape::Bars {
        context.draw_series(
            bars(chart, series).map(|corners| Rectangle::new(corners, colour.mix(0.7).filled())),
        )?
    } else {
        context.draw_series(runs(chart, series).map(|run| PathElement::new(run, line)))?
    };
    let _labelled = drawn
        .label(series.name.clone())
        .legend(move |(x, y)| PathElement::new([(x, y), (x + em * 3 / 2, y)], line));
    if series.shape == Shape::Points {
        let mark = |(x, y)| Circle::new((x, y), sizes.stroke * 2, colour.filled());
        let _drawn = context.draw_series(runs(chart, series).flatten().map(mark))?;
    }
    Ok(())
}

/// The stretches without an absent value between. One value alone is a short line, or nobody would see it.
fn runs(chart: &Chart, series: &Series) -> impl Iterator<Item = Vec<(f64, f64)>> {
    let points = chart.at.iter().zip(&series.values).map(|(&x, value)| value.map(|y| (x, y)));
    let points: Vec<Option<(f64, f64)>> = points.collect();
    let runs: Vec<Vec<_>> =
        points.split(Option::is_none).map(|run| run.iter().flatten().copied().collect()).collect();
    runs.into_iter().filter(|run: &Vec<_>| !run.is_empty())
}

/// From 0 up, from the middle to the last value's to the middle to the next one's.
fn bars(chart: &Chart, series: &Series) -> impl Iterator<Item = [(f64, f64); 2]> {
    let logarithmic = chart.x.scale != crate::chart::Scale::Linear;
    let between =
        move |a: f64, b: f64| if logarithmic { (a * b).sqrt() } else { f64::midpoint(a, b) };
    let at = chart.at.clone();
    let values: Vec<_> = series.values.iter().copied().enumerate().collect();
    values.into_iter().filter_map(move |(place, value)| {
        let height = value.filter(|value| *value > 0.0)?;
        let here = at[place];
        let next = at.get(place + 1).copied();
        let last = place.checked_sub(1).map(|place| at[place]);
        let right = next.map(|next| between(here, next));
        let left = last.map(|last| between(last, here));
        let left = left.unwrap_or(2.0 * here - right.unwrap_or(here));
        Some([(left, 0.0), (right.unwrap_or(2.0 * here - left), height)])
    })
}

#[cfg(test)]
mod tests;
