//! Files of records, written segment by segment and read again.

use std::borrow::Cow;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;

use super::*;
use crate::terminal::example;

fn line(request: u64) -> RecordLine<'static> {
    RecordLine {
        request,
        worker: 1,
        stage: Cow::Borrowed("hold"),
        outcome: Cow::Borrowed("completed"),
        status: Some(200),
        scheduled_ns: request * 1_000_000,
        permitted_ns: request * 1_000_000,
        sent_ns: Some(request * 1_000_000 + 50_000),
        first_token_ns: Some(request * 1_000_000 + 20_050_000),
        ended_ns: Some(request * 1_000_000 + 60_050_000),
        input_tokens: Some(11),
        output_tokens: 4,
        streamed_tokens: 4,
        first_event_tokens: 1,
        events: 4,
        icl_p50_us: Some(10_000),
        icl_max_us: Some(12_000),
        ..RecordLine::default()
    }
}

/// Refused with a status, or never sent.
fn unlucky(request: u64) -> RecordLine<'static> {
    let (outcome, reason) = match request % 2 {
        0 => ("failed", "status_503"),
        _ => ("notSent", "cap_dropped"),
    };
    RecordLine {
        outcome: Cow::Borrowed(outcome),
        reason: Some(Cow::Borrowed(reason)),
        sent_ns: (outcome == "failed").then_some(request * 1_000_000),
        first_token_ns: None,
        input_tokens: None,
        ..line(request)
    }
}

fn member(lines: &[RecordLine<'_>]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    for line in lines {
        serde_json::to_writer(&mut packed, line).unwrap();
        packed.write_all(b"\n").unwrap();
    }
    packed.finish().unwrap()
}

/// A run's directory with these records.
pub(crate) fn run_with(lines: &[RecordLine<'_>]) -> tempfile::TempDir {
    let run = tempfile::tempdir().unwrap();
    let mut files = RecordFiles::create(run.path(), Gaps::Listed).unwrap();
    for chunk in lines.chunks(1_000) {
        assert_eq!(files.take(&member(chunk)).unwrap(), chunk.len() as u64);
    }
    files.finish().unwrap();
    run
}

fn table(run: &Path) -> SerializedFileReader<File> {
    let path = run.join(RECORDS_FOLDER).join(TABLE_FILE);
    SerializedFileReader::new(File::open(path).unwrap()).unwrap()
}

#[test]
fn both_files_have_every_record_once() {
    let lines: Vec<_> =
        (0..40_000).map(|n| if n % 10 == 9 { unlucky(n) } else { line(n) }).collect();
    let run = run_with(&lines);
    let mut seen = 0;
    let count = each_record(&records_file(run.path()).unwrap(), |line| {
        assert_eq!(line, &lines[usize::try_from(line.request).unwrap()]);
        seen += line.request;
        Ok(())
    });
    assert_eq!((count.unwrap(), seen), (40_000, (0..40_000).sum::<u64>()));
    let table = table(run.path());
    assert!(table.metadata().num_row_groups() > 1, "one row group is no test");
    assert_eq!(table.metadata().file_metadata().num_rows(), 40_000);
    let sum: i64 =
        table.get_row_iter(None).unwrap().map(|row| row.unwrap().get_long(0).unwrap()).sum();
    assert_eq!(sum, (0..40_000).sum::<i64>());
}

#[test]
fn what_a_request_has_not_is_null_in_the_table_and_gaps_are_a_list() {
    let listed = RecordLine { icl_us: vec![9_000, 12_000, 10_000], ..line(0) };
    let run = run_with(&[listed, unlucky(1)]);
    let rows: Vec<String> =
        table(run.path()).get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    assert!(rows[0].contains("outcome: \"completed\", reason: null"), "{}", rows[0]);
    assert!(rows[0].contains("iclUs: [9000, 12000, 10000]"), "{}", rows[0]);
    assert!(rows[1].contains("sentNs: null") && rows[1].contains("\"cap_dropped\""), "{}", rows[1]);
    assert!(rows[1].ends_with("iclUs: null}"), "{}", rows[1]);
}

#[test]
fn files_are_there_whole_or_not_at_all() {
    let run = tempfile::tempdir().unwrap();
    let mut files = RecordFiles::create(run.path(), Gaps::Summed).unwrap();
    let taken = files.take(&member(&[line(1)]));
    assert_eq!(taken.unwrap(), 1);
    let broken = files.take(b"no gzip at all").unwrap_err();
    assert_eq!(broken.kind(), io::ErrorKind::InvalidData, "{broken}");
    drop(files);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
    assert_eq!(records_file(run.path()), None);
}

#[test]
fn a_run_without_any_record_has_empty_files_that_can_be_read() {
    let run = run_with(&[]);
    assert_eq!(each_record(&records_file(run.path()).unwrap(), |_| Ok(())).unwrap(), 0);
    assert_eq!(table(run.path()).metadata().file_metadata().num_rows(), 0);
}

#[test]
fn a_segment_that_unpacks_without_end_is_refused() {
    let run = tempfile::tempdir().unwrap();
    let mut files = RecordFiles::create(run.path(), Gaps::Summed).unwrap();
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![b' '; 1 << 20];
    (0..64).for_each(|_| bomb.write_all(&zeros).unwrap());
    assert!(files.take(&bomb.finish().unwrap()).is_err());
}

#[test]
fn llmperfs_lists_have_the_requests_of_the_headline() {
    let lines: Vec<_> = [line(0), unlucky(1), unlucky(2), line(3)]
        .into_iter()
        .chain([RecordLine { stage_index: 9, ..line(4) }])
        .collect();
    let run = run_with(&lines);
    let records = records_file(run.path()).unwrap();
    let result = example::one_stage();
    let written = |file: RecordsFile| {
        let mut out = Vec::new();
        file.write(&result, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let text = written(RecordsFile::responses(&records, "r.json".to_owned()));
    let responses: serde_json::Value = serde_json::from_str(&text).unwrap();
    let responses = responses.as_array().unwrap();
    assert_eq!(responses.len(), 3, "what was never sent, and the other stage, are not in it");
    // 60 ms over 4 tokens; the first token came 20 ms after it was sent.
    assert_eq!(responses[0]["inter_token_latency_s"], 0.015);
    assert_eq!((&responses[0]["ttft_s"], &responses[0]["error_code"]), (&0.02.into(), &().into()));
    assert_eq!(responses[0]["number_total_tokens"], 15);
    assert_eq!((&responses[1]["error_code"], &responses[1]["ttft_s"]), (&503.into(), &().into()));
    let keys: Vec<_> = responses[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        [
            "error_code",
            "error_msg",
            "inter_token_latency_s",
            "ttft_s",
            "end_to_end_latency_s",
            "request_output_throughput_token_per_s",
            "number_total_tokens",
            "number_output_tokens",
            "number_input_tokens"
        ]
    );
    let log = written(RecordsFile::sent(&records, "s.log".to_owned()));
    let sent: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        sent.iter().map(|s| s["request_id"].as_u64().unwrap()).collect::<Vec<_>>(),
        [0, 2, 3]
    );
    // The example's run began at 2024-02-29T12:34:56 UTC.
    assert_eq!(sent[0]["dispatch_ts_utc"], "2024-02-29T12:34:56.25005Z");
    assert_eq!(sent[0]["dispatch_lag_s"], 0.000_05);
}

#[test]
fn a_run_that_sent_nothing_has_an_empty_list() {
    let run = run_with(&[unlucky(1)]);
    let file = RecordsFile::responses(&records_file(run.path()).unwrap(), "r.json".to_owned());
    let mut out = Vec::new();
    file.write(&example::one_stage(), &mut out).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), serde_json::json!([]));
}
