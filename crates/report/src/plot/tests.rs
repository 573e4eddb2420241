use super::picture::picture;
use super::*;
use crate::chart::{Axis, Scale};

fn chart(series: Vec<Series>, x: Scale) -> Chart {
    Chart {
        id: "t",
        title: "A title".to_owned(),
        note: String::new(),
        x: Axis { label: "ms", scale: x },
        y: Axis { label: "share", scale: Scale::Linear },
        at: vec![1.0, 2.0, 4.0, 8.0],
        series,
        bands: Vec::new(),
    }
}

#[test]
fn absent_values_break_a_line() {
    let series = Series::line("a", vec![Some(1.0), None, Some(2.0), Some(3.0)]);
    let chart = chart(vec![series.clone()], Scale::Linear);
    let found: Vec<_> = runs(&chart, &series).collect();
    assert_eq!(found, [vec![(1.0, 1.0)], vec![(4.0, 2.0), (8.0, 3.0)]]);
}

#[test]
fn bars_touch_each_other_and_empty_ones_are_left_out() {
    let mut series = Series::line("a", vec![Some(1.0), Some(0.0), Some(2.0), Some(3.0)]);
    series.shape = Shape::Bars;
    let chart = chart(vec![series.clone()], Scale::Log);
    let found: Vec<_> = bars(&chart, &series).collect();
    assert_eq!(found.len(), 3);
    assert_eq!(found[1][1].0, found[2][0].0, "the right side of one is the left of the next");
}

#[test]
fn a_picture_is_a_png_with_ink_of_its_series() {
    let mut hidden = Series::line("hidden", vec![Some(9.0); 4]);
    hidden.visible = Visible::OnDemand;
    let shown = Series::line("shown", vec![Some(1.0), Some(2.0), None, Some(1.5)]);
    let file = picture(&chart(vec![shown, hidden], Scale::Log)).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (1_200, 640));
    let inked = |colour: RGBColor| {
        pixels.chunks(3).filter(|pixel| *pixel == [colour.0, colour.1, colour.2]).count()
    };
    assert!(inked(PALETTE[0]) > 100);
    assert_eq!(inked(PALETTE[1]), 0, "what is off at first is not drawn");
}
