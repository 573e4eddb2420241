//! What is measured: an endpoint, or a simulator that this command starts itself.

use client::{Credentials, Model};
use serde_json::json;
use simulator::{Running, Simulator, SimulatorConfig};
use tokio::time::Instant;
use workload::{Config, Plan, PlanInputs};

use crate::{
    exit::{Exit, Stop},
    randomness,
};

/// Starts the simulator that the configuration names, and points the run at it.
pub(crate) fn start_simulator(config: &mut Config) -> anyhow::Result<Option<Running>> {
    let Some(section) = config.simulator() else { return Ok(None) };
    let bad = |error: String| Stop::new(Exit::BadConfiguration, format!("`simulator`: {error}"));
    let settings: SimulatorConfig =
        serde_json::from_value(section).map_err(|error| bad(error.to_string()))?;
    let model = settings.model.clone();
    let running = Simulator::start(settings).map_err(|error| bad(error.to_string()))?;
    config.set("target.endpoint", json!(running.base_url()))?;
    if !config.has("target.model") {
        config.set("target.model", json!(model))?;
    }
    Ok(Some(running))
}

/// The plan, with the model's name asked of the server where nobody gave one.
pub(crate) async fn plan(
    config: &mut Config,
    credentials: &Credentials,
    began: Instant,
) -> anyhow::Result<(Plan, Vec<metrics::Warning>)> {
    // Above 2^53 a JSON reader that knows only floating point would change it.
    let prompt_salt = randomness::number()? >> 11;
    let inputs = PlanInputs { model: None, prompt_salt };
    let (plan, warnings) = checked(config, &inputs)?;
    if plan.target.model.is_some() {
        return Ok((plan, warnings));
    }
    let Some(model) = listed(&plan, credentials, began).await.into_iter().next() else {
        return Ok((plan, warnings));
    };
    config.set("target.model", json!(model.id))?;
    Ok(checked(config, &inputs)?)
}

/// Whether requests fit the context that the server names for the model, where it names one.
pub(crate) async fn check_context(
    plan: &Plan,
    credentials: &Credentials,
    began: Instant,
) -> Result<Option<metrics::Warning>, Stop> {
    let models = listed(plan, credentials, began).await;
    let ours = models.into_iter().find(|model| Some(&model.id) == plan.target.model.as_ref());
    let Some(context) = ours.and_then(|model| model.context) else { return Ok(None) };
    plan.check_context(context).map_err(|problem| Stop::bad_configuration(&[problem]))
}

/// The server's list of models; a server without one gets requests all the same, as does one that has not told it in
/// half of the time that all questions before the load have together.
async fn listed(plan: &Plan, credentials: &Credentials, began: Instant) -> Vec<Model> {
    let options = worker::client_options(&plan.client, credentials.clone());
    let limit = began + plan.client.request_timeout / 2;
    let asked = tokio::time::timeout_at(limit, client::models(&plan.target, &options)).await;
    asked.ok().and_then(Result::ok).unwrap_or_default()
}

fn checked(config: &Config, inputs: &PlanInputs) -> Result<(Plan, Vec<metrics::Warning>), Stop> {
    Plan::from_config(config, inputs).map_err(|problems| Stop::bad_configuration(&problems))
}
