//! What is measured: an endpoint, or a simulator that this command starts itself.

use client::{Credentials, Model, ProbeError};
use observe::OtlpSettings;
use serde_json::json;
use simulator::{Running, Simulator, SimulatorConfig};
use tokio::time::Instant;
use workload::{Config, Content, Plan, PlanInputs, Prompt, PromptKind, PromptSource};

use crate::{
    exit::{Exit, Stop},
    judge,
    known::{Counted, Known, Server},
    prepare::Probe,
    randomness,
    telemetry::Simulated,
};

/// Tokens of prompts that the server is asked to count, to learn how it counts. Texts differ: of 1,600 tokens the scale
/// of two runs differed by a hundredth and more.
const SAMPLED_TOKENS: u64 = 8_000;
/// Most prompts for it, where prompts are short.
const SAMPLED: u64 = 64;

/// Starts the simulator that the configuration names, and points the run at it. Where somebody is told of spans, its
/// requests come too.
pub(crate) fn start_simulator(
    config: &mut Config,
    told: Option<&OtlpSettings>,
) -> anyhow::Result<Option<(Running, Option<Simulated>)>> {
    let Some(section) = config.simulator() else { return Ok(None) };
    let of_simulator = judge::simulator_problems(config);
    if !of_simulator.is_empty() {
        return Err(judge::refusal(config, &of_simulator).into());
    }
    let bad = |error: String| Stop::new(Exit::BadConfiguration, format!("`simulator`: {error}"));
    let settings: SimulatorConfig =
        serde_json::from_value(section).map_err(|error| bad(error.to_string()))?;
    let model = settings.model.clone();
    let wanted = told.filter(|told| told.wants_spans());
    let (queue, simulated) = wanted.map(|_| Simulated::queue(&model)).unzip();
    let running = match queue {
        Some(queue) => Simulator::start_telling(settings, queue),
        None => Simulator::start(settings),
    };
    let running = running.map_err(|error| bad(error.to_string()))?;
    config.set("target.endpoint", json!(running.base_url()))?;
    if !config.has("target.model") {
        config.set("target.model", json!(model))?;
    }
    Ok(Some((running, simulated)))
}

/// Who is asked before the load, and what is known of it already.
pub(crate) struct Asking<'a> {
    pub(crate) server: Server,
    pub(crate) credentials: &'a Credentials,
    pub(crate) known: &'a Known,
    /// All questions together have the time of one request.
    pub(crate) began: Instant,
}

/// How many tokens the server counts for one of the bundled tokenizer's.
pub(crate) struct Scale {
    counted: Counted,
    /// `None` where it does not tell.
    scale: Option<f64>,
}

/// The plan, with the model's name asked of the server where nobody gave one.
pub(crate) async fn plan(
    config: &mut Config,
    asked: Probe,
    asking: &Asking<'_>,
) -> anyhow::Result<(Plan, Vec<metrics::Warning>)> {
    // Above 2^53 a JSON reader that knows only floating point would change it.
    let prompt_salt = randomness::number()? >> 11;
    let mut inputs = PlanInputs { model: None, prompt_salt };
    let (plan, mut warnings) = checked(config, &inputs)?;
    if plan.target.model.is_some() {
        return Ok((plan, warnings));
    }
    let recorded = plan.prompts_by_class().iter().any(|prompts| is_file(&prompts.kind));
    match listed(&plan, asking).await.map(|models| models.into_iter().next()) {
        // A recorded body keeps its own model beside one that was only found.
        Ok(Some(model)) if recorded => inputs.model = Some(model.id),
        Ok(Some(model)) => config.set("target.model", json!(model.id))?,
        // A probe says all of this, and better.
        Ok(None) | Err(_) if recorded || asked != Probe::None => return Ok((plan, warnings)),
        Err(error) if is_away(&error) => {
            let hint =
                "name it with `target.model`, or leave out --no-probe, which waits for the target";
            let line = format!(
                "`target.model` is not set, and the target cannot be asked for it: {}\n  {hint}",
                error.what
            );
            return Err(Stop::new(Exit::TargetNotReady, line).into());
        }
        Ok(None) | Err(_) => {
            let message = "`target.model` is not set, and the server lists none: requests go without a model, which many servers refuse";
            warnings.push(metrics::Warning::new("no_model", message));
            return Ok((plan, warnings));
        }
    }
    Ok(checked(config, &inputs)?)
}

fn is_file(kind: &PromptKind) -> bool {
    matches!(kind, PromptKind::File { .. })
}

/// Nothing answers there, or not in time.
fn is_away(error: &ProbeError) -> bool {
    use metrics::FailureClass::{Connect, Timeout, Tls};
    matches!(error.class, Some(Connect | Timeout | Tls))
}

/// Lengths are meant in the server's tokens. Where nobody named its tokenizer it is asked, if it can be and was not before,
/// what prompts of the bundled one come to. `None` where there is nothing to ask.
pub(crate) async fn scale(config: &Config, plan: &Plan, asking: &Asking<'_>) -> Option<Scale> {
    let named = config.has("prompts.tokenizer") || config.has("prompts.tokenScale");
    let sample = plan.to_be_scaled().filter(|_| !named)?;
    let counted = Counted::of(&asking.server, &sample);
    if let Some(scale) = asking.known.scale(&counted) {
        return Some(Scale { counted, scale });
    }
    let limit = asking.began + plan.client.request_timeout / 2;
    let asked = servers_count(plan, sample, asking.credentials);
    let scale = tokio::time::timeout_at(limit, asked).await.ok().flatten();
    Some(Scale { counted, scale })
}

impl Scale {
    pub(crate) fn applied(&self, plan: Plan) -> Plan {
        match self.scale {
            Some(scale) => plan.with_token_scale(scale),
            None => plan,
        }
    }

    /// For the configuration as run, and for the runs that follow. Only once the target has turned out to be ready: what it
    /// did not say before that, it may have not said for want of a server.
    pub(crate) fn keep(self, config: &mut Config, known: &Known) -> anyhow::Result<()> {
        if let Some(scale) = self.scale {
            config.set("prompts.tokenScale", json!(scale))?;
        }
        if known.keep_scale(self.counted, self.scale) {
            self.scale.into_iter().for_each(tell_of);
        }
        Ok(())
    }
}

fn tell_of(scale: f64) {
    if scale != 1.0 {
        let (less, by) = if scale > 1.0 { ("fewer", scale) } else { ("more", 1.0 / scale) };
        eprintln!(
            "the server counts {scale} tokens for one of the bundled tokenizer's: prompts are made of {by:.2} times {less} of them"
        );
    }
}

/// The first prompts, counted by both; `None` where the server counts for nobody.
async fn servers_count(plan: &Plan, sample: Plan, credentials: &Credentials) -> Option<f64> {
    let made = tokio::task::spawn_blocking(move || {
        let (source, _) = PromptSource::open(&sample).ok()?;
        let (mut prompts, mut tokens) = (Vec::new(), 0);
        while tokens < SAMPLED_TOKENS && (prompts.len() as u64) < SAMPLED {
            let prompt = source.prompt(prompts.len() as u64).ok()?;
            tokens += u64::from(prompt.input_tokens?);
            prompts.push(prompt);
        }
        Some(prompts)
    });
    let options = worker::client_options(&plan.client, credentials.clone());
    let (mut ours, mut servers) = (0, 0);
    let prompts: Vec<Prompt> = made.await.ok()??;
    for prompt in prompts {
        let Content::Text(text) = prompt.content else { return None };
        servers += client::count_tokens(&plan.target, &options, &text).await.ok()?;
        ours += u64::from(prompt.input_tokens?);
    }
    Plan::token_scale(ours, servers)
}

/// Whether requests fit the context that the server names for the model, where it names one.
pub(crate) async fn check_context(
    plan: &Plan,
    asking: &Asking<'_>,
) -> Result<Option<metrics::Warning>, Stop> {
    let models = listed(plan, asking).await.unwrap_or_default();
    let ours = models.into_iter().find(|model| Some(&model.id) == plan.target.model.as_ref());
    let Some(context) = ours.and_then(|model| model.context) else { return Ok(None) };
    plan.check_context(context).map_err(|problems| Stop::bad_configuration(&problems))
}

/// The server's list of models, asked for once; a server without one gets requests all the same, as does one that has
/// not told it in half of the time that all questions before the load have together.
async fn listed(plan: &Plan, asking: &Asking<'_>) -> Result<Vec<Model>, ProbeError> {
    if let Some(models) = asking.known.models(&asking.server) {
        return Ok(models);
    }
    let options = worker::client_options(&plan.client, asking.credentials.clone());
    let most = plan.client.request_timeout / 2;
    let asked = client::models(&plan.target, &options);
    let Ok(answered) = tokio::time::timeout_at(asking.began + most, asked).await else {
        return Err(ProbeError {
            what: format!("no list of models within {most:?}"),
            hint: "name the model with `target.model`".to_owned(),
            class: Some(metrics::FailureClass::Timeout),
        });
    };
    let models = answered?;
    asking.known.keep_models(asking.server.clone(), models.clone());
    Ok(models)
}

fn checked(config: &Config, inputs: &PlanInputs) -> Result<(Plan, Vec<metrics::Warning>), Stop> {
    Plan::from_config(config, inputs).map_err(|problems| judge::refusal(config, &problems))
}
