//! A plan in five seconds: at whom, how much, for how long, with what, and what is doubtful.

mod prompts;
mod rules;
mod targets;

use std::time::Duration;

use crate::plan::{
    InOut, PlanView, PlannedCost, PlannedLevel, PlannedLoad, PlannedPause, PlannedRecords,
    PlannedSessions, PlannedShare, PlannedStage, PlannedStagger, PlannedTokens,
};

use super::MIN_WIDTH;
use super::aligned;
use super::curve;
use crate::figures::{
    self, counted, labelled, or_absent, percent, quantity, rough, thousands, wrapped,
};

/// The plan for that many columns.
pub fn plan_text(view: &PlanView, width: u16) -> String {
    let width = width.max(MIN_WIDTH);
    let line = |label: &str, text: String| labelled(label, &text, width.into());
    let targets = targets::told(view).into_iter().map(|told| line("target", told));
    let what = [
        Some(line("load", load(&view.load))),
        view.sessions.map(|told| line("sessions", sessions(told))),
        Some(line("takes", takes(view))),
    ];
    let asked = prompts::all(view).into_iter().map(|(label, told)| line(label, told));
    let with = [
        Some(line("tokens in", tokens(view, |tokens| tokens.input))),
        Some(line("tokens out", tokens(view, |tokens| tokens.output))),
        view.cost.map(|told| line("cost", cost(told))),
        view.records.map(|told| line("records", records(told))),
        workers(view).map(|text| line("workers", text)),
        first_due(&view.first_due).map(|text| line("first due", text)),
    ];
    let warnings = view.warnings.iter().map(|warning| {
        wrapped(&format!("warning {}: {}", warning.code, warning.message), width.into(), 2)
    });
    let parts = [
        vec![format!("{}: the plan; nothing was sent", view.name)],
        targets.chain(what.into_iter().flatten()).collect(),
        vec![stages(view, width)],
        rules::lines(&view.rules, width.into()),
        curve::drawn(view, width.into()).into_iter().collect(),
        asked.chain(with.into_iter().flatten()).collect(),
        warnings.collect(),
    ];
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.map(|part| part.join("\n")).collect::<Vec<_>>().join("\n\n")
}

fn load(load: &PlannedLoad) -> String {
    match load {
        PlannedLoad::Open { arrivals, cap, drops } => {
            let spaced = match *arrivals {
                "poisson" => "as independent users arrive (Poisson)",
                "gamma" => "in gaps of a gamma distribution",
                "burst" => "in bursts",
                "schedule" => "when the rows of a file say",
                "mixed" => "each stage's in its own way",
                _ => "evenly spaced",
            };
            let bound = match cap {
                Some(cap) => {
                    let rest = if *drops { ", the rest dropped" } else { "" };
                    format!("at most {} in flight{rest}", thousands((*cap).into()))
                }
                None => "however many are in flight".to_owned(),
            };
            format!("open loop: requests start on schedule, {spaced}, {bound}")
        }
        PlannedLoad::Closed { slots, pause: PlannedPause::Rounds { every }, .. } => {
            let (users, every) = (counted((*slots).into(), "user"), length(*every));
            format!(
                "closed loop in rounds: {users} ask together, every {every}, and who is not \
                 answered yet waits for the next round"
            )
        }
        PlannedLoad::Closed { slots, stagger, pause } => {
            let users = counted((*slots).into(), "user");
            let spread = match stagger {
                PlannedStagger::Over(time) if time.is_zero() => "all start at once".to_owned(),
                PlannedStagger::Over(time) => format!("they start over {}", length(*time)),
                PlannedStagger::Probed => {
                    "they start over about one request's time, which a probe measures".to_owned()
                }
                PlannedStagger::Ramp => "they start one by one along the ramp".to_owned(),
            };
            format!("closed loop: {users}, each asks again {}; {spread}", again(pause))
        }
    }
}

fn again(pause: &PlannedPause) -> String {
    match pause {
        PlannedPause::Think { distribution, mean } => {
            let about = if *distribution == "fixed" { "" } else { "about " };
            format!("{about}{} after the answer ({distribution})", length(*mean))
        }
        PlannedPause::None | PlannedPause::Rounds { .. } => "when answered".to_owned(),
    }
}

fn sessions(sessions: PlannedSessions) -> String {
    let turns = mean(sessions.turns);
    format!(
        "conversations of {turns}, the next asked {}; what is counted below is \
         sessions, and a turn's input has all that was said before",
        again(&sessions.pause)
    )
}

/// `3.4 turns on average`; all of them may have as many as a whole number says.
fn mean(turns: f64) -> String {
    if turns.fract() == 0.0 {
        return format!("{} on average", counted(turns as u64, "turn"));
    }
    format!("{turns:.1} turns on average")
}

/// A configured length of time is mostly round: 5 min, not 5 min 00 s.
pub(super) fn length(time: Duration) -> String {
    let text = figures::length(time);
    let round = text.strip_suffix(" 00 s").or_else(|| text.strip_suffix(" 00 min"));
    round.map(str::to_owned).unwrap_or(text)
}

/// Until when, whichever of time and number comes first.
fn takes(view: &PlanView) -> String {
    let end = view.stages.last().and_then(|stage| stage.end);
    let requests = view.request_limit.map(|limit| counted(limit, view.noun()));
    let until = match (end, requests, view.last_due) {
        (_, Some(requests), Some(last)) => format!("{requests}, the last due at {}", length(last)),
        (Some(end), Some(requests), None) => {
            format!("{} or {requests}, whichever comes first", length(end))
        }
        (None, Some(requests), None) => format!("as long as {requests} take"),
        (Some(end), None, _) => length(end),
        (None, None, _) => "no end".to_owned(),
    };
    if view.drain.is_zero() {
        return format!("{until}; what is still open then is cancelled");
    }
    format!("{until}, then at most {} for answers still open", length(view.drain))
}

fn stages(view: &PlanView, width: u16) -> String {
    let is_open = matches!(view.load, PlannedLoad::Open { .. });
    let [of_many, per_second] = match view.sessions {
        Some(_) => ["sessions", "sessions/s"],
        None => ["requests", "requests/s"],
    };
    let mut header = vec!["stage", "from", "to", if is_open { per_second } else { "users" }];
    let mut rows: Vec<_> = view.stages.iter().map(stage_row).collect();
    if tells_of_arrivals(&view.load) {
        header.push("arrivals");
        for (row, stage) in rows.iter_mut().zip(&view.stages) {
            row.push(stage.arrivals.clone());
        }
    }
    let is_counted = is_open && view.stages.iter().any(|stage| stage.requests.is_some());
    if is_counted {
        header.push(of_many);
        let requests = view.stages.iter().map(|stage| stage.requests);
        for (row, requests) in rows.iter_mut().zip(requests) {
            row.push(or_absent(requests, thousands));
        }
        if let Some(total) = view.requests.filter(|_| view.stages.len() > 1) {
            let mut row = vec![String::new(); header.len()];
            row[0] = "total".to_owned();
            row[header.len() - 1] = thousands(total);
            rows.push(row);
        }
    }
    let mut text = aligned(&header, rows, width);
    if view.stages.iter().any(|stage| !stage.headline) {
        text.push_str("\n* not in the headline figures");
    }
    text
}

/// Where the word for all stages does not say it.
fn tells_of_arrivals(load: &PlannedLoad) -> bool {
    matches!(load, PlannedLoad::Open { arrivals: "mixed" | "gamma", .. })
}

fn stage_row(stage: &PlannedStage) -> Vec<String> {
    let end = or_absent(stage.end, length);
    let name = format!("{}{}", stage.name, if stage.headline { "" } else { " *" });
    vec![name, length(stage.start), end, level(&stage.level)]
}

fn level(level: &PlannedLevel) -> String {
    match level {
        PlannedLevel::Constant(level) => plain(*level),
        PlannedLevel::Linear(from, to) => format!("{} → {}", plain(*from), plain(*to)),
        PlannedLevel::Exponential(from, to) => {
            format!("{} → {} (by factors)", plain(*from), plain(*to))
        }
        PlannedLevel::Sine { mean, amplitude, period } => {
            format!("{} ± {} (a wave every {})", plain(*mean), plain(*amplitude), length(*period))
        }
        PlannedLevel::OnOff { level, off_level, on, off } => {
            let (on, off) = (length(*on), length(*off));
            format!("{} for {on}, {} for {off}, in turn", plain(*level), plain(*off_level))
        }
        PlannedLevel::Burst { mean, size, every, width } => {
            let spread = match width {
                width if width.is_zero() => "at once".to_owned(),
                width => format!("over {}", length(*width)),
            };
            format!(
                "{} (every {}: {} {spread})",
                plain(*mean),
                length(*every),
                thousands((*size).into())
            )
        }
    }
}

/// As configured: 50, 0.5, 33.333.
pub(super) fn plain(level: f64) -> String {
    if level.fract() == 0.0 {
        return thousands(level as u64);
    }
    let text = format!("{level:.3}");
    text.trim_end_matches('0').to_owned()
}

/// Of one side, input or output: a request's, in all, and a second's.
fn tokens(view: &PlanView, side: impl Fn(InOut) -> Option<f64>) -> String {
    let PlannedTokens { sampled, each, total, per_s } = view.tokens;
    let Some(each) = side(each) else { return "not known: not every record says".to_owned() };
    let is_exact = view.requests == Some(sampled);
    let about = if is_exact { "" } else { "about " };
    let in_all = |total: f64| if is_exact { thousands(total.round() as u64) } else { rough(total) };
    let mut parts = vec![format!("{about}{} a {}", quantity(each), view.noun())];
    parts.extend(side(total).map(|total| format!("{} in all", in_all(total))));
    parts.extend(side(per_s).map(|per_s| format!("up to {} a second", rough(per_s))));
    parts.join(", ")
}

fn records(records: PlannedRecords) -> String {
    let which = match records.share {
        share if share >= 1.0 => "of every request".to_owned(),
        share => format!("of {} of the requests", percent(share)),
    };
    let limit = mebibytes(records.limit_bytes as f64);
    match records.worker_bytes.zip(records.results_bytes) {
        Some((worker, results)) => format!(
            "{which}: about {} of disk a worker (at most {limit}), and {} in the results",
            mebibytes(worker),
            mebibytes(results)
        ),
        None => format!("{which}: at most {limit} of disk a worker"),
    }
}

fn mebibytes(bytes: f64) -> String {
    let mebibytes = bytes / f64::from(1 << 20);
    if mebibytes < 1.0 {
        "1 MiB".to_owned()
    } else {
        format!("{} MiB", thousands(mebibytes.round() as u64))
    }
}

fn cost(cost: PlannedCost) -> String {
    let prices = format!(
        "at {} and {} a million tokens in and out",
        plain(cost.input_per_million),
        plain(cost.output_per_million)
    );
    match cost.total {
        Some(total) => format!("about {} in all, {prices}", quantity(total)),
        None => format!("not known, as the number of tokens is not; {prices}"),
    }
}

/// Nothing for one worker, which has all.
fn workers(view: &PlanView) -> Option<String> {
    let shares: &[PlannedShare] = &view.shares;
    if shares.len() < 2 {
        return None;
    }
    let requests: Option<Vec<u64>> = shares.iter().map(|share| share.requests).collect();
    let in_flight: Option<Vec<u64>> =
        shares.iter().map(|share| share.in_flight.map(u64::from)).collect();
    let parts = [
        requests.map(|all| format!("{} {}s", range(&all), view.noun())),
        in_flight.map(|all| format!("{} in flight", range(&all))),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    let each = if parts.is_empty() { "an equal part".to_owned() } else { parts.join(", ") };
    Some(format!("{}, each with {each}", thousands(shares.len() as u64)))
}

/// The one figure of all, or the least and the most.
fn range(all: &[u64]) -> String {
    let least = all.iter().min().copied().unwrap_or(0);
    let most = all.iter().max().copied().unwrap_or(0);
    if least == most {
        return thousands(least);
    }
    format!("{} to {}", thousands(least), thousands(most))
}

fn first_due(due: &[Duration]) -> Option<String> {
    let instants = due.iter().map(|due| {
        let text = format!("{:.4}", due.as_secs_f64());
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    });
    let list = instants.collect::<Vec<_>>().join(", ");
    (!due.is_empty()).then(|| format!("{list} … seconds after the start"))
}

#[cfg(test)]
mod tests;
