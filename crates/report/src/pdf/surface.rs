//! Draws laid out items on a page, and lets the chart library draw there as it does into a picture.

use std::convert::Infallible;

use krilla::color::rgb;
use krilla::geom::{Path, PathBuilder, Point, Rect, Transform};
use krilla::num::NormalizedF32;
use krilla::paint::{Fill, Stroke};
use krilla::surface::Surface;
use krilla::text::{Font, TextDirection};
use plotters::prelude::{DrawingBackend, IntoDrawingArea};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind, FontTransform,
};

use super::Fonts;
use super::layout::{Colour, HEIGHT_OF_EM, Text, Weight};
use crate::chart::Chart;
use crate::plot::{Sizes, draw};

/// The chart library counts in whole units: so many of them are a point.
const UNITS_A_POINT: f32 = 8.0;
const SIZES: Sizes = Sizes { text: 62.0, title: None, stroke: 7 };

pub(super) struct Brush<'s, 'p> {
    surface: &'s mut Surface<'p>,
    fonts: &'s Fonts,
}

impl<'s, 'p> Brush<'s, 'p> {
    pub(super) fn new(surface: &'s mut Surface<'p>, fonts: &'s Fonts) -> Self {
        Self { surface, fonts }
    }

    pub(super) fn text(&mut self, text: &Text) {
        let font = match text.weight {
            Weight::Regular => &self.fonts.regular,
            Weight::Bold => &self.fonts.bold,
        };
        let [red, green, blue] = text.colour;
        words(
            self.surface,
            font,
            text.at,
            text.size,
            fill(rgb::Color::new(red, green, blue), 1.0),
            &text.words,
        );
    }

    pub(super) fn filled(&mut self, corner: (f32, f32), size: (f32, f32), colour: Colour) {
        let Some(rect) = Rect::from_xywh(corner.0, corner.1, size.0, size.1) else { return };
        let mut path = PathBuilder::new();
        path.push_rect(rect);
        let [red, green, blue] = colour;
        self.surface.set_stroke(None);
        self.surface.set_fill(Some(fill(rgb::Color::new(red, green, blue), 1.0)));
        if let Some(path) = path.finish() {
            self.surface.draw_path(&path);
        }
    }

    pub(super) fn chart(
        &mut self,
        chart: &Chart,
        corner: (f32, f32),
        size: (f32, f32),
    ) -> Result<(), String> {
        let to_page = Transform::from_row(
            1.0 / UNITS_A_POINT,
            0.0,
            0.0,
            1.0 / UNITS_A_POINT,
            corner.0,
            corner.1,
        );
        self.surface.push_transform(&to_page);
        let units = ((size.0 * UNITS_A_POINT) as u32, (size.1 * UNITS_A_POINT) as u32);
        let canvas = Canvas { surface: self.surface, font: &self.fonts.regular, units };
        let drawn = draw(chart, &canvas.into_drawing_area(), SIZES);
        self.surface.pop();
        drawn.map_err(|error| error.to_string())
    }
}

fn fill(colour: rgb::Color, opacity: f32) -> Fill {
    let opacity = NormalizedF32::new(opacity.clamp(0.0, 1.0)).unwrap_or(NormalizedF32::ONE);
    Fill { paint: colour.into(), opacity, ..Fill::default() }
}

fn words(surface: &mut Surface<'_>, font: &Font, at: (f32, f32), size: f32, ink: Fill, text: &str) {
    surface.set_stroke(None);
    surface.set_fill(Some(ink));
    let point = Point::from_xy(at.0, at.1);
    surface.draw_text(point, font.clone(), size, text, false, TextDirection::LeftToRight);
}

/// A page as the chart library sees it.
struct Canvas<'s, 'p> {
    surface: &'s mut Surface<'p>,
    font: &'s Font,
    units: (u32, u32),
}

type Done = Result<(), DrawingErrorKind<Infallible>>;

fn ink(colour: BackendColor) -> Fill {
    let (red, green, blue) = colour.rgb;
    fill(rgb::Color::new(red, green, blue), colour.alpha as f32)
}

fn point(at: BackendCoord) -> (f32, f32) {
    (at.0 as f32, at.1 as f32)
}

impl Canvas<'_, '_> {
    fn stroke(&mut self, path: Option<Path>, style: &impl BackendStyle) -> Done {
        let ink = ink(style.color());
        let width = style.stroke_width().max(4) as f32;
        let stroke = Stroke { paint: ink.paint, opacity: ink.opacity, width, ..Stroke::default() };
        self.surface.set_fill(None);
        self.surface.set_stroke(Some(stroke));
        if let Some(path) = path {
            self.surface.draw_path(&path);
        }
        Ok(())
    }

    fn filled(&mut self, path: Option<Path>, style: &impl BackendStyle) -> Done {
        self.surface.set_stroke(None);
        self.surface.set_fill(Some(ink(style.color())));
        if let Some(path) = path {
            self.surface.draw_path(&path);
        }
        Ok(())
    }
}

fn polygon(points: impl IntoIterator<Item = BackendCoord>, closed: Closed) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (place, at) in points.into_iter().map(point).enumerate() {
        if place == 0 {
            builder.move_to(at.0, at.1);
        } else {
            builder.line_to(at.0, at.1);
        }
    }
    if closed == Closed::Yes {
        builder.close();
    }
    builder.finish()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closed {
    Yes,
    No,
}

impl DrawingBackend for Canvas<'_, '_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.units
    }

    fn ensure_prepared(&mut self) -> Done {
        Ok(())
    }

    fn present(&mut self) -> Done {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, colour: BackendColor) -> Done {
        self.draw_rect((x, y), (x + 1, y + 1), &colour, true)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Done {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        self.stroke(polygon([from, to], Closed::No), style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        is_filled: bool,
    ) -> Done {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        let path =
            polygon([(left, top), (right, top), (right, bottom), (left, bottom)], Closed::Yes);
        if is_filled { self.filled(path, style) } else { self.stroke(path, style) }
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Done {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        self.stroke(polygon(path, Closed::No), style)
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        is_filled: bool,
    ) -> Done {
        const SIDES: u32 = 24;
        let corner = |side: u32| {
            let angle = f64::from(side) / f64::from(SIDES) * std::f64::consts::TAU;
            let (sin, cos) = angle.sin_cos();
            let radius = f64::from(radius);
            (center.0 + (radius * cos).round() as i32, center.1 + (radius * sin).round() as i32)
        };
        let path = polygon((0..SIDES).map(corner), Closed::Yes);
        if is_filled { self.filled(path, style) } else { self.stroke(path, style) }
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        vert: I,
        style: &S,
    ) -> Done {
        self.filled(polygon(vert, Closed::Yes), style)
    }

    fn draw_text<T: BackendTextStyle>(&mut self, text: &str, style: &T, pos: BackendCoord) -> Done {
        let size = style.size() as f32 / HEIGHT_OF_EM;
        let ((left, _), (right, _)) =
            style.layout_box(text).map_err(|error| DrawingErrorKind::FontError(Box::new(error)))?;
        let dx = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => (left - right) as f32 / 2.0,
            HPos::Right => (left - right) as f32,
        };
        // From the anchor to the base line: a capital letter is about 0.73 em high.
        let dy = match style.anchor().v_pos {
            VPos::Top => size * 0.85,
            VPos::Center => size * 0.36,
            VPos::Bottom => size * -0.1,
        };
        let (x, y) = point(pos);
        let turn = match style.transform() {
            FontTransform::None => Transform::from_translate(x, y),
            FontTransform::Rotate90 => Transform::from_row(0.0, 1.0, -1.0, 0.0, x, y),
            FontTransform::Rotate180 => Transform::from_row(-1.0, 0.0, 0.0, -1.0, x, y),
            FontTransform::Rotate270 => Transform::from_row(0.0, -1.0, 1.0, 0.0, x, y),
        };
        self.surface.push_transform(&turn);
        words(self.surface, self.font, (dx, dy), size, ink(style.color()), text);
        self.surface.pop();
        Ok(())
    }
}
