use serde_json::json;

use super::*;
use crate::terminal::example;

fn view() -> SweepView {
    let run = |rate: u32, ratio: f64, repeat: u32, done: bool| SweptRun {
        id: format!("{rate}{ratio}"),
        overrides: vec![
            ("load.rate".to_owned(), json!(rate)),
            ("prompts.prefixRatio".to_owned(), json!(ratio)),
        ],
        repeat,
        directory: "runs/x".to_owned(),
        result: done.then(example::one_stage),
    };
    let mut runs = vec![run(1, 0.0, 1, true), run(2, 0.0, 1, true), run(1, 0.5, 1, true)];
    runs.push(run(2, 0.5, 1, false));
    SweepView { name: "demo".to_owned(), axis: Some("load.rate".to_owned()), runs }
}

#[test]
fn every_run_has_a_line_and_one_that_is_missing_is_told() {
    let text = sweep_csv(&view()).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(
        &rows[0].iter().take(7).collect::<Vec<_>>(),
        &["10", "1", "0.0", "1", "runs/x", "VALID", "2000"]
    );
    assert_eq!(&rows[3][5], "");
    let json = sweep_json(&view());
    assert_eq!(json["runs"][0]["overrides"]["prompts.prefixRatio"], 0.0);
    assert_eq!(json["runs"][0]["books"]["completed"], 2_000);
    assert_eq!(json["runs"][3]["verdict"], Value::Null);
    let page = sweep_html(&view()).unwrap();
    assert!(page.contains("load.rate=2 prompts.prefixRatio=0.5, run 1: not run yet"));
    assert!(
        sweep_markdown(&view()).contains("| load.rate=1 prompts.prefixRatio=0.0 | 1 | VALID |")
    );
    assert!(sweep_text(&view(), 200).contains("ttft p99"));
}

#[test]
fn in_a_terminal_no_word_and_no_figure_is_broken() {
    let sweep = view();
    assert!(sweep_text(&sweep, 200).contains(" load.rate=1 prompts.prefixRatio=0.5  "));
    for width in [60, 80, 100, 120] {
        let text = sweep_text(&sweep, width);
        for line in text.lines() {
            assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
        }
        let rows: Vec<_> = text.lines().filter(|line| line.contains(" VALID ")).collect();
        assert_eq!(rows.len(), 3, "a line a run at {width}: {text}");
        assert!(rows[2].trim_start().starts_with("3 "), "{text}");
        assert!(rows[0].contains(" 99.4 ") && rows[0].contains(" 58.9"), "{text}");
        assert!(text.contains("\npoint 3: load.rate=1 prompts.prefixRatio=0.5"), "{text}");
    }
    assert!(sweep_text(&sweep, 60).contains("no room here for lag p99"));
}

#[test]
fn a_repeat_of_a_point_has_its_number() {
    let mut sweep = view();
    let again = SweptRun { repeat: 2, ..sweep.runs[1].clone() };
    sweep.runs.push(again);
    let text = sweep_text(&sweep, 100);
    assert_eq!(text.matches("\npoint ").count(), 4, "{text}");
    let last = text.lines().rfind(|line| line.contains(" VALID ")).unwrap();
    assert_eq!(last.split_whitespace().take(2).collect::<Vec<_>>(), ["2", "2"]);
}

#[test]
fn a_chart_has_a_line_for_each_combination_of_the_other_keys() {
    let charts = charts(&view());
    let ttft = charts.iter().find(|chart| chart.id == "sweep_ttft").unwrap();
    assert_eq!((&ttft.at[..], ttft.x.label), (&[1.0, 2.0][..], "offered requests/s"));
    let names: Vec<&str> = ttft.series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names[..2], ["ttft p50, prefixRatio=0.0", "ttft p50, prefixRatio=0.5"]);
    assert_eq!(ttft.series[1].values[1], None, "not run yet");
    assert!(sweep_plots(&view()).unwrap().iter().all(|(_, png)| png.starts_with(b"\x89PNG")));
    let without = SweepView { axis: None, ..view() };
    assert!(charts_of_nothing(&without));
}

fn charts_of_nothing(view: &SweepView) -> bool {
    charts(view).is_empty()
}
