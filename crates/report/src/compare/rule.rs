//! A rule that a comparison must keep, as a pipeline writes it: `ttft.p99 > +5%`.
//!
//! It names what must *not* be. With a sign the limit is one of the change (`+5%` of the baseline, `+20ms`, `-3/s`),
//! without one it is of the candidate's own figure (`200ms`). A rule is broken only where the figure is beyond the limit
//! *and* differs from the baseline's beyond chance; what cannot be decided breaks no rule, and is said.

use metrics::{Bound, Compared, Difference, Figure, Kind, Metric, RateFigure, Statistic};

/// Below this similarity (of 1) a suggested name would puzzle more than help.
const SIMILAR: f64 = 0.6;

/// On which side of the limit the figure must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    Above,
    Below,
}

/// What is held against what.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    /// Candidate / baseline − 1.
    Relative(f64),
    /// Candidate − baseline, in the figure's unit.
    Change(f64),
    /// The candidate's figure, in its unit.
    Figure(f64),
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// As it was written.
    pub text: String,
    /// What it is about.
    pub figure: Figure,
    beyond: Beyond,
    limit: Limit,
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOutcome {
    /// The figure is within the limit.
    Kept,
    /// It is beyond the limit, and the difference is real.
    Broken,
    /// It is beyond the limit, but the difference may be chance.
    MayBeChance,
    /// There is no figure, or nothing to tell chance by.
    Undecided,
}

/// A rule that cannot be read: one line with what would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no rule: {problem}")]
pub struct RuleError {
    text: String,
    problem: String,
}

/// A figure by its name: `ttft.p99`, `throughput`.
///
/// # Errors
/// A line that says which names there are.
pub fn figure_named(name: &str) -> Result<Figure, String> {
    let (metric, statistic) = name
        .split_once(['.', ' '])
        .map_or((name, None), |(metric, rest)| (metric, Some(rest.trim())));
    let figure = match (metric_named(metric), rate_named(metric), statistic) {
        (None, Some(rate), None) => Figure::Rate(rate),
        (None, Some(_), Some(_)) => {
            return Err(format!("`{metric}` has no statistic: write `{metric}`"));
        }
        (Some(_), _, None) => {
            return Err(format!("`{metric}` needs a statistic, such as `{metric}.p99`"));
        }
        (Some(metric), _, Some(statistic)) => Figure::Of(metric, statistic_named(statistic)?),
        (None, None, _) => return Err(unknown(metric)),
    };
    if metrics::is_comparable(figure) {
        return Ok(figure);
    }
    Err(format!("how much `{name}` varies is not known: use a percentile, `mean` or a rate"))
}

fn metric_named(name: &str) -> Option<Metric> {
    Metric::from_name(if name == "e2e" { "e2e_latency" } else { name })
}

fn rate_named(name: &str) -> Option<RateFigure> {
    RateFigure::from_name(if name == "errors" { "error_rate" } else { name })
}

fn statistic_named(name: &str) -> Result<Statistic, String> {
    let problem = || format!("`{name}` is no statistic: p50, p90, p99, p99.9, mean");
    Statistic::from_name(name).ok_or_else(problem)
}

fn unknown(name: &str) -> String {
    let names = Metric::ALL.into_iter().map(Metric::name);
    let names = names.chain(RateFigure::all().map(RateFigure::name));
    let near = names.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    let near = near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness >= SIMILAR);
    match near {
        Some((_, known)) => format!("there is no figure `{name}`; is `{known}` meant?"),
        None => format!(
            "there is no figure `{name}`: such as ttft.p99, itl.p99, throughput, error_rate"
        ),
    }
}

impl Rule {
    /// Reads `FIGURE > LIMIT` or `FIGURE < LIMIT`.
    ///
    /// # Errors
    /// What is wrong, with what would do.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let refused = |problem| RuleError { text: text.trim().to_owned(), problem };
        let place = text.find(['<', '>']).ok_or_else(|| {
            refused("it has no `>` or `<`; write it like `ttft.p99 > +5%`".to_owned())
        })?;
        let (name, rest) = text.split_at(place);
        let beyond = if rest.starts_with('>') { Beyond::Above } else { Beyond::Below };
        let written = rest[1..].trim();
        if written.starts_with('=') {
            return Err(refused("write `>` or `<`: the limit itself is within".to_owned()));
        }
        let figure = figure_named(name.trim()).map_err(refused)?;
        let limit = limit(written, figure).map_err(refused)?;
        Ok(Self { text: text.trim().to_owned(), figure, beyond, limit })
    }

    /// What a comparison of its figure says of it.
    pub fn outcome(&self, compared: &Compared) -> RuleOutcome {
        let values = compared.baseline.as_ref().ok().zip(compared.candidate.as_ref().ok());
        let (Some((&baseline, &candidate)), Ok(difference)) = (values, &compared.difference) else {
            return RuleOutcome::Undecided;
        };
        if !self.is_beyond(baseline, candidate, difference) {
            RuleOutcome::Kept
        } else if difference.is_real {
            RuleOutcome::Broken
        } else {
            RuleOutcome::MayBeChance
        }
    }

    fn is_beyond(&self, baseline: f64, candidate: f64, difference: &Difference) -> bool {
        let (figure, limit) = match self.limit {
            // From nothing, anything is a rise without measure.
            Limit::Relative(limit) => {
                let ratio = if baseline == candidate { 1.0 } else { candidate / baseline };
                (difference.relative.unwrap_or(ratio - 1.0), limit)
            }
            Limit::Change(limit) => (difference.absolute, limit),
            Limit::Figure(limit) => (candidate, limit),
        };
        match self.beyond {
            Beyond::Above => figure > limit,
            Beyond::Below => figure < limit,
        }
    }
}

fn limit(written: &str, figure: Figure) -> Result<Limit, String> {
    let is_change = written.starts_with(['+', '-']);
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-');
    let end = written.find(|c| !digits(c)).unwrap_or(written.len());
    let (number, unit) = (&written[..end], written[end..].trim());
    let number: f64 = number.parse().map_err(|_| {
        let example = example(figure);
        format!("`{written}` is no limit; write it like `{example}`")
    })?;
    let is_share = matches!(figure, Figure::Rate(rate) if rate.is_share());
    if unit == "%" && !is_share {
        return match is_change {
            true => Ok(Limit::Relative(number / 100.0)),
            false => {
                Err(format!("write `+{written}` or `-{written}` for a change of the baseline's"))
            }
        };
    }
    if unit == "%" && is_change {
        return Err(format!(
            "{figure} is a share: write `{}pp` for a change in percentage points, or `{}%` for the share itself",
            &written[..end],
            number.abs()
        ));
    }
    let scaled = number * scale(unit, figure)?;
    Ok(if is_change { Limit::Change(scaled) } else { Limit::Figure(scaled) })
}

/// How many of the figure's own unit one of the written unit is.
fn scale(unit: &str, figure: Figure) -> Result<f64, String> {
    let is_latency = matches!(figure, Figure::Of(metric, _) if metric.kind() == Kind::Latency);
    let is_share = matches!(figure, Figure::Rate(rate) if rate.is_share());
    let known = match unit {
        "us" | "µs" if is_latency => Some(1.0),
        "ms" if is_latency => Some(1e3),
        "s" if is_latency => Some(1e6),
        "%" | "pp" if is_share => Some(0.01),
        "" if !is_latency => Some(1.0),
        "/s" if figure.unit() == "per_s" => Some(1.0),
        _ => None,
    };
    known.ok_or_else(|| {
        let example = example(figure);
        if unit.is_empty() {
            format!("the limit of {figure} needs a unit, like `{example}`")
        } else {
            format!("`{unit}` is no unit of {figure}; write it like `{example}`")
        }
    })
}

/// A limit that would do.
fn example(figure: Figure) -> &'static str {
    match (figure, figure.bound()) {
        (Figure::Rate(rate), _) if rate.is_share() => "> 1%",
        (_, Bound::AtLeast) => "< -5%",
        (Figure::Of(metric, _), Bound::AtMost) if metric.kind() == Kind::Latency => {
            "> +5%` or `> 200ms"
        }
        (_, Bound::AtMost) => "> +5%",
    }
}

#[cfg(test)]
mod tests {
    use metrics::{Basis, NullReason, Undecided};

    use super::*;

    fn compared(baseline: f64, candidate: f64, is_real: bool) -> Compared {
        let relative = candidate / baseline - 1.0;
        let difference = Difference {
            absolute: candidate - baseline,
            absolute_ci95: [0.0; 2],
            relative: Some(relative),
            relative_ci95: Some([0.0; 2]),
            p: 0.5,
            p_holm: 0.5,
            is_real,
            basis: Basis::Runs { baseline: 3, candidate: 3 },
        };
        Compared {
            figure: Figure::Of(Metric::Ttft, Statistic::Percentile(9_900)),
            baseline: Ok(baseline),
            candidate: Ok(candidate),
            difference: Ok(difference),
        }
    }

    fn outcome(rule: &str, baseline: f64, candidate: f64) -> RuleOutcome {
        Rule::parse(rule).unwrap().outcome(&compared(baseline, candidate, true))
    }

    #[test]
    fn limits_of_the_change_and_of_the_figure() {
        use RuleOutcome::{Broken, Kept};
        // 100 ms before, 106 ms now.
        for (rule, wanted) in [
            ("ttft.p99 > +5%", Broken),
            ("ttft.p99>+7%", Kept),
            ("ttft p99 > +5ms", Broken),
            ("ttft.p99 > +6.5ms", Kept),
            ("ttft.p99 > 105ms", Broken),
            ("ttft.p99 > 0.2s", Kept),
            ("ttft.p99 < -1%", Kept),
            ("ttft.p99 < 107000us", Broken),
        ] {
            assert_eq!(outcome(rule, 100_000.0, 106_000.0), wanted, "{rule}");
        }
        assert_eq!(outcome("throughput < -5%", 30.0, 28.0), Broken);
        assert_eq!(outcome("throughput < 27/s", 30.0, 28.0), Kept);
        assert_eq!(outcome("error_rate > +1pp", 0.01, 0.03), Broken);
        assert_eq!(outcome("errors > 5%", 0.01, 0.03), Kept);
        assert_eq!(outcome("output_tokens.mean < -10", 200.0, 180.0), Broken);
    }

    #[test]
    fn chance_breaks_no_rule_and_neither_does_what_is_unknown() {
        let rule = Rule::parse("ttft.p99 > +5%").unwrap();
        let by_chance = compared(100.0, 120.0, false);
        assert_eq!(rule.outcome(&by_chance), RuleOutcome::MayBeChance);
        let difference = Err(Undecided::FewBeyond);
        let short = Compared { difference, ..compared(100.0, 120.0, true) };
        assert_eq!(rule.outcome(&short), RuleOutcome::Undecided);
        let absent = Compared { baseline: Err(NullReason::FewSamples), ..short };
        assert_eq!(rule.outcome(&absent), RuleOutcome::Undecided);
    }

    #[test]
    fn a_bad_rule_is_one_line_with_what_would_do() {
        for (rule, expected) in [
            ("ttft.p99", "it has no `>` or `<`; write it like `ttft.p99 > +5%`"),
            ("tftt.p99 > +5%", "there is no figure `tftt`; is `ttft` meant?"),
            ("ttft > +5%", "`ttft` needs a statistic, such as `ttft.p99`"),
            ("ttft.p100 > +5%", "`p100` is no statistic: p50, p90, p99, p99.9, mean"),
            ("ttft.p99 > 5%", "write `+5%` or `-5%` for a change of the baseline's"),
            ("ttft.p99 > 200", "the limit of ttft p99 needs a unit, like `> +5%` or `> 200ms`"),
            (
                "ttft.p99 > 3 apples",
                "`apples` is no unit of ttft p99; write it like `> +5%` or `> 200ms`",
            ),
            ("throughput < many", "`many` is no limit; write it like `< -5%`"),
            ("throughput.p50 < -5%", "`throughput` has no statistic: write `throughput`"),
            (
                "error_rate > +1%",
                "error_rate is a share: write `+1pp` for a change in percentage points, or `1%` for the share itself",
            ),
            (
                "ttft.max > +5%",
                "how much `ttft.max` varies is not known: use a percentile, `mean` or a rate",
            ),
            ("ttft.p99 >= +5%", "write `>` or `<`: the limit itself is within"),
        ] {
            let error = Rule::parse(rule).unwrap_err().to_string();
            assert_eq!(error, format!("`{rule}` is no rule: {expected}"));
        }
    }
}
