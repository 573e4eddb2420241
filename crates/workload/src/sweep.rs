//! Many runs of one configuration that differ in some keys.
//!
//! A point is a set of overrides and nothing else, and it is known by their hash: whoever goes on with a sweep that was
//! cut off finds what is done by what it is, not by its place in a list. So points can be added to a sweep, or put into
//! another order, and no run is repeated. Overrides go through the table of keys like everything that is written by
//! hand: a path that is not there is an error, with the nearest one that is.

use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::config::{Config, ConfigError, KEYS};

/// Between two runs, where nothing is said.
const PAUSE: Duration = Duration::from_secs(2);
/// Bytes of the hash that a point is known by.
const ID_BYTES: usize = 6;

/// A sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// In the order in which they are run; none twice.
    pub points: Vec<SweepPoint>,
    /// How often each is run.
    pub repeats: u32,
    /// Between two runs.
    pub pause: Duration,
}

/// One set of overrides.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepPoint {
    /// Keys by their dotted paths, each once.
    pub overrides: Vec<(String, Value)>,
    /// The section that names them.
    stands: &'static str,
}

/// What is wrong with a sweep, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    /// A point's overrides cannot be used.
    #[error("{0}")]
    Override(ConfigError),
    /// A sweep of the sweep's own keys, or of the search's.
    #[error("`sweep`: `{0}` is not the run's own and cannot be swept")]
    OfItself(String),
    /// It would be written down with the points.
    #[error(
        "`sweep`: a point sets a credential: put it into OPENAI_API_KEY or into `target` itself, where it is written nowhere"
    )]
    Credential,
    /// More than anybody means.
    #[error("`sweep` has {0} points: at most {most} are run", most = MOST_POINTS)]
    TooMany(usize),
}

/// Points of one sweep.
const MOST_POINTS: usize = 10_000;

impl Sweep {
    /// The sweep of a configuration, if it has one.
    ///
    /// # Errors
    /// Every problem with every point, each once.
    pub fn of(config: &Config) -> Result<Option<Self>, Vec<SweepError>> {
        let Some(sweep) = Self::read(config)? else { return Ok(None) };
        let problems = sweep.problems(config);
        if problems.is_empty() { Ok(Some(sweep)) } else { Err(problems) }
    }

    /// The same, whatever its points set.
    ///
    /// # Errors
    /// There are too many of them.
    pub fn read(config: &Config) -> Result<Option<Self>, Vec<SweepError>> {
        let grid = config.get("sweep.grid").and_then(Value::as_object);
        let listed = config.get("sweep.points").and_then(Value::as_array);
        if grid.is_none() && listed.is_none() {
            return Ok(None);
        }
        let many = points_of(grid, listed)?;
        let mut points: Vec<SweepPoint> = Vec::new();
        for point in many {
            if points.iter().all(|known| known.id() != point.id()) {
                points.push(point);
            }
        }
        let repeats = config.integer("sweep.repeats").unwrap_or(1);
        Ok(Some(Self {
            points,
            repeats: u32::try_from(repeats).unwrap_or(u32::MAX),
            pause: config.duration("sweep.pause").unwrap_or(PAUSE),
        }))
    }

    /// What is wrong with its points, each once.
    pub fn problems(&self, config: &Config) -> Vec<SweepError> {
        let mut problems = Vec::new();
        for point in &self.points {
            for (path, _) in &point.overrides {
                let section = path.split('.').next().unwrap_or_default();
                if section == "sweep" || section == "search" {
                    problems.push(SweepError::OfItself(path.clone()));
                }
            }
            match point.applied_to(config) {
                Err(errors) => problems.extend(errors.into_iter().map(SweepError::Override)),
                Ok(applied) => {
                    let credentials = |of: &Config| (of.credential_headers(), of.credential_body());
                    if credentials(&applied) != credentials(config) {
                        problems.push(SweepError::Credential);
                    }
                }
            }
        }
        let mut once: Vec<SweepError> = Vec::new();
        for problem in problems {
            if !once.contains(&problem) {
                once.push(problem);
            }
        }
        once
    }

    /// The key that makes the best horizontal axis: the first with several numbers.
    pub fn axis(&self) -> Option<String> {
        let first = self.points.first()?;
        let is_axis = |path: &&String| {
            let mut numbers: Vec<f64> =
                self.points.iter().filter_map(|point| point.number(path)).collect();
            numbers.sort_by(f64::total_cmp);
            numbers.dedup();
            numbers.len() > 1 && self.points.iter().all(|point| point.number(path).is_some())
        };
        first.overrides.iter().map(|(path, _)| path).find(is_axis).cloned()
    }
}

impl SweepPoint {
    fn new(overrides: Map<String, Value>, stands: &'static str) -> Self {
        let normal = |(path, value): (String, Value)| {
            let key = KEYS.iter().find(|key| key.path == path);
            let read = key.and_then(|key| key.kind.read(&value));
            (path, read.unwrap_or(value))
        };
        Self { overrides: overrides.into_iter().map(normal).collect(), stands }
    }

    /// What it is known by: a hash of its overrides, whatever their order.
    pub fn id(&self) -> String {
        let mut sorted: Vec<String> =
            self.overrides.iter().map(|(path, value)| format!("{path}={value}\n")).collect();
        sorted.sort();
        let hash = Sha256::digest(sorted.concat());
        hash.iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }

    /// For people: `load.rate=4 prompts.prefixRatio=0.5`.
    pub fn name(&self) -> String {
        let shown = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => crate::config::shortened(&other.to_string()),
        };
        let pairs: Vec<String> =
            self.overrides.iter().map(|(path, value)| format!("{path}={}", shown(value))).collect();
        pairs.join(" ")
    }

    /// The configuration of its run: the sweep is not in it.
    ///
    /// # Errors
    /// Every path that is unknown, and every value that is not of its kind.
    pub fn applied_to(&self, config: &Config) -> Result<Config, Vec<ConfigError>> {
        Ok(config.overridden(&self.overrides, self.stands)?.without("sweep").without("search"))
    }

    /// The number that it gives a key.
    pub fn number(&self, path: &str) -> Option<f64> {
        self.overrides.iter().find(|(known, _)| known == path)?.1.as_f64()
    }
}

/// Each listed point with each combination of the grid.
fn points_of(
    grid: Option<&Map<String, Value>>,
    listed: Option<&Vec<Value>>,
) -> Result<Vec<SweepPoint>, Vec<SweepError>> {
    let begun = |point: &Value| point.as_object().cloned().unwrap_or_default();
    let mut maps: Vec<Map<String, Value>> =
        listed.map_or_else(|| vec![Map::new()], |listed| listed.iter().map(begun).collect());
    for (path, values) in grid.into_iter().flatten() {
        let values: Vec<&Value> = values.as_array().into_iter().flatten().collect();
        let count = maps.len().saturating_mul(values.len());
        if count > MOST_POINTS {
            return Err(vec![SweepError::TooMany(count)]);
        }
        let with = |map: &Map<String, Value>, value: &Value| {
            let mut map = map.clone();
            _ = map.insert(path.clone(), value.clone());
            map
        };
        maps = maps.iter().flat_map(|map| values.iter().map(|value| with(map, value))).collect();
    }
    if maps.len() > MOST_POINTS {
        return Err(vec![SweepError::TooMany(maps.len())]);
    }
    let stands = if grid.is_some() { "sweep.grid" } else { "sweep.points" };
    Ok(maps.into_iter().map(|map| SweepPoint::new(map, stands)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Sources;

    fn config(keys: &[(&str, Value)]) -> Config {
        let flags = keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Config::load(Sources { flags, ..Sources::default() }).unwrap()
    }

    fn names(sweep: &Sweep) -> Vec<String> {
        sweep.points.iter().map(SweepPoint::name).collect()
    }

    #[test]
    fn a_grid_is_every_combination_and_the_last_key_changes_fastest() {
        let grid = json!({"load.rate": [1, 2], "prompts.prefixRatio": [0, 0.5]});
        let sweep = Sweep::of(&config(&[("sweep.grid", grid)])).unwrap().unwrap();
        let expected = [
            "load.rate=1 prompts.prefixRatio=0",
            "load.rate=1 prompts.prefixRatio=0.5",
            "load.rate=2 prompts.prefixRatio=0",
            "load.rate=2 prompts.prefixRatio=0.5",
        ];
        assert_eq!(names(&sweep), expected);
        assert_eq!((sweep.repeats, sweep.pause), (1, PAUSE));
        assert_eq!(sweep.axis().as_deref(), Some("load.rate"));
    }

    #[test]
    fn points_are_combined_with_the_grid_and_none_is_there_twice() {
        let points = json!([{"load.rate": 1}, {"load.rate": 1.0}, {"load.concurrency": 4, "load.rate": null}]);
        let keys = [
            ("sweep.points", points),
            ("sweep.grid", json!({"benchmark.seed": [7]})),
            ("load.rate", json!(9)),
        ];
        let config = config(&keys);
        let sweep = Sweep::of(&config).unwrap().unwrap();
        assert_eq!(sweep.points.len(), 2);
        let closed = sweep.points[1].applied_to(&config).unwrap();
        assert!(!closed.has("load.rate") && !closed.has("sweep.points"));
        assert_eq!(
            (closed.integer("load.concurrency"), closed.integer("benchmark.seed")),
            (Some(4), Some(7))
        );
    }

    #[test]
    fn a_point_is_known_by_its_overrides_in_any_order() {
        let of = |value: Value| SweepPoint::new(value.as_object().unwrap().clone(), "sweep.points");
        let one = of(json!({"load.rate": 2, "benchmark.duration": "1m"}));
        let same = of(json!({"benchmark.duration": 60, "load.rate": 2.0}));
        let other = of(json!({"load.rate": 3, "benchmark.duration": 60}));
        assert_eq!(one.id(), same.id());
        assert_eq!(one.id().len(), 2 * ID_BYTES);
        assert_ne!(one.id(), other.id());
    }

    #[test]
    fn every_wrong_override_is_told_once() {
        let grid = json!({"load.raet": [1, 2], "load.concurrency": [0, 4], "sweep.repeats": [1]}); // misspelt
        let problems = Sweep::of(&config(&[("sweep.grid", grid)])).unwrap_err();
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "`sweep`: `sweep.repeats` is not the run's own and cannot be swept",
                "command line: unknown key `load.raet`; did you mean `load.rate`?", // misspelt
                "command line: `load.concurrency` is 0: give a whole number of requests in flight from 1 to 1000000",
            ]
        );
    }

    #[test]
    fn entries_of_maps_and_whole_sections_can_be_swept() {
        let grid = json!({"target.headers.x-team": ["a"], "prompts.inputLength": [{"mean": 5}]});
        let config = config(&[("sweep.grid", grid)]);
        let point = &Sweep::of(&config).unwrap().unwrap().points[0];
        let applied = point.applied_to(&config).unwrap();
        assert_eq!(applied.get("target.headers"), Some(&json!({"x-team": "a"})));
        assert_eq!(applied.number("prompts.inputLength.mean"), Some(5.0));
    }

    #[test]
    fn a_credential_is_not_swept() {
        let grid = json!({"target.headers": [{"x-api-key": "a"}]});
        assert_eq!(Sweep::of(&config(&[("sweep.grid", grid)])), Err(vec![SweepError::Credential]));
    }

    #[test]
    fn a_file_of_overrides_has_any_of_four_layouts() {
        let folder = tempfile::tempdir().unwrap();
        let points_of = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            let sources = Sources { sweep: Some(file), ..Sources::default() };
            let config = Config::load(sources).map_err(|errors| errors[0].to_string())?;
            let sweep = Sweep::of(&config).map_err(|errors| errors[0].to_string())?;
            Ok::<_, String>(names(&sweep.unwrap()))
        };
        let both = Ok(vec!["load.rate=1".to_owned(), "load.rate=2".to_owned()]);
        assert_eq!(points_of("a.json", r#"[{"load.rate": 1}, {"load.rate": 2}]"#), both);
        assert_eq!(points_of("b.yaml", "low: {load.rate: 1}\nhigh: {load.rate: 2}\n"), both);
        assert_eq!(points_of("c.yaml", "load.rate: [1, 2]\n"), both);
        assert_eq!(points_of("d.yaml", "sweep: {grid: {load.rate: [1, 2]}, repeats: 3}\n"), both);
        assert_eq!(points_of("e.yaml", "grid: {load.rate: [1, 2]}\n"), both);
        let wrong = points_of("f.yaml", "load.rat: [1]\n").unwrap_err();
        assert!(
            wrong.ends_with("f.yaml: unknown key `load.rat`; did you mean `load.rate`?"),
            "{wrong}"
        );
    }
}
