//! The run as an HDR interval log: one line for each metric and stretch, which any HdrHistogram tool reads.
//!
//! The lines hold the histograms themselves, so that whoever reads them can merge, cut and ask for any percentile, as our
//! own comparison does. All workers, stages and classes are merged; where a stage begins and ends stands in a comment.
//! Format: HdrHistogram's `HistogramLogWriter`, version 1.3, payload V2 + DEFLATE.

use std::io::{self, Write};
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use metrics::{Distribution, Interval, Metric};

use crate::stored::StoredRun;
use crate::summary_json::iso_8601;

/// What the log's column of maxima is divided by: microseconds become seconds.
const MAX_VALUE_DIVISOR: f64 = 1e6;

/// Writes a run's stretches as they come; one is held at a time.
///
/// # Errors
/// Those of `stretches` and of `to`.
pub fn hdr_log(
    run: &StoredRun,
    stretches: impl IntoIterator<Item = io::Result<(Range<u32>, Interval)>>,
    to: &mut dyn Write,
) -> io::Result<()> {
    head(run, to)?;
    for stretch in stretches {
        let (seconds, merged) = stretch?;
        let record = merged.total().map_err(io::Error::other)?;
        for (metric, samples) in record.recorded() {
            line(&seconds, metric, samples, to)?;
        }
    }
    Ok(())
}

/// Comments begin with `#`; three of them mean something to readers.
fn head(run: &StoredRun, to: &mut dyn Write) -> io::Result<()> {
    let facts = &run.result.facts;
    let began = facts.started_at_unix_ns as f64 / 1e9;
    let date = iso_8601(facts.started_at_unix_ns).unwrap_or_default();
    writeln!(to, "#[Histogram log format version 1.3]")?;
    writeln!(to, "#[StartTime: {began:.3} (seconds since epoch), {date}]")?;
    writeln!(to, "#[BaseTime: {began:.3} (seconds since epoch)]")?;
    writeln!(to, "#[MaxValueDivisor: {MAX_VALUE_DIVISOR:.3}]")?;
    writeln!(to, "#tokenstorm {}, run {}", facts.tokenstorm_version, printable(&facts.id))?;
    writeln!(
        to,
        "#values: latencies in us, token counts in tokens, rates in thousandths per second"
    )?;
    for stage in &run.result.stages {
        let (from, until) = (stage.window.start.as_secs_f64(), stage.window.end.as_secs_f64());
        writeln!(to, "#stage {}: {from:.3} to {until:.3} s", printable(&stage.name))?;
    }
    writeln!(
        to,
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    )
}

/// A name of the configuration stays on its line.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn line(
    seconds: &Range<u32>,
    metric: Metric,
    samples: &Distribution,
    to: &mut dyn Write,
) -> io::Result<()> {
    let max = samples.max().unwrap_or_default() as f64 / MAX_VALUE_DIVISOR;
    let histogram = STANDARD.encode(samples.encode().histogram);
    let (start, length) = (seconds.start, seconds.end - seconds.start);
    writeln!(to, "Tag={},{start}.000,{length}.000,{max:.3},{histogram}", metric.name())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use metrics::{Scope, ScopeRecord};

    use super::*;
    use crate::terminal::example;

    fn stretch(second: u32, values: &[u64]) -> (Range<u32>, Interval) {
        let mut interval = Interval::default();
        for (class, metric) in [(0, Metric::Ttft), (1, Metric::Ttft), (0, Metric::OutputRate)] {
            let record: &mut ScopeRecord =
                interval.scopes.entry(Scope { stage: 0, class }).or_default();
            let fresh = || Distribution::new(metric.kind());
            let samples = record.distributions.entry(metric).or_insert_with(fresh);
            values.iter().for_each(|value| samples.record(*value));
        }
        (second..second + 1, interval)
    }

    fn written(stretches: &[(Range<u32>, Interval)]) -> String {
        let run = StoredRun::of(std::path::Path::new("/x"), example::troubled(), Vec::new());
        let mut text = Vec::new();
        hdr_log(&run, stretches.iter().cloned().map(Ok), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_library_reads_back_each_stretch_by_its_tag() {
        let text = written(&[stretch(0, &[50_000, 60_000]), stretch(1, &[70_000])]);
        assert!(text.starts_with("#[Histogram log format version 1.3]\n"), "{text}");
        assert!(text.contains("#stage low: 2.000 to 6.000 s\n"), "{text}");
        let mut read: BTreeMap<String, Vec<(u64, u64, u64)>> = BTreeMap::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            let median = histogram.value_at_quantile(0.5);
            let start = interval.start_timestamp().as_secs();
            let tag = interval.tag().unwrap().as_str().to_owned();
            read.entry(tag).or_default().push((start, histogram.len(), median));
        }
        // Both classes are in it; buckets are 0.1 % wide.
        assert_eq!(read["ttft"], [(0, 4, 50_015), (1, 2, 70_015)]);
        assert_eq!(read["output_rate"].len(), 2);
    }

    #[test]
    fn a_name_with_a_line_end_stays_a_comment() {
        let mut result = example::one_stage();
        result.stages[0].name = "a\nTag=x".to_owned();
        let run = StoredRun::of(std::path::Path::new("/x"), result, Vec::new());
        let mut text = Vec::new();
        hdr_log(&run, [], &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.lines().all(|line| line.starts_with(['#', '"'])), "{text}");
    }

    #[test]
    fn a_stretch_that_cannot_be_read_ends_the_log_with_its_error() {
        let run = StoredRun::of(std::path::Path::new("/x"), example::one_stage(), Vec::new());
        let broken = [Ok(stretch(0, &[5])), Err(io::Error::other("torn"))];
        let error = hdr_log(&run, broken, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "torn");
    }
}
