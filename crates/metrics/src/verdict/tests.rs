use super::*;
use crate::books::{FailureClass, Lost, NotSent};

/// What a sound run of 1,000 requests leaves; each test spoils one thing.
struct Run {
    books: Books,
    /// Where it is not all of them.
    headline: Option<Books>,
    seconds: BTreeMap<u32, SecondCounts>,
    notes: Notes,
    generator_lag_p99_us: u64,
    ttft_p50_us: Option<u64>,
    read_lag_p99_us: u64,
    held_back: u64,
    degraded: bool,
}

fn sound() -> Run {
    let second = SecondCounts {
        due: 100,
        sent: 100,
        started: 100,
        loop_lag_p99_us: 200,
        lane_cpu_permille_max: 300,
        ..SecondCounts::default()
    };
    Run {
        books: Books { due: 1_000, completed: 1_000, ..Books::default() },
        headline: None,
        seconds: (0..10).map(|n| (n, second)).collect(),
        notes: Notes { gaps: 10_000, token_comparisons: 1_000, ..Notes::default() },
        generator_lag_p99_us: 300,
        ttft_p50_us: Some(50_000),
        read_lag_p99_us: 500,
        held_back: 0,
        degraded: false,
    }
}

impl Run {
    fn judged(&self) -> Verdict {
        let evidence = Evidence {
            books: &self.books,
            parts: vec![("stage hold".to_owned(), &self.books)],
            headline_stages: vec![("hold".to_owned(), &self.books)],
            seconds: &self.seconds,
            notes: &self.notes,
            generator_lag_p99_us: Some(self.generator_lag_p99_us),
            ttft_p50_us: self.ttft_p50_us,
            read_lag_p99_us: Some(self.read_lag_p99_us),
            held_back: self.held_back,
            headline: self.headline.as_ref().unwrap_or(&self.books),
            degraded: self.degraded,
        };
        judge(&evidence, &Thresholds::default())
    }

    /// The status, and the codes of the reasons.
    fn verdict(&self) -> (Status, Vec<String>) {
        let verdict = self.judged();
        (verdict.status, verdict.reasons.into_iter().map(|reason| reason.code).collect())
    }

    /// The same run with another outcome for some of its completed requests.
    fn with_books(self, spoil: impl FnOnce(&mut Books)) -> Self {
        let mut books = self.books.clone();
        spoil(&mut books);
        books.completed -= books.answered() - books.due;
        Self { books, ..self }
    }
}

fn valid() -> (Status, Vec<String>) {
    (Status::Valid, Vec::new())
}

fn only(status: Status, code: &str) -> (Status, Vec<String>) {
    (status, vec![code.to_owned()])
}

#[test]
fn a_sound_run_is_valid_without_reasons() {
    assert_eq!(sound().verdict(), valid());
}

#[test]
fn generator_lag_is_measured_against_the_ttft_of_the_run() {
    let lag = |us, ttft| Run { generator_lag_p99_us: us, ttft_p50_us: ttft, ..sound() }.verdict();
    // 10 % of 50 ms is 5 ms.
    assert_eq!(lag(5_000, Some(50_000)), valid());
    assert_eq!(lag(5_001, Some(50_000)), only(Status::Suspect, "generator_lag"));
    // Under 10 ms of TTFT the floor of 1 ms holds; over 100 ms, and without TTFT, the 10 ms.
    assert_eq!(lag(1_000, Some(2_000)), valid());
    assert_eq!(lag(1_001, Some(2_000)), only(Status::Suspect, "generator_lag"));
    assert_eq!(lag(10_000, Some(500_000)), valid());
    assert_eq!(lag(10_001, Some(500_000)), only(Status::Suspect, "generator_lag"));
    assert_eq!(lag(10_001, None), only(Status::Suspect, "generator_lag"));
    assert_eq!(lag(1_000_000, None), only(Status::Suspect, "generator_lag"));
    assert_eq!(lag(1_000_001, None), only(Status::Invalid, "generator_lag"));
}

#[test]
fn a_cap_that_holds_back_is_suspect_and_never_invalid() {
    let held = |held_back| Run { held_back, ..sound() }.verdict();
    assert_eq!(held(10), valid());
    assert_eq!(held(11), only(Status::Suspect, "capped"));
    assert_eq!(held(1_000), only(Status::Suspect, "capped"));
}

#[test]
fn what_the_cap_dropped_is_always_said_and_doubted_by_the_share_of_the_headline() {
    let dropped = |of_headline, elsewhere| {
        let with = |due, count| Books {
            due,
            completed: due - count,
            not_sent: BTreeMap::from([(NotSent::CapDropped, count)]),
            ..Books::default()
        };
        let all = with(1_000, of_headline + elsewhere);
        Run { books: all, headline: Some(with(500, of_headline)), ..sound() }.judged()
    };
    let (few, many) = (dropped(5, 0), dropped(6, 0));
    assert_eq!((few.status, few.reasons[0].code.as_str()), (Status::Valid, "cap_dropped"));
    assert_eq!(many.status, Status::Suspect);
    assert!(many.reasons[0].message.contains("dropped 6 of 500 requests (1.20 %):"), "{many:?}");
    let warmup = dropped(0, 300);
    assert_eq!(warmup.status, Status::Valid, "no figure of the headline knows of it");
    let said = "dropped 0 of 500 requests (0.00 %) of the measured window, and 300 outside of it:";
    assert!(warmup.reasons[0].message.contains(said), "{warmup:?}");
}

#[test]
fn a_lane_that_waits_for_its_core_is_suspect() {
    let mut run = sound();
    let waits = |run: &mut Run, permille| {
        for counts in run.seconds.values_mut() {
            counts.lane_wait_permille_max = permille;
        }
    };
    waits(&mut run, 100);
    assert_eq!(run.verdict().0, Status::Valid);
    waits(&mut run, 101);
    assert_eq!(run.verdict(), (Status::Suspect, vec!["core_shared".to_owned()]));
    // A second in which nothing is sent says nothing of the load.
    for counts in run.seconds.values_mut() {
        counts.sent = 0;
    }
    assert_eq!(run.verdict().0, Status::Valid);
}

#[test]
fn sending_too_little_is_the_generators_fault_only_in_seconds_at_its_limit() {
    let with = |second: SecondCounts| {
        let mut run = sound();
        let _normal = run.seconds.insert(5, second);
        run.verdict()
    };
    let normal = sound().seconds[&5];
    let slow = SecondCounts { started: 90, ..normal };
    assert_eq!(with(slow), valid(), "the generator was well: the server held it");
    let late = SecondCounts { loop_lag_p99_us: 10_001, ..slow };
    assert_eq!(with(late), only(Status::Invalid, "generator_limit"));
    let busy = SecondCounts { lane_cpu_permille_max: 901, ..slow };
    assert_eq!(with(busy), only(Status::Invalid, "generator_limit"));
    // 100 due, 97 started, one of them at the second's end: 2 % and not more.
    assert_eq!(with(SecondCounts { started: 97, ..late }), valid());
    assert_eq!(
        with(SecondCounts { started: 96, ..late }),
        only(Status::Invalid, "generator_limit")
    );
    assert_eq!(with(SecondCounts { held_back: 10, ..late }), valid(), "the cap held the ten back");
    let refused = SecondCounts { started: 100, sent: 0, ..late };
    assert_eq!(with(refused), valid(), "the target took none, and that is not the generator");
    assert_eq!(
        with(SecondCounts { started: 100, ..late }),
        valid(),
        "late, but nothing is missing"
    );
}

#[test]
fn lost_requests_are_suspect_and_above_one_percent_invalid() {
    let lost = |in_flight, after| {
        let lost = Lost { in_flight_at_last_snapshot: in_flight, due_after_last_snapshot: after };
        sound().with_books(|books| books.lost = lost).verdict()
    };
    assert_eq!(lost(0, 1), only(Status::Suspect, "lost"));
    assert_eq!(lost(5, 5), only(Status::Suspect, "lost")); // 10 of 1,000
    assert_eq!(lost(6, 5), only(Status::Invalid, "lost"));
}

#[test]
fn load_that_nobody_offered_is_suspect_and_above_five_percent_invalid() {
    for (reason, code) in [(NotSent::NoOwner, "no_owner"), (NotSent::NoLease, "no_lease")] {
        let missing = |count| {
            let spoil = |books: &mut Books| *books.not_sent.entry(reason).or_default() += count;
            sound().with_books(spoil).verdict()
        };
        assert_eq!(missing(1), only(Status::Suspect, code));
        assert_eq!(missing(50), only(Status::Suspect, code));
        assert_eq!(missing(51), only(Status::Invalid, code));
    }
}

#[test]
fn read_lag_above_ten_milliseconds_is_suspect() {
    assert_eq!(Run { read_lag_p99_us: 10_000, ..sound() }.verdict(), valid());
    let late = Run { read_lag_p99_us: 10_001, ..sound() };
    assert_eq!(late.verdict(), only(Status::Suspect, "read_lag"));
}

#[test]
fn shared_reads_above_one_percent_of_the_gaps_are_suspect() {
    let shared =
        |shared_gaps| Run { notes: Notes { shared_gaps, ..sound().notes }, ..sound() }.verdict();
    assert_eq!(shared(100), valid());
    assert_eq!(shared(101), only(Status::Suspect, "shared_reads"));
}

#[test]
fn censored_requests_above_one_percent_of_a_stage_are_suspect() {
    let censored = |timeouts, cancelled| {
        let spoil = |books: &mut Books| {
            let _none = books.failed.insert(FailureClass::Timeout, timeouts);
            books.cancelled = cancelled;
        };
        sound().with_books(spoil).verdict()
    };
    assert_eq!(censored(4, 6), valid());
    assert_eq!(censored(4, 7), only(Status::Suspect, "censored"));
}

#[test]
fn chunks_that_are_not_tokens_are_a_remark() {
    let disagreeing = |token_disagreements| {
        Run { notes: Notes { token_disagreements, ..sound().notes }, ..sound() }.verdict()
    };
    assert_eq!(disagreeing(10), valid());
    assert_eq!(disagreeing(11), only(Status::Valid, "chunks_are_not_tokens"));
}

#[test]
fn books_that_do_not_balance_are_invalid_and_named() {
    let mut run = sound();
    run.books.completed -= 1;
    let verdict = run.judged();
    assert_eq!(verdict.status, Status::Invalid);
    let named = ["the run", "stage hold"];
    for (reason, name) in verdict.reasons.iter().zip(named) {
        assert_eq!(reason.code, "books");
        assert!(reason.message.contains(name), "{}", reason.message);
    }
}

#[test]
fn without_a_completed_request_nothing_was_measured_and_survivors_are_told() {
    let failing = |failed| {
        sound().with_books(|books| {
            let _none = books.failed.insert(FailureClass::Connect, failed);
        })
    };
    assert_eq!(failing(1_000).verdict(), only(Status::Invalid, "nothing_answered"));
    assert_eq!(failing(101).verdict(), only(Status::Suspect, "failures"));
    assert_eq!(failing(100).verdict(), valid());
    let nothing = Run { books: Books::default(), ..sound() };
    assert_eq!(nothing.verdict(), only(Status::Invalid, "nothing_answered"));
}

#[test]
fn the_worst_reason_decides_and_stands_first() {
    let lost = Lost { in_flight_at_last_snapshot: 50, due_after_last_snapshot: 0 };
    let run = Run { degraded: true, read_lag_p99_us: 20_000, ..sound() };
    let (status, codes) = run.with_books(|books| books.lost = lost).verdict();
    assert_eq!(status, Status::Invalid);
    assert_eq!(codes, ["lost", "read_lag", "degraded"]);
}
