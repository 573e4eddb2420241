//! The raw client sees what the simulator says it sent.

use std::num::NonZeroUsize;
use std::time::Duration;

use simulator::{FaultConfig, RawEnd, RawError, RawLoad, Running, StatusFault};

use crate::{quick, start, start_with};

fn load(server: &Running, end: RawEnd) -> RawLoad {
    RawLoad {
        addr: server.addr(),
        streams: NonZeroUsize::new(7).unwrap(),
        output_tokens: 5,
        model: "simulated".to_owned(),
        ramp_up: Duration::from_millis(3),
        warmup: Duration::ZERO,
        end,
    }
}

#[test]
fn requests_and_events_are_those_of_the_truth() {
    let server = start(quick());
    let report = load(&server, RawEnd::Requests(50)).run().unwrap();
    let truth = server.truth();
    assert_eq!((report.requests, report.events), (50, 250));
    assert_eq!((truth.received, truth.completed, truth.output_tokens), (50, 50, 250));
    assert!(report.cpu_us_per_event.is_some_and(|us| us > 0.0), "{report:?}");
}

#[test]
fn after_its_time_the_open_answers_are_read_to_their_end() {
    let server = start(quick());
    let report = load(&server, RawEnd::After(Duration::from_millis(300))).run().unwrap();
    let truth = server.truth();
    assert_eq!((truth.cancelled, truth.open), (0, 0));
    assert!(report.requests > 0 && report.requests <= truth.completed, "{report:?}");
    assert!(report.wall_seconds >= 0.3);
}

#[test]
fn an_answer_that_is_none_ends_the_loop() {
    let status = StatusFault { code: 503, rate: "1/1".parse().unwrap() };
    let server = start_with(FaultConfig { status, ..FaultConfig::default() });
    let error = load(&server, RawEnd::Requests(1)).run().unwrap_err();
    assert!(matches!(&error, RawError::Answer(text) if text.contains("503")), "{error}");
}
