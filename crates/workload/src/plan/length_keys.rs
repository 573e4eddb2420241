//! Distributions of lengths, from the configuration: a section's keys, or a mixture's parts, which have the
//! same names.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use serde_json::{Map, Value};

use super::build::Builder;
use super::lengths::{Component, Counted, LengthPlan, LengthShape};
use super::{LengthProblem, PlanError};
use crate::config::KEYS;

/// Different lengths that a file may have: they travel in the plan.
const MOST_LENGTHS: usize = 16_384;

/// Problems of a file that are written out; the others are counted.
const WRITTEN_OUT: usize = 5;

/// What is said about one distribution, and where.
pub(super) struct Fields {
    section: String,
    said: Map<String, Value>,
}

impl Fields {
    fn text(&self, name: &str) -> Option<&str> {
        self.said.get(name).and_then(Value::as_str)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.said.get(name).and_then(Value::as_f64)
    }

    fn tokens(&self, name: &str) -> Option<NonZeroU32> {
        let tokens = self.said.get(name).and_then(Value::as_u64)?;
        u32::try_from(tokens).ok().and_then(NonZeroU32::new)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.said.contains_key(name)
    }

    /// Is a distribution named at all, and not only bounds or a deviation?
    pub(super) fn is_drawn(&self) -> bool {
        ["mean", "distribution", "file", "mixture"].iter().any(|name| self.has(name))
    }

    fn problem(&self, problem: LengthProblem) -> PlanError {
        PlanError::Lengths { section: self.section.clone(), problem }
    }

    /// `distribution`, or what the other fields imply.
    fn word(&self) -> &str {
        let implied = if self.has("mixture") {
            "mixture"
        } else if self.has("file") {
            "empirical"
        } else {
            "normal"
        };
        self.text("distribution").unwrap_or(implied)
    }
}

/// The range that the bounds leave.
#[derive(Clone, Copy)]
struct Bounds {
    min: NonZeroU32,
    max: Option<NonZeroU32>,
}

impl Bounds {
    fn hold(self, length: f64) -> bool {
        let highest = self.max.map_or(f64::MAX, |max| f64::from(max.get()));
        (f64::from(self.min.get())..=highest).contains(&length)
    }

    fn in_words(self) -> String {
        let max = self.max.map_or_else(|| "∞".to_owned(), |max| max.to_string());
        format!("{} … {max}", self.min)
    }
}

impl Builder<'_> {
    /// What a section of the table says, such as `prompts.inputLength`.
    pub(super) fn length_fields(&self, section: &str) -> Fields {
        let names = ["distribution", "mean", "stddev", "min", "max", "file", "mixture"];
        let said = names.iter().filter_map(|name| {
            let path = format!("{section}.{name}");
            // Numbers of turns have no file and no mixture.
            let key = KEYS.iter().find(|key| key.path == path)?;
            Some(((*name).to_owned(), self.config.get(key.path)?.clone()))
        });
        Fields { section: section.to_owned(), said: said.collect() }
    }

    /// A mean that is given alone means exactly that length. Bounds alone pull the default mean inside.
    pub(super) fn lengths(&mut self, fields: &Fields, default: &LengthPlan) -> Option<LengthPlan> {
        self.one_source(fields)?;
        let bounds = self.bounds(fields)?;
        let shape = match fields.word() {
            "mixture" => self.mixture(fields, bounds),
            "empirical" => self.empirical(fields, bounds),
            "uniform" => self.uniform(fields, bounds),
            word => {
                let word = word.to_owned();
                self.bell(fields, bounds, &word, default)
            }
        };
        Some(LengthPlan { shape: shape?, min: bounds.min, max: bounds.max })
    }

    fn bounds(&mut self, fields: &Fields) -> Option<Bounds> {
        let bounds = Bounds {
            min: fields.tokens("min").unwrap_or(NonZeroU32::MIN),
            max: fields.tokens("max"),
        };
        if let Some(max) = bounds.max.filter(|max| *max < bounds.min) {
            let (min, max) = (bounds.min.get(), max.get());
            self.refuse(fields.problem(LengthProblem::Bounds { min, max }));
            return None;
        }
        Some(bounds)
    }

    /// Normal, lognormal, or one length.
    fn bell(
        &mut self,
        fields: &Fields,
        bounds: Bounds,
        word: &str,
        default: &LengthPlan,
    ) -> Option<LengthShape> {
        let configured = fields.number("mean");
        let (lowest, highest) =
            (f64::from(bounds.min.get()), bounds.max.map_or(f64::MAX, |max| max.get().into()));
        let mean = configured.unwrap_or_else(|| default.mean().min(highest).max(lowest));
        if !bounds.hold(mean) {
            let bounds = bounds.in_words();
            self.refuse(fields.problem(LengthProblem::Mean { mean, bounds }));
            return None;
        }
        let default_stddev = if configured.is_some() { 0.0 } else { default.stddev() };
        let stddev = fields.number("stddev").unwrap_or(default_stddev);
        match word {
            "lognormal" => Some(LengthShape::LogNormal { mean, stddev }),
            "fixed" => {
                self.idle(fields, &["stddev"], word);
                Some(LengthShape::Normal { mean, stddev: 0.0 })
            }
            _ => Some(LengthShape::Normal { mean, stddev }),
        }
    }

    fn uniform(&mut self, fields: &Fields, bounds: Bounds) -> Option<LengthShape> {
        if bounds.max.is_none() || !fields.has("min") {
            let needs = "`min` and `max`";
            self.refuse(fields.problem(LengthProblem::Needs { word: "uniform", needs }));
            return None;
        }
        self.idle(fields, &["mean", "stddev"], "uniform");
        Some(LengthShape::Uniform)
    }

    fn empirical(&mut self, fields: &Fields, bounds: Bounds) -> Option<LengthShape> {
        let Some(path) = fields.text("file") else {
            let needs = "`file`, with a length a line";
            self.refuse(fields.problem(LengthProblem::Needs { word: "empirical", needs }));
            return None;
        };
        self.idle(fields, &["mean", "stddev"], "empirical");
        let counted = match counted(Path::new(path)) {
            Ok(counted) => counted,
            Err(problems) => {
                problems.into_iter().for_each(|problem| self.refuse(fields.problem(problem)));
                return None;
            }
        };
        if !counted.iter().any(|length| bounds.hold(length.tokens.get().into())) {
            let bounds = bounds.in_words();
            let problem = LengthProblem::NoneInside { path: path.to_owned(), bounds };
            self.refuse(fields.problem(problem));
            return None;
        }
        Some(LengthShape::Empirical(counted))
    }

    fn mixture(&mut self, fields: &Fields, bounds: Bounds) -> Option<LengthShape> {
        let parts = fields.said.get("mixture").and_then(Value::as_array);
        let Some(parts) = parts else {
            let needs = "`mixture`, a list of parts";
            self.refuse(fields.problem(LengthProblem::Needs { word: "mixture", needs }));
            return None;
        };
        self.idle(fields, &["mean", "stddev"], "mixture");
        let mut components = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let said = part.as_object().cloned().unwrap_or_default();
            let part = Fields { section: format!("{}.mixture[{index}]", fields.section), said };
            let Some(length) = self.part(&part, bounds) else { continue };
            components.push(Component { weight: part.number("weight").unwrap_or(1.0), length });
        }
        (components.len() == parts.len()).then_some(LengthShape::Mixture(components))
    }

    fn part(&mut self, fields: &Fields, outer: Bounds) -> Option<LengthPlan> {
        if fields.word() == "normal" && !fields.has("mean") {
            let needs = "`mean`, or a `distribution` with what it takes";
            self.refuse(fields.problem(LengthProblem::Part { needs }));
            return None;
        }
        let length = self.lengths(fields, &LengthPlan::INPUT)?;
        let mean = length.mean();
        if !outer.hold(mean) {
            let bounds = outer.in_words();
            self.refuse(fields.problem(LengthProblem::Mean { mean, bounds }));
            return None;
        }
        Some(length)
    }

    /// A distribution is given by itself, by a file or by a mixture.
    fn one_source(&mut self, fields: &Fields) -> Option<()> {
        let word = fields.word();
        let clash = ["file", "mixture"].into_iter().find(|name| {
            fields.has(name)
                && !matches!((word, *name), ("empirical", "file") | ("mixture", "mixture"))
        });
        let Some(name) = clash else { return Some(()) };
        self.refuse(fields.problem(LengthProblem::Excluded { word: word.to_owned(), name }));
        None
    }

    fn idle(&mut self, fields: &Fields, names: &[&str], word: &str) {
        for name in names.iter().filter(|name| fields.has(name)) {
            let section = &fields.section;
            let message = format!("`{section}.{name}` has no effect on lengths that are {word}");
            self.warn("key_unused", message);
        }
    }
}

/// The lengths in a file: a whole number a line, or `length,count`; blank lines and those behind `#` are
/// passed over.
fn counted(path: &Path) -> Result<Vec<Counted>, Vec<LengthProblem>> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![LengthProblem::File { path: shown.clone(), reason: error.to_string() }]
    })?;
    let (mut counts, mut problems) = (BTreeMap::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match length_and_count(line) {
            Some((tokens, count)) => {
                let so_far: &mut u32 = counts.entry(tokens).or_default();
                *so_far = so_far.saturating_add(count);
            }
            None => problems.push(LengthProblem::Line {
                path: shown.clone(),
                number,
                line: shorten(line),
            }),
        }
    }
    if problems.len() > WRITTEN_OUT {
        let more = problems.len() - WRITTEN_OUT;
        problems.truncate(WRITTEN_OUT);
        let reason = format!("and {more} more lines like these");
        problems.push(LengthProblem::File { path: shown.clone(), reason });
    }
    if problems.is_empty() && counts.is_empty() {
        problems.push(LengthProblem::File {
            path: shown.clone(),
            reason: "it has no length".to_owned(),
        });
    }
    if counts.len() > MOST_LENGTHS {
        let reason = format!(
            "it has {} different lengths, more than {MOST_LENGTHS}: round them",
            counts.len()
        );
        problems.push(LengthProblem::File { path: shown, reason });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(counts.into_iter().map(|(tokens, count)| Counted { tokens, count }).collect())
}

fn length_and_count(line: &str) -> Option<(NonZeroU32, u32)> {
    const MOST_TOKENS: u32 = 10_000_000;
    let (length, count) = match line.split_once(',') {
        Some((length, count)) => (length.trim(), count.trim().parse().ok()?),
        None => (line, 1),
    };
    let tokens = length.parse().ok().filter(|tokens| *tokens <= MOST_TOKENS)?;
    Some((NonZeroU32::new(tokens)?, count)).filter(|(_, count)| *count > 0)
}

fn shorten(line: &str) -> String {
    line.chars().take(40).collect()
}
