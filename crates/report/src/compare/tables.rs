//! The words and tables of a comparison.

use metrics::{
    Basis, Bound, Compared, Difference, FAMILY_ERROR, Figure, Kind, MIN_BLOCKS_TO_COMPARE, Metric,
    Percentile, Undecided,
};

use super::{ComparedSide, ComparisonView, RuleOutcome};
use crate::document::{Table, reason_words};
use crate::figures::{self, ABSENT, length, milliseconds, or_absent, percent, quantity, thousands};
use crate::summary_json::iso_8601;

/// What a difference comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    Worse,
    Better,
    MayBeChance,
    Undecided,
}

impl Finding {
    pub(super) fn of(compared: &Compared) -> Self {
        match &compared.difference {
            Err(_) => Self::Undecided,
            Ok(difference) if !difference.is_real => Self::MayBeChance,
            Ok(difference) => match (compared.figure.bound(), difference.absolute > 0.0) {
                (Bound::AtMost, true) | (Bound::AtLeast, false) => Self::Worse,
                (Bound::AtMost, false) | (Bound::AtLeast, true) => Self::Better,
            },
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::MayBeChance => "may be chance",
            Self::Undecided => "not decided",
        }
    }
}

impl RuleOutcome {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "broken: beyond the limit, and the difference is real",
            Self::MayBeChance => "beyond the limit, but the difference may be chance: not broken",
            Self::Undecided => "not decided",
        }
    }
}

/// The unit in which a figure is shown.
pub(super) fn unit(figure: Figure) -> &'static str {
    match figure {
        Figure::Of(metric, _) => match metric.kind() {
            Kind::Latency => "ms",
            Kind::Count => "tokens",
            Kind::Rate => "1/s",
        },
        Figure::Rate(rate) if rate.is_share() => "",
        Figure::Rate(_) => "1/s",
    }
}

/// A figure in that unit.
pub(super) fn shown(figure: Figure, value: f64) -> String {
    match figure {
        Figure::Of(metric, _) if metric.kind() == Kind::Latency => milliseconds(value),
        Figure::Of(..) => quantity(value),
        Figure::Rate(rate) if rate.is_share() => percent(value),
        Figure::Rate(_) => quantity(value),
    }
}

/// A share with its sign, to a tenth of a percent, or a hundredth under one: +5.1 %, −0.42 %.
pub(super) fn signed_percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent.abs() {
        size if !size.is_finite() => "∞".to_owned(),
        size if size < 0.995 => format!("{}{size:.2} %", sign(percent, size < 0.005)),
        size if size < 99.95 => format!("{}{size:.1} %", sign(percent, false)),
        size => format!("{}{} %", sign(percent, false), thousands(size.round() as u64)),
    }
}

fn sign(value: f64, is_nothing: bool) -> &'static str {
    match value {
        _ if is_nothing => "±",
        value if value < 0.0 => "−",
        _ => "+",
    }
}

/// Candidate less baseline: relative where that says something, else absolute.
pub(super) fn difference(figure: Figure, difference: &Difference) -> String {
    match difference.relative {
        Some(relative) => signed_percent(relative),
        None => signed(figure, difference.absolute),
    }
}

fn signed(figure: Figure, value: f64) -> String {
    if matches!(figure, Figure::Rate(rate) if rate.is_share()) {
        return signed_percent(value).replace('%', "pp");
    }
    format!("{}{} {}", sign(value, value == 0.0), shown(figure, value.abs()), unit(figure))
}

pub(super) fn interval(figure: Figure, difference: &Difference) -> String {
    let [low, high] = match difference.relative_ci95 {
        Some(limits) => limits.map(signed_percent),
        None => difference.absolute_ci95.map(|limit| signed(figure, limit)),
    };
    // One unit for both.
    match high.rsplit_once(' ') {
        Some((_, unit)) => format!("{} to {high}", low.trim_end_matches(unit).trim_end()),
        None => format!("{low} to {high}"),
    }
}

pub(super) fn p_value(p: f64) -> String {
    match p {
        p if p < 0.001 => "<0.001".to_owned(),
        p if p < 0.1 => format!("{p:.3}"),
        p => format!("{p:.2}"),
    }
}

/// Why nothing was decided about a figure; a side that has none gives its own reason.
pub(super) fn undecided_words(compared: &Compared, why: Undecided) -> String {
    match why {
        Undecided::Absent => {
            let side = |name: &str, reason| format!("{name} has none: {}", reason_words(reason));
            match (&compared.baseline, &compared.candidate) {
                (Err(reason), _) => side("the baseline", *reason),
                (_, Err(reason)) => side("the candidate", *reason),
                _ => "nothing was recorded in some stretches of it".to_owned(),
            }
        }
        Undecided::FewBlocks { block_seconds, blocks } => format!(
            "the shorter run has {blocks} blocks of {block_seconds} s, and {MIN_BLOCKS_TO_COMPARE} are needed: measure for \
             longer, or compare repeats (run --repeat)"
        ),
        Undecided::FewBeyond => {
            "fewer than five samples lie beyond this percentile: send more requests".to_owned()
        }
        Undecided::NoIntervals => {
            "a run has no journal that can be read, or another tool measured it, so how much it varied is not known".to_owned()
        }
        Undecided::NotKept => {
            "not kept over time: compare repeats (run --repeat) for it".to_owned()
        }
        Undecided::OutsideOfBlocks => {
            "the measured seconds do not add up to it: some of its requests ended after them, in the drain, or were never \
             sent; compare repeats (run --repeat) for it"
                .to_owned()
        }
    }
}

/// The cells of one row, from the figure's name on.
pub(super) fn row(compared: &Compared) -> Vec<String> {
    let figure = compared.figure;
    let value = |side: &Result<f64, _>| {
        side.as_ref().map_or_else(|_| ABSENT.to_owned(), |value| shown(figure, *value))
    };
    let mut cells = vec![
        figure.to_string(),
        unit(figure).to_owned(),
        value(&compared.baseline),
        value(&compared.candidate),
    ];
    match &compared.difference {
        Ok(found) => cells.extend([
            difference(figure, found),
            interval(figure, found),
            p_value(found.p_holm),
            Finding::of(compared).words().to_owned(),
        ]),
        Err(_) => {
            cells.extend([ABSENT, ABSENT, ABSENT].map(str::to_owned));
            cells.push(Finding::Undecided.words().to_owned());
        }
    }
    cells
}

/// The header of those cells.
pub(super) const HEADER: [&str; 8] = [
    "figure",
    "unit",
    "baseline",
    "candidate",
    "difference",
    "95 % interval",
    "p (Holm)",
    "finding",
];

/// What each row rests on, and why some have no finding.
pub(super) fn notes(view: &ComparisonView) -> Vec<String> {
    let mut notes = vec![format!(
        "A finding is beyond chance at {} over all {} figures together (Holm); each interval stands by itself.",
        percent(FAMILY_ERROR).replace(".00", ""),
        view.rows().count()
    )];
    let mut bases: Vec<String> = Vec::new();
    for (_, compared) in view.rows() {
        let basis = match &compared.difference {
            Ok(difference) => basis_words(difference.basis),
            Err(_) => continue,
        };
        if !bases.contains(&basis) {
            bases.push(basis);
        }
    }
    notes.extend(bases);
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for (_, compared) in view.rows() {
        let Err(why) = compared.difference else { continue };
        let (words, name) = (undecided_words(compared, why), compared.figure.to_string());
        match reasons.iter_mut().find(|(known, _)| *known == words) {
            Some((_, names)) if names.contains(&name) => {}
            Some((_, names)) => names.push(name),
            None => reasons.push((words, vec![name])),
        }
    }
    notes.extend(
        reasons.into_iter().map(|(words, names)| format!("{ABSENT} {}: {words}", names.join(", "))),
    );
    notes
}

fn basis_words(basis: Basis) -> String {
    match basis {
        Basis::Blocks { seconds, baseline, candidate } => format!(
            "By {baseline} and {candidate} blocks of {seconds} s of one run a side: that these two runs differ, not that they \
             would again; repeats (run --repeat) say more."
        ),
        Basis::Runs { baseline, candidate } => {
            format!(
                "By {baseline} and {candidate} runs a side, by how much they differ from each other."
            )
        }
    }
}

/// The declared figures.
pub(super) fn figures_table(view: &ComparisonView) -> Table {
    let several = view.candidates.len() > 1;
    let mut header = HEADER.to_vec();
    if several {
        header.insert(0, "against the baseline");
    }
    let rows = view.rows().map(|(side, compared)| {
        let mut cells = row(compared);
        if several {
            cells.insert(0, side.title());
        }
        cells
    });
    let words = if several { 3 } else { 2 };
    Table { header, rows: rows.collect(), words, notes: notes(view) }
}

/// The rules with what became of them.
pub(super) fn rules_table(view: &ComparisonView) -> Option<Table> {
    if view.rules.is_empty() {
        return None;
    }
    let several = view.candidates.len() > 1;
    let mut rows = Vec::new();
    for result in &view.rules {
        for (side, outcome) in view.candidates.iter().zip(&result.outcomes) {
            let mut cells = vec![result.rule.text.clone(), outcome.words().to_owned()];
            if several {
                cells.insert(0, side.title());
            }
            rows.push(cells);
        }
    }
    let mut header = vec!["fails if", "outcome"];
    if several {
        header.insert(0, "candidate");
    }
    let words = header.len();
    Some(Table { header, rows, words, notes: Vec::new() })
}

/// Which runs were compared.
pub(super) fn runs_table(view: &ComparisonView) -> Table {
    let mut rows = Vec::new();
    for (place, side) in view.sides().enumerate() {
        let role = if place == 0 { "baseline" } else { "candidate" };
        rows.extend(side.runs.iter().map(|run| {
            let (facts, result) = (&run.result.facts, &run.result);
            let began = iso_8601(facts.started_at_unix_ns).unwrap_or_default();
            let labels: Vec<String> =
                facts.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            vec![
                role.to_owned(),
                facts.id.clone(),
                // Files of others need not say when.
                if facts.started_at_unix_ns == 0 {
                    ABSENT.to_owned()
                } else {
                    began.get(..19).unwrap_or_default().replace('T', " ")
                },
                format!("{} at {}", facts.model, facts.endpoint),
                labels.join(" "),
                result.verdict.status.name().to_owned(),
                if result.overall.measured.is_zero() {
                    ABSENT.to_owned()
                } else {
                    length(result.overall.measured)
                },
                thousands(result.books.completed),
                or_absent(result.overall.rates.error_rate, percent),
            ]
        }));
    }
    let header = vec![
        "side",
        "run",
        "began (UTC)",
        "measured",
        "labels",
        "verdict",
        "for",
        "completed",
        "errors",
    ];
    Table { header, rows, words: 6, notes: Vec::new() }
}

/// Where the configurations are not alike.
pub(super) fn configuration_table(view: &ComparisonView) -> Option<Table> {
    if view.configuration.is_empty() {
        return None;
    }
    let several = view.candidates.len() > 1;
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| ABSENT.to_owned());
    let (header, rows): (Vec<&'static str>, Vec<Vec<String>>) = if several {
        let rows = view.configuration.iter().flat_map(|one| {
            let sides = view.sides().zip(&one.values);
            sides.map(|(side, set)| vec![one.key.clone(), side.title(), value(set)])
        });
        (vec!["key", "side", "value"], rows.collect())
    } else {
        let rows = view.configuration.iter().map(|one| {
            let mut cells = vec![one.key.clone()];
            cells.extend(one.values.iter().map(value));
            cells
        });
        (vec!["key", "baseline", "candidate"], rows.collect())
    };
    Some(Table { words: header.len(), header, rows, notes: Vec::new() })
}

/// The usual latencies side by side. Nothing here was tested, and so nothing is claimed.
pub(super) fn side_by_side(view: &ComparisonView) -> Table {
    const SHOWN: [Percentile; 4] =
        [Percentile::P50, Percentile::P90, Percentile::P99, Percentile::P99_9];
    let first = |side: &ComparedSide| side.runs.first().map(|run| run.result.clone());
    let Some(baseline) = first(&view.baseline) else { return Table::default() };
    let metrics: Vec<Metric> = figures::usual(&baseline.overall).collect();
    let mut rows = Vec::new();
    for metric in metrics {
        for side in view.sides() {
            for run in &side.runs {
                let Some(summary) = run.result.overall.metrics.get(&metric) else { continue };
                let mut cells = vec![metric.name().to_owned(), run.result.facts.id.clone()];
                cells.extend(SHOWN.map(|percentile| {
                    let value = summary.percentile(percentile);
                    or_absent(value, |us| milliseconds(us as f64))
                }));
                cells.push(or_absent(summary.mean, milliseconds));
                let is_told = summary.count > 0 || summary.null_reason.is_some();
                cells.push(if is_told { thousands(summary.count) } else { ABSENT.to_owned() });
                rows.push(cells);
            }
        }
    }
    let header = vec!["metric, ms", "run", "p50", "p90", "p99", "p99.9", "mean", "samples"];
    let notes = vec!["Not tested: what differs here may be chance.".to_owned()];
    Table { header, rows, words: 2, notes }
}
