//! All that is wrong with a configuration, whichever rule knows it.
//!
//! Each step towards a run has rules of its own: the sweep's points, the simulator's settings, the plan, its files, the
//! client. A run would stop at the first that refuses, and its user would mend one kind of mistakes after the other. So
//! whoever refuses asks here for what the others would have said.

use client::{Client, Clock, Credentials};
use simulator::SimulatorConfig;
use workload::{
    Config, Plan, PlanInputs, PromptSource,
    sweep::{Sweep, SweepPoint},
};

use crate::{
    exit::{Exit, Stop},
    server_metrics::ServerSources,
    settings,
};

/// The refusal of a configuration by one who knows some of its problems.
pub(crate) fn refusal<P: ToString>(config: &Config, known: &[P]) -> Stop {
    let mut lines = problems(config);
    for line in known.iter().map(ToString::to_string) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    Stop::bad_configuration(&config.in_order(lines))
}

/// Every problem in a line of its own; nothing is sent, and nobody asked.
pub(crate) fn problems(config: &Config) -> Vec<String> {
    let mut lines: Vec<String> = key_problem(config).into_iter().collect();
    match Sweep::read(config) {
        Err(problems) => lines.extend(problems.iter().map(ToString::to_string)),
        Ok(None) => lines.extend(of_run(config)),
        Ok(Some(sweep)) => {
            lines.extend(sweep.problems(config).iter().map(ToString::to_string));
            lines.extend(of_points(&sweep.points, config));
            // Files may be large, and points mostly have them in common.
            let first = sweep.points.iter().find_map(|point| point.applied_to(config).ok());
            let of_files = first.as_ref().map(of_run).unwrap_or_default();
            let is_new = |line: &String| !lines.iter().any(|known| known.ends_with(line.as_str()));
            let new: Vec<String> = of_files.into_iter().filter(is_new).collect();
            lines.extend(new);
        }
    }
    lines
}

/// Of the plans of all points: what every one has is told once, what some have by the point's name.
pub(crate) fn of_points(points: &[SweepPoint], config: &Config) -> Vec<String> {
    let applied = points.iter().filter_map(|point| Some((point, point.applied_to(config).ok()?)));
    let by_point: Vec<_> =
        applied.map(|(point, own)| (point.name(), own.in_order(of_plan(&own).0))).collect();
    let in_all = |line: &String| by_point.iter().all(|(_, lines)| lines.contains(line));
    let first = by_point.first().into_iter().flat_map(|(_, lines)| lines);
    let common: Vec<String> = first.filter(|line| in_all(line)).cloned().collect();
    let of_some = by_point.iter().flat_map(|(name, lines)| {
        let own = lines.iter().filter(|line| !common.contains(line));
        own.map(move |line| format!("{name}: {line}"))
    });
    common.iter().cloned().chain(of_some).collect()
}

/// Of one run: its simulator, its plan, the files and certificates that the plan names.
fn of_run(config: &Config) -> Vec<String> {
    let (mut lines, plan) = of_plan(config);
    let Some(plan) = plan else { return lines };
    let is_planned = lines.is_empty();
    let of_prompts = PromptSource::open(&plan).err().unwrap_or_default();
    lines.extend(of_prompts.iter().map(ToString::to_string));
    let of_servers = ServerSources::of(config, &plan).err().map(|stop| stop.to_string());
    lines.extend(of_servers.iter().flat_map(|lines| lines.lines()).map(str::to_owned));
    // The plan refuses some endpoints and headers in its own words.
    if is_planned {
        let headers = config.credential_headers();
        let credentials = Credentials { headers, ..Credentials::default() };
        lines.extend(try_client(&plan, credentials).err().map(|problem| problem.to_string()));
    }
    lines
}

/// Of simulator and plan; and the plan, as far as one can be made.
fn of_plan(config: &Config) -> (Vec<String>, Option<Plan>) {
    let mut lines = simulator_problems(config);
    // What a server would tell and chance would choose changes nothing here.
    let inputs = PlanInputs { model: None, prompt_salt: 0 };
    let (plan, problems) = Plan::draft(config, &inputs);
    lines.extend(problems.iter().map(ToString::to_string));
    (lines, plan)
}

/// The file of the API key.
fn key_problem(config: &Config) -> Option<String> {
    settings::read_key(&config.api_key_file()?).err()
}

/// The settings of a simulator that is not started.
pub(crate) fn simulator_problems(config: &Config) -> Vec<String> {
    let Some(section) = config.simulator() else { return Vec::new() };
    match serde_json::from_value::<SimulatorConfig>(section) {
        Err(error) => vec![format!("`simulator`: {error}")],
        Ok(settings) => {
            let problems = settings.validate().err().unwrap_or_default();
            problems.iter().map(ToString::to_string).collect()
        }
    }
}

/// Finds unusable headers, keys and certificates; it connects to nobody.
pub(crate) fn try_client(plan: &Plan, credentials: Credentials) -> Result<(), Stop> {
    let options = worker::client_options(&plan.client, credentials);
    let client = |cell| Client::new(&plan.target_of(cell), options.clone(), Clock::start_now());
    let tried = (0..plan.first_cells()).try_for_each(|cell| client(cell).map(drop));
    tried.map_err(|error| Stop::new(Exit::BadConfiguration, error))
}
