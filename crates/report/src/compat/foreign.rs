//! Files of other tools, read for a comparison: what each holds becomes figures of ours, what it lacks is said.
//!
//! A file of printed percentiles is no run: there are no histograms to merge, no books and no verdict. So it has a type
//! of its own, and who compares knows that a difference to it cannot be tested, only shown.

use std::fs;
use std::path::{Path, PathBuf};

use metrics::{Figure, Metric, RateFigure, Statistic};
use serde_json::{Map, Value};

use super::{Tool, inference_perf, llm_d, llmperf, vllm};
use crate::stored::{ReadError, StoredRun, locate};

/// What a comparison asks for first.
const WANTED: [Figure; 8] = [
    Figure::Of(Metric::Ttft, Statistic::Percentile(5_000)),
    Figure::Of(Metric::Ttft, Statistic::Percentile(9_900)),
    Figure::Of(Metric::Itl, Statistic::Percentile(9_900)),
    Figure::Of(Metric::E2eLatency, Statistic::Percentile(5_000)),
    Figure::Of(Metric::E2eLatency, Statistic::Percentile(9_900)),
    Figure::Rate(RateFigure::Throughput),
    Figure::Rate(RateFigure::TokensPerSecond),
    Figure::Rate(RateFigure::ErrorRate),
];

/// A run that another tool measured, as far as its file tells.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignRun {
    /// Who wrote it.
    pub tool: Tool,
    /// Which file.
    pub path: PathBuf,
    /// The model asked for.
    pub model: Option<String>,
    /// Requests with a complete answer.
    pub completed: Option<u64>,
    /// Requests without.
    pub failed: Option<u64>,
    /// Each in the unit of [`Figure::unit`], in the file's order.
    pub figures: Vec<(Figure, f64)>,
    /// What a comparison would want and the file does not have, a line each.
    pub lacks: Vec<String>,
    /// Where a figure of that name means something else there, a line each.
    pub differs: Vec<String>,
}

impl ForeignRun {
    /// One figure, in the unit of [`Figure::unit`].
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        self.figures.iter().find(|(known, _)| *known == figure).map(|(_, value)| *value)
    }
}

/// A run to compare.
#[derive(Debug, Clone)]
pub enum Loaded {
    /// One of ours, with its histograms.
    Run(Box<StoredRun>),
    /// Figures that another tool printed.
    Foreign(Box<ForeignRun>),
}

/// What lies at a path: a results directory of ours, a folder of them (its newest run), a file of llmperf, vllm,
/// inference-perf or llm-d, or a folder with one of theirs.
///
/// # Errors
/// It is none of these, or cannot be read. A run of ours that was cut off is [`ReadError::Unfinished`]: its journal still
/// tells of it, to who can read that.
pub fn load(path: &Path) -> Result<Loaded, ReadError> {
    match load_foreign(path)? {
        Some(run) => Ok(Loaded::Foreign(Box::new(run))),
        None => Ok(Loaded::Run(Box::new(StoredRun::read(&locate(path)?.directory)?))),
    }
}

/// A file of another tool, or a folder with one; `None` where a run of ours lies there, which is not read.
///
/// # Errors
/// A file that nobody we know writes, or that cannot be read.
pub fn load_foreign(path: &Path) -> Result<Option<ForeignRun>, ReadError> {
    let metadata =
        fs::metadata(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    if metadata.is_file() {
        return foreign(path).map(Some);
    }
    match (locate(path), foreign_file(path)) {
        (Err(ReadError::NoRun(_)), Some(file)) => foreign(&file).map(Some),
        _ => Ok(None),
    }
}

/// The one file of a folder that tells of a whole run: by its name, else the only one in JSON.
fn foreign_file(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let only = |wanted: fn(&str) -> bool| {
        let name =
            |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut found = paths.iter().filter(|path| name(path).is_some_and(|name| wanted(&name)));
        let first = found.next()?;
        found.next().is_none().then(|| first.clone())
    };
    let is_summary = |name: &str| {
        name == inference_perf::SUMMARY_FILE
            || name.ends_with("_summary.json")
            || name.starts_with(llm_d::FILE_STEM)
    };
    only(is_summary).or_else(|| only(|name| name.ends_with(".json")))
}

fn foreign(path: &Path) -> Result<ForeignRun, ReadError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    let unrecognised = || ReadError::Unrecognised(path.to_owned());
    let value: Value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(_) => serde_saphyr::from_str(&text).map_err(|_| unrecognised())?,
    };
    let object = value.as_object().ok_or_else(unrecognised)?;
    recognised(path, object).ok_or_else(|| {
        let is_ours = object.contains_key("schemaVersion");
        if is_ours { ReadError::File(path.to_owned()) } else { unrecognised() }
    })
}

fn recognised(path: &Path, object: &Map<String, Value>) -> Option<ForeignRun> {
    if llmperf::recognises(object) {
        Some(llmperf::import(path, object))
    } else if vllm::recognises(object) {
        Some(vllm::import(path, object))
    } else if inference_perf::recognises(object) {
        Some(inference_perf::import(path, object))
    } else if llm_d::recognises(object) {
        Some(llm_d::import(path, object))
    } else {
        None
    }
}

/// A foreign run on its way from its file.
pub(super) struct Draft {
    run: ForeignRun,
    pub(super) model: Option<String>,
    pub(super) completed: Option<u64>,
    pub(super) failed: Option<u64>,
}

impl Draft {
    pub(super) fn of(tool: Tool, path: &Path) -> Self {
        let run = ForeignRun {
            tool,
            path: path.to_owned(),
            model: None,
            completed: None,
            failed: None,
            figures: Vec::new(),
            lacks: Vec::new(),
            differs: Vec::new(),
        };
        Self { run, model: None, completed: None, failed: None }
    }

    /// A figure in its own unit; the first of a name counts, and what is absent is not there.
    pub(super) fn put(&mut self, figure: Figure, value: Option<f64>) {
        let Some(value) = value.filter(|value| value.is_finite()) else { return };
        if self.run.figure(figure).is_none() {
            self.run.figures.push((figure, value));
        }
    }

    /// Every statistic of an object whose keys are their names, times `factor`.
    pub(super) fn put_statistics(&mut self, metric: Metric, statistics: &Value, factor: f64) {
        for (name, value) in statistics.as_object().into_iter().flatten() {
            if let Some(statistic) = Statistic::from_name(name) {
                self.put(Figure::Of(metric, statistic), value.as_f64().map(|value| value * factor));
            }
        }
    }

    /// failed / (completed + failed), where both are told.
    pub(super) fn put_error_rate(&mut self) {
        let Some((completed, failed)) = self.completed.zip(self.failed) else { return };
        let ended = completed.saturating_add(failed);
        let rate = (ended > 0).then(|| failed as f64 / ended as f64);
        self.put(Figure::Rate(RateFigure::ErrorRate), rate);
    }

    /// What a figure means there.
    pub(super) fn differs(&mut self, line: &str) {
        self.run.differs.push(line.to_owned());
    }

    /// With what it lacks.
    pub(super) fn done(self) -> ForeignRun {
        let Self { mut run, model, completed, failed } = self;
        (run.model, run.completed, run.failed) = (model, completed, failed);
        let name = run.tool.name();
        let missing = WANTED.iter().filter(|figure| run.figure(**figure).is_none());
        let missing: Vec<String> = missing.map(ToString::to_string).collect();
        run.lacks.push(format!(
            "a file of {name} has no histograms: a difference to it is shown, not tested"
        ));
        if !missing.is_empty() {
            run.lacks.push(format!("it has no {}", missing.join(", ")));
        }
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::{Asked, export};
    use crate::terminal::example;

    fn ours() -> StoredRun {
        StoredRun::of(Path::new("/x"), example::one_stage(), Vec::new())
    }

    #[test]
    fn every_file_of_a_tool_is_recognised_and_names_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        for tool in Tool::ALL {
            for file in export(&ours(), &Asked::default(), tool).unwrap().files {
                if file.name == "run_metadata.yaml" {
                    continue;
                }
                let path = folder.path().join(&file.name);
                fs::write(&path, &file.text).unwrap();
                let Loaded::Foreign(run) = load(&path).unwrap() else { panic!("{}", file.name) };
                assert_eq!((run.tool, run.completed), (tool, Some(2_000)), "{}", file.name);
                assert!(run.lacks[0].contains("not tested"));
                let ttft = Figure::Of(Metric::Ttft, Statistic::Percentile(5_000));
                let measured = example::one_stage().overall.metrics[&Metric::Ttft].p50.unwrap();
                let read = run.figure(ttft).unwrap();
                assert!((read - measured as f64).abs() < 1.0, "{}: {read} us", file.name);
            }
        }
    }

    #[test]
    fn a_folder_of_theirs_is_read_by_its_summary() {
        let folder = tempfile::tempdir().unwrap();
        for file in export(&ours(), &Asked::default(), Tool::InferencePerf).unwrap().files {
            fs::write(folder.path().join(&file.name), &file.text).unwrap();
        }
        let Loaded::Foreign(run) = load(folder.path()).unwrap() else { panic!("ours?") };
        assert!(run.path.ends_with(inference_perf::SUMMARY_FILE));
    }

    #[test]
    fn what_is_nobodys_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let words = |text: &str| {
            let path = folder.path().join("f.json");
            fs::write(&path, text).unwrap();
            load(&path).unwrap_err().to_string()
        };
        for text in ["{}", "[1]", "{\"results\": {}}", "a: [", ""] {
            assert!(words(text).contains("neither a results directory nor a file of"), "{text}");
        }
        assert!(words("{\"schemaVersion\": 1}").contains("name the results directory"));
        assert!(matches!(load(&folder.path().join("nothing")), Err(ReadError::Io { .. })));
    }

    /// Every value but objects, wherever it stands, replaced by `odd`.
    fn with_odd_leaf(value: &Value, odd: &Value, skip: &mut usize) -> Value {
        match value {
            Value::Object(members) => {
                let changed = members
                    .iter()
                    .map(|(key, value)| (key.clone(), with_odd_leaf(value, odd, skip)));
                Value::Object(changed.collect())
            }
            _ if *skip == 0 => {
                *skip = usize::MAX;
                odd.clone()
            }
            leaf => {
                *skip -= 1;
                leaf.clone()
            }
        }
    }

    #[test]
    fn a_file_with_a_strange_value_anywhere_is_read_as_far_as_it_makes_sense() {
        let odd = [Value::Null, "x".into(), (-1).into(), 1e308.into(), Value::Array(Vec::new())];
        for tool in Tool::ALL {
            let file = export(&ours(), &Asked::default(), tool).unwrap().files.remove(0);
            let whole: Value = serde_saphyr::from_str(&file.text).unwrap();
            for leaf in 0..400 {
                let broken = with_odd_leaf(&whole, &odd[leaf % odd.len()], &mut leaf.clone());
                let Some(run) = recognised(Path::new("f"), broken.as_object().unwrap()) else {
                    continue;
                };
                assert!(run.figures.iter().all(|(_, value)| value.is_finite()), "{tool:?} {leaf}");
            }
        }
    }
}
