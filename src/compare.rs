//! `tokenstorm compare`: whether runs differ, by how much, and whether a rule is broken.
//!
//! A side is a run, or several repeats. What is compared are the intervals that the runs' journals hold; the answers
//! and the pages' distributions come from their files. It is decided in `metrics`, and said in `report`.

mod configuration;
mod sides;

use std::path::{Path, PathBuf};

use metrics::{Figure, Observed, Status, compare as compare_runs, usual_figures};
use report::{ComparisonView, Rule, figure_named};

use crate::{
    exit::{Exit, Stop},
    report::check_report_file,
    say,
};
use sides::Side;

/// What `compare` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// What the others are held against: a run's directory, a folder of runs (its newest), repeats joined by commas, or a file
    /// of llmperf, vllm, inference-perf or llm-d, to which differences are shown and not tested.
    /// A run of a `run --repeat` group stands for its whole group
    #[arg(long, value_name = "RUNS")]
    baseline: String,
    /// What is held against it, in the same words; several are compared one by one
    #[arg(long, value_name = "RUNS", num_args = 1.., required = true)]
    candidate: Vec<String>,
    /// Also write a page (.html), text for a pull request (.md) or JSON (.json); may be repeated
    #[arg(long, short, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// Exit with code 3 if this is so, and the difference is real: such as 'ttft.p99 > +5%' or 'throughput < -3%'; may be repeated
    #[arg(long, value_name = "RULE")]
    fail_if: Vec<String>,
    /// What is compared, such as ttft.p50,ttft.p99,throughput [default: ttft.p50, ttft.p99, itl.p99, throughput]
    #[arg(long, value_name = "FIGURES", value_delimiter = ',')]
    metrics: Vec<String>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// What a comparison is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Html,
    Markdown,
    Json,
}

/// Compares, prints, writes; all that is wrong with the words is told before anything is read.
pub(crate) fn compare(arguments: &CompareArgs) -> anyhow::Result<Exit> {
    let Wanted { rules, figures, outputs } = arguments.wanted()?;
    outputs.iter().try_for_each(|(path, _)| check_report_file(path))?;
    let named = std::iter::once(&arguments.baseline).chain(&arguments.candidate);
    let mut all = named.map(|words| Side::read(words)).collect::<anyhow::Result<Vec<Side>>>()?;
    sides::tell_apart(&mut all);
    let candidates = all.split_off(1);
    let baseline = all.remove(0);
    let sides: Vec<&Side> = std::iter::once(&baseline).chain(&candidates).collect();
    let mut remarks: Vec<String> = sides.iter().flat_map(|side| side.remarks.clone()).collect();
    // What another tool was told to do is not in its file.
    let ours = if sides.iter().any(|side| side.is_foreign()) { &[] } else { &sides[..] };
    let (configuration, unread) = configuration::differences(ours);
    remarks.extend(unread);
    remarks.extend(sides::unlike(&sides));

    let figures = family(figures, &rules, &baseline);
    let observed: Vec<Vec<Observed<'_>>> = candidates.iter().map(Side::observed).collect();
    let compared = compare_runs(&baseline.observed(), &observed, &figures);
    let rules = ComparisonView::judge(rules, &compared);
    let is_invalid = sides.iter().any(|side| side.is(Status::Invalid));
    drop(observed);
    let view = ComparisonView {
        baseline: baseline.into(),
        candidates: candidates.into_iter().map(Into::into).collect(),
        compared,
        rules,
        configuration,
        remarks,
    };
    present(&view, &outputs, arguments.json)?;
    // Figures of an invalid run decide nothing, so its code comes first.
    Ok(match (is_invalid, view.is_any_rule_broken()) {
        (true, _) => Exit::Invalid,
        (false, true) => Exit::SloMissed,
        (false, false) => Exit::Ok,
    })
}

fn present(view: &ComparisonView, outputs: &[(PathBuf, Format)], json: bool) -> anyhow::Result<()> {
    let width = terminal_size::terminal_size().map_or(report::DEFAULT_WIDTH, |(width, _)| width.0);
    if json {
        say(&report::comparison_json(view)?)?;
    } else {
        say(&report::comparison_text(view, width))?;
    }
    for (path, format) in outputs {
        let content = match format {
            Format::Html => report::comparison_html(view)?,
            Format::Markdown => report::comparison_markdown(view),
            Format::Json => report::comparison_json(view)?,
        };
        report::write_file(path, content.as_bytes())?;
        if !json {
            say(&format!("Report: {}", path.display()))?;
        }
    }
    Ok(())
}

/// The declared figures and those of the rules: what a rule decides is one of the family.
fn family(declared: Vec<Figure>, rules: &[Rule], baseline: &Side) -> Vec<Figure> {
    let usual = || baseline.runs.first().map(|run| usual_figures(&run.stored.result));
    let mut figures = if declared.is_empty() { usual().unwrap_or_default() } else { declared };
    for rule in rules {
        if !figures.contains(&rule.figure) {
            figures.push(rule.figure);
        }
    }
    figures
}

/// What the flags ask for.
struct Wanted {
    rules: Vec<Rule>,
    figures: Vec<Figure>,
    outputs: Vec<(PathBuf, Format)>,
}

impl CompareArgs {
    fn wanted(&self) -> Result<Wanted, Stop> {
        let mut problems: Vec<String> = Vec::new();
        let mut wanted = Wanted { rules: Vec::new(), figures: Vec::new(), outputs: Vec::new() };
        for text in &self.fail_if {
            match Rule::parse(text) {
                Ok(rule) => wanted.rules.push(rule),
                Err(error) => problems.push(format!("--fail-if: {error}")),
            }
        }
        for name in self.metrics.iter().map(|name| name.trim()) {
            match figure_named(name) {
                Ok(figure) if wanted.figures.contains(&figure) => {}
                Ok(figure) => wanted.figures.push(figure),
                Err(problem) => problems.push(format!("--metrics: {problem}")),
            }
        }
        for path in &self.output {
            match format_of(path) {
                Some(format) => wanted.outputs.push((path.clone(), format)),
                None => problems.push(format!(
                    "--output {}: name a file that ends in .html, .md or .json",
                    path.display()
                )),
            }
        }
        if problems.is_empty() { Ok(wanted) } else { Err(Stop::bad_configuration(&problems)) }
    }
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "html" | "htm" => Some(Format::Html),
        "md" | "markdown" => Some(Format::Markdown),
        "json" => Some(Format::Json),
        _ => None,
    }
}

/// What cannot be read is a matter of the flags.
fn unreadable(error: impl ToString) -> Stop {
    Stop::new(Exit::BadConfiguration, error)
}
