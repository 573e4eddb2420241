//! What is settled before the load starts: the plan, whether the target answers, what a run decides itself.

use std::{convert::Infallible, time::Duration};

use client::{Credentials, ProbeError};
use metrics::Warning;
use serde_json::json;
use tokio::time::Instant;
use workload::{Config, Content, Plan, Prompt};

use crate::{
    exit::{Exit, Stop},
    interrupt::Interrupts,
    judge,
    known::{Known, Server},
    limits::{self, Service},
    target::{self, Asking},
};

/// Who waits for longer wants to know for what.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a target that is not ready is left alone.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// So many show how far apart the tokens of an answer are: a closed loop's users start as far apart as a request takes.
const TOKENS_FOR_THE_STAGGER: u32 = 8;

/// What is known before the load starts.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) credentials: Credentials,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) probe_requests: u64,
}

/// Whether the target is asked once first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// By one request, and again for so long while it is not ready.
    One {
        /// For how long.
        within: Duration,
    },
    /// Never: `--no-probe`.
    None,
}

impl Probe {
    fn patience(self) -> Duration {
        match self {
            Self::One { within } => within,
            Self::None => Duration::ZERO,
        }
    }
}

/// Where the load will come from, as far as this machine's limits matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// All of it from this machine.
    Here,
    /// From machines whose limits are not known.
    Elsewhere,
}

/// What is settled how.
#[derive(Clone, Copy)]
pub(crate) struct Preparing<'a> {
    pub(crate) probe: Probe,
    pub(crate) origin: Origin,
    /// What runs before this one were told.
    pub(crate) known: &'a Known,
}

/// Prepares a run, tells after a while what is waited for, and ends with a signal.
pub(crate) async fn prepared(
    config: &mut Config,
    credentials: Credentials,
    preparing: Preparing<'_>,
    interrupts: &mut Interrupts,
) -> anyhow::Result<Prepared> {
    let endpoint = config.text("target.endpoint").unwrap_or("the target").to_owned();
    let is_impatient = preparing.probe.patience().is_zero();
    tokio::select! {
        prepared = prepare_when_ready(config, credentials, preparing) => prepared,
        never = tell_of_waiting(&endpoint), if is_impatient => match never {},
        () = interrupts.next() => Err(interrupted_before_the_load().into()),
    }
}

/// Asks a target that is not ready again, until it is or the time is over; then its last answer is told.
async fn prepare_when_ready(
    config: &mut Config,
    credentials: Credentials,
    preparing: Preparing<'_>,
) -> anyhow::Result<Prepared> {
    let (limit, mut told) = (Instant::now() + preparing.probe.patience(), false);
    loop {
        match prepare(config, credentials.clone(), preparing).await {
            Err(error) if is_not_ready(&error) && Instant::now() + ASK_AGAIN < limit => {
                if !told {
                    eprintln!("the target is not ready and is asked again: {error}");
                    told = true;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            settled => return settled,
        }
    }
}

fn is_not_ready(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Stop>().is_some_and(|stop| stop.exit() == Exit::TargetNotReady)
}

/// Says once, after a while, what is being waited for before the load. Never returns.
async fn tell_of_waiting(endpoint: &str) -> Infallible {
    tokio::time::sleep(SILENCE).await;
    eprintln!(
        "waiting for the first answer of {endpoint}, for at most `client.timeouts.request`; Ctrl-C ends it"
    );
    std::future::pending().await
}

fn interrupted_before_the_load() -> Stop {
    Stop::new(Exit::Interrupted, "interrupted before the load: nothing was measured")
}

/// Plan, probe, and what the run decides itself; it is all written to the configuration as run.
async fn prepare(
    config: &mut Config,
    credentials: Credentials,
    Preparing { probe: asked, origin, known }: Preparing<'_>,
) -> anyhow::Result<Prepared> {
    let began = Instant::now();
    let asking = Asking { server: Server::of(config), credentials: &credentials, known, began };
    let (mut plan, mut warnings) = target::plan(config, asked, &asking).await?;
    if origin == Origin::Here {
        let room = limits::check(&plan, Service::of(config));
        warnings.extend(room.map_err(|problems| Stop::bad_configuration(&problems))?);
    }
    let mut probe_requests = 0;
    let mut stagger = Duration::ZERO;
    match asked {
        Probe::None if plan.needs_ramp_up() => warnings.push(Warning::new(
            "no_stagger",
            "without a probe the users of the closed loop start together and may stay in step: \
             set `load.rampUp` to about one request's time",
        )),
        Probe::None => {}
        Probe::One { .. } => {
            judge::try_client(&plan, credentials.clone())
                .map_err(|problem| judge::refusal(config, &[problem.to_string()]))?;
            probe_requests = plan.first_cells().into();
            warnings.extend(target::check_context(&plan, &asking).await?);
            let scale = target::scale(config, &plan, &asking).await;
            if let Some(scale) = &scale {
                plan = scale.applied(plan);
            }
            let mut longest = Duration::ZERO;
            for cell in 0..plan.first_cells() {
                longest = longest.max(probe(&plan, cell, &credentials, began).await?);
            }
            if let Some(scale) = scale {
                scale.keep(config, known)?;
            }
            stagger = plan.ramp_up_for(longest);
        }
    }
    if plan.needs_ramp_up() {
        plan = plan.with_ramp_up(stagger);
        config.set("load.rampUp", json!(stagger.as_secs_f64()))?;
    }
    config.set("benchmark.seed", json!(plan.seed))?;
    config.set("benchmark.promptSalt", json!(plan.prompt_salt))?;
    Ok(Prepared { plan, credentials, warnings, probe_requests })
}

/// One real request of each class to each target; about how long one of the load takes. All that is asked since `began` has the time of one request.
async fn probe(
    plan: &Plan,
    cell: u16,
    credentials: &Credentials,
    began: Instant,
) -> Result<Duration, Stop> {
    let prompt = Prompt {
        number: 0,
        class: cell,
        content: Content::Text("Hello".to_owned()),
        input_tokens: None,
        output_tokens: Some(if plan.needs_ramp_up() { TOKENS_FOR_THE_STAGGER } else { 1 }),
    };
    let options = worker::client_options(&plan.client, credentials.clone());
    let target = credentials.complete(plan.target_of(cell));
    let model = target.model.clone();
    let most = plan.client.request_timeout;
    let asked = client::probe(&target, &options, &prompt, model.as_deref());
    let Ok(seen) = tokio::time::timeout_at(began + most, asked).await else {
        let what = format!("POST {} failed (timeout): no answer within {most:?}", target.url);
        let hint = "raise `client.timeouts.request`, or look why the server does not answer";
        return Err(Stop::new(Exit::TargetNotReady, format!("{what}\n  {hint}")));
    };
    let seen = seen.map_err(|error| Stop::new(exit_of(&error), error))?;
    Ok(seen.request_of(plan.mean_output_tokens()))
}

/// Where no request could be made it is not the target that is at fault, and to ask again would change nothing.
fn exit_of(error: &ProbeError) -> Exit {
    if error.class.is_some() { Exit::TargetNotReady } else { Exit::BadConfiguration }
}
