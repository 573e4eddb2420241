//! Reads schedules and traces, and says of each line why it cannot be used.

use std::fs::File;
use std::io::BufRead;
use std::path::Path;
use std::str::FromStr;

use metrics::Warning;
use serde::Deserialize;

use super::listed::{Rows, ScheduleFormat, ScheduleProblem};

/// Lines that are told of, before their number alone is.
const MOST_TOLD: usize = 10;
/// More tokens than this in one request are a mistake.
const MOST_TOKENS: u64 = 10_000_000;
/// Later than this, a year, is one as well.
const LATEST_S: f64 = 366.0 * 86_400.0;

/// Reads a file of rows.
pub(super) fn read(
    path: &Path,
    bytes: &[u8],
    format: ScheduleFormat,
    time_scale: f64,
) -> Result<(Rows, Vec<Warning>), Vec<ScheduleProblem>> {
    let whole = |what: String| vec![ScheduleProblem { path: path.to_owned(), line: None, what }];
    let mut reader = Reader { format, time_scale, ..Reader::default() };
    let read = match format {
        ScheduleFormat::Mooncake => reader.json_lines(bytes),
        _ => reader.csv(bytes),
    };
    read.map_err(whole)?;
    reader.finish(path)
}

/// The format of a file, by its name and its first line.
pub(crate) fn detect(path: &Path) -> Result<ScheduleFormat, ScheduleProblem> {
    let whole = |what: String| ScheduleProblem { path: path.to_owned(), line: None, what };
    if path.extension().is_some_and(|ending| ending == "jsonl") {
        return Ok(ScheduleFormat::Mooncake);
    }
    let file = File::open(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
    let mut header = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let header = header.headers().map_err(|error| whole(format!("is no CSV: {error}")))?;
    let of = |format: &ScheduleFormat| columns(*format).0;
    let all = [ScheduleFormat::Csv, ScheduleFormat::Azure, ScheduleFormat::BurstGpt];
    let has = |name: &str| header.iter().any(|column| column.trim() == name);
    // Azure's and BurstGPT's columns of time differ by case alone; that of tokens tells them apart.
    let known = all.into_iter().find(|format| {
        has(of(format)) && (*format == ScheduleFormat::Csv || has(columns(*format).1))
    });
    known.ok_or_else(|| {
        whole("its first line has the columns of no known schedule: give `scheduled_offset_s,input_tokens,output_tokens`, or set `load.scheduleFormat`".to_owned())
    })
}

/// The names of the columns: time, input, output.
fn columns(format: ScheduleFormat) -> (&'static str, &'static str, &'static str) {
    match format {
        ScheduleFormat::Csv => ("scheduled_offset_s", "input_tokens", "output_tokens"),
        ScheduleFormat::Azure => ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
        ScheduleFormat::BurstGpt => ("Timestamp", "Request tokens", "Response tokens"),
        ScheduleFormat::Mooncake => ("timestamp", "input_length", "output_length"),
    }
}

/// A line of a Mooncake trace.
#[derive(Deserialize)]
struct MooncakeLine {
    timestamp: f64,
    input_length: u64,
    output_length: u64,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

/// A row as it was written.
struct Row<'a> {
    at_s: f64,
    input: Option<u64>,
    output: Option<u64>,
    blocks: &'a [u64],
}

struct Reader {
    format: ScheduleFormat,
    time_scale: f64,
    rows: Rows,
    problems: Vec<(u64, String)>,
    more_problems: u64,
    /// The first row's instant, from which a trace's are counted.
    first_s: Option<f64>,
    last_s: f64,
    unanswered: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            format: ScheduleFormat::Csv,
            time_scale: 1.0,
            rows: Rows::default(),
            problems: Vec::new(),
            more_problems: 0,
            first_s: None,
            last_s: f64::NEG_INFINITY,
            unanswered: 0,
        }
    }
}

impl Reader {
    fn csv(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut csv =
            csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bytes);
        let header = csv.headers().map_err(|error| format!("is no CSV: {error}"))?.clone();
        let column = |name: &str| header.iter().position(|column| column == name);
        let (time, input, output) = columns(self.format);
        let Some(at) = column(time) else {
            return Err(format!("has no column `{time}` in its first line"));
        };
        let (in_at, out_at) = (column(input), column(output));
        let mut record = csv::StringRecord::new();
        loop {
            let line = csv.position().line();
            match csv.read_record(&mut record) {
                Ok(false) => return Ok(()),
                Err(error) => {
                    self.refuse(line, error.to_string());
                    continue;
                }
                Ok(true) => {}
            }
            let line = record.position().map_or(line, csv::Position::line);
            let number = |place: Option<usize>, name: &str| match place.map(|at| record.get(at)) {
                None => Ok(None),
                Some(Some(text)) if !text.is_empty() => tokens(text)
                    .map(Some)
                    .map_err(|_| format!("`{name}` is {text:?}: give a whole number of tokens")),
                Some(_) => Err(format!("`{name}` is missing")),
            };
            let row = instant(self.format, record.get(at), time)
                .and_then(|at_s| Ok((at_s, number(in_at, input)?, number(out_at, output)?)));
            match row {
                Ok((at_s, input, output)) => {
                    self.take(line, &Row { at_s, input, output, blocks: &[] });
                }
                Err(what) => self.refuse(line, what),
            }
        }
    }

    fn json_lines(&mut self, lines: impl BufRead) -> Result<(), String> {
        for (number, line) in (1..).zip(lines.lines()) {
            let line = line.map_err(|error| format!("cannot be read: {error}"))?;
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str::<MooncakeLine>(&line) {
                Ok(row) => self.take(
                    number,
                    &Row {
                        at_s: row.timestamp / 1_000.0,
                        input: Some(row.input_length),
                        output: Some(row.output_length),
                        blocks: &row.hash_ids,
                    },
                ),
                Err(error) => {
                    let words = error.to_string();
                    let what = words.split(" at line ").next().unwrap_or(&words);
                    let row = "`{\"timestamp\": ms, \"input_length\": n, \"output_length\": n}`";
                    self.refuse(number, format!("is not a row such as {row}: {what}"));
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, what: String) {
        if self.problems.len() < MOST_TOLD {
            self.problems.push((line, what));
        } else {
            self.more_problems += 1;
        }
    }

    fn take(&mut self, line: u64, row: &Row<'_>) {
        // In traces of real services, requests that failed have no tokens.
        if self.format != ScheduleFormat::Csv && row.output == Some(0) {
            self.unanswered += 1;
            return;
        }
        if let Err(what) = self.accept(row) {
            self.refuse(line, what);
        }
    }

    fn accept(&mut self, row: &Row<'_>) -> Result<(), String> {
        let (time, input, output) = columns(self.format);
        if row.at_s < self.last_s {
            let (at, last) = (row.at_s, self.last_s);
            return Err(format!(
                "`{time}` is {at} s, before the row above ({last} s): sort the rows by time"
            ));
        }
        let started_s = match self.format {
            ScheduleFormat::Csv => 0.0,
            _ => *self.first_s.get_or_insert(row.at_s),
        };
        let offset_s = (row.at_s - started_s) * self.time_scale;
        if !(0.0..=LATEST_S).contains(&offset_s) {
            return Err(format!(
                "`{time}` makes the request due {offset_s} s after the start: give 0 to {LATEST_S} s"
            ));
        }
        let input = bounded(row.input, input)?;
        let output = bounded(row.output, output)?;
        self.last_s = row.at_s;
        self.rows.due_ns.push((offset_s * 1e9).round() as u64);
        self.rows.input_tokens.push(input);
        self.rows.output_tokens.push(output);
        if self.format == ScheduleFormat::Mooncake {
            self.rows.blocks.extend_from_slice(row.blocks);
            self.rows.block_ends.push(self.rows.blocks.len() as u64);
        }
        Ok(())
    }

    fn finish(self, path: &Path) -> Result<(Rows, Vec<Warning>), Vec<ScheduleProblem>> {
        let problem = |line, what| ScheduleProblem { path: path.to_owned(), line, what };
        let mut problems: Vec<_> =
            self.problems.into_iter().map(|(line, what)| problem(Some(line), what)).collect();
        if self.more_problems > 0 {
            problems
                .push(problem(None, format!("{} more lines cannot be used", self.more_problems)));
        }
        if problems.is_empty() && self.rows.is_empty() {
            problems.push(problem(None, "has no rows".to_owned()));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let left_out = (self.unanswered > 0).then(|| {
            let message = format!(
                "{} rows of {} have no output tokens, as requests that failed have: they are left out",
                self.unanswered,
                path.display()
            );
            Warning::new("schedule_rows_skipped", message)
        });
        Ok((self.rows, left_out.into_iter().collect()))
    }
}

/// 0 where the file does not tell.
fn bounded(tokens: Option<u64>, name: &str) -> Result<u32, String> {
    let Some(tokens) = tokens else { return Ok(0) };
    let allowed = (1..=MOST_TOKENS).contains(&tokens).then(|| u32::try_from(tokens).ok()).flatten();
    allowed.ok_or_else(|| format!("`{name}` is {tokens}: give 1 to {MOST_TOKENS} tokens"))
}

/// Whole numbers, also where they are written as `12.0`.
fn tokens(text: &str) -> Result<u64, ()> {
    text.parse().or_else(|_| {
        let number: f64 = text.parse().map_err(|_| ())?;
        let is_whole = number.fract() == 0.0 && (0.0..9e15).contains(&number);
        if is_whole { Ok(number as u64) } else { Err(()) }
    })
}

/// Seconds: since whenever the format counts from.
fn instant(format: ScheduleFormat, text: Option<&str>, name: &str) -> Result<f64, String> {
    let text =
        text.filter(|text| !text.is_empty()).ok_or_else(|| format!("`{name}` is missing"))?;
    if format == ScheduleFormat::Azure {
        let seconds = date_and_time(text);
        return seconds.ok_or_else(|| format!("`{name}` is {text:?}: give a date and time"));
    }
    let seconds = f64::from_str(text).ok().filter(|seconds| seconds.is_finite());
    seconds.ok_or_else(|| format!("`{name}` is {text:?}: give seconds"))
}

/// Of the trace of 2023 without, of that of 2024 with an offset from UTC.
fn date_and_time(text: &str) -> Option<f64> {
    let zoned = jiff::Timestamp::from_str(text).ok();
    let nanoseconds = match zoned {
        Some(timestamp) => timestamp.as_nanosecond(),
        None => {
            let civil = jiff::civil::DateTime::from_str(text).ok()?;
            civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_nanosecond()
        }
    };
    // A double of seconds since 1970 resolves a quarter of a microsecond.
    Some(nanoseconds as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn rows(name: &str, text: &str, scale: f64) -> (Rows, Vec<Warning>) {
        let (_held, path) = written(name, text);
        read(&path, text.as_bytes(), detect(&path).unwrap(), scale).unwrap()
    }

    fn refused(name: &str, text: &str) -> Vec<String> {
        let (_held, path) = written(name, text);
        let folder = format!("{}/", path.parent().unwrap().display());
        let problems = match detect(&path) {
            Ok(format) => read(&path, text.as_bytes(), format, 1.0).unwrap_err(),
            Err(problem) => vec![problem],
        };
        problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    fn seconds(rows: &Rows) -> Vec<f64> {
        rows.due_ns.iter().map(|due| Duration::from_nanos(*due).as_secs_f64()).collect()
    }

    #[test]
    fn our_own_csv_counts_from_the_start() {
        let text = "scheduled_offset_s,input_tokens,output_tokens\n0.5,10,20\n0.5,11,21\n2,12,22\n";
        let (found, warnings) = rows("s.csv", text, 2.0);
        assert_eq!((seconds(&found), warnings), (vec![1.0, 1.0, 4.0], Vec::new()));
        assert_eq!(
            (found.input_tokens(1), found.output_tokens(2), found.input_tokens(3)),
            (Some(11), Some(22), None)
        );
        let (times, _) = rows("t.csv", "scheduled_offset_s\n0\n1\n", 1.0);
        assert_eq!((times.len(), times.input_tokens(0), times.tell_lengths()), (2, None, false));
    }

    #[test]
    fn traces_count_from_their_first_row() {
        let mooncake = "{\"timestamp\": 27000, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [0, 1]}\n\
                        {\"timestamp\": 30000, \"input_length\": 700, \"output_length\": 6, \"hash_ids\": [0, 7]}\n";
        let (found, _) = rows("m.jsonl", mooncake, 0.5);
        assert_eq!(seconds(&found), [0.0, 1.5]);
        assert_eq!(
            (found.blocks(0), found.blocks(1), found.blocks(2)),
            (&[0, 1][..], &[0, 7][..], &[][..])
        );
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n";
        let (found, _) = rows("a.csv", azure, 1.0);
        assert!((seconds(&found)[1] - 4.314_579).abs() < 1e-6, "{found:?}");
        assert_eq!(found.input_tokens(1), Some(396));
        let later = azure.replace(".6805900", ".680590+00:00").replace(".9951690", ".995169+00:00");
        assert!((seconds(&rows("b.csv", &later, 1.0).0)[1] - 4.314_579).abs() < 1e-6);
        let burst = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                     5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,Conversation log\n118,GPT-4,417,276,693,API log\n";
        let (found, warnings) = rows("g.csv", burst, 1.0);
        assert_eq!((seconds(&found), found.output_tokens(1)), (vec![0.0, 113.0], Some(276)));
        assert!(warnings[0].message.starts_with("1 rows of"));
    }

    #[test]
    fn every_line_that_cannot_be_used_is_told_of_together() {
        let text = "scheduled_offset_s,input_tokens,output_tokens\n1,5,5\nsoon,5,5\n0.5,5,5\n2,0,5\n-1,5,5\n3,5\n4,5,x\n5,5,5\n";
        let lines = refused("s.csv", text);
        assert_eq!(
            lines,
            [
                "s.csv:3: `scheduled_offset_s` is \"soon\": give seconds",
                "s.csv:4: `scheduled_offset_s` is 0.5 s, before the row above (1 s): sort the rows by time",
                "s.csv:5: `input_tokens` is 0: give 1 to 10000000 tokens",
                "s.csv:6: `scheduled_offset_s` is -1 s, before the row above (1 s): sort the rows by time",
                "s.csv:7: `output_tokens` is missing",
                "s.csv:8: `output_tokens` is \"x\": give a whole number of tokens",
            ]
        );
        let broken = "scheduled_offset_s\n".to_owned() + &"x\n".repeat(25);
        let lines = refused("s.csv", &broken);
        assert_eq!((lines.len(), lines[10].as_str()), (11, "s.csv: 15 more lines cannot be used"));
        assert_eq!(refused("s.csv", "scheduled_offset_s\n"), ["s.csv: has no rows"]);
        assert!(refused("s.csv", "time\n1\n")[0].contains("no known schedule"));
        let lines = refused("m.jsonl", "{\"timestamp\": 0, \"input_length\": 1}\nnothing\n");
        assert!(lines[0].ends_with("n}`: missing field `output_length`"), "{lines:?}");
        assert!(lines[1].starts_with("m.jsonl:2: is not a row such as"), "{lines:?}");
    }
}
