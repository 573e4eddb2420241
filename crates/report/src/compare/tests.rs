use metrics::{Metric, Observed, RunResult, Status, compare, usual_figures};

use super::*;
use crate::terminal::example;

const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}";

/// A run whose TTFT p50 and p99 are `percent` of the example's.
fn run(id: &str, percent: u64) -> StoredRun {
    let mut result = example::one_stage();
    result.facts.id = id.to_owned();
    let ttft = result.overall.metrics.get_mut(&Metric::Ttft).unwrap();
    for value in [&mut ttft.p50, &mut ttft.p99] {
        *value = value.map(|value| value * percent / 100);
    }
    stored(result)
}

fn stored(result: RunResult) -> StoredRun {
    StoredRun { directory: "/nowhere".into(), result, config: None, gaps: Vec::new() }
}

fn side(name: &str, percents: &[u64]) -> ComparedSide {
    let runs = percents.iter().enumerate();
    let runs = runs.map(|(place, percent)| run(&format!("{name}-{place}"), *percent)).collect();
    ComparedSide { name: format!("{name}-0"), runs }
}

fn view(baseline: ComparedSide, candidates: Vec<ComparedSide>, rules: &[&str]) -> ComparisonView {
    fn of(run: &StoredRun) -> Observed<'_> {
        Observed { result: &run.result, over_time: None }
    }
    fn observed(side: &ComparedSide) -> Vec<Observed<'_>> {
        side.runs.iter().map(of).collect()
    }
    let figures = usual_figures(&baseline.runs[0].result);
    let others: Vec<_> = candidates.iter().map(observed).collect();
    let compared = compare(&observed(&baseline), &others, &figures);
    let rules = rules.iter().map(|rule| Rule::parse(rule).unwrap()).collect();
    let rules = ComparisonView::judge(rules, &compared);
    let configuration = vec![ConfigurationDifference {
        key: "target.model".to_owned(),
        values: vec![Some("a".to_owned()); 1 + candidates.len()],
    }];
    ComparisonView { baseline, candidates, compared, rules, configuration, remarks: Vec::new() }
}

fn regression() -> ComparisonView {
    let rules = ["ttft.p99 > +5%", "ttft.p50 > +30%", "itl.p99 > +5%"];
    view(side("old", &[100, 101, 99]), vec![side("new", &[120, 121, 119])], &rules)
}

#[test]
fn a_regression_of_repeats_is_said_in_the_table_and_breaks_its_rule() {
    let view = regression();
    assert!(view.is_any_rule_broken());
    let text = comparison_text(&view, 140);
    let line = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
    for words in ["ttft p50", "54.5", "65.4", "+20.0 %", "worse"] {
        assert!(line("ttft p50").contains(words), "{words} in {text}");
    }
    assert!(line("itl p99").contains("may be chance"), "{text}");
    assert!(line("ttft.p99 > +5%").contains("broken"), "{text}");
    assert!(line("ttft.p50 > +30%").contains("kept"), "{text}");
    assert!(text.contains("By 3 and 3 runs a side"), "{text}");
    assert!(
        text.contains("FAILED: 1 rule broken; worse beyond chance: ttft p50, ttft p99"),
        "{text}"
    );
}

#[test]
fn one_run_a_side_without_intervals_is_not_decided_and_breaks_nothing() {
    let view = view(side("old", &[100]), vec![side("new", &[200])], &["ttft.p99 > +5%"]);
    assert!(!view.is_any_rule_broken());
    let text = comparison_text(&view, 140);
    assert!(text.contains("no journal that can be read"), "{text}");
    assert!(text.contains("NOT DECIDED"), "{text}");
}

#[test]
fn a_figure_that_a_side_lacks_is_a_dash_with_its_reason() {
    let mut candidate = side("new", &[100, 100, 100]);
    candidate.runs[1] = stored(example::all_failed());
    let view = view(side("old", &[100, 100, 100]), vec![candidate], &[]);
    let text = comparison_markdown(&view);
    assert!(text.contains("| ttft p50 | ms | 54.5 | – | – | – | – | not decided |"), "{text}");
    assert!(text.contains("the candidate has none: answers were not streamed"), "{text}");
}

#[test]
fn the_markdown_is_a_short_comment() {
    let text = comparison_markdown(&regression());
    assert!(text.starts_with("## new-0 against old-0\n"), "{text}");
    assert!(text.contains("**FAILED**: 1 rule broken"), "{text}");
    let header = "| figure | unit | baseline | candidate | difference | 95 % interval | p (Holm) | finding |";
    assert!(text.contains(header), "{text}");
    assert!(text.contains("| target.model | a | a |"), "{text}");
    assert!(!text.contains("### Side by side") && text.lines().count() < 60, "{text}");
}

#[test]
fn the_page_has_the_distributions_on_top_of_each_other() {
    let page = comparison_html(&regression()).unwrap();
    for id in ["ttft_percentiles", "ttft_distribution", "itl_percentiles", "e2e_distribution"] {
        assert!(page.contains(&format!("id=\"chart-{id}\"")), "{id}");
    }
    assert!(!page.contains("chart-series_latency"), "two sides are no series");
    for section in ["figures", "configuration", "distributions", "others", "runs"] {
        assert!(page.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    let candidates = vec![side("b", &[101, 102]), side("c", &[110, 111])];
    let page = comparison_html(&view(side("a", &[100, 100]), candidates, &[])).unwrap();
    assert!(page.contains("chart-series_latency") && page.contains("chart-series_1"));
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let mut view = regression();
    let hostile = || HOSTILE.to_owned();
    view.baseline.name = hostile();
    view.candidates[0].runs[0].result.facts.id = hostile();
    view.candidates[0].runs[0].result.facts.model = hostile();
    view.candidates[0].runs[0].gaps = vec![hostile()];
    view.candidates[0].runs[1].result.verdict.status = Status::Suspect;
    view.candidates[0].runs[1].result.verdict.reasons =
        vec![metrics::Reason { code: hostile(), message: hostile(), status: Status::Suspect }];
    view.configuration[0].key = hostile();
    view.configuration[0].values[0] = Some(hostile());
    view.remarks = vec![hostile()];
    let page = comparison_html(&view).unwrap();
    assert!(!page.contains("<script>alert") && !page.contains("<img"));
    assert_eq!(page.matches("<script").count(), 3);
    let text = comparison_markdown(&view);
    assert!(!text.contains("<script>") && !text.contains("<img"), "{text}");
}

#[test]
fn signs_and_sizes() {
    let shown =
        [0.0, 0.000_04, 0.0042, -0.0512, 0.1234, 2.0, f64::INFINITY].map(tables::signed_percent);
    assert_eq!(shown, ["±0.00 %", "±0.00 %", "+0.42 %", "−5.1 %", "+12.3 %", "+200 %", "∞"]);
    assert_eq!([0.0001, 0.0213, 0.5].map(tables::p_value), ["<0.001", "0.021", "0.50"]);
}

#[test]
fn programs_read_the_same() {
    let text = comparison_json(&regression()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let figure = &value["candidates"][0]["figures"][0];
    assert_eq!(figure["figure"], "ttft p50");
    assert_eq!((figure["unit"].as_str(), figure["finding"].as_str()), (Some("us"), Some("worse")));
    let relative = figure["difference"]["relative"].as_f64().unwrap();
    assert!((relative - 0.2).abs() < 1e-3, "{relative}");
    assert_eq!(figure["difference"]["basis"]["unit"], "run");
    assert_eq!(value["rules"][0]["outcomes"], serde_json::json!(["broken"]));
    let undecided = view(side("old", &[100]), vec![side("new", &[200])], &[]);
    let value: serde_json::Value =
        serde_json::from_str(&comparison_json(&undecided).unwrap()).unwrap();
    assert_eq!(value["candidates"][0]["figures"][0]["undecided"], "no_journal");
}
