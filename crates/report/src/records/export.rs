//! llmperf's lists of single requests, made from the records line by line.
//!
//! `individual_responses.json` has an entry for each request that was answered or failed, `requests_sent.log` a line for
//! each that was sent; of the stages of the headline, as the summary beside them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use metrics::{FailureClass, RecordLine, RunResult};
use serde_json::{Value, json};

use super::each_record;

/// What has no HTTP status stands under this code.
const NO_STATUS: i32 = -1;

/// A file of another tool that is made from the records as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordsFile {
    /// Its name, as that tool calls it.
    pub name: String,
    records: PathBuf,
    list: List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Responses,
    Sent,
}

impl RecordsFile {
    /// `individual_responses.json`, under a name of the caller's.
    pub(crate) fn responses(records: &Path, name: String) -> Self {
        Self { name, records: records.to_owned(), list: List::Responses }
    }

    /// `requests_sent.log`, under a name of the caller's.
    pub(crate) fn sent(records: &Path, name: String) -> Self {
        Self { name, records: records.to_owned(), list: List::Sent }
    }

    /// Writes it as the records are read: nothing holds the whole of it.
    ///
    /// # Errors
    /// The records cannot be read, or the file not written.
    pub fn write(&self, result: &RunResult, out: &mut dyn Write) -> io::Result<()> {
        match self.list {
            List::Responses => self.write_responses(result, out),
            List::Sent => self.write_sent(result, out),
        }
    }

    fn write_responses(&self, result: &RunResult, out: &mut dyn Write) -> io::Result<()> {
        let mut before = "[\n";
        let _records = each_record(&self.records, |line| {
            let Some(response) = response(line).filter(|_| is_measured(line, result)) else {
                return Ok(());
            };
            write!(out, "{before}{response}")?;
            before = ",\n";
            Ok(())
        })?;
        let end = if before == "[\n" { "[]\n" } else { "\n]\n" };
        out.write_all(end.as_bytes())
    }

    fn write_sent(&self, result: &RunResult, out: &mut dyn Write) -> io::Result<()> {
        let start_ns = result.facts.started_at_unix_ns;
        let _records = each_record(&self.records, |line| match sent(line, start_ns) {
            Some(sent) if is_measured(line, result) => writeln!(out, "{sent}"),
            Some(_) | None => Ok(()),
        })?;
        Ok(())
    }
}

/// The stages of the headline alone are measured.
fn is_measured(line: &RecordLine<'_>, result: &RunResult) -> bool {
    result.stages.iter().any(|stage| stage.index == line.stage_index && stage.headline)
}

/// `None` of what was given up or never sent: that tool knows no such request.
fn response(line: &RecordLine<'_>) -> Option<Value> {
    let failed = line.outcome == "failed";
    if !failed && !line.is_completed() {
        return None;
    }
    let code = failed.then(|| {
        let class = line.reason.as_deref().and_then(FailureClass::from_name);
        match class {
            Some(FailureClass::Status(status)) => i32::from(status),
            _ => NO_STATUS,
        }
    });
    let seconds = |ns: Option<u64>| ns.filter(|_| !failed).map(|ns| ns as f64 / 1e9);
    let tokens = if line.events > 0 { line.streamed_tokens } else { line.output_tokens };
    let tokens = Some(tokens as f64).filter(|tokens| *tokens > 0.0);
    let e2e = seconds(line.e2e_ns());
    let total = line.input_tokens.map(|input| input + line.output_tokens);
    Some(json!({
        "error_code": code,
        "error_msg": line.reason.as_deref().unwrap_or_default(),
        "inter_token_latency_s": e2e.zip(tokens).map(|(e2e, tokens)| e2e / tokens),
        "ttft_s": seconds(line.ttft_ns()),
        "end_to_end_latency_s": e2e,
        "request_output_throughput_token_per_s":
            e2e.filter(|e2e| *e2e > 0.0).zip(tokens).map(|(e2e, tokens)| tokens / e2e),
        "number_total_tokens": total.filter(|_| !failed),
        "number_output_tokens": (!failed).then_some(line.output_tokens),
        "number_input_tokens": line.input_tokens.filter(|_| !failed),
    }))
}

fn sent(line: &RecordLine<'_>, start_ns: i64) -> Option<Value> {
    let sent_ns = line.sent_ns?;
    let seconds = |ns: u64| ns as f64 / 1e9;
    let utc = |ns: u64| {
        let at = i128::from(start_ns) + i128::from(ns);
        Timestamp::from_nanosecond(at).ok().map(|at| at.to_string())
    };
    Some(json!({
        "request_id": line.request,
        "scheduled_offset_s": seconds(line.scheduled_ns),
        "dispatch_offset_s": seconds(sent_ns),
        "dispatch_lag_s": seconds(sent_ns.saturating_sub(line.scheduled_ns)),
        "dispatch_ts_utc": utc(sent_ns),
        "response_offset_s": line.ended_ns.map(seconds),
        "response_ts_utc": line.ended_ns.and_then(utc),
    }))
}
