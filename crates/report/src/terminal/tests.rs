use std::time::Duration;

use metrics::{FailureClass, FailureSample};

use super::*;

#[test]
fn a_run_without_trouble() {
    insta::assert_snapshot!(table(&example::one_stage(), 100), @r"
    demo: llama-70b at http://127.0.0.1:8000/v1/chat/completions
    measured 20 s (run time 0 s to 20 s) with 1 worker; tokens as the server counts them

    requests/s   offered         100   sent            100   completed      99.4
    tokens/s     output          797   input         1,600   total         2,397
    errors       0 %

     ms                 p50     p90     p95     p99   p99.9    mean     max   samples
    ──────────────────────────────────────────────────────────────────────────────────
     ttft              54.5    58.1    58.6    58.9    59.0    54.5    59.0     2,000
     ttft_scheduled    54.5    58.1    58.6    58.9    59.0    54.5    59.0     2,000
     itl               10.0    10.0    10.0    10.0    10.0    10.0    10.0    14,000
     tpot              10.0    10.0    10.0    10.0    10.0    10.0    10.0     2,000
     e2e_latency        124     128     129     129     129     124     129     2,000
     generator_lag    0.025   0.025   0.025   0.025   0.025   0.025   0.025     2,000

    requests     2,000 due = 2,000 completed

    verdict      VALID: nothing speaks against the figures
    ");
}

#[test]
fn a_run_with_every_trouble() {
    insta::assert_snapshot!(table(&example::troubled(), 110), @r"
    demo: llama-70b at http://127.0.0.1:8000/v1/chat/completions
    measured 8 s (run time 2 s to 10 s) with 1 worker; tokens as the server counts them

    requests/s   offered        58.8   sent           55.0   completed      53.6
    tokens/s     output          432   input           880   total         1,312
    errors       4.35 %

     ms                 p50     p90     p95    p99   p99.9    mean     max   samples
    ─────────────────────────────────────────────────────────────────────────────────
     ttft              54.7    58.4    58.8      ×       –    54.5    59.0       440
     ttft_scheduled    54.7    58.4    58.8      ×       –    54.6    59.0       440
     icl               10.0    10.0    10.0   10.0    10.0    10.0    10.0     3,080
     tpot              10.0    10.0    10.0      ×       –    10.0    10.0       440
     e2e_latency        125     128     129      ×       –     125     129       440
     generator_lag    0.025   0.025   0.025      ×       –   0.025   0.025       440
    – too few samples for this percentile
    × more requests were cancelled or timed out than lie above this percentile
    itl is absent: an event of this server is not one token; read icl and tpot

    requests     495 due = 460 completed + 20 failed (12 status_503, 8 timeout) + 4 cancelled + 6 not sent
                 (6 stage_ended) + 5 lost

     stage      seconds   due   offered/s   done/s   tokens/s   errors   ttft p50   ttft p99   e2e p50   e2e p99
    ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
     warmup *       0–2    20        10.0     9.50       78.5      0 %       54.2          –       124         –
     low            2–6    40        10.0     10.0       80.0      0 %       54.1          –       124         –
     high          6–10   435         108     97.2        784   4.76 %       54.7          –       125         –
    ttft and e2e in ms; * not in the figures above

    warning prompts_repeat: the data set was used up after 300 requests and began again: the server's prefix cache
      may answer the rest; use a larger one

    verdict      INVALID: do not use the figures
    - INVALID lost: the outcome of 5 requests died with their worker (3 in flight at its last snapshot, 2 due
      after it): 1.01 % of 495 due; the load was that much lower
    - SUSPECT capped: the cap on requests in flight held back 6 of 475 requests (1.26 %): the offered rate did not
      reach the server; raise load.concurrency, or read ttft_scheduled and e2e_scheduled, which count the wait
    - SUSPECT censored: 12 of 424 requests of stage high (2.83 %) were cancelled or timed out: how long they would
      have taken is unknown, and percentiles above p97.2 are null; lengthen benchmark.drain or the request
      timeout, or offer less load
    - remark chunks_are_not_tokens: itl is null: the server's usage and the number of events disagree in 10 of 450
      requests, so an event is not a token; use icl and tpot
    ");
}

#[test]
fn a_run_whose_requests_all_failed() {
    insta::assert_snapshot!(table(&example::all_failed(), 100), @r"
    demo: llama-70b at http://127.0.0.1:8000/v1/chat/completions
    measured 35 ms (run time 0 s to 35 ms) with 1 worker

    requests/s   offered         114   sent           0.00   completed      0.00
    tokens/s     output         0.00   input          0.00   total          0.00
    errors       100 %

    answers were not streamed: there are no single tokens to time

    requests     4 due = 0 completed + 4 failed (4 connect)

    verdict      INVALID: do not use the figures
    - INVALID nothing_answered: nothing was measured: none of 4 requests due in the measured window
      completed; lengthen the run or look at the endpoint
    ");
}

#[test]
fn a_run_that_ended_in_its_warm_up_has_measured_nothing() {
    let mut result = example::one_stage();
    let window = &mut result.overall;
    (window.start, window.end) = (Duration::from_secs(10), Duration::from_secs(10));
    window.measured = Duration::ZERO;
    let table = table_of(&result, 110, &Selection::default());
    let line = table.lines().nth(1).unwrap();
    assert!(
        line.starts_with("nothing measured (the measured window begins at run time 10 s) with"),
        "{line}"
    );
}

#[test]
fn only_the_rows_that_were_asked_for() {
    let selection = Selection::of(["ttft", "itl", "throughput", "errors"]);
    insta::assert_snapshot!(table_of(&example::troubled(), 110, &selection), @r"
    demo: llama-70b at http://127.0.0.1:8000/v1/chat/completions
    measured 8 s (run time 2 s to 10 s) with 1 worker; tokens as the server counts them

    requests/s   offered        58.8   sent           55.0   completed      53.6
    errors       4.35 %

     ms      p50    p90    p95    p99   p99.9   mean    max   samples
    ──────────────────────────────────────────────────────────────────
     ttft   54.7   58.4   58.8      ×       –   54.5   59.0       440
     icl    10.0   10.0   10.0   10.0    10.0   10.0   10.0     3,080
     itl       –      –      –      –       –      –      –         0
    – too few samples for this percentile
    × more requests were cancelled or timed out than lie above this percentile
    itl is absent: an event of this server is not one token; read icl and tpot

    requests     495 due = 460 completed + 20 failed (12 status_503, 8 timeout) + 4 cancelled + 6 not sent
                 (6 stage_ended) + 5 lost

     stage      seconds   due   offered/s   done/s   tokens/s   errors   ttft p50   ttft p99   e2e p50   e2e p99
    ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
     warmup *       0–2    20        10.0     9.50       78.5      0 %       54.2          –       124         –
     low            2–6    40        10.0     10.0       80.0      0 %       54.1          –       124         –
     high          6–10   435         108     97.2        784   4.76 %       54.7          –       125         –
    ttft and e2e in ms; * not in the figures above

    warning prompts_repeat: the data set was used up after 300 requests and began again: the server's prefix cache
      may answer the rest; use a larger one

    verdict      INVALID: do not use the figures
    - INVALID lost: the outcome of 5 requests died with their worker (3 in flight at its last snapshot, 2 due
      after it): 1.01 % of 495 due; the load was that much lower
    - SUSPECT capped: the cap on requests in flight held back 6 of 475 requests (1.26 %): the offered rate did not
      reach the server; raise load.concurrency, or read ttft_scheduled and e2e_scheduled, which count the wait
    - SUSPECT censored: 12 of 424 requests of stage high (2.83 %) were cancelled or timed out: how long they would
      have taken is unknown, and percentiles above p97.2 are null; lengthen benchmark.drain or the request
      timeout, or offer less load
    - remark chunks_are_not_tokens: itl is null: the server's usage and the number of events disagree in 10 of 450
      requests, so an event is not a token; use icl and tpot
    ");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [60, 72, 80, 100, 140] {
        for result in [example::one_stage(), example::troubled()] {
            for line in table(&result, width).lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
            }
        }
    }
}

#[test]
fn the_usual_table_breaks_nothing_at_eighty_columns() {
    let text = table(&example::one_stage(), 80);
    for row in ["ttft_scheduled", "e2e_latency", "generator_lag"] {
        let line = text.lines().find(|line| line.trim_start().starts_with(row));
        let cells = line.unwrap_or_else(|| panic!("{row} is broken: {text}")).split_whitespace();
        assert_eq!(cells.count(), 9, "{text}");
    }
    let text = table(&example::troubled(), 80);
    assert!(text.contains("warmup *") && text.contains(" 4.76 %"), "{text}");
    assert!(!text.contains("no room"), "{text}");
    assert!(table(&example::troubled(), 60).contains("no room here for e2e p50"));
}

#[test]
fn failures_are_told_once_a_class_in_printable_words() {
    let mut result = example::one_stage();
    let failure = |class, detail: &str| FailureSample {
        class,
        detail: detail.to_owned(),
        at: std::time::Duration::from_secs(1),
    };
    result.failures = vec![
        failure(FailureClass::Status(503), "no\u{1b}[31m replicas"),
        failure(FailureClass::Status(503), "another one"),
        failure(FailureClass::StreamCut, "closed"),
    ];
    let text = table(&result, 100);
    let told: Vec<_> = text.lines().filter(|line| line.starts_with("failed ")).collect();
    assert_eq!(told, ["failed status_503: no [31m replicas", "failed stream_cut: closed"]);
}

#[test]
fn objectives_stand_with_limit_figure_and_outcome_above_the_verdict() {
    let table = table(&example::demanded(), 100);
    let line = |start: &str| {
        let mut lines = table.lines().map(str::trim);
        lines.find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}: {table}"))
    };
    let squeezed = |start: &str| line(start).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(squeezed("ttft p95 ").ends_with(" ms met"), "{table}");
    assert_eq!(squeezed("ttft p99.9"), "ttft p99.9 ≤ 60.0 ms – undecided: too few samples");
    assert!(table.contains("MISSED"), "{table}");
    assert!(line("goodput").contains("within the limits of a request ("), "{table}");
    assert!(line("steady").contains("run time 5 s to 20 s (MSER-5): 10.0/s completed"), "{table}");
    assert!(line("stopped").contains("at 20 s by the rule overload: 25.0 % of the requests"));
}
