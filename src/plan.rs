//! `tokenstorm plan`: what a run would offer, without offering it.
//!
//! It goes the way of `run` up to the point where bytes would leave this machine: the same flags, the
//! same refusals with the same exit code, the prompts read and made. No probe, no model list, no
//! simulator: a plan can be made on a train.

mod asked;
mod curve;
mod load;
mod need;
mod rules;
mod view;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context;

use metrics::Warning;
use report::PlanView;
use simulator::SimulatorConfig;
use workload::{Config, Plan, PlanInputs, PromptSource, sweep::Sweep};

use crate::{
    exit::{Exit, Stop},
    judge,
    limits::{self, Checked, Service},
    say,
    settings::{Loaded, Settings},
    sweep,
};
use view::Facts;

/// What `plan` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    settings: Settings,
    /// Show the shares of so many workers
    #[arg(long, value_name = "N", default_value_t = NonZeroU32::MIN)]
    workers: NonZeroU32,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
    /// Write the offered load over time as a picture
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

/// What a run would hear of its own simulator: requests that are longer than its model's context. A server elsewhere says
/// its own when it is asked.
fn beyond_context(config: &Config, plan: &Plan) -> Vec<Warning> {
    let settings = config.simulator().and_then(|it| serde_json::from_value(it).ok());
    let Some(SimulatorConfig { context_length, .. }) = settings else { return Vec::new() };
    match plan.check_context(context_length) {
        Ok(warning) => warning.into_iter().collect(),
        Err(problems) => {
            let told = problems.iter().map(ToString::to_string);
            told.map(|line| Warning::new("beyond_context", line)).collect()
        }
    }
}

/// Prints the plan; what this machine cannot carry is told after it, as `run` would refuse it.
pub(crate) fn plan(arguments: PlanArgs) -> anyhow::Result<Exit> {
    let Loaded { config, credentials, .. } = arguments.settings.load()?;
    let sweep = sweep::of(&config)?;
    let config = first_of(sweep.as_ref(), config)?;
    let (plan, mut warnings) = planned(&config)?;
    judge::try_client(&plan, credentials)
        .map_err(|problem| judge::refusal(&config, &[problem.to_string()]))?;
    let (prompts, of_prompts) =
        PromptSource::open(&plan).map_err(|problems| judge::refusal(&config, &problems))?;
    warnings.extend(of_prompts);
    warnings.extend(beyond_context(&config, &plan));
    let service = Service::of(&config);
    let limits = this_machine(&plan, service, arguments.workers);
    warnings.extend(limits.iter().flatten().cloned());
    let workers = arguments.workers;
    let price = price(&config);
    let facts = Facts { plan: &plan, service, prompts: &prompts, workers, price };
    let view = facts.view(warnings).map_err(|error| Stop::new(Exit::BadConfiguration, error))?;
    if let Some(file) = &arguments.png {
        draw(&view, file)?;
    }
    let turns = view.sessions.map_or(1.0, |sessions| sessions.turns);
    let need = need::Answer::of(&plan, view.tokens.each.output, turns);
    let text = if arguments.json {
        let mut shown = report::plan_json(&view);
        shown["workersNeeded"] = need.to_json();
        serde_json::to_string_pretty(&shown)?
    } else {
        let width = terminal_size::terminal_size().map(|(width, _)| width.0);
        let text = report::plan_text(&view, width.unwrap_or(report::DEFAULT_WIDTH));
        let many =
            sweep.as_ref().map_or_else(String::new, |sweep| format!("\n{}", sweep::told(sweep)));
        format!("{}\n{need}{many}", text.trim_end())
    };
    say(&text)?;
    _ = limits.map_err(|problems| Stop::bad_configuration(&problems))?;
    Ok(Exit::Ok)
}

/// Of a sweep the first point is shown.
fn first_of(sweep: Option<&Sweep>, config: Config) -> Result<Config, Stop> {
    match sweep.and_then(|sweep| sweep.points.first()) {
        Some(point) => point.applied_to(&config).map_err(|all| Stop::bad_configuration(&all)),
        None => Ok(config),
    }
}

fn draw(view: &PlanView, file: &Path) -> anyhow::Result<()> {
    let picture = report::plan_png(view)?.ok_or_else(|| {
        let line = "there is nothing to draw by --png: the answers decide when this run ends";
        Stop::new(Exit::BadConfiguration, line)
    })?;
    std::fs::write(file, picture).with_context(|| format!("cannot write {}", file.display()))
}

/// Of a million tokens, input and output; what is not told costs nothing.
fn price(config: &Config) -> Option<(f64, f64)> {
    let (input, output) =
        (config.number("price.inputPerMillion"), config.number("price.outputPerMillion"));
    (input.is_some() || output.is_some()).then(|| (input.unwrap_or(0.0), output.unwrap_or(0.0)))
}

/// As `run` plans it, but for what only a server or chance could tell: the model's name where none is
/// configured, and the salt, on which no figure of a plan depends.
fn planned(config: &Config) -> Result<(Plan, Vec<Warning>), Stop> {
    let of_simulator = judge::simulator_problems(config);
    if !of_simulator.is_empty() {
        return Err(judge::refusal(config, &of_simulator));
    }
    let inputs = PlanInputs { model: None, prompt_salt: 0 };
    Plan::from_config(config, &inputs).map_err(|problems| judge::refusal(config, &problems))
}

/// What this machine could carry, if it is the only worker: others are not known here.
fn this_machine(plan: &Plan, service: Service, workers: NonZeroU32) -> Checked {
    if workers > NonZeroU32::MIN { Ok(Vec::new()) } else { limits::check(plan, service) }
}
