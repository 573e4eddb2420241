//! From configuration to plan: every problem is found before any is reported.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use metrics::Warning;
use serde_json::Value;

use super::stages::Level;
use super::{
    Api, ArrivalProcess, ClientPlan, Drive, HttpVersion, Offered, OnWorkerLoss, Plan, PlanError,
    RampUp, RequiredOfAnswers, Stage, Target, endpoint,
};
use crate::config::{Config, DEFAULT_SEED};

/// Users of a closed loop over a data set, where none are configured.
const SHAREGPT_CONCURRENCY: u32 = 32;

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
        let mut builder = Builder { config, problems: Vec::new(), warnings: Vec::new() };
        let plan = builder.plan(inputs);
        match plan {
            Some(plan) if builder.problems.is_empty() => Ok((plan, builder.warnings)),
            Some(_) | None => Err(builder.problems),
        }
    }
}

/// Reads the configuration, collecting what is wrong with it. A part that cannot be built is `None`,
/// and its reason stands among the problems.
pub(super) struct Builder<'a> {
    pub(super) config: &'a Config,
    problems: Vec<PlanError>,
    warnings: Vec<Warning>,
}

impl Builder<'_> {
    pub(super) fn refuse(&mut self, problem: PlanError) {
        self.problems.push(problem);
    }

    pub(super) fn warn(&mut self, code: &str, message: impl Into<String>) {
        self.warnings.push(Warning::new(code, message));
    }

    fn plan(&mut self, inputs: &PlanInputs) -> Option<Plan> {
        let target = self.target(inputs);
        let load = self.load();
        let prompts = self.prompts();
        let collect = self.collect();
        let required = self.required_of_answers();
        self.warn_of_idle_keys();
        let (stages, drive) = load?;
        Some(Plan {
            name: self.config.text("benchmark.name").unwrap_or("benchmark").to_owned(),
            seed: self.config.integer("benchmark.seed").unwrap_or(DEFAULT_SEED),
            prompt_salt: self.prompt_salt(inputs),
            target: target?,
            stages,
            drive,
            requests: self.config.integer("benchmark.requests"),
            prompts: prompts?,
            client: self.client(),
            drain: self.config.duration("benchmark.drain").unwrap_or(Duration::from_secs(30)),
            collect,
            on_worker_loss: self.on_worker_loss(),
            required,
        })
    }

    fn prompt_salt(&mut self, inputs: &PlanInputs) -> u64 {
        let configured = self.config.integer("benchmark.promptSalt");
        if configured.is_some() && self.config.is_users("benchmark.promptSalt") {
            self.warn("prompt_salt_fixed", "`benchmark.promptSalt` is fixed: prompts repeat those of earlier runs, which the server may still have in its prefix cache");
        }
        configured.unwrap_or(inputs.prompt_salt)
    }

    fn target(&mut self, inputs: &PlanInputs) -> Option<Target> {
        let wanted = match self.config.text("target.api") {
            Some("chat") => Some(Api::Chat),
            Some("completions") => Some(Api::Completions),
            _ => None,
        };
        let headers = self.headers();
        let (url, api) = match self.endpoint().map(|written| endpoint::complete(&written, wanted)) {
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
        Some(Target {
            url,
            api,
            stream: self.config.get("target.stream").and_then(Value::as_bool).unwrap_or(true),
            model: self.model(inputs),
            headers,
            extra_body: self.config.harmless_body(),
            ignore_eos: self.config.switch("target.ignoreEos"),
            min_tokens: self.config.switch("target.minTokens"),
        })
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
        const CLIENTS_OWN: [&str; 5] =
            ["connection", "content-length", "content-type", "expect", "transfer-encoding"];
        let headers = self.config.harmless_headers();
        for (name, _) in headers.iter().filter(|(name, _)| CLIENTS_OWN.contains(&name.as_str())) {
            self.refuse(PlanError::Header { name: name.clone() });
        }
        headers
    }

    fn load(&mut self) -> Option<(Vec<Stage>, Drive)> {
        let level = self.level()?;
        let stages = self.stages(level);
        let drive = match level {
            Level::Rate(_) => self.open_loop(),
            Level::Slots(_) => self.closed_loop(&stages)?,
        };
        (!stages.is_empty()).then_some((stages, drive))
    }

    /// A rate makes an open loop, whatever else is set; slots alone a closed one.
    fn level(&mut self) -> Option<Level> {
        let share_gpt = self.config.text("load.type") == Some("shareGPT");
        let rate = self.config.number("load.rate");
        let slots =
            self.config.integer("load.concurrency").and_then(|slots| u32::try_from(slots).ok());
        match (share_gpt, rate, slots) {
            (true, Some(_), _) => {
                let advice = "that is a closed loop; for an open one set `load.type: constant` and `prompts.dataset`";
                self.refuse(PlanError::Excluded {
                    first: "load.rate",
                    second: "load.type: shareGPT",
                    advice,
                });
                None
            }
            (true, None, _) => Some(Level::Slots(slots.unwrap_or(SHAREGPT_CONCURRENCY))),
            (false, Some(rate), _) => Some(Level::Rate(rate)),
            (false, None, Some(slots)) => Some(Level::Slots(slots)),
            (false, None, None) => {
                self.refuse(PlanError::NoLoad);
                None
            }
        }
    }

    fn open_loop(&self) -> Drive {
        let arrivals = match self.config.text("load.arrivals") {
            Some("poisson") => ArrivalProcess::Poisson,
            _ => ArrivalProcess::Even,
        };
        let cap = self.config.integer("load.concurrency").and_then(|cap| u32::try_from(cap).ok());
        Drive::Open { arrivals, cap: cap.and_then(NonZeroU32::new) }
    }

    fn closed_loop(&mut self, stages: &[Stage]) -> Option<Drive> {
        let most = |stage: &Stage| match stage.offered {
            Offered::Constant { level } | Offered::Burst { level, .. } => level,
            Offered::Linear { from, to } => from.max(to),
        };
        let slots = NonZeroU32::new(stages.iter().map(most).fold(0.0, f64::max) as u32)?;
        let starting = stages.first().map_or(0.0, |stage| match stage.offered {
            Offered::Constant { level } | Offered::Burst { level, .. } => level,
            Offered::Linear { from, .. } => from,
        });
        let configured = self.config.duration("load.rampUp");
        self.check_ramp_up(configured, stages);
        let ramp_up_source = match configured {
            Some(_) => RampUp::Configured,
            None if starting == 0.0 => RampUp::NotNeeded,
            None => RampUp::Open,
        };
        Some(Drive::Closed { slots, ramp_up: configured.unwrap_or_default(), ramp_up_source })
    }

    /// Slots that never start would be missing without a word.
    fn check_ramp_up(&mut self, configured: Option<Duration>, stages: &[Stage]) {
        let end = stages.last().and_then(|stage| stage.end);
        if let (Some(length), Some(whole)) = (configured, end)
            && length >= whole
        {
            self.refuse(PlanError::TooLong {
                key: "load.rampUp",
                length,
                whole_name: "the run",
                whole,
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
        for word in
            words.iter().filter(|word| matches!(word.as_str(), "cache_hit_ratio" | "queue_depth"))
        {
            self.warn("not_collected", format!("`{word}` is asked for in `metrics.collect` and comes from the server's own metrics, which are not collected yet"));
        }
        if self.config.has("metrics.prometheus.endpoint")
            || self.config.has("metrics.prometheus.queries")
        {
            self.warn(
                "not_collected",
                "`metrics.prometheus` is set, but Prometheus is not asked yet",
            );
        }
        words
            .into_iter()
            .map(|word| if word == "errors" { "error_rate".to_owned() } else { word })
            .collect()
    }

    /// Keys that are set and change nothing are a misunderstanding worth a word.
    fn warn_of_idle_keys(&mut self) {
        let shape = self.config.text("load.type").unwrap_or("constant").to_owned();
        let open = self.config.has("load.rate");
        let idle = [
            ("load.ramp.from", shape != "ramp", "`load.type` is not `ramp`"),
            ("load.ramp.to", shape != "ramp", "`load.type` is not `ramp`"),
            ("load.ramp.over", shape != "ramp", "`load.type` is not `ramp`"),
            ("load.burst.size", shape != "burst", "`load.type` is not `burst`"),
            ("load.burst.width", shape != "burst", "`load.type` is not `burst`"),
            (
                "load.rampUp",
                open,
                "`load.rate` makes an open loop, whose schedule needs no stagger",
            ),
            ("load.arrivals", !open, "in a closed loop arrivals follow the answers"),
        ];
        for (key, is_idle, reason) in idle {
            if is_idle && self.config.has(key) {
                self.warn("key_unused", format!("`{key}` has no effect: {reason}"));
            }
        }
    }
}
