//! `summary.json` read back: the inverse of `summary_json`, key by key.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use metrics::{
    Books, FailureClass, FailureSample, GroupResult, Interval95, Kind, Lost, Metric, NotSent,
    Notes, NullReason, Percentile, Rates, Reason, RunFacts, RunResult, ServerMetrics, Sessions,
    StageResult, Status, StoppedEarly, Summary, Verdict, Warning, WindowResult, WorkerLost,
    WorkerResult,
};
use serde_json::Value;

use super::node::Node;
use super::objectives;
use crate::records_json;

pub(super) fn result(root: &Node<'_>) -> RunResult {
    let overall = root.at("overall");
    let stages: Vec<StageResult> = root.list("stages").iter().map(stage).collect();
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    let stopped = objectives::stopped(root, &names);
    RunResult {
        facts: facts(&root.at("run")),
        verdict: verdict(&root.at("verdict")),
        warnings: root
            .list("warnings")
            .iter()
            .map(|warning| Warning::new(warning.text("code"), warning.text("message")))
            .collect(),
        failures: root.list("failures").iter().filter_map(failure).collect(),
        books: books(&root.at("books")),
        overall: window(&overall),
        stages,
        classes: root.list("classes").iter().map(group).collect(),
        targets: root.list("targets").iter().map(group).collect(),
        turns: turns(root),
        sessions: sessions(&root.get("sessions")),
        workers: root.list("workers").iter().map(worker).collect(),
        seconds: Vec::new(),
        stopped,
        steady: objectives::steady(&overall),
        server: ServerMetrics::default(),
        records: records_json::read(root.get("records").raw()),
        telemetry: None,
    }
}

fn facts(run: &Node<'_>) -> RunFacts {
    RunFacts {
        id: run.text("id"),
        name: run.text("name"),
        started_at_unix_ns: unix_ns(run.some_text("startedAt")),
        ended_at_unix_ns: unix_ns(run.some_text("endedAt")),
        model: run.text("model"),
        endpoint: run.text("endpoint"),
        api: run.text("api"),
        streamed: run.truth("streamed"),
        seed: run.count("seed"),
        prompt_salt: run.text("promptSalt"),
        workers: run.small("workers"),
        lanes: run.small("lanes"),
        token_source: run.text("tokenSource"),
        tokenizer: run.some_text("tokenizer"),
        stamps: run.text("stamps"),
        probe_requests: run.count("probeRequests"),
        tokenstorm_version: run.text("tokenstormVersion"),
        interrupted: run.truth("interrupted"),
        degraded: run.truth("degraded"),
        labels: words(run, "labels"),
        note: run.get("note").raw().as_str().map(str::to_owned),
        environment: words(run, "environment"),
    }
}

/// None where requests stood alone, and in runs of before there were sessions.
fn turns(root: &Node<'_>) -> Vec<GroupResult> {
    if root.get("turns").is_null() {
        return Vec::new();
    }
    root.list("turns").iter().map(group).collect()
}

/// None where requests stood alone, and in runs of before there were sessions.
fn sessions(node: &Node<'_>) -> Option<Sessions> {
    let _there = node.raw().as_object()?;
    Some(Sessions {
        begun: node.count("begun"),
        completed: node.count("completed"),
        cut: node.count("cut"),
        lost: node.count("lost"),
        turns_not_reached: node.count("turnsNotReached"),
    })
}

/// Words by name; runs of before they were written have none.
fn words(run: &Node<'_>, key: &str) -> BTreeMap<String, String> {
    let members = run.get(key).raw().as_object().into_iter().flatten();
    members.filter_map(|(name, word)| Some((name.clone(), word.as_str()?.to_owned()))).collect()
}

fn unix_ns(text: Option<String>) -> i64 {
    let instant = text.and_then(|text| text.parse::<Timestamp>().ok());
    instant.and_then(|at| i64::try_from(at.as_nanosecond()).ok()).unwrap_or_default()
}

/// A status of a later version is none that one may trust.
fn status(node: &Node<'_>) -> Status {
    let name = node.text("status");
    Status::from_name(&name).unwrap_or_else(|| {
        node.unknown("status", &name);
        Status::Invalid
    })
}

fn verdict(node: &Node<'_>) -> Verdict {
    let reason = |reason: &Node<'_>| Reason {
        code: reason.text("code"),
        message: reason.text("message"),
        status: status(reason),
    };
    Verdict { status: status(node), reasons: node.list("reasons").iter().map(reason).collect() }
}

fn failure(node: &Node<'_>) -> Option<FailureSample> {
    let name = node.text("class");
    let Some(class) = FailureClass::from_name(&name) else {
        node.unknown("failure class", &name);
        return None;
    };
    let at = node.seconds("atSeconds").unwrap_or_default();
    Some(FailureSample { class, detail: node.text("detail"), at })
}

fn books(node: &Node<'_>) -> Books {
    let mut books = Books {
        due: node.count("due"),
        completed: node.count("completed"),
        cancelled: node.count("cancelled"),
        ..Books::default()
    };
    for (name, count) in node.members("failedBy") {
        match FailureClass::from_name(name).zip(count.raw().as_u64()) {
            Some((class, count)) => drop(books.failed.insert(class, count)),
            None => node.unknown("failure class", name),
        }
    }
    for (name, count) in node.members("notSentBy") {
        match NotSent::from_name(name).zip(count.raw().as_u64()) {
            Some((reason, count)) => drop(books.not_sent.insert(reason, count)),
            None => node.unknown("reason", name),
        }
    }
    let lost = node.at("lostBy");
    books.lost = Lost {
        in_flight_at_last_snapshot: lost.count("inFlightAtLastSnapshot"),
        due_after_last_snapshot: lost.count("dueAfterLastSnapshot"),
    };
    books
}

fn window(node: &Node<'_>) -> WindowResult {
    let span = node.at("window");
    let instant = |key: &str| span.seconds(key).unwrap_or_default();
    let metrics = node.members("metrics").into_iter().filter_map(|(name, figures)| {
        let metric = Metric::from_name(name)?;
        Some((metric, summary(metric.kind(), &figures)))
    });
    WindowResult {
        start: instant("startSeconds"),
        end: instant("endSeconds"),
        measured: instant("measuredSeconds"),
        rates: rates(&node.at("rates")),
        metrics: metrics.collect(),
        notes: with_drift(notes(&node.at("notes")), node.get("drift").raw()),
        ttft_over_3s: node.number("ttftOver3s"),
        slos: objectives::slos(node, "slos"),
    }
}

fn rates(node: &Node<'_>) -> Rates {
    Rates {
        offered: node.number("offered"),
        achieved: node.number("achieved"),
        throughput: node.number("throughput"),
        tokens_per_second: node.number("tokensPerSecond"),
        input_tokens_per_second: node.number("inputTokensPerSecond"),
        total_tokens_per_second: node.number("totalTokensPerSecond"),
        error_rate: node.number("errorRate"),
        goodput: node.number("goodput"),
        slo_attainment: node.get("sloAttainment").raw().as_f64(),
        cache_hit_ratio: node.get("cacheHitRatio").raw().as_f64(),
    }
}

fn summary(kind: Kind, node: &Node<'_>) -> Summary {
    let reason = |value: &Value| value.as_str().and_then(NullReason::from_name);
    let mut summary = Summary::absent(kind, NullReason::NoSamples);
    summary.null_reason = reason(node.at("nullReason").raw());
    summary.ci95_null = reason(node.at("ci95NullReason").raw());
    summary.count = node.count("count");
    summary.mean = node.number("mean").map(|mean| mean * f64::from(kind.units_per_shown()));
    summary.stddev = node.number("stddev").map(|spread| spread * f64::from(kind.units_per_shown()));
    summary.min = recorded(kind, node.at("min").raw());
    summary.max = recorded(kind, node.at("max").raw());
    summary.out_of_range = node.count("outOfRange");
    let (nulls, intervals) = (node.at("nulls"), node.at("ci95"));
    for percentile in Percentile::ALL {
        let name = percentile.name();
        summary.set_percentile(percentile, recorded(kind, node.at(name).raw()));
        if let Some(reason) = reason(nulls.get(name).raw()) {
            let _none = summary.nulls.insert(percentile, reason);
        }
        let limits = intervals.get(name);
        let limit = |place: usize| recorded(kind, limits.raw().get(place)?);
        if let Some((low, high)) = limit(0).zip(limit(1)) {
            let _none = summary.ci95.insert(percentile, Interval95 { low, high });
        }
    }
    summary
}

/// A shown figure in the unit in which it was recorded.
pub(super) fn recorded(kind: Kind, shown: &Value) -> Option<u64> {
    match kind {
        Kind::Latency | Kind::Count => shown.as_u64(),
        Kind::Rate => {
            shown.as_f64().map(|rate| (rate * f64::from(kind.units_per_shown())).round() as u64)
        }
    }
}

fn notes(node: &Node<'_>) -> Notes {
    Notes {
        gaps: node.count("gaps"),
        shared_gaps: node.count("sharedGaps"),
        no_done: node.count("noDone"),
        reconnected: node.count("reconnected"),
        queue_empty: node.count("queueEmpty"),
        token_comparisons: node.count("tokenComparisons"),
        token_disagreements: node.count("tokenDisagreements"),
        usage_requests: node.count("usageRequests"),
        tokenizer_requests: node.count("tokenizerRequests"),
        event_counted_requests: node.count("eventCountedRequests"),
        chunk_samples_of_unfinished: node.count("chunkSamplesOfUnfinished"),
        censored: node.count("censored"),
        clock_steps: node.count("clockSteps"),
        user_space_stamps: node.count("userSpaceStamps"),
        prompts_wrapped: node.count("promptsWrapped"),
        good: node.get("good").raw().as_u64().unwrap_or_default(),
        cache_told: node.get("cacheTold").raw().as_u64().unwrap_or_default(),
        sessions_begun: node.get("sessionsBegun").raw().as_u64().unwrap_or_default(),
        sessions_completed: node.get("sessionsCompleted").raw().as_u64().unwrap_or_default(),
        sessions_cut: node.get("sessionsCut").raw().as_u64().unwrap_or_default(),
        later_turns: node.get("laterTurns").raw().as_u64().unwrap_or_default(),
        ..Notes::default()
    }
}

/// Runs of before it was written have none.
fn with_drift(notes: Notes, drift: &Value) -> Notes {
    let sum = |side: &str, key: &str| drift[side][key].as_u64().unwrap_or_default();
    Notes {
        input_asked: sum("inputTokens", "asked"),
        input_counted: sum("inputTokens", "counted"),
        output_ordered: sum("outputTokens", "asked"),
        output_counted: sum("outputTokens", "counted"),
        ..notes
    }
}

fn stage(node: &Node<'_>) -> StageResult {
    StageResult {
        name: node.text("name"),
        index: node.small("index"),
        headline: node.truth("headline"),
        books: books(&node.at("books")),
        window: window(node),
        own_slos: objectives::slos(node, "ownSlos"),
        stopped: own_stop(node),
        distributions: Default::default(),
    }
}

/// A stage knows its end under its own name and at its own place.
fn own_stop(node: &Node<'_>) -> Option<StoppedEarly> {
    let name = node.text("name");
    let mut stop = objectives::stopped(node, &[&name])?;
    stop.reason.stage = u16::try_from(node.count("index")).ok()?;
    Some(stop)
}

fn group(node: &Node<'_>) -> GroupResult {
    GroupResult {
        name: node.text("name"),
        share: node.number("share").unwrap_or_default(),
        books: books(&node.at("books")),
        window: window(node),
        distributions: Default::default(),
    }
}

fn worker(node: &Node<'_>) -> WorkerResult {
    let lost = node.at("lost");
    WorkerResult {
        ordinal: node.small("ordinal"),
        host: node.text("host"),
        incarnation: u64::from_str_radix(&node.text("incarnation"), 16).unwrap_or_default(),
        books: books(&node.at("books")),
        share: node.number("share"),
        generator_lag_p50_us: node.whole("generatorLagP50Us"),
        generator_lag_p99_us: node.whole("generatorLagP99Us"),
        generator_lag_max_us: node.whole("generatorLagMaxUs"),
        ttft_p50_us: node.whole("ttftP50Us"),
        snapshots: node.count("snapshots"),
        start_skew_us: node.signed("startSkewUs"),
        clock_offset_us: node.signed("clockOffsetUs"),
        clock_error_us: node.count("clockErrorUs"),
        cpu_seconds: node.number("cpuSeconds"),
        lost: (!lost.is_null()).then(|| worker_lost(&lost)),
    }
}

fn worker_lost(node: &Node<'_>) -> WorkerLost {
    let at: Option<Duration> = node.seconds("atSeconds");
    WorkerLost {
        at: at.unwrap_or_default(),
        taken_over_at: node.seconds("takenOverAtSeconds"),
        in_flight_at_last_snapshot: node.count("inFlightAtLastSnapshot"),
        due_after_last_snapshot: node.count("dueAfterLastSnapshot"),
        without_owner: node.count("withoutOwner"),
    }
}
