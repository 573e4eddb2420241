//! From configuration to plan: every problem is found before any is reported.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use metrics::Warning;
use serde_json::Value;

use super::{
    Api, ClientPlan, Drive, HttpVersion, OnWorkerLoss, Plan, PlanError, PromptPlan,
    RequiredOfAnswers, Target, TrafficClass, WeightedTarget, endpoint, told_once::Told,
};
use crate::config::{Config, DEFAULT_SEED};

/// What the plan needs and the configuration may lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanInputs {
    /// The model's name where `target.model` has none: from the server's list.
    pub model: Option<String>,
    /// The salt where `benchmark.promptSalt` has none: a fresh random number.
    pub prompt_salt: u64,
}

impl Plan {
    /// Proves a configuration and makes it a plan.
    ///
    /// A configuration with a simulator and no endpoint yet (before it listens, or in a dry run) gets
    /// the address that the simulator is told to listen on.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn from_config(
        config: &Config,
        inputs: &PlanInputs,
    ) -> Result<(Self, Vec<Warning>), Vec<PlanError>> {
        let mut builder = Builder::new(config);
        let plan = builder.plan(inputs);
        match plan {
            Some(plan) if builder.problems.is_empty() => Ok((plan, builder.warnings)),
            Some(_) | None => Err(builder.problems),
        }
    }

    /// Every problem of a configuration, and for whoever looks for more of them a plan, where one can be made all the
    /// same: not one to be carried out.
    pub fn draft(config: &Config, inputs: &PlanInputs) -> (Option<Self>, Vec<PlanError>) {
        let mut builder = Builder::new(config);
        let plan = builder.plan(inputs);
        (plan, builder.problems)
    }
}

/// Reads the configuration, collecting what is wrong with it. A part that cannot be built is `None`,
/// and its reason stands among the problems.
pub(super) struct Builder<'a> {
    pub(super) config: &'a Config,
    problems: Vec<PlanError>,
    warnings: Vec<Warning>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(config: &'a Config) -> Self {
        Self { config, problems: Vec::new(), warnings: Vec::new() }
    }

    /// Takes over what others have found, each about a stage of the list.
    pub(super) fn absorb(&mut self, others: Vec<(&str, Builder<'_>)>) {
        let (mut problems, mut warnings) = (Told::of(others.len()), Told::of(others.len()));
        for (stage, other) in others {
            other.problems.into_iter().for_each(|problem| problems.add(stage, problem));
            other.warnings.into_iter().for_each(|warning| warnings.add(stage, warning));
        }
        let of_stages =
            |(stages, problem)| PlanError::OfStages { stages, problem: Box::new(problem) };
        self.problems.extend(problems.by_stages().map(of_stages));
        for (stages, warning) in warnings.by_stages() {
            self.warn(&warning.code, format!("{stages}: {}", warning.message));
        }
    }

    pub(super) fn refuse(&mut self, problem: PlanError) {
        self.problems.push(problem);
    }

    /// Builds a part from another configuration; what is wrong with it says where it stands.
    pub(super) fn within<T>(
        &mut self,
        config: &Config,
        place: &str,
        build: impl FnOnce(&mut Builder<'_>) -> T,
    ) -> T {
        let mut inner = Builder { config, problems: Vec::new(), warnings: Vec::new() };
        let built = build(&mut inner);
        let of_class =
            |problem| PlanError::OfClass { place: place.to_owned(), problem: Box::new(problem) };
        // What is wrong with the run's own is said there.
        let new: Vec<_> =
            inner.problems.into_iter().filter(|one| !self.problems.contains(one)).collect();
        self.problems.extend(new.into_iter().map(of_class));
        for warning in inner.warnings {
            self.warn(&warning.code, format!("{place}: {}", warning.message));
        }
        built
    }

    pub(super) fn warn(&mut self, code: &str, message: impl Into<String>) {
        self.warnings.push(Warning::new(code, message));
    }

    fn plan(&mut self, inputs: &PlanInputs) -> Option<Plan> {
        let (target, targets) = self.target(inputs).unzip();
        let load = self.load();
        let prompts = self.prompts();
        let classes = self.classes();
        let collect = self.collect();
        let required = self.required_of_answers();
        let slos = self.run_slos();
        let closed =
            load.as_ref().is_some_and(|(_, drive, _)| matches!(drive, Drive::Closed { .. }));
        let stop_when = self.stop_rules(closed);
        let records = self.records();
        let rows = load.as_ref().and_then(|(_, _, schedule)| schedule.as_ref()?.rows.as_deref());
        self.check_simulators_context(prompts.as_ref(), &classes, rows);
        if let Some(targets) = &targets {
            self.check_cells(classes.len(), targets.len());
        }
        let classes: Option<Vec<TrafficClass>> = classes.into_iter().collect();
        if let (Some(target), Some(prompts), Some(classes)) = (&target, &prompts, &classes) {
            self.check_token_ids(target, prompts, classes);
        }
        let sessions = match (&target, &prompts, &classes, &targets) {
            (Some(target), Some(prompts), Some(classes), Some(targets)) => {
                self.sessions(target, prompts, classes, targets.len())
            }
            _ => None,
        };
        let (stages, drive, schedule) = load?;
        let (classes, targets) = (classes?, targets?);
        let (target, prompts) = (target?, prompts?);
        let plan = Plan {
            name: self.config.text("benchmark.name").unwrap_or("benchmark").to_owned(),
            seed: self.config.integer("benchmark.seed").unwrap_or(DEFAULT_SEED),
            prompt_salt: self.prompt_salt(inputs),
            target,
            stages,
            drive,
            schedule,
            requests: self.config.integer("benchmark.requests"),
            prompts,
            client: self.client(),
            drain: self.config.duration("benchmark.drain").unwrap_or(Duration::from_secs(30)),
            collect,
            on_worker_loss: self.on_worker_loss(),
            required,
            slos,
            stop_when,
            classes,
            targets,
            sessions,
            records,
            telemetry: self.telemetry(),
        };
        Some(self.with_cooldown_requests(plan))
    }

    /// Chat messages are text by definition; of completions a prompt may be a list of token ids.
    fn check_token_ids(&mut self, target: &Target, prompts: &PromptPlan, classes: &[TrafficClass]) {
        let of_classes = classes.iter().map(|class| &class.prompts);
        let mut all = std::iter::once(prompts).filter(|_| classes.is_empty()).chain(of_classes);
        if target.api == Api::Chat && all.any(|prompts| prompts.as_token_ids) {
            let advice = "messages are text, which the server's chat template goes around; set `target.api: completions`, whose `prompt` may be token ids";
            self.refuse(PlanError::Excluded {
                first: "prompts.asTokenIds",
                second: "the chat API",
                advice,
            });
        }
    }

    fn prompt_salt(&mut self, inputs: &PlanInputs) -> u64 {
        let configured = self.config.integer("benchmark.promptSalt");
        if configured.is_some() && self.config.is_users("benchmark.promptSalt") {
            self.warn("prompt_salt_fixed", "`benchmark.promptSalt` is fixed: prompts repeat those of earlier runs, which the server may still have in its prefix cache");
        }
        configured.unwrap_or(inputs.prompt_salt)
    }

    fn target(&mut self, inputs: &PlanInputs) -> Option<(Target, Vec<WeightedTarget>)> {
        let wanted = match self.config.text("target.api") {
            Some("chat") => Some(Api::Chat),
            Some("completions") => Some(Api::Completions),
            _ => None,
        };
        let headers = self.headers();
        let (targets, api) = self.targets(wanted)?;
        let first = targets.first().zip(api).map(|(target, api)| Ok((target.url.clone(), api)));
        let written = || self.endpoint().map(|written| endpoint::complete(&written, wanted));
        let (url, api) = match first.or_else(written) {
            Some(Ok(complete)) => complete,
            Some(Err(problem)) => {
                self.refuse(problem);
                return None;
            }
            None => {
                self.refuse(PlanError::NoEndpoint);
                return None;
            }
        };
        let target = Target {
            url,
            api,
            stream: self.config.get("target.stream").and_then(Value::as_bool).unwrap_or(true),
            model: self.model(inputs),
            model_is_chosen: self.config.has("target.model") || self.config.simulator().is_some(),
            headers,
            extra_body: self.config.harmless_body(),
            ignore_eos: self.config.switch("target.ignoreEos"),
            min_tokens: self.config.switch("target.minTokens"),
        };
        Some((target, targets))
    }

    fn endpoint(&self) -> Option<String> {
        let configured = self.config.text("target.endpoint").map(str::to_owned);
        let simulated = || {
            let listen = self.config.text("simulator.listen").unwrap_or("127.0.0.1:0");
            self.config.simulator().map(|_| format!("http://{listen}"))
        };
        configured.or_else(simulated)
    }

    fn model(&self, inputs: &PlanInputs) -> Option<String> {
        let configured = self.config.text("target.model").map(str::to_owned);
        let simulated = || {
            let name = self.config.text("simulator.model").unwrap_or("simulated");
            self.config.simulator().map(|_| name.to_owned())
        };
        configured.or_else(|| inputs.model.clone()).or_else(simulated)
    }

    fn headers(&mut self) -> Vec<(String, String)> {
        let headers = self.config.harmless_headers();
        headers.iter().for_each(|(name, _)| self.check_header(name));
        headers
    }

    /// Some headers are the client's own.
    pub(super) fn check_header(&mut self, name: &str) {
        const CLIENTS_OWN: [&str; 5] =
            ["connection", "content-length", "content-type", "expect", "transfer-encoding"];
        if CLIENTS_OWN.contains(&name) {
            self.refuse(PlanError::Header { name: name.to_owned() });
        }
        if name == "traceparent" && self.config.switch("telemetry.traceContext") {
            let advice =
                "each request has a name of its own: remove the header, or turn the key off";
            self.refuse(PlanError::Excluded {
                first: "the header traceparent",
                second: "telemetry.traceContext",
                advice,
            });
        }
    }

    fn client(&self) -> ClientPlan {
        let lanes = self.config.integer("client.lanes").and_then(|lanes| u16::try_from(lanes).ok());
        ClientPlan {
            lanes: lanes.and_then(NonZeroU16::new),
            connect_timeout: self
                .config
                .duration("client.timeouts.connect")
                .unwrap_or(Duration::from_secs(10)),
            request_timeout: self
                .config
                .duration("client.timeouts.request")
                .unwrap_or(Duration::from_secs(600)),
            ca_file: self.config.path("target.caFile"),
            insecure_skip_verify: self.config.switch("target.insecureSkipVerify"),
            pin_lanes: self.config.switch("client.pinLanes"),
            http: self.http(),
            source_addresses: self.source_addresses(),
            dns_refresh: self
                .config
                .duration("client.dnsRefresh")
                .unwrap_or(Duration::from_secs(30)),
        }
    }

    fn http(&self) -> HttpVersion {
        if self.config.text("client.http") != Some("2") {
            return HttpVersion::Http1;
        }
        let connections = self.config.integer("client.http2Connections").unwrap_or(1);
        let connections = u16::try_from(connections).ok().and_then(NonZeroU16::new);
        HttpVersion::Http2 { connections: connections.unwrap_or(NonZeroU16::MIN) }
    }

    fn source_addresses(&self) -> Vec<IpAddr> {
        let list = self.config.get("client.sourceAddresses").and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.filter_map(|text| text.parse().ok()).collect()
    }

    fn on_worker_loss(&self) -> OnWorkerLoss {
        match self.config.text("fleet.onWorkerLoss") {
            Some("continue") => OnWorkerLoss::Continue,
            Some("abort") => OnWorkerLoss::Abort,
            _ => OnWorkerLoss::Takeover,
        }
    }

    /// A model may end its answer when it has said all: shorter than ordered is wrong only where it may not.
    fn required_of_answers(&mut self) -> RequiredOfAnswers {
        let words = self.config.get("answers.require").and_then(Value::as_array);
        let length = words.is_some_and(|words| words.iter().any(|word| word == "length"));
        let asked = ["target.ignoreEos", "target.minTokens"];
        let may_end = !asked.iter().any(|key| self.config.switch(key));
        if length && may_end {
            self.refuse(PlanError::LengthNotAsked);
        }
        RequiredOfAnswers { length }
    }

    /// The rows to show; what cannot be collected is said, not passed over.
    fn collect(&mut self) -> Vec<String> {
        let words = self.config.get("metrics.collect").and_then(Value::as_array);
        let words: Vec<String> =
            words.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let asked = ["metrics.prometheus.endpoint", "metrics.scrape"];
        let nobody = !asked.iter().any(|key| self.config.has(key));
        for word in words.iter().filter(|word| nobody && word.as_str() == "queue_depth") {
            self.warn("not_collected", format!("`{word}` is asked for in `metrics.collect` and comes from the server's own metrics: set `metrics.prometheus.endpoint` or `metrics.scrape`"));
        }
        words
            .into_iter()
            .map(|word| if word == "errors" { "error_rate".to_owned() } else { word })
            .collect()
    }
}
