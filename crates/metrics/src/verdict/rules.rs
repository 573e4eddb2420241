//! The rules, one function each, in the order of METRICS' "Verdict".

use super::{Evidence, Reason, Status, Thresholds, chunks_are_not_tokens};
use crate::books::{Books, NotSent, share};

type Rule = fn(&Evidence<'_>, &Thresholds) -> Vec<Reason>;

pub(super) const ALL: [Rule; 15] = [
    books_balance,
    generator_lag,
    capped,
    cap_dropped,
    generator_at_its_limit,
    core_shared,
    lost,
    no_owner,
    no_lease,
    read_lag,
    shared_reads,
    censored,
    chunks,
    survivors,
    degraded,
];

fn books_balance(evidence: &Evidence<'_>, _: &Thresholds) -> Vec<Reason> {
    let parts = evidence.parts.iter().map(|(name, books)| (name.as_str(), *books));
    std::iter::once(("the run", evidence.books))
        .chain(parts)
        .filter_map(|(name, books)| Some((name, books.balance().err()?)))
        .map(|(name, error)| {
            let advice = "this is a fault of tokenstorm: please report it with the journal";
            let message = format!("the books of {name} do not balance: {error}; {advice}");
            reason("books", Status::Invalid, message)
        })
        .collect()
}

fn generator_lag(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let Some(p99) = evidence.generator_lag_p99_us else { return Vec::new() };
    let relative = evidence.ttft_p50_us.map(|ttft| {
        let share = ttft.saturating_mul(thresholds.generator_lag_ttft_percent) / 100;
        share.max(thresholds.generator_lag_floor_us)
    });
    let absolute = thresholds.generator_lag_suspect_us;
    let limit = relative.map_or(absolute, |relative| relative.min(absolute));
    let status = match p99 {
        p99 if p99 > thresholds.generator_lag_invalid_us => Status::Invalid,
        p99 if p99 > limit => Status::Suspect,
        _ => return Vec::new(),
    };
    let message = format!(
        "the generator itself was late: generator_lag p99 is {}, the limit {}; give it more cores, \
         lanes or workers, or offer less load",
        ms(p99),
        ms(limit)
    );
    vec![reason("generator_lag", status, message)]
}

fn capped(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let held = share(evidence.held_back, evidence.headline.due).unwrap_or(0.0);
    if held <= thresholds.held_back_share {
        return Vec::new();
    }
    let message = format!(
        "the cap on requests in flight held back {} of {} requests ({}): the offered rate did not \
         reach the server; raise load.concurrency, or read ttft_scheduled and e2e_scheduled, which \
         count the wait",
        evidence.held_back,
        evidence.headline.due,
        percent(held)
    );
    vec![reason("capped", Status::Suspect, message)]
}

/// What was dropped is always said: the load that the server felt was lower by so much. The figures suffer by what was
/// dropped of the headline.
fn cap_dropped(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let all = not_sent(evidence.books, NotSent::CapDropped);
    if all == 0 {
        return Vec::new();
    }
    let dropped = not_sent(evidence.headline, NotSent::CapDropped);
    let share = share(dropped, evidence.headline.due).unwrap_or(0.0);
    let status = if share > thresholds.held_back_share { Status::Suspect } else { Status::Valid };
    let elsewhere = match all.saturating_sub(dropped) {
        0 => String::new(),
        elsewhere => format!(" of the measured window, and {elsewhere} outside of it"),
    };
    let message = format!(
        "the cap on requests in flight dropped {dropped} of {} requests ({}){elsewhere}: the offered rate did not \
         reach the server; raise load.concurrency, or hold them back with load.capPolicy: hold",
        evidence.headline.due,
        percent(share)
    );
    vec![reason("cap_dropped", status, message)]
}

/// Started against due over all seconds in which the generator was at its limit, taken together. What the cap held back
/// is the cap's, and what failed before it was sent is the target's. One request a second is no shortfall: it was due at
/// the very end of that second and left in the next.
fn generator_at_its_limit(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let (mut seconds, mut due, mut started) = (0_u64, 0_u64, 0_u64);
    for counts in evidence.seconds.values() {
        let late_loop = counts.loop_lag_p99_us > thresholds.limit_loop_lag_us;
        if late_loop || counts.lane_cpu_permille_max > thresholds.limit_lane_cpu_permille {
            seconds += 1;
            due += counts.due.saturating_sub(counts.held_back);
            started += counts.started;
        }
    }
    let missing = due.saturating_sub(started).saturating_sub(seconds);
    let shortfall = share(missing, due).unwrap_or(0.0);
    if shortfall <= thresholds.shortfall_share {
        return Vec::new();
    }
    let message = format!(
        "the generator was at its limit in {seconds} s (loop lag p99 above {} or a lane above {} \
         of a core) and started {started} of {due} due requests then, {} short; give it more cores, \
         lanes or workers",
        ms(thresholds.limit_loop_lag_us),
        percent(thresholds.limit_lane_cpu_permille as f64 / 1_000.0),
        percent(shortfall)
    );
    vec![reason("generator_limit", Status::Invalid, message)]
}

/// A lane that shares its core sends late and reads late, and its own clock does not show why.
fn core_shared(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let loaded: Vec<u64> = evidence
        .seconds
        .values()
        .filter(|counts| counts.sent > 0)
        .map(|counts| counts.lane_wait_permille_max)
        .collect();
    let waited = share(loaded.iter().sum(), 1_000 * loaded.len() as u64).unwrap_or(0.0);
    if waited <= thresholds.core_wait_share {
        return Vec::new();
    }
    let message = format!(
        "a lane was ready to run and had no core in {} of the time: something else runs on the generator's cores; \
         kernel stamps keep the latencies right, but requests leave late: give it cores of its own, or fewer lanes",
        percent(waited)
    );
    vec![reason("core_shared", Status::Suspect, message)]
}

fn lost(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let lost = evidence.books.lost;
    let what = format!(
        "the outcome of {} requests died with their worker ({} in flight at its last snapshot, {} due after it)",
        lost.total(),
        lost.in_flight_at_last_snapshot,
        lost.due_after_last_snapshot
    );
    missing(evidence.books, lost.total(), thresholds.lost_invalid_share, "lost", &what)
}

fn no_owner(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let count = not_sent(evidence.books, NotSent::NoOwner);
    let what =
        format!("{count} requests were due after their worker was lost, and nobody sent them");
    missing(evidence.books, count, thresholds.unowned_invalid_share, "no_owner", &what)
}

/// As `no_owner`: the load was not offered, only that its owner came back.
fn no_lease(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let count = not_sent(evidence.books, NotSent::NoLease);
    let what = format!(
        "{count} requests were not sent because their worker had no contact with the coordinator"
    );
    missing(evidence.books, count, thresholds.unowned_invalid_share, "no_lease", &what)
}

fn missing(books: &Books, count: u64, invalid_above: f64, code: &str, what: &str) -> Vec<Reason> {
    if count == 0 {
        return Vec::new();
    }
    let share = share(count, books.due).unwrap_or(1.0);
    let status = if share > invalid_above { Status::Invalid } else { Status::Suspect };
    let message =
        format!("{what}: {} of {} due; the load was that much lower", percent(share), books.due);
    vec![reason(code, status, message)]
}

fn read_lag(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let late = evidence.read_lag_p99_us.filter(|&p99| p99 > thresholds.read_lag_suspect_us);
    let message = |p99| {
        format!(
            "bytes waited to be read: read_lag p99 is {}, the limit {}; kernel stamps keep the \
             latencies right, but the generator is short of CPU: give it more cores, lanes or \
             workers",
            ms(p99),
            ms(thresholds.read_lag_suspect_us)
        )
    };
    late.map(|p99| reason("read_lag", Status::Suspect, message(p99))).into_iter().collect()
}

fn shared_reads(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let notes = evidence.notes;
    let shared = share(notes.shared_gaps, notes.gaps).unwrap_or(0.0);
    if shared <= thresholds.shared_gaps_share {
        return Vec::new();
    }
    let message = format!(
        "icl and itl are suspect: {} of {} gaps ({}) lie inside one read and so have no instants \
         of their own; the server or the network sends events together, or the generator reads \
         late: use tpot",
        notes.shared_gaps,
        notes.gaps,
        percent(shared)
    );
    vec![reason("shared_reads", Status::Suspect, message)]
}

fn censored(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let over = |books: &Books| books.censored_share().filter(|&s| s > thresholds.censored_share);
    evidence
        .headline_stages
        .iter()
        .filter_map(|(name, books)| Some((name, books, over(books)?)))
        .map(|(name, books, share)| {
            let message = format!(
                "{} of {} requests of stage {name} ({}) were cancelled or timed out: how long they \
                 would have taken is unknown, and percentiles above p{:.1} are null; lengthen \
                 benchmark.drain or the request timeout, or offer less load",
                books.censored(),
                books.started(),
                percent(share),
                100.0 * (1.0 - share)
            );
            reason("censored", Status::Suspect, message)
        })
        .collect()
}

/// A remark: `itl` is taken away, the rest stands.
fn chunks(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let notes = evidence.notes;
    if !chunks_are_not_tokens(notes, thresholds) {
        return Vec::new();
    }
    let message = format!(
        "itl is null: the server's usage and the number of events disagree in {} of {} requests, \
         so an event is not a token; use icl and tpot",
        notes.token_disagreements, notes.token_comparisons
    );
    vec![reason("chunks_are_not_tokens", Status::Valid, message)]
}

/// The latency rows hold completed requests only: without any they are empty, and where many failed they are those of
/// the survivors.
fn survivors(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Vec<Reason> {
    let measured = evidence.headline;
    let (completed, failed) = (measured.completed, measured.failed_total());
    if completed == 0 {
        let message = format!(
            "nothing was measured: none of {} requests due in the measured window completed; lengthen the run or look \
             at the endpoint",
            measured.due
        );
        return vec![reason("nothing_answered", Status::Invalid, message)];
    }
    let failing = measured.error_rate().unwrap_or(0.0);
    if failing <= thresholds.failed_share {
        return Vec::new();
    }
    let message = format!(
        "{failed} of {} requests failed ({}): the latencies are those of the others alone",
        completed + failed,
        percent(failing)
    );
    vec![reason("failures", Status::Suspect, message)]
}

fn degraded(evidence: &Evidence<'_>, _: &Thresholds) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if evidence.degraded {
        let message =
            "the run did not go on as planned to its end; the warning `degraded` says why"
                .to_owned();
        reasons.push(reason("degraded", Status::Suspect, message));
    }
    reasons
}

fn not_sent(books: &Books, reason: NotSent) -> u64 {
    books.not_sent.get(&reason).copied().unwrap_or(0)
}

fn reason(code: &str, status: Status, message: String) -> Reason {
    Reason { code: code.to_owned(), message, status }
}

fn ms(us: u64) -> String {
    format!("{:.1} ms", us as f64 / 1_000.0)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
